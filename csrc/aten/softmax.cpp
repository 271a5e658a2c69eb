// softmax, log_softmax, layer_norm and their gradients. Kernels: torch_usbgpu/kernels/softmax.hip.
#include <ATen/ops/_log_softmax_backward_data_meta.h>
#include <ATen/ops/_log_softmax_backward_data_ops.h>
#include <ATen/ops/_log_softmax_meta.h>
#include <ATen/ops/_log_softmax_ops.h>
#include <ATen/ops/_softmax_backward_data_meta.h>
#include <ATen/ops/_softmax_backward_data_ops.h>
#include <ATen/ops/_softmax_meta.h>
#include <ATen/ops/_softmax_ops.h>
#include <ATen/WrapDimUtils.h>
#include <c10/util/accumulate.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/softmax_args.h"
#include "aten/backend/fallback.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;

// A tensor seen as [outer, dim, inner].
struct Rows {
  uint32_t dim, inner, rows;
};

Rows rows_of(const char* op, const Tensor& tensor, int64_t dim) {
  if (tensor.dim() == 0) return {1, 1, 1};
  dim = at::maybe_wrap_dim(dim, tensor.dim());
  const int64_t outer = c10::multiply_integers(tensor.sizes().begin(), tensor.sizes().begin() + dim);
  const int64_t inner = c10::multiply_integers(tensor.sizes().begin() + dim + 1, tensor.sizes().end());
  TORCH_CHECK(tensor.size(dim) < (int64_t{1} << 32) && outer * inner < (int64_t{1} << 32), op, ": ", tensor.sizes(),
              " is more than usbgpu's kernels can index");
  return {static_cast<uint32_t>(tensor.size(dim)), static_cast<uint32_t>(inner), static_cast<uint32_t>(outer * inner)};
}

// Threads that share a row: one (short rows, or rows whose neighbours lie beside them), a wave, a group.
uint32_t threads_per_row(const Rows& rows) {
  if (rows.inner > 1) return rows.rows >= 1024 || rows.dim <= 64 ? 1 : 32;
  return rows.dim <= 16 ? 1 : rows.dim <= 1024 ? 32 : 256;
}

Dim3 grid_of(const Rows& rows, uint32_t per_row) { return {ceil_div(rows.rows, 256 / per_row), 1, 1}; }

void check_floating(const char* op, const Tensor& tensor) {
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(tensor.scalar_type()), '"', op, "\" not implemented for '",
                              at::toString(tensor.scalar_type()), "'");
}

// The kernels write contiguous results; another layout gets a copy.
class ContiguousResult {
 public:
  explicit ContiguousResult(const Tensor& out) : out_(out), target_(out.is_contiguous() ? out : dense_like(out)) {}
  const Tensor& target() const { return target_; }
  void finish() const {
    if (!target_.is_same(out_)) out_.copy_(target_);
  }

 private:
  const Tensor& out_;
  Tensor target_;
};

void softmax(bool log, const Tensor& self, int64_t dim, const Tensor& out) {
  static KernelCache cache;
  const char* op = log ? "log_softmax" : "softmax";
  check_floating(op, self);
  if (out.numel() == 0) return;
  const Tensor input = self.contiguous();
  const ContiguousResult result(out);
  const Rows rows = rows_of(op, input, dim);
  const uint32_t per_row = threads_per_row(rows);
  const ScalarType in = self.scalar_type(), to = out.scalar_type();
  Kernel* kernel = cache.get(key(log, in, to, per_row / 8), [&]() -> KernelSource {
    const std::string symbol = std::string(op) + "_" + dtype_name(in) + "_" + dtype_name(to) + "_by" + std::to_string(per_row);
    return {"softmax", symbol,
            "USBGPU_SOFTMAX(" + symbol + (log ? ", true, " : ", false, ") + dtype_c_type(in) + ", " + dtype_c_type(to) + ", " +
                std::to_string(per_row) + ")"};
  });
  const usbgpu_family::SoftmaxArgs args{address(input), address(result.target()), rows.dim, rows.inner, rows.rows};
  launch(kernel, grid_of(rows, per_row), {256, 1, 1}, args);
  result.finish();
}

void softmax_backward(bool log, const Tensor& grad_output, const Tensor& output, int64_t dim, const Tensor& grad_input) {
  static KernelCache cache;
  const char* op = log ? "log_softmax_backward" : "softmax_backward";
  check_floating(op, grad_output);
  if (grad_input.numel() == 0) return;
  const Tensor grad = grad_output.contiguous(), y = output.to(grad_output.scalar_type()).contiguous();
  const ContiguousResult result(grad_input);
  const Rows rows = rows_of(op, grad, dim);
  const uint32_t per_row = threads_per_row(rows);
  const ScalarType from = grad.scalar_type(), to = grad_input.scalar_type();
  Kernel* kernel = cache.get(key(log, from, to, per_row / 8), [&]() -> KernelSource {
    const std::string symbol = std::string(op) + "_" + dtype_name(from) + "_" + dtype_name(to) + "_by" + std::to_string(per_row);
    return {"softmax", symbol,
            "USBGPU_SOFTMAX_BACKWARD(" + symbol + (log ? ", true, " : ", false, ") + dtype_c_type(from) + ", " +
                dtype_c_type(to) + ", " + std::to_string(per_row) + ")"};
  });
  const usbgpu_family::SoftmaxBackwardArgs args{address(grad), address(y), address(result.target()),
                                                rows.dim,      rows.inner, rows.rows};
  launch(kernel, grid_of(rows, per_row), {256, 1, 1}, args);
  result.finish();
}

Tensor& softmax_out(const Tensor& self, int64_t dim, bool half_to_float, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_softmax_out, self, dim, half_to_float, out);
  check_same_device("softmax", {{"self", &self}, {"out", &out}});
  OutputOf<at::meta::structured__softmax> op(out);
  op.meta(self, dim, half_to_float);
  softmax(false, self, dim, out);
  return out;
}

Tensor& log_softmax_out(const Tensor& self, int64_t dim, bool half_to_float, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_log_softmax_out, self, dim, half_to_float, out);
  check_same_device("log_softmax", {{"self", &self}, {"out", &out}});
  OutputOf<at::meta::structured__log_softmax> op(out);
  op.meta(self, dim, half_to_float);
  softmax(true, self, dim, out);
  return out;
}

Tensor& softmax_backward_out(const Tensor& grad_output, const Tensor& output, int64_t dim, ScalarType input_dtype,
                             Tensor& grad_input) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_softmax_backward_data_out, grad_output, output, dim, input_dtype, grad_input);
  check_same_device("softmax_backward", {{"grad_output", &grad_output}, {"output", &output}, {"grad_input", &grad_input}});
  OutputOf<at::meta::structured__softmax_backward_data> op(grad_input);
  op.meta(grad_output, output, dim, input_dtype);
  softmax_backward(false, grad_output, output, dim, grad_input);
  return grad_input;
}

Tensor& log_softmax_backward_out(const Tensor& grad_output, const Tensor& output, int64_t dim, ScalarType input_dtype,
                                 Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_log_softmax_backward_data_out, grad_output, output, dim, input_dtype, out);
  check_same_device("log_softmax_backward", {{"grad_output", &grad_output}, {"output", &output}, {"out", &out}});
  OutputOf<at::meta::structured__log_softmax_backward_data> op(out);
  op.meta(grad_output, output, dim, input_dtype);
  softmax_backward(true, grad_output, output, dim, out);
  return out;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_softmax.out", &softmax_out);
  m.impl("_log_softmax.out", &log_softmax_out);
  m.impl("_softmax_backward_data.out", &softmax_backward_out);
  m.impl("_log_softmax_backward_data.out", &log_softmax_backward_out);
}

}  // namespace
}  // namespace usbgpu::aten
