// Weight normalisation along the first or the last dimension, and its gradient, in one launch each; of other dimensions
// ATen composes it. Kernels: torch_usbgpu/kernels/weight_norm.hip.
#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/weight_norm_args.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using usbgpu_family::WeightNormArgs;

WeightNormArgs arguments(const char* op, const Tensor& v, const Tensor& g, int64_t dim) {
  check_same_device(op, {{"v", &v}, {"g", &g}});
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(v.scalar_type()), '"', op, "\" not implemented for '", at::toString(v.scalar_type()), "'");
  TORCH_CHECK(v.dim() >= 1 && (dim == 0 || dim == v.dim() - 1), op, ": only the first or the last dimension, but got dim ", dim, " of ",
              v.dim());
  TORCH_CHECK(g.numel() == v.size(dim) && g.scalar_type() == v.scalar_type(), op, ": expected ", v.size(dim), " lengths of dtype ",
              v.scalar_type(), " in g, but got ", g.sizes(), " of ", g.scalar_type());
  TORCH_CHECK(v.numel() < (int64_t{1} << 32) - 256, op, ": ", v.sizes(), " is more than usbgpu's kernels can index");
  WeightNormArgs args{};
  args.rows = static_cast<uint32_t>(v.size(dim)), args.width = args.rows ? static_cast<uint32_t>(v.numel() / args.rows) : 0;
  args.row_stride = dim == 0 ? args.width : 1, args.item_stride = dim == 0 ? 1 : args.rows;
  return args;
}

void launch_rows(const char* form, ScalarType type, const WeightNormArgs& args) {
  if (args.rows == 0) return;
  static KernelCache cache;
  Kernel* kernel = cache.get(key(args.grad_w != 0, type), [&]() -> KernelSource {
    const std::string symbol = std::string(form) + "_" + dtype_name(type);
    return {"weight_norm", symbol, "USBGPU_WEIGHT_NORM(" + symbol + ", " + form + ", " + dtype_c_type(type) + ")"};
  });
  launch(kernel, {args.rows, 1, 1}, {256, 1, 1}, args);
}

std::tuple<Tensor, Tensor> weight_norm(const Tensor& v_, const Tensor& g_, int64_t dim) {
  WeightNormArgs args = arguments("weight_norm", v_, g_, dim);
  const ScalarType type = v_.scalar_type();
  const Tensor v = v_.contiguous(), g = g_.contiguous();
  Tensor w = empty(v.sizes(), type), norms = empty(g.sizes(), compute_dtype(type));
  args.v = address(v), args.g = address(g), args.w = address(w), args.norms = address(norms);
  launch_rows("weight_norm", type, args);
  return {w, norms};
}

std::tuple<Tensor, Tensor> weight_norm_backward(const Tensor& grad_, const Tensor& v_, const Tensor& g_, const Tensor& norms_, int64_t dim) {
  WeightNormArgs args = arguments("weight_norm_backward", v_, g_, dim);
  check_same_device("weight_norm_backward", {{"grad_w", &grad_}, {"saved_norms", &norms_}});
  const ScalarType type = v_.scalar_type();
  TORCH_CHECK(grad_.sizes() == v_.sizes() && grad_.scalar_type() == type && norms_.numel() == g_.numel(),
              "weight_norm_backward: expected a gradient like v, ", type, " ", v_.sizes(), ", but got ", grad_.scalar_type(), " ", grad_.sizes());
  const Tensor v = v_.contiguous(), g = g_.contiguous(), grad = grad_.contiguous(), norms = norms_.to(compute_dtype(type)).contiguous();
  Tensor grad_v = empty(v.sizes(), type), grad_g = empty(g.sizes(), type);
  args.v = address(v), args.g = address(g), args.norms = address(norms), args.grad_w = address(grad);
  args.grad_v = address(grad_v), args.grad_g = address(grad_g);
  launch_rows("weight_norm_backward", type, args);
  return {grad_v, grad_g};
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_weight_norm_interface", &weight_norm);
  m.impl("_weight_norm_interface_backward", &weight_norm_backward);
}

}  // namespace
}  // namespace usbgpu::aten
