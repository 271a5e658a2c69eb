// What one lane of a vector ALU instruction computes: pure functions on values, without wave,
// EXEC or operand encoding. Written so that a loop of 32 calls vectorises (selects, no branches,
// no library calls on the hot ones). Source: AMD "RDNA3" ISA reference, vector ALU pseudo-code;
// deviations are explained where they are.
//
// Floating point follows the default MODE of compiled kernels: round to nearest even, denormals
// kept. For another rounding the host's direction is changed around the operation (.round, ops_stage.cpp):
// what follows MODE leaves rounding to the host, what does not says so. Every NaN that arithmetic produces is 0x7FC00000 (or its f16/f64 sibling), so that x86 and
// Arm hosts agree: their default NaNs differ in sign.
#pragma once

#include <cstdint>

#define USBGPU_SEM [[gnu::always_inline]] static inline

namespace usbgpu::emulator::isa::ISA_LEVEL {

struct half { uint16_t bits; };    // IEEE binary16
struct bfloat { uint16_t bits; };  // upper half of a binary32

// An exact integer result: the low bits of the type are kept, or with clamp it saturates.
template <class T> struct saturating { int64_t value; };

namespace sem {

template <class To, class From> USBGPU_SEM To as(From v) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, v);
}

// ---- NaN, denormals ------------------------------------------------------------------------
constexpr uint32_t kNanF32 = 0x7FC00000u;
constexpr uint64_t kNanF64 = 0x7FF8000000000000ull;
constexpr uint16_t kNanF16 = 0x7E00u;

USBGPU_SEM float nan_f32() { return as<float>(kNanF32); }
USBGPU_SEM double nan_f64() { return as<double>(kNanF64); }
USBGPU_SEM float inf_f32() { return as<float>(0x7F800000u); }
USBGPU_SEM float canon(float x) { return x == x ? x : nan_f32(); }
USBGPU_SEM double canon(double x) { return x == x ? x : nan_f64(); }
USBGPU_SEM float flush(float x) {  // denormal -> zero of the same sign
  const uint32_t b = as<uint32_t>(x);
  return as<float>((b & 0x7F800000u) ? b : b & 0x80000000u);
}
USBGPU_SEM float abs(float x) { return as<float>(as<uint32_t>(x) & 0x7FFFFFFFu); }
USBGPU_SEM double abs(double x) { return as<double>(as<uint64_t>(x) & ~(1ull << 63)); }

USBGPU_SEM float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
USBGPU_SEM double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
#if defined(__has_builtin) && __has_builtin(__builtin_elementwise_sqrt)  // no errno: vectorises
USBGPU_SEM float sqrt(float x) { return __builtin_elementwise_sqrt(x); }
USBGPU_SEM double sqrt(double x) { return __builtin_elementwise_sqrt(x); }
#else
USBGPU_SEM float sqrt(float x) { return __builtin_sqrtf(x); }
USBGPU_SEM double sqrt(double x) { return __builtin_sqrt(x); }
#endif

// ---- f16 and bf16 --------------------------------------------------------------------------
#if defined(__F16C__) || (defined(__aarch64__) && defined(__clang__))  // the CPU's own conversions; they round as its mode says
USBGPU_SEM float f32(half h) { return static_cast<float>(as<_Float16>(h.bits)); }
USBGPU_SEM half f16(float x) { return {x == x ? as<uint16_t>(static_cast<_Float16>(x)) : kNanF16}; }
#else
USBGPU_SEM float f32(half h) {
  const uint32_t magnitude = h.bits & 0x7FFFu, sign = (h.bits & 0x8000u) << 16;
  const uint32_t normal = (magnitude << 13) + (112u << 23);
  const uint32_t special = (magnitude << 13) | 0x7F800000u;
  const uint32_t small = as<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  return as<float>(sign | (magnitude >= 0x7C00u ? special : magnitude < 0x400u ? small : normal));
}
// The FPU does the rounding, in the host's direction: beside a number 2^13 times as large, a float has the
// spacing of f16, or of its denormals below 2^-14.
USBGPU_SEM half f16(float x) {
  const uint32_t b = as<uint32_t>(x), magnitude = b & 0x7FFFFFFFu, sign = b & 0x80000000u;
  const bool large = magnitude >= 0x47800000u;  // 65536 and more
  const uint32_t exponent = large ? 0x47000000u : b & 0x7F800000u, own = exponent < 0x38800000u ? 0x38800000u : exponent;
  const float beside = as<float>(sign | (own + (13u << 23))), rounded = (as<float>(large ? sign : b) + beside) - beside;
  const uint32_t r = as<uint32_t>(rounded) & 0x7FFFFFFFu;
  const uint32_t small = static_cast<uint32_t>(static_cast<int32_t>(as<float>(r < 0x38800000u ? r : 0u) * 0x1p24f));
  const float beyond = as<float>(sign | 0x7F7FFFFFu) * 2.0f;  // infinity, or the largest number, by the direction
  const uint32_t overflow = (as<uint32_t>(beyond) & 0x7FFFFFFFu) == 0x7F800000u || magnitude == 0x7F800000u ? 0x7C00u : 0x7BFFu;
  const uint32_t finite = large || r >= 0x47800000u ? overflow : r < 0x38800000u ? small : (r - (112u << 23)) >> 13;
  return {static_cast<uint16_t>(magnitude > 0x7F800000u ? kNanF16 : finite | sign >> 16)};
}
#endif
USBGPU_SEM half f16_rtz(float x) {
  const uint32_t b = as<uint32_t>(x), magnitude = b & 0x7FFFFFFFu;
  const uint32_t small = static_cast<uint32_t>(static_cast<int32_t>(as<float>(magnitude < 0x38800000u ? magnitude : 0u) * 0x1p24f));
  const uint32_t normal = (magnitude - (112u << 23)) >> 13;
  const uint32_t special = magnitude > 0x7F800000u ? kNanF16 : magnitude == 0x7F800000u ? 0x7C00u : 0x7BFFu;
  const uint32_t r = magnitude >= 0x47800000u ? special : magnitude < 0x38800000u ? small : normal;
  return {static_cast<uint16_t>(r | (b >> 16 & 0x8000u))};
}
USBGPU_SEM float f32(bfloat h) { return as<float>(static_cast<uint32_t>(h.bits) << 16); }
USBGPU_SEM bfloat bf16(float x) {
  const uint32_t b = as<uint32_t>(x);
  return {static_cast<uint16_t>(x == x ? (b + 0x7FFFu + (b >> 16 & 1u)) >> 16 : 0x7FC0u)};
}
// Forces the last bit of `rounded` so that a later rounding to half the digits sees which side of
// a tie the exact value `rounded + error` is on (round to odd).
USBGPU_SEM float odd(float rounded, float error) {
  const uint32_t b = as<uint32_t>(rounded);
  const bool away = (error > 0.0f) == (rounded > 0.0f);
  const bool inexact = (error > 0.0f) | (error < 0.0f);
  return as<float>((inexact && !(b & 1u)) ? (away ? b + 1u : b - 1u) : b);
}
USBGPU_SEM double odd(double rounded, double error) {
  const uint64_t b = as<uint64_t>(rounded);
  const bool away = (error > 0.0) == (rounded > 0.0);
  const bool inexact = (error > 0.0) | (error < 0.0);
  return as<double>((inexact && !(b & 1u)) ? (away ? b + 1u : b - 1u) : b);
}
template <class T> USBGPU_SEM T sum_error(T a, T b, T sum) {  // exact a + b - sum (Knuth)
  const T bb = sum - a;
  return (a - (sum - bb)) + (b - bb);
}
// Fused multiply-add in f16. The product of two f16 is exact in f32; the sum is rounded to odd.
USBGPU_SEM half fma(half a, half b, half c) {
  const float p = f32(a) * f32(b), d = f32(c), s = p + d;
  return f16(odd(s, sum_error(p, d, s)));
}

// ---- minimum and maximum: the number wins over NaN, -0 is below +0 ---------------------------
USBGPU_SEM float min(float a, float b) {
  const float ordered = a < b ? a : a > b ? b : as<float>(as<uint32_t>(a) | as<uint32_t>(b));
  return a == a ? (b == b ? ordered : a) : canon(b);
}
USBGPU_SEM float max(float a, float b) {
  const float ordered = a > b ? a : a < b ? b : as<float>(as<uint32_t>(a) & as<uint32_t>(b));
  return a == a ? (b == b ? ordered : a) : canon(b);
}
USBGPU_SEM double min(double a, double b) {
  const double ordered = a < b ? a : a > b ? b : as<double>(as<uint64_t>(a) | as<uint64_t>(b));
  return a == a ? (b == b ? ordered : a) : canon(b);
}
USBGPU_SEM double max(double a, double b) {
  const double ordered = a > b ? a : a < b ? b : as<double>(as<uint64_t>(a) & as<uint64_t>(b));
  return a == a ? (b == b ? ordered : a) : canon(b);
}
USBGPU_SEM half min(half a, half b) { return f16(min(f32(a), f32(b))); }
USBGPU_SEM half max(half a, half b) { return f16(max(f32(a), f32(b))); }
#define USBGPU_MINMAX(T)                                   \
  USBGPU_SEM T min(T a, T b) { return a < b ? a : b; }     \
  USBGPU_SEM T max(T a, T b) { return a > b ? a : b; }
USBGPU_MINMAX(int32_t) USBGPU_MINMAX(uint32_t) USBGPU_MINMAX(int16_t) USBGPU_MINMAX(uint16_t)
#undef USBGPU_MINMAX
// RDNA3 with MODE.IEEE: the number wins over a quiet NaN, but a signalling NaN gives a quiet one.
USBGPU_SEM bool is_nan(half x) { return (x.bits & 0x7FFFu) > 0x7C00u; }
USBGPU_SEM bool is_nan(float x) { return x != x; }
USBGPU_SEM bool signalling(half x) { return (x.bits & 0x7FFFu) > 0x7C00u && !(x.bits & 0x200u); }
USBGPU_SEM bool signalling(float x) { return x != x && !(as<uint32_t>(x) & 0x400000u); }
USBGPU_SEM bool signalling(double x) { return x != x && !(as<uint64_t>(x) >> 51 & 1); }
USBGPU_SEM half quiet_nan_like(half) { return {kNanF16}; }
USBGPU_SEM float quiet_nan_like(float) { return nan_f32(); }
USBGPU_SEM double quiet_nan_like(double) { return nan_f64(); }
template <class T> USBGPU_SEM T min_ieee(T a, T b) { return signalling(a) | signalling(b) ? quiet_nan_like(a) : min(a, b); }
template <class T> USBGPU_SEM T max_ieee(T a, T b) { return signalling(a) | signalling(b) ? quiet_nan_like(a) : max(a, b); }

template <class T> USBGPU_SEM T min3(T a, T b, T c) { return min(min(a, b), c); }
template <class T> USBGPU_SEM T max3(T a, T b, T c) { return max(max(a, b), c); }
template <class T> USBGPU_SEM T minmax(T a, T b, T c) { return max(min(a, b), c); }
template <class T> USBGPU_SEM T maxmin(T a, T b, T c) { return min(max(a, b), c); }
template <class T> USBGPU_SEM T med3(T a, T b, T c) { return max(min(a, b), min(max(a, b), c)); }
template <> [[gnu::always_inline, maybe_unused]] inline half med3(half a, half b, half c) { return f16(med3(f32(a), f32(b), f32(c))); }

// ---- Rounding, exponents ---------------------------------------------------------------------
USBGPU_SEM float trunc(float x) { return canon(__builtin_truncf(x)); }
USBGPU_SEM float ceil(float x) { return canon(__builtin_ceilf(x)); }
USBGPU_SEM float floor(float x) { return canon(__builtin_floorf(x)); }
// Nearest even whatever the host's rounding direction is.
#if defined(__has_builtin) && __has_builtin(__builtin_elementwise_roundeven)
USBGPU_SEM float rndne(float x) { return canon(__builtin_elementwise_roundeven(x)); }
USBGPU_SEM double rndne(double x) { return canon(__builtin_elementwise_roundeven(x)); }
#else
USBGPU_SEM float rndne(float x) { return canon(__builtin_roundevenf(x)); }
USBGPU_SEM double rndne(double x) { return canon(__builtin_roundeven(x)); }
#endif
USBGPU_SEM double trunc(double x) { return canon(__builtin_trunc(x)); }
USBGPU_SEM double ceil(double x) { return canon(__builtin_ceil(x)); }
USBGPU_SEM double floor(double x) { return canon(__builtin_floor(x)); }
// The result stays below 1 also where x - floor(x) would round up to it.
USBGPU_SEM float fract(float x) {
  const float r = x - floor(x);
  return r != r ? nan_f32() : r < 0x1.fffffep-1f ? r : 0x1.fffffep-1f;
}
USBGPU_SEM double fract(double x) {
  const double r = x - floor(x);
  return r != r ? nan_f64() : r < 0x1.fffffffffffffp-1 ? r : 0x1.fffffffffffffp-1;
}
USBGPU_SEM half fract(half x) {
  const float v = f32(x), r = v - floor(v);
  return f16(r != r ? nan_f32() : r < 0x1.ffcp-1f ? r : 0x1.ffcp-1f);
}

USBGPU_SEM int clz64(uint64_t v) { return v ? __builtin_clzll(v) : 64; }
// Value with mantissa in [0.5, 1), and its exponent; 0, inf and NaN have exponent 0.
USBGPU_SEM int32_t frexp_exp(double x) {
  const uint64_t b = as<uint64_t>(x) & ~(1ull << 63);
  if (b == 0 || b >= 0x7FF0000000000000ull) return 0;
  if (b < 1ull << 52) return -1010 - clz64(b);  // denormal: leading bit at 63 - clz, weight 2^-1074
  return static_cast<int32_t>(b >> 52) - 1022;
}
USBGPU_SEM double frexp_mant(double x) {
  const uint64_t b = as<uint64_t>(x), magnitude = b & ~(1ull << 63);
  if (magnitude == 0 || magnitude >= 0x7FF0000000000000ull) return canon(x);
  const uint64_t fraction = magnitude < 1ull << 52 ? magnitude << (clz64(magnitude) - 11) : magnitude;
  return as<double>((b & 1ull << 63) | 1022ull << 52 | (fraction & ((1ull << 52) - 1)));
}
USBGPU_SEM int32_t frexp_exp(float x) { return frexp_exp(static_cast<double>(x)); }
USBGPU_SEM float frexp_mant(float x) { return canon(static_cast<float>(frexp_mant(static_cast<double>(x)))); }
USBGPU_SEM int16_t frexp_exp_i16(half x) { return static_cast<int16_t>(frexp_exp(f32(x))); }
USBGPU_SEM half frexp_mant(half x) { return f16(frexp_mant(f32(x))); }

USBGPU_SEM double power_of_two(int64_t e) { return as<double>(static_cast<uint64_t>(e + 1023) << 52); }  // normal range
// x * 2^e rounded once: the product of a float and any power of two that matters is exact in f64.
USBGPU_SEM float ldexp(float x, int32_t e) {
  const int32_t bounded = e < -320 ? -320 : e > 320 ? 320 : e;
  return canon(static_cast<float>(static_cast<double>(x) * power_of_two(bounded)));
}
USBGPU_SEM half ldexp_f16(half x, int16_t e) {
  const int32_t bounded = e < -60 ? -60 : e > 60 ? 60 : e;
  return f16(static_cast<float>(static_cast<double>(f32(x)) * power_of_two(bounded)));
}
USBGPU_SEM double ldexp(double x, int32_t e) {
  int32_t rest = e < -2200 ? -2200 : e > 2200 ? 2200 : e;
  // Upwards the steps are exact until overflow. Downwards only the last step may round: first
  // normalise, then go at once from a normal number to the result.
  if (rest >= 0) {
    while (rest > 1000) x *= 0x1p1000, rest -= 1000;
    return canon(x * power_of_two(rest));
  }
  const int32_t own = frexp_exp(x);
  if (own + rest > -1020) {
    while (rest < -1000) x *= 0x1p-1000, rest += 1000;
    return canon(x * power_of_two(rest));
  }
  if (x == 0.0 || x != x || abs(x) == as<double>(0x7FF0000000000000ull)) return canon(x);
  int32_t e2 = own + rest;  // result in [2^(e2-1), 2^e2), denormal or zero
  if (e2 < -1080) e2 = -1080;
  return frexp_mant(x) * 0x1p-1000 * power_of_two(e2 + 1000);
}

// v_cmp_class mask bits: sNaN, qNaN, -inf, -normal, -denormal, -0, +0, +denormal, +normal, +inf.
template <unsigned kExponent, unsigned kFraction> USBGPU_SEM bool in_class(uint64_t b, uint32_t mask) {
  constexpr uint64_t kTop = (1ull << kExponent) - 1;
  const bool negative = b >> (kExponent + kFraction) & 1;
  const uint64_t exponent = b >> kFraction & kTop, fraction = b & ((1ull << kFraction) - 1);
  unsigned bit;
  if (exponent == kTop) bit = fraction ? (fraction >> (kFraction - 1) ? 1 : 0) : negative ? 2 : 9;
  else if (exponent) bit = negative ? 3 : 8;
  else if (fraction) bit = negative ? 4 : 7;
  else bit = negative ? 5 : 6;
  return mask >> bit & 1;
}
USBGPU_SEM bool cmp_class(half x, uint16_t mask) { return in_class<5, 10>(x.bits, mask); }
USBGPU_SEM bool cmp_class(float x, uint32_t mask) { return in_class<8, 23>(as<uint32_t>(x), mask); }
USBGPU_SEM bool cmp_class(double x, uint32_t mask) { return in_class<11, 52>(as<uint64_t>(x), mask); }

// ---- Float to integer: towards zero, saturating, NaN gives 0 -----------------------------------
USBGPU_SEM int32_t i32(float x) {
  const float in = x >= 0x1p31f || x < -0x1p31f || x != x ? 0.0f : x;  // C leaves the rest undefined
  const int32_t r = static_cast<int32_t>(in);
  return x >= 0x1p31f ? INT32_MAX : x < -0x1p31f ? INT32_MIN : r;
}
USBGPU_SEM uint32_t u32(float x) {
  const float in = x >= 0x1p32f || x < 0.0f || x != x ? 0.0f : x;
  const uint32_t r = static_cast<uint32_t>(in);
  return x >= 0x1p32f ? UINT32_MAX : r;
}
USBGPU_SEM int32_t i32(double x) {
  const double in = x >= 0x1p31 || x <= -0x1p31 - 1 || x != x ? 0.0 : x;
  const int32_t r = static_cast<int32_t>(in);
  return x >= 0x1p31 ? INT32_MAX : x <= -0x1p31 - 1 ? INT32_MIN : r;
}
USBGPU_SEM uint32_t u32(double x) {
  const double in = x >= 0x1p32 || x < 0.0 || x != x ? 0.0 : x;
  const uint32_t r = static_cast<uint32_t>(static_cast<int64_t>(in));
  return x >= 0x1p32 ? UINT32_MAX : r;
}
USBGPU_SEM int32_t clamp_to(int32_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : v; }
USBGPU_SEM int16_t i16(float x) { return static_cast<int16_t>(clamp_to(i32(x), -32768, 32767)); }
USBGPU_SEM uint16_t u16(float x) { return static_cast<uint16_t>(clamp_to(i32(x), 0, 65535)); }
USBGPU_SEM uint32_t u8(float x) { return static_cast<uint32_t>(clamp_to(i32(x), 0, 255)); }
// Normalised integers. The signed form is symmetric: -1.0 gives -32767.
USBGPU_SEM int16_t snorm16(float x) {
  const float bounded = x != x ? 0.0f : x < -1.0f ? -1.0f : x > 1.0f ? 1.0f : x;
  return static_cast<int16_t>(i32(rndne(bounded * 32767.0f)));
}
USBGPU_SEM uint16_t unorm16(float x) {
  const float bounded = x > 0.0f ? (x > 1.0f ? 1.0f : x) : 0.0f;
  return static_cast<uint16_t>(i32(rndne(bounded * 65535.0f)));
}
USBGPU_SEM uint32_t pair(uint16_t low, uint16_t high) { return static_cast<uint32_t>(high) << 16 | low; }
USBGPU_SEM uint16_t low16(uint32_t v) { return static_cast<uint16_t>(v); }
USBGPU_SEM uint16_t high16(uint32_t v) { return static_cast<uint16_t>(v >> 16); }

// ---- Integers and bits ---------------------------------------------------------------------------
USBGPU_SEM int32_t signed24(int32_t v) { return static_cast<int32_t>(static_cast<uint32_t>(v) << 8) >> 8; }
USBGPU_SEM uint32_t bfe_u32(uint32_t v, uint32_t offset, uint32_t width) {
  return v >> (offset & 31) & ((1u << (width & 31)) - 1u);
}
USBGPU_SEM int32_t bfe_i32(int32_t v, uint32_t offset, uint32_t width) {
  const uint32_t n = width & 31, field = static_cast<uint32_t>(v >> (offset & 31)) & ((1u << n) - 1u);
  return n == 0 ? 0 : static_cast<int32_t>(field << (32 - n)) >> (32 - n);
}
USBGPU_SEM uint32_t bfi(uint32_t mask, uint32_t a, uint32_t b) { return (mask & a) | (~mask & b); }
USBGPU_SEM uint32_t bfrev(uint32_t v) {
  v = (v >> 1 & 0x55555555u) | (v & 0x55555555u) << 1;
  v = (v >> 2 & 0x33333333u) | (v & 0x33333333u) << 2;
  v = (v >> 4 & 0x0F0F0F0Fu) | (v & 0x0F0F0F0Fu) << 4;
  return __builtin_bswap32(v);
}
USBGPU_SEM uint32_t popcount(uint32_t v) {
  v -= v >> 1 & 0x55555555u;
  v = (v & 0x33333333u) + (v >> 2 & 0x33333333u);
  return ((v + (v >> 4)) & 0x0F0F0F0Fu) * 0x01010101u >> 24;
}
USBGPU_SEM uint32_t clz_or_minus1(uint32_t v) { return v ? static_cast<uint32_t>(__builtin_clz(v)) : ~0u; }
USBGPU_SEM uint32_t ctz_or_minus1(uint32_t v) { return v ? static_cast<uint32_t>(__builtin_ctz(v)) : ~0u; }
USBGPU_SEM uint32_t cls_or_minus1(int32_t v) { return clz_or_minus1(static_cast<uint32_t>(v ^ (v >> 31))); }
USBGPU_SEM uint32_t byte_of(uint64_t v, unsigned n) { return static_cast<uint32_t>(v >> (8 * n)) & 0xFFu; }
USBGPU_SEM uint32_t distance(uint32_t a, uint32_t b) { return a > b ? a - b : b - a; }
USBGPU_SEM uint32_t sad_u8(uint32_t a, uint32_t b) {
  uint32_t sum = 0;
  for (unsigned n = 0; n < 4; ++n) sum += distance(byte_of(a, n), byte_of(b, n));
  return sum;
}
USBGPU_SEM uint32_t msad_u8(uint32_t a, uint32_t reference) {  // zero bytes of the reference do not count
  uint32_t sum = 0;
  for (unsigned n = 0; n < 4; ++n) sum += byte_of(reference, n) ? distance(byte_of(a, n), byte_of(reference, n)) : 0u;
  return sum;
}
template <uint32_t (*sad)(uint32_t, uint32_t), bool clamps> USBGPU_SEM uint64_t quad_sad(uint64_t a, uint32_t b, uint64_t c) {
  uint64_t r = 0;
  for (unsigned n = 0; n < 4; ++n) {
    const uint32_t exact = sad(static_cast<uint32_t>(a >> (8 * n)), b) + static_cast<uint16_t>(c >> (16 * n));
    const uint16_t sum = static_cast<uint16_t>(clamps && exact > 0xFFFFu ? 0xFFFFu : exact);
    r |= static_cast<uint64_t>(sum) << (16 * n);
  }
  return r;
}
USBGPU_SEM uint32_t lerp_u8(uint32_t a, uint32_t b, uint32_t round) {
  uint32_t r = 0;
  for (unsigned n = 0; n < 4; ++n) r |= ((byte_of(a, n) + byte_of(b, n) + (byte_of(round, n) & 1u)) >> 1) << (8 * n);
  return r;
}
USBGPU_SEM uint32_t perm(uint32_t high, uint32_t low, uint32_t selector) {
  const uint64_t data = static_cast<uint64_t>(high) << 32 | low;
  uint32_t r = 0;
  for (unsigned n = 0; n < 4; ++n) {
    const uint32_t s = byte_of(selector, n);
    uint32_t byte;
    if (s >= 13) byte = 0xFFu;
    else if (s == 12) byte = 0;
    else if (s >= 8) byte = data >> (16 * (s - 8) + 15) & 1 ? 0xFFu : 0;  // sign of a 16-bit part
    else byte = byte_of(data, s);
    r |= byte << (8 * n);
  }
  return r;
}
USBGPU_SEM uint32_t align_right(uint32_t high, uint32_t low, uint32_t shift) {
  return static_cast<uint32_t>((static_cast<uint64_t>(high) << 32 | low) >> shift);
}

// ---- Direct3D 9 products: 0 * anything = +0 -----------------------------------------------------
USBGPU_SEM float mul_dx9(float a, float b) { return ((a == 0.0f) | (b == 0.0f)) ? 0.0f : canon(a * b); }
USBGPU_SEM float fma_dx9(float a, float b, float c) { return ((a == 0.0f) | (b == 0.0f)) ? canon(0.0f + c) : canon(fma(a, b, c)); }
USBGPU_SEM float mullit(float a, float b, float c) {
  const float lowest = as<float>(0xFF7FFFFFu);
  return !(b > lowest) || !(c > 0.0f) ? lowest : mul_dx9(a, b);
}

// ---- Cube maps: face number, coordinates, major axis ----------------------------------------------
USBGPU_SEM float cube_id(float x, float y, float z) {
  if (abs(z) >= abs(x) && abs(z) >= abs(y)) return z < 0.0f ? 5.0f : 4.0f;
  if (abs(y) >= abs(x)) return y < 0.0f ? 3.0f : 2.0f;
  return x < 0.0f ? 1.0f : 0.0f;
}
USBGPU_SEM float cube_sc(float x, float y, float z) {
  if (abs(z) >= abs(x) && abs(z) >= abs(y)) return z < 0.0f ? -x : x;
  if (abs(y) >= abs(x)) return x;
  return x < 0.0f ? z : -z;
}
USBGPU_SEM float cube_tc(float x, float y, float z) {
  if (abs(z) >= abs(x) && abs(z) >= abs(y)) return -y;
  if (abs(y) >= abs(x)) return y < 0.0f ? -z : z;
  return -y;
}
USBGPU_SEM float cube_ma(float x, float y, float z) {
  if (abs(z) >= abs(x) && abs(z) >= abs(y)) return 2.0f * z;
  if (abs(y) >= abs(x)) return 2.0f * y;
  return 2.0f * x;
}

// ---- Dot products on packed operands ----------------------------------------------------------------
template <unsigned kBits> USBGPU_SEM int32_t part(uint32_t v, unsigned n, bool is_signed) {
  const uint32_t field = v << (32 - kBits - kBits * n);
  return is_signed ? static_cast<int32_t>(field) >> (32 - kBits) : static_cast<int32_t>(field >> (32 - kBits));
}
template <unsigned kBits> USBGPU_SEM int64_t dot(uint32_t a, uint32_t b, bool a_signed, bool b_signed) {
  int64_t sum = 0;
  for (unsigned n = 0; n < 32 / kBits; ++n) sum += part<kBits>(a, n, a_signed) * part<kBits>(b, n, b_signed);
  return sum;
}

}  // namespace sem
}  // namespace usbgpu::emulator::isa::ISA_LEVEL
