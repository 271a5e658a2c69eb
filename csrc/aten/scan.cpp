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

using at::ScalarType;
using at::Tensor;

enum class Scan : uint8_t { Sum, Product, LogSumExp, Largest, Smallest };
constexpr const char* kNames[] = {"cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"};

enum class Form : uint8_t { columns, rows, totals, segments };
constexpr const char* kForms[] = {"columns", "rows", "totals", "segments"};

// An angle is known up to whole turns, and which one comes out depends on the order of the additions: a thread takes
// the whole row, as the CPU does.
bool of_angles(Scan operation, ScalarType type) { return operation == Scan::LogSumExp && at::isComplexType(type); }

Kernel* kernel_for(Scan operation, Form form, ScalarType type) {
  static KernelCache cache;
  return cache.get(key(operation, form, type), [&]() -> KernelSource {
    static constexpr const char* policies[] = {"Running<%, ScanSum>", "Running<%, ScanProduct>", "Running<%, ScanLogSumExp>",
                                               "Extreme<%, true>", "Extreme<%, false>"};
    const auto o = static_cast<size_t>(operation), f = static_cast<size_t>(form);
    const std::string symbol = std::string(kNames[o]) + "_" + kForms[f] + "_" + dtype_name(type);
    const bool extreme = operation == Scan::Largest || operation == Scan::Smallest;
    const bool angles = of_angles(operation, type);
    std::string policy = angles ? "Running<%, ScanComplexLogSumExp>" : policies[o];
    policy.replace(policy.find('%'), 1, extreme && type == at::kBool ? "uint8_t" : dtype_c_type(type));
    return {angles ? "complex_scan" : "scan", symbol, "USBGPU_SCAN(" + symbol + ", scan_" + kForms[f] + ", " + policy + ")"};
  });
}

constexpr int64_t kWanted = 512;        // groups that fill the device
constexpr int64_t kLeastSegment = 4096;

// input, target and places (of extremes) are contiguous, with elements.
void launch_scan(Scan operation, const Tensor& input, const Tensor& target, const Tensor& places, int64_t dim) {
  const int64_t inner = c10::multiply_integers(input.sizes().slice(dim + 1)), size = input.size(dim), rows = input.numel() / size;
  TORCH_CHECK(rows < (int64_t{1} << 31) && size < (int64_t{1} << 31), kNames[static_cast<size_t>(operation)], ": ", input.sizes(),
              " is more than usbgpu's kernels can index");
  const ScalarType type = input.scalar_type();
  usbgpu_family::ScanArgs args{};
  args.input = address(input), args.output = address(target), args.indices = places.defined() ? address(places) : 0;
  args.dim = static_cast<uint32_t>(size), args.inner = static_cast<uint32_t>(inner), args.rows = static_cast<uint32_t>(rows);
  // Long rows are shared by a group, the longest by several; where there are many, or short ones, each thread takes one.
  if (size <= 64 || rows >= 4096 || of_angles(operation, type))
    return launch(kernel_for(operation, Form::columns, type), grid_for(rows), kGroup256, args);
  const int64_t segment = std::max<int64_t>(kLeastSegment, ceil_div(size, ceil_div(kWanted, rows)));
  if (rows >= kWanted / 4 || size < 2 * segment) return launch(kernel_for(operation, Form::rows, type), {args.rows, 1, 1}, kGroup256, args);
  args.segment = static_cast<uint32_t>(segment), args.segments = ceil_div(size, segment);
  const Tensor totals = empty({rows * args.segments, 16}, at::kByte);   // up to 16 bytes each
  args.totals = address(totals);
  for (const Form form : {Form::totals, Form::segments})
    launch(kernel_for(operation, form, type), {args.rows, args.segments, 1}, kGroup256, args);
}

void scan(Scan operation, const Tensor& result, const Tensor& self, int64_t dim) {
  if (result.numel() == 0) return;
  at::assert_no_partial_overlap(result, self);
  if (self.dim() == 0) {
    result.copy_(self);
    return;
  }
  const Tensor target = result.is_contiguous() ? result : dense_like(result);
  launch_scan(operation, self.contiguous(), target, Tensor(), at::maybe_wrap_dim(dim, self.dim()));
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
void extreme_scan(Scan operation, const Tensor& self, Tensor& values, Tensor& indices, int64_t dim) {
  if (self.numel() == 0) return;
  if (self.dim() == 0) {
    values.copy_(self);
    indices.zero_();
    return;
  }
  const Tensor target = values.is_contiguous() ? values : dense_like(values);
  const Tensor places = indices.is_contiguous() ? indices : dense_like(indices);
  launch_scan(operation, self.contiguous(), target, places, at::maybe_wrap_dim(dim, self.dim()));
  if (!target.is_same(values)) values.copy_(target);
  if (!places.is_same(indices)) indices.copy_(places);
}

void cummax_helper(const Tensor& self, Tensor& values, Tensor& indices, int64_t dim) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_cummax_helper, self, values, indices, dim);
  extreme_scan(Scan::Largest, self, values, indices, dim);
}
void cummin_helper(const Tensor& self, Tensor& values, Tensor& indices, int64_t dim) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_cummin_helper, self, values, indices, dim);
  extreme_scan(Scan::Smallest, self, values, indices, dim);
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
