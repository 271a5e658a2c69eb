// Running sums, products and extremes along a dimension.
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

// A workgroup per row, 256 neighbouring elements at a time, the carry in a register.
template <typename T, typename Op>
USBGPU_INLINE void scan_rows(const ScanArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const Op op;
  const uint64_t base = (uint64_t)(blockIdx.x / args.inner) * args.dim * args.inner + blockIdx.x % args.inner;
  Acc carry = Op::template identity<Acc>();
#pragma clang loop unroll(disable)
  for (uint32_t first = 0; first < args.dim; first += 256) {
    const uint32_t i = first + threadIdx.x;
    const uint64_t place = base + (uint64_t)i * args.inner;
    Acc value = Op::template identity<Acc>();
    if (i < args.dim) value = usbgpu_family::convert<Acc>(read_element(at<T>(args.input) + place));
#pragma unroll
    for (uint32_t step = 1; step < 32; step <<= 1) {
      const Acc before = from_lane(value, lane_id() - step);
      if (lane_id() >= step) value = op(before, value);
    }
    local_barrier();
    if (lane_id() == 31) scratch[threadIdx.x >> 5] = value;
    local_barrier();
    Acc all = carry;
#pragma unroll
    for (uint32_t wave = 0; wave < 8; ++wave) {
      if (wave == threadIdx.x >> 5) value = op(all, value);
      all = op(all, scratch[wave]);
    }
    carry = all;
    if (i < args.dim) write_element(at<T>(args.output) + place, usbgpu_family::convert<T>(value));
  }
}

// A thread per row: many rows whose elements lie apart.
template <typename T, typename Op>
USBGPU_INLINE void scan_columns(const ScanArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t row = blockIdx.x * 256 + threadIdx.x;
  if (row >= args.rows) return;
  const uint64_t base = (uint64_t)(row / args.inner) * args.dim * args.inner + row % args.inner;
  Acc sum = Op::template identity<Acc>();
#pragma clang loop unroll(disable)
  for (uint32_t i = 0; i < args.dim; ++i) {
    const uint64_t place = base + (uint64_t)i * args.inner;
    sum = Op{}(sum, usbgpu_family::convert<Acc>(read_element(at<T>(args.input) + place)));
    write_element(at<T>(args.output) + place, usbgpu_family::convert<T>(sum));
  }
}

// ---- cummax, cummin: the extreme so far and where it was seen last. A NaN beats all.

template <bool Largest>
struct Extreme {
  template <typename T>
  USBGPU_INLINE static bool later_wins(T earlier, T later) {
    if (later != later) return true;
    return earlier == earlier && (Largest ? later >= earlier : later <= earlier);
  }
};

template <typename T, bool Largest>
USBGPU_INLINE void extreme_rows(const ScanArgs& args) {
  using Acc = typename select<sizeof(accumulate_t<T>) == 8 && sizeof(T) < 8, int32_t, accumulate_t<T>>::type;
  __shared__ Acc values[8];
  __shared__ uint32_t indices[8];
  const uint64_t base = (uint64_t)(blockIdx.x / args.inner) * args.dim * args.inner + blockIdx.x % args.inner;
  Acc carry{};
  uint32_t carry_index = ~0u;  // nothing seen yet
#pragma clang loop unroll(disable)
  for (uint32_t first = 0; first < args.dim; first += 256) {
    const uint32_t i = first + threadIdx.x, last = args.dim - 1;
    const uint64_t place = base + (uint64_t)i * args.inner;
    // Threads beyond the end repeat the last element: nothing follows them.
    Acc value = convert<Acc>(at<T>(args.input)[base + (uint64_t)(i < last ? i : last) * args.inner]);
    uint32_t index = i;
#pragma unroll
    for (uint32_t step = 1; step < 32; step <<= 1) {
      const Acc before = from_lane(value, lane_id() - step);
      const uint32_t before_index = from_lane(index, lane_id() - step);
      if (lane_id() >= step && !Extreme<Largest>::later_wins(before, value)) value = before, index = before_index;
    }
    local_barrier();
    if (lane_id() == 31) values[threadIdx.x >> 5] = value, indices[threadIdx.x >> 5] = index;
    local_barrier();
    Acc all = carry;
    uint32_t all_index = carry_index;
#pragma unroll
    for (uint32_t wave = 0; wave < 8; ++wave) {
      const bool seen = all_index != ~0u;
      if (wave == threadIdx.x >> 5 && seen && !Extreme<Largest>::later_wins(all, value)) value = all, index = all_index;
      if (!seen || Extreme<Largest>::later_wins(all, values[wave])) all = values[wave], all_index = indices[wave];
    }
    carry = all, carry_index = all_index;
    if (i < args.dim) {
      at<T>(args.output)[place] = convert<T>(value);
      at<int64_t>(args.indices)[place] = index;
    }
  }
}

template <typename T, bool Largest>
USBGPU_INLINE void extreme_columns(const ScanArgs& args) {
  const uint32_t row = blockIdx.x * 256 + threadIdx.x;
  if (row >= args.rows) return;
  const uint64_t base = (uint64_t)(row / args.inner) * args.dim * args.inner + row % args.inner;
  T extreme{};
  uint32_t index = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = 0; i < args.dim; ++i) {
    const uint64_t place = base + (uint64_t)i * args.inner;
    const T value = at<T>(args.input)[place];
    if (i == 0 || Extreme<Largest>::later_wins(convert<accumulate_t<T>>(extreme), convert<accumulate_t<T>>(value)))
      extreme = value, index = i;
    at<T>(args.output)[place] = extreme;
    at<int64_t>(args.indices)[place] = index;
  }
}

}  // namespace usbgpu_family

#define USBGPU_EXTREME_SCAN(symbol, form, T, largest) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::ScanArgs args) { usbgpu_family::form<T, largest>(args); }
#define USBGPU_SCAN(symbol, form, T, Op) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::ScanArgs args) { \
    usbgpu_family::form<T, usbgpu_family::Op>(args); \
  }
