// Hurwitz zeta, polygamma, the regularised incomplete gamma functions, and the normal distribution's
// inverse and logarithm. Not part of hip_runtime.h. float goes through double.
#pragma once
#include "special.h"
#include "special_fits.h"

namespace usbgpu::math {

// ---- zeta, polygamma

// sum over k >= 0 of (q + k)^-s, s > 1, q > 0. Error < 8 ulp. The first terms as they are, the rest by Euler and
// Maclaurin (Borwein, Bradley, Crandall 2000, "Computational strategies for the Riemann zeta function").
USBGPU_FN double zeta_positive(double s, double q) {
  double sum = 0.0, lost = 0.0, a = q;
#pragma unroll 1
  for (int i = 0; i == 0 || (i < 400 && a < 10.0 + s); ++i) {
    const double term = pow(a, -s);
    const pair<double> next = exact_sum(sum, term);
    sum = next.high, lost += next.low;
    a += 1.0;
    if (term < 0x1p-55 * sum || sum == inf<double>) return sum + (sum == inf<double> ? 0.0 : lost);
  }
  const double power = pow(a, -s);
  double tail = a * power / (s - 1.0) + 0.5 * power;
  const double z = 1.0 / (a * a);
  double factor = s / a * power;
#pragma unroll 1
  for (int k = 0; k < 13; ++k) {
    const double step = factor * kEulerMaclaurin[k];
    tail += step;
    if (fabs(step) < 0x1p-56 * tail) break;
    factor *= (s + (2 * k + 1)) * (s + (2 * k + 2)) * z;
  }
  return sum + (tail + lost);
}

// Below 0 only whole s make sense: over all integers the sum is known from both sides of q's own
// unit interval, so the terms between there and q need no loop of |q| steps.
USBGPU_FN double zeta(double s, double q) {
  if (s == 1.0) return inf<double>;
  if (!(s > 1.0) || isnan(q)) return nan<double>;
  const bool negative = q <= 0.0;
  const double below = floor(q);
  if (negative && below == q) return inf<double>;
  if (negative && floor(s) != s) return nan<double>;
  if (q == inf<double> || s == inf<double>) return q < 1.0 ? inf<double> : nan<double>;      // as PyTorch's
  const double fraction = negative ? q - below : q, rest = (below + 1.0) - q;     // in (0, 1): both exact
  const bool odd = floor(0.5 * s) != 0.5 * s;
  double sum = 0.0;
#pragma unroll 1
  for (int part = 0; part < (negative ? 3 : 1); ++part) {
    const double value = zeta_positive(s, part == 0 ? fraction : part == 1 ? rest : 1.0 - q);
    sum += part == 0 || (part == 1) != odd ? value : -value;
  }
  return sum;
}

// (-1)^(n+1) n! zeta(n + 1, x); n = 0: digamma.
USBGPU_FN double polygamma(int n, double x) {
  if (n == 0) return digamma(x);
  if (n == 1 && isinf(x)) return x > 0.0 ? 0.0 : nan<double>;
  double factorial = 1.0;
  const int last = n < 171 ? n : 171;
#pragma unroll 1
  for (int i = 2; i <= last; ++i) factorial *= i;
  const double magnitude = factorial * zeta(n + 1.0, x);
  return n & 1 ? magnitude : -magnitude;
}

// ---- incomplete gamma functions

// Gamma(a + 1) for 0 < a <= 14: down to [1, 2] by whole steps, which are exact.
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

// a log(x/a) - (x - a) as a pair: by the series of log1p's tail close to 1, else by logarithms as pairs.
USBGPU_FN pair<double> gamma_exponent(double a, double x) {
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
    return quick_sum(p.high, fma(a, low, p.low));
  }
  const pair<double> lx = log_pair(x), la = log_pair(a);
  const pair<double> l = exact_sum(lx.high, -la.high);
  const pair<double> p = exact_product(a, l.high);
  const pair<double> sum = exact_sum(p.high, -d.high);
  return quick_sum(sum.high, sum.low + (p.low - d.low + a * (l.low + (lx.low - la.low))));
}

// x^a exp(-x) / Gamma(a + 1)
USBGPU_FN double gamma_front(double a, double x) {
  if (a < 14.0) {
    const pair<double> l = log_pair(x);
    const pair<double> p = exact_product(a, l.high);
    const pair<double> sum = exact_sum(p.high, -x);
    return exp_pair(sum.high, sum.low + fma(a, l.low, p.low)) / gamma_next(a);
  }
  const pair<double> e = gamma_exponent(a, x);
  const double z = 1.0 / a;
  return exp_pair(e.high, e.low - z * stirling(z * z)) / sqrt(0x1.921fb54442d18p+2 * a);
}

// Temme's uniform expansion, |x - a| < 0.3 a, a > 200: P (upper false) or Q.
USBGPU_FN double gamma_uniform(double a, double x, bool upper) {
  const pair<double> e = gamma_exponent(a, x);           // -a eta^2/2
  const double half = sqrt(-e.high);                       // |eta| sqrt(a/2)
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
  const double remainder = exp_pair(e.high, e.low) * sum / sqrt(0x1.921fb54442d18p+2 * a);
  const double argument = x > a ? half : -half;
  return upper ? 0.5 * erfc(argument) + remainder : 0.5 * erfc(-argument) - remainder;
}

// sum x^k / ((a + 1) ... (a + k)): as many terms as matter, then from the last to the first, so that
// rounding errors shrink with their terms; for double results (precise) with the factors' low halves.
template <bool precise> USBGPU_FN double gamma_series(double a, double x) {
  double sum = 1.0, term = 1.0;
  int count = 0;
#pragma unroll 1
  while (count < 5000 && term > 0x1p-57 * sum) term *= x / (a + ++count), sum += term;
  if (!precise) return sum;
  pair<double> h{1.0, 0.0};
#pragma unroll 1
  for (int k = count; k > 0; --k) {
    const pair<double> n = exact_sum(a, (double)k);
    const double r = x / n.high, r_low = (fma(-r, n.high, x) - r * n.low) / n.high;
    const pair<double> p = exact_product(h.high, r);
    const pair<double> next = exact_sum(1.0, p.high);
    h = quick_sum(next.high, next.low + fma(h.high, r_low, fma(h.low, r, p.low)));
  }
  return h.high;
}
// x^-a exp(x) Gamma(a, x), x >= a, by Legendre's continued fraction: forward (Lentz) to see how much of it
// matters; for double results again from the end, in pairs.
template <bool precise> USBGPU_FN double gamma_fraction(double a, double x) {
  const double b0 = x + 1.0 - a;
  double b = b0, c = 0x1p900, d = 1.0 / b, h = d;
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
  if (!precise) return h;
  count += count / 2 + 4;              // steps that round to 1 still add up
  const pair<double> one = exact_sum(x, 1.0), base = exact_sum(one.high, -a);
  const double base_low = base.low + one.low;
  pair<double> tail{base.high + 2.0 * count, 0.0};
#pragma unroll 1
  for (int k = count; k > 0; --k) {
    const pair<double> n = exact_sum(a, -(double)k);
    const double nk = k * n.high, nk_low = fma((double)k, n.high, -nk) + k * n.low;
    const double q = nk / tail.high, q_low = (fma(-q, tail.high, nk) + (nk_low - q * tail.low)) / tail.high;
    const pair<double> whole = exact_sum(base.high, 2.0 * (k - 1));
    const pair<double> sum = exact_sum(whole.high, q);
    tail = quick_sum(sum.high, sum.low + (whole.low + (base_low + q_low)));
  }
  return 1.0 / tail.high;
}
// Q for x <= 1.1 and small a: 1 - x^a/Gamma(1 + a) - x^a/Gamma(a) sum (-x)^k/(k! (a + k)), without the first cancellation.
USBGPU_FN double gamma_upper_small(double a, double x) {
  double sum = 0.0, term = 1.0;
#pragma unroll 1
  for (int k = 1; k < 40; ++k) {
    term *= -x / k;
    const double step = term / (a + k);
    sum += step;
    if (fabs(step) <= 0x1p-56 * fabs(sum)) break;
  }
  const double exponent = a * log(x) - log_gamma_next(a);
  return -(expm1(exponent) + a * exp(exponent) * sum);
}

// Regularised: P(a, x) or Q(a, x). Where neither x nor a is special.
template <bool precise> USBGPU_FN double gamma_regularised(double a, double x, bool upper) {
  if (a > 200.0 && fabs(x - a) < 0.3 * a) return gamma_uniform(a, x, upper);
  const bool small = x <= 1.1;
  const bool by_fraction = !small && x >= a;
  const bool by_upper = small && a < 1.0 && (x <= 0.5 ? a * log(x) > -0.4 : a < 1.1 * x);
  if (by_upper) {
    const double q = gamma_upper_small(a, x);
    return upper ? q : 1.0 - q;
  }
  const double front = gamma_front(a, x);
  if (by_fraction) {
    const double q = front == 0.0 ? 0.0 : front * a * gamma_fraction<precise>(a, x);
    return upper ? q : 1.0 - q;
  }
  const double p = front == 0.0 ? 0.0 : front * gamma_series<precise>(a, x);
  return upper ? 1.0 - p : p;
}
template <bool precise> USBGPU_FN double igamma_by(double a, double x, bool upper) {
  const double zero = upper ? 1.0 : 0.0;
  if (!(x >= 0.0) || !(a >= 0.0)) return nan<double>;
  if (a == 0.0) return x > 0.0 ? 1.0 - zero : nan<double>;
  if (x == 0.0) return zero;
  if (isinf(a)) return isinf(x) ? nan<double> : zero;
  if (isinf(x)) return 1.0 - zero;
  return gamma_regularised<precise>(a, x, upper);
}
USBGPU_FN double igamma(double a, double x) { return igamma_by<true>(a, x, false); }
USBGPU_FN double igammac(double a, double x) { return igamma_by<true>(a, x, true); }

// ---- normal distribution

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
  return log1p(x < 0.0 ? below - 1.0 : -below);
}

USBGPU_FN float zeta(float s, float q) { return (float)zeta((double)s, (double)q); }
USBGPU_FN float polygamma(int n, float x) { return (float)polygamma(n, (double)x); }
USBGPU_FN float igamma(float a, float x) { return (float)igamma_by<false>(a, x, false); }
USBGPU_FN float igammac(float a, float x) { return (float)igamma_by<false>(a, x, true); }
USBGPU_FN float ndtri(float p) { return (float)ndtri((double)p); }
USBGPU_FN float log_ndtr(float x) { return (float)log_ndtr((double)x); }

}  // namespace usbgpu::math
