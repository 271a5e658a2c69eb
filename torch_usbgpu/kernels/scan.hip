// Running sums and products along a dimension.
#include "family.h"
#include "scan_args.h"

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

template <typename T>
USBGPU_INLINE T from_lane(T value, uint32_t lane) {
  const int at_byte = (int)(lane << 2);
  if constexpr (sizeof(T) == 4) {
    return __builtin_bit_cast(T, __builtin_amdgcn_ds_bpermute(at_byte, __builtin_bit_cast(int, value)));
  } else {
    const uint64_t bits = __builtin_bit_cast(uint64_t, value);
    const uint64_t low = (uint32_t)__builtin_amdgcn_ds_bpermute(at_byte, (int)(uint32_t)bits);
    const uint64_t high = (uint32_t)__builtin_amdgcn_ds_bpermute(at_byte, (int)(uint32_t)(bits >> 32));
    return __builtin_bit_cast(T, low | high << 32);
  }
}

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
    if (i < args.dim) value = convert<Acc>(at<T>(args.input)[place]);
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
    if (i < args.dim) at<T>(args.output)[place] = convert<T>(value);
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
    sum = Op{}(sum, convert<Acc>(at<T>(args.input)[base + (uint64_t)i * args.inner]));
    at<T>(args.output)[base + (uint64_t)i * args.inner] = convert<T>(sum);
  }
}

}  // namespace usbgpu_family

#define USBGPU_SCAN(symbol, form, T, Op) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::ScanArgs args) { \
    usbgpu_family::form<T, usbgpu_family::Op>(args); \
  }
