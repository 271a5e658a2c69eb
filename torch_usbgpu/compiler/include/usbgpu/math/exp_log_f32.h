// float: exp, exp2, exp10, expm1, log, log2, log10, log1p, pow, sigmoid, softplus.
#pragma once
#include "exp_log_f64.h"

namespace usbgpu::math {

// ln 2; n times the high part (15 bits) is exact.
inline constexpr float kLn2HighF = 0x1.62e4p-1f, kLn2LowF = 0x1.7f7d1cp-20f, kLog2eF = 0x1.715476p+0f;

// Error < 1 ulp; denormal results are rounded twice.
USBGPU_FN float exp(float x) {
  const float n = rint(x * kLog2eF);
  const float r = fma(-n, kLn2LowF, fma(-n, kLn2HighF, x));
  const float q = poly(r, 0x1p-1f, 0x1.555490p-3f, 0x1.55545ep-5f, 0x1.123b46p-7f, 0x1.6db41ep-10f);
  const float p = ldexp(1.0f + fma(r * r, q, r), (int)n);
  return x > 88.73f ? inf<float> : x < -103.98f ? 0.0f : p;
}

// Error < 1 ulp.
USBGPU_FN float exp2(float x) {
  const float n = rint(x), r = x - n;
  const float p = poly(r, 1.0f, 0x1.62e430p-1f, 0x1.ebfbe2p-3f, 0x1.c6aeccp-5f, 0x1.3b2996p-7f, 0x1.5f48cep-10f,
                       0x1.4498fcp-13f);
  return x >= 128.0f ? inf<float> : x < -150.0f ? 0.0f : ldexp(p, (int)n);
}

// Error < 1.2 ulp.
USBGPU_FN float exp10(float x) {
  const float n = rint(x * 0x1.a934f0p+1f);
  const float r = fma(-n, 0x1.3509f8p-18f, fma(-n, 0x1.344p-2f, x));
  const float p = poly(r, 1.0f, 0x1.26bb1cp+1f, 0x1.53524ep+1f, 0x1.046f58p+1f, 0x1.2bd64ep+0f, 0x1.158d02p-1f,
                       0x1.a9fad8p-3f);
  return x > 38.54f ? inf<float> : x < -45.16f ? 0.0f : ldexp(p, (int)n);
}

// Error < 1.7 ulp.
USBGPU_FN float expm1(float x) {
  const float n = rint(x * kLog2eF);
  const float r = fma(-n, kLn2LowF, fma(-n, kLn2HighF, x));
  const float q = poly(r, 0x1p-1f, 0x1.5554b0p-3f, 0x1.555484p-5f, 0x1.1227ecp-7f, 0x1.6d9adep-10f);
  const float p = fma(r * r, q, r);
  // 2^n p + (2^n - 1), halved so that n = 128 has a scale.
  const float scale = ldexp(1.0f, (int)n - 1);
  const float result = n == 0.0f ? p : 2.0f * fma(scale, p, scale - 0.5f);
  if (x == 0.0f) return x;
  return x > 88.73f ? inf<float> : x < -18.0f ? -1.0f : result;
}

// log(1 + f) - f, |f| <= 1/3.
USBGPU_FN float log_tail(float f) {
  const float p = poly(f, 0x1.555558p-2f, -0x1.ffff0ep-3f, 0x1.9995f6p-3f, -0x1.55993ap-3f, 0x1.252078p-3f,
                       -0x1.f384c8p-4f, 0x1.b4b0fap-4f, -0x1.071c06p-3f, 0x1.fa2d9ap-4f);
  const float z = f * f;
  return fma(z, -0.5f, z * f * p);
}
// Mantissa in [2/3, 4/3).
USBGPU_FN float log_split(float x, float* k) {
  int exponent;
  float m = frexp(x, &exponent);
  if (m < 0x1.555556p-1f) m *= 2.0f, exponent -= 1;
  *k = (float)exponent;
  return m;
}
USBGPU_FN float log_special(float x, float result) {
  if (x == 0.0f) return -inf<float>;
  if (!(x >= 0.0f)) return nan<float>;
  return x == inf<float> ? x : result;
}

// Error < 1 ulp.
USBGPU_FN float log(float x) {
  float k;
  const float f = log_split(x, &k) - 1.0f;
  const float result = fma(k, kLn2HighF, f + fma(k, kLn2LowF, log_tail(f)));
  return log_special(x, result);
}

// Error < 1.5 ulp. f log2 e is kept as a pair.
USBGPU_FN float log2(float x) {
  float k;
  const float f = log_split(x, &k) - 1.0f;
  const pair<float> p = exact_product(f, kLog2eF);
  const float low = fma(f, 0x1.4ae0cp-26f, fma(log_tail(f), kLog2eF, p.low));
  return log_special(x, k + (p.high + low));
}

// Error < 1.2 ulp.
USBGPU_FN float log10(float x) {
  float k;
  const float f = log_split(x, &k) - 1.0f;
  const pair<float> p = exact_product(f, 0x1.bcb7b2p-2f);
  const float low = fma(f, -0x1.5b235ep-27f, fma(log_tail(f), 0x1.bcb7b2p-2f, p.low));
  const float sum = fma(k, 0x1.3509f8p-18f, low);
  return log_special(x, fma(k, 0x1.344p-2f, p.high + sum));
}

// Error < 1.7 ulp. 1 + x is rounded only to choose the exponent.
USBGPU_FN float log1p(float x) {
  float k;
  log_split(1.0f + x, &k);
  const float scale = ldexp(1.0f, -(int)k);
  const float f = fma(x, scale, scale - 1.0f);
  const float result = fma(k, kLn2HighF, f + fma(k, kLn2LowF, log_tail(f)));
  if (x == 0.0f) return x;
  if (x == -1.0f) return -inf<float>;
  if (!(x >= -1.0f)) return nan<float>;
  return x == inf<float> ? x : result;
}

// Error < 0.51 ulp: through double.
USBGPU_FN float pow(float x, float y) {
  const float ax = fabs(x);
  const bool ordinary = ax > 0.0f && ax < inf<float>;
  double k;
  const double m = log_split((double)(ordinary ? ax : 1.0f), &k);
  const double p = log_sum(k, m - 1.0, 0.0) * (double)y;
  const float magnitude = (float)exp(p > 200.0 ? 200.0 : p < -200.0 ? -200.0 : p);
  return pow_special(x, y, magnitude);
}

// 1 / (1 + exp(-x)), error < 2.5 ulp, also where the result is tiny.
USBGPU_FN float sigmoid(float x) {
  const float e = exp(-fabs(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}
USBGPU_FN double sigmoid(double x) {
  const double e = exp(-fabs(x));
  return (x < 0.0 ? e : 1.0) / (1.0 + e);
}
// log(1 + exp(x)), error < 3 ulp.
USBGPU_FN float softplus(float x) { return (x > 0.0f ? x : 0.0f) + log1p(exp(-fabs(x))) + (x != x ? x : 0.0f); }
USBGPU_FN double softplus(double x) { return (x > 0.0 ? x : 0.0) + log1p(exp(-fabs(x))) + (x != x ? x : 0.0); }

}  // namespace usbgpu::math
