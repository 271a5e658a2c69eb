// Unevaluated sums of two doubles as numbers, and single doubles under the same names: what is
// written once for N is right to the last place with N = twofold (double results) and fast with
// N = single (float results). Not part of hip_runtime.h.
//
// Relative error of an operation on twofolds: some 2^-104. The algorithms are Dekker's (1971, "A
// floating-point technique for extending the available precision") and Knuth's sums.
#pragma once
#include "exp_log_f64.h"
#include "fits_gamma.h"

namespace usbgpu::math {

struct twofold {
  static constexpr bool precise = true;
  double high, low;
  USBGPU_FN twofold of(double x) { return {x, 0.0}; }
  USBGPU_FN twofold from(twofold x) { return x; }
  USBGPU_FN twofold sum(double a, double b) { const pair<double> s = exact_sum(a, b); return {s.high, s.low}; }
};
USBGPU_FN twofold operator+(twofold a, twofold b) {
  const pair<double> s = exact_sum(a.high, b.high), r = quick_sum(s.high, s.low + (a.low + b.low));
  return {r.high, r.low};
}
USBGPU_FN twofold operator-(twofold a) { return {-a.high, -a.low}; }
USBGPU_FN twofold operator-(twofold a, twofold b) { return a + -b; }
USBGPU_FN twofold operator*(twofold a, twofold b) {
  const pair<double> p = exact_product(a.high, b.high);
  const pair<double> r = quick_sum(p.high, fma(a.high, b.low, fma(a.low, b.high, p.low)));
  return {r.high, r.low};
}
USBGPU_FN twofold operator/(twofold a, twofold b) {
  const double q = a.high / b.high;
  const pair<double> r = quick_sum(q, (fma(-q, b.high, a.high) + fma(-q, b.low, a.low)) / b.high);
  return {r.high, r.low};
}
USBGPU_FN double value_of(twofold a) { return isnan(a.low) ? a.high : a.high + a.low; }

struct single {
  static constexpr bool precise = false;
  double high;
  USBGPU_FN single of(double x) { return {x}; }
  USBGPU_FN single from(twofold x) { return {x.high + x.low}; }
  USBGPU_FN single sum(double a, double b) { return {a + b}; }
};
USBGPU_FN single operator+(single a, single b) { return {a.high + b.high}; }
USBGPU_FN single operator-(single a) { return {-a.high}; }
USBGPU_FN single operator-(single a, single b) { return {a.high - b.high}; }
USBGPU_FN single operator*(single a, single b) { return {a.high * b.high}; }
USBGPU_FN single operator/(single a, single b) { return {a.high / b.high}; }
USBGPU_FN double value_of(single a) { return a.high; }

USBGPU_FN twofold root_of(twofold x) {
  const double r = sqrt(x.high);
  return twofold{r, (fma(-r, r, x.high) + x.low) / (2.0 * r)};
}

// log(x / y), x and y positive normal numbers: 2 atanh(s) with s = (x - y)/(x + y) of the mantissas, which are
// exact sums. Relative error about 2^-95 (that of ln 2), also where x and y are close.
USBGPU_FN twofold log_ratio(double x, double y) {
  int kx, ky;
  double mx = frexp(x, &kx), my = frexp(y, &ky);
  if (mx < 0.70710678118654752 * my) mx *= 2.0, kx -= 1;
  if (my < 0.70710678118654752 * mx) my *= 2.0, ky -= 1;
  const twofold s = twofold::sum(mx, -my) / twofold::sum(mx, my), z = s * s;       // |s| < 0.1716
  twofold series = twofold::of(poly(z.high, 1.0 / 21, 1.0 / 23, 1.0 / 25, 1.0 / 27, 1.0 / 29, 1.0 / 31, 1.0 / 33,
                                    1.0 / 35, 1.0 / 37, 1.0 / 39, 1.0 / 41));
#pragma unroll 1
  for (int n = 19; n > 0; n -= 2) series = series * z + twofold::of(1.0) / twofold::of(n);
  const double k = kx - ky;
  const pair<double> ln2 = exact_product(k, kLn2Low);
  return twofold{k * kLn2High, 0.0} + (s * series * twofold::of(2.0) + twofold{ln2.high, ln2.low});
}
USBGPU_FN twofold log_twofold(twofold x) {
  const twofold l = log_ratio(x.high, 1.0);
  return l + twofold::of(x.low / x.high);               // the square of that is below 2^-107
}

// exp(x), relative error about 2^-61.
USBGPU_FN twofold exp_of(twofold x) {
  const double n = rint(x.high * kLog2e);
  const pair<double> r = quick_sum(fma(-n, kLn2High, x.high), fma(-n, kLn2Low, x.low));
  const pair<double> square = exact_product(r.high, r.high);
  const double cube = r.high * square.high * exp_rest(r.high);
  const pair<double> a = quick_sum(1.0, r.high), b = exact_sum(a.high, 0.5 * square.high);
  const pair<double> p = quick_sum(b.high, a.low + (b.low + (fma(0.5, square.low, r.low * b.high) + cube)));
  const int k = (int)n;
  if (!(x.high < 709.79)) return twofold::of(isnan(x.high) ? x.high : inf<double>);
  return x.high < -745.2 ? twofold::of(0.0) : twofold{ldexp(p.high, k), ldexp(p.low, k)};
}
USBGPU_FN single exp_of(single x) { return {exp(x.high)}; }

}  // namespace usbgpu::math
