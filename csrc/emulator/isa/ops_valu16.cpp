// 16-bit operations of the vector ALU: one half of a register per operand (true16 and opsel); the
// other half of the destination stays as it is.
#include "emulator/isa/semantics_trans.h"
#include "emulator/isa/valu.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

using sem::f16;
using sem::f32;

constexpr HandlerRow rows[] = {
    {"v_mov_b16", lane<[](half a) { return a; }>, own_all},
    {"v_cndmask_b16", lane<[](half a, half b, lane_bit c) { return c ? b : a; }>, own_all},

    {"v_add_f16", lane<[](half a, half b) { return f16(f32(a) + f32(b)); }>, own_all},
    {"v_sub_f16", lane<[](half a, half b) { return f16(f32(a) - f32(b)); }>, own_all},
    {"v_subrev_f16", lane<[](half a, half b) { return f16(f32(b) - f32(a)); }>, own_all},
    {"v_mul_f16", lane<[](half a, half b) { return f16(f32(a) * f32(b)); }>, own_all},
    {"v_fma_f16", lane<[](half a, half b, half c) { return sem::fma(a, b, c); }>, own_all},
    {"v_fmac_f16", lane_accumulate<[](half a, half b, half c) { return sem::fma(a, b, c); }>, own_all},
    {"v_fmamk_f16", lane<[](half a, half b, half c) { return sem::fma(a, b, c); }>, own_all},
    {"v_fmaak_f16", lane<[](half a, half b, half c) { return sem::fma(a, b, c); }>, own_all},
    {"v_trunc_f16", lane<[](half a) { return f16(sem::trunc(f32(a))); }>, own_all},
    {"v_ceil_f16", lane<[](half a) { return f16(sem::ceil(f32(a))); }>, own_all},
    {"v_floor_f16", lane<[](half a) { return f16(sem::floor(f32(a))); }>, own_all},
    {"v_rndne_f16", lane<[](half a) { return f16(sem::rndne(f32(a))); }>, own_all},
    {"v_fract_f16", lane<[](half a) { return sem::fract(a); }>, own_all},
    {"v_frexp_exp_i16_f16", lane<[](half a) { return sem::frexp_exp_i16(a); }>, own_all},
    {"v_frexp_mant_f16", lane<[](half a) { return sem::frexp_mant(a); }>, own_all},
    {"v_ldexp_f16", lane<[](half a, i16 e) { return sem::ldexp_f16(a, e); }>, own_all},
    {"v_div_fixup_f16", lane<[](half q, half d, half n) { return sem::div_fixup_f16(q, d, n); }>, own_all},
    {"v_pack_b32_f16", lane<[](half a, half b) { return half_pair{sem::pair(a.bits, b.bits)}; }>, own_all},

    {"v_add_nc_u16", lane<[](u16 a, u16 b) { return exact<u16>(a + b); }>, own_all},
    {"v_sub_nc_u16", lane<[](u16 a, u16 b) { return exact<u16>(a - b); }>, own_all},
    {"v_add_nc_i16", lane<[](i16 a, i16 b) { return exact<i16>(a + b); }>, own_all},
    {"v_sub_nc_i16", lane<[](i16 a, i16 b) { return exact<i16>(a - b); }>, own_all},
    {"v_mul_lo_u16", lane<[](u16 a, u16 b) { return static_cast<u16>(u32{a} * b); }>, own_all},
    {"v_mad_u16", lane<[](u16 a, u16 b, u16 c) { return exact<u16>(i64{a} * b + c); }>, own_all},
    {"v_mad_i16", lane<[](i16 a, i16 b, i16 c) { return exact<i16>(i64{a} * b + c); }>, own_all},
    {"v_min_i16", lane<[](i16 a, i16 b) { return sem::min(a, b); }>, own_all},
    {"v_max_i16", lane<[](i16 a, i16 b) { return sem::max(a, b); }>, own_all},
    {"v_min_u16", lane<[](u16 a, u16 b) { return sem::min(a, b); }>, own_all},
    {"v_max_u16", lane<[](u16 a, u16 b) { return sem::max(a, b); }>, own_all},
    {"v_min3_i16", lane<[](i16 a, i16 b, i16 c) { return sem::min3(a, b, c); }>, own_all},
    {"v_max3_i16", lane<[](i16 a, i16 b, i16 c) { return sem::max3(a, b, c); }>, own_all},
    {"v_med3_i16", lane<[](i16 a, i16 b, i16 c) { return sem::med3(a, b, c); }>, own_all},
    {"v_min3_u16", lane<[](u16 a, u16 b, u16 c) { return sem::min3(a, b, c); }>, own_all},
    {"v_max3_u16", lane<[](u16 a, u16 b, u16 c) { return sem::max3(a, b, c); }>, own_all},
    {"v_med3_u16", lane<[](u16 a, u16 b, u16 c) { return sem::med3(a, b, c); }>, own_all},
    {"v_and_b16", lane<[](u16 a, u16 b) { return static_cast<u16>(a & b); }>, own_all},
    {"v_or_b16", lane<[](u16 a, u16 b) { return static_cast<u16>(a | b); }>, own_all},
    {"v_xor_b16", lane<[](u16 a, u16 b) { return static_cast<u16>(a ^ b); }>, own_all},
    {"v_not_b16", lane<[](u16 a) { return static_cast<u16>(~a); }>, own_all},
    {"v_lshlrev_b16", lane<[](u16 n, u16 v) { return static_cast<u16>(v << (n & 15)); }>, own_all},
    {"v_lshrrev_b16", lane<[](u16 n, u16 v) { return static_cast<u16>(v >> (n & 15)); }>, own_all},
    {"v_ashrrev_i16", lane<[](u16 n, i16 v) { return static_cast<i16>(v >> (n & 15)); }>, own_all},

    {"v_exp_f16", lane_approximate<[](half a) { return sem::exp_f16(a); }>, own_all},
    {"v_log_f16", lane_approximate<[](half a) { return sem::log_f16(a); }>, own_all},
    {"v_rcp_f16", lane_approximate<[](half a) { return sem::rcp_f16(a); }>, own_all},
    {"v_rsq_f16", lane_approximate<[](half a) { return sem::rsq_f16(a); }>, own_all},
    {"v_sqrt_f16", lane_approximate<[](half a) { return sem::sqrt_f16(a); }>, own_all},
    {"v_sin_f16", lane_approximate<[](half a) { return sem::sin_f16(a); }>, own_all},
    {"v_cos_f16", lane_approximate<[](half a) { return sem::cos_f16(a); }>, own_all},
};

}  // namespace

const HandlerGroup group_valu16{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
