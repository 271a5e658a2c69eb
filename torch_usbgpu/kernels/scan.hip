// Running sums, products and extremes along a dimension.
//
// Three ways to share the work (the host chooses):
//   columns    a thread per row: many rows, or short ones
//   rows       a workgroup per row
//   segments   several workgroups per row, of few long ones, in two launches: the totals of all segments, then
//              each segment's scan, which first joins the totals before its own. No group waits for another
//              (a look-back would), and the order of operations is the same every time.
#pragma once
#include "complex_family.h"
#include "scan_args.h"
#include "scan_lanes.h"

namespace usbgpu_family {

struct ScanSum {
  template <typename T> static USBGPU_INLINE T identity() { return T(0); }
  template <typename T> USBGPU_INLINE T operator()(T a, T b) const { return a + b; }
};
struct ScanProduct {
  template <typename T> static USBGPU_INLINE T identity() { return T(1); }
  template <typename T> USBGPU_INLINE T operator()(T a, T b) const { return a * b; }
};

// log(exp(a) + exp(b)) by the larger one; NaN wins, equal infinities stay.
struct ScanLogSumExp {
  template <typename T> static USBGPU_INLINE T identity() { return -T(__builtin_inff()); }
  template <typename T> USBGPU_INLINE T operator()(T a, T b) const {
    if (a != a || b != b) return a + b;
    const T high = a > b ? a : b, low = a > b ? b : a;
    if (low == high && high - low != T(0)) return high;
    return high + ::log1p(::exp(low - high));
  }
};

// ---- what is carried along: made of an element, joined in order, and written

template <typename T, typename Op>
struct Running {
  using Element = T;
  using State = accumulate_t<T>;
  USBGPU_INLINE static State start() { return Op::template identity<State>(); }
  USBGPU_INLINE static State of(T value, uint32_t) { return usbgpu_family::convert<State>(value); }
  USBGPU_INLINE static State join(State earlier, State later) { return Op{}(earlier, later); }
  USBGPU_INLINE static State before(State state, uint32_t lane) { return from_lane(state, lane); }
  USBGPU_INLINE static void write(const ScanArgs& args, uint64_t place, State state) {
    write_element(at<T>(args.output) + place, usbgpu_family::convert<T>(state));
  }
  USBGPU_INLINE static State total(const ScanArgs& args, uint64_t i) { return read_element(at<State>(args.totals) + i); }
  USBGPU_INLINE static void keep(const ScanArgs& args, uint64_t i, State state) { write_element(at<State>(args.totals) + i, state); }
};

// cummax, cummin: the extreme so far and where it was seen last. A NaN beats all.
template <typename T, bool Largest>
struct Extreme {
  using Element = T;
  using Value = typename select<sizeof(accumulate_t<T>) == 8 && sizeof(T) < 8, int32_t, accumulate_t<T>>::type;
  struct State { Value value; uint32_t index; };   // index ~0: nothing seen yet
  USBGPU_INLINE static State start() { return {Value{}, ~0u}; }
  USBGPU_INLINE static State of(T value, uint32_t i) { return {convert<Value>(value), i}; }
  USBGPU_INLINE static State join(State earlier, State later) {
    if (later.index == ~0u) return earlier;
    if (earlier.index == ~0u || later.value != later.value) return later;
    const bool wins = earlier.value == earlier.value && (Largest ? later.value >= earlier.value : later.value <= earlier.value);
    return wins ? later : earlier;
  }
  USBGPU_INLINE static State before(State state, uint32_t lane) {
    return {from_lane(state.value, lane), from_lane(state.index, lane)};
  }
  USBGPU_INLINE static void write(const ScanArgs& args, uint64_t place, State state) {
    at<T>(args.output)[place] = convert<T>(state.value);
    at<int64_t>(args.indices)[place] = state.index;
  }
  // 16 bytes each, of which the value takes up to 8
  USBGPU_INLINE static State total(const ScanArgs& args, uint64_t i) {
    return {*at<Value>(args.totals + 16 * i), *at<uint32_t>(args.totals + 16 * i + 8)};
  }
  USBGPU_INLINE static void keep(const ScanArgs& args, uint64_t i, State state) {
    *at<Value>(args.totals + 16 * i) = state.value, *at<uint32_t>(args.totals + 16 * i + 8) = state.index;
  }
};

// ---- within a workgroup

inline constexpr uint32_t kScanItems = 4;   // neighbouring elements of a thread

// Of the first `Lanes` lanes of a wave: all states up to and including this lane's.
template <typename Scan, uint32_t Lanes>
USBGPU_INLINE typename Scan::State scan_wave(typename Scan::State state) {
#pragma unroll
  for (uint32_t step = 1; step < Lanes; step <<= 1) {
    const typename Scan::State before = Scan::before(state, lane_id() - step);
    if (lane_id() >= step) state = Scan::join(before, state);
  }
  return state;
}

// Of the group's threads. `all`: joined up to the last one's.
template <typename Scan>
USBGPU_INLINE typename Scan::State scan_group(typename Scan::State state, typename Scan::State& all) {
  using State = typename Scan::State;
  __shared__ State last[8];
  const uint32_t wave = threadIdx.x >> 5;
  state = scan_wave<Scan, 32>(state);
  local_barrier();   // an earlier call's may still be being read
  if (lane_id() == 31) last[wave] = state;
  local_barrier();
  const State waves = scan_wave<Scan, 8>(last[lane_id() & 7]);
  all = Scan::before(waves, 7);
  const State ahead = Scan::before(waves, wave - 1);
  return wave ? Scan::join(ahead, state) : state;
}

USBGPU_INLINE uint64_t scan_base(const ScanArgs& args, uint32_t row) {
  return (uint64_t)(row / args.inner) * args.dim * args.inner + row % args.inner;
}

// Elements [begin, end) of a row, after what `carry` holds; without Write only their total is wanted.
template <typename Scan, bool Write>
USBGPU_INLINE typename Scan::State scan_part(const ScanArgs& args, uint32_t row, uint32_t begin, uint32_t end,
                                             typename Scan::State carry) {
  using T = typename Scan::Element;
  using State = typename Scan::State;
  const uint64_t base = scan_base(args, row);
#pragma clang loop unroll(disable)
  for (uint64_t first = begin; first < end; first += 256 * kScanItems) {
    const uint64_t own = first + threadIdx.x * kScanItems;
    State state[kScanItems];
#pragma unroll
    for (uint32_t k = 0; k < kScanItems; ++k) {
      state[k] = Scan::start();
      if (own + k < end) state[k] = Scan::of(read_element(at<T>(args.input) + base + (own + k) * args.inner), (uint32_t)own + k);
    }
#pragma unroll
    for (uint32_t k = 1; k < kScanItems; ++k) state[k] = Scan::join(state[k - 1], state[k]);
    State all;
    const State upto = scan_group<Scan>(state[kScanItems - 1], all);
    if constexpr (Write) {
      // what the threads before this one have: the neighbour's, or the last wave's
      State ahead = Scan::before(upto, lane_id() - 1);
      __shared__ State edge[8];
      if (lane_id() == 31) edge[threadIdx.x >> 5] = upto;
      local_barrier();
      if (lane_id() == 0) ahead = threadIdx.x ? edge[(threadIdx.x >> 5) - 1] : Scan::start();
      ahead = Scan::join(carry, ahead);
#pragma unroll
      for (uint32_t k = 0; k < kScanItems; ++k)
        if (own + k < end) Scan::write(args, base + (own + k) * args.inner, Scan::join(ahead, state[k]));
    }
    carry = Scan::join(carry, all);
  }
  return carry;
}

// ---- the forms

template <typename Scan>
USBGPU_INLINE void scan_rows(const ScanArgs& args) {
  scan_part<Scan, true>(args, blockIdx.x, 0, args.dim, Scan::start());
}

USBGPU_INLINE uint32_t segment_end(const ScanArgs& args, uint32_t begin) {
  return args.dim - begin < args.segment ? args.dim : begin + args.segment;
}

template <typename Scan>
USBGPU_INLINE void scan_totals(const ScanArgs& args) {
  const uint32_t begin = blockIdx.y * args.segment;
  const typename Scan::State total = scan_part<Scan, false>(args, blockIdx.x, begin, segment_end(args, begin), Scan::start());
  if (threadIdx.x == 0) Scan::keep(args, (uint64_t)blockIdx.x * args.segments + blockIdx.y, total);
}

template <typename Scan>
USBGPU_INLINE void scan_segments(const ScanArgs& args) {
  using State = typename Scan::State;
  const uint32_t begin = blockIdx.y * args.segment;
  State carry = Scan::start();
#pragma clang loop unroll(disable)
  for (uint32_t first = 0; first < blockIdx.y; first += 256) {
    const uint32_t i = first + threadIdx.x;
    State all;
    scan_group<Scan>(i < blockIdx.y ? Scan::total(args, (uint64_t)blockIdx.x * args.segments + i) : Scan::start(), all);
    carry = Scan::join(carry, all);
  }
  scan_part<Scan, true>(args, blockIdx.x, begin, segment_end(args, begin), carry);
}

// Many rows, whose elements lie apart, or short ones.
template <typename Scan>
USBGPU_INLINE void scan_columns(const ScanArgs& args) {
  using T = typename Scan::Element;
  const uint32_t row = blockIdx.x * 256 + threadIdx.x;
  if (row >= args.rows) return;
  const uint64_t base = scan_base(args, row);
  typename Scan::State state = Scan::start();
#pragma clang loop unroll(disable)
  for (uint32_t i = 0; i < args.dim; ++i) {
    const uint64_t place = base + (uint64_t)i * args.inner;
    state = Scan::join(state, Scan::of(read_element(at<T>(args.input) + place), i));
    Scan::write(args, place, state);
  }
}

}  // namespace usbgpu_family

#define USBGPU_SCAN(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::ScanArgs args) { \
    using namespace usbgpu_family; \
    form<__VA_ARGS__>(args); \
  }
