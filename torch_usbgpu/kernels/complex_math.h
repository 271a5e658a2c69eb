// Elementary functions of complex numbers, over float or double parts.
//
// Branch cuts and signs of zero are C99's (annex G). Where a function cancels (logarithms near the unit
// circle, powers, inverse functions), complex64 is computed with double parts and rounded once.
// Inverse functions: T. E. Hull, T. F. Fairgrieve, P. T. P. Tang, "Implementing the complex arcsine and
// arccosine functions using exception handling", ACM TOMS 23 (1997). tanh: W. Kahan, "Branch cuts for
// complex elementary functions" (1987).
#pragma once
#include <hip/hip_runtime.h>

#include "complex.h"

namespace usbgpu::kernels::cmath {

#define USBGPU_COMPLEX_FN template <class R> __device__ __forceinline__

constexpr double kPi = 3.14159265358979323846, kLn2 = 0.69314718055994530942;
constexpr double kHuge = 1e150, kTiny = 1e-150;   // squares of numbers between stay finite and normal

USBGPU_COMPLEX_FN bool infinite(R a) { return ::fabs(a) == R(__builtin_inff()); }

__device__ __forceinline__ Complex<double> widen(Complex<float> a) { return {a.re, a.im}; }
__device__ __forceinline__ Complex<double> widen(Complex<double> a) { return a; }
USBGPU_COMPLEX_FN Complex<R> narrow(Complex<double> a) { return {static_cast<R>(a.re), static_cast<R>(a.im)}; }

USBGPU_COMPLEX_FN R magnitude(Complex<R> a) { return ::hypot(a.re, a.im); }
USBGPU_COMPLEX_FN R argument(Complex<R> a) { return ::atan2(a.im, a.re); }

// exp(x) (c + i s), also where exp(x) alone overflows
USBGPU_COMPLEX_FN Complex<R> scaled_exp(R x, R c, R s) {
  const R half = ::exp(x * R(0.5));
  return {half * c * half, half * s * half};
}
USBGPU_COMPLEX_FN Complex<R> exp(Complex<R> z) {
  if (z.im == R(0)) return {::exp(z.re), z.im};
  if (infinite(z.re) && !(::fabs(z.im) < R(__builtin_inff()))) {
    return z.re < R(0) ? Complex<R>(R(0), R(0)) : Complex<R>(z.re, R(__builtin_nanf("")));
  }
  R s, c;
  ::sincos(z.im, &s, &c);
  // the exponent of double's and float's largest number, less a little
  const R limit = sizeof(R) == 4 ? R(88) : R(709);
  if (z.re > limit) return scaled_exp(z.re, c, s);
  const R e = ::exp(z.re);
  return {e * c, e * s};
}
USBGPU_COMPLEX_FN Complex<R> sinh(Complex<R> z) {
  if (z.im == R(0)) return {::sinh(z.re), z.im};
  R s, c;
  ::sincos(z.im, &s, &c);
  if (z.re == R(0)) return {z.re * c, s};
  const R limit = sizeof(R) == 4 ? R(88) : R(709);
  if (::fabs(z.re) > limit) {
    const Complex<R> half = scaled_exp(::fabs(z.re) - R(kLn2), ::copysign(c, z.re < R(0) ? -c : c), s);
    return half;
  }
  return {::sinh(z.re) * c, ::cosh(z.re) * s};
}
USBGPU_COMPLEX_FN Complex<R> cosh(Complex<R> z) {
  if (z.im == R(0)) return {::cosh(z.re), z.re * z.im};
  R s, c;
  ::sincos(z.im, &s, &c);
  if (z.re == R(0)) return {c, z.re * s};
  const R limit = sizeof(R) == 4 ? R(88) : R(709);
  if (::fabs(z.re) > limit) return scaled_exp(::fabs(z.re) - R(kLn2), c, z.re < R(0) ? -s : s);
  return {::cosh(z.re) * c, ::sinh(z.re) * s};
}
// sin z = -i sinh(i z), cos z = cosh(i z)
USBGPU_COMPLEX_FN Complex<R> sin(Complex<R> z) {
  const Complex<R> w = sinh(Complex<R>(-z.im, z.re));
  return {w.im, -w.re};
}
USBGPU_COMPLEX_FN Complex<R> cos(Complex<R> z) { return cosh(Complex<R>(-z.im, z.re)); }

USBGPU_COMPLEX_FN Complex<R> tanh(Complex<R> z) {
  const R limit = sizeof(R) == 4 ? R(11) : R(22);   // beyond, |tanh| rounds to 1
  if (z.im == R(0)) return {::tanh(z.re), z.im};
  if (::fabs(z.re) > limit) {
    if (infinite(z.re) && !(::fabs(z.im) < R(__builtin_inff()))) return {::copysign(R(1), z.re), R(0)};
    R s, c;
    ::sincos(z.im, &s, &c);
    return {::copysign(R(1), z.re), R(4) * s * c * ::exp(R(-2) * ::fabs(z.re))};
  }
  const R t = ::tan(z.im), beta = R(1) + t * t, s = ::sinh(z.re), rho = ::sqrt(R(1) + s * s);
  if (infinite(t)) return {rho / s, R(1) / t};
  const R below = R(1) + beta * s * s;
  return {beta * rho * s / below, t / below};
}
USBGPU_COMPLEX_FN Complex<R> tan(Complex<R> z) {
  const Complex<R> w = tanh(Complex<R>(-z.im, z.re));
  return {w.im, -w.re};
}

USBGPU_COMPLEX_FN Complex<R> sqrt(Complex<R> z) {
  if (z.re == R(0) && z.im == R(0)) return {R(0), z.im};
  if (infinite(z.im)) return {::fabs(z.im), z.im};
  R scale = R(1), x = z.re, y = z.im;
  const R large = sizeof(R) == 4 ? R(1e37f) : R(1e307), small = sizeof(R) == 4 ? R(1e-36f) : R(1e-306);
  const R most = ::fmax(::fabs(x), ::fabs(y));
  if (most > large) x *= R(0.0625), y *= R(0.0625), scale = R(4);
  else if (most < small) x *= R(16777216), y *= R(16777216), scale = R(1.0 / 4096);
  const R w = ::sqrt((::fabs(x) + ::hypot(x, y)) * R(0.5));
  const R other = infinite(w) ? R(0) : ::fabs(y) / (R(2) * w);
  if (x >= R(0)) return {w * scale, ::copysign(other * scale, y)};
  return {other * scale, ::copysign(w * scale, y)};
}

// log|x + iy|
__device__ __forceinline__ double log_magnitude(double x, double y) {
  const double p = ::fabs(x), q = ::fabs(y), a = p > q ? p : q, b = p > q ? q : p;
  if (infinite(p) || infinite(q)) return __builtin_inf();
  if (p != p || q != q) return __builtin_nan("");
  if (a == 0.0) return -__builtin_inf();
  if (a > 0.5 && a < 2.0) return 0.5 * ::log1p((a - 1.0) * (a + 1.0) + b * b);
  if (a < kHuge && a > kTiny) return 0.5 * ::log(a * a + b * b);
  const double ratio = b / a;
  return ::log(a) + 0.5 * ::log1p(ratio * ratio);
}
__device__ __forceinline__ Complex<double> wide_log(Complex<double> z) { return {log_magnitude(z.re, z.im), argument(z)}; }
USBGPU_COMPLEX_FN Complex<R> log(Complex<R> z) { return narrow<R>(wide_log(widen(z))); }
USBGPU_COMPLEX_FN Complex<R> log_scaled(Complex<R> z, double by) { return narrow<R>(wide_log(widen(z)) * by); }
USBGPU_COMPLEX_FN Complex<R> log1p(Complex<R> a) {
  const Complex<double> z = widen(a);
  const double angle = ::atan2(z.im, 1.0 + z.re);
  if (::fabs(z.re) < 0.5 && ::fabs(z.im) < 0.5) {
    return narrow<R>({0.5 * ::log1p(z.re * (2.0 + z.re) + z.im * z.im), angle});
  }
  return narrow<R>({log_magnitude(1.0 + z.re, z.im), angle});
}
// log(exp(a) + exp(b)), by the one with the larger real part. A NaN in either part makes both NaN; of two
// numbers whose exponentials are 0 the angle means nothing, and the second is returned.
USBGPU_COMPLEX_FN Complex<R> log_add_exp(Complex<R> a, Complex<R> b) {
  const R nan = R(__builtin_nanf(""));
  if (a.re != a.re || a.im != a.im || b.re != b.re || b.im != b.im) return {nan, nan};
  const bool second = a.re < b.re;
  const Complex<R> high = second ? b : a, low = second ? a : b;
  const bool boundless = infinite(high.re) && high.re == low.re;
  if (boundless && high.re < R(0)) return b;
  // exp(low) + exp(high) where both are infinite, and log1p of that is its logarithm. A loop, so that the
  // exponential is written out once.
  const Complex<R> scale = boundless ? Complex<R>(R(0)) : high;
  Complex<R> sum(R(-0.0), R(-0.0));
#pragma clang loop unroll(disable)
  for (int term = 0; term <= int(boundless); ++term) sum = sum + exp(term ? high : low - scale);
  return log1p(sum) + scale;
}
USBGPU_COMPLEX_FN Complex<R> expm1(Complex<R> z) {
  if (z.im == R(0)) return {::expm1(z.re), z.im};
  R s, c;
  ::sincos(z.im, &s, &c);
  const R h = ::sin(z.im * R(0.5));
  if (!(z.re < R(1))) return exp(z) - Complex<R>(R(1), R(0));
  return {::expm1(z.re) * c - R(2) * h * h, ::exp(z.re) * s};
}
USBGPU_COMPLEX_FN Complex<R> exp2(Complex<R> a) { return narrow<R>(exp(widen(a) * kLn2)); }

USBGPU_COMPLEX_FN Complex<R> pow(Complex<R> a, Complex<R> b) {
  if (b.re == R(0) && b.im == R(0)) return {R(1), R(0)};
  if (a.re == R(0) && a.im == R(0)) {
    const R nan = R(__builtin_nanf(""));
    return b.re > R(0) ? Complex<R>(R(0), R(0)) : Complex<R>(nan, nan);
  }
  return narrow<R>(exp(widen(b) * wide_log(widen(a))));
}

// Arcsine's parts of x + iy in the first quadrant: of the angle its tangent's or its sine's argument, so
// that arccosine gets the same accuracy. height = log(a + sqrt(a^2 - 1)).
struct Inverse {
  double re_sin, re_cos, height;   // asin's and acos's real part
};
__device__ __forceinline__ Inverse inverse(double x, double y) {
  if (x > kHuge || y > kHuge) return {::atan2(x, y), ::atan2(y, x), kLn2 + log_magnitude(x, y)};
  const double r = ::hypot(x + 1.0, y), s = ::hypot(x - 1.0, y), a = 0.5 * (r + s), b = x / a;
  Inverse result;
  if (b <= 0.6417) {
    result.re_sin = ::asin(b);
    result.re_cos = ::acos(b);
  } else {
    const double root = x <= 1.0 ? ::sqrt(0.5 * (a + x) * (y * y / (r + x + 1.0) + (s + (1.0 - x))))
                                 : y * ::sqrt(0.5 * ((a + x) / (r + x + 1.0) + (a + x) / (s + (x - 1.0))));
    result.re_sin = ::atan2(x, root);
    result.re_cos = ::atan2(root, x);
  }
  if (x < 1.0 && y < kTiny) {
    result.height = y / ::sqrt((1.0 - x) * (1.0 + x));
  } else if (a <= 1.5) {
    const double over = y * y / (r + (x + 1.0));
    const double am1 = 0.5 * (over + (x < 1.0 ? y * y / (s + (1.0 - x)) : s + (x - 1.0)));
    result.height = ::log1p(am1 + ::sqrt(am1 * (a + 1.0)));
  } else {
    result.height = ::log(a + ::sqrt(a * a - 1.0));
  }
  return result;
}
__device__ __forceinline__ Complex<double> wide_asin(Complex<double> z) {
  const Inverse part = inverse(::fabs(z.re), ::fabs(z.im));
  return {::copysign(part.re_sin, z.re), ::copysign(part.height, z.im)};
}
__device__ __forceinline__ Complex<double> wide_acos(Complex<double> z) {
  const Inverse part = inverse(::fabs(z.re), ::fabs(z.im));
  return {::signbit(z.re) ? kPi - part.re_cos : part.re_cos, ::signbit(z.im) ? part.height : -part.height};
}
__device__ __forceinline__ Complex<double> wide_atanh(Complex<double> z) {
  const double x = ::fabs(z.re), y = ::fabs(z.im);
  if (x > kHuge || y > kHuge) {
    const double size = ::hypot(x, y);
    return {::copysign(infinite(size) ? 0.0 : x / size / size, z.re), ::copysign(kPi * 0.5, z.im)};
  }
  const double re = 0.25 * ::log1p(4.0 * x / ((1.0 - x) * (1.0 - x) + y * y));
  const double im = 0.5 * ::atan2(2.0 * y, (1.0 - x) * (1.0 + x) - y * y);
  return {::copysign(re, z.re), ::copysign(im, z.im)};
}
USBGPU_COMPLEX_FN Complex<R> asin(Complex<R> z) { return narrow<R>(wide_asin(widen(z))); }
USBGPU_COMPLEX_FN Complex<R> acos(Complex<R> z) { return narrow<R>(wide_acos(widen(z))); }
USBGPU_COMPLEX_FN Complex<R> asinh(Complex<R> a) {   // -i asin(i z)
  const Complex<double> z = widen(a), w = wide_asin({-z.im, z.re});
  return narrow<R>({w.im, -w.re});
}
USBGPU_COMPLEX_FN Complex<R> acosh(Complex<R> a) {   // i acos(z) or -i acos(z): the real part is positive
  const Complex<double> z = widen(a), w = wide_acos(z);
  return narrow<R>({::fabs(w.im), ::copysign(w.re, z.im)});
}
USBGPU_COMPLEX_FN Complex<R> atanh(Complex<R> z) { return narrow<R>(wide_atanh(widen(z))); }
USBGPU_COMPLEX_FN Complex<R> atan(Complex<R> a) {    // -i atanh(i z)
  const Complex<double> z = widen(a), w = wide_atanh({-z.im, z.re});
  return narrow<R>({w.im, -w.re});
}

#undef USBGPU_COMPLEX_FN

}  // namespace usbgpu::kernels::cmath
