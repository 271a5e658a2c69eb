// Matrices in registers: what dense (ops_wmma.cpp) and sparse (ops_swmmac.cpp) multiply-accumulate share.
//
// Register layout. A row (A), a column (B, C, D) is numbered n = lane & 15; h = lane / 16 is the group of 16 lanes, of
// which there are 2 in wave32 and 4 in wave64. RDNA3 and RDNA4 ISA, 'WMMA'.
//   gfx11  A, B: all k of n in each lane, consecutive k packed in consecutive registers. All groups must hold the same; the first
//          is what is read here. C, D: register j -> row G j + h. 16-bit forms have one value per register, in the half
//          that opsel bit 2 selects, the other half stays.
//   gfx12  A, B: group h holds k = h K/G ... of n. C, D: register j -> row 16 h / G + j; 16-bit forms have two rows per register.
// The order of sums inside the hardware is not published: here it is fma in ascending k on C.
#pragma once

#include "emulator/isa/semantics_gfx12.h"
#include "emulator/isa/valu.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {

constexpr unsigned kSize = 16;
constexpr uint8_t kFaultWmmaExec = 4;  // WaveFault::Kind::wmma_exec

template <bool is_gfx12, unsigned groups> struct Layout {
  static constexpr bool gfx12 = is_gfx12;
  static constexpr unsigned G = groups;
  static constexpr unsigned kRows = kSize / G;                 // of C and D, in one lane
  static constexpr unsigned kSources = gfx12 ? G : 1;          // groups that A and B are read from
  static constexpr unsigned row(unsigned h, unsigned j) { return gfx12 ? kRows * h + j : G * j + h; }
};

// The result is undefined on hardware unless all lanes are enabled.
USBGPU_INLINE bool all_lanes(const Wave& w) { return w.sgpr[kExec] == ~0u && (w.lanes == 32 || w.sgpr[kExec + 1] == ~0u); }
USBGPU_INLINE const Inst* exec_fault(Wave& w, const Inst* i) {
  w.stop = Stop::fault;
  w.fault = {kFaultWmmaExec, 0, 0, i->pc};
  w.next = i;
  return nullptr;
}

// 16 lanes of register j of an operand.
USBGPU_INLINE uint32_t* group_at(Wave& w, uint32_t offset, unsigned j, unsigned h) {
  return lanes_at(w, offset + 128 * j + (h / 2) * kUpperHalf) + kSize * (h % 2);
}

using Words = uint32_t __attribute__((vector_size(64)));  // 16 lanes
USBGPU_INLINE Words words_at(Wave& w, uint32_t offset, unsigned j, unsigned h) {
  Words v;
  __builtin_memcpy(&v, group_at(w, offset, j, h), sizeof v);
  return v;
}
// The low bits of each lane as f32.
USBGPU_INLINE void widen(bfloat, Words low, float* out) {
  low <<= 16;
  __builtin_memcpy(out, &low, sizeof low);
}
USBGPU_INLINE void widen(half, Words low, float* out) {
  low &= 0xFFFFu;
#if (defined(__F16C__) || defined(__aarch64__)) && defined(__clang__)
  using Shorts = uint16_t __attribute__((vector_size(32)));
  using Halves = _Float16 __attribute__((vector_size(32)));
  using Floats = float __attribute__((vector_size(64)));
  const Floats values = convert<Floats>(bits<Halves>(convert<Shorts>(low)));
  __builtin_memcpy(out, &values, sizeof values);
#else
  for (unsigned lane = 0; lane < kSize; ++lane) out[lane] = sem::f32(half{static_cast<u16>(low[lane])});
#endif
}
template <class T> USBGPU_INLINE void widen(T, Words low, float* out) {
  for (unsigned lane = 0; lane < kSize; ++lane) out[lane] = sem::f32(T{static_cast<uint8_t>(low[lane])});
}

template <class T> constexpr unsigned bits_of = sizeof(T) * 8;

// Source n as f32, [k][row of A or column of B]. 16-bit: neg changes the sign of even k, neg_hi of odd k.
template <class T, unsigned K, class L> USBGPU_INLINE void unpack(Wave& w, const Inst* i, unsigned n, float (*m)[kSize]) {
  constexpr unsigned kBits = bits_of<T>, kPerRegister = 32 / kBits, kElements = K / L::kSources;
  const uint32_t flip = kBits == 16 ? (i->neg >> n & 1 ? 0x8000u : 0) | (i->neg_hi >> n & 1 ? 0x80000000u : 0) : 0;
  for (unsigned h = 0; h < L::kSources; ++h)
    for (unsigned e = 0; e < kElements; e += kPerRegister) {
      const Words v = words_at(w, i->src[n], e / kPerRegister, h) ^ flip;
      for (unsigned p = 0; p < kPerRegister && e + p < kElements; ++p) widen(T{}, v >> (kBits * p), m[h * kElements + e + p]);
    }
}
// Integers of 8 or 4 bit; neg bits 0 and 1 say whether A and B are signed.
template <unsigned kBits, unsigned K, class L> USBGPU_INLINE void unpack_integer(Wave& w, const Inst* i, unsigned n, int32_t (*m)[kSize]) {
  constexpr unsigned kPerRegister = 32 / kBits, kElements = K / L::kSources;
  const bool is_signed = i->neg >> n & 1;
  for (unsigned h = 0; h < L::kSources; ++h)
    for (unsigned e = 0; e < kElements; ++e) {
      const uint32_t* in = group_at(w, i->src[n], e / kPerRegister, h);
      for (unsigned lane = 0; lane < kSize; ++lane) m[h * kElements + e][lane] = sem::part<kBits>(in[lane], e % kPerRegister, is_signed);
    }
}

// ---- C and D -----------------------------------------------------------------------------------------
struct alignas(64) Accumulator { float at[kSize][kSize]; };

USBGPU_INLINE u16 narrow(half, float x) { return sem::f16(x).bits; }
USBGPU_INLINE u16 narrow(bfloat, float x) { return sem::bf16(x).bits; }

// From the operand at `offset`: registers or an inline constant. T: element type.
template <class T, class L> USBGPU_INLINE void read_accumulator(Wave& w, const Inst* i, uint32_t offset, Accumulator& d) {
  if (!is_vgpr(offset)) {
    const uint32_t v = scalar<uint32_t>(w, i, offset);
    float value;
    if constexpr (sizeof(T) == 2) value = sem::f32(T{static_cast<u16>(v)});
    else value = sem::as<float>(v);
    for (unsigned n = 0; n < kSize * kSize; ++n) (&d.at[0][0])[n] = value;
    return;
  }
  for (unsigned h = 0; h < L::G; ++h)
    for (unsigned j = 0; j < L::kRows; ++j) {
      float* row = d.at[L::row(h, j)];
      if constexpr (sizeof(T) == 4) __builtin_memcpy(row, group_at(w, offset, j, h), sizeof d.at[0]);
      else if constexpr (L::gfx12) widen(T{}, words_at(w, offset, j / 2, h) >> (16 * (j & 1)), row);
      else widen(T{}, words_at(w, offset, j, h) >> (i->opsel & 4 ? 16 : 0), row);
    }
}
template <class T, class L> USBGPU_INLINE void write_accumulator(Wave& w, const Inst* i, Accumulator& d) {
  float* flat = &d.at[0][0];
  if constexpr (sizeof(T) == 4)
    for (unsigned n = 0; n < kSize * kSize; ++n) flat[n] = sem::canon(flat[n]);
  if (i->clamp)
    for (unsigned n = 0; n < kSize * kSize; ++n) flat[n] = output(flat[n], 0, true, true);
  for (unsigned h = 0; h < L::G; ++h)
    for (unsigned j = 0; j < L::kRows; ++j) {
      const float* row = d.at[L::row(h, j)];
      if constexpr (sizeof(T) == 4) {
        __builtin_memcpy(group_at(w, i->dst, j, h), row, sizeof d.at[0]);
      } else {
        const unsigned shift = L::gfx12 ? 16 * (j & 1) : i->opsel & 4 ? 16 : 0;
        uint32_t* out = group_at(w, i->dst, L::gfx12 ? j / 2 : j, h);
        for (unsigned n = 0; n < kSize; ++n) out[n] = (out[n] & ~(0xFFFFu << shift)) | static_cast<uint32_t>(narrow(T{}, row[n])) << shift;
      }
    }
}
struct alignas(64) Sums { int32_t at[kSize][kSize]; };
template <class L> USBGPU_INLINE void read_sums(Wave& w, const Inst* i, uint32_t offset, Sums& d) {
  for (unsigned h = 0; h < L::G; ++h)
    for (unsigned j = 0; j < L::kRows; ++j) {
      int32_t* row = d.at[L::row(h, j)];
      if (is_vgpr(offset)) __builtin_memcpy(row, group_at(w, offset, j, h), sizeof d.at[0]);
      else for (unsigned n = 0; n < kSize; ++n) row[n] = scalar<int32_t>(w, i, offset);
    }
}
// d + sums, saturating with clamp
template <class L> USBGPU_INLINE void write_sums(Wave& w, const Inst* i, const Sums& d, const Sums& products) {
  for (unsigned h = 0; h < L::G; ++h)
    for (unsigned j = 0; j < L::kRows; ++j) {
      const unsigned row = L::row(h, j);
      uint32_t* out = group_at(w, i->dst, j, h);
      for (unsigned n = 0; n < kSize; ++n) {
        const int64_t total = int64_t{d.at[row][n]} + products.at[row][n];
        out[n] = static_cast<uint32_t>(i->clamp ? (total > INT32_MAX ? INT32_MAX : total < INT32_MIN ? INT32_MIN : total) : total);
      }
    }
}

using Columns = float __attribute__((vector_size(32)));  // eight columns
USBGPU_INLINE Columns fused(float a, Columns b, Columns c) {
#if defined(__has_builtin) && __has_builtin(__builtin_elementwise_fma)
  return __builtin_elementwise_fma(Columns{} + a, b, c);
#else
  for (unsigned n = 0; n < 8; ++n) c[n] = __builtin_fmaf(a, b[n], c[n]);
  return c;
#endif
}

// The handler for the generation and wave size of an instruction: H<Layout>::run. Matrices come from VGPRs; only the
// accumulator may be a constant.
template <template <class> class H> Handler by_layout(const Shape& s) {
  if (s.scalars & 3) return nullptr;
  if (s.gfx12) return s.wave64 ? H<Layout<true, 4>>::run : H<Layout<true, 2>>::run;
  return s.wave64 ? H<Layout<false, 4>>::run : H<Layout<false, 2>>::run;
}
template <template <class> class H> Handler gfx12_only(const Shape& s) { return s.gfx12 ? by_layout<H>(s) : nullptr; }

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
