// native_layer_norm and its gradient. Kernels: torch_usbgpu/kernels/softmax.hip.
#include <ATen/core/Tensor.h>
#include <ATen/ops/native_layer_norm_backward_ops.h>
#include <ATen/ops/native_layer_norm_ops.h>
#include <c10/util/accumulate.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/softmax_args.h"
#include "aten/backend/fallback.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::IntArrayRef;
using at::ScalarType;
using at::Tensor;

Tensor defined(const std::optional<Tensor>& tensor) { return tensor.value_or(Tensor()); }
uint64_t address_or_none(const Tensor& tensor) { return tensor.defined() ? address(tensor) : 0; }

struct Shape {
  uint32_t rows, width;
  std::vector<int64_t> statistics;  // shape of mean and rstd
};

Shape check(const char* op, const Tensor& input, IntArrayRef normalized, const Tensor& weight, const Tensor& bias) {
  const auto dims = static_cast<int64_t>(normalized.size());
  TORCH_CHECK(dims >= 1, "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got ",
              "normalized_shape = ", normalized);
  for (const auto& [name, tensor] : {std::pair("weight", &weight), std::pair("bias", &bias)}) {
    if (!tensor->defined()) continue;
    TORCH_CHECK(tensor->sizes().equals(normalized), "Expected ", name, " to be of same shape as normalized_shape, but got ", name,
                " of shape ", tensor->sizes(), " and normalized_shape = ", normalized);
    TORCH_CHECK(tensor->scalar_type() == input.scalar_type(), op, ": expected ", name, " of dtype ", input.scalar_type(),
                ", but got ", tensor->scalar_type());
    check_same_device(op, {{"input", &input}, {name, tensor}});
  }
  TORCH_CHECK(input.dim() >= dims && input.sizes().slice(input.dim() - dims).equals(normalized), "Given normalized_shape=",
              normalized, ", expected input with shape [*", normalized, "], but got input of size", input.sizes());
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(input.scalar_type()), '"', op, "\" not implemented for '",
                              at::toString(input.scalar_type()), "'");
  const int64_t width = c10::multiply_integers(normalized), rows = width ? input.numel() / width : 0;
  TORCH_CHECK(width < (int64_t{1} << 32) && rows < (int64_t{1} << 32), op, ": ", input.sizes(),
              " is more than usbgpu's kernels can index");
  Shape shape{static_cast<uint32_t>(rows), static_cast<uint32_t>(width), input.sizes().vec()};
  std::fill(shape.statistics.end() - dims, shape.statistics.end(), 1);
  return shape;
}

enum class Form : uint8_t { forward, backward, weights };

void launch_rows(Form form, ScalarType type, uint32_t width, uint32_t rows, const auto& args) {
  static KernelCache cache;
  const uint32_t per_row = width <= 1024 ? 32 : 256;
  Kernel* kernel = cache.get(key(form, type, per_row / 8), [&]() -> KernelSource {
    const std::string t = dtype_c_type(type), by = std::to_string(per_row);
    if (form == Form::weights) {
      const std::string symbol = std::string("layer_norm_backward_weights_") + dtype_name(type) + "_by" + by;
      return {"softmax", symbol, "USBGPU_LAYER_NORM_BACKWARD(" + symbol + ", layer_norm_backward_weights, " + t + ")"};
    }
    const std::string name = form == Form::forward ? "layer_norm" : "layer_norm_backward";
    const std::string symbol = name + "_" + dtype_name(type) + "_by" + by;
    if (form == Form::forward) return {"softmax", symbol, "USBGPU_LAYER_NORM(" + symbol + ", " + t + ", " + by + ")"};
    return {"softmax", symbol, "USBGPU_LAYER_NORM_BACKWARD(" + symbol + ", layer_norm_backward, " + t + ", " + by + ")"};
  });
  const uint32_t groups = form == Form::weights ? ceil_div(width, 256) : ceil_div(rows, 256 / per_row);
  launch(kernel, {groups, 1, 1}, {256, 1, 1}, args);
}

std::tuple<Tensor, Tensor, Tensor> native_layer_norm(const Tensor& input, IntArrayRef normalized_shape,
                                                     const std::optional<Tensor>& weight_, const std::optional<Tensor>& bias_,
                                                     double eps) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::native_layer_norm, input, normalized_shape, weight_, bias_, eps);
  const Tensor given_weight = defined(weight_), given_bias = defined(bias_);
  const Shape shape = check("native_layer_norm", input, normalized_shape, given_weight, given_bias);
  const Tensor x = input.contiguous();
  const Tensor weight = given_weight.defined() ? given_weight.contiguous() : Tensor();
  const Tensor bias = given_bias.defined() ? given_bias.contiguous() : Tensor();
  Tensor out = empty(input.sizes(), input.scalar_type());
  const ScalarType statistics = compute_dtype(input.scalar_type());
  Tensor mean = empty(shape.statistics, statistics), rstd = empty(shape.statistics, statistics);
  if (shape.rows == 0) return {out, mean, rstd};
  const usbgpu_family::LayerNormArgs args{address(x),    address_or_none(weight), address_or_none(bias), address(out),
                                          address(mean), address(rstd),           shape.rows,            shape.width,
                                          eps};
  launch_rows(Form::forward, input.scalar_type(), shape.width, shape.rows, args);
  return {out, mean, rstd};
}

std::tuple<Tensor, Tensor, Tensor> native_layer_norm_backward(const Tensor& grad_out, const Tensor& input,
                                                              IntArrayRef normalized_shape, const Tensor& mean,
                                                              const Tensor& rstd, const std::optional<Tensor>& weight_,
                                                              const std::optional<Tensor>& bias_,
                                                              std::array<bool, 3> output_mask) {
  if (any_unsupported(grad_out, input, mean, rstd, weight_, bias_))
    return at::native::call_fallback_fn<&boxed_fallback, at::_ops::native_layer_norm_backward>::call(
        grad_out, input, normalized_shape, mean, rstd, weight_, bias_, output_mask);
  check_same_device("native_layer_norm_backward", {{"grad_out", &grad_out}, {"input", &input}, {"mean", &mean}, {"rstd", &rstd}});
  const Tensor given_weight = defined(weight_);
  const Shape shape = check("native_layer_norm_backward", input, normalized_shape, given_weight, defined(bias_));
  TORCH_CHECK(grad_out.sizes() == input.sizes() && grad_out.scalar_type() == input.scalar_type(),
              "native_layer_norm_backward: expected a gradient like the input, ", input.scalar_type(), " ", input.sizes(),
              ", but got ", grad_out.scalar_type(), " ", grad_out.sizes());
  const ScalarType type = input.scalar_type(), statistics = compute_dtype(type);
  const Tensor grad = grad_out.contiguous(), x = input.contiguous();
  const Tensor m = mean.to(statistics).contiguous(), r = rstd.to(statistics).contiguous();
  const Tensor weight = given_weight.defined() ? given_weight.contiguous() : Tensor();
  Tensor grad_input, grad_weight, grad_bias;
  if (output_mask[0]) grad_input = empty(input.sizes(), type);
  if (output_mask[1] && weight.defined()) grad_weight = empty(normalized_shape, type);
  if (output_mask[2]) grad_bias = empty(normalized_shape, type);
  const usbgpu_family::LayerNormBackwardArgs args{
      address(grad), address(x), address(m), address(r), address_or_none(weight), address_or_none(grad_input),
      address_or_none(grad_weight), address_or_none(grad_bias), shape.rows, shape.width};
  if (grad_input.defined() && shape.rows) launch_rows(Form::backward, type, shape.width, shape.rows, args);
  if ((grad_weight.defined() || grad_bias.defined()) && shape.width)
    launch_rows(Form::weights, type, shape.width, shape.rows, args);
  return {grad_input, grad_weight, grad_bias};
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("native_layer_norm", &native_layer_norm);
  m.impl("native_layer_norm_backward", &native_layer_norm_backward);
}

}  // namespace
}  // namespace usbgpu::aten
