// The 8-bit floating types: storage only, every conversion goes through f32.
//
// e4m3 and e5m2 as in "FP8 Formats for Deep Learning" (Micikevicius et al. 2022), the fnuz ones as in "8-bit
// Numerical Formats for Deep Neural Networks" (Noune et al. 2022), e8m0 as the scale of OCP Microscaling 1.0.
// Beyond the largest number lies what ATen's casts put there: infinity (e5m2), NaN (fnuz), that number (e4m3fn).
#pragma once
#include <hip/hip_runtime.h>

namespace usbgpu::kernels {

// EXPONENT and MANTISSA bits. FN: no infinities, NaN is all ones. UZ: no negative zero, its code is the only NaN.
template <int EXPONENT, int MANTISSA, int BIAS, bool FN, bool UZ>
struct Float8 {
  uint8_t bits;
};
using float8_e4m3fn = Float8<4, 3, 7, true, false>;
using float8_e5m2 = Float8<5, 2, 15, false, false>;
using float8_e4m3fnuz = Float8<4, 3, 8, true, true>;
using float8_e5m2fnuz = Float8<5, 2, 16, true, true>;
struct float8_e8m0fnu {   // a power of two
  uint8_t bits;
};

template <class T> struct is_float8_type { static constexpr bool value = false; };
template <int E, int M, int B, bool FN, bool UZ> struct is_float8_type<Float8<E, M, B, FN, UZ>> { static constexpr bool value = true; };
template <> struct is_float8_type<float8_e8m0fnu> { static constexpr bool value = true; };
template <class T> constexpr bool is_float8 = is_float8_type<T>::value;

template <int E, int M, int BIAS, bool FN, bool UZ>
__device__ __forceinline__ float widen(Float8<E, M, BIAS, FN, UZ> value) {
  const uint32_t magnitude = value.bits & 0x7f;
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x80) << 24;
  const bool nan = UZ ? value.bits == 0x80 : FN ? magnitude == 0x7f : magnitude > (((1u << E) - 1) << M);
  if (nan) return __builtin_bit_cast(float, 0x7fc00000u | (UZ ? 0 : sign));
  if (!FN && magnitude == (((1u << E) - 1) << M)) return __builtin_bit_cast(float, sign | 0x7f800000u);
  const uint32_t normal = (magnitude << (23 - M)) + (static_cast<uint32_t>(127 - BIAS) << 23);
  // 2^(1 - BIAS - M) is the smallest number
  const float small = static_cast<float>(magnitude) * __builtin_bit_cast(float, static_cast<uint32_t>(127 + 1 - BIAS - M) << 23);
  return __builtin_bit_cast(float, (magnitude >> M ? normal : __builtin_bit_cast(uint32_t, small)) | sign);
}
__device__ __forceinline__ float widen(float8_e8m0fnu value) {
  if (value.bits == 0xff) return __builtin_bit_cast(float, 0x7fc00000u);
  return __builtin_bit_cast(float, value.bits ? static_cast<uint32_t>(value.bits) << 23 : 0x400000u);
}

// To nearest, ties to even.
template <int E, int M, int BIAS, bool FN, bool UZ>
__device__ __forceinline__ void narrow(float value, Float8<E, M, BIAS, FN, UZ>& to) {
  constexpr int dropped = 23 - M;
  constexpr uint32_t largest = FN ? (UZ ? 0x7f : 0x7e) : (((1u << E) - 1) << M) - 1;
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t sign = bits >> 24 & 0x80, magnitude = bits & 0x7fffffff;
  uint32_t code;
  if (magnitude < static_cast<uint32_t>(128 - BIAS) << 23) {
    // Below the smallest normal number: a multiple of 2^(1 - BIAS - M). All of it makes that number's code.
    const float scale = __builtin_bit_cast(float, static_cast<uint32_t>(127 - 1 + BIAS + M) << 23);
    code = static_cast<uint32_t>(__builtin_rintf(__builtin_bit_cast(float, magnitude) * scale));
  } else {
    const uint32_t rounded = magnitude + ((1u << (dropped - 1)) - 1) + (magnitude >> dropped & 1);
    code = (rounded >> dropped) - (static_cast<uint32_t>(127 - BIAS) << M);
  }
  const bool nan = magnitude > 0x7f800000;
  if constexpr (UZ) {
    to.bits = static_cast<uint8_t>(nan || code > largest ? 0x80 : code ? sign | code : 0);
  } else {
    to.bits = static_cast<uint8_t>(sign | (nan ? 0x7f : code <= largest ? code : FN ? largest : largest + 1));
  }
}
// The exponent alone, of the nearer power of two; the sign is lost.
__device__ __forceinline__ void narrow(float value, float8_e8m0fnu& to) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t exponent = bits >> 23 & 0xff, mantissa = bits & 0x7fffff;
  const bool up = mantissa > 0x400000 || (mantissa == 0x400000 && exponent);
  to.bits = static_cast<uint8_t>(exponent == 0xff ? 0xff : exponent + up);
}

}  // namespace usbgpu::kernels
