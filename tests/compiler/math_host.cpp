// The device math headers compiled for the host: one loop per function, for tests/compiler/test_math.py.
#define USBGPU_MATH_HOST
#include "usbgpu/math/bessel.h"
#include "usbgpu/math/exp_log_f32.h"
#include "usbgpu/math/hyperbolic.h"
#include "usbgpu/math/incomplete_gamma.h"
#include "usbgpu/math/normal.h"
#include "usbgpu/math/orthogonal.h"
#include "usbgpu/math/special.h"
#include "usbgpu/math/trig.h"
#include "usbgpu/math/zeta.h"

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

UNARY(i0) UNARY(i0e) UNARY(i1) UNARY(i1e) UNARY(k0) UNARY(k0e) UNARY(k1) UNARY(k1e)
UNARY(j0) UNARY(j1) UNARY(y0) UNARY(y1) UNARY(spherical_j0) UNARY(airy_ai) UNARY(ndtri) UNARY(log_ndtr)
BINARY(zeta) BINARY(igamma) BINARY(igammac)
namespace usbgpu::math {
#define POLYGAMMA(n) template <class T> T polygamma_##n(T x) { return polygamma(n, x); }
POLYGAMMA(1) POLYGAMMA(2) POLYGAMMA(3) POLYGAMMA(4) POLYGAMMA(5)
#define POLYNOMIAL(kind) template <class T> T kind##_of(T x, T n) { return polynomial_of<kind>(x, n); }
#define SHIFTED(kind) template <class T> T shifted_##kind##_of(T x, T n) { return shifted_polynomial_of<kind>(x, n); }
POLYNOMIAL(chebyshev_t) POLYNOMIAL(chebyshev_u) POLYNOMIAL(chebyshev_v) POLYNOMIAL(chebyshev_w)
POLYNOMIAL(hermite_h) POLYNOMIAL(hermite_he) POLYNOMIAL(laguerre_l) POLYNOMIAL(legendre_p)
SHIFTED(chebyshev_t) SHIFTED(chebyshev_u) SHIFTED(chebyshev_v) SHIFTED(chebyshev_w)
}  // namespace usbgpu::math
UNARY(polygamma_1) UNARY(polygamma_2) UNARY(polygamma_3) UNARY(polygamma_4) UNARY(polygamma_5)
BINARY(chebyshev_t_of) BINARY(chebyshev_u_of) BINARY(chebyshev_v_of) BINARY(chebyshev_w_of)
BINARY(hermite_h_of) BINARY(hermite_he_of) BINARY(laguerre_l_of) BINARY(legendre_p_of)
BINARY(shifted_chebyshev_t_of) BINARY(shifted_chebyshev_u_of) BINARY(shifted_chebyshev_v_of) BINARY(shifted_chebyshev_w_of)
