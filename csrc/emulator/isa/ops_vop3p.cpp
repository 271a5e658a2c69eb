// Packed operations (two 16-bit lanes per register), dot products, mixed-precision fma.
#include "emulator/isa/semantics_gfx12.h"
#include "emulator/isa/valu.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

using sem::f16;
using sem::f32;

// Source n of one half of the result: opsel picks its half for the low result, opsel_hi for the
// high one; neg (floats) acts on the low result's operand, neg_hi on the high one's.
template <class T> USBGPU_INLINE void packed_source(Wave& w, const Inst* i, unsigned n, bool high, u16* out) {
  const unsigned shift = ((high ? i->opsel_hi : i->opsel) >> n & 1) ? 16 : 0;
  const u16 flip = sign_bit<T> && ((high ? i->neg_hi : i->neg) >> n & 1) ? 0x8000 : 0;
  U16 v = halves_of(raw_lanes<U32>(w, i, n), shift);
  if (flip) v ^= flip;
  __builtin_memcpy(out, &v, sizeof v);
}
template <auto f, class R, class... A> struct Packed {
  static const Inst* run(Wave& w, const Inst* i) { return with(w, i, std::index_sequence_for<A...>{}); }
  template <size_t... n> USBGPU_INLINE static const Inst* with(Wave& w, const Inst* i, std::index_sequence<n...>) {
    alignas(128) u16 half_result[2][kLanes];
    for (unsigned high = 0; high < 2; ++high) {
      alignas(128) u16 in[sizeof...(A)][kLanes];
      (packed_source<A>(w, i, n, high, in[n]), ...);
      compute(i, w.nan_clamps_to_zero, half_result[high], in[n]...);
    }
    U16 low, high;
    __builtin_memcpy(&low, half_result[0], sizeof low);
    __builtin_memcpy(&high, half_result[1], sizeof high);
    store<U32>(w, i->dst, convert<U32>(low) | convert<U32>(high) << 16);
    return i + 1;
  }
  template <class... P> USBGPU_INLINE static void compute(const Inst* i, bool nan_to_zero, u16* r, const P*... p) {
    if constexpr (is_saturating<R>::value) {
      alignas(128) int64_t sums[kLanes];
      for (unsigned lane = 0; lane < kLanes; ++lane) sums[lane] = f(sem::as<A>(p[lane])...).value;
      saturate<typename is_saturating<R>::type>(i, sums, r);
    } else {
      for (unsigned lane = 0; lane < kLanes; ++lane) r[lane] = sem::as<u16>(f(sem::as<A>(p[lane])...));
      if constexpr (std::is_same_v<R, half>)
        if (i->clamp)
          for (unsigned lane = 0; lane < kLanes; ++lane) r[lane] = f16(output(f32(half{r[lane]}), 0, true, nan_to_zero)).bits;
    }
  }
};
template <auto f> struct bind_packed {
  template <class R, class... A> using type = Packed<f, R, A...>;
};
template <auto f> Handler packed(const Shape&) { return signature_of<f>::template apply<bind_packed<f>::template type>::run; }

// v_pk_fmac_f16 (VOP2): no modifiers; the destination is the third operand.
const Inst* pk_fmac(Wave& w, const Inst* i) {
  alignas(128) uint32_t staged_a[kLanes], staged_b[kLanes], r[kLanes];
  const uint32_t *a = values<u32>(w, i, 0, staged_a), *b = values<u32>(w, i, 1, staged_b), *c = lanes_at(w, i->dst);
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const half low = sem::fma(half{sem::low16(a[lane])}, half{sem::low16(b[lane])}, half{sem::low16(c[lane])});
    const half high = sem::fma(half{sem::high16(a[lane])}, half{sem::high16(b[lane])}, half{sem::high16(c[lane])});
    r[lane] = sem::pair(low.bits, high.bits);
  }
  store<U32>(w, i->dst, lanes_of(r));
  return i + 1;
}

// ---- Dot products ------------------------------------------------------------------------------
// Two products of 16-bit floats onto an f32 accumulator: fused, low pair first. Hardware may differ
// by one ulp in the order of its sums.
template <class T> USBGPU_INLINE float dot2(u16 a0, u16 b0, u16 a1, u16 b1, float c) {
  return sem::canon(sem::fma(f32(T{a1}), f32(T{b1}), sem::fma(f32(T{a0}), f32(T{b0}), c)));
}
template <class T> const Inst* dot2_f32(Wave& w, const Inst* i) {
  alignas(128) u16 a[2][kLanes], b[2][kLanes];
  alignas(128) uint32_t staged[kLanes], r[kLanes];
  for (unsigned high = 0; high < 2; ++high) packed_source<T>(w, i, 0, high, a[high]), packed_source<T>(w, i, 1, high, b[high]);
  const uint32_t* c = values<float>(w, i, 2, staged);
  for (unsigned lane = 0; lane < kLanes; ++lane) r[lane] = sem::as<u32>(dot2<T>(a[0][lane], b[0][lane], a[1][lane], b[1][lane], sem::as<float>(c[lane])));
  results<float>(w, i, r);
  return i + 1;
}
template <class T> const Inst* dot2acc_f32(Wave& w, const Inst* i) {
  alignas(128) uint32_t staged_a[kLanes], staged_b[kLanes], r[kLanes];
  const uint32_t *a = values<u32>(w, i, 0, staged_a), *b = values<u32>(w, i, 1, staged_b), *c = lanes_at(w, i->dst);
  for (unsigned lane = 0; lane < kLanes; ++lane)
    r[lane] = sem::as<u32>(dot2<T>(sem::low16(a[lane]), sem::low16(b[lane]), sem::high16(a[lane]), sem::high16(b[lane]), sem::as<float>(c[lane])));
  results<float>(w, i, r);
  return i + 1;
}
// VOP3 forms with a 16-bit accumulator and result; the packed sources take no opsel.
USBGPU_INLINE half narrow(half, float x) { return f16(x); }
USBGPU_INLINE bfloat narrow(bfloat, float x) { return sem::bf16(x); }
template <class T> const Inst* dot2_16(Wave& w, const Inst* i) {
  alignas(128) uint32_t staged_a[kLanes], staged_b[kLanes];
  alignas(128) u16 staged_c[kLanes], r[kLanes];
  const uint32_t *a = values<u32>(w, i, 0, staged_a), *b = values<u32>(w, i, 1, staged_b);
  const u16* c = values<T>(w, i, 2, staged_c);
  for (unsigned lane = 0; lane < kLanes; ++lane)
    r[lane] = narrow(T{}, dot2<T>(sem::low16(a[lane]), sem::low16(b[lane]), sem::high16(a[lane]), sem::high16(b[lane]), f32(T{c[lane]}))).bits;
  results<T>(w, i, r);
  return i + 1;
}
// Integer dots. With signs_by_neg the operands' signedness is in neg bits 0 and 1.
template <unsigned kBits, bool signs_by_neg> const Inst* dot_integer(Wave& w, const Inst* i) {
  alignas(128) uint32_t staged[3][kLanes], r[kLanes];
  alignas(128) int64_t sums[kLanes];
  const uint32_t *a = values<u32>(w, i, 0, staged[0]), *b = values<u32>(w, i, 1, staged[1]), *c = values<u32>(w, i, 2, staged[2]);
  const bool a_signed = signs_by_neg && (i->neg & 1), b_signed = signs_by_neg && (i->neg & 2);
  for (unsigned lane = 0; lane < kLanes; ++lane)
    sums[lane] = sem::dot<kBits>(a[lane], b[lane], a_signed, b_signed) + (signs_by_neg ? i64{static_cast<i32>(c[lane])} : i64{c[lane]});
  if (signs_by_neg) saturate<i32>(i, sums, r);
  else saturate<u32>(i, sums, r);
  store<U32>(w, i->dst, lanes_of(r));
  return i + 1;
}

// ---- v_fma_mix: each source is an f32, or (opsel_hi) the half of a register that opsel names -------
USBGPU_INLINE void mix_source(Wave& w, const Inst* i, unsigned n, float* out) {
  const bool is_half = i->opsel_hi >> n & 1, neg = i->neg >> n & 1, abs = i->neg_hi >> n & 1;  // abs sits in neg_hi
  const unsigned shift = i->opsel >> n & 1 ? 16 : 0;
  const bool vector = is_vgpr(i->src[n]);
  const uint32_t* in = vector ? lanes_at(w, i->src[n]) : nullptr;
  uint32_t value = 0;
  if (!vector) {
    // an inline float constant takes the operand's format
    constexpr uint32_t first = offsetof(Wave, constant) + 8 * kConstF32, last = offsetof(Wave, constant) + 8 * kConstF64;
    const bool constant = i->src[n] >= first && i->src[n] < last;
    value = scalar<uint32_t>(w, i, i->src[n] + (constant && is_half ? 8 * (kConstF16 - kConstF32) : 0));
  }
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const uint32_t v = vector ? in[lane] : value;
    float x = is_half ? f32(half{static_cast<u16>(v >> shift)}) : sem::as<float>(v);
    x = sem::as<float>(modified<u32>(sem::as<u32>(x), 0x80000000u, abs, neg));
    out[lane] = x;
  }
}
enum class Mix { full, low, high };
template <Mix mix> const Inst* fma_mix(Wave& w, const Inst* i) {
  alignas(128) float a[kLanes], b[kLanes], c[kLanes];
  alignas(128) uint32_t r[kLanes];
  mix_source(w, i, 0, a), mix_source(w, i, 1, b), mix_source(w, i, 2, c);
  const uint32_t* old = lanes_at(w, i->dst);
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    // rounded to f32 first and then to f16, as the ISA document has it
    const float x = output(sem::canon(sem::fma(a[lane], b[lane], c[lane])), 0, i->clamp, w.nan_clamps_to_zero);
    if constexpr (mix == Mix::full) r[lane] = sem::as<u32>(x);
    else if constexpr (mix == Mix::low) r[lane] = sem::pair(f16(x).bits, sem::high16(old[lane]));
    else r[lane] = sem::pair(sem::low16(old[lane]), f16(x).bits);
  }
  store<U32>(w, i->dst, lanes_of(r));
  return i + 1;
}

constexpr HandlerRow rows[] = {
    {"v_pk_add_f16", packed<[](half a, half b) { return f16(f32(a) + f32(b)); }>, own_all},
    {"v_pk_mul_f16", packed<[](half a, half b) { return f16(f32(a) * f32(b)); }>, own_all},
    {"v_pk_fma_f16", packed<[](half a, half b, half c) { return sem::fma(a, b, c); }>, own_all},
    {"v_pk_min_f16", by_ieee<packed<[](half a, half b) { return sem::min(a, b); }>, packed<[](half a, half b) { return sem::min_ieee(a, b); }>>, own_all},
    {"v_pk_max_f16", by_ieee<packed<[](half a, half b) { return sem::max(a, b); }>, packed<[](half a, half b) { return sem::max_ieee(a, b); }>>, own_all},
    {"v_pk_minimum_f16", packed<[](half a, half b) { return sem::minimum(a, b); }>, own_all},
    {"v_pk_maximum_f16", packed<[](half a, half b) { return sem::maximum(a, b); }>, own_all},
    {"v_pk_fmac_f16", always<pk_fmac>, own_all},
    {"v_pk_add_u16", packed<[](u16 a, u16 b) { return exact<u16>(a + b); }>, own_all},
    {"v_pk_sub_u16", packed<[](u16 a, u16 b) { return exact<u16>(a - b); }>, own_all},
    {"v_pk_add_i16", packed<[](i16 a, i16 b) { return exact<i16>(a + b); }>, own_all},
    {"v_pk_sub_i16", packed<[](i16 a, i16 b) { return exact<i16>(a - b); }>, own_all},
    {"v_pk_mul_lo_u16", packed<[](u16 a, u16 b) { return exact<u16>(i64{a} * b); }>, own_all},
    {"v_pk_mad_u16", packed<[](u16 a, u16 b, u16 c) { return exact<u16>(i64{a} * b + c); }>, own_all},
    {"v_pk_mad_i16", packed<[](i16 a, i16 b, i16 c) { return exact<i16>(i64{a} * b + c); }>, own_all},
    {"v_pk_min_i16", packed<[](i16 a, i16 b) { return sem::min(a, b); }>, own_all},
    {"v_pk_max_i16", packed<[](i16 a, i16 b) { return sem::max(a, b); }>, own_all},
    {"v_pk_min_u16", packed<[](u16 a, u16 b) { return sem::min(a, b); }>, own_all},
    {"v_pk_max_u16", packed<[](u16 a, u16 b) { return sem::max(a, b); }>, own_all},
    {"v_pk_lshlrev_b16", packed<[](u16 n, u16 v) { return static_cast<u16>(v << (n & 15)); }>, own_all},
    {"v_pk_lshrrev_b16", packed<[](u16 n, u16 v) { return static_cast<u16>(v >> (n & 15)); }>, own_all},
    {"v_pk_ashrrev_i16", packed<[](u16 n, i16 v) { return static_cast<i16>(v >> (n & 15)); }>, own_all},

    {"v_dot2_f32_f16", always<dot2_f32<half>>, own_all},
    {"v_dot2_f32_bf16", always<dot2_f32<bfloat>>, own_all},
    {"v_dot2acc_f32_f16", always<dot2acc_f32<half>>, own_all},
    {"v_dot2acc_f32_bf16", always<dot2acc_f32<bfloat>>, own_all},  // exists as half of a VOPD only
    {"v_dot2_f16_f16", always<dot2_16<half>>, own_all},
    {"v_dot2_bf16_bf16", always<dot2_16<bfloat>>, own_all},
    {"v_dot4_i32_iu8", always<dot_integer<8, true>>, own_all},
    {"v_dot4_u32_u8", always<dot_integer<8, false>>, own_all},
    {"v_dot8_i32_iu4", always<dot_integer<4, true>>, own_all},
    {"v_dot8_u32_u4", always<dot_integer<4, false>>, own_all},

    {"v_fma_mix_f32", always<fma_mix<Mix::full>>, own_all},
    {"v_fma_mixlo_f16", always<fma_mix<Mix::low>>, own_all},
    {"v_fma_mixhi_f16", always<fma_mix<Mix::high>>, own_all},
};

}  // namespace

const HandlerGroup group_vop3p{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
