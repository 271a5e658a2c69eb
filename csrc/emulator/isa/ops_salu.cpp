// Scalar ALU: SOP1, SOP2, SOPC and the arithmetic of SOPK. RDNA3 ISA, 'Scalar ALU operations'.
// SCC: result != 0 for logic and shifts, carry for unsigned, signed overflow for signed addition.
#include "emulator/isa/handler.h"
#include "emulator/isa/handlers.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

using u32 = uint32_t;
using i32 = int32_t;
using u64 = uint64_t;
using i64 = int64_t;

// dst = op(a, b) with SCC = (result != 0)
template <class R, class A, class B, R (*op)(A, B)> const Inst* logic2(Wave& w, const Inst* i) {
  const R r = op(scalar<A>(w, i, i->src[0]), scalar<B>(w, i, i->src[1]));
  set_scalar<R>(w, i->dst, r);
  w.scc = r != 0;
  return i + 1;
}
// SCC unchanged
template <class R, class A, class B, R (*op)(A, B)> const Inst* plain2(Wave& w, const Inst* i) {
  set_scalar<R>(w, i->dst, op(scalar<A>(w, i, i->src[0]), scalar<B>(w, i, i->src[1])));
  return i + 1;
}
// the operation gives SCC itself
template <class R, class A, class B, R (*op)(A, B, u64&)> const Inst* carry2(Wave& w, const Inst* i) {
  u64 scc = w.scc;
  const R r = op(scalar<A>(w, i, i->src[0]), scalar<B>(w, i, i->src[1]), scc);
  set_scalar<R>(w, i->dst, r);
  w.scc = scc;
  return i + 1;
}
template <class R, class A, R (*op)(A)> const Inst* plain1(Wave& w, const Inst* i) {
  set_scalar<R>(w, i->dst, op(scalar<A>(w, i, i->src[0])));
  return i + 1;
}
template <class R, class A, R (*op)(A)> const Inst* logic1(Wave& w, const Inst* i) {
  const R r = op(scalar<A>(w, i, i->src[0]));
  set_scalar<R>(w, i->dst, r);
  w.scc = r != 0;
  return i + 1;
}
template <class A, class B, bool (*op)(A, B)> const Inst* compare(Wave& w, const Inst* i) {
  w.scc = op(scalar<A>(w, i, i->src[0]), scalar<B>(w, i, i->src[1]));
  return i + 1;
}
// SOPK: src[0] is the register, the constant sign- or zero-extends by its type
template <class A, bool (*op)(A, A)> const Inst* compare_k(Wave& w, const Inst* i) {
  const A k = static_cast<A>(static_cast<A>(-1) < 0 ? i->imm : static_cast<i32>(i->imm & 0xFFFF));
  w.scc = op(scalar<A>(w, i, i->src[0]), k);
  return i + 1;
}

// ---- operations ----------------------------------------------------------------------------
template <class T> T op_and(T a, T b) { return a & b; }
template <class T> T op_or(T a, T b) { return a | b; }
template <class T> T op_xor(T a, T b) { return a ^ b; }
template <class T> T op_nand(T a, T b) { return ~(a & b); }
template <class T> T op_nor(T a, T b) { return ~(a | b); }
template <class T> T op_xnor(T a, T b) { return ~(a ^ b); }
template <class T> T op_and_not0(T a, T b) { return ~a & b; }
template <class T> T op_or_not0(T a, T b) { return ~a | b; }
template <class T> T op_and_not1(T a, T b) { return a & ~b; }
template <class T> T op_or_not1(T a, T b) { return a | ~b; }
template <class T> T op_not(T a) { return ~a; }
template <class T> T op_same(T a) { return a; }

u32 add_u32(u32 a, u32 b, u64& scc) { u32 r = a + b; scc = r < a; return r; }
u32 sub_u32(u32 a, u32 b, u64& scc) { scc = b > a; return a - b; }
u32 add_i32(u32 a, u32 b, u64& scc) { u32 r = a + b; scc = (~(a ^ b) & (a ^ r)) >> 31; return r; }
u32 sub_i32(u32 a, u32 b, u64& scc) { u32 r = a - b; scc = ((a ^ b) & (a ^ r)) >> 31; return r; }
u32 addc(u32 a, u32 b, u64& scc) { u64 r = u64{a} + b + scc; scc = r >> 32; return static_cast<u32>(r); }
u32 subb(u32 a, u32 b, u64& scc) { u64 r = u64{a} - b - scc; scc = r >> 63; return static_cast<u32>(r); }
u32 absdiff(i32 a, i32 b) { u32 r = static_cast<u32>(a) - static_cast<u32>(b); return static_cast<i32>(r) < 0 ? 0u - r : r; }
template <class T, unsigned bits> T shl(T a, u32 b) { return a << (b & (bits - 1)); }
template <class T, unsigned bits> T shr(T a, u32 b) { return a >> (b & (bits - 1)); }
template <unsigned n> u32 lshl_add(u32 a, u32 b, u64& scc) { u64 r = (u64{a} << n) + b; scc = r >> 32 != 0; return static_cast<u32>(r); }
template <class T> T minimum(T a, T b, u64& scc) { scc = a < b; return scc ? a : b; }
template <class T> T maximum(T a, T b, u64& scc) { scc = a > b; return scc ? a : b; }
u32 bfe_u32(u32 a, u32 b) {
  const u32 offset = b & 31, width = b >> 16 & 127;
  const u64 mask = (u64{1} << (width > 63 ? 63 : width)) - 1;
  return static_cast<u32>(u64{a} >> offset & mask);
}
i32 bfe_i32(i32 a, u32 b) {
  const u32 offset = b & 31, width = b >> 16 & 127;
  if (width == 0) return 0;
  const i32 shifted = a >> offset;
  return width >= 32 ? shifted : static_cast<i32>(static_cast<u32>(shifted) << (32 - width)) >> (32 - width);
}
u64 bfe_u64(u64 a, u32 b) {
  const u32 offset = b & 63, width = b >> 16 & 127;
  return a >> offset & (width >= 64 ? ~u64{0} : (u64{1} << width) - 1);
}
i64 bfe_i64(i64 a, u32 b) {
  const u32 offset = b & 63, width = b >> 16 & 127;
  if (width == 0) return 0;
  const i64 shifted = a >> offset;
  return width >= 64 ? shifted : static_cast<i64>(static_cast<u64>(shifted) << (64 - width)) >> (64 - width);
}
u32 bfm32(u32 a, u32 b) { return ((1u << (a & 31)) - 1) << (b & 31); }
u64 bfm64(u32 a, u32 b) { return ((u64{1} << (a & 63)) - 1) << (b & 63); }
u32 mul(u32 a, u32 b) { return a * b; }
u32 mul_hi_u(u32 a, u32 b) { return static_cast<u32>(u64{a} * b >> 32); }
i32 mul_hi_i(i32 a, i32 b) { return static_cast<i32>(i64{a} * b >> 32); }
u32 pack_ll(u32 a, u32 b) { return (a & 0xFFFF) | b << 16; }
u32 pack_lh(u32 a, u32 b) { return (a & 0xFFFF) | (b & 0xFFFF0000u); }
u32 pack_hh(u32 a, u32 b) { return a >> 16 | (b & 0xFFFF0000u); }
u32 pack_hl(u32 a, u32 b) { return a >> 16 | b << 16; }

u32 brev32(u32 a) { return __builtin_bitreverse32(a); }
u64 brev64(u64 a) { return __builtin_bitreverse64(a); }
template <class T> i32 ctz(T a) { return a ? __builtin_ctzll(a) : -1; }
i32 clz32(u32 a) { return a ? __builtin_clz(a) : -1; }
i32 clz64(u64 a) { return a ? __builtin_clzll(a) : -1; }
i32 cls32(i32 a) { const u32 x = static_cast<u32>(a ^ (a >> 31)); return x ? __builtin_clz(x) : -1; }
i32 cls64(i64 a) { const u64 x = static_cast<u64>(a ^ (a >> 63)); return x ? __builtin_clzll(x) : -1; }
i32 sext8(u32 a) { return static_cast<int8_t>(a); }
i32 sext16(u32 a) { return static_cast<int16_t>(a); }
u32 magnitude(i32 a) { return a < 0 ? 0u - static_cast<u32>(a) : static_cast<u32>(a); }
template <class T> u32 bcnt1(T a) { return static_cast<u32>(__builtin_popcountll(a)); }
template <class T> u32 bcnt0(T a) { return static_cast<u32>(sizeof(T) * 8) - static_cast<u32>(__builtin_popcountll(a)); }
u64 bitreplicate(u32 a) {
  u64 r = 0;
  for (unsigned n = 0; n < 32; ++n) r |= u64{a >> n & 1} * 3 << (2 * n);
  return r;
}
template <class T> T quadmask(T a) {
  T r = 0;
  for (unsigned n = 0; n < sizeof(T) * 2; ++n) r |= T{(a >> (4 * n) & 15) != 0} << n;
  return r;
}
template <class T> T wqm(T a) {
  T r = 0;
  for (unsigned n = 0; n < sizeof(T) * 2; ++n)
    if (a >> (4 * n) & 15) r |= T{15} << (4 * n);
  return r;
}

template <class T> bool eq(T a, T b) { return a == b; }
template <class T> bool ne(T a, T b) { return a != b; }
template <class T> bool gt(T a, T b) { return a > b; }
template <class T> bool ge(T a, T b) { return a >= b; }
template <class T> bool lt(T a, T b) { return a < b; }
template <class T> bool le(T a, T b) { return a <= b; }
template <class T, bool value> bool bitcmp(T a, u32 b) { return (a >> (b & (sizeof(T) * 8 - 1)) & 1) == value; }

template <class T> const Inst* cselect(Wave& w, const Inst* i) {
  set_scalar<T>(w, i->dst, scalar<T>(w, i, w.scc ? i->src[0] : i->src[1]));
  return i + 1;
}
template <class T> const Inst* cmov(Wave& w, const Inst* i) {
  if (w.scc) set_scalar<T>(w, i->dst, scalar<T>(w, i, i->src[0]));
  return i + 1;
}
template <class T, bool value> const Inst* bitset(Wave& w, const Inst* i) {
  const T bit = T{1} << (scalar<u32>(w, i, i->src[0]) & (sizeof(T) * 8 - 1));
  const T old = scalar<T>(w, i, i->dst);
  set_scalar<T>(w, i->dst, value ? old | bit : old & ~bit);
  return i + 1;
}
// d = EXEC; EXEC = op(s, EXEC); SCC = EXEC != 0. In wave32 the b64 forms see EXEC_HI = 0.
template <class T, T (*op)(T, T)> const Inst* saveexec(Wave& w, const Inst* i) {
  const T s = scalar<T>(w, i, i->src[0]), exec = scalar<T>(w, i, sgpr_offset(kExec));
  const T r = op(s, exec);
  set_scalar<T>(w, i->dst, exec);
  set_scalar<T>(w, sgpr_offset(kExec), r);
  w.scc = r != 0;
  return i + 1;
}
// EXEC = op(s, EXEC); d = the new EXEC
template <class T, T (*op)(T, T)> const Inst* wrexec(Wave& w, const Inst* i) {
  const T r = op(scalar<T>(w, i, i->src[0]), scalar<T>(w, i, sgpr_offset(kExec)));
  set_scalar<T>(w, i->dst, r);
  set_scalar<T>(w, sgpr_offset(kExec), r);
  w.scc = r != 0;
  return i + 1;
}
// Indexed by M0; out of range reads give s0's slot only inside the file.
USBGPU_INLINE u32 indexed(const Wave& w, u32 offset, u32 index) {
  const u32 at = offset + 4 * index, limit = sgpr_offset(kScalarRegisters - 2);
  return at > limit ? offset : at;
}
template <class T> const Inst* movrels(Wave& w, const Inst* i) {
  set_scalar<T>(w, i->dst, scalar<T>(w, i, indexed(w, i->src[0], w.sgpr[kM0])));
  return i + 1;
}
template <class T> const Inst* movreld(Wave& w, const Inst* i) {
  set_scalar<T>(w, indexed(w, i->dst, w.sgpr[kM0]), scalar<T>(w, i, i->src[0]));
  return i + 1;
}
const Inst* movrelsd2(Wave& w, const Inst* i) {
  const u32 m0 = w.sgpr[kM0];
  set_scalar<u32>(w, indexed(w, i->dst, m0 >> 16 & 0x3FF), scalar<u32>(w, i, indexed(w, i->src[0], m0 & 0x3FF)));
  return i + 1;
}

const Inst* movk(Wave& w, const Inst* i) { set_scalar<i32>(w, i->dst, i->imm); return i + 1; }
const Inst* cmovk(Wave& w, const Inst* i) { if (w.scc) set_scalar<i32>(w, i->dst, i->imm); return i + 1; }
const Inst* addk(Wave& w, const Inst* i) {
  u64 scc;
  set_scalar<u32>(w, i->dst, add_i32(scalar<u32>(w, i, i->src[0]), static_cast<u32>(i->imm), scc));
  w.scc = scc;
  return i + 1;
}
const Inst* mulk(Wave& w, const Inst* i) {
  set_scalar<u32>(w, i->dst, scalar<u32>(w, i, i->src[0]) * static_cast<u32>(i->imm));
  return i + 1;
}

#define LOGIC(name, op) \
  {"s_" name "_b32", always<logic2<u32, u32, u32, op<u32>>>}, {"s_" name "_b64", always<logic2<u64, u64, u64, op<u64>>>}
#define SAVEEXEC(name, op) \
  {"s_" name "_saveexec_b32", always<saveexec<u32, op<u32>>>}, {"s_" name "_saveexec_b64", always<saveexec<u64, op<u64>>>}
#define COMPARE(name, op) \
  {"s_cmp_" name "_i32", always<compare<i32, i32, op<i32>>>}, {"s_cmp_" name "_u32", always<compare<u32, u32, op<u32>>>}, \
  {"s_cmpk_" name "_i32", always<compare_k<i32, op<i32>>>}, {"s_cmpk_" name "_u32", always<compare_k<u32, op<u32>>>}

constexpr HandlerRow rows[] = {
    {"s_add_u32", always<carry2<u32, u32, u32, add_u32>>}, {"s_sub_u32", always<carry2<u32, u32, u32, sub_u32>>},
    {"s_add_i32", always<carry2<u32, u32, u32, add_i32>>}, {"s_sub_i32", always<carry2<u32, u32, u32, sub_i32>>},
    {"s_addc_u32", always<carry2<u32, u32, u32, addc>>}, {"s_subb_u32", always<carry2<u32, u32, u32, subb>>},
    {"s_absdiff_i32", always<logic2<u32, i32, i32, absdiff>>},
    {"s_lshl_b32", always<logic2<u32, u32, u32, shl<u32, 32>>>}, {"s_lshl_b64", always<logic2<u64, u64, u32, shl<u64, 64>>>},
    {"s_lshr_b32", always<logic2<u32, u32, u32, shr<u32, 32>>>}, {"s_lshr_b64", always<logic2<u64, u64, u32, shr<u64, 64>>>},
    {"s_ashr_i32", always<logic2<i32, i32, u32, shr<i32, 32>>>}, {"s_ashr_i64", always<logic2<i64, i64, u32, shr<i64, 64>>>},
    {"s_lshl1_add_u32", always<carry2<u32, u32, u32, lshl_add<1>>>}, {"s_lshl2_add_u32", always<carry2<u32, u32, u32, lshl_add<2>>>},
    {"s_lshl3_add_u32", always<carry2<u32, u32, u32, lshl_add<3>>>}, {"s_lshl4_add_u32", always<carry2<u32, u32, u32, lshl_add<4>>>},
    {"s_min_i32", always<carry2<i32, i32, i32, minimum<i32>>>}, {"s_min_u32", always<carry2<u32, u32, u32, minimum<u32>>>},
    {"s_max_i32", always<carry2<i32, i32, i32, maximum<i32>>>}, {"s_max_u32", always<carry2<u32, u32, u32, maximum<u32>>>},
    LOGIC("and", op_and), LOGIC("or", op_or), LOGIC("xor", op_xor), LOGIC("nand", op_nand), LOGIC("nor", op_nor),
    LOGIC("xnor", op_xnor), LOGIC("and_not1", op_and_not1), LOGIC("or_not1", op_or_not1),
    {"s_bfe_u32", always<logic2<u32, u32, u32, bfe_u32>>}, {"s_bfe_i32", always<logic2<i32, i32, u32, bfe_i32>>},
    {"s_bfe_u64", always<logic2<u64, u64, u32, bfe_u64>>}, {"s_bfe_i64", always<logic2<i64, i64, u32, bfe_i64>>},
    {"s_bfm_b32", always<plain2<u32, u32, u32, bfm32>>}, {"s_bfm_b64", always<plain2<u64, u32, u32, bfm64>>},
    {"s_mul_i32", always<plain2<u32, u32, u32, mul>>}, {"s_mul_hi_u32", always<plain2<u32, u32, u32, mul_hi_u>>},
    {"s_mul_hi_i32", always<plain2<i32, i32, i32, mul_hi_i>>},
    {"s_cselect_b32", always<cselect<u32>>}, {"s_cselect_b64", always<cselect<u64>>},
    {"s_pack_ll_b32_b16", always<plain2<u32, u32, u32, pack_ll>>}, {"s_pack_lh_b32_b16", always<plain2<u32, u32, u32, pack_lh>>},
    {"s_pack_hh_b32_b16", always<plain2<u32, u32, u32, pack_hh>>}, {"s_pack_hl_b32_b16", always<plain2<u32, u32, u32, pack_hl>>},

    {"s_mov_b32", always<plain1<u32, u32, op_same<u32>>>}, {"s_mov_b64", always<plain1<u64, u64, op_same<u64>>>},
    {"s_cmov_b32", always<cmov<u32>>}, {"s_cmov_b64", always<cmov<u64>>},
    {"s_brev_b32", always<plain1<u32, u32, brev32>>}, {"s_brev_b64", always<plain1<u64, u64, brev64>>},
    {"s_ctz_i32_b32", always<plain1<i32, u32, ctz<u32>>>}, {"s_ctz_i32_b64", always<plain1<i32, u64, ctz<u64>>>},
    {"s_clz_i32_u32", always<plain1<i32, u32, clz32>>}, {"s_clz_i32_u64", always<plain1<i32, u64, clz64>>},
    {"s_cls_i32", always<plain1<i32, i32, cls32>>}, {"s_cls_i32_i64", always<plain1<i32, i64, cls64>>},
    {"s_sext_i32_i8", always<plain1<i32, u32, sext8>>}, {"s_sext_i32_i16", always<plain1<i32, u32, sext16>>},
    {"s_bitset0_b32", always<bitset<u32, false>>}, {"s_bitset0_b64", always<bitset<u64, false>>},
    {"s_bitset1_b32", always<bitset<u32, true>>}, {"s_bitset1_b64", always<bitset<u64, true>>},
    {"s_bitreplicate_b64_b32", always<plain1<u64, u32, bitreplicate>>},
    {"s_abs_i32", always<logic1<u32, i32, magnitude>>},
    {"s_bcnt0_i32_b32", always<logic1<u32, u32, bcnt0<u32>>>}, {"s_bcnt0_i32_b64", always<logic1<u32, u64, bcnt0<u64>>>},
    {"s_bcnt1_i32_b32", always<logic1<u32, u32, bcnt1<u32>>>}, {"s_bcnt1_i32_b64", always<logic1<u32, u64, bcnt1<u64>>>},
    {"s_quadmask_b32", always<logic1<u32, u32, quadmask<u32>>>}, {"s_quadmask_b64", always<logic1<u64, u64, quadmask<u64>>>},
    {"s_wqm_b32", always<logic1<u32, u32, wqm<u32>>>}, {"s_wqm_b64", always<logic1<u64, u64, wqm<u64>>>},
    {"s_not_b32", always<logic1<u32, u32, op_not<u32>>>}, {"s_not_b64", always<logic1<u64, u64, op_not<u64>>>},
    SAVEEXEC("and", op_and), SAVEEXEC("or", op_or), SAVEEXEC("xor", op_xor), SAVEEXEC("nand", op_nand), SAVEEXEC("nor", op_nor),
    SAVEEXEC("xnor", op_xnor), SAVEEXEC("and_not0", op_and_not0), SAVEEXEC("or_not0", op_or_not0),
    SAVEEXEC("and_not1", op_and_not1), SAVEEXEC("or_not1", op_or_not1),
    {"s_and_not0_wrexec_b32", always<wrexec<u32, op_and_not0<u32>>>}, {"s_and_not0_wrexec_b64", always<wrexec<u64, op_and_not0<u64>>>},
    {"s_and_not1_wrexec_b32", always<wrexec<u32, op_and_not1<u32>>>}, {"s_and_not1_wrexec_b64", always<wrexec<u64, op_and_not1<u64>>>},
    {"s_movrels_b32", always<movrels<u32>>}, {"s_movrels_b64", always<movrels<u64>>},
    {"s_movreld_b32", always<movreld<u32>>}, {"s_movreld_b64", always<movreld<u64>>}, {"s_movrelsd_2_b32", always<movrelsd2>},

    COMPARE("eq", eq), COMPARE("lg", ne), COMPARE("gt", gt), COMPARE("ge", ge), COMPARE("lt", lt), COMPARE("le", le),
    {"s_cmp_eq_u64", always<compare<u64, u64, eq<u64>>>}, {"s_cmp_lg_u64", always<compare<u64, u64, ne<u64>>>},
    {"s_bitcmp0_b32", always<compare<u32, u32, bitcmp<u32, false>>>}, {"s_bitcmp1_b32", always<compare<u32, u32, bitcmp<u32, true>>>},
    {"s_bitcmp0_b64", always<compare<u64, u32, bitcmp<u64, false>>>}, {"s_bitcmp1_b64", always<compare<u64, u32, bitcmp<u64, true>>>},
    {"s_movk_i32", always<movk>}, {"s_cmovk_i32", always<cmovk>}, {"s_addk_i32", always<addk>}, {"s_mulk_i32", always<mulk>},
};

}  // namespace

const HandlerGroup group_salu{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
