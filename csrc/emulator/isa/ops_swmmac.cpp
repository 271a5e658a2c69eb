// Sparse matrix multiply-accumulate (gfx12): D += A (16xK, two of every four k are stored) * B (Kx16).
//
// A is packed to half its width. A lane's packed elements 2p and 2p + 1 belong to the p-th group of four k of the lane's
// share of K; two bits of src2 for each say which of the four they are. A lane uses as many index bits as it has elements times
// two: 32 (iu4 with K = 64 in wave32), else 16 or (wave64) 8, and opsel says which part of the register. LLVM's operand is
// called index_key.
#include "emulator/isa/wmma.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

// [packed element][row] -> k
template <unsigned K, unsigned kBits, class L> USBGPU_INLINE void positions(Wave& w, const Inst* i, uint8_t (*at)[kSize]) {
  constexpr unsigned kElements = K / 2 / L::G, kIndexBits = 2 * kElements;
  constexpr unsigned kPart = kBits == 4 && kIndexBits == 8 ? 16 : kIndexBits;  // LLVM has halves there, too
  const unsigned shift = kPart == 32 ? 0 : kPart == 16 ? 16 * (i->opsel & 1) : 8 * (i->opsel & 3);
  for (unsigned h = 0; h < L::G; ++h) {
    const uint32_t* index = group_at(w, i->src[2], 0, h);
    for (unsigned e = 0; e < kElements; ++e)
      for (unsigned row = 0; row < kSize; ++row)
        at[h * kElements + e][row] = static_cast<uint8_t>(h * (K / L::G) + 4 * (e / 2) + (index[row] >> (shift + 2 * e) & 3));
  }
}

template <class A, class B, class D> struct Float {
  template <class L> struct in {
    static const Inst* run(Wave& w, const Inst* i) {
      if (!all_lanes(w)) return exec_fault(w, i);
      constexpr unsigned K = 32;
      alignas(64) float a[K / 2][kSize], b[K][kSize];
      uint8_t at[K / 2][kSize];
      unpack<A, K / 2, L>(w, i, 0, a);
      unpack<B, K, L>(w, i, 1, b);
      positions<K, bits_of<A>, L>(w, i, at);
      Accumulator d;
      read_accumulator<D, L>(w, i, i->dst, d);
      for (unsigned row = 0; row < kSize; ++row) {
        Columns sum[2];
        __builtin_memcpy(sum, d.at[row], sizeof sum);
        for (unsigned e = 0; e < K / 2; ++e) {
          Columns columns[2];
          __builtin_memcpy(columns, b[at[e][row]], sizeof columns);
          for (unsigned c = 0; c < 2; ++c) sum[c] = fused(a[e][row], columns[c], sum[c]);
        }
        __builtin_memcpy(d.at[row], sum, sizeof sum);
      }
      write_accumulator<D, L>(w, i, d);
      return i + 1;
    }
  };
};

template <unsigned kBits, unsigned K> struct Integer {
  template <class L> struct in {
    static const Inst* run(Wave& w, const Inst* i) {
      if (!all_lanes(w)) return exec_fault(w, i);
      alignas(64) int32_t a[K / 2][kSize], b[K][kSize];
      uint8_t at[K / 2][kSize];
      unpack_integer<kBits, K / 2, L>(w, i, 0, a);
      unpack_integer<kBits, K, L>(w, i, 1, b);
      positions<K, kBits, L>(w, i, at);
      Sums c, products{};
      read_sums<L>(w, i, i->dst, c);
      for (unsigned row = 0; row < kSize; ++row)
        for (unsigned e = 0; e < K / 2; ++e)
          for (unsigned n = 0; n < kSize; ++n) products.at[row][n] += a[e][row] * b[at[e][row]][n];
      write_sums<L>(w, i, c, products);
      return i + 1;
    }
  };
};

// The index is no constant either.
template <template <class> class H> Handler sparse(const Shape& s) { return s.scalars & 4 ? nullptr : gfx12_only<H>(s); }

constexpr uint16_t kHandles = own_all | whole_wave;
constexpr HandlerRow rows[] = {
    {"v_swmmac_f32_16x16x32_f16", sparse<Float<half, half, float>::in>, kHandles},
    {"v_swmmac_f32_16x16x32_bf16", sparse<Float<bfloat, bfloat, float>::in>, kHandles},
    {"v_swmmac_f16_16x16x32_f16", sparse<Float<half, half, half>::in>, kHandles},
    {"v_swmmac_bf16_16x16x32_bf16", sparse<Float<bfloat, bfloat, bfloat>::in>, kHandles},
    {"v_swmmac_i32_16x16x32_iu8", sparse<Integer<8, 32>::in>, kHandles},
    {"v_swmmac_i32_16x16x32_iu4", sparse<Integer<4, 32>::in>, kHandles},
    {"v_swmmac_i32_16x16x64_iu4", sparse<Integer<4, 64>::in>, kHandles},
    {"v_swmmac_f32_16x16x32_fp8_fp8", sparse<Float<fp8, fp8, float>::in>, kHandles},
    {"v_swmmac_f32_16x16x32_fp8_bf8", sparse<Float<fp8, bf8, float>::in>, kHandles},
    {"v_swmmac_f32_16x16x32_bf8_fp8", sparse<Float<bf8, fp8, float>::in>, kHandles},
    {"v_swmmac_f32_16x16x32_bf8_bf8", sparse<Float<bf8, bf8, float>::in>, kHandles},
};

}  // namespace

const HandlerGroup group_swmmac{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
