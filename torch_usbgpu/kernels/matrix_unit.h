// The matrix units (WMMA): 16 x 16 pieces, f16 or bf16 operands out of LDS, f32 sums.
// Lane l holds row (A) or column (B) l & 15 of an operand. Where k lies in a lane, and which row of the
// result a register is, differs between the generations.
#pragma once
#include "family.h"

namespace usbgpu_family {

typedef float float8 __attribute__((ext_vector_type(8)));
typedef uint32_t uint4_lds __attribute__((ext_vector_type(4)));

#if defined(__GFX11__)
// All 16 k in every lane; lanes 16-31 repeat lanes 0-15. Result register r: row 2r + (l >> 4), column l & 15.
typedef _Float16 half_operand __attribute__((ext_vector_type(16)));
typedef short short_operand __attribute__((ext_vector_type(16)));
struct Operand { uint4_lds low, high; };
USBGPU_INLINE Operand load_operand(const uint16_t* row) { return {((const uint4_lds*)row)[0], ((const uint4_lds*)row)[1]}; }
USBGPU_INLINE uint32_t result_row(uint32_t r, uint32_t lane) { return 2 * r + (lane >> 4); }
#define USBGPU_WMMA(type) __builtin_amdgcn_wmma_f32_16x16x16_##type##_w32
#elif defined(__GFX12__)
// Lanes 0-15 have the first 8 k, lanes 16-31 the others. Result register r: row r + 8 (l >> 4), column l & 15.
typedef _Float16 half_operand __attribute__((ext_vector_type(8)));
typedef short short_operand __attribute__((ext_vector_type(8)));
struct Operand { uint4_lds part; };
USBGPU_INLINE Operand load_operand(const uint16_t* row) { return {((const uint4_lds*)row)[lane_id() >> 4]}; }
USBGPU_INLINE uint32_t result_row(uint32_t r, uint32_t lane) { return r + 8 * (lane >> 4); }
#define USBGPU_WMMA(type) __builtin_amdgcn_wmma_f32_16x16x16_##type##_w32_gfx12
#else
#error "the layout of this target's matrix operands is not known"
#endif

template <typename T>
USBGPU_INLINE float8 matrix_multiply(Operand a, Operand b, float8 c) {
  if constexpr (same_type<T, _Float16>::value)
    return USBGPU_WMMA(f16)(__builtin_bit_cast(half_operand, a), __builtin_bit_cast(half_operand, b), c);
  else
    return USBGPU_WMMA(bf16)(__builtin_bit_cast(short_operand, a), __builtin_bit_cast(short_operand, b), c);
}

}  // namespace usbgpu_family
