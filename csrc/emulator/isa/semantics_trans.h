// Transcendental functions and the division chain of the vector ALU, one lane at a time.
//
// The hardware's table units have no public bit-exact description: its claim is 1 ulp for exp,
// log, rcp, rsq and sqrt in f32. Here they are computed in f64 and rounded once, which is within
// 0.5 ulp (plus 2^-45 relative); ShaderOptions::jitter_transcendentals exists so that tests can
// prove that kernels do not lean on that. The f32 forms flush denormals in and out whatever MODE says.
#pragma once

#include "emulator/isa/semantics.h"

namespace usbgpu::emulator::isa::ISA_LEVEL::sem {

// 2^x of a finite x in [-1000, 1000]: n + f with |f| <= 1/2, Taylor series of 2^f to 2^-46.
USBGPU_SEM double exp2_series(double x) {
  constexpr double kToInteger = 0x1.8p52;  // adding it leaves the rounded integer in the low bits
  const double shifted = x + kToInteger;
  const double f = x - (shifted - kToInteger);
  double p = 0x1.e8cac7351bb25p-32;  // ln(2)^k / k!
  p = p * f + 0x1.e4cf5158b8ecap-28;
  p = p * f + 0x1.b5253d395e7c4p-24;
  p = p * f + 0x1.62c0223a5c824p-20;
  p = p * f + 0x1.ffcbfc588b0c7p-17;
  p = p * f + 0x1.430912f86c787p-13;
  p = p * f + 0x1.5d87fe78a6731p-10;
  p = p * f + 0x1.3b2ab6fba4e77p-7;
  p = p * f + 0x1.c6b08d704a0c0p-5;
  p = p * f + 0x1.ebfbdff82c58fp-3;
  p = p * f + 0x1.62e42fefa39efp-1;
  p = p * f + 1.0;
  return as<double>(as<uint64_t>(p) + (as<uint64_t>(shifted) << 52));
}
// log2 of a positive normal f64: exponent + log2(m), m in [sqrt(1/2), sqrt(2)), by atanh series.
USBGPU_SEM double log2_series(double x) {
  const uint64_t b = as<uint64_t>(x);
  const uint64_t offset = b - 0x3FE6A09E667F3BCDull;                // exponent field counts from sqrt(1/2)
  const int64_t e = static_cast<int64_t>(offset) >> 52;
  const double m = as<double>(b - (static_cast<uint64_t>(e) << 52));
  const double exponent = as<double>(static_cast<uint64_t>(e + 0x4338000000000000ll)) - 0x1.8p52;
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double p = 1.0 / 21;
  p = p * z + 1.0 / 19;
  p = p * z + 1.0 / 17;
  p = p * z + 1.0 / 15;
  p = p * z + 1.0 / 13;
  p = p * z + 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z + 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z + 1.0 / 3;
  p = p * z + 1.0;
  return exponent + 0x1.71547652b82fep+1 * s * p;
}
struct SinCos { double sin, cos; };
// Of an angle in revolutions, |x| <= 2^30. The reduction to an eighth of a turn is exact.
USBGPU_SEM SinCos sincos_revolutions(double x) {
  constexpr double kToInteger = 0x1.8p52;
  const double shifted = x * 4.0 + kToInteger;
  const uint64_t quadrant = as<uint64_t>(shifted);
  const double r = x - (shifted - kToInteger) * 0.25, z = r * r;
  double s = 0x1.e8f434d018d63p+1;  // (-1)^k (2 pi)^(2k+1) / (2k+1)!
  s = s * z + -0x1.e3074fde8871fp+3;
  s = s * z + 0x1.50783487ee782p+5;
  s = s * z + -0x1.32d2cce62bd86p+6;
  s = s * z + 0x1.466bc6775aae2p+6;
  s = s * z + -0x1.4abbce625be53p+5;
  s = s * z + 0x1.921fb54442d18p+2;
  s *= r;
  double c = -0x1.b6e24f44b128fp+0;  // (-1)^k (2 pi)^(2k) / (2k)!
  c = c * z + 0x1.f9d38a3763cc3p+2;
  c = c * z + -0x1.a6d1f2a204a8cp+4;
  c = c * z + 0x1.e1f506891babbp+5;
  c = c * z + -0x1.55d3c7e3cbffap+6;
  c = c * z + 0x1.03c1f081b5ac4p+6;
  c = c * z + -0x1.3bd3cc9be45dep+4;
  c = c * z + 1.0;
  const bool swap = quadrant & 1;
  const double sin = swap ? c : s, cos = swap ? s : c;
  const uint64_t sin_sign = (quadrant >> 1 & 1) << 63, cos_sign = ((quadrant + 1) >> 1 & 1) << 63;
  return {as<double>(as<uint64_t>(sin) ^ sin_sign), as<double>(as<uint64_t>(cos) ^ cos_sign)};
}

// Without flushing, for every finite or special value of a float: the f16 forms use these.
USBGPU_SEM float exp2_any(float x) {
  const float bounded = x < -200.0f ? -200.0f : x > 200.0f ? 200.0f : x == x ? x : 0.0f;
  const float r = static_cast<float>(exp2_series(bounded));
  return x == x ? r : nan_f32();
}
USBGPU_SEM float log2_any(float x) {
  const bool regular = x > 0.0f && x < inf_f32();
  const float r = static_cast<float>(log2_series(regular ? x : 1.0));
  return regular ? r : x == 0.0f ? -inf_f32() : x > 0.0f ? x : nan_f32();
}
USBGPU_SEM float rsq_any(float x) {
  return x == 0.0f ? as<float>(0x7F800000u | (as<uint32_t>(x) & 0x80000000u))
                   : canon(static_cast<float>(1.0 / sqrt(static_cast<double>(x))));
}
// Angles beyond 256 revolutions are out of the unit's range: 0 and 1 (RDNA ISA reference).
USBGPU_SEM float sin_any(float x) {
  const bool regular = abs(x) <= 256.0f;
  const float r = static_cast<float>(sincos_revolutions(regular ? x : 0.0).sin + 0.0);  // no -0 at half turns
  return x == 0.0f ? x : regular ? r : abs(x) < inf_f32() ? 0.0f : nan_f32();
}
USBGPU_SEM float cos_any(float x) {
  const bool regular = abs(x) <= 256.0f;
  const float r = static_cast<float>(sincos_revolutions(regular ? x : 0.0).cos + 0.0);
  return regular ? r : abs(x) < inf_f32() ? 1.0f : nan_f32();
}

// The exact values of the f32 forms, to find the neighbour on the other side (jitter).
USBGPU_SEM double exp_exact(float x) { return exp2_series(x < -200.0f ? -200.0f : x > 200.0f ? 200.0f : x); }
USBGPU_SEM double log_exact(float x) { return log2_series(x > 0.0f ? x : 1.0); }
USBGPU_SEM double rcp_exact(float x) { return 1.0 / x; }
USBGPU_SEM double rsq_exact(float x) { return 1.0 / sqrt(static_cast<double>(x)); }
USBGPU_SEM double sqrt_exact(float x) { return sqrt(static_cast<double>(x)); }
USBGPU_SEM double sin_exact(float x) { return sincos_revolutions(x).sin; }
USBGPU_SEM double cos_exact(float x) { return sincos_revolutions(x).cos; }

USBGPU_SEM float exp_f32(float x) { return flush(exp2_any(flush(x))); }
USBGPU_SEM float log_f32(float x) { return log2_any(flush(x)); }
USBGPU_SEM float rcp_f32(float x) { return canon(flush(1.0f / flush(x))); }
USBGPU_SEM float rsq_f32(float x) { return rsq_any(flush(x)); }
USBGPU_SEM float sqrt_f32(float x) { return canon(sqrt(flush(x))); }
USBGPU_SEM float sin_f32(float x) { return flush(sin_any(flush(x))); }
USBGPU_SEM float cos_f32(float x) { return flush(cos_any(flush(x))); }
USBGPU_SEM half exp_f16(half x) { return f16(exp2_any(f32(x))); }
USBGPU_SEM half log_f16(half x) { return f16(log2_any(f32(x))); }
USBGPU_SEM half rcp_f16(half x) { return f16(1.0f / f32(x)); }
USBGPU_SEM half rsq_f16(half x) { return f16(rsq_any(f32(x))); }
USBGPU_SEM half sqrt_f16(half x) { return f16(sqrt(f32(x))); }
USBGPU_SEM half sin_f16(half x) { return f16(sin_any(f32(x))); }
USBGPU_SEM half cos_f16(half x) { return f16(cos_any(f32(x))); }
// On hardware seeds of 27 bits or so, meant to be refined.
USBGPU_SEM double rcp_f64(double x) { return canon(1.0 / x); }
USBGPU_SEM double sqrt_f64(double x) { return canon(sqrt(x)); }
USBGPU_SEM double rsq_f64(double x) {
  return x == 0.0 ? as<double>(0x7FF0000000000000ull | (as<uint64_t>(x) & 1ull << 63)) : canon(1.0 / sqrt(x));
}

// ---- Division: v_div_scale, v_rcp, Newton steps, v_div_fmas, v_div_fixup --------------------------
// Two points where the printed pseudo-code cannot be meant literally, because correctly rounded
// division (which compilers build from these) would fail: "would be denormal" is decided on the
// exponents, and where both the reciprocal and the quotient would be denormal the denominator is
// scaled *down*. A path that does not scale returns src0 as it is.
template <class F> struct DivFormat;
template <> struct DivFormat<float> {
  using Bits = uint32_t;
  static constexpr int kFraction = 23, kTop = 255, kHuge = 96, kBias = 127, kScale = 64, kTiny = 23, kUnderflow = 150;
};
template <> struct DivFormat<double> {
  using Bits = uint64_t;
  static constexpr int kFraction = 52, kTop = 2047, kHuge = 768, kBias = 1023, kScale = 128, kTiny = 53, kUnderflow = 1075;
};
template <class F> USBGPU_SEM int exponent_of(F x) {
  return static_cast<int>(as<typename DivFormat<F>::Bits>(x) >> DivFormat<F>::kFraction) & DivFormat<F>::kTop;
}
USBGPU_SEM float quiet_nan(float) { return nan_f32(); }
USBGPU_SEM double quiet_nan(double) { return nan_f64(); }

template <class F> struct DivScale { F value; bool vcc; };
template <class F> USBGPU_SEM DivScale<F> div_scale(F value, F denominator, F numerator) {
  using D = DivFormat<F>;
  const int e1 = exponent_of(denominator), e2 = exponent_of(numerator);
  const bool is_denominator = value == denominator;
  if (numerator == 0 || denominator == 0) return {quiet_nan(value), true};
  if (e2 - e1 >= D::kHuge) return {is_denominator ? ldexp(value, D::kScale) : value, true};  // quotient near overflow
  if (e1 == 0) return {ldexp(value, D::kScale), false};                                      // denormal denominator
  const bool tiny_reciprocal = e1 >= 2 * D::kBias - 1;
  const bool tiny_quotient = e2 - e1 <= 1 - D::kBias;
  if (tiny_reciprocal && tiny_quotient) return {is_denominator ? ldexp(value, -D::kScale) : value, true};
  if (tiny_reciprocal) return {ldexp(value, -D::kScale), false};
  if (tiny_quotient) return {value == numerator ? ldexp(value, D::kScale) : value, true};
  if (e2 <= D::kTiny) return {ldexp(value, D::kScale), false};
  return {value, false};
}
// False where div_scale returns its value as it is and no flag.
template <class F> USBGPU_SEM bool may_scale(F denominator, F numerator) {
  using D = DivFormat<F>;
  const int e1 = exponent_of(denominator), e2 = exponent_of(numerator), difference = e2 - e1;
  return (difference >= D::kHuge) | (e1 == 0) | (e1 >= 2 * D::kBias - 1) | (difference <= 1 - D::kBias) | (e2 <= D::kTiny);
}
// fma and scaling with one rounding.
USBGPU_SEM float div_fmas(float a, float b, float c, bool vcc) {
  if (!vcc) return canon(fma(a, b, c));
  const double p = static_cast<double>(a) * b, d = c, s = p + d;
  return canon(static_cast<float>(odd(s, sum_error(p, d, s)) * (exponent_of(c) > 127 ? 0x1p64 : 0x1p-64)));
}
USBGPU_SEM double div_fmas(double a, double b, double c, bool vcc) {
  const double r = fma(a, b, c);
  if (!vcc) return canon(r);
  if (exponent_of(c) > 1023) return canon(r * 0x1p128);
  if (exponent_of(r) > 128 || r != r || r == 0.0) return canon(r * 0x1p-128);
  // The result is denormal and would be rounded twice: take r's digits with two more for the side
  // on which the exact sum lies, and round those once.
  const double p = a * b, p_error = fma(a, b, -p);
  const double s = p + c, s_error = sum_error(p, c, s);
  const double error = ((s - r) + s_error) + p_error;
  const uint64_t bits = as<uint64_t>(r), sign = bits & 1ull << 63;
  const uint64_t digits = (1ull << 52 | (bits & ((1ull << 52) - 1))) << 2;
  const uint64_t side = error == 0.0 ? 0 : (error > 0.0) == (r > 0.0) ? 1 : ~0ull;
  const int shift = 129 - exponent_of(r) + 2;  // to units of 2^-1074
  if (shift > 60) return as<double>(sign);
  const uint64_t exact = digits + side, whole = exact >> shift, rest = exact & ((1ull << shift) - 1), half = 1ull << (shift - 1);
  return as<double>(sign | (whole + (rest > half || (rest == half && (whole & 1)))));
}
template <class F> USBGPU_SEM F with_sign(F magnitude, bool negative) {
  using B = typename DivFormat<F>::Bits;
  constexpr B kSign = B{1} << (8 * sizeof(B) - 1);
  return as<F>((as<B>(magnitude) & ~kSign) | (negative ? kSign : 0));
}
// Special values, and the sign, of quotient = numerator / denominator.
template <class F> USBGPU_SEM F div_fixup(F quotient, F denominator, F numerator) {
  using D = DivFormat<F>;
  using B = typename D::Bits;
  constexpr B kSign = B{1} << (8 * sizeof(B) - 1);
  const F inf = as<F>(B(D::kTop) << D::kFraction);
  const bool negative = ((as<B>(denominator) ^ as<B>(numerator)) & kSign) != 0;
  const F n = with_sign(numerator, false), d = with_sign(denominator, false);
  if (n != n || d != d) return quiet_nan(n);
  if ((d == 0 && n == 0) || (d == inf && n == inf)) return with_sign(quiet_nan(n), true);
  if (d == 0 || n == inf) return with_sign(inf, negative);
  if (d == inf || n == 0) return with_sign(F{0}, negative);
  if (exponent_of(n) - exponent_of(d) < -D::kUnderflow) return with_sign(F{0}, negative);
  if (quotient != quotient) return with_sign(inf, negative);  // the chain overflowed on its way
  return with_sign(quotient, negative);
}
USBGPU_SEM half div_fixup_f16(half quotient, half denominator, half numerator) {
  const uint16_t n = numerator.bits & 0x7FFFu, d = denominator.bits & 0x7FFFu;
  const uint16_t sign = (numerator.bits ^ denominator.bits) & 0x8000u;
  auto signed_bits = [sign](uint16_t m) { return half{static_cast<uint16_t>(m | sign)}; };
  if (n > 0x7C00u || d > 0x7C00u) return {kNanF16};
  if ((d == 0 && n == 0) || (d == 0x7C00u && n == 0x7C00u)) return {static_cast<uint16_t>(kNanF16 | 0x8000u)};
  if (d == 0 || n == 0x7C00u) return signed_bits(0x7C00u);
  if (d == 0x7C00u || n == 0) return signed_bits(0);
  return signed_bits(quotient.bits & 0x7FFFu);
}

// 53 bits of 2/pi that matter for reducing an argument as large as x (segment 0, 1, 2 ...).
inline constexpr uint64_t kTwoOverPi[19] = {
    0xA2F9836E4E441529ull, 0xFC2757D1F534DDC0ull, 0xDB6295993C439041ull, 0xFE5163ABDEBBC561ull,
    0xB7246E3A424DD2E0ull, 0x06492EEA09D1921Cull, 0xFE1DEB1CB129A73Eull, 0xE88235F52EBB4484ull,
    0xE99C7026B45F7E41ull, 0x3991D639835339F4ull, 0x9C845F8BBDF9283Bull, 0x1FF897FFDE05980Full,
    0xEF2F118B5A0A6D1Full, 0x6D367ECF27CB09B7ull, 0x4F463F669E5FEA2Dull, 0x7527BAC7EBE5F17Bull,
    0x3D0739F78A5292EAull, 0x6BFB5FB11F8D5D08ull, 0x56033046FC7B6BABull
};
USBGPU_SEM double trig_preop(double x, uint32_t segment) {
  const int e = exponent_of(x);
  const int shift = static_cast<int>(segment & 31) * 53 + (e > 1077 ? e - 1077 : 0);
  uint64_t window = 0;  // bits [shift, shift + 53) of the fraction; beyond 1201 bits the table ends
  for (int n = 0; n < 53; ++n) {
    const int position = shift + n;
    const uint64_t bit = position < 1201 ? kTwoOverPi[position >> 6] >> (63 - (position & 63)) & 1 : 0;
    window = window << 1 | bit;
  }
  return ldexp(static_cast<double>(window), -53 - shift + (e >= 1968 ? 128 : 0));
}

}  // namespace usbgpu::emulator::isa::ISA_LEVEL::sem
