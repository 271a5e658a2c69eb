// double: exp, exp2, exp10, expm1, log, log2, log10, log1p, pow.
#pragma once
#include "core.h"

namespace usbgpu::math {

inline constexpr double kLog2e = 0x1.71547652b82fep+0;
// ln 2 in two parts; the high part has 41 bits, so its product with an exponent is exact.
inline constexpr double kLn2High = 0x1.62e42fefa4000p-1, kLn2Low = -0x1.8432a1b0e2634p-43;

// exp(r) - 1 - r over r^2, |r| <= ln 2 / 2. Fit 2^-58.
USBGPU_FN double exp_core(double r) {
  return poly(r, 0x1.000000000000bp-1, 0x1.5555555555561p-3, 0x1.555555555005cp-5, 0x1.111111110d507p-7,
              0x1.6c16c1859f247p-10, 0x1.a01a01bb474a8p-13, 0x1.a01996a708052p-16, 0x1.71dddef80761cp-19,
              0x1.28b0393801b7ap-22, 0x1.af86bebbc7ae6p-26);
}

// exp(high + low) for a pair.
USBGPU_FN double exp_pair(double high, double low) {
  const double n = rint(high * kLog2e);
  const double a = fma(-n, kLn2High, high), b = fma(-n, kLn2Low, low);
  const double r = a + b, lost = (a - r) + b;
  const double p = 1.0 + (r + fma(r * r, exp_core(r), lost));
  const double result = ldexp(p, (int)n);
  return high > 709.79 ? inf<double> : high < -745.2 ? 0.0 : result;
}

// Error < 1 ulp; denormal results are rounded twice.
USBGPU_FN double exp(double x) { return exp_pair(x, 0.0); }

// Error < 1 ulp. x ln 2 of the fraction as a pair.
USBGPU_FN double exp2(double x) {
  const double n = rint(x), f = x - n;
  const pair<double> r = exact_product(f, 0x1.62e42fefa39efp-1);
  const double low = fma(f, 0x1.abc9e3b39803fp-56, r.low);
  const double p = 1.0 + (r.high + fma(r.high * r.high, exp_core(r.high), low));
  const double result = ldexp(p, (int)n);
  return x >= 1024.0 ? inf<double> : x < -1075.0 ? 0.0 : result;
}

// Error < 1 ulp.
USBGPU_FN double exp10(double x) {
  const double n = rint(x * 0x1.a934f0979a371p+1);
  const double f = fma(-n, 0x1.34413509f8000p-2, x), g = n * 0x1.80433b83b532ap-44;   // x - n log10 2
  const pair<double> u = exact_sum(f, g);
  const pair<double> r = exact_product(u.high, 0x1.26bb1bbb55516p+1);
  const double low = r.low + fma(u.high, -0x1.f48ad494ea3e9p-53, u.low * 0x1.26bb1bbb55516p+1);
  const double p = 1.0 + (r.high + fma(r.high * r.high, exp_core(r.high), low));
  const double result = ldexp(p, (int)n);
  return x > 308.26 ? inf<double> : x < -323.7 ? 0.0 : result;
}

// Error < 1.5 ulp.
USBGPU_FN double expm1(double x) {
  const double n = rint(x * kLog2e);
  const double a = fma(-n, kLn2High, x), b = -n * kLn2Low;
  const double r = a + b, lost = (a - r) + b;
  const double q = poly(r, 0x1.0000000000005p-1, 0x1.555555555555dp-3, 0x1.55555555520fcp-5, 0x1.111111110e4ffp-7,
                        0x1.6c16c17f3677cp-10, 0x1.a01a01b671670p-13, 0x1.a019a687d795cp-16, 0x1.71dde8bd972ccp-19,
                        0x1.28a2a980df8a0p-22, 0x1.af789dd7bf5cdp-26);
  const double p = r + fma(r * r, q, lost);
  // 2^n p + (2^n - 1), halved so that n = 1024 has a scale.
  const double scale = ldexp(1.0, (int)n - 1);
  const double result = 2.0 * fma(scale, p, scale - 0.5);
  if (n == 0.0) return x == 0.0 ? x : p;
  return x > 709.79 ? inf<double> : x < -40.0 ? -1.0 : result;
}

// log(1 + f) as f - (f^2/2 - s (f^2/2 + R)), s = f / (2 + f): the series of 2 atanh(s). Fit 2^-58.
USBGPU_FN double log_core(double s) {
  const double z = s * s;
  return z * poly(z, 0x1.5555555555593p-1, 0x1.999999997f871p-2, 0x1.249249424239ep-2, 0x1.c71c51c2a6413p-3,
                  0x1.74664e58334adp-3, 0x1.39a015bcfde83p-3, 0x1.2f16cee73e029p-3);
}

// Mantissa in [sqrt(1/2), sqrt 2).
USBGPU_FN double log_split(double x, double* k) {
  int exponent;
  double m = frexp(x, &exponent);
  if (m < 0.70710678118654752) m *= 2.0, exponent -= 1;
  *k = exponent;
  return m;
}

// log(2^k (1 + f) (1 + c)), c tiny.
USBGPU_FN double log_sum(double k, double f, double c) {
  const double s = f / (2.0 + f), half = 0.5 * f * f;
  const double low = fma(k, kLn2Low, c);
  return fma(k, kLn2High, f - (half - fma(s, half + log_core(s), low)));
}

// Error < 1 ulp.
USBGPU_FN double log(double x) {
  double k;
  const double m = log_split(x, &k);
  const double result = log_sum(k, m - 1.0, 0.0);
  if (x == 0.0) return -inf<double>;
  if (!(x >= 0.0)) return nan<double>;
  return x == inf<double> ? x : result;
}

// Error < 1 ulp.
USBGPU_FN double log1p(double x) {
  const double u = 1.0 + x;
  // What the sum lost, relative to u.
  const double lost = x >= 1.0 ? 1.0 - (u - x) : x - (u - 1.0);
  double k;
  const double m = log_split(u, &k);
  double result = log_sum(k, m - 1.0, lost / u);
  if (x > -0.29 && x < 0.41) result = log_sum(0.0, x, 0.0);
  if (x == 0.0) return x;
  if (x == -1.0) return -inf<double>;
  if (!(x >= -1.0)) return nan<double>;
  return x == inf<double> ? x : result;
}

// log(x) of a positive normal or denormal number as a pair, relative error below 2^-63.
USBGPU_FN pair<double> log_pair(double x) {
  double k;
  const double f = log_split(x, &k) - 1.0;
  // s = f / (2 + f) as a pair.
  const pair<double> d = quick_sum(2.0, f);
  const double s = f / d.high;
  const double s_low = (fma(-s, d.high, f) - s * d.low) / d.high;
  // 2 atanh(s) = 2 s + (2/3) s^3 + s^5 M(s^2)
  const pair<double> z = exact_product(s, s);
  const double z_low = fma(2.0 * s, s_low, z.low);
  const pair<double> cube = exact_product(z.high, s);
  const double cube_low = cube.low + fma(z.high, s_low, z_low * s);
  const pair<double> third = exact_product(cube.high, 0x1.5555555555555p-1);
  const double third_low = fma(cube.high, 0x1.5555555555555p-55, fma(cube_low, 0x1.5555555555555p-1, third.low));
  const double tail = cube.high * z.high *
      poly(z.high, 0x1.9999999999a09p-2, 0x1.249249247aedap-2, 0x1.c71c71fc4cde5p-3, 0x1.745cfa97a1a8fp-3,
           0x1.3b1bf2447348dp-3, 0x1.0fc4417684ebep-3, 0x1.0bd2a6de442d6p-3);
  pair<double> sum = quick_sum(2.0 * s, third.high);
  sum = quick_sum(sum.high, sum.low + (third_low + fma(2.0, s_low, tail)));
  const pair<double> whole = exact_sum(k * kLn2High, sum.high);
  return quick_sum(whole.high, whole.low + fma(k, kLn2Low, sum.low));
}

// Error < 1 ulp. The logarithm as a pair, times log2 e or log10 e.
USBGPU_FN double log_scaled(double x, double high, double low) {
  const bool ordinary = x > 0.0 && x < inf<double>;
  const pair<double> l = log_pair(ordinary ? x : 1.0);
  const pair<double> p = exact_product(l.high, high);
  const double result = p.high + fma(l.high, low, fma(l.low, high, p.low));
  if (ordinary) return result;
  return x == 0.0 ? -inf<double> : x > 0.0 ? x : nan<double>;
}
USBGPU_FN double log2(double x) { return log_scaled(x, kLog2e, 0x1.777d0ffda0d24p-56); }
USBGPU_FN double log10(double x) { return log_scaled(x, 0x1.bcb7b1526e50ep-2, 0x1.95355baaafad3p-57); }

// IEEE's special cases around a positive base and the exponent: C17 F.10.4.4.
template <class T> USBGPU_FN T pow_special(T x, T y, T magnitude) {
  const T ax = fabs(x);
  const bool whole = floor(y) == y;
  const bool odd = whole && fabs(y) < T(0x1p53) && floor(T(0.5) * y) != T(0.5) * y;
  T result = magnitude;
  if (ax == T(0)) result = y > T(0) ? T(0) : inf<T>;
  if (ax == inf<T>) result = y > T(0) ? inf<T> : T(0);
  if (isinf(y)) result = ax == T(1) ? T(1) : (ax > T(1)) == (y > T(0)) ? inf<T> : T(0);
  if (signbit(x) && odd) result = -result;
  if (x < T(0) && !whole && !isinf(x) && !isinf(y)) result = nan<T>;
  if (isnan(x) || isnan(y)) result = nan<T>;
  return x == T(1) || y == T(0) ? T(1) : result;
}

// Error < 1 ulp.
USBGPU_FN double pow(double x, double y) {
  const double ax = fabs(x);
  const bool ordinary = ax > 0.0 && ax < inf<double>;
  const pair<double> l = log_pair(ordinary ? ax : 1.0);
  const pair<double> p = exact_product(l.high, y);
  const double low = fma(l.low, y, p.low);
  const double magnitude = p.high > 710.0 ? inf<double> : p.high < -746.0 ? 0.0 : exp_pair(p.high, low);
  return pow_special(x, y, magnitude);
}

}  // namespace usbgpu::math
