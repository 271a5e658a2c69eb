// kthvalue, median, nanmedian, mode. Kernels: torch_usbgpu/kernels/select.hip.
#include "aten/rows.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/TensorUtils.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/native/ReduceOpsUtils.h>
#include <ATen/ops/full.h>
#include <ATen/ops/kthvalue_ops.h>
#include <ATen/ops/median_ops.h>
#include <ATen/ops/mode_ops.h>
#include <ATen/ops/nanmedian_ops.h>
#include <torch/library.h>

#include <bit>
#include <limits>

#include "../../torch_usbgpu/kernels/select_args.h"
#include "aten/backend/fallback.h"
#include "aten/sort.h"
#include "aten/structured.h"

// The CPU has no kernels for bool: its own error then comes from there.
#define FALLBACK_FOR_BOOL(Op, ...) \
  if (self.scalar_type() == at::kBool) return at::native::call_fallback_fn<&boxed_fallback, Op>::call(__VA_ARGS__)

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using usbgpu_family::SelectArgs;
using usbgpu_family::Walk;

enum class Select : uint8_t { kth, median, nanmedian, mode, mode_sorted };

// n <= 32: a wave per row
constexpr uint32_t kWaveRow = 32;

Kernel* select_kernel(Select what, bool wave, ScalarType type) {
  static KernelCache cache;
  return cache.get(key(what, wave, type), [&]() -> KernelSource {
    static constexpr const char* names[] = {"kth", "median", "nanmedian", "mode_tile", "mode_sorted"};
    static constexpr const char* kinds[] = {"kKth", "kMedian", "kNanMedian"};
    const char* c_type = type == at::kBool ? "uint8_t" : dtype_c_type(type);
    const auto k = static_cast<size_t>(what);
    const std::string symbol = std::string("select_") + names[k] + (wave ? "_wave_" : "_") + dtype_name(type);
    if (what >= Select::mode) return {"select", symbol, "USBGPU_SELECT(" + symbol + ", " + names[k] + "<" + c_type + ">)"};
    return {"select", symbol, "USBGPU_SELECT(" + symbol + ", " + (wave ? "select_wave<" : "select_group<") + c_type +
                                  ", usbgpu_family::" + kinds[k] + ">)"};
  });
}

uint32_t row_length(const char* op, const Tensor& self, int64_t dim) {
  TORCH_CHECK(self.size(dim) < (int64_t{1} << 31), op, ": ", self.sizes(), " is more than usbgpu's kernels can index");
  return static_cast<uint32_t>(self.size(dim));
}

// values and indices have the right shape; self has elements and a dimension.
void select_rows(const char* op, Select what, const Tensor& self, int64_t dim, bool keepdim, const Tensor& values,
                 const Tensor& indices, uint32_t k = 0) {
  SelectArgs args{};
  args.n = row_length(op, self, dim), args.k = k, args.stride = stride_bytes(self, dim);
  const auto row_of = [&](const Tensor& out) { return keepdim ? out.select(dim, 0) : out; };
  const bool sorts = what == Select::mode && args.n > usbgpu_family::kSelectTile;
  Sorted sorted;
  Tensor rows = self.select(dim, 0), kept_values = row_of(values), kept_indices = row_of(indices);
  if (sorts) {
    // Rows are numbered as they lie in the sorted copy: the outputs, too, must be walked in that order.
    sorted = sort_rows(self.movedim(dim, -1).contiguous(), false);
    what = Select::mode_sorted;
    args.keys = address(sorted.keys), args.order = address(sorted.order);
    const Tensor target = empty(kept_values.sizes(), self.scalar_type()), places = empty(kept_values.sizes(), at::kLong);
    args.rows.address[0] = address(target), args.rows.address[1] = address(places);
    args.rows.dims = 1, args.rows.count = args.rows.size[0] = static_cast<uint32_t>(target.numel());
    args.rows.stride[0][0] = static_cast<int32_t>(target.element_size()), args.rows.stride[0][1] = 8;
    launch(select_kernel(what, false, self.scalar_type()), {args.rows.count, 1, 1}, kGroup256, args);
    kept_values.copy_(target);
    kept_indices.copy_(places);
    return;
  }
  args.width = std::bit_ceil(args.n);
  const bool wave = what != Select::mode && args.n <= kWaveRow;
  Kernel* kernel = select_kernel(what, wave, self.scalar_type());
  for_rows<3>(2, {kept_values, kept_indices, rows}, [&](const Walk<3>& walk) {
    args.rows = walk;
    launch(kernel, {wave ? ceil_div(walk.count, 8) : walk.count, 1, 1}, kGroup256, args);
  });
}

std::vector<int64_t> reduced_shape(const Tensor& self, int64_t dim, bool keepdim) {
  std::vector<int64_t> shape = self.sizes().vec();
  if (shape.empty()) return shape;
  if (keepdim) shape[dim] = 1;
  else shape.erase(shape.begin() + dim);
  return shape;
}

using Pair = std::tuple<Tensor&, Tensor&>;

// Outputs of the reduced shape, filled by select_rows.
Pair select_into(const char* op, Select what, const Tensor& self, int64_t dim, bool keepdim, Tensor& values, Tensor& indices,
                 uint32_t kth = 0) {
  const auto shape = reduced_shape(self, dim, keepdim);
  resize_out(values, shape);
  resize_out(indices, shape);
  at::assert_no_internal_overlap(values);
  at::assert_no_internal_overlap(indices);
  if (self.dim() == 0) {
    values.copy_(self);
    indices.zero_();
  } else if (self.numel() != 0) {
    const Tensor input = values.is_alias_of(self) ? self.clone() : self;
    select_rows(op, what, input, dim, keepdim, values, indices, kth);
  }
  return {values, indices};
}

// ---- kthvalue

Pair kthvalue_out(const Tensor& self, int64_t k, int64_t dim_, bool keepdim, Tensor& values, Tensor& indices) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::kthvalue_values, self, k, dim_, keepdim, values, indices);
  FALLBACK_FOR_BOOL(at::_ops::kthvalue_values, self, k, dim_, keepdim, values, indices);
  check_same_device("kthvalue", {{"self", &self}, {"values", &values}, {"indices", &indices}});
  const int64_t dim = at::maybe_wrap_dim(dim_, self.dim());
  at::native::zero_numel_check_dims(self, dim, "kthvalue()");
  TORCH_CHECK(k >= 1 && k <= (self.dim() ? self.size(dim) : 1), "kthvalue(): selected number k out of range for dimension ", dim);
  at::assert_no_overlap(self, values);
  TORCH_CHECK(values.scalar_type() == self.scalar_type(), "output values must be of same type as input");
  TORCH_CHECK(indices.scalar_type() == at::kLong, "output indices must be of scalar type Long");
  return select_into("kthvalue", Select::kth, self, dim, keepdim, values, indices, static_cast<uint32_t>(k - 1));
}

// ---- median

Pair median_rows(const char* op, Select what, const Tensor& self, int64_t dim, bool keepdim, Tensor& values, Tensor& indices) {
  dim = at::maybe_wrap_dim(dim, self.dim());
  at::native::zero_numel_check_dims(self, dim, (std::string(op) + "()").c_str());
  check_same_device(op, {{"self", &self}, {"values", &values}, {"indices", &indices}});
  at::checkScalarType(op, {indices, "indices", 1}, at::kLong);
  TORCH_CHECK(values.scalar_type() == self.scalar_type(), "Expected tensor for 'values' to have the same type as tensor for "
              "argument #2 'self'; but type ", values.toString(), " does not equal ", self.toString(),
              " (while checking arguments for ", op, ")");
  return select_into(op, what, self, dim, keepdim, values, indices);
}

Pair median_dim(const Tensor& self, int64_t dim, bool keepdim, Tensor& values, Tensor& indices) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::median_dim_values, self, dim, keepdim, values, indices);
  FALLBACK_FOR_BOOL(at::_ops::median_dim_values, self, dim, keepdim, values, indices);
  return median_rows("median", Select::median, self, dim, keepdim, values, indices);
}

Pair nanmedian_dim(const Tensor& self, int64_t dim, bool keepdim, Tensor& values, Tensor& indices) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::nanmedian_dim_values, self, dim, keepdim, values, indices);
  FALLBACK_FOR_BOOL(at::_ops::nanmedian_dim_values, self, dim, keepdim, values, indices);
  return median_rows("nanmedian", Select::nanmedian, self, dim, keepdim, values, indices);
}

// Of everything: one row, which one workgroup reads as often as its elements have bytes.
Tensor median_of_all(const char* op, Select what, const Tensor& self) {
  // No elements: what the CPU gets from converting a NaN
  if (self.numel() == 0) return at::full({}, std::numeric_limits<float>::quiet_NaN()).to(self.scalar_type()).to(self.device());
  const Tensor flat = self.contiguous().view({-1});
  const Tensor result = empty({}, self.scalar_type());
  SelectArgs args{};
  args.n = row_length(op, flat, 0), args.stride = static_cast<int64_t>(flat.element_size());
  args.rows.address[0] = address(result), args.rows.address[2] = address(flat);
  args.rows.dims = args.rows.count = args.rows.size[0] = 1;
  launch(select_kernel(what, args.n <= kWaveRow, self.scalar_type()), {1, 1, 1}, kGroup256, args);
  return result;
}

Tensor median(const Tensor& self) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::median, self);
  FALLBACK_FOR_BOOL(at::_ops::median, self);
  return median_of_all("median", Select::median, self);
}

Tensor nanmedian(const Tensor& self) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::nanmedian, self);
  FALLBACK_FOR_BOOL(at::_ops::nanmedian, self);
  return median_of_all("nanmedian", Select::nanmedian, self);
}

// ---- mode

Pair mode_out(const Tensor& self, int64_t dim, bool keepdim, Tensor& values, Tensor& indices) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::mode_values, self, dim, keepdim, values, indices);
  check_same_device("mode", {{"self", &self}, {"values", &values}, {"indices", &indices}});
  TORCH_CHECK(self.scalar_type() == values.scalar_type(), "expected scalar type '", self.scalar_type(), "' but got '",
              values.scalar_type(), "' for values output");
  TORCH_CHECK(indices.scalar_type() == at::kLong, "expected scalar type '", at::kLong, "' but got '", indices.scalar_type(),
              "' for indices output");
  dim = at::maybe_wrap_dim(dim, self.dim());
  if (self.numel() == 0) at::native::zero_numel_check_dims(self, dim, "mode()");
  return select_into("mode", Select::mode, self, dim, keepdim, values, indices);
}

std::tuple<Tensor, Tensor> mode(const Tensor& self, int64_t dim, bool keepdim) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::mode, self, dim, keepdim);
  check_on_device("mode", "self", self);
  Tensor values = empty({0}, self.scalar_type()), indices = empty({0}, at::kLong);
  mode_out(self, dim, keepdim, values, indices);
  return {values, indices};
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("kthvalue.values", &kthvalue_out);
  m.impl("median", &median);
  m.impl("median.dim_values", &median_dim);
  m.impl("nanmedian", &nanmedian);
  m.impl("nanmedian.dim_values", &nanmedian_dim);
  m.impl("mode", &mode);
  m.impl("mode.values", &mode_out);
}

}  // namespace
}  // namespace usbgpu::aten
