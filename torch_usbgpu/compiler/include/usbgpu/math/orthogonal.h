// Orthogonal polynomials of a degree given at run time: Chebyshev's four kinds (also shifted to [0, 1]),
// Hermite's two, Laguerre's, Legendre's. By their three-term recurrences, in double for float results
// and in pairs of doubles for double ones: errors grow with the degree and near zeros, and
// what is left of them there is below one ulp. Not part of hip_runtime.h.
#pragma once
#include "hyperbolic.h"
#include "trig.h"
#include "twofold.h"

namespace usbgpu::math {

enum polynomial { chebyshev_t, chebyshev_u, chebyshev_v, chebyshev_w, hermite_h, hermite_he, laguerre_l, legendre_p };

// Chebyshev polynomials of a high degree: the trigonometric and hyperbolic forms, x = cos(angle) or cosh(angle).
USBGPU_FN double chebyshev_high(polynomial kind, double x, double n) {
  const bool odd = floor(0.5 * n) != 0.5 * n, flip = x < 0.0;
  // Of -x: T and U with the degree's sign, V and W also change places.
  const polynomial k = !flip ? kind : kind == chebyshev_v ? chebyshev_w : kind == chebyshev_w ? chebyshev_v : kind;
  const double ax = fabs(x);
  double result;
  if (ax == 1.0) {
    result = k == chebyshev_t || k == chebyshev_v ? 1.0 : k == chebyshev_u ? n + 1.0 : 2.0 * n + 1.0;
  } else if (ax < 1.0) {
    const double angle = acos(ax);
    result = k == chebyshev_t ? cos(n * angle) : k == chebyshev_u ? sin((n + 1.0) * angle) / sin(angle)
           : k == chebyshev_v ? cos((n + 0.5) * angle) / cos(0.5 * angle) : sin((n + 0.5) * angle) / sin(0.5 * angle);
  } else {
    const double angle = acosh(ax);
    result = k == chebyshev_t ? cosh(n * angle) : k == chebyshev_u ? sinh((n + 1.0) * angle) / sinh(angle)
           : k == chebyshev_v ? cosh((n + 0.5) * angle) / cosh(0.5 * angle) : sinh((n + 0.5) * angle) / sinh(0.5 * angle);
  }
  return flip && odd ? -result : result;
}

template <polynomial kind, class N> USBGPU_FN double by_recurrence(N x, double degree, int highest) {
  if (!(degree >= 1.0)) return degree > -1.0 ? 1.0 : 0.0;    // C's conversion to an integer; NaN: 0
  if (isnan(x.high)) return x.high;
  constexpr bool chebyshev = kind <= chebyshev_w;
  if constexpr (kind == hermite_h || kind == hermite_he) {
    if (degree >= highest + 1.0) return nan<double>;         // as PyTorch defines them
  }
  if (chebyshev && degree >= 1000.0) return chebyshev_high(kind, x.high, floor(degree));
  const N one = N::of(1.0), twice = x + x;
  N before = one;
  N now = kind == chebyshev_u || kind == hermite_h ? twice : kind == chebyshev_v ? twice - one
        : kind == chebyshev_w ? twice + one : kind == laguerre_l ? one - x : x;
  const int n = degree < 2147483647.0 ? (int)degree : 2147483647;
#pragma unroll 1
  for (int k = 1; k < n; ++k) {
    N next;
    if constexpr (chebyshev) next = twice * now - before;
    else if constexpr (kind == hermite_h) next = twice * now - N::of(2.0 * k) * before;
    else if constexpr (kind == hermite_he) next = x * now - N::of(k) * before;
    else if constexpr (kind == laguerre_l) next = ((N::of(2.0 * k + 1.0) - x) * now - N::of(k) * before) / N::of(k + 1.0);
    else next = (N::of(2.0 * k + 1.0) * x * now - N::of(k) * before) / N::of(k + 1.0);
    before = now, now = next;
    if (!(fabs(now.high) < inf<double>)) {
      // Beyond the largest number; the sign is that of x to the degree (Laguerre: of -x).
      const bool negative = (kind == laguerre_l ? x.high > 0.0 : x.high < 0.0) && n & 1;
      return negative ? -inf<double> : inf<double>;
    }
  }
  return value_of(now);
}

template <polynomial kind> USBGPU_FN double polynomial_of(double x, double n) {
  return by_recurrence<kind>(twofold{x, 0.0}, n, 512);
}
template <polynomial kind> USBGPU_FN float polynomial_of(float x, float n) {
  return (float)by_recurrence<kind>(single{x}, n, 128);
}
// Of 2x - 1.
template <polynomial kind> USBGPU_FN double shifted_polynomial_of(double x, double n) {
  const pair<double> y = exact_sum(x + x, -1.0);
  return by_recurrence<kind>(twofold{y.high, y.low}, n, 0);
}
template <polynomial kind> USBGPU_FN float shifted_polynomial_of(float x, float n) {
  return (float)by_recurrence<kind>(single{2.0 * x - 1.0}, n, 0);
}

}  // namespace usbgpu::math
