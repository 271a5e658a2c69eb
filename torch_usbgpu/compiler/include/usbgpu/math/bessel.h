// Bessel functions of orders 0 and 1, modified and not, and Airy's Ai. Not part of hip_runtime.h.
//
// Small arguments: power series. Large ones: smooth cores (fits_bessel.h) times decay, or
// modulus and phase: J + iY = M exp(i theta), which keeps its precision at the zeros because
// theta is reduced as a pair. float: through double, error < 1 ulp. double: < 4 ulp, but within
// 2^-8 of a zero of J, Y or Ai the error is absolute (2^-54 of the wave's height).
#pragma once
#include "fits_bessel.h"
#include "special.h"

namespace usbgpu::math {

// The first terms of a table's power series.
template <int terms> USBGPU_FN double series(const double* table, double z) {
  double sum = table[terms - 1];
#pragma unroll
  for (int k = terms - 2; k >= 0; --k) sum = fma(sum, z, table[k]);
  return sum;
}
USBGPU_FN double j0_series(double z) { return series<11>(kBessel0, z); }
USBGPU_FN double j1_series(double z) { return series<11>(kBessel1, z); }

// ---- I

USBGPU_FN double bessel_i(int order, double ax, bool scaled) {
  double result;
  if (ax <= 8.0) {
    const double z = 0.25 * ax * ax;
    result = order ? 0.5 * ax * series<26>(kBessel1, z) : series<26>(kBessel0, z);
    return scaled ? result * exp(-ax) : result;
  }
  if (ax == inf<double>) return scaled ? 0.0 : ax;
  const double t = 16.0 / ax - 1.0;
  result = (order ? fit_i1_tail(t) : fit_i0_tail(t)) / sqrt(ax);
  if (scaled) return result;
  // The exponential alone overflows before the product does.
  return ax < 709.0 ? exp(ax) * result : (exp(0.5 * ax) * result) * exp(0.5 * ax);
}
USBGPU_FN double i0(double x) { return isnan(x) ? x : bessel_i(0, fabs(x), false); }
USBGPU_FN double i0e(double x) { return isnan(x) ? x : bessel_i(0, fabs(x), true); }
USBGPU_FN double i1(double x) { return isnan(x) ? x : copysign(bessel_i(1, fabs(x), false), x); }
USBGPU_FN double i1e(double x) { return isnan(x) ? x : copysign(bessel_i(1, fabs(x), true), x); }

// ---- K

USBGPU_FN double bessel_k(int order, double x, bool scaled) {
  if (x == 0.0) return inf<double>;
  if (!(x > 0.0)) return nan<double>;
  if (x <= 1.0) {
    const double z = 0.25 * x * x, half_log = log(0.5 * x);
    const double result = order ? 1.0 / x + (half_log * (0.5 * x) * j1_series(z) - 0.25 * x * k1_series(z))
                                : fma(-(half_log + 0x1.2788cfc6fb619p-1), j0_series(z), k0_series(z));   // Euler's gamma
    return scaled ? result * exp(x) : result;
  }
  const double t = x <= 3.0 ? x - 2.0 : 6.0 / x - 1.0;
  const double core = x <= 3.0 ? (order ? fit_k1_middle(t) : fit_k0_middle(t)) : order ? fit_k1_tail(t) : fit_k0_tail(t);
  const double result = core / sqrt(x);
  return scaled ? result : result * exp(-x);
}
USBGPU_FN double k0(double x) { return bessel_k(0, x, false); }
USBGPU_FN double k1(double x) { return bessel_k(1, x, false); }
USBGPU_FN double k0e(double x) { return bessel_k(0, x, true); }
USBGPU_FN double k1e(double x) { return bessel_k(1, x, true); }

// ---- J, Y

// cos(q + shift - quarter turns), |shift| < 2.
USBGPU_FN double cos_shifted(reduced<double> q, pair<double> shift, int turns) {
  const pair<double> sum = exact_sum(q.r, shift.high);
  const double low = sum.low + (q.low + shift.low);
  const double n = rint(sum.high * 0x1.45f306dc9c883p-1);              // -2 ... 2
  const pair<double> a = exact_sum(fma(-n, 0x1.921fb54442d18p+0, sum.high), fma(-n, 0x1.1a62633145c07p-54, low));
  const int quadrant = (q.quadrant + (int)n - turns) & 3;
  const double c = cos_core(a.high, a.low), s = sin_core(a.high, a.low);
  const double magnitude = quadrant & 1 ? s : c;
  return (quadrant + 1) & 2 ? -magnitude : magnitude;
}

// -pi/4 + (limit + limit_low + rest/x^2)/x as a pair.
USBGPU_FN pair<double> wave_shift(double x, double limit, double limit_low, double rest) {
  const double first = limit / x, first_low = (fma(-first, x, limit) + limit_low) / x;
  const pair<double> a = exact_sum(-0x1.921fb54442d18p-1, first);
  const pair<double> b = exact_sum(a.high, rest / (x * x) / x);
  return {b.high, b.low + (a.low + (first_low - 0x1.1a62633145c07p-55))};
}

// J (turns 0) or Y (turns 1) of an order, x >= 1.5.
USBGPU_FN double bessel_wave(int order, double x, int turns) {
  if (x == inf<double>) return 0.0;
  double modulus, phase;
  if (x < 5.0) {
    const double t = (x - 3.25) * (1.0 / 1.75);
    modulus = order ? fit_hankel1_modulus_middle(t) : fit_hankel0_modulus_middle(t);
    phase = order ? fit_hankel1_phase_middle(t) : fit_hankel0_phase_middle(t);
  } else {
    const double u = 5.0 / x, t = fma(2.0 * u, u, -1.0);
    modulus = order ? fit_hankel1_modulus_tail(t) : fit_hankel0_modulus_tail(t);
    phase = order ? fit_hankel1_phase_tail(t) : fit_hankel0_phase_tail(t);
  }
  const double limit = order ? 0.375 : -0.125;
  const pair<double> shift = wave_shift(x, limit, 0.0, phase);
  return sqrt(0x1.45f306dc9c883p-1 / x) * modulus * cos_shifted(reduce(x), shift, turns + order);
}

USBGPU_FN double j0(double x) {
  const double ax = fabs(x);
  if (isnan(x)) return x;
  return ax < 1.5 ? j0_series(-0.25 * ax * ax) : bessel_wave(0, ax, 0);
}
USBGPU_FN double j1(double x) {
  const double ax = fabs(x);
  if (isnan(x)) return x;
  return copysign(1.0, x) * (ax < 1.5 ? 0.5 * ax * j1_series(-0.25 * ax * ax) : bessel_wave(1, ax, 0));
}
USBGPU_FN double y0(double x) {
  if (x == 0.0) return -inf<double>;
  if (!(x > 0.0)) return nan<double>;
  if (x >= 1.5) return bessel_wave(0, x, 1);
  if (x >= 0.7) return ((x - kY0ZeroHigh) - kY0ZeroLow) * fit_y0_near_zero((x - 1.1) * 2.5);
  const double z = -0.25 * x * x;
  return 0x1.45f306dc9c883p-1 * fma(log(0.5 * x) + 0x1.2788cfc6fb619p-1, j0_series(z), -k0_series(z));
}
USBGPU_FN double y1(double x) {
  if (x == 0.0) return -inf<double>;
  if (!(x > 0.0)) return nan<double>;
  if (x >= 1.5) return bessel_wave(1, x, 1);
  const double z = -0.25 * x * x;
  const double rest = log(0.5 * x) * (0.5 * x) * j1_series(z) - 0.25 * x * k1_series(z);
  return 0x1.45f306dc9c883p-1 * (rest - 1.0 / x);
}

// sin(x)/x
USBGPU_FN double spherical_j0(double x) {
  if (isinf(x)) return 0.0;
  return x == 0.0 ? 1.0 : sin(x) / x;
}

// ---- Ai

// 2/3 x^1.5 as a pair.
USBGPU_FN pair<double> airy_zeta(double x) {
  const double s = sqrt(x), s_low = fma(-s, s, x) / (2.0 * s);
  const pair<double> p = exact_product(x, s);
  const double p_low = fma(x, s_low, p.low);
  const pair<double> r = exact_product(p.high, 0x1.5555555555555p-1);
  return quick_sum(r.high, fma(p.high, 0x1.5555555555555p-55, fma(p_low, 0x1.5555555555555p-1, r.low)));
}
USBGPU_FN double airy_ai(double x) {
  if (isnan(x)) return x;
  if (fabs(x) < 2.1) {
    return x < -1.1  ? fit_airy_below(fma(2.0, x, 3.2))
           : x < 0.0 ? fit_airy_middle((x + 0.55) * (1.0 / 0.55))
           : x < 1.1 ? fit_airy_above((x - 0.55) * (1.0 / 0.55))
                     : fit_airy_beyond(fma(2.0, x, -3.2));
  }
  if (x > -2.6 && x < 0.0) return ((x - kAiryZeroHigh) - kAiryZeroLow) * fit_airy_near_zero(fma(4.0, x, 9.4));
  const double ax = fabs(x);
  const pair<double> zeta = airy_zeta(ax);
  const double root = sqrt(sqrt(ax));
  if (x > 0.0) {
    return 0x1.20dd750429b6dp-2 / root * exp_pair(-zeta.high, -zeta.low) * fit_airy_tail(4.0 / zeta.high - 1.0);  // 1/(2 sqrt(pi))
  }
  double modulus, phase;
  if (zeta.high < 7.0) {
    const double t = (zeta.high - 4.5) * 0.4;
    modulus = fit_airy_modulus_middle(t), phase = fit_airy_phase_middle(t);
  } else {
    const double u = 7.0 / zeta.high, t = fma(2.0 * u, u, -1.0);
    modulus = fit_airy_modulus_tail(t), phase = fit_airy_phase_tail(t);
  }
  reduced<double> q = reduce(zeta.high);
  q.low += zeta.low;
  const pair<double> shift = wave_shift(zeta.high, -0x1.1c71c71c71c72p-4, 0x1.c71c71c71c71cp-59, phase);     // -5/72
  return 0x1.20dd750429b6dp-1 / root * modulus * cos_shifted(q, shift, 0);
}

#define USBGPU_THROUGH_DOUBLE(name) USBGPU_FN float name(float x) { return (float)name((double)x); }
USBGPU_THROUGH_DOUBLE(i0) USBGPU_THROUGH_DOUBLE(i0e) USBGPU_THROUGH_DOUBLE(i1) USBGPU_THROUGH_DOUBLE(i1e)
USBGPU_THROUGH_DOUBLE(k0) USBGPU_THROUGH_DOUBLE(k0e) USBGPU_THROUGH_DOUBLE(k1) USBGPU_THROUGH_DOUBLE(k1e)
USBGPU_THROUGH_DOUBLE(j0) USBGPU_THROUGH_DOUBLE(j1) USBGPU_THROUGH_DOUBLE(y0) USBGPU_THROUGH_DOUBLE(y1)
USBGPU_THROUGH_DOUBLE(spherical_j0) USBGPU_THROUGH_DOUBLE(airy_ai)

}  // namespace usbgpu::math
