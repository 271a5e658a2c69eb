// The elementwise operations of complex numbers (see pointwise_ops.h). What is plain arithmetic (add, mul,
// div, eq, addcmul ...) is the general template; here are the operations with a form of their own.
#pragma once
#include "complex_math.h"
#include "pointwise_ops.h"

namespace usbgpu::kernels {

#define COMPLEX1(NAME, ...)                                                                         \
  template <class R> struct NAME<Complex<R>> {                                                      \
    using T = Complex<R>;                                                                           \
    static __device__ __forceinline__ T apply(Scalars<T> s, T a) { return __VA_ARGS__; }            \
  };
#define COMPLEX2(NAME, ...)                                                                         \
  template <class R> struct NAME<Complex<R>> {                                                      \
    using T = Complex<R>;                                                                           \
    static __device__ __forceinline__ T apply(Scalars<T> s, T a, T b) { return __VA_ARGS__; }       \
  };

template <class T> struct op_conj { static __device__ __forceinline__ T apply(Scalars<T>, T a) { return conjugate(a); } };
template <class T> struct op_neg_conj { static __device__ __forceinline__ T apply(Scalars<T>, T a) { return -conjugate(a); } };

// Results that are real stay complex: torch takes their real part.
COMPLEX1(op_abs, T(cmath::magnitude(a), R(0)))
COMPLEX1(op_angle, T(cmath::argument(a), R(0)))
template <class R> struct op_sign<Complex<R>> {   // on the unit circle, and 0 of 0
  using T = Complex<R>;
  static __device__ __forceinline__ T apply(Scalars<T>, T a) {
    const R size = cmath::magnitude(a);
    return size == R(0) ? T(R(0), R(0)) : T(a.re / size, a.im / size);
  }
};
// (real, imaginary) and (length, angle)
template <class R> struct op_complex {
  static __device__ __forceinline__ Complex<R> apply(Scalars<R>, R a, R b) { return {a, b}; }
};
template <class R> struct op_polar {
  static __device__ __forceinline__ Complex<R> apply(Scalars<R>, R a, R b) {
    R s, c;
    ::sincos(b, &s, &c);
    return {a * c, a * s};
  }
};

COMPLEX1(op_exp, cmath::exp(a))
COMPLEX1(op_exp2, cmath::exp2(a))
COMPLEX1(op_expm1, cmath::expm1(a))
COMPLEX1(op_log, cmath::log(a))
COMPLEX1(op_log2, cmath::log_scaled(a, 1.4426950408889634074))
COMPLEX1(op_log10, cmath::log_scaled(a, 0.43429448190325182765))
COMPLEX1(op_log1p, cmath::log1p(a))
COMPLEX1(op_sqrt, cmath::sqrt(a))
COMPLEX1(op_rsqrt, T(R(1), R(0)) / cmath::sqrt(a))
COMPLEX1(op_sin, cmath::sin(a))
COMPLEX1(op_cos, cmath::cos(a))
COMPLEX1(op_tan, cmath::tan(a))
COMPLEX1(op_sinh, cmath::sinh(a))
COMPLEX1(op_cosh, cmath::cosh(a))
COMPLEX1(op_tanh, cmath::tanh(a))
COMPLEX1(op_asin, cmath::asin(a))
COMPLEX1(op_acos, cmath::acos(a))
COMPLEX1(op_atan, cmath::atan(a))
COMPLEX1(op_asinh, cmath::asinh(a))
COMPLEX1(op_acosh, cmath::acosh(a))
COMPLEX1(op_atanh, cmath::atanh(a))
COMPLEX1(op_sinc, a == T(0) ? T(1) : cmath::sin(a * R(cmath::kPi)) / (a * R(cmath::kPi)))
COMPLEX1(op_sigmoid, T(1) / (T(1) + cmath::exp(-a)))
COMPLEX1(op_silu, a / (T(1) + cmath::exp(-a)))
COMPLEX1(op_pow_scalar, cmath::pow(a, s(0)))
COMPLEX2(op_pow, cmath::pow(a, b))
COMPLEX2(op_logaddexp, cmath::log_add_exp(a, b))

// gradient, result
COMPLEX2(op_sigmoid_backward, a * conjugate((T(1) - b) * b))
COMPLEX2(op_tanh_backward, a * conjugate(T(1) - b * b))

template <class R> __device__ __forceinline__ Complex<R> complex_lerp(Complex<R> a, Complex<R> b, Complex<R> w) {
  const Complex<R> one(R(1), R(0));
  return w.re * w.re + w.im * w.im < R(0.25) ? a + w * (b - a) : b - (b - a) * (one - w);
}
COMPLEX2(op_lerp_scalar, complex_lerp(a, b, s(0)))
template <class R> struct op_lerp<Complex<R>> {
  using T = Complex<R>;
  static __device__ __forceinline__ T apply(Scalars<T>, T a, T b, T c) { return complex_lerp(a, b, c); }
};

#undef COMPLEX1
#undef COMPLEX2

}  // namespace usbgpu::kernels
