// Arithmetic of the linear algebra families: the same names for real and complex numbers, so that one
// kernel serves both. Not templates: an element of a matrix in memory converts to its number.
#pragma once
#include "complex.h"
#include "family.h"

namespace usbgpu_family {

using usbgpu::kernels::Complex;
using usbgpu::kernels::is_complex;
using usbgpu::kernels::Real;

// a * b + c
USBGPU_INLINE float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
USBGPU_INLINE double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
USBGPU_INLINE float root(float x) { return sqrtf(x); }
USBGPU_INLINE double root(double x) { return sqrt(x); }
USBGPU_INLINE float magnitude(float x) { return __builtin_fabsf(x); }
USBGPU_INLINE double magnitude(double x) { return __builtin_fabs(x); }
// Binary exponent of x > 0: x * 2^-exponent is in [0.5, 1). And the way back, exact.
USBGPU_INLINE int exponent_of(float x) { return __builtin_amdgcn_frexp_expf(x); }
USBGPU_INLINE int exponent_of(double x) { return __builtin_amdgcn_frexp_exp(x); }
USBGPU_INLINE float scale_by_power(float x, int power) { return __builtin_ldexpf(x, power); }
USBGPU_INLINE double scale_by_power(double x, int power) { return __builtin_ldexp(x, power); }

// number(a(i, j)): the value, where none of the others asks for it. Its parts apart: copied whole from LDS to LDS
// it would pass through scratch memory.
#define USBGPU_LINALG_SCALAR(R)                                                                          \
  USBGPU_INLINE R number(R x) { return x; }                                                              \
  USBGPU_INLINE Complex<R> number(Complex<R> x) { return {x.re, x.im}; }                                 \
  USBGPU_INLINE R choose(bool first, R x, R y) { return first ? x : y; }                                 \
  USBGPU_INLINE Complex<R> choose(bool first, Complex<R> x, Complex<R> y) {                              \
    return {first ? x.re : y.re, first ? x.im : y.im};                                                   \
  }                                                                                                      \
  USBGPU_INLINE R conjugate(R x) { return x; }                                                           \
  USBGPU_INLINE R conjugate_if(bool, R x) { return x; }                                                  \
  USBGPU_INLINE R real_part(R x) { return x; }                                                           \
  USBGPU_INLINE R largest_part(R x) { return magnitude(x); }                                             \
  USBGPU_INLINE R imaginary_part(R) { return R(0); }                                                     \
  USBGPU_INLINE R square_of(R x) { return x * x; }                                                       \
  USBGPU_INLINE R times(R x, R by) { return x * by; }                                                    \
  USBGPU_INLINE R turned(R p, R x, R q, R y) { return fused(p, x, q * y); }   /* p x + q y */            \
  USBGPU_INLINE R over(R x, R by) { return x / by; }                                                     \
  USBGPU_INLINE R quotient(R a, R b) { return a / b; }                                                   \
  /* As operator/ has it (Smith 1962), but by no reciprocal: that of a subnormal number is infinite. */  \
  USBGPU_INLINE Complex<R> quotient(Complex<R> a, Complex<R> b) {                                        \
    const bool wide = magnitude(b.re) >= magnitude(b.im);                                                \
    const R big = wide ? b.re : b.im, small = wide ? b.im : b.re;                                        \
    const R ratio = big == R(0) ? R(0) : small / big;                                                    \
    const R denominator = fused(small, ratio, big);                                                      \
    const R re = wide ? fused(a.im, ratio, a.re) : fused(a.re, ratio, a.im);                             \
    const R im = wide ? fused(-a.re, ratio, a.im) : fused(a.im, ratio, -a.re);                           \
    return {re / denominator, im / denominator};                                                         \
  }                                                                                                      \
  USBGPU_INLINE R of_lane_xor(R x, uint32_t mask) { return shuffle_xor(x, mask); }                       \
  USBGPU_INLINE R wave_sum(R x) { return wave_reduce(x, Sum{}); }                                        \
  USBGPU_INLINE Complex<R> fused(Complex<R> a, Complex<R> b, Complex<R> c) {                             \
    return {fused(a.re, b.re, fused(-a.im, b.im, c.re)), fused(a.re, b.im, fused(a.im, b.re, c.im))};    \
  }                                                                                                      \
  /* As the BLAS measures them where it looks for the largest: |re| + |im|. */                           \
  USBGPU_INLINE R magnitude(Complex<R> x) { return magnitude(x.re) + magnitude(x.im); }                  \
  /* Finite wherever x is. */                                                                            \
  USBGPU_INLINE R largest_part(Complex<R> x) { return Max{}(magnitude(x.re), magnitude(x.im)); }         \
  USBGPU_INLINE Complex<R> scale_by_power(Complex<R> x, int power) {                                     \
    return {scale_by_power(x.re, power), scale_by_power(x.im, power)};                                   \
  }                                                                                                      \
  USBGPU_INLINE Complex<R> conjugate(Complex<R> x) { return {x.re, -x.im}; }                             \
  USBGPU_INLINE Complex<R> conjugate_if(bool yes, Complex<R> x) { return {x.re, yes ? -x.im : x.im}; }   \
  USBGPU_INLINE R real_part(Complex<R> x) { return x.re; }                                               \
  USBGPU_INLINE R imaginary_part(Complex<R> x) { return x.im; }                                          \
  USBGPU_INLINE R square_of(Complex<R> x) { return fused(x.re, x.re, x.im * x.im); }                     \
  USBGPU_INLINE Complex<R> times(Complex<R> x, R by) { return {x.re * by, x.im * by}; }                  \
  USBGPU_INLINE Complex<R> turned(R p, Complex<R> x, R q, Complex<R> y) {                                \
    return {turned(p, x.re, q, y.re), turned(p, x.im, q, y.im)};                                         \
  }                                                                                                      \
  USBGPU_INLINE Complex<R> over(Complex<R> x, R by) { return {x.re / by, x.im / by}; }                   \
  USBGPU_INLINE Complex<R> of_lane_xor(Complex<R> x, uint32_t mask) {                                    \
    return {shuffle_xor(x.re, mask), shuffle_xor(x.im, mask)};                                           \
  }                                                                                                      \
  USBGPU_INLINE Complex<R> wave_sum(Complex<R> x) {                                                      \
    return {wave_reduce(x.re, Sum{}), wave_reduce(x.im, Sum{})};                                         \
  }

USBGPU_LINALG_SCALAR(float)
USBGPU_LINALG_SCALAR(double)
#undef USBGPU_LINALG_SCALAR

USBGPU_INLINE double widen(float x) { return x; }
USBGPU_INLINE double widen(double x) { return x; }
USBGPU_INLINE Complex<double> widen(Complex<float> x) { return {x.re, x.im}; }
USBGPU_INLINE Complex<double> widen(Complex<double> x) { return x; }
template <typename T> using Wide = decltype(widen(T{}));

template <typename T> USBGPU_INLINE bool finite(T x) { return x - x == T(0); }

template <typename T> struct precision : precision<Real<T>> {};
template <> struct precision<float> { static constexpr float epsilon = 0x1p-23f, null = 0x1p-100f; };
template <> struct precision<double> { static constexpr double epsilon = 0x1p-52, null = 0x1p-900; };

}  // namespace usbgpu_family
