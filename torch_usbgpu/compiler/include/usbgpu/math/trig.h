// sin, cos, tan, sinpi, cospi, asin, acos, atan, atan2 in float and double.
#pragma once
#include "core.h"

namespace usbgpu::math {

// Bits of 2/pi behind the point, most significant first, for arguments up to 2^1024.
USBGPU_TABLE uint32_t kTwoOverPi[38] = {
    0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu, 0xdebbc561u,
    0xb7246e3au, 0x424dd2e0u, 0x06492eeau, 0x09d1921cu, 0xfe1deb1cu, 0xb129a73eu, 0xe88235f5u, 0x2ebb4484u,
    0xe99c7026u, 0xb45f7e41u, 0x3991d639u, 0x835339f4u, 0x9c845f8bu, 0xbdf9283bu, 0x1ff897ffu, 0xde05980fu,
    0xef2f118bu, 0x5a0a6d1fu, 0x6d367ecfu, 0x27cb09b7u, 0x4f463f66u, 0x9e5fea2du, 0x7527bac7u, 0xebe5f17bu,
    0x3d0739f7u, 0x8a5292eau, 0x6bfb5fb1u, 0x1f8d5d08u, 0x56033046u, 0xfc7b6babu};

// 32 bits of 2/pi from bit `at` on; zeros before the point.
USBGPU_FN uint32_t two_over_pi(int at) {
  const int word = at >> 5;                   // floor, also below zero
  const uint64_t high = word >= 0 && word < 38 ? kTwoOverPi[word] : 0u;
  const uint64_t low = word + 1 >= 0 && word + 1 < 38 ? kTwoOverPi[word + 1] : 0u;
  return (uint32_t)((((high << 32) | low) << (at & 31)) >> 32);
}

// r = x - n pi/2 as a pair, n modulo 4 as the result.
template <class T> struct reduced { T r, low; int quadrant; };

// ---- float

// Payne and Hanek: m 2^e times a window of 2/pi, of which only the bits worth between 2^1 and
// 2^-95 matter. Their product in integers, the fraction to radians in double: r is right to
// 2^-33 of the smallest value that a float's fraction can have (2^-30).
USBGPU_FN reduced<float> reduce_large(float x) {
  const uint32_t b = bits(x);
  const uint32_t m = (b & 0x7fffffu) | 0x800000u;
  const int at = (int)((b >> 23) & 255) - 150 - 2;      // 2^e with e = exponent - 150
  const uint64_t p0 = (uint64_t)m * two_over_pi(at + 64);
  const uint64_t p1 = (uint64_t)m * two_over_pi(at + 32) + (p0 >> 32);
  const uint32_t p2 = m * two_over_pi(at) + (uint32_t)(p1 >> 32);
  const uint64_t top = ((uint64_t)p2 << 32) | (uint32_t)p1;       // two integer bits, 62 of fraction
  const int64_t fraction = (int64_t)(top << 2);                   // signed: nearest integer taken
  const int quadrant = (int)((top + (1ull << 61)) >> 62);
  const double r = (double)fraction * 0x1.921fb54442d18p-64;      // pi/2 2^-64
  const float high = (float)r;
  return {high, (float)(r - (double)high), quadrant};
}

// Cody and Waite with three parts of pi/2 and fused steps: the first subtraction is exact.
USBGPU_FN reduced<float> reduce_small(float x) {
  const float n = rint(x * 0x1.45f306p-1f);
  const float a = fma(-n, 0x1.921fb6p+0f, x);
  // Close to a multiple of pi/2 the second part cancels too: keep what its product and sum lose.
  const pair<float> t = exact_product(n, 0x1.777a5cp-25f);
  const pair<float> r = exact_sum(a, t.high);
  const float low = r.low + fma(n, 0x1.ee59dap-50f, t.low);
  const float sum = r.high + low;
  return {sum, (r.high - sum) + low, (int)n};
}

USBGPU_FN reduced<float> reduce(float x) {
  const float ax = fabs(x);
  reduced<float> result = reduce_small(ax);
  if (ax >= 65536.0f) result = reduce_large(ax);
  return result;
}

USBGPU_FN float sin_core(float r, float low) {
  const float z = r * r;
  const float p = poly(z, -0x1.555546p-3f, 0x1.11072ep-7f, -0x1.993d72p-13f);
  return r + fma(r * z, p, low);
}
USBGPU_FN float cos_core(float r, float low) {
  const float z = r * r;
  const float p = poly(z, 0x1.55554ap-5f, -0x1.6c0c58p-10f, 0x1.99f2ecp-16f);
  const float h = 0.5f * z, w = 1.0f - h;
  return w + (((1.0f - w) - h) + fma(z * z, p, -r * low));
}

// Error < 1 ulp for every float.
USBGPU_FN void sincos(float x, float* sine, float* cosine) {
  const reduced<float> q = reduce(x);
  const float s = sin_core(q.r, q.low), c = cos_core(q.r, q.low);
  const bool swap = q.quadrant & 1;
  float rs = swap ? c : s, rc = swap ? s : c;
  if (q.quadrant & 2) rs = -rs;
  if ((q.quadrant + 1) & 2) rc = -rc;
  const bool bad = !(fabs(x) < inf<float>);
  *sine = bad ? nan<float> : x == 0.0f ? x : signbit(x) ? -rs : rs;
  *cosine = bad ? nan<float> : rc;
}
USBGPU_FN float sin(float x) { float s, c; sincos(x, &s, &c); return s; }
USBGPU_FN float cos(float x) { float s, c; sincos(x, &s, &c); return c; }
// Error < 3 ulp.
USBGPU_FN float tan(float x) { float s, c; sincos(x, &s, &c); return x == 0.0f ? x : s / c; }

// ---- double

USBGPU_FN reduced<double> reduce_large(double x) {
  const uint64_t b = bits(x);
  const uint64_t m = (b & 0xfffffffffffffull) | (1ull << 52);
  const int at = (int)((b >> 52) & 2047) - 1075 - 2;
  uint64_t window[3];
#pragma unroll
  for (int i = 0; i < 3; ++i)
    window[i] = ((uint64_t)two_over_pi(at + 64 * i) << 32) | two_over_pi(at + 64 * i + 32);
  const unsigned __int128 p0 = (unsigned __int128)m * window[2];
  const unsigned __int128 p1 = (unsigned __int128)m * window[1] + (uint64_t)(p0 >> 64);
  const uint64_t p2 = m * window[0] + (uint64_t)(p1 >> 64);
  const unsigned __int128 top = ((unsigned __int128)p2 << 64) | (uint64_t)p1;
  const int quadrant = (int)((uint64_t)((top + ((unsigned __int128)1 << 125)) >> 126));
  __int128 fraction = (__int128)(top << 2);
  const bool negative = fraction < 0;
  if (negative) fraction = -fraction;
  // Up to 60 leading zeros: bring the bits up before they become a pair of doubles.
  const uint64_t high_word = (uint64_t)((unsigned __int128)fraction >> 64);
  const int zeros = high_word ? __builtin_clzll(high_word) : 63;
  const unsigned __int128 shifted = (unsigned __int128)fraction << zeros;
  const double high = (double)((uint64_t)(shifted >> 64) & ~0x7ffull);    // 53 bits, exact
  const double tail = (double)(uint64_t)(shifted >> 11) * 0x1p-53;        // the 64 below them
  const pair<double> r = exact_product(high, 0x1.921fb54442d18p+0);
  const double r_low = fma(high, 0x1.1a62633145c07p-54, fma(tail, 0x1.921fb54442d18p+0, r.low));
  const double sum = r.high + r_low, left = (r.high - sum) + r_low;
  const double scale_high = ldexp(sum, -64 - zeros), scale_low = ldexp(left, -64 - zeros);
  return {negative ? -scale_high : scale_high, negative ? -scale_low : scale_low, quadrant};
}

USBGPU_FN reduced<double> reduce_small(double x) {
  const double n = rint(x * 0x1.45f306dc9c883p-1);
  const double a = fma(-n, 0x1.921fb54442d18p+0, x);           // exact
  const pair<double> t = exact_product(n, 0x1.1a62633145c07p-54);
  const pair<double> r = exact_sum(a, -t.high);
  const double low = r.low - fma(n, -0x1.f1976b7ed8fbcp-110, t.low);
  const double sum = r.high + low;
  return {sum, (r.high - sum) + low, (int)n};
}

USBGPU_FN reduced<double> reduce(double x) {
  const double ax = fabs(x);
  reduced<double> result = reduce_small(ax);
  if (ax >= 0x1p27) result = reduce_large(ax);
  return result;
}

USBGPU_FN double sin_core(double r, double low) {
  const double z = r * r;
  const double p = poly(z, -0x1.5555555555548p-3, 0x1.111111110f741p-7, -0x1.a01a019be8ab4p-13,
                        0x1.71de3552d95d3p-19, -0x1.ae5e486528d86p-26, 0x1.5d8a1904c40d4p-33);
  return r + fma(r * z, p, fma(-0.5 * z, low, low));
}
USBGPU_FN double cos_core(double r, double low) {
  const double z = r * r;
  const double p = poly(z, 0x1.555555555554bp-5, -0x1.6c16c16c1502cp-10, 0x1.a01a019c8f436p-16,
                        -0x1.27e4f7f0023c5p-22, 0x1.1ee9d9a5cf202p-29, -0x1.8fa4d9c5f956dp-37);
  const double h = 0.5 * z, w = 1.0 - h;
  return w + (((1.0 - w) - h) + fma(z * z, p, -r * low));
}

// Error < 1 ulp for every double.
USBGPU_FN void sincos(double x, double* sine, double* cosine) {
  const reduced<double> q = reduce(x);
  const double s = sin_core(q.r, q.low), c = cos_core(q.r, q.low);
  const bool swap = q.quadrant & 1;
  double rs = swap ? c : s, rc = swap ? s : c;
  if (q.quadrant & 2) rs = -rs;
  if ((q.quadrant + 1) & 2) rc = -rc;
  const bool bad = !(fabs(x) < inf<double>);
  *sine = bad ? nan<double> : x == 0.0 ? x : signbit(x) ? -rs : rs;
  *cosine = bad ? nan<double> : rc;
}
USBGPU_FN double sin(double x) { double s, c; sincos(x, &s, &c); return s; }
USBGPU_FN double cos(double x) { double s, c; sincos(x, &s, &c); return c; }
// Error < 2.5 ulp.
USBGPU_FN double tan(double x) { double s, c; sincos(x, &s, &c); return x == 0.0 ? x : s / c; }

// sin(pi x), cos(pi x): the period is exact. Error < 2 ulp.
USBGPU_FN double sinpi_shifted(double ax, double quarters) {     // sin(pi (ax + quarters / 2)), ax >= 0
  const double n = rint(2.0 * ax), r = fma(-0.5, n, ax) * 0x1.921fb54442d18p+1;
  const double q = n + quarters, m = q - 4.0 * floor(0.25 * q);
  const double v = m == 1.0 || m == 3.0 ? cos_core(r, 0.0) : sin_core(r, 0.0);
  return m >= 2.0 ? -v : v;
}
USBGPU_FN double sinpi(double x) {
  const double ax = fabs(x), s = sinpi_shifted(ax, 0.0);
  if (!(ax < inf<double>)) return nan<double>;
  return floor(x) == x ? copysign(0.0, x) : signbit(x) ? -s : s;
}
USBGPU_FN double cospi(double x) {
  const double ax = fabs(x);
  if (!(ax < inf<double>)) return nan<double>;
  // From 2^53 on every number is even; below, n + 1 is exact.
  return ax >= 0x1p53 ? 1.0 : sinpi_shifted(ax, 1.0) + 0.0;
}
USBGPU_FN float sinpi(float x) { return (float)sinpi((double)x); }
USBGPU_FN float cospi(float x) { return (float)cospi((double)x); }

// ---- inverse functions

// Error < 1.5 ulp.
USBGPU_FN float atan(float x) {
  const float ax = fabs(x);
  const bool invert = ax > 1.0f;
  const float t = invert ? 1.0f / ax : ax, z = t * t;
  const float p = poly(z, -0x1.555540p-2f, 0x1.999278p-3f, -0x1.24270ap-3f, 0x1.c0d33ap-4f, -0x1.58de7cp-4f,
                       0x1.dd1586p-5f, -0x1.01b5e6p-5f, 0x1.6a9c8cp-7f, -0x1.df14a0p-10f);
  const float a = fma(t * z, p, t);
  const float result = invert ? 0x1.921fb6p+0f - (a + 0x1.777a5cp-25f) : a;
  return copysign(result, x);
}

USBGPU_FN double atan_core(double t) {       // |t| <= tan(pi/8): atan(t) - t
  const double z = t * t;
  return t * z * poly(z, -0x1.5555555555554p-2, 0x1.9999999999656p-3, -0x1.2492492475b41p-3, 0x1.c71c71b767b55p-4,
                      -0x1.745d14bd4f2c0p-4, 0x1.3b136e74b254fp-4, -0x1.110c766b64d17p-4, 0x1.e1723eee065b9p-5,
                      -0x1.ab7eea0232a0ap-5, 0x1.70f26e9874093p-5, -0x1.124288c7e1154p-5, 0x1.f2103d869f39cp-7);
}
// Error < 2 ulp.
USBGPU_FN double atan(double x) {
  const double ax = fabs(x);
  double t = ax, high = 0.0, low = 0.0;
  if (ax > 2.414213562373095) {
    t = -1.0 / ax, high = 0x1.921fb54442d18p+0, low = 0x1.1a62633145c07p-54;
  } else if (ax > 0.4142135623730950) {
    t = (ax - 1.0) / (ax + 1.0), high = 0x1.921fb54442d18p-1, low = 0x1.1a62633145c07p-55;
  }
  return copysign(high + (t + (atan_core(t) + low)), x);
}

template <class T> USBGPU_FN T atan2_by(T y, T x, T pi_high, T pi_low) {
  const T ay = fabs(y), ax = fabs(x);
  T angle = ay == ax && (isinf(ax) || ax == T(0)) ? (ax == T(0) ? T(0) : pi_high * T(0.25)) : atan(ay / ax);
  if (signbit(x)) angle = (pi_high - angle) + pi_low;
  if (isnan(x) || isnan(y)) return x + y;
  return copysign(angle, y);
}
// Error < 2.5 ulp.
USBGPU_FN double atan2(double y, double x) { return atan2_by(y, x, 0x1.921fb54442d18p+1, 0x1.1a62633145c07p-53); }
// Error < 0.51 ulp: through double.
USBGPU_FN float atan2(float y, float x) { return (float)atan2((double)y, (double)x); }

USBGPU_FN float asin_core(float z) {
  return z * poly(z, 0x1.5555cap-3f, 0x1.330150p-4f, 0x1.748c5cp-5f, 0x1.8ba270p-6f, 0x1.59dadcp-5f);
}
USBGPU_FN double asin_core(double z) {
  return z * poly(z, 0x1.5555555555578p-3, 0x1.333333332df9bp-4, 0x1.6db6db722525ep-5, 0x1.f1c71a8df07b2p-6,
                  0x1.6e8bdfa590c9fp-6, 0x1.1c49e28abf17dp-6, 0x1.ca20d7b6c8754p-7, 0x1.757b0842ba5d2p-7,
                  0x1.617713479f421p-7, 0x1.e287734bfe48bp-9, 0x1.64a5718f1c53fp-6, -0x1.59716bd8f7863p-6,
                  0x1.0bba0bf91c1e6p-5);
}
// asin below 1/2 by its series, above through the half angle.
template <class T> USBGPU_FN T asin_by(T x, T half_pi, T half_pi_low) {
  const T ax = fabs(x);
  const bool large = ax > T(0.5);
  const T z = large ? fma(T(-0.5), ax, T(0.5)) : x * x;
  const T t = large ? sqrt(z) : ax;
  const T a = fma(t, asin_core(z), t);
  const T result = large ? half_pi - (T(2) * a - half_pi_low) : a;
  return ax > T(1) ? nan<T> : copysign(result, x);
}
template <class T> USBGPU_FN T acos_by(T x, T half_pi, T half_pi_low) {
  const T ax = fabs(x);
  const bool large = ax > T(0.5);
  const T z = large ? fma(T(-0.5), ax, T(0.5)) : x * x;
  const T t = large ? sqrt(z) : x;
  const T tail = t * asin_core(z);
  // What the square root lost.
  const T lost = large && t > T(0) ? fma(-t, t, z) / (T(2) * t) : T(0);
  const T twice = T(2) * (t + (tail + lost));
  const T result = !large ? half_pi - (t - (half_pi_low - tail))
                          : signbit(x) ? T(2) * half_pi - (twice - T(2) * half_pi_low) : twice;
  return ax > T(1) ? nan<T> : result;
}
// asin < 2.5 ulp (double: < 2), acos < 1.5 ulp.
USBGPU_FN float asin(float x) { return asin_by(x, 0x1.921fb6p+0f, -0x1.777a5cp-25f); }
USBGPU_FN float acos(float x) { return acos_by(x, 0x1.921fb6p+0f, -0x1.777a5cp-25f); }
USBGPU_FN double asin(double x) { return asin_by(x, 0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54); }
USBGPU_FN double acos(double x) { return acos_by(x, 0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54); }

}  // namespace usbgpu::math
