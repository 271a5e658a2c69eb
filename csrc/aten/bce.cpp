// binary_cross_entropy and its gradient. Kernels: torch_usbgpu/kernels/bce.hip.
#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/binary_cross_entropy_backward_ops.h>
#include <ATen/ops/binary_cross_entropy_ops.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/sum.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/bce_args.h"
#include "aten/backend/fallback.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using Optional = std::optional<Tensor>;
using usbgpu_family::BceArgs;

enum class Form : uint8_t { forward, backward_each, backward_single };

void launch_bce(Form form, ScalarType type, const BceArgs& args) {
  static KernelCache cache;
  if (args.count == 0) return;
  Kernel* kernel = cache.get(key(form, type), [&]() -> KernelSource {
    static constexpr const char* names[] = {"bce", "bce_backward", "bce_backward"};
    static constexpr const char* symbols[] = {"bce_", "bce_backward_each_", "bce_backward_single_"};
    static constexpr const char* last[] = {"", ", false", ", true"};
    const auto i = static_cast<size_t>(form);
    const std::string symbol = std::string(symbols[i]) + dtype_name(type);
    return {"bce", symbol, "USBGPU_BCE(" + symbol + ", " + names[i] + ", " + dtype_c_type(type) + last[i] + ")"};
  });
  launch(kernel, {ceil_div(args.count, 256), 1, 1}, {256, 1, 1}, args);
}

// Same dtypes, and sizes that the loss's own shape covers. Anything else the CPU judges.
bool usual(const Tensor& self, const Tensor& target, const Optional& weight) {
  return at::isFloatingType(self.scalar_type()) && target.scalar_type() == self.scalar_type() && target.sizes() == self.sizes() &&
         self.numel() < INT32_MAX && (!weight || !weight->defined() || weight->scalar_type() == self.scalar_type());
}

void check(const char* op, const Tensor& self, const Tensor& target, const Optional& weight) {
  check_same_device(op, {{"self", &self}, {"target", &target}});
  if (weight && weight->defined()) check_same_device(op, {{"self", &self}, {"weight", &*weight}});
}

Tensor spread(const Optional& weight, const Tensor& self) {
  return weight && weight->defined() ? weight->expand(self.sizes()).contiguous() : Tensor();
}

Tensor each(const Tensor& self, const Tensor& target, const Optional& weight) {
  check("binary_cross_entropy", self, target, weight);
  const Tensor x = self.contiguous(), t = target.contiguous(), w = spread(weight, self);
  Tensor loss = dense_like(self);
  launch_bce(Form::forward, self.scalar_type(),
             {address(x), address(t), w.defined() ? address(w) : 0, address(loss), 0, device().error_block(), 1, static_cast<uint32_t>(self.numel())});
  return loss;
}

Tensor forward(const Tensor& self, const Tensor& target, const Optional& weight, int64_t reduction) {
  if (!usual(self, target, weight) || any_unsupported(self, target, weight))
    return at::native::call_fallback_fn<&boxed_fallback, at::_ops::binary_cross_entropy>::call(self, target, weight, reduction);
  const Tensor loss = each(self, target, weight);
  return reduction == at::Reduction::Mean ? loss.mean() : reduction == at::Reduction::Sum ? loss.sum() : loss;
}

Tensor& forward_out(const Tensor& self, const Tensor& target, const Optional& weight, int64_t reduction, Tensor& out) {
  if (!usual(self, target, weight) || any_unsupported(self, target, weight, out) || out.scalar_type() != self.scalar_type())
    return at::native::call_fallback_fn<&boxed_fallback, at::_ops::binary_cross_entropy_out>::call(self, target, weight, reduction,
                                                                                                  out);
  const Tensor loss = each(self, target, weight);
  if (reduction == at::Reduction::Mean) return at::mean_out(out, loss, at::IntArrayRef{});
  if (reduction == at::Reduction::Sum) return at::sum_out(out, loss, at::IntArrayRef{});
  resize_out(out, self.sizes());
  return out.copy_(loss);
}

Tensor backward(const Tensor& grad, const Tensor& self, const Tensor& target, const Optional& weight, int64_t reduction) {
  const bool single = reduction != at::Reduction::None;
  if (!usual(self, target, weight) || any_unsupported(grad, self, target, weight) || grad.scalar_type() != self.scalar_type() ||
      (single ? grad.numel() != 1 : grad.sizes() != self.sizes()))
    return at::native::call_fallback_fn<&boxed_fallback, at::_ops::binary_cross_entropy_backward>::call(grad, self, target, weight,
                                                                                                       reduction);
  check("binary_cross_entropy_backward", self, target, weight);
  check_same_device("binary_cross_entropy_backward", {{"grad_output", &grad}, {"self", &self}});
  const Tensor x = self.contiguous(), t = target.contiguous(), w = spread(weight, self), g = grad.contiguous();
  Tensor result = dense_like(self);
  const double scale = reduction == at::Reduction::Mean ? 1.0 / static_cast<double>(self.numel()) : 1.0;
  launch_bce(single ? Form::backward_single : Form::backward_each, self.scalar_type(),
             {address(x), address(t), w.defined() ? address(w) : 0, address(result), address(g), 0, scale,
              static_cast<uint32_t>(self.numel())});
  return result;
}

Tensor& backward_out(const Tensor& grad, const Tensor& self, const Tensor& target, const Optional& weight, int64_t reduction,
                     Tensor& grad_input) {
  if (grad_input.scalar_type() != self.scalar_type() || any_unsupported(grad_input))
    return at::native::call_fallback_fn<&boxed_fallback, at::_ops::binary_cross_entropy_backward_grad_input>::call(
        grad, self, target, weight, reduction, grad_input);
  const Tensor result = backward(grad, self, target, weight, reduction);
  resize_out(grad_input, result.sizes());
  return grad_input.copy_(result);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("binary_cross_entropy", &forward);
  m.impl("binary_cross_entropy.out", &forward_out);
  m.impl("binary_cross_entropy_backward", &backward);
  m.impl("binary_cross_entropy_backward.grad_input", &backward_out);
}

}  // namespace
}  // namespace usbgpu::aten
