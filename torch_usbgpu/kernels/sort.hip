// Stable sort of rows: tiles in LDS (bitonic, Batcher 1968), then merges of ever longer runs in
// which every key finds its own place by a binary search in the neighbouring run.
//
// NaN counts as the largest number, as in PyTorch.
#include "sort_args.h"
#include "sort_order.h"

namespace usbgpu_family {

template <typename T, bool Descending>
USBGPU_INLINE void sort_tile(const SortArgs& args) {
  __shared__ T keys[kSortTile];
  __shared__ uint32_t order[kSortTile];
  const uint32_t first = blockIdx.x * kSortTile, width = args.width;
  const uint64_t outer = blockIdx.y / args.inner, inner = blockIdx.y - outer * args.inner;
  const uint64_t row = outer * args.n * args.inner + inner, row_out = outer * args.kept * args.inner + inner;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < width; i += 256) {
    const bool filled = first + i < args.n;
    keys[i] = filled ? at<T>(args.keys)[row + (uint64_t)(first + i) * args.inner] : T(0);
    order[i] = filled ? first + i : ~0u;
  }
  sort_in_lds(width, [&](uint32_t i, uint32_t j, bool up) { exchange_pairs<T, Descending>(keys, order, i, j, up); });
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < width; i += 256) {
    if (first + i >= args.kept) break;
    const uint64_t to = row_out + (uint64_t)(first + i) * args.inner;
    at<T>(args.keys_out)[to] = keys[i];
    at<int64_t>(args.order_out)[to] = (int64_t)order[i];
  }
}

template <typename T, bool Descending>
USBGPU_INLINE void sort_merge(const SortArgs& args) {
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= args.n) return;
  const uint64_t row = (uint64_t)blockIdx.y * args.n;
  const global_ptr<T> keys = at<T>(args.keys) + row;
  const uint32_t run = i / args.run, pair = (run & ~1u) * args.run, own = run * args.run;
  uint64_t sibling = (uint64_t)(run ^ 1) * args.run;
  const uint32_t begin = sibling < args.n ? (uint32_t)sibling : args.n;
  const uint32_t end = sibling + args.run < args.n ? (uint32_t)sibling + args.run : args.n;
  const T key = keys[i];
  // Equal keys: those of the left run come first.
  uint32_t low = begin, high = end;
#pragma clang loop unroll(disable)
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    const T other = keys[middle];
    const bool goes_before = (run & 1) ? !before<T, Descending>(key, other) : before<T, Descending>(other, key);
    if (goes_before) low = middle + 1;
    else high = middle;
  }
  const uint64_t to = row + pair + (i - own) + (low - begin);
  at<T>(args.keys_out)[to] = key;
  at<int64_t>(args.order_out)[to] = at<int64_t>(args.order)[row + i];
}

}  // namespace usbgpu_family

#define USBGPU_SORT(symbol, form, T, descending) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::SortArgs args) { usbgpu_family::form<T, descending>(args); }
