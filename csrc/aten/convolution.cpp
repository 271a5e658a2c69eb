// Convolutions have no kernels here yet. ATen sends them to convolution_overrideable for this device,
// which the boxed fallback cannot run (its CPU side only throws): they go to the CPU by hand, counted.
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <torch/library.h>

#include "aten/backend/fallback.h"

namespace usbgpu::aten {
namespace {

using at::IntArrayRef;
using at::Tensor;

Tensor convolution(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias, IntArrayRef stride,
                   IntArrayRef padding, IntArrayRef dilation, bool transposed, IntArrayRef output_padding, int64_t groups) {
  check_on_device("convolution", "input", input);
  check_on_device("convolution", "weight", weight);
  count_fallback("aten::convolution_overrideable");
  const bool with_bias = bias && bias->defined();
  return at::convolution(input.cpu(), weight.cpu(), with_bias ? std::optional(bias->cpu()) : std::nullopt, stride, padding,
                         dilation, transposed, output_padding, groups)
      .to(input.device());
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(const Tensor& grad, const Tensor& input, const Tensor& weight,
                                                        IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation,
                                                        bool transposed, IntArrayRef output_padding, int64_t groups,
                                                        std::array<bool, 3> wanted) {
  check_on_device("convolution_backward", "grad_output", grad);
  count_fallback("aten::convolution_backward_overrideable");
  const int64_t channels = transposed ? weight.size(1) * groups : weight.size(0);
  auto [grad_input, grad_weight, grad_bias] =
      at::convolution_backward(grad.cpu(), input.cpu(), weight.cpu(), IntArrayRef(channels), stride, padding, dilation,
                               transposed, output_padding, groups, wanted);
  const auto back = [&](const Tensor& tensor) { return tensor.defined() ? tensor.to(input.device()) : tensor; };
  return {back(grad_input), back(grad_weight), back(grad_bias)};
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("convolution_overrideable", &convolution);
  m.impl("convolution_backward_overrideable", &convolution_backward);
}

}  // namespace
}  // namespace usbgpu::aten
