// lgamma, tgamma, digamma. float goes through double.
#pragma once
#include "fits_gamma.h"
#include "special.h"
#include "twofold.h"

namespace usbgpu::math {

// log Gamma(a) - ((a - 1/2) log a - a + log(2 pi)/2) by Stirling's series, z = 1/a, a >= 8.
USBGPU_FN double stirling(double z) { return z * fma(z * z, stirling_rest(z * z), 0x1.5555555555555p-4); }

// Gamma(x) = exp(logarithm) / product, -50 < x < 1e300, x no whole number below 1: by whole steps up to where
// Stirling's series needs few terms. The logarithm's absolute error is below 2^-70 for |x| < 50.
struct gamma_parts { twofold logarithm, product; };
USBGPU_FN gamma_parts gamma_by_steps(double x) {
  twofold product = twofold::of(1.0), a = twofold::of(x);
#pragma unroll 1
  for (int i = 1; a.high < 24.0; ++i) product = product * a, a = twofold::sum(x, i);
  const double z = 1.0 / a.high;
  const twofold first = twofold{0x1.5555555555555p-4, 0x1.5555555555555p-58} / a;
  const twofold rest = first + twofold{0x1.d67f1c864beb5p-1, -0x1.65b5a1b7ff5dfp-55};       // log(2 pi)/2
  const twofold series = rest + twofold::of(z * z * z * stirling_rest(z * z));
  return {(a - twofold::of(0.5)) * log_twofold(a) - a + series, product};
}

// ---- lgamma

// lgamma(1 + f) / (f (f - 1)), 0 <= f <= 1.
USBGPU_FN double lgamma_core(double f) {
  return poly(f, 0x1.2788cfc6fb619p-1, -0x1.f6465978d46d2p-3, 0x1.3e54520481049p-3, -0x1.d7a3e6a87a04bp-4,
              0x1.79cf9c3bccff1p-4, -0x1.3cb1f86d41a0cp-4, 0x1.1155358c9caf2p-4, -0x1.e180a2722881cp-5,
              0x1.ae7e087aed149p-5, -0x1.852fcd9c80983p-5, 0x1.6250ededabaebp-5, -0x1.427cc3b703db9p-5,
              0x1.213e29eb2d0dfp-5, -0x1.f2d05f0115411p-6, 0x1.8f7431e011d34p-6, -0x1.1d39aed80b32ep-6,
              0x1.5bc02f69b6f67p-7, -0x1.59abfab374fa1p-8, 0x1.099055a168235p-9, -0x1.253f129f73fffp-11,
              0x1.9bb1ba4ffe57ap-14, -0x1.12d75cbfc09b1p-17);
}
// x > 0. Above 8: Stirling. Below: by recurrence to [1, 2]. What stands by the zeros at 1 and 2 is formed without rounding.
USBGPU_FN double lgamma_positive(double x) {
  const double big = x < 8.0 ? 8.0 : x;
  const double large = fma(big - 0.5, log(big), -big) + (0x1.d67f1c864beb5p-1 + stirling(1.0 / big));
  double product = 1.0, y = x;
#pragma unroll
  for (int i = 0; i < 6; ++i)
    if (y >= 3.0) y -= 1.0, product *= y;
  double extra = log(product), f = y - 1.0, g = y - 2.0;      // g = f - 1
  if (y < 1.0) extra -= log(y), f = y, g = y - 1.0;
  else if (y > 2.0) extra += log1p(y - 2.0), f = y - 2.0, g = y - 3.0;
  const double small = fma(f * g, lgamma_core(f), extra);
  return x < 8.0 ? small : x > 1e305 && x * 0.5 > 1.2797e305 ? inf<double> : large;
}

// log |Gamma(x)|. Below 0 are zeros, two of them between any two poles from -2 on: for double results (precise) the
// difference that vanishes there is formed of twofolds.
template <bool precise> USBGPU_FN double lgamma_by(double x) {
  const double ax = fabs(x);
  if (isnan(x)) return x;
  if (isinf(x) || (x <= 0.0 && floor(x) == x)) return inf<double>;
  if (ax < 0x1p-60) return -log(ax);
  if (x > 0.0) return lgamma_positive(x);
  if (precise && x > -50.0) {
    const gamma_parts parts = gamma_by_steps(x);
    const twofold size = parts.product.high < 0.0 ? -parts.product : parts.product;
    return value_of(parts.logarithm - log_twofold(size));
  }
  // Gamma(-x) Gamma(x) = -pi / (x sin(pi x))
  return log(0x1.921fb54442d18p+1 / fabs(ax * sinpi(ax))) - lgamma_positive(ax);
}
// Error < 4 ulp; within 2^-8 of a zero below 0 the error is absolute.
USBGPU_FN double lgamma(double x) { return lgamma_by<true>(x); }
// Error < 1 ulp, except near the zeros below 0, where the absolute error is < 1e-14.
USBGPU_FN float lgamma(float x) { return (float)lgamma_by<false>((double)x); }

// ---- tgamma

USBGPU_FN bool negative_gamma(double x) { return x < 0.0 && floor(0.5 * floor(x)) != 0.5 * floor(x); }
// Gamma(x). Error < 4 ulp.
USBGPU_FN double tgamma(double x) {
  if (x == 0.0) return copysign(inf<double>, x);
  if (isnan(x) || (x < 0.0 && floor(x) == x)) return nan<double>;
  if (x > 172.0) return inf<double>;
  if (x < -185.0) return negative_gamma(x) ? -0.0 : 0.0;
  if (fabs(x) < 0x1p-60) return 1.0 / x;
  const bool reflect = x <= -50.0;
  const gamma_parts parts = gamma_by_steps(reflect ? -x : x);
  if (!reflect) return value_of(exp_of(parts.logarithm) / parts.product);
  const double magnitude = exp_pair(-parts.logarithm.high, -parts.logarithm.low) *
      (0x1.921fb54442d18p+1 / fabs(x * sinpi(x)));
  return negative_gamma(x) ? -magnitude : magnitude;
}
// Error < 1 ulp.
USBGPU_FN float tgamma(float single_x) {
  const double x = single_x;
  if (x == 0.0) return (float)copysign(inf<double>, x);
  if (isnan(x) || (x < 0.0 && floor(x) == x)) return nan<float>;
  const double magnitude = x < -185.0 ? 0.0 : exp(lgamma_by<false>(x));
  return (float)(negative_gamma(x) ? -magnitude : magnitude);
}

// ---- digamma

// log(y) - digamma(y) - 1/(2 y), z = 1/y^2, y >= 10.
USBGPU_FN double digamma_series(double z) {
  return z * poly(z, 0x1.5555555555555p-4, -0x1.1111111111111p-7, 0x1.0410410410410p-8, -0x1.1111111111111p-8,
                  0x1.f07c1f07c1f08p-8, -0x1.5995995995996p-6, 0x1.5555555555555p-4);
}
// x > 0
USBGPU_FN double digamma_positive(double x) {
  double shift = 0.0, y = x;
  if (y < 1.0) shift = -1.0 / y, y += 1.0;
#pragma unroll 1
  for (int i = 0; i < 10; ++i)
    if (y > 2.0 && y < 10.0) y -= 1.0, shift += 1.0 / y;
  const double core = y <= 2.0 ? ((y - kDigammaZeroHigh) - kDigammaZeroLow) * fit_digamma_near_zero(fma(2.0, y, -3.0))
                               : log(y) - 0.5 / y - digamma_series(1.0 / (y * y));
  return core + shift;
}
// -50 < x < 0: by whole steps up, in twofolds, which keep their precision at the zeros.
USBGPU_FN double digamma_by_steps(double x) {
  twofold sum = twofold::of(0.0), a = twofold::of(x);
#pragma unroll 1
  for (int i = 1; a.high < 24.0; ++i) sum = sum + twofold::of(1.0) / a, a = twofold::sum(x, i);
  const double z = 1.0 / (a.high * a.high);
  return value_of(log_twofold(a) - twofold::of(0.5) / a - sum - twofold::of(digamma_series(z)));
}
// pi / tan(pi x)
USBGPU_FN double pi_cotangent(double x) {
  const double n = rint(2.0 * x), r = fma(-0.5, n, x);                 // |r| <= 1/4, exact
  const pair<double> p = exact_product(r, 0x1.921fb54442d18p+1);
  const double low = fma(r, 0x1.1a62633145c07p-53, p.low);
  const double s = sin_core(p.high, low), c = cos_core(p.high, low);
  return 0x1.921fb54442d18p+1 * (floor(0.5 * n) != 0.5 * n ? -s / c : c / s);
}
// Gamma'/Gamma. 0 -> -inf with the sign of PyTorch's (-inf at +0, inf at -0), negative integers -> NaN.
template <bool precise> USBGPU_FN double digamma_by(double x) {
  if (x == 0.0) return copysign(inf<double>, -x);
  if (x < 0.0 && floor(x) == x) return nan<double>;
  if (isnan(x) || fabs(x) < 0x1p-60) return -1.0 / x;
  if (precise && x < 0.0 && x > -50.0) return digamma_by_steps(x);
  return x < 0.0 ? digamma_positive(1.0 - x) - pi_cotangent(x) : digamma_positive(x);
}
// Error < 4 ulp; within 2^-8 of a zero below 0 the error is absolute.
USBGPU_FN double digamma(double x) { return digamma_by<true>(x); }
// Error < 1 ulp, except near the zeros below 0.
USBGPU_FN float digamma(float x) { return (float)digamma_by<false>((double)x); }

}  // namespace usbgpu::math
