// The normal distribution's inverse and logarithm. Not part of hip_runtime.h. float goes through double.
#pragma once
#include "special.h"

namespace usbgpu::math {

// y > 0 with erfc(y) = q, 0 < q <= 1/2: Newton on y^2 - log erfcx(y) = -log q, which is nearly a parabola.
USBGPU_FN double erfc_inverse(double q) {
  const double wanted = -log(q);
  const double s = sqrt(wanted);
  double y = s - 0.5 * log(fma(1.77, s, 0.3)) / s;
#pragma unroll 1
  for (int i = 0; i < 4; ++i) {
    const double e = erfcx(y);
    const pair<double> square = exact_product(y, y);
    const double error = (square.high - wanted) - log(e) + square.low;
    y -= error * e * 0x1.c5bf891b4ef6ap-1;                  // sqrt(pi)/2
  }
  return y;
}
// The p-quantile. Error < 4 ulp.
USBGPU_FN double ndtri(double p) {
  if (p == 0.0) return -inf<double>;
  if (p == 1.0) return inf<double>;
  if (!(p > 0.0 && p < 1.0)) return nan<double>;
  return 0x1.6a09e667f3bcdp+0 * (p < 0.25 ? -erfc_inverse(2.0 * p) : erfinv(2.0 * p - 1.0));
}
// log of the probability below x. Phi(-t) = exp(-t^2/2) erfcx(t/sqrt 2)/2.
USBGPU_FN double log_ndtr(double x) {
  if (isnan(x)) return x;
  const double t = fabs(x), core = erfcx(t * 0x1.6a09e667f3bcdp-1);
  const pair<double> square = exact_product(t, t);
  if (x < -1.0) return t > 1e150 ? -inf<double> : (log(0.5 * core) - 0.5 * square.low) - 0.5 * square.high;
  const double below = t > 40.0 ? 0.0 : 0.5 * core * exp_pair(-0.5 * square.high, -0.5 * square.low);     // of -t
  return x < 0.0 ? log(below) : log1p(-below);
}

USBGPU_FN float ndtri(float p) { return (float)ndtri((double)p); }
USBGPU_FN float log_ndtr(float x) { return (float)log_ndtr((double)x); }

}  // namespace usbgpu::math
