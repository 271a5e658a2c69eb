// Hurwitz zeta and polygamma. Not part of hip_runtime.h. float goes through double.
#pragma once
#include "fits_incomplete_gamma.h"
#include "gamma.h"

namespace usbgpu::math {

// a^-s
USBGPU_FN single negative_power(single a, double s) { return {pow(a.high, -s)}; }
USBGPU_FN twofold negative_power(twofold a, double s) {
  const pair<double> l = log_pair(a.high);
  return exp_of(twofold::of(-s) * twofold{l.high, l.low + a.low / a.high});
}

// sum over k >= 0 of (q + k)^-s, s > 1, q > 0. The first terms as they are, the rest by Euler and
// Maclaurin (Borwein, Bradley, Crandall 2000, "Computational strategies for the Riemann zeta function").
template <class N> USBGPU_FN N zeta_positive(double s, N q) {
  N sum = N::of(0.0), a = q;
#pragma unroll 1
  for (int i = 0; i == 0 || (i < 400 && a.high < 10.0 + s); ++i) {
    const N term = negative_power(a, s);
    if (term.high == inf<double>) return N::of(inf<double>);
    sum = sum + term;
    a = q + N::of(i + 1.0);
    if (term.high < 0x1p-60 * sum.high || sum.high == 0.0) return sum;
  }
  const N power = negative_power(a, s);
  const N integral = a * power / N::sum(s, -1.0), half = N::of(0.5) * power;
  double rest = 0.0;
  const double z = 1.0 / (a.high * a.high);
  double factor = s / a.high * power.high;
#pragma unroll 1
  for (int k = 0; k < 13; ++k) {
    const double step = factor * kEulerMaclaurin[k];
    rest += step;
    if (fabs(step) < 0x1p-60 * integral.high) break;
    factor *= (s + (2 * k + 1)) * (s + (2 * k + 2)) * z;
  }
  return sum + (integral + (half + N::of(rest)));
}

// Below 0 only whole s make sense: over all integers the sum is known from both sides of q's own
// unit interval, so the terms between there and q need no loop of |q| steps.
template <class N> USBGPU_FN N zeta_by(double s, double q) {
  if (s == 1.0) return N::of(inf<double>);
  if (!(s > 1.0) || isnan(q)) return N::of(nan<double>);
  const bool negative = q <= 0.0;
  const double below = floor(q);
  if (negative && below == q) return N::of(inf<double>);
  if (negative && floor(s) != s) return N::of(nan<double>);
  if (q == inf<double> || s == inf<double>) return N::of(q < 1.0 ? inf<double> : nan<double>);      // as PyTorch's
  const bool odd = floor(0.5 * s) != 0.5 * s;
  N sum = N::of(0.0);
#pragma unroll 1
  for (int part = 0; part < (negative ? 3 : 1); ++part) {
    const N start = !negative ? N::of(q) : part == 0 ? N::sum(q, -below) : part == 1 ? N::sum(below + 1.0, -q)
                                                                                     : N::sum(1.0, -q);
    const N value = zeta_positive(s, start);
    const bool plus = part == 0 || (part == 1) != odd;
    if (value.high == inf<double>) return N::of(plus ? inf<double> : -inf<double>);
    sum = sum + (plus ? value : -value);
  }
  return sum;
}
// Error < 4 ulp; where the sum for a negative q vanishes, absolute.
USBGPU_FN double zeta(double s, double q) { return value_of(zeta_by<twofold>(s, q)); }
USBGPU_FN float zeta(float s, float q) { return (float)value_of(zeta_by<single>(s, q)); }

// (-1)^(n+1) n! zeta(n + 1, x); n = 0: digamma.
template <class N> USBGPU_FN double polygamma_by(int n, double x) {
  if (n == 1 && isinf(x)) return x > 0.0 ? 0.0 : nan<double>;
  N factorial = N::of(1.0);
  const int last = n < 170 ? n : 170;
#pragma unroll 1
  for (int i = 2; i <= last; ++i) factorial = factorial * N::of(i);
  const N sum = zeta_by<N>(n + 1.0, x);
  const double rough = (n > 170 ? inf<double> : factorial.high) * sum.high;
  const double magnitude = fabs(rough) < 0x1p1000 ? value_of(factorial * sum) : rough;
  return n & 1 ? magnitude : -magnitude;
}
USBGPU_FN double polygamma(int n, double x) { return n == 0 ? digamma(x) : polygamma_by<twofold>(n, x); }
USBGPU_FN float polygamma(int n, float x) { return n == 0 ? digamma(x) : (float)polygamma_by<single>(n, x); }

}  // namespace usbgpu::math
