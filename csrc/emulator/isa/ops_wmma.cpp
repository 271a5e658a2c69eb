// Matrix multiply-accumulate of gfx11, wave32: D = A (16x16) * B (16x16) + C.
//
// Register layout (RDNA3 ISA, 'WMMA'; n = lane & 15, h = lane >> 4): A's lane n holds row n and B's
// lane n column n, consecutive k packed in consecutive registers; lanes 16-31 must repeat 0-15, and
// the lower half is what is read here. C and D: register j, lane -> row 2j + h, column n; the 16-bit
// forms keep one value per register in the half that opsel bit 2 selects.
// The order of sums inside the hardware is not published: here it is fma in ascending k on C.
#include "emulator/isa/valu.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

constexpr unsigned kSize = 16;
constexpr uint8_t kFaultWmmaExec = 4;  // WaveFault::Kind::wmma_exec

// The result is undefined on hardware unless all lanes are enabled.
const Inst* exec_fault(Wave& w, const Inst* i) {
  w.stop = Stop::fault;
  w.fault = {kFaultWmmaExec, 0, 0, i->pc};
  w.next = i;
  return nullptr;
}

struct alignas(64) Matrix { float at[kSize][kSize]; };

using Words = uint32_t __attribute__((vector_size(64)));  // the lower 16 lanes
USBGPU_INLINE void widen(bfloat, Words low_halves, float* out) {
  low_halves <<= 16;
  __builtin_memcpy(out, &low_halves, sizeof low_halves);
}
USBGPU_INLINE void widen(half, Words low_halves, float* out) {
#if defined(__F16C__) && defined(__clang__)
  using Shorts = uint16_t __attribute__((vector_size(32)));
  using Halves = _Float16 __attribute__((vector_size(32)));
  using Floats = float __attribute__((vector_size(64)));
  const Floats values = convert<Floats>(bits<Halves>(convert<Shorts>(low_halves)));
  __builtin_memcpy(out, &values, sizeof values);
#else
  for (unsigned lane = 0; lane < kSize; ++lane) out[lane] = sem::f32(half{static_cast<u16>(low_halves[lane])});
#endif
}
// [k][row of A or column of B] as f32. neg changes the sign of even k, neg_hi of odd k.
template <class T> USBGPU_INLINE void unpack(Wave& w, const Inst* i, unsigned n, Matrix& m) {
  const uint32_t flip = (i->neg >> n & 1 ? 0x8000u : 0) | (i->neg_hi >> n & 1 ? 0x80000000u : 0);
  for (unsigned j = 0; j < kSize / 2; ++j) {
    Words pairs;
    __builtin_memcpy(&pairs, lanes_at(w, i->src[n]) + j * kLanes, sizeof pairs);
    pairs ^= flip;
    widen(T{}, pairs & 0xFFFFu, m.at[2 * j]);
    widen(T{}, pairs >> 16, m.at[2 * j + 1]);
  }
}
using Row = float __attribute__((vector_size(32)));  // eight columns
USBGPU_INLINE Row fused(float a, Row b, Row c) {
#if defined(__has_builtin) && __has_builtin(__builtin_elementwise_fma)
  return __builtin_elementwise_fma(Row{} + a, b, c);
#else
  for (unsigned n = 0; n < 8; ++n) c[n] = __builtin_fmaf(a, b[n], c[n]);
  return c;
#endif
}
// d[row][column] += a * b, four rows (eight accumulators) at a time.
USBGPU_INLINE void multiply(const Matrix& a, const Matrix& b, Matrix& d) {
  constexpr unsigned kRows = 4;
  for (unsigned row = 0; row < kSize; row += kRows) {
    Row sum[kRows][2];
    for (unsigned r = 0; r < kRows; ++r) __builtin_memcpy(sum[r], d.at[row + r], sizeof sum[r]);
    for (unsigned k = 0; k < kSize; ++k) {
      Row columns[2];
      __builtin_memcpy(columns, b.at[k], sizeof columns);
      for (unsigned r = 0; r < kRows; ++r)
        for (unsigned c = 0; c < 2; ++c) sum[r][c] = fused(a.at[k][row + r], columns[c], sum[r][c]);
    }
    for (unsigned r = 0; r < kRows; ++r) __builtin_memcpy(d.at[row + r], sum[r], sizeof sum[r]);
  }
}
// Matrix rows 2j and 2j + 1 are the two halves of register j: the memory order is the same.
USBGPU_INLINE float signs(const Inst* i, float x) {
  return sem::as<float>(modified<u32>(sem::as<u32>(x), 0x80000000u, i->neg_hi & 4, i->neg & 4));
}

template <class T> const Inst* wmma_f32(Wave& w, const Inst* i) {
  if (exec_of(w) != ~0u) return exec_fault(w, i);
  Matrix a, b, d;
  unpack<T>(w, i, 0, a);
  unpack<T>(w, i, 1, b);
  float* flat = &d.at[0][0];
  if (is_vgpr(i->src[2])) {
    __builtin_memcpy(flat, lanes_at(w, i->src[2]), sizeof d);
  } else {
    const float value = scalar<float>(w, i, i->src[2]);
    for (unsigned n = 0; n < kSize * kSize; ++n) flat[n] = value;
  }
  if ((i->neg | i->neg_hi) & 4)
    for (unsigned n = 0; n < kSize * kSize; ++n) flat[n] = signs(i, flat[n]);
  multiply(a, b, d);
  for (unsigned n = 0; n < kSize * kSize; ++n) flat[n] = sem::canon(flat[n]);
  if (i->clamp)
    for (unsigned n = 0; n < kSize * kSize; ++n) flat[n] = output(flat[n], 0, true, true);
  __builtin_memcpy(lanes_at(w, i->dst), flat, sizeof d);
  return i + 1;
}

USBGPU_INLINE u16 narrow(half, float x) { return sem::f16(x).bits; }
USBGPU_INLINE u16 narrow(bfloat, float x) { return sem::bf16(x).bits; }
template <class T> const Inst* wmma_16(Wave& w, const Inst* i) {
  if (exec_of(w) != ~0u) return exec_fault(w, i);
  Matrix a, b, d;
  unpack<T>(w, i, 0, a);
  unpack<T>(w, i, 1, b);
  const unsigned shift = i->opsel & 4 ? 16 : 0;
  float* flat = &d.at[0][0];
  if (is_vgpr(i->src[2])) {
    const uint32_t* in = lanes_at(w, i->src[2]);
    for (unsigned n = 0; n < kSize * kSize; ++n) flat[n] = sem::f32(T{static_cast<u16>(in[n] >> shift)});
  } else {
    const float value = sem::f32(T{static_cast<u16>(scalar<uint32_t>(w, i, i->src[2]))});
    for (unsigned n = 0; n < kSize * kSize; ++n) flat[n] = value;
  }
  for (unsigned n = 0; n < kSize * kSize; ++n) flat[n] = signs(i, flat[n]);
  multiply(a, b, d);
  uint32_t* out = lanes_at(w, i->dst);
  const uint32_t keep = ~(0xFFFFu << shift);
  for (unsigned n = 0; n < kSize * kSize; ++n) {
    const float x = i->clamp ? output(flat[n], 0, true, true) : flat[n];
    out[n] = (out[n] & keep) | static_cast<uint32_t>(narrow(T{}, x)) << shift;
  }
  return i + 1;
}

// Integers of 8 or 4 bit, k linear; neg bits 0 and 1 say whether A and B are signed.
template <unsigned kBits> const Inst* wmma_integer(Wave& w, const Inst* i) {
  if (exec_of(w) != ~0u) return exec_fault(w, i);
  constexpr unsigned kPerRegister = 32 / kBits;
  alignas(64) int32_t a[kSize][kSize], b[kSize][kSize], d[kSize][kSize];
  for (unsigned k = 0; k < kSize; ++k) {
    const unsigned j = k / kPerRegister, n = k % kPerRegister;
    const uint32_t *in_a = lanes_at(w, i->src[0]) + j * kLanes, *in_b = lanes_at(w, i->src[1]) + j * kLanes;
    for (unsigned lane = 0; lane < kSize; ++lane) {
      a[k][lane] = sem::part<kBits>(in_a[lane], n, i->neg & 1);
      b[k][lane] = sem::part<kBits>(in_b[lane], n, i->neg & 2);
    }
  }
  const bool vector = is_vgpr(i->src[2]);
  const int32_t constant = vector ? 0 : scalar<int32_t>(w, i, i->src[2]);
  const uint32_t* c = vector ? lanes_at(w, i->src[2]) : nullptr;
  using Sums = int32_t __attribute__((vector_size(64)));
  for (unsigned row = 0; row < kSize; ++row) {
    Sums sum{};  // at most 16 * 255 * 255
    for (unsigned k = 0; k < kSize; ++k) {
      Sums columns;
      __builtin_memcpy(&columns, b[k], sizeof columns);
      sum += a[k][row] * columns;
    }
    for (unsigned n = 0; n < kSize; ++n) {
      const int64_t total = int64_t{sum[n]} + (vector ? static_cast<int32_t>(c[row * kSize + n]) : constant);
      d[row][n] = static_cast<int32_t>(i->clamp ? (total > INT32_MAX ? INT32_MAX : total < INT32_MIN ? INT32_MIN : total) : total);
    }
  }
  __builtin_memcpy(lanes_at(w, i->dst), d, sizeof d);
  return i + 1;
}

constexpr HandlerRow rows[] = {
    {"v_wmma_f32_16x16x16_f16", always<wmma_f32<half>>, own_all},
    {"v_wmma_f32_16x16x16_bf16", always<wmma_f32<bfloat>>, own_all},
    {"v_wmma_f16_16x16x16_f16", always<wmma_16<half>>, own_all},
    {"v_wmma_bf16_16x16x16_bf16", always<wmma_16<bfloat>>, own_all},
    {"v_wmma_i32_16x16x16_iu8", always<wmma_integer<8>>, own_all},
    {"v_wmma_i32_16x16x16_iu4", always<wmma_integer<4>>, own_all},
};

}  // namespace

const HandlerGroup group_wmma{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
