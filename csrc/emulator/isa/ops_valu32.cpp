// 32-bit operations of the vector ALU: moves, f32 arithmetic, integers, bit fields.
#include "emulator/isa/valu.h"
#include "emulator/isa/valu_hot.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

const Inst* nothing(Wave&, const Inst* i) { return i + 1; }

// ---- Carry: masks come from vector compares -------------------------------------------------
// The carry out of bit 31 from the operands' and the result's top bits: mask_of wants only those, and
// two unsigned compares would cost three times as much.
struct CarryAdd {
  static U32 result(U32 a, U32 b, U32 in) { return a + b - in; }  // `in` is all ones (-1) or 0
  static U32 saturate(U32 r, U32 out) { return r | out; }
  static I32 carry(U32 a, U32 b, U32 in) { return bits<I32>((a & b) | ((a | b) & ~result(a, b, in))) >> 31; }
};
struct CarrySub {
  static U32 result(U32 a, U32 b, U32 in) { return a - b + in; }
  static U32 saturate(U32 r, U32 out) { return r & ~out; }
  static I32 carry(U32 a, U32 b, U32 in) { return bits<I32>((~a & b) | ((~a | b) & result(a, b, in))) >> 31; }
};
struct CarrySubRev : CarrySub {
  static U32 result(U32 a, U32 b, U32 in) { return CarrySub::result(b, a, in); }
  static I32 carry(U32 a, U32 b, U32 in) { return CarrySub::carry(b, a, in); }
};
// Carry-in is src2 (VCC in VOP2) and carry-out dst2; both are masks of all lanes.
template <class Op, bool has_input, bool clamps = false> struct Carry {
  template <K ka, K kb> struct Kinds {
    static const Inst* run(Wave& w, const Inst* i) {
      const U32 a = source<U32, ka>(w, i, i->src[0]), b = source<U32, kb>(w, i, i->src[1]);
      U32 in{};
      if constexpr (has_input) in = lane_mask(scalar<uint32_t>(w, i, i->src[2]));
      const I32 carry = Op::carry(a, b, in);
      U32 r = Op::result(a, b, in);
      if constexpr (clamps) r = Op::saturate(r, bits<U32>(carry));
      store<U32>(w, i->dst, r);
      set_scalar<uint32_t>(w, i->dst2, mask_of(carry) & exec_of(w));
      return i + 1;
    }
  };
  static Handler select(const Shape& s) {
    if constexpr (!clamps) {
      if (s.clamp) return Carry<Op, has_input, true>::select(s);
    }
    return select2<Kinds>(s);
  }
};

// ---- v_cndmask_b32: neg and abs apply as for f32 ----------------------------------------------
template <K ka, K kb> struct Select32 {
  static const Inst* run(Wave& w, const Inst* i) {
    const U32 a = source<U32, ka>(w, i, i->src[0]), b = source<U32, kb>(w, i, i->src[1]);
    const U32 mask = lane_mask(scalar<uint32_t>(w, i, i->src[2]));
    store<U32>(w, i->dst, (b & mask) | (a & ~mask));
    return i + 1;
  }
};
Handler select_cndmask(const Shape& s) {
  if (unmodified(s)) return select2<Select32>(s);
  return lanewise<[](raw32 a, raw32 b, lane_bit c) { return c ? b : a; }>;
}

// Additions whose VOP3 form may saturate: the wide form only where clamp is set.
template <auto wrapping, auto wide> Handler select_saturating(const Shape& s) { return s.clamp ? lanewise<wide> : fast<wrapping>(s); }

constexpr HandlerRow rows[] = {
    {"v_nop", always<nothing>},
    {"v_pipeflush", always<nothing>},
    {"v_mov_b32", select_unary<hot::Move, U32, U32>, own_all},
    {"v_cndmask_b32", select_cndmask, own_all},

    {"v_add_f32", hot::binary<hot::Add, [](float a, float b) { return sem::canon(a + b); }>, own_all},
    {"v_sub_f32", hot::binary<hot::Sub, [](float a, float b) { return sem::canon(a - b); }>, own_all},
    {"v_subrev_f32", hot::binary<hot::SubRev, [](float a, float b) { return sem::canon(b - a); }>, own_all},
    {"v_mul_f32", hot::binary<hot::Mul, [](float a, float b) { return sem::canon(a * b); }>, own_all},
    {"v_fma_f32", hot::ternary<hot::Fma, [](float a, float b, float c) { return sem::canon(sem::fma(a, b, c)); }>, own_all},
    {"v_fmac_f32", hot::accumulate<hot::Fma, [](float a, float b, float c) { return sem::canon(sem::fma(a, b, c)); }>, own_all},
    {"v_fmamk_f32", hot::ternary<hot::Fma, [](float a, float b, float c) { return sem::canon(sem::fma(a, b, c)); }>, own_all},  // K is src1
    {"v_fmaak_f32", hot::ternary<hot::Fma, [](float a, float b, float c) { return sem::canon(sem::fma(a, b, c)); }>, own_all},  // K is src2
    {"v_mul_dx9_zero_f32", fast<[](float a, float b) { return sem::mul_dx9(a, b); }>, own_all},
    {"v_fmac_dx9_zero_f32", lane_accumulate<[](float a, float b, float c) { return sem::fma_dx9(a, b, c); }>, own_all},
    {"v_fma_dx9_zero_f32", lane<[](float a, float b, float c) { return sem::fma_dx9(a, b, c); }>, own_all},
    {"v_mullit_f32", lane<[](float a, float b, float c) { return sem::mullit(a, b, c); }>, own_all},
    {"v_trunc_f32", fast<[](float a) { return sem::trunc(a); }>, own_all},
    {"v_ceil_f32", fast<[](float a) { return sem::ceil(a); }>, own_all},
    {"v_floor_f32", fast<[](float a) { return sem::floor(a); }>, own_all},
    {"v_rndne_f32", fast<[](float a) { return sem::rndne(a); }>, own_all},
    {"v_fract_f32", fast<[](float a) { return sem::fract(a); }>, own_all},
    {"v_frexp_exp_i32_f32", lane<[](float a) { return sem::frexp_exp(a); }>, own_all},
    {"v_frexp_mant_f32", lane<[](float a) { return sem::frexp_mant(a); }>, own_all},
    {"v_ldexp_f32", fast<[](float a, i32 e) { return sem::ldexp(a, e); }>, own_all},
    {"v_cubeid_f32", lane<[](float a, float b, float c) { return sem::cube_id(a, b, c); }>, own_all},
    {"v_cubesc_f32", lane<[](float a, float b, float c) { return sem::cube_sc(a, b, c); }>, own_all},
    {"v_cubetc_f32", lane<[](float a, float b, float c) { return sem::cube_tc(a, b, c); }>, own_all},
    {"v_cubema_f32", lane<[](float a, float b, float c) { return sem::cube_ma(a, b, c); }>, own_all},

    {"v_add_co_u32", Carry<CarryAdd, false>::select, own_all},
    {"v_sub_co_u32", Carry<CarrySub, false>::select, own_all},
    {"v_subrev_co_u32", Carry<CarrySubRev, false>::select, own_all},
    {"v_add_co_ci_u32", Carry<CarryAdd, true>::select, own_all},
    {"v_sub_co_ci_u32", Carry<CarrySub, true>::select, own_all},
    {"v_subrev_co_ci_u32", Carry<CarrySubRev, true>::select, own_all},
    {"v_add_nc_u32", select_saturating<[](u32 a, u32 b) { return a + b; }, [](u32 a, u32 b) { return exact<u32>(i64{a} + b); }>, own_all},
    {"v_sub_nc_u32", select_saturating<[](u32 a, u32 b) { return a - b; }, [](u32 a, u32 b) { return exact<u32>(i64{a} - b); }>, own_all},
    {"v_subrev_nc_u32", select_saturating<[](u32 a, u32 b) { return b - a; }, [](u32 a, u32 b) { return exact<u32>(i64{b} - a); }>, own_all},
    {"v_add_nc_i32", lane<[](i32 a, i32 b) { return exact<i32>(i64{a} + b); }>, own_all},
    {"v_sub_nc_i32", lane<[](i32 a, i32 b) { return exact<i32>(i64{a} - b); }>, own_all},
    {"v_mul_lo_u32", fast<[](u32 a, u32 b) { return a * b; }>, own_all},
    {"v_mul_hi_u32", fast<[](u32 a, u32 b) { return static_cast<u32>(u64{a} * b >> 32); }>, own_all},
    {"v_mul_hi_i32", fast<[](i32 a, i32 b) { return static_cast<i32>(i64{a} * b >> 32); }>, own_all},
    {"v_mul_u32_u24", select_saturating<[](u32 a, u32 b) { return (a & 0xFFFFFFu) * (b & 0xFFFFFFu); },
                                        [](u32 a, u32 b) { return exact<u32>(i64{a & 0xFFFFFFu} * (b & 0xFFFFFFu)); }>, own_all},
    {"v_mul_hi_u32_u24", lane<[](u32 a, u32 b) { return static_cast<u32>(u64{a & 0xFFFFFFu} * (b & 0xFFFFFFu) >> 32); }>, own_all},
    {"v_mul_i32_i24", lane<[](i32 a, i32 b) { return exact<i32>(i64{sem::signed24(a)} * sem::signed24(b)); }>, own_all},
    {"v_mul_hi_i32_i24", lane<[](i32 a, i32 b) { return static_cast<i32>(i64{sem::signed24(a)} * sem::signed24(b) >> 32); }>, own_all},
    {"v_mad_u32_u24", lane<[](u32 a, u32 b, u32 c) { return exact<u32>(i64{a & 0xFFFFFFu} * (b & 0xFFFFFFu) + c); }>, own_all},
    {"v_mad_i32_i24", lane<[](i32 a, i32 b, i32 c) { return exact<i32>(i64{sem::signed24(a)} * sem::signed24(b) + c); }>, own_all},
    {"v_mad_u32_u16", lane<[](u16 a, u16 b, u32 c) { return exact<u32>(i64{a} * b + c); }>, own_all},
    {"v_mad_i32_i16", lane<[](i16 a, i16 b, i32 c) { return exact<i32>(i64{a} * b + c); }>, own_all},
    {"v_min_i32", fast<[](i32 a, i32 b) { return sem::min(a, b); }>, own_all},
    {"v_max_i32", fast<[](i32 a, i32 b) { return sem::max(a, b); }>, own_all},
    {"v_min_u32", fast<[](u32 a, u32 b) { return sem::min(a, b); }>, own_all},
    {"v_max_u32", fast<[](u32 a, u32 b) { return sem::max(a, b); }>, own_all},
    {"v_min3_i32", lane<[](i32 a, i32 b, i32 c) { return sem::min3(a, b, c); }>, own_all},
    {"v_max3_i32", lane<[](i32 a, i32 b, i32 c) { return sem::max3(a, b, c); }>, own_all},
    {"v_med3_i32", lane<[](i32 a, i32 b, i32 c) { return sem::med3(a, b, c); }>, own_all},
    {"v_min3_u32", lane<[](u32 a, u32 b, u32 c) { return sem::min3(a, b, c); }>, own_all},
    {"v_max3_u32", lane<[](u32 a, u32 b, u32 c) { return sem::max3(a, b, c); }>, own_all},
    {"v_med3_u32", lane<[](u32 a, u32 b, u32 c) { return sem::med3(a, b, c); }>, own_all},
    {"v_minmax_i32", lane<[](i32 a, i32 b, i32 c) { return sem::minmax(a, b, c); }>, own_all},
    {"v_maxmin_i32", lane<[](i32 a, i32 b, i32 c) { return sem::maxmin(a, b, c); }>, own_all},
    {"v_minmax_u32", lane<[](u32 a, u32 b, u32 c) { return sem::minmax(a, b, c); }>, own_all},
    {"v_maxmin_u32", lane<[](u32 a, u32 b, u32 c) { return sem::maxmin(a, b, c); }>, own_all},

    {"v_and_b32", fast<[](u32 a, u32 b) { return a & b; }>, own_all},
    {"v_or_b32", fast<[](u32 a, u32 b) { return a | b; }>, own_all},
    {"v_xor_b32", fast<[](u32 a, u32 b) { return a ^ b; }>, own_all},
    {"v_xnor_b32", fast<[](u32 a, u32 b) { return ~(a ^ b); }>, own_all},
    {"v_not_b32", fast<[](u32 a) { return ~a; }>, own_all},
    {"v_and_or_b32", fast<[](u32 a, u32 b, u32 c) { return (a & b) | c; }>, own_all},
    {"v_or3_b32", fast<[](u32 a, u32 b, u32 c) { return a | b | c; }>, own_all},
    {"v_xor3_b32", fast<[](u32 a, u32 b, u32 c) { return a ^ b ^ c; }>, own_all},
    {"v_xad_u32", fast<[](u32 a, u32 b, u32 c) { return (a ^ b) + c; }>, own_all},
    {"v_add3_u32", fast<[](u32 a, u32 b, u32 c) { return a + b + c; }>, own_all},
    {"v_lshl_add_u32", fast<[](u32 a, u32 b, u32 c) { return (a << (b & 31)) + c; }>, own_all},
    {"v_add_lshl_u32", fast<[](u32 a, u32 b, u32 c) { return (a + b) << (c & 31); }>, own_all},
    {"v_lshl_or_b32", fast<[](u32 a, u32 b, u32 c) { return (a << (b & 31)) | c; }>, own_all},
    {"v_lshlrev_b32", fast<[](u32 n, u32 v) { return v << (n & 31); }>, own_all},
    {"v_lshrrev_b32", fast<[](u32 n, u32 v) { return (v >> (n & 31)); }>, own_all},
    {"v_ashrrev_i32", fast<[](u32 n, i32 v) { return (v >> (n & 31)); }>, own_all},
    {"v_bfe_u32", fast<[](u32 v, u32 o, u32 n) { return sem::bfe_u32(v, o, n); }>, own_all},
    {"v_bfe_i32", fast<[](i32 v, u32 o, u32 n) { return sem::bfe_i32(v, o, n); }>, own_all},
    {"v_bfi_b32", fast<[](u32 m, u32 a, u32 b) { return sem::bfi(m, a, b); }>, own_all},
    {"v_bfm_b32", lane<[](u32 n, u32 o) { return ((1u << (n & 31)) - 1u) << (o & 31); }>, own_all},
    {"v_bfrev_b32", lane<[](u32 v) { return sem::bfrev(v); }>, own_all},
    {"v_bcnt_u32_b32", lane<[](u32 v, u32 c) { return sem::popcount(v) + c; }>, own_all},
    {"v_clz_i32_u32", lane<[](u32 v) { return sem::clz_or_minus1(v); }>, own_all},
    {"v_ctz_i32_b32", lane<[](u32 v) { return sem::ctz_or_minus1(v); }>, own_all},
    {"v_cls_i32", lane<[](i32 v) { return sem::cls_or_minus1(v); }>, own_all},
    {"v_alignbit_b32", fast<[](u32 a, u32 b, u32 c) { return sem::align_right(a, b, c & 31); }>, own_all},
    {"v_alignbyte_b32", lane<[](u32 a, u32 b, u32 c) { return sem::align_right(a, b, (c & 3) * 8); }>, own_all},
    {"v_perm_b32", lane<[](u32 a, u32 b, u32 s) { return sem::perm(a, b, s); }>, own_all},
    {"v_lerp_u8", lane<[](u32 a, u32 b, u32 c) { return sem::lerp_u8(a, b, c); }>, own_all},
    {"v_sad_u8", lane<[](u32 a, u32 b, u32 c) { return exact<u32>(i64{sem::sad_u8(a, b)} + c); }>, own_all},
    {"v_sad_hi_u8", lane<[](u32 a, u32 b, u32 c) { return exact<u32>((i64{sem::sad_u8(a, b)} << 16) + c); }>, own_all},
    {"v_msad_u8", lane<[](u32 a, u32 b, u32 c) { return exact<u32>(i64{sem::msad_u8(a, b)} + c); }>, own_all},
    {"v_sad_u16", lane<[](u32 a, u32 b, u32 c) {
       return exact<u32>(i64{sem::distance(a & 0xFFFF, b & 0xFFFF)} + sem::distance(a >> 16, b >> 16) + c);
     }>, own_all},
    {"v_sad_u32", lane<[](u32 a, u32 b, u32 c) { return exact<u32>(i64{sem::distance(a, b)} + c); }>, own_all},
};

}  // namespace

const HandlerGroup group_valu32{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
