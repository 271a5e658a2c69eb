// Batch normalisation and its gradient. Kernels: torch_usbgpu/kernels/norm.hip.
#include "aten/norm.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_batch_norm_with_update_ops.h>
#include <ATen/ops/_native_batch_norm_legit_ops.h>
#include <ATen/ops/batch_norm_backward_ops.h>
#include <ATen/ops/batch_norm_update_stats_ops.h>
#include <ATen/ops/native_batch_norm_backward_ops.h>
#include <ATen/ops/native_batch_norm_ops.h>
#include <torch/library.h>

#include "aten/backend/fallback.h"
#include "aten/structured.h"

namespace usbgpu::aten {

namespace {
constexpr const char* kForms[] = {"batch_norm_train", "batch_norm_eval", "batch_norm_statistics", "batch_norm_backward",
                                  "batch_norm_backward", "group_norm", "group_norm_backward", "group_norm_backward_weights"};
}  // namespace

void launch_norm(NormForm form, at::ScalarType type, at::ScalarType parameters, Dim3 grid, const usbgpu_family::NormArgs& args) {
  static KernelCache cache;
  Kernel* kernel = cache.get(key(form, type, parameters), [&]() -> KernelSource {
    const std::string name = kForms[static_cast<size_t>(form)];
    const bool backward = form == NormForm::backward_train || form == NormForm::backward_eval;
    const std::string suffix = !backward ? "" : form == NormForm::backward_train ? "_train" : "_eval";
    const std::string flag = !backward ? "" : form == NormForm::backward_train ? ", true" : ", false";
    const std::string symbol = name + suffix + "_" + dtype_name(type) + "_" + dtype_name(parameters);
    return {"norm", symbol,
            "USBGPU_NORM(" + symbol + ", " + name + ", " + dtype_c_type(type) + ", " + dtype_c_type(parameters) + flag + ")"};
  });
  launch(kernel, grid, {256, 1, 1}, args);
}

// One stride must do for all dimensions after the channels.
at::Tensor norm_operand(const at::Tensor& tensor) {
  int64_t expected = -1;
  for (int64_t d = tensor.dim() - 1; d >= 2; --d) {
    if (tensor.size(d) == 1) continue;
    if (expected >= 0 && tensor.stride(d) != expected) return tensor.contiguous();
    expected = tensor.stride(d) * tensor.size(d);
  }
  return tensor;
}

usbgpu_family::NormView norm_view(const at::Tensor& tensor) {
  usbgpu_family::NormView view{address(tensor), tensor.stride(0), tensor.stride(1), 0};
  for (int64_t d = tensor.dim() - 1; d >= 2 && view.s == 0; --d) {
    if (tensor.size(d) != 1) view.s = tensor.stride(d);
  }
  return view;
}

bool norm_fits(const at::Tensor& input) { return input.numel() < INT32_MAX; }

at::ScalarType norm_parameters(const char* op, const at::Tensor& input, std::initializer_list<const at::Tensor*> parameters) {
  std::optional<at::ScalarType> found;
  for (const at::Tensor* tensor : parameters) {
    if (!tensor->defined()) continue;
    check_same_device(op, {{"input", &input}, {"parameter", tensor}});
    const at::ScalarType type = tensor->scalar_type();
    TORCH_CHECK(!found || *found == type, "mixed dtype (", op, "): all the parameters must have the same dtype, got ", *found,
                " and ", type);
    found = type;
  }
  if (!found) return input.scalar_type();
  TORCH_CHECK(*found == input.scalar_type() || (is_low_precision(input.scalar_type()) && *found == at::kFloat),
              "mixed dtype (", op, "): expect parameters to have scalar type of Float or of the input, ", input.scalar_type(),
              ", but got ", *found);
  return *found;
}

namespace {

using at::ScalarType;
using at::Tensor;
using Optional = std::optional<Tensor>;
using usbgpu_family::NormArgs;

Tensor defined(const Optional& tensor) { return tensor.value_or(Tensor()); }
uint64_t address_or_none(const Tensor& tensor) { return tensor.defined() ? address(tensor) : 0; }
Tensor dense(const Tensor& tensor) { return tensor.defined() ? tensor.contiguous() : tensor; }

struct Parameters {
  Tensor weight, bias, running_mean, running_var;
  ScalarType type;
  Parameters(const char* op, const Tensor& input, const Optional& w, const Optional& b, const Optional& rm, const Optional& rv)
      : weight(dense(defined(w))), bias(dense(defined(b))), running_mean(defined(rm)), running_var(defined(rv)) {
    TORCH_CHECK(input.dim() >= 2, op, ": expected an input of at least 2 dimensions, but got ", input.sizes());
    TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(input.scalar_type()), '"', op, "\" not implemented for '",
                                at::toString(input.scalar_type()), "'");
    for (const auto& [name, tensor] : {std::pair("weight", &weight), std::pair("bias", &bias),
                                       std::pair("running_mean", &running_mean), std::pair("running_var", &running_var)}) {
      TORCH_CHECK(!tensor->defined() || tensor->numel() == input.size(1), name, " should contain ", input.size(1),
                  " elements not ", tensor->numel());
      TORCH_CHECK(!tensor->defined() || tensor->dim() == 1, name, " should have one dimension, but got ", tensor->sizes());
    }
    type = norm_parameters(op, input, {&weight, &bias, &running_mean, &running_var});
  }
};

void set_running(NormArgs& args, const Parameters& p) {
  args.running_mean = address_or_none(p.running_mean), args.running_var = address_or_none(p.running_var);
  args.running_mean_stride = p.running_mean.defined() ? p.running_mean.stride(0) : 0;
  args.running_var_stride = p.running_var.defined() ? p.running_var.stride(0) : 0;
}

NormArgs arguments(const Tensor& input, const Parameters& p, double epsilon) {
  NormArgs args{};
  const int64_t batch = input.size(0), channels = input.size(1), inner = input.numel() / (batch * channels);
  args.input = norm_view(input);
  args.weight = address_or_none(p.weight), args.bias = address_or_none(p.bias);
  set_running(args, p);
  args.epsilon = epsilon;
  args.inner = divisor(static_cast<uint32_t>(inner));
  args.count = static_cast<uint32_t>(batch * inner);
  args.batch = static_cast<uint32_t>(batch), args.channels = static_cast<uint32_t>(channels);
  args.parts = 1;
  return args;
}

Tensor like(const Tensor& input) { return empty(input.sizes(), input.scalar_type(), input.suggest_memory_format()); }

// saved tensors have their sizes: [C] in training, else [0]
void forward(const char* op, const Tensor& self, const Parameters& p, bool training, double momentum, double epsilon,
             const Tensor& output, const Tensor& mean, const Tensor& rstd) {
  TORCH_CHECK(training || (p.running_mean.defined() && p.running_var.defined()), op,
              ": running_mean and running_var must be defined in evaluation mode");
  if (self.numel() == 0) return;
  const Tensor input = norm_operand(self);
  const bool direct = norm_operand(output).is_same(output);
  const Tensor result = direct ? output : like(self);
  NormArgs args = arguments(input, p, epsilon);
  args.output = norm_view(result), args.momentum = momentum;
  if (training) {
    args.mean = address(mean), args.rstd = address(rstd);
    launch_norm(NormForm::train, self.scalar_type(), p.type, {args.channels, 1, 1}, args);
  } else {
    args.parts = std::min<uint32_t>(ceil_div(args.count, 1024), 1024);
    launch_norm(NormForm::eval, self.scalar_type(), p.type, {args.channels, args.parts, 1}, args);
  }
  if (!direct) output.copy_(result);
}

std::tuple<Tensor, Tensor, Tensor> new_forward(const char* op, const Tensor& input, const Parameters& p, bool training,
                                               double momentum, double epsilon) {
  const int64_t saved = training ? input.size(1) : 0;
  Tensor output = like(input), mean = empty({saved}, p.type), rstd = empty({saved}, p.type);
  forward(op, input, p, training, momentum, epsilon, output, mean, rstd);
  return {output, mean, rstd};
}

void out_forward(const char* op, const Tensor& input, const Parameters& p, bool training, double momentum, double epsilon,
                 Tensor& output, Tensor& mean, Tensor& rstd) {
  for (const auto& [name, tensor, type] : {std::tuple("out", &output, input.scalar_type()), std::tuple("save_mean", &mean, p.type),
                                           std::tuple("save_invstd", &rstd, p.type)}) {
    check_same_device(op, {{"input", &input}, {name, tensor}});
    TORCH_CHECK(tensor->scalar_type() == type, op, ": expected ", name, " of dtype ", type, ", but got ", tensor->scalar_type());
    at::assert_no_internal_overlap(*tensor);
  }
  resize_out(output, input.sizes());
  const int64_t saved = training ? input.size(1) : 0;
  resize_out(mean, {saved}), resize_out(rstd, {saved});
  const Tensor m = mean.is_contiguous() ? mean : dense_like(mean), r = rstd.is_contiguous() ? rstd : dense_like(rstd);
  forward(op, input, p, training, momentum, epsilon, output, m, r);
  if (!m.is_same(mean)) mean.copy_(m);
  if (!r.is_same(rstd)) rstd.copy_(r);
}

std::tuple<Tensor, Tensor, Tensor> native_batch_norm(const Tensor& input, const Optional& weight, const Optional& bias,
                                                     const Optional& running_mean, const Optional& running_var, bool training,
                                                     double momentum, double eps) {
  FALLBACK_IF_NORM(input, at::_ops::native_batch_norm, input, weight, bias, running_mean, running_var, training, momentum, eps);
  const Parameters p("batch_norm", input, weight, bias, running_mean, running_var);
  return new_forward("batch_norm", input, p, training, momentum, eps);
}

std::tuple<Tensor&, Tensor&, Tensor&> native_batch_norm_out(const Tensor& input, const Optional& weight, const Optional& bias,
                                                            const Optional& running_mean, const Optional& running_var,
                                                            bool training, double momentum, double eps, Tensor& out,
                                                            Tensor& mean, Tensor& rstd) {
  FALLBACK_IF_NORM(input, at::_ops::native_batch_norm_out, input, weight, bias, running_mean, running_var, training, momentum,
                   eps, out, mean, rstd);
  const Parameters p("batch_norm", input, weight, bias, running_mean, running_var);
  out_forward("batch_norm", input, p, training, momentum, eps, out, mean, rstd);
  return {out, mean, rstd};
}

std::tuple<Tensor, Tensor, Tensor> legit(const Tensor& input, const Optional& weight, const Optional& bias,
                                         Tensor& running_mean, Tensor& running_var, bool training, double momentum, double eps) {
  FALLBACK_IF_NORM(input, at::_ops::_native_batch_norm_legit, input, weight, bias, running_mean, running_var, training,
                   momentum, eps);
  const Parameters p("batch_norm", input, weight, bias, running_mean, running_var);
  return new_forward("batch_norm", input, p, training, momentum, eps);
}

std::tuple<Tensor&, Tensor&, Tensor&> legit_out(const Tensor& input, const Optional& weight, const Optional& bias,
                                                Tensor& running_mean, Tensor& running_var, bool training, double momentum,
                                                double eps, Tensor& out, Tensor& mean, Tensor& rstd) {
  FALLBACK_IF_NORM(input, at::_ops::_native_batch_norm_legit_out, input, weight, bias, running_mean, running_var, training,
                   momentum, eps, out, mean, rstd);
  const Parameters p("batch_norm", input, weight, bias, running_mean, running_var);
  out_forward("batch_norm", input, p, training, momentum, eps, out, mean, rstd);
  return {out, mean, rstd};
}

std::tuple<Tensor, Tensor, Tensor> legit_no_stats(const Tensor& input, const Optional& weight, const Optional& bias,
                                                  bool training, double momentum, double eps) {
  FALLBACK_IF_NORM(input, at::_ops::_native_batch_norm_legit_no_stats, input, weight, bias, training, momentum, eps);
  const Parameters p("batch_norm", input, weight, bias, Tensor(), Tensor());
  return new_forward("batch_norm", input, p, training, momentum, eps);
}

std::tuple<Tensor&, Tensor&, Tensor&> legit_no_stats_out(const Tensor& input, const Optional& weight, const Optional& bias,
                                                         bool training, double momentum, double eps, Tensor& out, Tensor& mean,
                                                         Tensor& rstd) {
  FALLBACK_IF_NORM(input, at::_ops::_native_batch_norm_legit_no_stats_out, input, weight, bias, training, momentum, eps, out,
                   mean, rstd);
  const Parameters p("batch_norm", input, weight, bias, Tensor(), Tensor());
  out_forward("batch_norm", input, p, training, momentum, eps, out, mean, rstd);
  return {out, mean, rstd};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> with_update(const Tensor& input, const Optional& weight, const Optional& bias,
                                                       Tensor& running_mean, Tensor& running_var, double momentum, double eps) {
  FALLBACK_IF_NORM(input, at::_ops::_batch_norm_with_update, input, weight, bias, running_mean, running_var, momentum, eps);
  const Parameters p("batch_norm", input, weight, bias, running_mean, running_var);
  auto [output, mean, rstd] = new_forward("batch_norm", input, p, true, momentum, eps);
  return {output, mean, rstd, empty({0}, at::kByte)};
}

std::tuple<Tensor, Tensor> update_stats(const Tensor& self, const Optional& running_mean, const Optional& running_var,
                                        double momentum) {
  FALLBACK_IF_NORM(self, at::_ops::batch_norm_update_stats, self, running_mean, running_var, momentum);
  const Parameters p("batch_norm_update_stats", self, Tensor(), Tensor(), running_mean, running_var);
  Tensor mean = empty({self.size(1)}, p.type), var = empty({self.size(1)}, p.type);
  if (self.numel() == 0) return {mean, var};
  const Tensor input = norm_operand(self);
  NormArgs args = arguments(input, p, 0);
  args.momentum = momentum, args.mean = address(mean), args.rstd = address(var);
  launch_norm(NormForm::statistics, self.scalar_type(), p.type, {args.channels, 1, 1}, args);
  return {mean, var};
}

std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& grad_out, const Tensor& self, const Parameters& p,
                                            const Tensor& saved_mean, const Tensor& saved_rstd, bool train, double eps,
                                            std::array<bool, 3> mask) {
  TORCH_CHECK(grad_out.sizes() == self.sizes() && grad_out.scalar_type() == self.scalar_type(),
              "batch_norm_backward: expected a gradient like the input, ", self.scalar_type(), " ", self.sizes(), ", but got ",
              grad_out.scalar_type(), " ", grad_out.sizes());
  check_same_device("batch_norm_backward", {{"grad_out", &grad_out}, {"input", &self}});
  const int64_t channels = self.size(1);
  Tensor grad_input, grad_weight, grad_bias;
  if (mask[0]) grad_input = like(self);
  if (mask[1]) grad_weight = empty({channels}, p.type);
  if (mask[2]) grad_bias = empty({channels}, p.type);
  if (self.numel() == 0) {
    if (mask[1]) grad_weight.zero_();
    if (mask[2]) grad_bias.zero_();
    return {grad_input, grad_weight, grad_bias};
  }
  const Tensor input = norm_operand(self), grad = norm_operand(grad_out);
  NormArgs args = arguments(input, p, eps);
  args.grad = norm_view(grad);
  if (mask[0]) args.output = norm_view(grad_input);
  args.grad_weight = address_or_none(grad_weight), args.grad_bias = address_or_none(grad_bias);
  Tensor mean, rstd;
  if (train) {
    TORCH_CHECK(saved_mean.defined() && saved_rstd.defined() && saved_mean.numel() == channels && saved_rstd.numel() == channels,
                "batch_norm_backward: expected the mean and inverse deviation that the forward pass saved, of ", channels,
                " elements each");
    mean = saved_mean.to(p.type).contiguous(), rstd = saved_rstd.to(p.type).contiguous();
    args.mean = address(mean), args.rstd = address(rstd);
  } else {
    TORCH_CHECK(p.running_mean.defined() && p.running_var.defined(),
                "batch_norm_backward: running_mean and running_var must be defined in evaluation mode");
  }
  launch_norm(train ? NormForm::backward_train : NormForm::backward_eval, self.scalar_type(), p.type, {args.channels, 1, 1}, args);
  return {grad_input, grad_weight, grad_bias};
}

std::tuple<Tensor, Tensor, Tensor> native_batch_norm_backward(const Tensor& grad_out, const Tensor& input, const Optional& weight,
                                                              const Optional& running_mean, const Optional& running_var,
                                                              const Optional& mean, const Optional& rstd, bool train, double eps,
                                                              std::array<bool, 3> mask) {
  FALLBACK_IF_NORM(input, at::_ops::native_batch_norm_backward, grad_out, input, weight, running_mean, running_var, mean, rstd,
                   train, eps, mask);
  const Parameters p("batch_norm_backward", input, weight, Tensor(), running_mean, running_var);
  return backward(grad_out, input, p, defined(mean), defined(rstd), train, eps, mask);
}

std::tuple<Tensor, Tensor, Tensor> batch_norm_backward(const Tensor& grad_out, const Tensor& input, const Tensor& weight,
                                                       const Optional& running_mean, const Optional& running_var,
                                                       const Optional& mean, const Optional& rstd, bool update, double eps,
                                                       std::array<bool, 3> mask, const Tensor& reserve) {
  FALLBACK_IF_NORM(input, at::_ops::batch_norm_backward, grad_out, input, weight, running_mean, running_var, mean, rstd, update,
                   eps, mask, reserve);
  const Parameters p("batch_norm_backward", input, weight, Tensor(), running_mean, running_var);
  return backward(grad_out, input, p, defined(mean), defined(rstd), update, eps, mask);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("native_batch_norm", &native_batch_norm);
  m.impl("native_batch_norm.out", &native_batch_norm_out);
  m.impl("_native_batch_norm_legit", &legit);
  m.impl("_native_batch_norm_legit.out", &legit_out);
  m.impl("_native_batch_norm_legit.no_stats", &legit_no_stats);
  m.impl("_native_batch_norm_legit.no_stats_out", &legit_no_stats_out);
  m.impl("_batch_norm_with_update", &with_update);
  m.impl("batch_norm_update_stats", &update_stats);
  m.impl("native_batch_norm_backward", &native_batch_norm_backward);
  m.impl("batch_norm_backward", &batch_norm_backward);
}

}  // namespace
}  // namespace usbgpu::aten
