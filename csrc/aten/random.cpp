// Random numbers. Kernels: torch_usbgpu/kernels/random.hip; seeds: backend/generator.cpp.
#include "aten/walk.h"

#include <ATen/native/UnaryOps.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/div.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/native_dropout_backward_ops.h>
#include <ATen/ops/native_dropout_ops.h>
#include <ATen/ops/rrelu_with_noise_ops.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/random_args.h"
#include "aten/backend/backend.h"
#include "aten/backend/fallback.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using at::TensorBase;
using usbgpu_family::RandomArgs;
using Generator = std::optional<at::Generator>;

enum class Distribution : uint8_t { Uniform, Normal, LogNormal, Exponential, Cauchy, Geometric, Bernoulli, Integers, Dropout, RRelu };
constexpr const char* kNames[] = {"Uniform", "Normal",    "LogNormal", "Exponential", "Cauchy",
                                  "Geometric", "Bernoulli", "Integers",  "Dropout",   "RRelu"};

// args.output and args.count are set; the draw moves the generator on.
void launch_random(Distribution distribution, ScalarType type, const Generator& generator, RandomArgs& args) {
  static KernelCache cache;
  Kernel* kernel = cache.get(key(distribution, type), [&]() -> KernelSource {
    const char* name = kNames[static_cast<size_t>(distribution)];
    const std::string symbol = std::string("random_") + name + "_" + dtype_name(type);
    if (distribution == Distribution::Dropout)
      return {"random", symbol, "USBGPU_DROPOUT(" + symbol + ", " + dtype_c_type(type) + ")"};
    if (distribution == Distribution::RRelu)
      return {"random", symbol, "USBGPU_RRELU(" + symbol + ", " + dtype_c_type(type) + ")"};
    return {"random", symbol, "USBGPU_RANDOM(" + symbol + ", " + name + ", " + dtype_c_type(type) + ")"};
  });
  // Two blocks of four numbers: f64 and wide integers need 64 bits for each of a thread's elements.
  const PhiloxSeed drawn = draw(generator, 8);
  args.seed = drawn.seed, args.block = drawn.offset / 4;
  launch(kernel, grid_for((args.count + 3) / 4), kGroup256, args);
}

// What ATen says on the CPU where a distribution has no meaning for a dtype.
void check_defined(Distribution distribution, ScalarType type) {
  const bool floating = at::isFloatingType(type);
  switch (distribution) {
    case Distribution::Exponential: case Distribution::Cauchy:
      TORCH_CHECK(floating, kNames[static_cast<size_t>(distribution)], " distribution is a continuous probability distribution. "
                  "dtype must be a floating point but you specified ", type);
      break;
    case Distribution::Normal: TORCH_CHECK_NOT_IMPLEMENTED(floating, "\"normal_kernel_cpu\" not implemented for '", type, "'"); break;
    case Distribution::LogNormal: TORCH_CHECK_NOT_IMPLEMENTED(floating, "\"log_normal_cpu\" not implemented for '", type, "'"); break;
    case Distribution::Geometric:
      TORCH_CHECK_NOT_IMPLEMENTED(type != at::kBool, "\"geometric_cpu\" not implemented for 'Bool'");
      break;
    default: break;
  }
}

// Fills a tensor of any layout: memory order for dense ones, else by way of a copy.
void fill_random(Distribution distribution, const TensorBase& self_, const Generator& generator, RandomArgs args) {
  check_defined(distribution, self_.scalar_type());
  if (self_.numel() == 0) return;
  const Tensor self = *at::OptionalTensorRef(self_);
  const Tensor target = self.is_non_overlapping_and_dense() ? self : dense_like(self);
  args.output = address(target), args.count = target.numel();
  launch_random(distribution, self.scalar_type(), generator, args);
  if (!target.is_same(self)) self.copy_(target);
}

RandomArgs parameters(double a, double b = 0) {
  RandomArgs args{};
  args.a = a, args.b = b;
  return args;
}

void uniform_kernel(at::TensorIteratorBase& iter, double from, double to, Generator generator) {
  fill_random(Distribution::Uniform, iter.tensor_base(0), generator, parameters(from, to));
}
void normal_kernel(const TensorBase& self, double mean, double std, Generator generator) {
  fill_random(Distribution::Normal, self, generator, parameters(mean, std));
}
void log_normal_kernel(at::TensorIteratorBase& iter, double mean, double std, Generator generator) {
  fill_random(Distribution::LogNormal, iter.tensor_base(0), generator, parameters(mean, std));
}
// The smallest of exponential variables with rates p[c] is c with probability p[c] / sum(p) (the race
// that ATen itself runs where it draws without replacement): one race for each draw.
void multinomial_kernel(Tensor& result, const Tensor& self, int64_t draws, Generator generator) {
  auto shape = self.sizes().vec();
  shape.insert(shape.end() - 1, draws);
  Tensor race = empty(shape, self.scalar_type());
  race.exponential_(1.0, std::move(generator));
  result.copy_(at::div(self.unsqueeze(-2), race).argmax(-1));
}

void exponential_kernel(at::TensorIteratorBase& iter, double lambda, Generator generator) {
  fill_random(Distribution::Exponential, iter.tensor_base(0), generator, parameters(lambda));
}
void cauchy_kernel(at::TensorIteratorBase& iter, double median, double sigma, Generator generator) {
  fill_random(Distribution::Cauchy, iter.tensor_base(0), generator, parameters(median, sigma));
}
void geometric_kernel(at::TensorIteratorBase& iter, double p, Generator generator) {
  fill_random(Distribution::Geometric, iter.tensor_base(0), generator, parameters(p));
}
void bernoulli_scalar_kernel(const TensorBase& self, double p, Generator generator) {
  fill_random(Distribution::Bernoulli, self, generator, parameters(p));
}
void bernoulli_tensor_kernel(const TensorBase& self_, const TensorBase& p_, Generator generator) {
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(p_.scalar_type()), "\"bernoulli_tensor_cpu_p_\" not implemented for '",
                              p_.scalar_type(), "'");
  if (self_.numel() == 0) return;
  const Tensor self = *at::OptionalTensorRef(self_), given = *at::OptionalTensorRef(p_);
  const Tensor p = given.to(self.device(), at::kFloat).expand(self.sizes()).contiguous();
  const Tensor target = self.is_contiguous() ? self : dense_like(self);
  RandomArgs args{};
  args.output = address(target), args.count = target.numel(), args.input = address(p);
  launch_random(Distribution::Bernoulli, self.scalar_type(), generator, args);
  if (!target.is_same(self)) self.copy_(target);
}

void random_from_to_kernel(at::TensorIteratorBase& iter, uint64_t range, int64_t base, Generator generator) {
  RandomArgs args{};
  args.range = range, args.base = base;
  fill_random(Distribution::Integers, iter.tensor_base(0), generator, args);
}
void random_full_64_bits_kernel(at::TensorIteratorBase& iter, Generator generator) {
  fill_random(Distribution::Integers, iter.tensor_base(0), generator, RandomArgs{});
}
// [0, largest integer that the dtype holds exactly together with all below]
void random_kernel(at::TensorIteratorBase& iter, Generator generator) {
  RandomArgs args{};
  switch (iter.dtype()) {
    case at::kBool: args.range = 2; break;
    case at::kByte: args.range = uint64_t{1} << 8; break;
    case at::kChar: args.range = uint64_t{1} << 7; break;
    case at::kShort: args.range = uint64_t{1} << 15; break;
    case at::kInt: args.range = uint64_t{1} << 31; break;
    case at::kLong: args.range = uint64_t{1} << 63; break;
    case at::kHalf: args.range = (uint64_t{1} << 11) + 1; break;
    case at::kBFloat16: args.range = (uint64_t{1} << 8) + 1; break;
    case at::kFloat: args.range = (uint64_t{1} << 24) + 1; break;
    default: args.range = (uint64_t{1} << 53) + 1; break;
  }
  fill_random(Distribution::Integers, iter.tensor_base(0), generator, args);
}

// ---- dropout

std::tuple<Tensor, Tensor> native_dropout(const Tensor& input, double p, std::optional<bool> train) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::native_dropout, input, p, train);
  check_on_device("native_dropout", "input", input);
  TORCH_CHECK(p >= 0 && p <= 1, "dropout probability has to be between 0 and 1, but got ", p);
  TORCH_CHECK(at::isFloatingType(input.scalar_type()), "native_dropout: expected a floating point input, got ",
              input.scalar_type());
  if (!train.value_or(true)) return {input.clone(), empty(input.sizes(), at::kBool).fill_(true)};
  const Tensor from = input.contiguous();
  Tensor out = empty(input.sizes(), input.scalar_type()), mask = empty(input.sizes(), at::kBool);
  if (input.numel() == 0) return {out, mask};
  RandomArgs args = parameters(1.0 - p, p < 1.0 ? 1.0 / (1.0 - p) : 0.0);
  args.output = address(out), args.mask = address(mask), args.input = address(from), args.count = from.numel();
  launch_random(Distribution::Dropout, input.scalar_type(), std::nullopt, args);
  return {out, mask};
}

Tensor native_dropout_backward(const Tensor& grad_output, const Tensor& mask, double scale) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::native_dropout_backward, grad_output, mask, scale);
  check_same_device("native_dropout_backward", {{"grad_output", &grad_output}, {"mask", &mask}});
  if (!at::isFloatingType(grad_output.scalar_type()) || mask.scalar_type() != at::kBool)
    return grad_output.mul(mask).mul(scale);   // an integer gradient becomes floating, as on the CPU
  static Pointwise op("mul_scaled");
  Tensor out = empty({0}, grad_output.scalar_type());
  auto iter = at::TensorIteratorConfig()
                  .check_all_same_dtype(false)
                  .add_output(out)
                  .add_const_input(grad_output)
                  .add_const_input(mask)
                  .build();
  op(iter, compute_dtype(grad_output.scalar_type()), {scale});
  return out;
}

// ---- rrelu

Tensor& rrelu_with_noise_out(const Tensor& self, Tensor& noise, const at::Scalar& lower, const at::Scalar& upper,
                             bool training, Generator generator, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::rrelu_with_noise_out, self, noise, lower, upper, training, generator, out);
  check_same_device("rrelu_with_noise", {{"self", &self}, {"noise", &noise}, {"out", &out}});
  TORCH_CHECK(self.sizes() == noise.sizes(), "noise tensor shape must match self tensor shape. Got self.shape = ", self.sizes(),
              " noise.shape = ", noise.sizes());
  TORCH_CHECK(self.scalar_type() == noise.scalar_type() && self.scalar_type() == out.scalar_type(),
              "rrelu_with_noise: expected noise and out of dtype ", self.scalar_type());
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(self.scalar_type()), "\"rrelu_with_noise_out_cpu\" not implemented for '",
                              self.scalar_type(), "'");
  if (!training) return at::leaky_relu_out(out, self, (lower.toDouble() + upper.toDouble()) / 2);
  resize_out(out, self.sizes());
  at::assert_no_internal_overlap(out);
  if (self.numel() == 0) return out;
  const Tensor from = self.contiguous();
  const Tensor slopes = noise.is_contiguous() ? noise : dense_like(self), target = out.is_contiguous() ? out : dense_like(self);
  RandomArgs args = parameters(lower.toDouble(), upper.toDouble());
  args.output = address(target), args.mask = address(slopes), args.input = address(from), args.count = from.numel();
  launch_random(Distribution::RRelu, self.scalar_type(), generator, args);
  if (!slopes.is_same(noise)) noise.copy_(slopes);
  if (!target.is_same(out)) out.copy_(target);
  return out;
}
Tensor rrelu_with_noise(const Tensor& self, Tensor& noise, const at::Scalar& lower, const at::Scalar& upper, bool training,
                        Generator generator) {
  Tensor out = dense_like(self);
  return rrelu_with_noise_out(self, noise, lower, upper, training, std::move(generator), out);
}
Tensor& rrelu_with_noise_(Tensor& self, Tensor& noise, const at::Scalar& lower, const at::Scalar& upper, bool training,
                          Generator generator) {
  return rrelu_with_noise_out(self, noise, lower, upper, training, std::move(generator), self);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("rrelu_with_noise", &rrelu_with_noise);
  m.impl("rrelu_with_noise_", &rrelu_with_noise_);
  m.impl("rrelu_with_noise.out", &rrelu_with_noise_out);
  m.impl("native_dropout", &native_dropout);
  m.impl("native_dropout_backward", &native_dropout_backward);
}

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(uniform_stub, &usbgpu::aten::uniform_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(normal_stub, &usbgpu::aten::normal_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(log_normal_stub, &usbgpu::aten::log_normal_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(multinomial_with_replacement_stub, &usbgpu::aten::multinomial_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(exponential_stub, &usbgpu::aten::exponential_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(cauchy_stub, &usbgpu::aten::cauchy_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(geometric_stub, &usbgpu::aten::geometric_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(bernoulli_scalar_stub, &usbgpu::aten::bernoulli_scalar_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(bernoulli_tensor_stub, &usbgpu::aten::bernoulli_tensor_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(random_stub, &usbgpu::aten::random_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(random_from_to_stub, &usbgpu::aten::random_from_to_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(random_full_64_bits_range_stub, &usbgpu::aten::random_full_64_bits_kernel)
}  // namespace at::native
