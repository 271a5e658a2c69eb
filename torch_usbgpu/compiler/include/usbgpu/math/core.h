// Ground of the math headers: the operations that hardware does exactly, bits, polynomials.
//
// Everything above is built from +, -, *, fma, division, sqrt, frexp, ldexp and rint, all of which
// round correctly, and never from the approximate v_exp/v_log/v_sin units. So every result has
// the same bits on a board, in the emulator and on a host that compiles these files (the tests
// do: -DUSBGPU_MATH_HOST), and the error bounds stated here hold on all three.
// Needs -ffp-contract=off. Coefficients: tools/fit_device_math.py.
#pragma once

#ifdef USBGPU_MATH_HOST
#include <cstdint>
#define USBGPU_FN static inline __attribute__((always_inline))
#define USBGPU_TABLE static const
#else
#define USBGPU_TABLE static __constant__ const
#endif

namespace usbgpu::math {

USBGPU_FN float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
USBGPU_FN double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
USBGPU_FN float sqrt(float x) { return __builtin_sqrtf(x); }
USBGPU_FN double sqrt(double x) { return __builtin_sqrt(x); }
USBGPU_FN float fabs(float x) { return __builtin_fabsf(x); }
USBGPU_FN double fabs(double x) { return __builtin_fabs(x); }
USBGPU_FN float rint(float x) { return __builtin_rintf(x); }
USBGPU_FN double rint(double x) { return __builtin_rint(x); }
USBGPU_FN float floor(float x) { return __builtin_floorf(x); }
USBGPU_FN double floor(double x) { return __builtin_floor(x); }
USBGPU_FN float ceil(float x) { return __builtin_ceilf(x); }
USBGPU_FN double ceil(double x) { return __builtin_ceil(x); }
USBGPU_FN float trunc(float x) { return __builtin_truncf(x); }
USBGPU_FN double trunc(double x) { return __builtin_trunc(x); }
USBGPU_FN float copysign(float x, float s) { return __builtin_copysignf(x, s); }
USBGPU_FN double copysign(double x, double s) { return __builtin_copysign(x, s); }
USBGPU_FN float ldexp(float x, int n) { return __builtin_ldexpf(x, n); }
USBGPU_FN double ldexp(double x, int n) { return __builtin_ldexp(x, n); }
// x = mantissa * 2^exponent with a mantissa in [0.5, 1); zero, infinity and NaN as they are, exponent 0.
USBGPU_FN float frexp(float x, int* exponent) { return __builtin_frexpf(x, exponent); }
USBGPU_FN double frexp(double x, int* exponent) { return __builtin_frexp(x, exponent); }

USBGPU_FN uint32_t bits(float x) { return __builtin_bit_cast(uint32_t, x); }
USBGPU_FN uint64_t bits(double x) { return __builtin_bit_cast(uint64_t, x); }
USBGPU_FN bool isnan(float x) { return x != x; }
USBGPU_FN bool isnan(double x) { return x != x; }
USBGPU_FN bool isinf(float x) { return fabs(x) == __builtin_inff(); }
USBGPU_FN bool isinf(double x) { return fabs(x) == __builtin_inf(); }
USBGPU_FN bool signbit(float x) { return bits(x) >> 31; }
USBGPU_FN bool signbit(double x) { return bits(x) >> 63; }

template <class T> inline constexpr T inf = __builtin_inff();
template <class T> inline constexpr T nan = T(__builtin_nanf(""));

// c + rest[0] x + rest[1] x^2 ..., by Horner with fused steps.
template <class T> USBGPU_FN T poly(T, T c) { return c; }
template <class T, class... Rest> USBGPU_FN T poly(T x, T c, T next, Rest... rest) {
  return fma(poly(x, next, rest...), x, c);
}

// An unevaluated sum high + low, |low| at most half an ulp of high.
template <class T> struct pair { T high, low; };
// Needs |a| >= |b| or a = 0.
template <class T> USBGPU_FN pair<T> quick_sum(T a, T b) {
  const T sum = a + b;
  return {sum, b - (sum - a)};
}
template <class T> USBGPU_FN pair<T> exact_sum(T a, T b) {
  const T sum = a + b, part = sum - a;
  return {sum, (a - (sum - part)) + (b - part)};
}
template <class T> USBGPU_FN pair<T> exact_product(T a, T b) {
  const T product = a * b;
  return {product, fma(a, b, -product)};
}

}  // namespace usbgpu::math
