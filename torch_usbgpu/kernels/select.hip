// Order statistics of rows: kthvalue, median, nanmedian, mode.
//
// NaN counts as the largest number. Of equal elements the first is named (mode: the last).
#include "select_args.h"
#include "sort_order.h"
#include "walk.h"

namespace usbgpu_family {

enum : uint32_t { kKth, kMedian, kNanMedian };

template <typename T>
USBGPU_INLINE bool is_nan(T value) {
  if constexpr (traits<T>::floating) {
    const auto x = convert<accumulate_t<T>>(value);
    return x != x;
  }
  return false;
}

// An unsigned number whose order is that of the values: equal for the two zeros, all ones for NaN.
template <typename T>
USBGPU_INLINE auto order_key(T value) {
  using W = typename word<sizeof(T)>::type;
  constexpr W sign = (W)(W(1) << (8 * sizeof(T) - 1));
  const W bits = __builtin_bit_cast(W, value);
  if constexpr (traits<T>::floating) {
    if (is_nan(value)) return (W)~W(0);
    if ((W)(bits << 1) == 0) return sign;
    return (W)(bits & sign ? ~bits : bits | sign);
  } else if constexpr (T(-1) < T(0)) {
    return (W)(bits ^ sign);
  } else {
    return bits;
  }
}

// The rank to look for, nans of n elements being NaN.
template <uint32_t Kind>
USBGPU_INLINE uint32_t wanted_rank(const SelectArgs& args, uint32_t nans) {
  if constexpr (Kind == kKth) return args.k;
  if constexpr (Kind == kMedian) return nans ? args.n - 1 : (args.n - 1) / 2;
  return nans == args.n ? 0 : (args.n - nans - 1) / 2;
}

template <typename T>
USBGPU_INLINE void write_selected(const SelectArgs& args, const Position<3>& position, uint32_t index) {
  *position.of<T>(args.rows, 0) = *(global_ptr<T>)(position.of<char>(args.rows, 2) + index * args.stride);
  if (args.rows.address[1]) *position.of<int64_t>(args.rows, 1) = index;
}

template <typename W>
USBGPU_INLINE W of_lane(W value, uint32_t lane) {
  const uint32_t low = __builtin_amdgcn_readlane((uint32_t)value, lane);
  if constexpr (sizeof(W) < 8) return (W)low;
  else return (W)(low | (uint64_t)(uint32_t)__builtin_amdgcn_readlane((uint32_t)((uint64_t)value >> 32), lane) << 32);
}

// Up to 32 elements: a wave per row, an element per lane.
template <typename T, uint32_t Kind>
USBGPU_INLINE void select_wave(const SelectArgs& args) {
  using W = decltype(order_key(T{}));
  const uint32_t row = blockIdx.x * 8 + wave_id(), lane = lane_id();
  if (row >= args.rows.count) return;
  const Position<3> position(args.rows, row);
  const bool inside = lane < args.n;
  T value{};
  if (inside) value = *(global_ptr<T>)(position.of<char>(args.rows, 2) + lane * args.stride);
  const W key = order_key(value);
  const uint32_t nans = __builtin_popcount(__builtin_amdgcn_ballot_w32(inside && is_nan(value)));
  const uint32_t rank = wanted_rank<Kind>(args, nans);
  uint32_t less = 0, equal = 0, earlier = 0;
#pragma clang loop unroll(disable)
  for (uint32_t k = 0; k < args.n; ++k) {
    const W other = of_lane(key, k);
    less += other < key;
    equal += other == key;
    earlier += other == key && k < lane;
  }
  if (inside && less <= rank && rank < less + equal && earlier == 0) write_selected<T>(args, position, lane);
}

// A workgroup per row: the wanted key is found digit by digit from the top, by counting the digits
// of those elements whose higher digits are the wanted ones (radix select).
template <typename T, uint32_t Kind>
USBGPU_INLINE void select_group(const SelectArgs& args) {
  using W = decltype(order_key(T{}));
  __shared__ uint32_t counts[256];
  __shared__ uint32_t scratch[8];
  __shared__ uint32_t found[2];
  const Position<3> position(args.rows, blockIdx.x);
  const global_ptr<char> row = position.of<char>(args.rows, 2);
  const auto value_at = [&](uint32_t i) { return *(global_ptr<T>)(row + i * args.stride); };
  uint32_t rank = args.k;
  if constexpr (Kind != kKth) {
    uint32_t nans = 0;
    if constexpr (traits<T>::floating) {
#pragma clang loop unroll_count(4)
      for (uint32_t i = threadIdx.x; i < args.n; i += 256) nans += is_nan(value_at(i));
      nans = block_reduce<256>(nans, Sum{}, scratch);
    }
    rank = wanted_rank<Kind>(args, nans);
  }
  W wanted = 0, known = 0;
#pragma clang loop unroll(disable)
  for (int shift = 8 * sizeof(W) - 8; shift >= 0; shift -= 8) {
    counts[threadIdx.x] = 0;
    local_barrier();
#pragma clang loop unroll_count(4)
    for (uint32_t i = threadIdx.x; i < args.n; i += 256) {
      const W key = order_key(value_at(i));
      if ((W)(key & known) == wanted)
        __hip_atomic_fetch_add(&counts[(uint32_t)(key >> shift) & 255], 1u, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
    }
    local_barrier();
    uint32_t all;
    const uint32_t count = counts[threadIdx.x], before = block_exclusive_sum(count, all, scratch);
    if (before <= rank && rank < before + count) found[0] = threadIdx.x, found[1] = rank - before;
    local_barrier();
    wanted |= (W)((W)found[0] << shift), known |= (W)((W)255 << shift);
    rank = found[1];
  }
  uint32_t first = ~0u;
#pragma clang loop unroll_count(4)
  for (uint32_t i = threadIdx.x; i < args.n; i += 256)
    if (order_key(value_at(i)) == wanted && i < first) first = i;
  first = block_reduce<256>(first, [](uint32_t a, uint32_t b) { return a < b ? a : b; }, scratch);
  if (threadIdx.x == 0) write_selected<T>(args, position, first);
}

// ---- mode: the most frequent value, of several the smallest. A NaN equals nothing.

// Position in the sorted row of the last element of the longest run.
template <typename T, typename KeyAt>
USBGPU_INLINE uint32_t longest_run(uint32_t n, KeyAt key_at) {
  __shared__ uint64_t scratch[8];
  uint64_t best = 0;  // length, then the lower position
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < n; i += 256) {
    const T key = key_at(i);
    if (i + 1 < n && key == key_at(i + 1)) continue;
    uint32_t low = i, high = i;
    if (!is_nan(key)) low = 0;
#pragma clang loop unroll(disable)
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      if (before<T, false>(key_at(middle), key)) low = middle + 1;
      else high = middle;
    }
    const uint64_t candidate = (uint64_t)(i - low + 1) << 32 | ~i;
    if (candidate > best) best = candidate;
  }
  best = block_reduce<256>(best, [](uint64_t a, uint64_t b) { return a > b ? a : b; }, scratch);
  return ~(uint32_t)best;
}

template <typename T>
USBGPU_INLINE void mode_tile(const SelectArgs& args) {
  __shared__ T keys[kSelectTile];
  __shared__ uint32_t order[kSelectTile];
  const Position<3> position(args.rows, blockIdx.x);
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.width; i += 256) {
    const bool filled = i < args.n;
    keys[i] = filled ? *(global_ptr<T>)(position.of<char>(args.rows, 2) + i * args.stride) : T(0);
    order[i] = filled ? i : ~0u;
  }
  sort_in_lds(args.width, [&](uint32_t i, uint32_t j, bool up) { exchange_pairs<T, false>(keys, order, i, j, up); });
  const uint32_t last = longest_run<T>(args.n, [&](uint32_t i) { return keys[i]; });
  if (threadIdx.x == 0) write_selected<T>(args, position, order[last]);
}

template <typename T>
USBGPU_INLINE void mode_sorted(const SelectArgs& args) {
  const Position<3> position(args.rows, blockIdx.x);
  const uint64_t row = (uint64_t)blockIdx.x * args.n;
  const global_ptr<T> keys = at<T>(args.keys) + row;
  const uint32_t last = longest_run<T>(args.n, [&](uint32_t i) { return (T)keys[i]; });
  if (threadIdx.x != 0) return;
  *position.of<T>(args.rows, 0) = keys[last];
  *position.of<int64_t>(args.rows, 1) = at<int64_t>(args.order)[row + last];
}

}  // namespace usbgpu_family

#define USBGPU_SELECT(symbol, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::SelectArgs args) { usbgpu_family::__VA_ARGS__(args); }
