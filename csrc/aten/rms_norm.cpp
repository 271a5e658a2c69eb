// rms_norm in one launch, and its gradient. Kernels: torch_usbgpu/kernels/rms_norm.hip.
#include <ATen/core/Tensor.h>
#include <c10/util/accumulate.h>
#include <torch/library.h>

#include <limits>

#include "../../torch_usbgpu/kernels/rms_norm_args.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::IntArrayRef;
using at::ScalarType;
using at::Tensor;
using Optional = std::optional<Tensor>;
using usbgpu_family::RmsNormArgs;

struct Shape {
  uint32_t rows, width;
  std::vector<int64_t> statistics;
};

Shape check(const char* op, const Tensor& input, IntArrayRef normalized, const Tensor& weight) {
  const auto dims = static_cast<int64_t>(normalized.size());
  TORCH_CHECK(dims >= 1, "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got ",
              "normalized_shape = ", normalized);
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(input.scalar_type()), '"', op, "\" not implemented for '",
                              at::toString(input.scalar_type()), "'");
  if (weight.defined()) {
    check_same_device(op, {{"input", &input}, {"weight", &weight}});
    TORCH_CHECK(weight.sizes().equals(normalized), "Expected weight to be of same shape as normalized_shape, but got weight of shape ",
                weight.sizes(), " and normalized_shape = ", normalized);
    TORCH_CHECK(weight.scalar_type() == input.scalar_type(), op, ": expected weight of dtype ", input.scalar_type(), ", but got ",
                weight.scalar_type());
  }
  TORCH_CHECK(input.dim() >= dims && input.sizes().slice(input.dim() - dims).equals(normalized), "Given normalized_shape=",
              normalized, ", expected input with shape [*", normalized, "], but got input of size", input.sizes());
  const int64_t width = c10::multiply_integers(normalized), rows = width ? input.numel() / width : 0;
  TORCH_CHECK(width < (int64_t{1} << 32) - 256 && rows < (int64_t{1} << 32) - 256, op, ": ", input.sizes(),
              " is more than usbgpu's kernels can index");
  Shape shape{static_cast<uint32_t>(rows), static_cast<uint32_t>(width), input.sizes().vec()};
  std::fill(shape.statistics.end() - dims, shape.statistics.end(), 1);
  return shape;
}

constexpr const char* kForms[] = {"rms_norm", "rms_norm_backward", "rms_norm_backward_weight"};

void launch_rows(int form, ScalarType type, const RmsNormArgs& args) {
  static KernelCache cache;
  const uint32_t per_row = form == 2 || args.width <= 1024 ? 32 : 256;
  Kernel* kernel = cache.get(key(form, type, per_row / 8), [&]() -> KernelSource {
    const std::string symbol = std::string(kForms[form]) + "_" + dtype_name(type) + "_by" + std::to_string(per_row);
    return {"rms_norm", symbol,
            "USBGPU_RMS_NORM(" + symbol + ", " + kForms[form] + ", " + dtype_c_type(type) + ", " + std::to_string(per_row) + ")"};
  });
  launch(kernel, {form == 2 ? ceil_div(args.width, 256) : ceil_div(args.rows, 256 / per_row), 1, 1}, {256, 1, 1}, args);
}

std::tuple<Tensor, Tensor> rms_norm(const Tensor& input, IntArrayRef normalized_shape, const Optional& weight_, std::optional<double> eps) {
  const Tensor given = weight_.value_or(Tensor());
  const Shape shape = check("rms_norm", input, normalized_shape, given);
  const ScalarType statistics = compute_dtype(input.scalar_type());
  const Tensor x = input.contiguous(), weight = given.defined() ? given.contiguous() : given;
  Tensor output = empty(input.sizes(), input.scalar_type()), rstd = empty(shape.statistics, statistics);
  if (shape.rows == 0) return {output, rstd};
  RmsNormArgs args{};
  args.input = address(x), args.weight = weight.defined() ? address(weight) : 0, args.output = address(output), args.rstd = address(rstd);
  args.epsilon = eps.value_or(statistics == at::kDouble ? std::numeric_limits<double>::epsilon() : std::numeric_limits<float>::epsilon());
  args.rows = shape.rows, args.width = shape.width;
  launch_rows(0, input.scalar_type(), args);
  return {output, rstd};
}

std::tuple<Tensor, Tensor> rms_norm_backward(const Tensor& grad_, const Tensor& input, IntArrayRef normalized_shape, const Tensor& rstd_,
                                             const Optional& weight_, std::array<bool, 2> mask) {
  const Tensor given = weight_.value_or(Tensor());
  const Shape shape = check("rms_norm_backward", input, normalized_shape, given);
  check_same_device("rms_norm_backward", {{"grad_out", &grad_}, {"input", &input}, {"rstd", &rstd_}});
  const ScalarType type = input.scalar_type();
  TORCH_CHECK(grad_.sizes() == input.sizes() && grad_.scalar_type() == type && rstd_.numel() == shape.rows,
              "rms_norm_backward: expected a gradient like the input, ", type, " ", input.sizes(), ", but got ", grad_.scalar_type(), " ",
              grad_.sizes());
  const Tensor x = input.contiguous(), grad = grad_.contiguous(), rstd = rstd_.to(compute_dtype(type)).contiguous();
  const Tensor weight = given.defined() ? given.contiguous() : given;
  Tensor grad_input, grad_weight;
  if (mask[0]) grad_input = empty(input.sizes(), type);
  if (mask[1] && weight.defined()) grad_weight = empty(normalized_shape, type);
  RmsNormArgs args{};
  args.input = address(x), args.weight = weight.defined() ? address(weight) : 0, args.rstd = address(rstd), args.grad = address(grad);
  args.rows = shape.rows, args.width = shape.width;
  if (grad_input.defined() && shape.rows) args.grad_input = address(grad_input), launch_rows(1, type, args);
  if (grad_weight.defined() && shape.width) args.grad_weight = address(grad_weight), launch_rows(2, type, args);
  return {grad_input, grad_weight};
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_fused_rms_norm", &rms_norm);
  m.impl("_fused_rms_norm_backward", &rms_norm_backward);
}

}  // namespace
}  // namespace usbgpu::aten
