// 64-bit operations of the vector ALU: f64, 64-bit shifts and multiply-add, quad sums.
#include "emulator/isa/semantics_trans.h"
#include "emulator/isa/valu.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

// v_lshlrev_b64 is half of every address computation: the amount is mostly a constant.
template <K ka, K kb> struct ShiftLeft64 {
  static const Inst* run(Wave& w, const Inst* i) {
    const U64 v = source<U64, kb>(w, i, i->src[1]);
    if constexpr (ka == K::S) store<U64>(w, i->dst, v << (scalar<uint32_t>(w, i, i->src[0]) & 63));
    else store<U64>(w, i->dst, v << convert<U64>(source<U32, K::V>(w, i, i->src[0]) & 63));
    return i + 1;
  }
};

// v_mad_u64_u32, v_mad_i64_i32: 32 x 32 + 64 -> 64, carry-out of the sum to dst2 (mostly NULL).
// src2 may be an SGPR pair or constant of 64 bit.
template <bool is_signed, bool has_carry, bool clamps> const Inst* mad64(Wave& w, const Inst* i) {
  alignas(128) uint32_t staged_a[kLanes], staged_b[kLanes];
  alignas(128) uint64_t staged_c[kLanes], r[kLanes];
  const uint32_t *a = values<u32>(w, i, 0, staged_a), *b = values<u32>(w, i, 1, staged_b);
  const uint64_t* c = values<u64>(w, i, 2, staged_c);
  alignas(128) int32_t carry[kLanes];
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const uint64_t product = is_signed ? static_cast<uint64_t>(i64{static_cast<i32>(a[lane])} * static_cast<i32>(b[lane])) : u64{a[lane]} * b[lane];
    r[lane] = product + c[lane];
    if constexpr (has_carry || clamps) {
      // signed overflow, or the carry, of the 65-bit sum
      const bool over = is_signed ? static_cast<i64>((product ^ r[lane]) & (c[lane] ^ r[lane])) < 0 : r[lane] < product;
      carry[lane] = over ? -1 : 0;
      if constexpr (clamps) {
        const uint64_t limit = !is_signed ? ~u64{0} : static_cast<i64>(product) < 0 ? u64{1} << 63 : ~(u64{1} << 63);
        if (over) r[lane] = limit;
      }
    }
  }
  results<u64>(w, i, r);
  if constexpr (has_carry) set_scalar<uint32_t>(w, i->dst2, collect(carry) & exec_of(w));
  return i + 1;
}
template <bool is_signed> Handler select_mad64(const Shape& s) {
  if (s.clamp) return s.sdst_null ? mad64<is_signed, false, true> : mad64<is_signed, true, true>;
  return s.sdst_null ? mad64<is_signed, false, false> : mad64<is_signed, true, false>;
}

// v_mqsad_u32_u8: four masked sums of bytes onto four dwords, src2 and destination of 128 bit.
const Inst* mqsad_u32(Wave& w, const Inst* i) {
  uint64_t staged_a[kLanes];
  uint32_t staged_b[kLanes];
  alignas(128) uint32_t r[4][kLanes];
  const uint64_t* a = values<u64>(w, i, 0, staged_a);
  const uint32_t* b = values<u32>(w, i, 1, staged_b);
  const bool vector = is_vgpr(i->src[2]);
  for (unsigned n = 0; n < 4; ++n)
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      const uint32_t c = vector ? lanes_at(w, i->src[2])[n * kLanes + lane] : scalar<uint32_t>(w, i, i->src[2]);
      const uint32_t sum = sem::msad_u8(static_cast<u32>(a[lane] >> (8 * n)), b[lane]) + c;
      r[n][lane] = i->clamp && sum < c ? ~0u : sum;
    }
  for (unsigned n = 0; n < 4; ++n) store<U32>(w, i->dst + 128 * n, lanes_of(r[n]));
  return i + 1;
}

template <uint32_t (*sad)(uint32_t, uint32_t)> Handler select_quad_sad(const Shape& s) {
  return s.clamp ? lanewise<[](u64 a, u32 b, u64 c) { return sem::quad_sad<sad, true>(a, b, c); }>
                 : lanewise<[](u64 a, u32 b, u64 c) { return sem::quad_sad<sad, false>(a, b, c); }>;
}

constexpr HandlerRow rows[] = {
    {"v_add_f64", lane<[](double a, double b) { return sem::canon(a + b); }>, own_all},
    {"v_mul_f64", lane<[](double a, double b) { return sem::canon(a * b); }>, own_all},
    {"v_fma_f64", lane<[](double a, double b, double c) { return sem::canon(sem::fma(a, b, c)); }>, own_all},
    {"v_trunc_f64", lane<[](double a) { return sem::trunc(a); }>, own_all},
    {"v_ceil_f64", lane<[](double a) { return sem::ceil(a); }>, own_all},
    {"v_floor_f64", lane<[](double a) { return sem::floor(a); }>, own_all},
    {"v_rndne_f64", lane<[](double a) { return sem::rndne(a); }>, own_all},
    {"v_fract_f64", lane<[](double a) { return sem::fract(a); }>, own_all},
    {"v_frexp_exp_i32_f64", lane<[](double a) { return sem::frexp_exp(a); }>, own_all},
    {"v_frexp_mant_f64", lane<[](double a) { return sem::frexp_mant(a); }>, own_all},
    {"v_ldexp_f64", lane<[](double a, i32 e) { return sem::ldexp(a, e); }>, own_all},
    {"v_rcp_f64", lane_approximate<[](double a) { return sem::rcp_f64(a); }>, own_all},
    {"v_rsq_f64", lane_approximate<[](double a) { return sem::rsq_f64(a); }>, own_all},
    {"v_sqrt_f64", lane_approximate<[](double a) { return sem::sqrt_f64(a); }>, own_all},
    {"v_trig_preop_f64", lane<[](double a, u32 segment) { return sem::trig_preop(a, segment); }>, own_all},

    {"v_lshlrev_b64", select2<ShiftLeft64>, own_all},
    {"v_lshrrev_b64", lane<[](u32 n, u64 v) { return (v >> (n & 63)); }>, own_all},
    {"v_ashrrev_i64", lane<[](u32 n, i64 v) { return (v >> (n & 63)); }>, own_all},
    {"v_mad_u64_u32", select_mad64<false>, own_all},
    {"v_mad_i64_i32", select_mad64<true>, own_all},
    {"v_qsad_pk_u16_u8", select_quad_sad<sem::sad_u8>, own_all},
    {"v_mqsad_pk_u16_u8", select_quad_sad<sem::msad_u8>, own_all},
    {"v_mqsad_u32_u8", always<mqsad_u32>, own_all},
};

}  // namespace

const HandlerGroup group_valu64{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
