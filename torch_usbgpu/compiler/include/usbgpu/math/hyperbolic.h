// sinh, cosh, tanh, asinh, acosh, atanh in float and double.
#pragma once
#include "exp_log_f32.h"

namespace usbgpu::math {

// Error < 2 ulp.
USBGPU_FN double sinh(double x) {
  const double ax = fabs(x);
  const double t = expm1(ax);
  const double e = exp(0.5 * ax);
  const double result = ax > 709.0 ? (0.5 * e) * e : 0.5 * (t + t / (t + 1.0));
  return copysign(ax < 0x1p-27 ? ax : result, x);
}
// Error < 1.5 ulp.
USBGPU_FN double cosh(double x) {
  const double ax = fabs(x);
  const double e = exp(0.5 * ax), t = exp(ax);
  return ax > 709.0 ? (0.5 * e) * e : 0.5 * t + 0.5 / t;
}
// Error < 2.5 ulp.
USBGPU_FN double tanh(double x) {
  const double ax = fabs(x);
  const double t = expm1(2.0 * ax);
  const double result = ax > 22.0 ? 1.0 : ax < 0.55 ? t / (t + 2.0) : 1.0 - 2.0 / (t + 2.0);
  return isnan(x) ? x : copysign(ax < 0x1p-28 ? ax : result, x);
}

// Error < 1.5 ulp.
USBGPU_FN float tanh(float x) {
  const float ax = fabs(x), z = x * x;
  const float p = poly(z, -0x1.555554p-2f, 0x1.111090p-3f, -0x1.b9f72cp-5f, 0x1.63ef78p-6f, -0x1.0e0114p-7f,
                       0x1.20cd2ap-9f);
  const float small = fma(x * z, p, x);
  const float large = copysign(1.0f - 2.0f / (exp(2.0f * ax) + 1.0f), x);
  return ax < 0.6f ? copysign(small, x) : isnan(x) ? x : large;   // the sum loses the sign of -0
}
// Error < 2 ulp.
USBGPU_FN float sinh(float x) {
  const float ax = fabs(x), z = x * x;
  const float small = fma(x * z, poly(z, 0x1.555556p-3f, 0x1.111136p-7f, 0x1.9ffe12p-13f, 0x1.7a267cp-19f), x);
  const float e = exp(0.5f * ax), t = exp(ax);
  const float large = ax > 88.0f ? (0.5f * e) * e : 0.5f * t - 0.5f / t;
  return ax < 1.0f ? small : copysign(large, x);
}
// Error < 2 ulp.
USBGPU_FN float cosh(float x) {
  const float ax = fabs(x);
  const float e = exp(0.5f * ax), t = exp(ax);
  return ax > 88.0f ? (0.5f * e) * e : 0.5f * t + 0.5f / t;
}

// double: < 2.5 ulp. float: < 0.51 ulp, through double.
USBGPU_FN double asinh(double x) {
  const double ax = fabs(x), z = ax * ax;
  const double result = ax > 0x1p28 ? log(ax) + 0x1.62e42fefa39efp-1 : log1p(ax + z / (1.0 + sqrt(1.0 + z)));
  return isnan(x) ? x : copysign(ax < 0x1p-27 ? ax : result, x);
}
USBGPU_FN double acosh(double x) {
  const double t = x - 1.0;
  const double result = x > 0x1p28 ? log(x) + 0x1.62e42fefa39efp-1 : log1p(t + sqrt(fma(t, t, 2.0 * t)));
  return x >= 1.0 ? result : nan<double>;
}
USBGPU_FN double atanh(double x) {
  const double ax = fabs(x);
  const double result = 0.5 * log1p(2.0 * ax / (1.0 - ax));
  if (ax == 1.0) return copysign(inf<double>, x);
  return isnan(x) || ax > 1.0 ? nan<double> : copysign(ax < 0x1p-27 ? ax : result, x);
}
USBGPU_FN float asinh(float x) { return (float)asinh((double)x); }
USBGPU_FN float acosh(float x) { return (float)acosh((double)x); }
USBGPU_FN float atanh(float x) { return (float)atanh((double)x); }

}  // namespace usbgpu::math
