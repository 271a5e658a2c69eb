// native_group_norm and its gradient. Kernels: torch_usbgpu/kernels/norm.hip.
#include <ATen/core/Tensor.h>
#include <ATen/ops/native_group_norm_backward_ops.h>
#include <ATen/ops/native_group_norm_ops.h>
#include <torch/library.h>

#include "aten/backend/fallback.h"
#include "aten/norm.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using Optional = std::optional<Tensor>;
using usbgpu_family::NormArgs;

uint64_t address_or_none(const Tensor& tensor) { return tensor.defined() ? address(tensor) : 0; }

void check(const char* op, const Tensor& input, int64_t batch, int64_t channels, int64_t inner, int64_t groups) {
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(input.scalar_type()), '"', op, "\" not implemented for '",
                              at::toString(input.scalar_type()), "'");
  TORCH_CHECK(groups > 0, "Expected num groups to be greater than 0, got ", groups);
  TORCH_CHECK(channels % groups == 0, "Expected number of channels in input to be divisible by num_groups, but got input of shape ",
              input.sizes(), " and num_groups=", groups);
  TORCH_CHECK(input.numel() == batch * channels * inner, op, ": expected an input of ", batch, " x ", channels, " x ", inner,
              " elements, but got ", input.sizes());
}

void check_parameter(const char* name, const Tensor& tensor, int64_t channels) {
  TORCH_CHECK(!tensor.defined() || (tensor.dim() == 1 && tensor.numel() == channels), "Expected ", name,
              " to be a vector of size equal to the number of channels in input, but got ", name, " of shape ", tensor.sizes(),
              " and ", channels, " channels");
}

// As [N, C, ...] where its sizes say so, else reshaped.
Tensor operand(const Tensor& tensor, int64_t batch, int64_t channels, int64_t inner) {
  if (tensor.dim() >= 2 && tensor.size(0) == batch && tensor.size(1) == channels) return norm_operand(tensor);
  return tensor.contiguous().view({batch, channels, inner});
}

NormArgs arguments(const Tensor& input, int64_t batch, int64_t channels, int64_t inner, int64_t groups) {
  NormArgs args{};
  args.input = norm_view(input);
  args.inner = divisor(static_cast<uint32_t>(inner));
  args.batch = static_cast<uint32_t>(batch), args.channels = static_cast<uint32_t>(channels);
  args.per_group = static_cast<uint32_t>(channels / groups);
  args.count = static_cast<uint32_t>(channels / groups * inner);
  return args;
}

Tensor like(const Tensor& input) { return empty(input.sizes(), input.scalar_type(), input.suggest_memory_format()); }

std::tuple<Tensor, Tensor, Tensor> native_group_norm(const Tensor& self, const Optional& weight_, const Optional& bias_,
                                                     int64_t batch, int64_t channels, int64_t inner, int64_t groups, double eps) {
  FALLBACK_IF_NORM(self, at::_ops::native_group_norm, self, weight_, bias_, batch, channels, inner, groups, eps);
  check("native_group_norm", self, batch, channels, inner, groups);
  const Tensor weight = weight_ && weight_->defined() ? weight_->contiguous() : Tensor();
  const Tensor bias = bias_ && bias_->defined() ? bias_->contiguous() : Tensor();
  check_parameter("weight", weight, channels), check_parameter("bias", bias, channels);
  const ScalarType parameters = norm_parameters("group_norm", self, {&weight, &bias});
  Tensor output = like(self), mean = empty({batch, groups}, parameters), rstd = empty({batch, groups}, parameters);
  if (self.numel() == 0) {
    // no elements: their sum is 0, and the formula is followed to the end
    mean.zero_(), rstd.fill_(std::numeric_limits<double>::quiet_NaN());
    return {output, mean, rstd};
  }
  const Tensor input = operand(self, batch, channels, inner), result = operand(output, batch, channels, inner);
  NormArgs args = arguments(input, batch, channels, inner, groups);
  args.output = norm_view(result);
  args.weight = address_or_none(weight), args.bias = address_or_none(bias);
  args.mean = address(mean), args.rstd = address(rstd), args.epsilon = eps;
  launch_norm(NormForm::group, self.scalar_type(), parameters, {static_cast<uint32_t>(batch * groups), 1, 1}, args);
  return {output, mean, rstd};
}

std::tuple<Tensor, Tensor, Tensor> native_group_norm_backward(const Tensor& grad_out, const Tensor& self, const Tensor& mean_,
                                                              const Tensor& rstd_, const Optional& weight_, int64_t batch,
                                                              int64_t channels, int64_t inner, int64_t groups,
                                                              std::array<bool, 3> mask) {
  FALLBACK_IF_NORM(self, at::_ops::native_group_norm_backward, grad_out, self, mean_, rstd_, weight_, batch, channels, inner,
                   groups, mask);
  check("native_group_norm_backward", self, batch, channels, inner, groups);
  check_same_device("native_group_norm_backward", {{"grad_out", &grad_out}, {"input", &self}, {"mean", &mean_}, {"rstd", &rstd_}});
  TORCH_CHECK(grad_out.sizes() == self.sizes() && grad_out.scalar_type() == self.scalar_type(),
              "native_group_norm_backward: expected a gradient like the input, ", self.scalar_type(), " ", self.sizes(),
              ", but got ", grad_out.scalar_type(), " ", grad_out.sizes());
  TORCH_CHECK(mean_.numel() == batch * groups && rstd_.numel() == batch * groups,
              "native_group_norm_backward: expected mean and rstd of ", batch * groups, " elements, but got ", mean_.sizes(), " and ",
              rstd_.sizes());
  const Tensor weight = weight_ && weight_->defined() ? weight_->contiguous() : Tensor();
  check_parameter("weight", weight, channels);
  const ScalarType parameters = norm_parameters("group_norm", self, {&weight, &mean_});
  Tensor grad_input, grad_weight, grad_bias;
  if (mask[0]) grad_input = like(self);
  if (mask[1]) grad_weight = empty({channels}, parameters);
  if (mask[2]) grad_bias = empty({channels}, parameters);
  if (self.numel() == 0) {
    if (mask[1]) grad_weight.zero_();
    if (mask[2]) grad_bias.zero_();
    return {grad_input, grad_weight, grad_bias};
  }
  const Tensor input = operand(self, batch, channels, inner), grad = operand(grad_out, batch, channels, inner);
  const Tensor mean = mean_.to(parameters).contiguous(), rstd = rstd_.to(parameters).contiguous();
  NormArgs args = arguments(input, batch, channels, inner, groups);
  args.grad = norm_view(grad), args.weight = address_or_none(weight), args.mean = address(mean), args.rstd = address(rstd);
  args.grad_weight = address_or_none(grad_weight), args.grad_bias = address_or_none(grad_bias);
  if (mask[0]) {
    const Tensor result = operand(grad_input, batch, channels, inner);
    args.output = norm_view(result);
    launch_norm(NormForm::group_backward, self.scalar_type(), parameters, {static_cast<uint32_t>(batch * groups), 1, 1}, args);
  }
  if (mask[1] || mask[2]) {
    args.count = static_cast<uint32_t>(batch * inner);
    launch_norm(NormForm::group_weights, self.scalar_type(), parameters, {args.channels, 1, 1}, args);
  }
  return {grad_input, grad_weight, grad_bias};
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("native_group_norm", &native_group_norm);
  m.impl("native_group_norm_backward", &native_group_norm_backward);
}

}  // namespace
}  // namespace usbgpu::aten
