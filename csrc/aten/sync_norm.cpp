// The parts of nn.SyncBatchNorm (torch.batch_norm_stats and its kin). Kernels: torch_usbgpu/kernels/sync_norm.hip.
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/sync_norm_args.h"
#include "aten/norm.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using Optional = std::optional<Tensor>;
using usbgpu_family::SyncNormArgs;

enum class Form : uint8_t { statistics, map, gather, sums, backward };
constexpr const char* kForms[] = {"sync_statistics", "sync_map", "sync_gather", "sync_backward_sums", "sync_backward_map"};

void launch_sync(Form form, ScalarType type, ScalarType parameters, Dim3 grid, const SyncNormArgs& args) {
  static KernelCache cache;
  Kernel* kernel = cache.get(key(form, type, parameters), [&]() -> KernelSource {
    const std::string name = kForms[static_cast<size_t>(form)], symbol = name + "_" + dtype_name(type) + "_" + dtype_name(parameters);
    return {"sync_norm", symbol,
            "USBGPU_SYNC_NORM(" + symbol + ", " + name + ", " + dtype_c_type(type) + ", " + dtype_c_type(parameters) + ")"};
  });
  launch(kernel, grid, {256, 1, 1}, args);
}

Tensor dense(const Optional& tensor) { return tensor && tensor->defined() ? tensor->contiguous() : Tensor(); }
uint64_t address_or_none(const Tensor& tensor) { return tensor.defined() ? address(tensor) : 0; }
Tensor like(const Tensor& input) { return empty(input.sizes(), input.scalar_type(), input.suggest_memory_format()); }

// There is no CPU kernel of these operators to fall back to.
SyncNormArgs arguments(const char* op, const Tensor& input) {
  TORCH_CHECK(input.dim() >= 2, op, ": expected an input of at least 2 dimensions, but got ", input.sizes());
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(input.scalar_type()), '"', op, "\" not implemented for '",
                              at::toString(input.scalar_type()), "'");
  TORCH_CHECK(norm_fits(input), op, ": ", input.sizes(), " is more than usbgpu's kernels can index");
  SyncNormArgs args{};
  const int64_t channels = input.size(1), count = channels ? input.numel() / channels : 0;
  args.inner = divisor(static_cast<uint32_t>(std::max<int64_t>(input.size(0) ? count / input.size(0) : 0, 1)));
  args.count = static_cast<uint32_t>(count), args.channels = static_cast<uint32_t>(channels);
  args.parts = std::clamp<uint32_t>(ceil_div(args.count, 1024), 1, 1024);
  return args;
}

// A statistic per channel, in the type the kernels keep them in.
Tensor statistic(const char* op, const char* name, const Tensor& input, const Tensor& tensor) {
  check_same_device(op, {{"input", &input}, {name, &tensor}});
  TORCH_CHECK(tensor.numel() == input.size(1), op, ": expected ", name, " of ", input.size(1), " elements, but got ", tensor.sizes());
  return tensor.to(compute_dtype(input.scalar_type())).contiguous();
}

Tensor parameter(const char* op, const char* name, const Tensor& input, const Optional& tensor) {
  const Tensor result = dense(tensor);
  TORCH_CHECK(!result.defined() || (result.dim() == 1 && result.numel() == input.size(1)), op, ": expected ", name, " of ", input.size(1),
              " elements, but got ", result.sizes());
  return result;
}

std::tuple<Tensor, Tensor> stats(const Tensor& self, double eps) {
  SyncNormArgs args = arguments("batch_norm_stats", self);
  const ScalarType type = compute_dtype(self.scalar_type());
  Tensor mean = empty({self.size(1)}, type), rstd = empty({self.size(1)}, type);
  TORCH_CHECK(self.numel() > 0 || self.size(1) == 0, "batch_norm_stats: expected an input with elements, but got ", self.sizes());
  const Tensor input = norm_operand(self);
  args.input = norm_view(input), args.mean = address(mean), args.rstd = address(rstd), args.epsilon = eps;
  launch_sync(Form::statistics, self.scalar_type(), type, {args.channels, 1, 1}, args);
  return {mean, rstd};
}

Tensor& elemt_out(const Tensor& self, const Optional& weight_, const Optional& bias_, const Tensor& mean_, const Tensor& rstd_, double,
                  Tensor& out) {
  constexpr const char* op = "batch_norm_elemt";
  SyncNormArgs args = arguments(op, self);
  const Tensor weight = parameter(op, "weight", self, weight_), bias = parameter(op, "bias", self, bias_);
  const ScalarType parameters = norm_parameters(op, self, {&weight, &bias});
  check_same_device(op, {{"input", &self}, {"out", &out}});
  TORCH_CHECK(out.scalar_type() == self.scalar_type(), op, ": expected out of dtype ", self.scalar_type(), ", but got ", out.scalar_type());
  resize_out(out, self.sizes());
  if (self.numel() == 0) return out;
  const Tensor input = norm_operand(self), mean = statistic(op, "mean", self, mean_), rstd = statistic(op, "invstd", self, rstd_);
  const bool direct = norm_operand(out).is_same(out);
  const Tensor result = direct ? out : like(self);
  args.input = norm_view(input), args.output = norm_view(result), args.mean = address(mean), args.rstd = address(rstd);
  args.weight = address_or_none(weight), args.bias = address_or_none(bias);
  launch_sync(Form::map, self.scalar_type(), parameters, {args.channels, args.parts, 1}, args);
  if (!direct) out.copy_(result);
  return out;
}

Tensor elemt(const Tensor& self, const Optional& weight, const Optional& bias, const Tensor& mean, const Tensor& rstd, double eps) {
  Tensor out = like(self);
  return elemt_out(self, weight, bias, mean, rstd, eps, out);
}

std::tuple<Tensor, Tensor> gather(const Tensor& input, const Tensor& means_, const Tensor& rstds_, const Optional& running_mean_,
                                  const Optional& running_var_, double momentum, double eps, const Tensor& counts_) {
  constexpr const char* op = "batch_norm_gather_stats_with_counts";
  check_same_device(op, {{"input", &input}, {"mean", &means_}, {"invstd", &rstds_}, {"counts", &counts_}});
  TORCH_CHECK(means_.dim() == 2 && rstds_.sizes() == means_.sizes() && rstds_.scalar_type() == means_.scalar_type() &&
              at::isFloatingType(means_.scalar_type()) && counts_.numel() == means_.size(0), op,
              ": expected mean and invstd of shape [processes, channels] and a count per process, but got ", means_.sizes(), ", ",
              rstds_.sizes(), " and ", counts_.sizes());
  const Tensor running_mean = running_mean_.value_or(Tensor()), running_var = running_var_.value_or(Tensor());
  for (const Tensor* running : {&running_mean, &running_var}) {
    if (!running->defined()) continue;
    check_same_device(op, {{"input", &input}, {"running statistics", running}});
    TORCH_CHECK(running->dim() == 1 && running->numel() == means_.size(1), op, ": expected running statistics of ", means_.size(1),
                " elements, but got ", running->sizes());
  }
  TORCH_CHECK(!running_mean.defined() || !running_var.defined() || running_mean.scalar_type() == running_var.scalar_type(), op,
              ": running_mean and running_var must have the same dtype");
  const ScalarType type = running_mean.defined() ? running_mean.scalar_type() : running_var.defined() ? running_var.scalar_type()
                                                                                                       : means_.scalar_type();
  TORCH_CHECK(at::isFloatingType(type), op, ": running statistics must be floating, but are ", type);
  const Tensor means = means_.contiguous(), rstds = rstds_.contiguous(), counts = counts_.to(type).contiguous();
  const ScalarType wide = compute_dtype(means.scalar_type());
  Tensor mean = empty({means.size(1)}, wide), rstd = empty({means.size(1)}, wide);
  if (means.numel() == 0) return {mean, rstd};
  SyncNormArgs args{};
  args.means = address(means), args.rstds = address(rstds), args.counts = address(counts), args.world_stride = means.size(1);
  args.mean = address(mean), args.rstd = address(rstd);
  args.running_mean = address_or_none(running_mean), args.running_var = address_or_none(running_var);
  args.running_mean_stride = running_mean.defined() ? running_mean.stride(0) : 0;
  args.running_var_stride = running_var.defined() ? running_var.stride(0) : 0;
  args.momentum = momentum, args.epsilon = eps;
  args.channels = static_cast<uint32_t>(means.size(1)), args.worlds = static_cast<uint32_t>(means.size(0));
  launch_sync(Form::gather, type, means.scalar_type(), {ceil_div(args.channels, 256), 1, 1}, args);
  return {mean, rstd};
}

std::tuple<Tensor, Tensor> gather_one_count(const Tensor& input, const Tensor& means, const Tensor& rstds, const Optional& running_mean,
                                            const Optional& running_var, double momentum, double eps, int64_t count) {
  const Tensor counts = at::full({means.dim() ? means.size(0) : 0}, count, means.options());
  return gather(input, means, rstds, running_mean, running_var, momentum, eps, counts);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> reduce(const Tensor& grad_, const Tensor& self, const Tensor& mean_, const Tensor& rstd_,
                                                  const Optional& weight_, bool input_g, bool weight_g, bool bias_g) {
  constexpr const char* op = "batch_norm_backward_reduce";
  SyncNormArgs args = arguments(op, self);
  check_same_device(op, {{"grad_out", &grad_}, {"input", &self}});
  TORCH_CHECK(grad_.sizes() == self.sizes() && grad_.scalar_type() == self.scalar_type(), op, ": expected a gradient like the input");
  const Tensor weight = parameter(op, "weight", self, weight_);
  const ScalarType parameters = norm_parameters(op, self, {&weight}), wide = compute_dtype(self.scalar_type());
  Tensor sum_grad, sum_along, grad_weight, grad_bias;
  if (input_g) sum_grad = empty({self.size(1)}, wide), sum_along = empty({self.size(1)}, wide);
  if (weight_g) grad_weight = empty({self.size(1)}, parameters);
  if (bias_g) grad_bias = empty({self.size(1)}, parameters);
  const Tensor input = norm_operand(self), grad = norm_operand(grad_);
  const Tensor mean = statistic(op, "mean", self, mean_), rstd = statistic(op, "invstd", self, rstd_);
  args.input = norm_view(input), args.grad = norm_view(grad), args.mean = address(mean), args.rstd = address(rstd);
  args.sum_grad = address_or_none(sum_grad), args.sum_along = address_or_none(sum_along);
  args.grad_weight = address_or_none(grad_weight), args.grad_bias = address_or_none(grad_bias);
  launch_sync(Form::sums, self.scalar_type(), parameters, {args.channels, 1, 1}, args);
  return {sum_grad, sum_along, grad_weight, grad_bias};
}

Tensor backward_elemt(const Tensor& grad_, const Tensor& self, const Tensor& mean_, const Tensor& rstd_, const Optional& weight_,
                      const Tensor& sum_grad_, const Tensor& sum_along_, const Tensor& counts_) {
  constexpr const char* op = "batch_norm_backward_elemt";
  SyncNormArgs args = arguments(op, self);
  check_same_device(op, {{"grad_out", &grad_}, {"input", &self}, {"count", &counts_}});
  TORCH_CHECK(grad_.sizes() == self.sizes() && grad_.scalar_type() == self.scalar_type(), op, ": expected a gradient like the input");
  const Tensor weight = parameter(op, "weight", self, weight_);
  const ScalarType parameters = norm_parameters(op, self, {&weight});
  Tensor result = like(self);
  if (self.numel() == 0) return result;
  const Tensor input = norm_operand(self), grad = norm_operand(grad_), counts = counts_.to(at::kInt).contiguous();
  const Tensor mean = statistic(op, "mean", self, mean_), rstd = statistic(op, "invstd", self, rstd_);
  const Tensor sum_grad = statistic(op, "sum_dy", self, sum_grad_), sum_along = statistic(op, "sum_dy_xmu", self, sum_along_);
  args.input = norm_view(input), args.grad = norm_view(grad), args.output = norm_view(result);
  args.mean = address(mean), args.rstd = address(rstd), args.weight = address_or_none(weight);
  args.sum_grad = address(sum_grad), args.sum_along = address(sum_along);
  args.counts = address(counts), args.worlds = static_cast<uint32_t>(counts.numel());
  launch_sync(Form::backward, self.scalar_type(), parameters, {args.channels, args.parts, 1}, args);
  return result;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("batch_norm_stats", &stats);
  m.impl("batch_norm_elemt", &elemt);
  m.impl("batch_norm_elemt.out", &elemt_out);
  m.impl("batch_norm_gather_stats", &gather_one_count);
  m.impl("batch_norm_gather_stats_with_counts", &gather);
  m.impl("batch_norm_backward_reduce", &reduce);
  m.impl("batch_norm_backward_elemt", &backward_elemt);
}

}  // namespace
}  // namespace usbgpu::aten
