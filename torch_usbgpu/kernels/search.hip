// Binary searches: searchsorted, bucketize, and repeat_interleave, whose outputs look for the
// repeat they belong to.
#include "device_error.h"
#include "scan_lanes.h"
#include "search_args.h"

namespace usbgpu_family {

// First place in [0, width) whose boundary is not below the value (Right: is above it).
// A NaN is above everything, as torch.searchsorted has it.
template <typename T, typename Out, bool Right, bool Sorter>
USBGPU_INLINE void search(const SearchArgs& args) {
  using Acc = typename select<traits<T>::floating, accumulate_t<T>, T>::type;
  const uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (i >= args.count) return;
  const uint64_t row = i / args.per_row * args.width;
  const Acc value = convert<Acc>(at<T>(args.input)[i]);
  uint64_t low = 0, high = args.width;
#pragma clang loop unroll(disable)
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    const uint64_t place = Sorter ? (uint64_t)at<int64_t>(args.sorter)[row + middle] : middle;
    const Acc boundary = convert<Acc>(at<T>(args.boundaries)[row + place]);
    const bool beyond = Right ? boundary > value : boundary >= value;
    if (beyond) high = middle;
    else low = middle + 1;
  }
  at<Out>(args.output)[i] = (Out)low;
}

// One workgroup: running sums of the repeats, their sum and the least of them.
template <typename Index>
USBGPU_INLINE void repeat_sums(const RepeatArgs& args) {
  __shared__ int64_t scratch[8];
  int64_t carry = 0, least = 0;
#pragma clang loop unroll(disable)
  for (uint64_t first = 0; first < args.count; first += 256) {
    const uint64_t i = first + threadIdx.x;
    int64_t value = i < args.count ? (int64_t)at<Index>(args.repeats)[i] : 0;
    if (value < least) least = value;
#pragma unroll
    for (uint32_t step = 1; step < 32; step <<= 1) {
      const int64_t before = from_lane(value, lane_id() - step);
      if (lane_id() >= step) value += before;
    }
    local_barrier();
    if (lane_id() == 31) scratch[threadIdx.x >> 5] = value;
    local_barrier();
#pragma unroll
    for (uint32_t wave = 0; wave < 8; ++wave) {
      if (wave == threadIdx.x >> 5) value += carry;
      carry += scratch[wave];
    }
    if (i < args.count) at<int64_t>(args.ends)[i] = value;
  }
  local_barrier();
  least = block_reduce<256>(least, [](int64_t a, int64_t b) { return a < b ? a : b; }, scratch);
  if (threadIdx.x != 0) return;
  at<int64_t>(args.outcome)[0] = carry;
  at<int64_t>(args.outcome)[1] = least;
  if (!args.check) return;
  if (least < 0) record_out_of_bounds(args.error_block, 0, least, (int64_t)args.total);
  else if (carry != (int64_t)args.total) record_out_of_bounds(args.error_block, 0, carry, (int64_t)args.total);
}

template <typename Index>
USBGPU_INLINE void repeat_write(const RepeatArgs& args) {
  const uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (i >= args.total) return;
  uint64_t low = 0, high = args.count - 1;
#pragma clang loop unroll(disable)
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    if (at<int64_t>(args.ends)[middle] > (int64_t)i) high = middle;
    else low = middle + 1;
  }
  at<Index>(args.output)[i] = (Index)low;
}

}  // namespace usbgpu_family

#define USBGPU_SEARCH(symbol, Args, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::Args args) { usbgpu_family::__VA_ARGS__(args); }
