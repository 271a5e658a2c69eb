// _unique, _unique2, unique_dim, unique_consecutive. Kernels: torch_usbgpu/kernels/unique.hip.
#include "aten/walk.h"

#include <ATen/WrapDimUtils.h>
#include <ATen/ops/_unique2_ops.h>
#include <ATen/ops/_unique_ops.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/unique_consecutive_ops.h>
#include <ATen/ops/unique_dim_consecutive_ops.h>
#include <ATen/ops/unique_dim_ops.h>
#include <torch/library.h>

#include <bit>

#include "../../torch_usbgpu/kernels/index_args.h"
#include "../../torch_usbgpu/kernels/unique_args.h"
#include "aten/backend/fallback.h"
#include "aten/sort.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using usbgpu_family::CompactArgs;
using usbgpu_family::kUniqueElements;
using usbgpu_family::UniqueArgs;
using Three = std::tuple<Tensor, Tensor, Tensor>;  // values, inverse, counts

enum class Unique : uint8_t { count, write, tile, merge };

Kernel* unique_kernel(Unique what, bool rows, ScalarType type) {
  static KernelCache cache;
  return cache.get(key(what, rows, type), [&]() -> KernelSource {
    static constexpr const char* names[] = {"unique_count", "unique_write", "rows_tile", "rows_merge"};
    const char* name = names[static_cast<size_t>(what)];
    const bool runs = what == Unique::count || what == Unique::write;
    const std::string symbol = std::string("unique_") + name + (rows ? "_rows_" : "_") + dtype_name(type);
    const std::string c_type = type == at::kBool ? "uint8_t" : dtype_c_type(type);
    const std::string of = !runs ? c_type : "usbgpu_family::" + std::string(rows ? "Rows<" : "Elements<") + c_type + ">";
    return {"unique", symbol, "USBGPU_UNIQUE(" + symbol + ", " + name + "<" + of + ">)"};
  });
}

Tensor no_indices() { return empty({0}, at::kLong); }

// Finds the runs of args' elements. Waits for the GPU, to learn how many there are.
//   values: new ones are made by `make(count)`; inverse has `inverse_shape`
template <class Make>
Three runs_of(UniqueArgs args, bool rows, ScalarType type, Make&& make, std::optional<at::IntArrayRef> inverse_shape, bool counts) {
  static Kernel* const scan = device().kernel("index", "compact_scan", "USBGPU_MOVE(compact_scan, CompactArgs, compact_scan)");
  static Kernel* const lengths = device().kernel("unique", "unique_lengths", "USBGPU_UNIQUE(unique_lengths, unique_lengths)");
  CompactArgs sums{};
  sums.groups = ceil_div(args.n, kUniqueElements);
  const Tensor heads = empty({static_cast<int64_t>(sums.groups)}, at::kInt), total = empty({}, at::kLong);
  args.counts = sums.counts = address(heads), sums.total = address(total);
  launch(unique_kernel(Unique::count, rows, type), {sums.groups, 1, 1}, kGroup256, args);
  launch(scan, {1, 1, 1}, kGroup256, sums);
  int64_t distinct = 0;
  read_back(&distinct, sums.total, sizeof(distinct));

  const Tensor values = make(distinct);
  const Tensor inverse = inverse_shape ? empty(*inverse_shape, at::kLong) : no_indices();
  const Tensor lengths_of = counts ? empty({distinct}, at::kLong) : no_indices();
  const Tensor starts = counts ? empty({distinct}, at::kLong) : Tensor();
  args.values = address(values), args.inverse = inverse_shape ? address(inverse) : 0;
  args.starts = counts ? address(starts) : 0, args.lengths = counts ? address(lengths_of) : 0;
  args.distinct = static_cast<uint64_t>(distinct);
  launch(unique_kernel(Unique::write, rows, type), {sums.groups, 1, 1}, kGroup256, args);
  if (counts) launch(lengths, grid_for(args.distinct), kGroup256, args);
  return {values, inverse, lengths_of};
}

void check_size(const Tensor& self, int64_t n) {
  TORCH_CHECK(n < (int64_t{1} << 31), "unique: ", self.sizes(), " is more than usbgpu's kernels can index");
}

Three unique_elements(const Tensor& self, bool sort, bool want_inverse, bool want_counts) {
  const ScalarType type = self.scalar_type();
  check_size(self, self.numel());
  if (self.numel() == 0)
    return {empty({0}, type), want_inverse ? empty(self.sizes(), at::kLong) : no_indices(), no_indices()};
  Sorted sorted;
  Tensor keys = self.contiguous().view({-1});
  if (sort) sorted = sort_rows(keys, false), keys = sorted.keys;
  UniqueArgs args{};
  args.keys = address(keys), args.order = sort ? address(sorted.order) : 0, args.n = keys.numel();
  return runs_of(args, false, type, [&](int64_t count) { return empty({count}, type); },
                 want_inverse ? std::optional(self.sizes()) : std::nullopt, want_counts);
}

// The slices along dim, compared as rows.
Three unique_slices(const Tensor& self, int64_t dim, bool sort, bool want_inverse, bool want_counts) {
  dim = at::maybe_wrap_dim(dim, self.dim());
  TORCH_CHECK_INDEX(self.dim() > 0, "Dimension specified as ", dim, " but tensor has no dimensions");
  const auto zeros = std::count(self.sizes().begin(), self.sizes().end(), 0);
  const ScalarType type = self.scalar_type();
  if (self.size(dim) == 0) {
    TORCH_CHECK(zeros == 1, "Number of zero sized dimensions is more than one, so unique cannot be applied ");
    return {empty(self.sizes(), type), no_indices(), no_indices()};
  }
  TORCH_CHECK(zeros == 0, "There are 0 sized dimensions, and they aren't selected, so unique cannot be applied");
  const int64_t n = self.size(dim);
  check_size(self, n);
  const Tensor rows = self.movedim(dim, 0).contiguous();
  UniqueArgs args{};
  args.keys = address(rows), args.n = n, args.row = rows.numel() / n;
  Tensor order, next;
  if (sort) {
    order = empty({n}, at::kLong);
    args.order_out = address(order), args.width = std::bit_ceil(std::min(static_cast<uint32_t>(n), kUniqueElements));
    launch(unique_kernel(Unique::tile, true, type), {ceil_div(n, kUniqueElements), 1, 1}, kGroup256, args);
    if (n > kUniqueElements) next = empty({n}, at::kLong);
    for (uint64_t run = kUniqueElements; run < static_cast<uint64_t>(n); run *= 2) {
      args.order = address(order), args.order_out = address(next), args.run = static_cast<uint32_t>(run);
      launch(unique_kernel(Unique::merge, true, type), grid_for(n), kGroup256, args);
      std::swap(order, next);
    }
    args.order = address(order);
  }
  const std::array<int64_t, 1> inverse_shape{n};
  auto [first, inverse, counts] = runs_of(args, true, type, [&](int64_t count) { return empty({count}, at::kLong); },
                                          want_inverse ? std::optional(at::IntArrayRef(inverse_shape)) : std::nullopt, want_counts);
  return {at::index_select(self, dim, first), inverse, counts};
}

// The values come out sorted even where nobody asked for it, as on the CPU.
Three unique2(const Tensor& self, bool sorted, bool want_inverse, bool want_counts) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_unique2, self, sorted, want_inverse, want_counts);
  return unique_elements(self, true, want_inverse, want_counts);
}

std::tuple<Tensor, Tensor> unique(const Tensor& self, bool sorted, bool want_inverse) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_unique, self, sorted, want_inverse);
  auto [values, inverse, counts] = unique_elements(self, true, want_inverse, false);
  return {values, inverse};
}

Three unique_dim(const Tensor& self, int64_t dim, bool sorted, bool want_inverse, bool want_counts) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::unique_dim, self, dim, sorted, want_inverse, want_counts);
  return unique_slices(self, dim, true, want_inverse, want_counts);
}

Three unique_dim_consecutive(const Tensor& self, int64_t dim, bool want_inverse, bool want_counts) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::unique_dim_consecutive, self, dim, want_inverse, want_counts);
  return unique_slices(self, dim, false, want_inverse, want_counts);
}

Three unique_consecutive(const Tensor& self, bool want_inverse, bool want_counts, std::optional<int64_t> dim) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::unique_consecutive, self, want_inverse, want_counts, dim);
  // One dimension is all elements.
  if (dim && !(self.dim() == 1 && at::maybe_wrap_dim(*dim, 1) == 0)) return unique_slices(self, *dim, false, want_inverse, want_counts);
  return unique_elements(self, false, want_inverse, want_counts);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_unique", &unique);
  m.impl("_unique2", &unique2);
  m.impl("unique_dim", &unique_dim);
  m.impl("unique_dim_consecutive", &unique_dim_consecutive);
  m.impl("unique_consecutive", &unique_consecutive);
}

}  // namespace
}  // namespace usbgpu::aten
