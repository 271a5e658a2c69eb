// Conversions between number formats.
#include "emulator/isa/valu.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

using sem::f16;
using sem::f32;
using sem::pair;

// Compilers build the conversion of unsigned vectors from a subtraction and an addition, which gives -0 for 0
// when rounding goes down; the sign is taken away behind the compiler's back, which knows that there is none.
USBGPU_INLINE float positive(u32 a) {
  u32 bits = sem::as<u32>(static_cast<float>(a));
  __asm__ volatile("" : "+r"(bits));
  return sem::as<float>(bits & 0x7FFFFFFFu);
}
Handler select_cvt_f32_u32(const Shape& s) {
  return s.any_mode ? lanewise<[](u32 a) { return positive(a); }> : fast<[](u32 a) { return static_cast<float>(a); }>(s);
}

constexpr HandlerRow rows[] = {
    {"v_cvt_f32_i32", fast<[](i32 a) { return static_cast<float>(a); }>, own_all},
    {"v_cvt_f32_u32", select_cvt_f32_u32, own_all},
    {"v_cvt_i32_f32", fast<[](float a) { return sem::i32(a); }>, own_all},
    {"v_cvt_u32_f32", fast<[](float a) { return sem::u32(a); }>, own_all},
    {"v_cvt_nearest_i32_f32", lane<[](float a) { return sem::i32(sem::floor(a + 0.5f)); }>, own_all},
    {"v_cvt_floor_i32_f32", lane<[](float a) { return sem::i32(sem::floor(a)); }>, own_all},
    {"v_cvt_off_f32_i4", lane<[](u32 a) { return static_cast<float>(static_cast<i32>(a << 28) >> 28) * 0.0625f; }>, own_all},
    {"v_cvt_f32_ubyte0", fast<[](u32 a) { return static_cast<float>(static_cast<i32>(a & 0xFF)); }>, own_all},
    {"v_cvt_f32_ubyte1", fast<[](u32 a) { return static_cast<float>(static_cast<i32>(a >> 8 & 0xFF)); }>, own_all},
    {"v_cvt_f32_ubyte2", fast<[](u32 a) { return static_cast<float>(static_cast<i32>(a >> 16 & 0xFF)); }>, own_all},
    {"v_cvt_f32_ubyte3", fast<[](u32 a) { return static_cast<float>(static_cast<i32>(a >> 24)); }>, own_all},
    {"v_cvt_i32_i16", lane<[](i16 a) { return i32{a}; }>, own_all},
    {"v_cvt_u32_u16", lane<[](u16 a) { return u32{a}; }>, own_all},

    {"v_cvt_f16_f32", lane<[](float a) { return f16(a); }>, own_all},
    {"v_cvt_f32_f16", lane<[](half a) { return sem::canon(f32(a)); }>, own_all},
    {"v_cvt_f16_u16", lane<[](u16 a) { return f16(static_cast<float>(a)); }>, own_all},
    {"v_cvt_f16_i16", lane<[](i16 a) { return f16(static_cast<float>(a)); }>, own_all},
    {"v_cvt_u16_f16", lane<[](half a) { return sem::u16(f32(a)); }>, own_all},
    {"v_cvt_i16_f16", lane<[](half a) { return sem::i16(f32(a)); }>, own_all},
    {"v_cvt_norm_i16_f16", lane<[](half a) { return sem::snorm16(f32(a)); }>, own_all},
    {"v_cvt_norm_u16_f16", lane<[](half a) { return sem::unorm16(f32(a)); }>, own_all},

    {"v_cvt_f64_f32", lane<[](float a) { return sem::canon(static_cast<double>(a)); }>, own_all},
    {"v_cvt_f32_f64", lane<[](double a) { return sem::canon(static_cast<float>(a)); }>, own_all},
    {"v_cvt_f64_i32", lane<[](i32 a) { return static_cast<double>(a); }>, own_all},
    {"v_cvt_f64_u32", lane<[](u32 a) { return static_cast<double>(a); }>, own_all},
    {"v_cvt_i32_f64", lane<[](double a) { return sem::i32(a); }>, own_all},
    {"v_cvt_u32_f64", lane<[](double a) { return sem::u32(a); }>, own_all},

    {"v_cvt_pk_rtz_f16_f32", lane<[](float a, float b) { return half_pair{pair(sem::f16_rtz(a).bits, sem::f16_rtz(b).bits)}; }>, own_all},
    {"v_cvt_pk_i16_f32", lane<[](float a, float b) { return pair(static_cast<u16>(sem::i16(a)), static_cast<u16>(sem::i16(b))); }>, own_all},
    {"v_cvt_pk_u16_f32", lane<[](float a, float b) { return pair(sem::u16(a), sem::u16(b)); }>, own_all},
    {"v_cvt_pk_norm_i16_f32", lane<[](float a, float b) { return pair(static_cast<u16>(sem::snorm16(a)), static_cast<u16>(sem::snorm16(b))); }>, own_all},
    {"v_cvt_pk_norm_u16_f32", lane<[](float a, float b) { return pair(sem::unorm16(a), sem::unorm16(b)); }>, own_all},
    {"v_cvt_pk_norm_i16_f16", lane<[](half a, half b) { return pair(static_cast<u16>(sem::snorm16(f32(a))), static_cast<u16>(sem::snorm16(f32(b)))); }>, own_all},
    {"v_cvt_pk_norm_u16_f16", lane<[](half a, half b) { return pair(sem::unorm16(f32(a)), sem::unorm16(f32(b))); }>, own_all},
    {"v_cvt_pk_u16_u32", lane<[](u32 a, u32 b) { return pair(static_cast<u16>(sem::min(a, 65535u)), static_cast<u16>(sem::min(b, 65535u))); }>, own_all},
    {"v_cvt_pk_i16_i32", lane<[](i32 a, i32 b) {
       return pair(static_cast<u16>(sem::clamp_to(a, -32768, 32767)), static_cast<u16>(sem::clamp_to(b, -32768, 32767)));
     }>, own_all},
    {"v_cvt_pk_u8_f32", lane<[](float a, u32 byte, u32 old) {
       const u32 shift = (byte & 3) * 8;
       return (old & ~(0xFFu << shift)) | sem::u8(a) << shift;
     }>, own_all},
    {"v_sat_pk_u8_i16", lane<[](u32 a) {
       const i32 low = static_cast<i16>(sem::low16(a)), high = static_cast<i16>(sem::high16(a));
       return static_cast<u16>(sem::clamp_to(low, 0, 255) | sem::clamp_to(high, 0, 255) << 8);
     }>, own_all},
};

}  // namespace

const HandlerGroup group_valu_convert{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
