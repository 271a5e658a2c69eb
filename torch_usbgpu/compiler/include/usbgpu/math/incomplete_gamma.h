// The regularised incomplete gamma functions. Not part of hip_runtime.h. float goes through double.
//
// What the two precisions share is written for N: twofold for double results, single for float ones.
#pragma once
#include "fits_incomplete_gamma.h"
#include "gamma.h"

namespace usbgpu::math {

// Gamma(a + 1) for 0 < a <= 14 and float results: down to [1, 2] by whole steps, which are exact.
USBGPU_FN double gamma_next(double a) {
  double product = 1.0, y = a;
#pragma unroll 1
  for (int i = 0; i < 14 && y >= 2.0; ++i) product *= y, y -= 1.0;
  if (y >= 1.0) product *= y;
  else y += 1.0;
  return product * fit_gamma_core(fma(2.0, y, -3.0));
}
// log Gamma(1 + a), 0 <= a <= 1, precise at both ends.
USBGPU_FN double log_gamma_next(double a) { return a * (a - 1.0) * lgamma_core(a); }

// a log(x/a) - (x - a) for float results: by the series of log1p's tail close to 1, else by logarithms as pairs.
USBGPU_FN twofold gamma_exponent(single of_a, double x, pair<double> lx) {
  const double a = of_a.high;
  const pair<double> d = exact_sum(x, -a);
  const double mu = d.high / a;
  if (fabs(mu) < 0.06) {
    const double mu_low = (fma(-mu, a, d.high) + d.low) / a;
    // log1p(mu) - mu = -mu^2/2 + mu^3/3 - ...
    const pair<double> square = exact_product(mu, mu);
    const double rest = mu * square.high *
        poly(mu, 1.0 / 3, -1.0 / 4, 1.0 / 5, -1.0 / 6, 1.0 / 7, -1.0 / 8, 1.0 / 9, -1.0 / 10, 1.0 / 11, -1.0 / 12);
    const double low = fma(-0.5, square.low, fma(-mu, mu_low, rest));
    const pair<double> p = exact_product(a, -0.5 * square.high);
    const pair<double> e = quick_sum(p.high, fma(a, low, p.low));
    return {e.high, e.low};
  }
  const pair<double> la = log_pair(a);
  const pair<double> l = exact_sum(lx.high, -la.high);
  const pair<double> p = exact_product(a, l.high);
  const pair<double> sum = exact_sum(p.high, -d.high);
  const pair<double> e = quick_sum(sum.high, sum.low + (p.low - d.low + a * (l.low + (lx.low - la.low))));
  return {e.high, e.low};
}

USBGPU_FN twofold gamma_exponent(twofold a, double x, pair<double>) {
  return a * log_ratio(x, a.high) - twofold::sum(x, -a.high);
}

// x^a exp(-x) / Gamma(a + 1). From kByStirling on with the exponent e of above; lx: log(x).
template <class N> inline constexpr double kByStirling = N::precise ? 24.0 : 14.0;
USBGPU_FN single gamma_front(single of_a, double x, pair<double> lx, twofold e) {
  const double a = of_a.high;
  double divisor;
  if (a < kByStirling<single>) {
    const pair<double> p = exact_product(a, lx.high), sum = exact_sum(p.high, -x);
    e = {sum.high, sum.low + fma(a, lx.low, p.low)};
    divisor = gamma_next(a);
  } else {
    e.low -= stirling(1.0 / a);
    divisor = sqrt(0x1.921fb54442d18p+2 * a);
  }
  return {exp_pair(e.high, e.low) / divisor};
}
USBGPU_FN twofold gamma_front(twofold a, double x, pair<double>, twofold e) {
  twofold divisor;
  if (a.high < kByStirling<twofold>) {
    const gamma_parts parts = gamma_by_steps(a.high);
    e = a * log_ratio(x, 1.0) - twofold::of(x) - parts.logarithm;
    divisor = a / parts.product;
  } else {
    e = e - twofold::of(stirling(1.0 / a.high));
    divisor = root_of(twofold{0x1.921fb54442d18p+2, 0x1.1a62633145c07p-52} * a);          // 2 pi a
  }
  return exp_of(e) / divisor;
}

// Temme's uniform expansion, |x - a| < 0.3 a, a > 200. Whichever of P (x <= a) and Q is the smaller.
// e: the exponent, -a eta^2/2.
template <class N> USBGPU_FN N gamma_uniform(double a, double x, twofold e) {
  const double half = e.high < 0.0 ? sqrt(-e.high) : 0.0;     // |eta| sqrt(a/2)
  const double eta = copysign(half * sqrt(2.0 / a), x - a);
  double sum = 0.0, scale = 1.0;
#pragma unroll 1
  for (int k = 0; k < 10; ++k) {
    double c = 0.0;
#pragma unroll 1
    for (int n = 19; n >= 0; --n) c = fma(c, eta, kTemme[k][n]);
    sum = fma(c, scale, sum);
    scale /= a;
  }
  const double rest = sum / sqrt(0x1.921fb54442d18p+2 * a);
  const N decay = exp_of(N::from(e));
  const N middle = half >= 0.5 ? decay * N::of(0.5 * erfcx_core(half)) : N::sum(0.5, -0.5 * erf_core(half));
  return middle + decay * N::of(x > a ? rest : -rest);
}

// sum x^k / ((a + 1) ... (a + k)): as many terms as matter, and for double results again from the last to the first.
template <class N> USBGPU_FN N gamma_series(double a, double x) {
  double sum = 1.0, term = 1.0;
  int count = 0;
#pragma unroll 1
  while (count < 5000 && term > 0x1p-60 * sum) term *= x / (a + ++count), sum += term;
  if constexpr (!N::precise) return N::of(sum);
  N h = N::of(1.0);
#pragma unroll 1
  for (int k = count; k > 0; --k) h = N::of(1.0) + h * N::of(x) / N::sum(a, k);
  return h;
}
// x^-a exp(x) Gamma(a, x), by Legendre's continued fraction: forward (Lentz) to see how much of it
// matters; for double results again from the end.
template <class N> USBGPU_FN N gamma_fraction(double a, double x) {
  double b = x + 1.0 - a, c = 0x1p900, d = 1.0 / b, h = d;
  int count = 0;
#pragma unroll 1
  while (count < 5000) {
    ++count;
    const double n = -count * (count - a);
    b += 2.0;
    d = 1.0 / fma(n, d, b);
    c = b + n / c;
    const double step = c * d;
    h *= step;
    if (fabs(step - 1.0) < 0x1p-53) break;
  }
  if constexpr (!N::precise) return N::of(h);
  count += count / 2 + 4;              // steps that round to 1 still add up
  const N base = N::sum(x, -a) + N::of(1.0);
  N tail = base + N::of(2.0 * count);
#pragma unroll 1
  for (int k = count; k > 0; --k) tail = base + N::of(2.0 * (k - 1)) + N::of(k) * N::sum(a, -k) / tail;
  return N::of(1.0) / tail;
}
// Q for x < 1 and small a: 1 - x^a/Gamma(1 + a) - x^a/Gamma(a) sum (-x)^k/(k! (a + k)), without the first cancellation.
USBGPU_FN double gamma_upper_small(double a, double x, pair<double> lx) {
  double sum = 0.0, term = 1.0;
#pragma unroll 1
  for (int k = 1; k < 40; ++k) {
    term *= -x / k;
    const double step = term / (a + k);
    sum += step;
    if (fabs(step) <= 0x1p-56 * fabs(sum)) break;
  }
  const pair<double> p = exact_product(a, lx.high);
  const pair<double> e = exact_sum(p.high, -log_gamma_next(a));
  const double power = exp(e.high);
  return -(expm1(e.high) + power * fma(a, sum, e.low + fma(a, lx.low, p.low)));
}

// Regularised: P(a, x) or Q(a, x). Where neither x nor a is special. The one that is easier comes first, and is
// below 2/3 unless it is a twofold, so that its complement is good too.
template <class N> USBGPU_FN N gamma_regularised(double a, double x, bool upper) {
  N value;
  bool is_upper = true;
  const pair<double> lx = log_pair(x);
  twofold e{0.0, 0.0};
  if (a >= kByStirling<N>) e = gamma_exponent(N::of(a), x, lx);
  if (a > 200.0 && fabs(x - a) < 0.3 * a) {
    value = gamma_uniform<N>(a, x, e), is_upper = x > a;
  } else if (a < 1.0 && (N::precise ? x <= 0.3 && a * lx.high > -0.03
                                    : x <= 0.5 ? a * lx.high > -0.4 : x <= 1.1 && a < 1.1 * x)) {
    value = N::of(gamma_upper_small(a, x, lx));
  } else {
    const N front = gamma_front(N::of(a), x, lx, e);
    is_upper = x > (N::precise ? 0.3 : 1.1) && x >= a;
    value = front.high == 0.0 ? front
            : is_upper ? front * N::of(a) * gamma_fraction<N>(a, x) : front * gamma_series<N>(a, x);
  }
  return upper == is_upper ? value : N::of(1.0) - value;
}
template <class N> USBGPU_FN double igamma_by(double a, double x, bool upper) {
  const double zero = upper ? 1.0 : 0.0;
  if (!(x >= 0.0) || !(a >= 0.0)) return nan<double>;
  if (a == 0.0) return x > 0.0 ? 1.0 - zero : nan<double>;
  if (x == 0.0) return zero;
  if (isinf(a)) return isinf(x) ? nan<double> : zero;
  if (isinf(x)) return 1.0 - zero;
  return value_of(gamma_regularised<N>(a, x, upper));
}
// Error < 4 ulp.
USBGPU_FN double igamma(double a, double x) { return igamma_by<twofold>(a, x, false); }
USBGPU_FN double igammac(double a, double x) { return igamma_by<twofold>(a, x, true); }
USBGPU_FN float igamma(float a, float x) { return (float)igamma_by<single>(a, x, false); }
USBGPU_FN float igammac(float a, float x) { return (float)igamma_by<single>(a, x, true); }

}  // namespace usbgpu::math
