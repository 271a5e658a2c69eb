// What RDNA4 adds to one lane's arithmetic: minimum and maximum that propagate NaN, and the 8-bit floats.
// Source: AMD "RDNA4" ISA reference, pseudo-code of V_MINIMUM_F32, V_CVT_PK_FP8_F32 and relatives.
#pragma once

#include "emulator/isa/semantics.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {

struct fp8 { uint8_t bits; };  // OCP e4m3: bias 7, no infinity, NaN = 0x7F
struct bf8 { uint8_t bits; };  // OCP e5m2: bias 15, the upper half of an f16

namespace sem {

// ---- IEEE 754-2019 minimum and maximum: NaN wins over numbers, -0 is below +0 ----------------------
template <class F> USBGPU_SEM F minimum(F a, F b) { return a != a ? canon(a) : b != b ? canon(b) : min(a, b); }
template <class F> USBGPU_SEM F maximum(F a, F b) { return a != a ? canon(a) : b != b ? canon(b) : max(a, b); }
USBGPU_SEM half minimum(half a, half b) { return f16(minimum(f32(a), f32(b))); }
USBGPU_SEM half maximum(half a, half b) { return f16(maximum(f32(a), f32(b))); }

// ---- 8-bit floats -------------------------------------------------------------------------------------
USBGPU_SEM float f32(bf8 v) { return f32(half{static_cast<uint16_t>(v.bits << 8)}); }
USBGPU_SEM float f32(fp8 v) {
  const uint32_t magnitude = v.bits & 0x7Fu, sign = (v.bits & 0x80u) << 24;
  const uint32_t normal = (magnitude << 20) + (120u << 23);
  const uint32_t small = as<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-9f);
  return as<float>(sign | (magnitude == 0x7F ? kNanF32 : magnitude < 8 ? small : normal));
}

// Rounds to a format of `kFraction` fraction bits. `random`: nearest even without, else stochastic: so many of its upper
// bits as digits are dropped are added before truncation. (The printed pseudo-code then rounds to nearest once more, which
// would bias the result; the add-and-truncate form is how the vendor's own host emulation of the instruction computes it.)
template <unsigned kBias, unsigned kFraction> USBGPU_SEM uint32_t round_small(uint32_t magnitude, const uint32_t* random) {
  const uint32_t exponent = magnitude >> 23, fraction = magnitude & 0x7FFFFFu;
  constexpr uint32_t kFirstNormal = 128 - kBias;
  const uint32_t below = exponent < kFirstNormal ? kFirstNormal - exponent : 0;
  const uint32_t dropped = 23 - kFraction + below;
  if (exponent == 0 || dropped > 31) return 0;  // far below half of the smallest denormal
  const uint64_t digits = uint64_t{fraction | 0x800000u};
  const uint64_t add = random ? uint64_t{*random} >> (32 - dropped) : (uint64_t{1} << (dropped - 1)) - 1 + (digits >> dropped & 1);
  const uint32_t rounded = static_cast<uint32_t>((digits + add) >> dropped);
  // the leading one of a normal number adds one to its exponent field
  return below ? rounded : rounded + ((exponent - kFirstNormal) << kFraction);
}
// What does not fit: NaN or infinity, the largest number with MODE.FP16_OVFL.
USBGPU_SEM uint8_t to_small(fp8, float x, const uint32_t* random, bool saturate) {
  const uint32_t b = as<uint32_t>(x), magnitude = b & 0x7FFFFFFFu;
  const uint32_t rounded = magnitude >= 0x7F800000u ? 0x7Fu : round_small<7, 3>(magnitude, random);
  const uint32_t r = rounded < 0x7Fu ? rounded : saturate && magnitude < 0x7F800000u ? 0x7Eu : 0x7Fu;
  return static_cast<uint8_t>(r | (b >> 24 & 0x80u));
}
USBGPU_SEM uint8_t to_small(bf8, float x, const uint32_t* random, bool saturate) {
  const uint32_t b = as<uint32_t>(x), magnitude = b & 0x7FFFFFFFu;
  const uint32_t rounded = magnitude >= 0x7F800000u ? 0x7Cu : round_small<15, 2>(magnitude, random);
  const uint32_t r = magnitude > 0x7F800000u ? 0x7Eu : rounded < 0x7Cu ? rounded : saturate && magnitude < 0x7F800000u ? 0x7Bu : 0x7Cu;
  return static_cast<uint8_t>(r | (b >> 24 & 0x80u));
}

}  // namespace sem
}  // namespace usbgpu::emulator::isa::ISA_LEVEL
