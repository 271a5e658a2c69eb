// Matrix multiply-accumulate: D = A (16xK) * B (Kx16) + C. Layouts are in wmma.h.
#include "emulator/isa/wmma.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

// d[row][column] += a * b, four rows (eight accumulators) at a time.
template <unsigned K> USBGPU_INLINE void multiply(const float (*a)[kSize], const float (*b)[kSize], Accumulator& d) {
  constexpr unsigned kRows = 4;
  for (unsigned row = 0; row < kSize; row += kRows) {
    Columns sum[kRows][2];
    for (unsigned r = 0; r < kRows; ++r) __builtin_memcpy(sum[r], d.at[row + r], sizeof sum[r]);
    for (unsigned k = 0; k < K; ++k) {
      Columns columns[2];
      __builtin_memcpy(columns, b[k], sizeof columns);
      for (unsigned r = 0; r < kRows; ++r)
        for (unsigned c = 0; c < 2; ++c) sum[r][c] = fused(a[k][row + r], columns[c], sum[r][c]);
    }
    for (unsigned r = 0; r < kRows; ++r) __builtin_memcpy(d.at[row + r], sum[r], sizeof sum[r]);
  }
}

template <class A, class B, class D> struct Float {
  template <class L> struct in {
    static const Inst* run(Wave& w, const Inst* i) {
      if (!all_lanes(w)) return exec_fault(w, i);
      alignas(64) float a[kSize][kSize], b[kSize][kSize];
      Accumulator d;
      unpack<A, kSize, L>(w, i, 0, a);
      unpack<B, kSize, L>(w, i, 1, b);
      read_accumulator<D, L>(w, i, i->src[2], d);
      if ((i->neg | i->neg_hi) & 4)
        for (unsigned n = 0; n < kSize * kSize; ++n) {
          float& x = (&d.at[0][0])[n];
          x = sem::as<float>(modified<u32>(sem::as<u32>(x), 0x80000000u, i->neg_hi & 4, i->neg & 4));
        }
      multiply<kSize>(a, b, d);
      write_accumulator<D, L>(w, i, d);
      return i + 1;
    }
  };
};

template <unsigned kBits, unsigned K> struct Integer {
  template <class L> struct in {
    static const Inst* run(Wave& w, const Inst* i) {
      if (!all_lanes(w)) return exec_fault(w, i);
      alignas(64) int32_t a[K][kSize], b[K][kSize];
      unpack_integer<kBits, K, L>(w, i, 0, a);
      unpack_integer<kBits, K, L>(w, i, 1, b);
      Sums c, products;
      read_sums<L>(w, i, i->src[2], c);
      using Row = int32_t __attribute__((vector_size(64)));
      for (unsigned row = 0; row < kSize; ++row) {
        Row sum{};  // at most 16 * 255 * 255
        for (unsigned k = 0; k < K; ++k) {
          Row columns;
          __builtin_memcpy(&columns, b[k], sizeof columns);
          sum += a[k][row] * columns;
        }
        __builtin_memcpy(products.at[row], &sum, sizeof sum);
      }
      write_sums<L>(w, i, c, products);
      return i + 1;
    }
  };
};

constexpr uint16_t kHandles = own_all | whole_wave;
constexpr HandlerRow rows[] = {
    {"v_wmma_f32_16x16x16_f16", by_layout<Float<half, half, float>::in>, kHandles},
    {"v_wmma_f32_16x16x16_bf16", by_layout<Float<bfloat, bfloat, float>::in>, kHandles},
    {"v_wmma_f16_16x16x16_f16", by_layout<Float<half, half, half>::in>, kHandles},
    {"v_wmma_bf16_16x16x16_bf16", by_layout<Float<bfloat, bfloat, bfloat>::in>, kHandles},
    {"v_wmma_i32_16x16x16_iu8", by_layout<Integer<8, 16>::in>, kHandles},
    {"v_wmma_i32_16x16x16_iu4", by_layout<Integer<4, 16>::in>, kHandles},
    {"v_wmma_i32_16x16x32_iu4", gfx12_only<Integer<4, 32>::in>, kHandles},
    {"v_wmma_f32_16x16x16_fp8_fp8", gfx12_only<Float<fp8, fp8, float>::in>, kHandles},
    {"v_wmma_f32_16x16x16_fp8_bf8", gfx12_only<Float<fp8, bf8, float>::in>, kHandles},
    {"v_wmma_f32_16x16x16_bf8_fp8", gfx12_only<Float<bf8, fp8, float>::in>, kHandles},
    {"v_wmma_f32_16x16x16_bf8_bf8", gfx12_only<Float<bf8, bf8, float>::in>, kHandles},
};

}  // namespace

const HandlerGroup group_wmma{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
