// cumsum, cumprod, logcumsumexp, cummax, cummin. Kernels: torch_usbgpu/kernels/scan.hip.
#include "aten/walk.h"

#include <ATen/WrapDimUtils.h>
#include <ATen/native/ReduceOps.h>
#include <ATen/ops/_cummax_helper_ops.h>
#include <ATen/ops/_cummin_helper_ops.h>
#include <ATen/ops/_logcumsumexp_ops.h>
#include <c10/util/accumulate.h>
#include <ATen/MemoryOverlap.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/scan_args.h"
#include "aten/backend/complex.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::Tensor;

enum class Scan : uint8_t { Sum, Product, LogSumExp };
constexpr const char* kNames[] = {"cumsum", "cumprod", "logcumsumexp"};
constexpr const char* kOps[] = {"ScanSum", "ScanProduct", "ScanLogSumExp"};

void scan(Scan operation, const Tensor& result, const Tensor& self, int64_t dim) {
  static KernelCache cache;
  if (result.numel() == 0) return;
  at::assert_no_partial_overlap(result, self);
  if (self.dim() == 0) {
    result.copy_(self);
    return;
  }
  const char* name = kNames[static_cast<size_t>(operation)];
  dim = at::maybe_wrap_dim(dim, self.dim());
  const Tensor input = self.contiguous();
  const Tensor target = result.is_contiguous() ? result : dense_like(result);
  const int64_t inner = c10::multiply_integers(self.sizes().slice(dim + 1)), size = self.size(dim), rows = self.numel() / size;
  TORCH_CHECK(rows < (int64_t{1} << 31) && size < (int64_t{1} << 31), name, ": ", self.sizes(),
              " is more than usbgpu's kernels can index");
  const at::ScalarType type = self.scalar_type();
  // An angle is known up to whole turns, and which one comes out depends on the order of the additions.
  const bool angles = operation == Scan::LogSumExp && at::isComplexType(type);
  // Long rows are shared by a group; where there are many, or short ones, each thread takes one.
  const bool columns = size <= 64 || rows >= 4096 || angles;
  Kernel* kernel = cache.get(key(operation, columns, type), [&]() -> KernelSource {
    const std::string form = columns ? "scan_columns" : "scan_rows";
    const std::string symbol = std::string(name) + (columns ? "_columns_" : "_rows_") + dtype_name(type);
    return {angles ? "complex_scan" : "scan", symbol,
            "USBGPU_SCAN(" + symbol + ", " + form + ", " + dtype_c_type(type) + ", " +
                (angles ? "ScanComplexLogSumExp" : kOps[static_cast<size_t>(operation)]) + ")"};
  });
  const usbgpu_family::ScanArgs args{address(input), address(target), static_cast<uint32_t>(size), static_cast<uint32_t>(inner),
                                     static_cast<uint32_t>(rows), 0};
  launch(kernel, columns ? grid_for(rows) : Dim3{args.rows, 1, 1}, kGroup256, args);
  if (!target.is_same(result)) result.copy_(target);
}

void cumsum_kernel(const Tensor& result, const Tensor& self, int64_t dim) {
  TORCH_CHECK_NOT_IMPLEMENTED(result.scalar_type() != at::kBool, "\"cumsum_out_cpu\" not implemented for 'Bool'");
  scan(Scan::Sum, result, self, dim);
}
void cumprod_kernel(const Tensor& result, const Tensor& self, int64_t dim) {
  TORCH_CHECK_NOT_IMPLEMENTED(result.scalar_type() != at::kBool, "\"cumprod_out_cpu\" not implemented for 'Bool'");
  scan(Scan::Product, result, self, dim);
}

Tensor& logcumsumexp_out(const Tensor& self, int64_t dim, Tensor& out) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::_logcumsumexp_out, self, dim, out);
  check_same_device("_logcumsumexp", {{"self", &self}, {"out", &out}});
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(self.scalar_type()) || self.is_complex(),
                              "\"logcumsumexp_out_cpu\" not implemented for '", self.scalar_type(), "'");
  TORCH_CHECK(out.scalar_type() == self.scalar_type(), "expected scalar_type ", self.scalar_type(), " but found ", out.scalar_type());
  at::maybe_wrap_dim(dim, self.dim());
  resize_out(out, self.sizes());
  at::assert_no_internal_overlap(out);
  scan(Scan::LogSumExp, out, self, dim);
  return out;
}
Tensor logcumsumexp(const Tensor& self, int64_t dim) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::_logcumsumexp, self, dim);
  Tensor out = dense_like(self);
  return logcumsumexp_out(self, dim, out);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_logcumsumexp", &logcumsumexp);
  m.impl("_logcumsumexp.out", &logcumsumexp_out);
}

// The caller has resized the outputs.
void extreme_scan(bool largest, const Tensor& self, Tensor& values, Tensor& indices, int64_t dim) {
  static KernelCache cache;
  if (self.numel() == 0) return;
  if (self.dim() == 0) {
    values.copy_(self);
    indices.zero_();
    return;
  }
  dim = at::maybe_wrap_dim(dim, self.dim());
  const Tensor input = self.contiguous();
  const Tensor target = values.is_contiguous() ? values : dense_like(values);
  const Tensor places = indices.is_contiguous() ? indices : dense_like(indices);
  const int64_t inner = c10::multiply_integers(self.sizes().slice(dim + 1)), size = self.size(dim), rows = self.numel() / size;
  TORCH_CHECK(rows < (int64_t{1} << 31) && size < (int64_t{1} << 31), "cummax: ", self.sizes(),
              " is more than usbgpu's kernels can index");
  const bool columns = size <= 64 || rows >= 4096;
  const at::ScalarType type = self.scalar_type();
  Kernel* kernel = cache.get(key(largest, columns, type), [&]() -> KernelSource {
    const std::string form = columns ? "extreme_columns" : "extreme_rows";
    const std::string symbol = std::string(largest ? "cummax_" : "cummin_") + (columns ? "columns_" : "rows_") + dtype_name(type);
    const char* c_type = type == at::kBool ? "uint8_t" : dtype_c_type(type);
    return {"scan", symbol, "USBGPU_EXTREME_SCAN(" + symbol + ", " + form + ", " + c_type + (largest ? ", true)" : ", false)")};
  });
  const usbgpu_family::ScanArgs args{address(input), address(target), static_cast<uint32_t>(size), static_cast<uint32_t>(inner),
                                     static_cast<uint32_t>(rows), address(places)};
  launch(kernel, columns ? grid_for(rows) : Dim3{args.rows, 1, 1}, kGroup256, args);
  if (!target.is_same(values)) values.copy_(target);
  if (!places.is_same(indices)) indices.copy_(places);
}

void cummax_helper(const Tensor& self, Tensor& values, Tensor& indices, int64_t dim) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_cummax_helper, self, values, indices, dim);
  extreme_scan(true, self, values, indices, dim);
}
void cummin_helper(const Tensor& self, Tensor& values, Tensor& indices, int64_t dim) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_cummin_helper, self, values, indices, dim);
  extreme_scan(false, self, values, indices, dim);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_cummax_helper", &cummax_helper);
  m.impl("_cummin_helper", &cummin_helper);
}

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(cumsum_stub, &usbgpu::aten::cumsum_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(cumprod_stub, &usbgpu::aten::cumprod_kernel)
}  // namespace at::native
