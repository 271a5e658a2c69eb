// erf, erfc, erfinv, cbrt, rsqrt, hypot, fmod, remainder, nextafter.
#pragma once
#include "hyperbolic.h"
#include "trig.h"

namespace usbgpu::math {

// ---- error function

// erfcx(x) = exp(x^2) erfc(x), x >= 1/2, by t = (x - 4)/(x + 4) and a factor that levels it.
USBGPU_FN float erfcx_core(float x) {
  const float t = (x - 4.0f) / (x + 4.0f);
  return poly(t, 0x1.3ba592p+0f, -0x1.1df1a8p-3f, 0x1.f7f57cp-7f, 0x1.16ea84p-4f, -0x1.9ddb2ap-4f, 0x1.8015b0p-4f,
              -0x1.0f9448p-4f, 0x1.2e92a0p-5f, -0x1.0e2e4ap-6f, 0x1.6708c8p-8f, 0x1.ba2e7cp-14f) / fma(2.0f, x, 1.0f);
}
USBGPU_FN double erfcx_core(double x) {
  const double t = (x - 4.0) / (x + 4.0);
  return poly(t, 0x1.3ba5916e9fd7fp+0, -0x1.1df1ad154a28ep-3, 0x1.f7f5df66fd7bcp-7, 0x1.16ecefcfa5390p-4,
              -0x1.9ddb23c3e90fap-4, 0x1.7fee004e12657p-4, -0x1.0fb06dfe48c8dp-4, 0x1.3079edf67f666p-5,
              -0x1.0962388540f66p-6, 0x1.49c6728785d3ap-8, -0x1.8d4a999d8739bp-11, -0x1.a1df26bd623c7p-13,
              0x1.3be034778a515p-13, -0x1.995912d6ac02fp-16, -0x1.78820cc0d6914p-17, 0x1.7f267ac6b9e4dp-18,
              0x1.389271ef7648dp-22, -0x1.baf40c8c9109dp-21, 0x1.51253fdcc4db3p-24, 0x1.d856bacbeac06p-24,
              -0x1.6df333349fb43p-26, -0x1.eafb20317783dp-27, 0x1.da37c7d5344d8p-29, 0x1.7f188f5e61808p-30,
              -0x1.4d79557d199c3p-32) / fma(2.0, x, 1.0);
}
USBGPU_FN float erf_core(float x) {          // |x| <= 1
  const float z = x * x;
  return fma(x, poly(z, 0x1.06eba8p-3f, -0x1.81273ep-2f, 0x1.ce2d20p-4f, -0x1.b7fbb6p-6f, 0x1.5419fap-8f,
                     -0x1.a485f8p-11f, 0x1.4ae4c6p-14f), x);
}
USBGPU_FN double erf_core(double x) {
  const double z = x * x;
  return fma(x, poly(z, 0x1.06eba8214db69p-3, -0x1.812746b0379e6p-2, 0x1.ce2f21a042b0ap-4, -0x1.b82ce31284233p-6,
                     0x1.565bcd0d9c61cp-8, -0x1.c02db3d5128f9p-11, 0x1.f9a32128918a2p-14, -0x1.f4d1d59afb244p-17,
                     0x1.b9de6f6ec37dap-20, -0x1.5f18b1845061fp-23, 0x1.f7715a272f59dp-27, -0x1.37c7fd3c1183dp-30,
                     0x1.03b24d420f953p-34), x);
}
// erfc for x >= 1/2; the low half of x^2 corrects the exponential.
template <class T> USBGPU_FN T erfc_tail(T x) {
  const pair<T> square = exact_product(x, x);
  const T e = exp(-square.high);
  const T corrected = fma(-e, square.low, e);
  const T result = corrected * erfcx_core(x);
  return x > (sizeof(T) == 4 ? T(10.1) : T(27.3)) ? T(0) : result;
}
// float: < 1.5 ulp. double: < 1.5 ulp.
template <class T> USBGPU_FN T erf_by(T x) {
  const T ax = fabs(x);
  const T tail = T(1) - erfc_tail(ax < T(0.5) ? T(0.5) : ax);
  return ax < T(1) ? erf_core(x) : isnan(x) ? x : copysign(tail, x);
}
// float: < 5 ulp. double: < 5 ulp.
template <class T> USBGPU_FN T erfc_by(T x) {
  const T ax = fabs(x);
  const T tail = erfc_tail(ax < T(0.5) ? T(0.5) : ax);
  return isnan(x) ? x : ax < T(0.5) ? T(1) - erf_core(x) : signbit(x) ? T(2) - tail : tail;
}
USBGPU_FN float erf(float x) { return erf_by(x); }
USBGPU_FN double erf(double x) { return erf_by(x); }
USBGPU_FN float erfc(float x) { return erfc_by(x); }
USBGPU_FN double erfc(double x) { return erfc_by(x); }
// Error < 4 ulp. Beyond 26 the asymptotic series, below 1/2 the square as a pair.
USBGPU_FN double erfcx(double x) {
  if (x >= 26.0) {
    const double z = 0.5 / x / x;
    return 0x1.20dd750429b6dp-1 / x *
        poly(z, 1.0, -1.0, 3.0, -15.0, 105.0, -945.0, 10395.0, -135135.0);     // 1/sqrt(pi)
  }
  if (x >= 0.5) return erfcx_core(x);
  if (x < -27.0) return inf<double>;
  const pair<double> square = exact_product(x, x);
  return exp_pair(square.high, square.low) * erfc(x);
}
USBGPU_FN float erfcx(float x) { return (float)erfcx((double)x); }

// Error < 3 ulp. A start right to 2^-21, then one step of third order (Halley) on erf or erfc.
USBGPU_FN double erfinv(double x) {
  const double ax = fabs(x);
  const double w = -log((1.0 - ax) * (1.0 + ax)), s = sqrt(w);
  const double low = ax * poly(w, 0x1.c5bf867e691b0p-1, 0x1.db2b417ad0f31p-3, 0x1.7a0ae107b3dabp-7,
                               -0x1.2eed8f21c0b47p-9, -0x1.3b507a4ba25bep-13, 0x1.e042ca32d5665p-15,
                               -0x1.3b79d0b6b9096p-23, -0x1.404ec20f11ea5p-20, 0x1.2eb4caf46a47bp-23,
                               -0x1.71ba9d91f0f54p-28);
  const double high = poly(s, 0x1.243dcf87460edp-3, 0x1.3f0d223616543p-1, 0x1.7895128c7be55p-3,
                           -0x1.7945b599bc6e7p-5, 0x1.7b19aedbd29a3p-8, -0x1.ddfcf71da2107p-14,
                           -0x1.0d6a153ef887ap-14, 0x1.06e12b7551393p-17, -0x1.4009c21c839d3p-22);
  double y = w < 5.95 ? low : high;
  const double error = ax < 0.5 ? erf(y) - ax : (1.0 - ax) - erfc(y);
  const double step = error * 0x1.c5bf891b4ef6ap-1 * exp(y * y);        // error / derivative
  y -= step / fma(y, step, 1.0);
  if (ax == 1.0) return copysign(inf<double>, x);
  return ax < 1.0 ? (x == 0.0 ? x : copysign(y, x)) : nan<double>;
}
USBGPU_FN float erfinv(float x) { return (float)erfinv((double)x); }
USBGPU_FN double erfcinv(double x) { return erfinv(1.0 - x); }
USBGPU_FN float erfcinv(float x) { return (float)erfinv(1.0 - (double)x); }
// Standard normal distribution and its inverse.
USBGPU_FN double normcdf(double x) { return 0.5 * erfc(-0.70710678118654752 * x); }
USBGPU_FN float normcdf(float x) { return (float)normcdf((double)x); }
USBGPU_FN double normcdfinv(double p) { return 1.4142135623730951 * erfinv(2.0 * p - 1.0); }
USBGPU_FN float normcdfinv(float p) { return (float)normcdfinv((double)p); }

// ---- roots and remainders

// Error < 1 ulp. Exponent by thirds, a linear start, two Halley steps, one Newton step with the exact residual.
USBGPU_FN double cbrt(double x) {
  const double ax = fabs(x);
  if (ax == 0.0 || !(ax < inf<double>)) return x;
  int e;
  double m = frexp(ax, &e);                          // [1/2, 1)
  const int third = (e + 3000) / 3 - 1000, rest = e - 3 * third;     // rest 0, 1 or 2
  m = ldexp(m, rest);                                // [1/2, 4)
  double y = fma(m, 0.26, 0.73);
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    const double c = y * y * y;
    y = y * (c + 2.0 * m) / (2.0 * c + m);
  }
  const pair<double> square = exact_product(y, y);
  const double residual = fma(-square.high, y, m) - square.low * y;
  y += residual / (3.0 * square.high);
  return copysign(ldexp(y, third), x);
}
USBGPU_FN float cbrt(float x) { return (float)cbrt((double)x); }

// Error < 1 ulp (two roundings).
USBGPU_FN float rsqrt(float x) { return 1.0f / sqrt(x); }
USBGPU_FN double rsqrt(double x) { return 1.0 / sqrt(x); }
USBGPU_FN float rcbrt(float x) { return (float)(1.0 / cbrt((double)x)); }
USBGPU_FN double rcbrt(double x) { return 1.0 / cbrt(x); }

USBGPU_FN float hypot(float x, float y) {            // < 0.51 ulp: squares of floats are exact in double
  if (isinf(x) || isinf(y)) return inf<float>;
  return (float)sqrt(fma((double)x, (double)x, (double)y * (double)y));
}
USBGPU_FN double hypot(double x, double y) {         // < 1.5 ulp
  if (isinf(x) || isinf(y)) return inf<double>;
  const double a = fabs(x) > fabs(y) ? fabs(x) : fabs(y), b = fabs(x) > fabs(y) ? fabs(y) : fabs(x);
  int e;
  frexp(a, &e);
  const double u = ldexp(a, -e), v = ldexp(b, -e);
  return ldexp(sqrt(fma(u, u, v * v)), e) + (x != x ? x : 0.0) + (y != y ? y : 0.0);
}

// Exact. The integers of x and y are divided bit by bit, eight bits a round.
template <class T, class Word, int mantissa> USBGPU_FN T fmod_by(T x, T y) {
  const T ax = fabs(x), ay = fabs(y);
  if (!(ax < inf<T>) || !(ay > T(0))) return nan<T>;
  if (ay == inf<T> || ax < ay) return x;
  int ex, ey;
  const T mx = frexp(ax, &ex), my = frexp(ay, &ey);
  Word a = (Word)ldexp(mx, mantissa), b = (Word)ldexp(my, mantissa);
  int shift = ex - ey;
  a %= b;
  while (shift > 0) {
    const int step = shift < 64 - mantissa ? shift : 64 - mantissa;
    a = (Word)(((uint64_t)a << step) % (uint64_t)b);
    shift -= step;
  }
  T result = ldexp((T)a, ey - mantissa);
  // ex == ey and mx < my cannot be: ax >= ay.
  return copysign(result, x);
}
USBGPU_FN float fmod(float x, float y) { return fmod_by<float, uint32_t, 24>(x, y); }
USBGPU_FN double fmod(double x, double y) { return fmod_by<double, uint64_t, 53>(x, y); }

// IEEE remainder: x - n y with n the nearest integer, ties to even. Exact.
template <class T> USBGPU_FN T remainder_by(T x, T y) {
  const T ay = fabs(y), twice = ay + ay;
  if (!(fabs(x) < inf<T>) || !(ay > T(0))) return nan<T>;
  if (ay == inf<T>) return x;
  // In [0, 2 ay): n is 0, 1 or 2. Where 2 ay overflows, |x| is below it already.
  T r = twice < inf<T> ? fabs(fmod(x, twice)) : fabs(x);
  // r > ay / 2, without the halving that would round a denormal. A half stays (0 is even) below
  // one and goes on to two above.
  if (r > ay - r) {
    r -= ay;
    if (r >= ay - r) r -= ay;
  }
  return signbit(x) ? -r : r;
}
USBGPU_FN float remainder(float x, float y) { return remainder_by(x, y); }
USBGPU_FN double remainder(double x, double y) { return remainder_by(x, y); }

template <class T, class Word> USBGPU_FN T nextafter_by(T x, T y) {
  if (isnan(x) || isnan(y)) return x + y;
  if (x == y) return y;
  if (x == T(0)) return copysign(__builtin_bit_cast(T, (Word)1), y);
  const Word b = bits(x);
  return __builtin_bit_cast(T, (Word)((x < y) == !signbit(x) ? b + 1 : b - 1));
}
USBGPU_FN float nextafter(float x, float y) { return nextafter_by<float, uint32_t>(x, y); }
USBGPU_FN double nextafter(double x, double y) { return nextafter_by<double, uint64_t>(x, y); }

}  // namespace usbgpu::math
