// multi_margin_loss and multilabel_margin_loss. Kernels: torch_usbgpu/kernels/margin.hip.
#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/native/LossMulti.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/multi_margin_loss_backward_ops.h>
#include <ATen/ops/multi_margin_loss_ops.h>
#include <ATen/ops/multilabel_margin_loss_backward_ops.h>
#include <ATen/ops/multilabel_margin_loss_forward_ops.h>
#include <ATen/ops/sum.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/margin_args.h"
#include "aten/backend/fallback.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::Scalar;
using at::ScalarType;
using at::Tensor;
using Optional = std::optional<Tensor>;
using usbgpu_family::MarginArgs;

enum class Form : uint8_t { multi, multi_backward, label, label_backward };

void launch_margin(Form form, ScalarType type, int power, bool single, const MarginArgs& args) {
  static KernelCache cache;
  Kernel* kernel = cache.get(key(form, type, power, single), [&]() -> KernelSource {
    static constexpr const char* names[] = {"multi_margin", "multi_margin_backward", "multilabel_margin", "multilabel_margin_backward"};
    const bool backward = form == Form::multi_backward || form == Form::label_backward;
    const bool multi = form == Form::multi || form == Form::multi_backward;
    const std::string name = names[static_cast<size_t>(form)];
    const std::string symbol = name + "_" + dtype_name(type) + (multi ? "_p" + std::to_string(power) : "") + (single ? "_single" : "");
    return {"margin", symbol,
            "USBGPU_MARGIN(" + symbol + ", " + name + ", " + dtype_c_type(type) + (multi ? ", " + std::to_string(power) : "") +
                (backward ? single ? ", true" : ", false" : "") + ")"};
  });
  launch(kernel, {ceil_div(args.batch, 8), 1, 1}, {256, 1, 1}, args);
}

void check(const char* op, const Tensor& self, const Tensor& target, const Optional& weight) {
  check_same_device(op, {{"self", &self}, {"target", &target}});
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(self.scalar_type()), '"', op, "\" not implemented for '",
                              at::toString(self.scalar_type()), "'");
  TORCH_CHECK(target.scalar_type() == at::kLong, "expected scalar type Long but found ", target.scalar_type());
  if (!weight || !weight->defined()) return;
  check_same_device(op, {{"self", &self}, {"weight", &*weight}});
  TORCH_CHECK(weight->scalar_type() == self.scalar_type(), "expected scalar type ", self.scalar_type(), " but found ",
              weight->scalar_type());
}

MarginArgs arguments(const char* op, const Tensor& input, const Tensor& target, int64_t batch, int64_t classes) {
  TORCH_CHECK(batch < INT32_MAX && classes < INT32_MAX, op, ": ", input.sizes(), " is more than usbgpu's kernels can index");
  MarginArgs args{};
  args.input = address(input), args.target = address(target), args.error_block = device().error_block();
  args.batch = static_cast<uint32_t>(batch), args.classes = static_cast<uint32_t>(classes);
  args.scale = 1.0 / static_cast<double>(classes);
  return args;
}

// Losses of the samples into an output of the wanted shape.
Tensor& reduce(const Tensor& losses, int64_t reduction, bool each, Tensor& out) {
  if (!each && losses.numel() != 1)
    return reduction == at::Reduction::Mean ? at::mean_out(out, losses, at::IntArrayRef{}) : at::sum_out(out, losses, at::IntArrayRef{});
  resize_out(out, each ? losses.sizes() : at::IntArrayRef{});
  return out.copy_(losses.view(out.sizes()));
}

// Scale of a gradient: checks grad against the loss's shape.
bool single_gradient(const char* op, const Tensor& grad, const Tensor& self, int64_t batch, int64_t reduction, MarginArgs& args) {
  check_same_device(op, {{"grad_output", &grad}, {"self", &self}});
  TORCH_CHECK(grad.scalar_type() == self.scalar_type(), op, ": expected grad_output of scalar type ", self.scalar_type(),
              " but found ", grad.scalar_type());
  const bool single = reduction != at::Reduction::None || grad.dim() == 0;
  TORCH_CHECK(single ? grad.numel() == 1 : grad.dim() == 1 && grad.size(0) == batch, op, ": grad_output has shape ", grad.sizes(),
              ", which is not that of the loss");
  if (reduction == at::Reduction::Mean) args.scale /= static_cast<double>(batch);
  return single;
}

Tensor& multi_out(const Tensor& self, const Tensor& target_, const Scalar& p, const Scalar& margin, const Optional& weight_,
                  int64_t reduction, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::multi_margin_loss_out, self, target_, p, margin, weight_, reduction, out);
  check("multi_margin_loss", self, target_, weight_);
  check_same_device("multi_margin_loss", {{"self", &self}, {"out", &out}});
  int64_t batch = 0, classes = 0;
  TORCH_CHECK(p.toInt() == 1 || p.toInt() == 2, "only p == 1 and p == 2 supported");
  at::native::multi_margin_loss_shape_check(batch, classes, self.dim(), self, target_, weight_);
  TORCH_CHECK(out.scalar_type() == self.scalar_type(), "expected scalar type ", self.scalar_type(), " but found ", out.scalar_type());
  const Tensor input = self.contiguous(), target = target_.contiguous();
  const Tensor weight = weight_ && weight_->defined() ? weight_->contiguous() : Tensor();
  const Tensor losses = empty({batch}, self.scalar_type());
  if (batch) {
    MarginArgs args = arguments("multi_margin_loss", input, target, batch, classes);
    args.output = address(losses), args.weight = weight.defined() ? address(weight) : 0, args.margin = margin.toDouble();
    launch_margin(Form::multi, self.scalar_type(), p.toInt(), false, args);
  }
  return reduce(losses, reduction, reduction == at::Reduction::None && target_.dim() > 0, out);
}

Tensor multi(const Tensor& self, const Tensor& target, const Scalar& p, const Scalar& margin, const Optional& weight, int64_t reduction) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::multi_margin_loss, self, target, p, margin, weight, reduction);
  Tensor out = empty({0}, self.scalar_type());
  return multi_out(self, target, p, margin, weight, reduction, out);
}

Tensor multi_backward(const Tensor& grad_, const Tensor& self, const Tensor& target_, const Scalar& p, const Scalar& margin,
                      const Optional& weight_, int64_t reduction) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::multi_margin_loss_backward, grad_, self, target_, p, margin, weight_, reduction);
  check("multi_margin_loss_backward", self, target_, weight_);
  int64_t batch = 0, classes = 0;
  TORCH_CHECK(p.toInt() == 1 || p.toInt() == 2, "only p == 1 and p == 2 supported");
  at::native::multi_margin_loss_shape_check(batch, classes, self.dim(), self, target_, weight_);
  Tensor result = dense_like(self);
  if (!batch) return result;
  const Tensor input = self.contiguous(), target = target_.contiguous(), grad = grad_.contiguous();
  const Tensor weight = weight_ && weight_->defined() ? weight_->contiguous() : Tensor();
  MarginArgs args = arguments("multi_margin_loss_backward", input, target, batch, classes);
  const bool single = single_gradient("multi_margin_loss_backward", grad, self, batch, reduction, args);
  args.output = address(result), args.weight = weight.defined() ? address(weight) : 0, args.margin = margin.toDouble();
  args.grad = address(grad);
  launch_margin(Form::multi_backward, self.scalar_type(), p.toInt(), single, args);
  return result;
}

Tensor& multi_backward_out(const Tensor& grad, const Tensor& self, const Tensor& target, const Scalar& p, const Scalar& margin,
                           const Optional& weight, int64_t reduction, Tensor& grad_input) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::multi_margin_loss_backward_grad_input, grad, self, target, p, margin, weight, reduction,
                            grad_input);
  const Tensor result = multi_backward(grad, self, target, p, margin, weight, reduction);
  resize_out(grad_input, result.sizes());
  return grad_input.copy_(result);
}

std::tuple<Tensor&, Tensor&> label_out(const Tensor& self, const Tensor& target_, int64_t reduction, Tensor& output, Tensor& is_target) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::multilabel_margin_loss_forward_output, self, target_, reduction, output, is_target);
  check("multilabel_margin_loss_forward", self, target_, {});
  check_same_device("multilabel_margin_loss_forward", {{"self", &self}, {"output", &output}, {"is_target", &is_target}});
  int64_t batch = 0, classes = 0;
  at::native::multilabel_margin_loss_shape_check(batch, classes, self.dim(), self, target_);
  for (const Tensor* out : {&output, &is_target})
    TORCH_CHECK(out->scalar_type() == self.scalar_type(), "expected scalar type ", self.scalar_type(), " but found ", out->scalar_type());
  const Tensor input = self.contiguous(), target = target_.contiguous();
  resize_out(is_target, target_.sizes());
  const Tensor marks = is_target.is_contiguous() ? is_target : dense_like(is_target), losses = empty({batch}, self.scalar_type());
  if (batch) {
    MarginArgs args = arguments("multilabel_margin_loss", input, target, batch, classes);
    args.output = address(losses), args.is_target = address(marks);
    launch_margin(Form::label, self.scalar_type(), 0, false, args);
  }
  if (!marks.is_same(is_target)) is_target.copy_(marks);
  reduce(losses, reduction, reduction == at::Reduction::None && target_.dim() > 1, output);
  return {output, is_target};
}

std::tuple<Tensor, Tensor> label(const Tensor& self, const Tensor& target, int64_t reduction) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::multilabel_margin_loss_forward, self, target, reduction);
  Tensor output = empty({0}, self.scalar_type()), is_target = empty({0}, self.scalar_type());
  label_out(self, target, reduction, output, is_target);
  return {output, is_target};
}

Tensor label_backward(const Tensor& grad_, const Tensor& self, const Tensor& target_, int64_t reduction, const Tensor& is_target_) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::multilabel_margin_loss_backward, grad_, self, target_, reduction, is_target_);
  check("multilabel_margin_loss_backward", self, target_, {});
  int64_t batch = 0, classes = 0;
  at::native::multilabel_margin_loss_shape_check(batch, classes, self.dim(), self, target_);
  TORCH_CHECK(is_target_.sizes() == target_.sizes() && is_target_.scalar_type() == self.scalar_type() &&
              is_target_.device() == self.device(), "multilabel_margin_loss_backward: is_target must be what the forward pass returned");
  Tensor result = dense_like(self);
  if (!batch) return result;
  const Tensor input = self.contiguous(), target = target_.contiguous(), grad = grad_.contiguous(), marks = is_target_.contiguous();
  MarginArgs args = arguments("multilabel_margin_loss_backward", input, target, batch, classes);
  const bool single = single_gradient("multilabel_margin_loss_backward", grad, self, batch, reduction, args);
  args.output = address(result), args.is_target = address(marks), args.grad = address(grad);
  launch_margin(Form::label_backward, self.scalar_type(), 0, single, args);
  return result;
}

Tensor& label_backward_out(const Tensor& grad, const Tensor& self, const Tensor& target, int64_t reduction, const Tensor& is_target,
                           Tensor& grad_input) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::multilabel_margin_loss_backward_grad_input, grad, self, target, reduction, is_target, grad_input);
  const Tensor result = label_backward(grad, self, target, reduction, is_target);
  resize_out(grad_input, result.sizes());
  return grad_input.copy_(result);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("multi_margin_loss", &multi);
  m.impl("multi_margin_loss.out", &multi_out);
  m.impl("multi_margin_loss_backward", &multi_backward);
  m.impl("multi_margin_loss_backward.grad_input", &multi_backward_out);
  m.impl("multilabel_margin_loss_forward", &label);
  m.impl("multilabel_margin_loss_forward.output", &label_out);
  m.impl("multilabel_margin_loss_backward", &label_backward);
  m.impl("multilabel_margin_loss_backward.grad_input", &label_backward_out);
}

}  // namespace
}  // namespace usbgpu::aten
