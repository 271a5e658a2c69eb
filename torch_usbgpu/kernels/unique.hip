// Runs of equal elements: unique, unique_consecutive, of elements or of whole rows.
//
// Equal are those that == says so: every NaN stands alone.
#include "sort_order.h"
#include "unique_args.h"
#include "walk.h"

namespace usbgpu_family {

inline constexpr uint32_t kUniquePerThread = kUniqueElements / 256;

template <typename T>
USBGPU_INLINE bool same(T a, T b) {
  using Acc = typename select<traits<T>::floating, accumulate_t<T>, T>::type;
  return convert<Acc>(a) == convert<Acc>(b);
}

template <typename T>
struct Elements {
  static USBGPU_INLINE bool differ(const UniqueArgs& args, uint64_t i) {
    return !same<T>(at<T>(args.keys)[i - 1], at<T>(args.keys)[i]);
  }
  static USBGPU_INLINE void store(const UniqueArgs& args, uint64_t to, uint64_t i) {
    at<T>(args.values)[to] = at<T>(args.keys)[i];
  }
};

USBGPU_INLINE uint64_t original(const UniqueArgs& args, uint64_t i) {
  return args.order ? (uint64_t)at<int64_t>(args.order)[i] : i;
}

template <typename T>
struct Rows {
  static USBGPU_INLINE bool differ(const UniqueArgs& args, uint64_t i) {
    const global_ptr<T> a = at<T>(args.keys) + original(args, i - 1) * args.row, b = at<T>(args.keys) + original(args, i) * args.row;
#pragma clang loop unroll(disable)
    for (uint64_t k = 0; k < args.row; ++k)
      if (!same<T>(a[k], b[k])) return true;
    return false;
  }
  static USBGPU_INLINE void store(const UniqueArgs& args, uint64_t to, uint64_t i) {
    at<int64_t>(args.values)[to] = (int64_t)original(args, i);
  }
};

USBGPU_INLINE uint64_t unique_first() { return (uint64_t)blockIdx.x * kUniqueElements + threadIdx.x * kUniquePerThread; }

// A bit for each of this thread's elements that begins a run.
template <typename Of>
USBGPU_INLINE uint32_t head_bits(const UniqueArgs& args) {
  const uint64_t first = unique_first();
  uint32_t bits = 0;
#pragma clang loop unroll(disable)
  for (uint32_t k = 0; k < kUniquePerThread; ++k) {
    const uint64_t i = first + k;
    if (i < args.n && (i == 0 || Of::differ(args, i))) bits |= 1u << k;
  }
  return bits;
}

template <typename Of>
USBGPU_INLINE void unique_count(const UniqueArgs& args) {
  __shared__ uint32_t scratch[8];
  const uint32_t sum = block_reduce<256>((uint32_t)__builtin_popcount(head_bits<Of>(args)), Sum{}, scratch);
  if (threadIdx.x == 0) at<uint32_t>(args.counts)[blockIdx.x] = sum;
}

template <typename Of>
USBGPU_INLINE void unique_write(const UniqueArgs& args) {
  __shared__ uint32_t scratch[8];
  const uint32_t bits = head_bits<Of>(args);
  uint32_t all;
  uint64_t rank = at<uint32_t>(args.counts)[blockIdx.x] + (uint64_t)block_exclusive_sum(__builtin_popcount(bits), all, scratch);
  const uint64_t first = unique_first();
#pragma clang loop unroll(disable)
  for (uint32_t k = 0; k < kUniquePerThread; ++k) {
    const uint64_t i = first + k;
    if (i >= args.n) return;
    if (bits >> k & 1) {
      Of::store(args, rank, i);
      if (args.starts) at<int64_t>(args.starts)[rank] = (int64_t)i;
      ++rank;
    }
    if (args.inverse) at<int64_t>(args.inverse)[original(args, i)] = (int64_t)rank - 1;
  }
}

USBGPU_INLINE void unique_lengths(const UniqueArgs& args) {
  const uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (i >= args.distinct) return;
  const int64_t end = i + 1 < args.distinct ? at<int64_t>(args.starts)[i + 1] : (int64_t)args.n;
  at<int64_t>(args.lengths)[i] = end - at<int64_t>(args.starts)[i];
}

// ---- the order of rows: their numbers are sorted, the rows stay where they are

template <typename T>
USBGPU_INLINE bool row_before(const UniqueArgs& args, uint64_t a, uint64_t b) {
  const global_ptr<T> x = at<T>(args.keys) + a * args.row, y = at<T>(args.keys) + b * args.row;
#pragma clang loop unroll(disable)
  for (uint64_t k = 0; k < args.row; ++k) {
    const T p = x[k], q = y[k];
    if (before<T, false>(p, q)) return true;
    if (before<T, false>(q, p)) return false;
  }
  return false;
}

template <typename T>
USBGPU_INLINE void rows_tile(const UniqueArgs& args) {
  __shared__ uint32_t order[kUniqueElements];
  const uint64_t first = (uint64_t)blockIdx.x * kUniqueElements;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.width; i += 256) order[i] = first + i < args.n ? (uint32_t)(first + i) : ~0u;
  sort_in_lds(args.width, [&](uint32_t i, uint32_t j, bool up) {
    const uint32_t a = order[i], b = order[j];
    bool swap;  // b goes before a; of equal rows the first comes first, fillers last
    if (a == ~0u || b == ~0u) swap = b < a;
    else swap = row_before<T>(args, b, a) || (b < a && !row_before<T>(args, a, b));
    if (swap == up) order[i] = b, order[j] = a;
  });
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.width; i += 256)
    if (first + i < args.n) at<int64_t>(args.order_out)[first + i] = (int64_t)order[i];
}

template <typename T>
USBGPU_INLINE void rows_merge(const UniqueArgs& args) {
  const uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (i >= args.n) return;
  const global_ptr<int64_t> order = at<int64_t>(args.order);
  const uint64_t run = i / args.run, pair = (run & ~uint64_t(1)) * args.run, sibling = (run ^ 1) * args.run;
  const uint64_t begin = sibling < args.n ? sibling : args.n, end = sibling + args.run < args.n ? sibling + args.run : args.n;
  const uint64_t own = (uint64_t)order[i];
  uint64_t low = begin, high = end;
#pragma clang loop unroll(disable)
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2, other = (uint64_t)order[middle];
    const bool goes_before = (run & 1) ? !row_before<T>(args, own, other) : row_before<T>(args, other, own);
    if (goes_before) low = middle + 1;
    else high = middle;
  }
  at<int64_t>(args.order_out)[pair + (i - run * args.run) + (low - begin)] = (int64_t)own;
}

}  // namespace usbgpu_family

#define USBGPU_UNIQUE(symbol, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::UniqueArgs args) { usbgpu_family::__VA_ARGS__(args); }
