// sort, topk, randperm. Kernels: torch_usbgpu/kernels/sort.hip.
#include "aten/sort.h"
#include "aten/walk.h"

#include <ATen/WrapDimUtils.h>
#include <ATen/native/Sorting.h>
#include <ATen/ops/randperm_ops.h>
#include <ATen/ops/topk_meta.h>
#include <ATen/ops/topk_ops.h>
#include <c10/util/accumulate.h>
#include <torch/library.h>

#include <bit>

#include "../../torch_usbgpu/kernels/sort_args.h"
#include "aten/backend/fallback.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using at::TensorBase;
using usbgpu_family::kSortTile;
using usbgpu_family::SortArgs;

Kernel* sort_kernel_for(bool merge, ScalarType type, bool descending) {
  static KernelCache cache;
  return cache.get(key(merge, type, descending), [&]() -> KernelSource {
    const std::string form = merge ? "sort_merge" : "sort_tile";
    const std::string symbol = form + "_" + dtype_name(type) + (descending ? "_down" : "_up");
    const char* c_type = type == at::kBool ? "uint8_t" : dtype_c_type(type);
    return {"sort", symbol, "USBGPU_SORT(" + symbol + ", " + form + ", " + c_type + (descending ? ", true)" : ", false)")};
  });
}

}  // namespace

namespace {

// Rows that one workgroup sorts whole, along dim of a contiguous tensor, into contiguous ones.
void sort_tiles(const Tensor& input, int64_t dim, bool descending, const Sorted& into) {
  SortArgs args{};
  args.n = static_cast<uint32_t>(input.size(dim)), args.rows = static_cast<uint32_t>(input.numel() / args.n);
  args.inner = static_cast<uint32_t>(c10::multiply_integers(input.sizes().slice(dim + 1)));
  args.kept = static_cast<uint32_t>(into.keys.size(dim)), args.width = std::bit_ceil(args.n);
  args.keys = address(input), args.keys_out = address(into.keys), args.order_out = address(into.order);
  launch(sort_kernel_for(false, input.scalar_type(), descending), {1, args.rows, 1}, kGroup256, args);
}

}  // namespace

Sorted sort_rows(const Tensor& input, bool descending, Sorted into) {
  const int64_t n = input.size(-1), rows = input.numel() / n;
  TORCH_CHECK(n < (int64_t{1} << 31) && rows < (int64_t{1} << 31), "sort: ", input.sizes(),
              " is more than usbgpu's kernels can index");
  const ScalarType type = input.scalar_type();
  const bool one_tile = n <= kSortTile;
  const auto room = [&] { return Sorted{dense_like(input), empty(input.sizes(), at::kLong)}; };
  if (!into.keys.defined() || (!one_tile && into.keys.size(-1) != n)) into = room();
  SortArgs args{};
  args.inner = 1;
  args.n = static_cast<uint32_t>(n), args.rows = static_cast<uint32_t>(rows), args.kept = static_cast<uint32_t>(into.keys.size(-1));
  args.width = std::bit_ceil(std::min(args.n, kSortTile));
  // The passes go to and fro; the last one has to end in `into`.
  uint32_t merges = 0;
  for (uint64_t run = kSortTile; run < static_cast<uint64_t>(n); run *= 2) ++merges;
  Sorted other = merges ? room() : Sorted{}, now = merges % 2 ? other : into, next = merges % 2 ? into : other;
  args.keys = address(input), args.keys_out = address(now.keys), args.order_out = address(now.order);
  launch(sort_kernel_for(false, type, descending), {ceil_div(n, kSortTile), args.rows, 1}, kGroup256, args);
  for (uint64_t run = kSortTile; run < static_cast<uint64_t>(n); run *= 2) {
    args.keys = address(now.keys), args.order = address(now.order), args.run = static_cast<uint32_t>(run);
    args.keys_out = address(next.keys), args.order_out = address(next.order);
    launch(sort_kernel_for(true, type, descending), {ceil_div(n, 256), args.rows, 1}, kGroup256, args);
    std::swap(now, next);
  }
  return now;
}

namespace {

// The first of every row of self, sorted along dim, into outputs of any strides.
void sort_into(const Tensor& self, int64_t dim, bool descending, const Tensor& values, const Tensor& indices) {
  if (self.size(dim) <= kSortTile && self.is_contiguous() && values.is_contiguous() && indices.is_contiguous() &&
      !self.is_alias_of(values) && self.numel() / self.size(dim) < (int64_t{1} << 31))
    return sort_tiles(self, dim, descending, {values, indices});
  const Tensor keys = values.transpose(dim, -1), order = indices.transpose(dim, -1);
  const bool dense = keys.is_contiguous() && order.is_contiguous() && !self.is_alias_of(values);
  const Sorted sorted = sort_rows(self.transpose(dim, -1).contiguous(), descending, dense ? Sorted{keys, order} : Sorted{});
  if (sorted.keys.is_same(keys)) return;
  keys.copy_(sorted.keys.narrow(-1, 0, keys.size(-1)));
  order.copy_(sorted.order.narrow(-1, 0, keys.size(-1)));
}

void sort_stub_kernel(const TensorBase& self_, const TensorBase& values_, const TensorBase& indices_, int64_t dim,
                      bool descending, bool /*stable: always*/) {
  if (self_.numel() == 0) return;
  sort_into(*at::OptionalTensorRef(self_), dim, descending, *at::OptionalTensorRef(values_), *at::OptionalTensorRef(indices_));
}

std::tuple<Tensor&, Tensor&> topk_out(const Tensor& self, int64_t k, int64_t dim, bool largest, bool sorted, Tensor& values,
                                      Tensor& indices) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::topk_values, self, k, dim, largest, sorted, values, indices);
  check_same_device("topk", {{"self", &self}, {"values", &values}, {"indices", &indices}});
  OutputOf<at::meta::structured_topk> op{&values, &indices};
  op.meta(self, k, dim, largest, sorted);
  if (self.dim() == 0) {
    values.copy_(self);
    indices.zero_();
    return {values, indices};
  }
  if (values.numel() == 0) return {values, indices};
  sort_into(self, at::maybe_wrap_dim(dim, self.dim()), largest, values, indices);
  return {values, indices};
}

// The order of n random 64-bit keys. Two equal ones among a million: once in 40 million permutations.
Tensor& randperm_out(int64_t n, std::optional<at::Generator> generator, Tensor& out) {
  TORCH_CHECK(n >= 0, "n must be non-negative, got", n);
  TORCH_CHECK(dtype_supported(out.scalar_type()), "randperm: dtype ", out.scalar_type(), " has no kernels on usbgpu");
  check_on_device("randperm", "out", out);
  resize_out(out, {n});
  if (n == 0) return out;
  Tensor keys = empty({n}, at::kLong);
  keys.random_(std::numeric_limits<int64_t>::min(), std::nullopt, generator);
  out.copy_(sort_rows(keys, false).order);
  return out;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("topk.values", &topk_out);
  m.impl("randperm.generator_out", &randperm_out);
}

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(sort_stub, &usbgpu::aten::sort_stub_kernel)
}  // namespace at::native
