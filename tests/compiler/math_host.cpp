// The device math headers compiled for the host: one loop per function, for tests/compiler/test_math.py.
#define USBGPU_MATH_HOST
#include "usbgpu/math/exp_log_f32.h"
#include "usbgpu/math/hyperbolic.h"
#include "usbgpu/math/special.h"
#include "usbgpu/math/trig.h"

namespace m = usbgpu::math;
#define UNARY(f)                                                                             \
  extern "C" void f##_f32(const float* x, float* y, long n) {                                \
    for (long i = 0; i < n; ++i) y[i] = m::f(x[i]);                                          \
  }                                                                                          \
  extern "C" void f##_f64(const double* x, double* y, long n) {                              \
    for (long i = 0; i < n; ++i) y[i] = m::f(x[i]);                                          \
  }
#define BINARY(f)                                                                            \
  extern "C" void f##_f32(const float* x, const float* w, float* y, long n) {                \
    for (long i = 0; i < n; ++i) y[i] = m::f(x[i], w[i]);                                    \
  }                                                                                          \
  extern "C" void f##_f64(const double* x, const double* w, double* y, long n) {             \
    for (long i = 0; i < n; ++i) y[i] = m::f(x[i], w[i]);                                    \
  }
UNARY(exp) UNARY(exp2) UNARY(exp10) UNARY(expm1) UNARY(log) UNARY(log2) UNARY(log10) UNARY(log1p)
UNARY(sin) UNARY(cos) UNARY(tan) UNARY(sinpi) UNARY(cospi) UNARY(asin) UNARY(acos) UNARY(atan)
UNARY(sinh) UNARY(cosh) UNARY(tanh) UNARY(asinh) UNARY(acosh) UNARY(atanh)
UNARY(erf) UNARY(erfc) UNARY(erfcx) UNARY(erfinv) UNARY(lgamma) UNARY(tgamma) UNARY(digamma)
UNARY(cbrt) UNARY(rsqrt) UNARY(sigmoid) UNARY(softplus)
BINARY(pow) BINARY(atan2) BINARY(hypot) BINARY(fmod) BINARY(remainder) BINARY(nextafter)
