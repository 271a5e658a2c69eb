// Vector operations that RDNA4 adds: minimum and maximum which propagate NaN, 8-bit floats, and the transcendental
// operations on SGPRs (v_s_*), which ignore EXEC.
#include "emulator/isa/semantics_gfx12.h"
#include "emulator/isa/semantics_trans.h"
#include "emulator/isa/valu.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

using sem::f32;
using sem::maximum;
using sem::minimum;

constexpr uint32_t kFp16Ovfl = 1u << 23;  // MODE: results that overflow become the largest number

// ---- 8-bit floats ------------------------------------------------------------------------------------
// opsel[1:0] selects the byte, with its two bits exchanged.
template <class T> const Inst* from_byte(Wave& w, const Inst* i) {
  constexpr uint8_t kByte[] = {0, 2, 1, 3};
  alignas(128) uint32_t staged[kLanes], r[kLanes];
  const uint32_t* in = values<u32>(w, i, 0, staged);
  const unsigned shift = 8u * kByte[i->opsel & 3];
  for (unsigned lane = 0; lane < kLanes; ++lane) r[lane] = sem::as<u32>(f32(T{static_cast<uint8_t>(in[lane] >> shift)}));
  results<float>(w, i, r);
  return i + 1;
}
template <class T> USBGPU_INLINE u64 from_pair(u16 v) {
  return sem::as<u32>(f32(T{static_cast<uint8_t>(v)})) | u64{sem::as<u32>(f32(T{static_cast<uint8_t>(v >> 8)}))} << 32;
}
template <class T> const Inst* to_pair(Wave& w, const Inst* i) {
  alignas(128) uint32_t staged[2][kLanes];
  alignas(128) uint16_t r[kLanes];
  const uint32_t *a = values<float>(w, i, 0, staged[0]), *b = values<float>(w, i, 1, staged[1]);
  const bool saturate = w.mode & kFp16Ovfl;
  for (unsigned lane = 0; lane < kLanes; ++lane)
    r[lane] = static_cast<u16>(sem::to_small(T{}, sem::as<float>(a[lane]), nullptr, saturate) |
                               sem::to_small(T{}, sem::as<float>(b[lane]), nullptr, saturate) << 8);
  store_halves(w, i, r);
  return i + 1;
}
// Stochastic rounding by the bits of src1; opsel[3:2] is the byte that is written, the others stay.
template <class T> const Inst* to_byte(Wave& w, const Inst* i) {
  alignas(128) uint32_t staged[2][kLanes], r[kLanes];
  const uint32_t *a = values<float>(w, i, 0, staged[0]), *random = values<u32>(w, i, 1, staged[1]), *old = lanes_at(w, i->dst);
  const unsigned shift = 8u * (i->opsel >> 2 & 3);
  const bool saturate = w.mode & kFp16Ovfl;
  for (unsigned lane = 0; lane < kLanes; ++lane)
    r[lane] = (old[lane] & ~(0xFFu << shift)) | u32{sem::to_small(T{}, sem::as<float>(a[lane]), &random[lane], saturate)} << shift;
  store<U32>(w, i->dst, lanes_of(r));
  return i + 1;
}
// Products are exact in f32; the sums are in the order of the bytes.
template <class A, class B> const Inst* dot4(Wave& w, const Inst* i) {
  alignas(128) uint32_t staged[3][kLanes], r[kLanes];
  const uint32_t *a = values<u32>(w, i, 0, staged[0]), *b = values<u32>(w, i, 1, staged[1]), *c = values<u32>(w, i, 2, staged[2]);
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    float sum = sem::as<float>(modified<u32>(c[lane], 0x80000000u, i->neg_hi & 4, i->neg & 4));
    for (unsigned n = 0; n < 4; ++n) sum += f32(A{static_cast<uint8_t>(a[lane] >> 8 * n)}) * f32(B{static_cast<uint8_t>(b[lane] >> 8 * n)});
    r[lane] = sem::as<u32>(sem::canon(sum));
  }
  store<U32>(w, i->dst, lanes_of(r));
  return i + 1;
}

// ---- Transcendental operations on SGPRs -------------------------------------------------------------
template <class T> USBGPU_INLINE T scalar_operand(Wave& w, const Inst* i) {
  const u32 v = scalar<u32>(w, i, i->src[0]);
  if constexpr (sizeof(T) == 2) return T{modified<u16>(static_cast<u16>(i->opsel & 1 ? v >> 16 : v), 0x8000, i->abs & 1, i->neg & 1)};
  else return sem::as<float>(modified<u32>(v, 0x80000000u, i->abs & 1, i->neg & 1));
}
template <auto f, class R, class A> struct OnScalar {
  static const Inst* run(Wave& w, const Inst* i) {
    const R r = f(scalar_operand<A>(w, i));
    const unsigned denormals = w.mode >> (sizeof(R) == 4 ? 5 : 7) & 1;
    u32 b;
    if constexpr (sizeof(R) == 2) b = sem::f16(output(f32(r), denormals ? 0 : i->omod, i->clamp, true)).bits;
    else b = sem::as<u32>(output(r, denormals ? 0 : i->omod, i->clamp, true));
    constexpr u32 kInfinity = sizeof(R) == 2 ? 0x7C00u : 0x7F800000u;
    if (w.jitter && (b & kInfinity) != 0 && (b & kInfinity) != kInfinity) ++b;
    set_scalar<u32>(w, i->dst, b);
    return i + 1;
  }
};
template <auto f> struct bind_on_scalar {
  template <class R, class A> using type = OnScalar<f, R, A>;
};
template <auto f> constexpr Handler on_scalar = signature_of<f>::template apply<bind_on_scalar<f>::template type>::run;

constexpr HandlerRow rows[] = {
    {"v_minimum_f16", lane<[](half a, half b) { return minimum(a, b); }>, own_all},
    {"v_maximum_f16", lane<[](half a, half b) { return maximum(a, b); }>, own_all},
    {"v_minimum_f32", lane<[](float a, float b) { return minimum(a, b); }>, own_all},
    {"v_maximum_f32", lane<[](float a, float b) { return maximum(a, b); }>, own_all},
    {"v_minimum_f64", lane<[](double a, double b) { return minimum(a, b); }>, own_all},
    {"v_maximum_f64", lane<[](double a, double b) { return maximum(a, b); }>, own_all},
    {"v_minimum3_f16", lane<[](half a, half b, half c) { return minimum(minimum(a, b), c); }>, own_all},
    {"v_maximum3_f16", lane<[](half a, half b, half c) { return maximum(maximum(a, b), c); }>, own_all},
    {"v_minimum3_f32", lane<[](float a, float b, float c) { return minimum(minimum(a, b), c); }>, own_all},
    {"v_maximum3_f32", lane<[](float a, float b, float c) { return maximum(maximum(a, b), c); }>, own_all},
    {"v_minimummaximum_f16", lane<[](half a, half b, half c) { return maximum(minimum(a, b), c); }>, own_all},
    {"v_maximumminimum_f16", lane<[](half a, half b, half c) { return minimum(maximum(a, b), c); }>, own_all},
    {"v_minimummaximum_f32", lane<[](float a, float b, float c) { return maximum(minimum(a, b), c); }>, own_all},
    {"v_maximumminimum_f32", lane<[](float a, float b, float c) { return minimum(maximum(a, b), c); }>, own_all},

    {"v_cvt_f32_fp8", always<from_byte<fp8>>, own_all}, {"v_cvt_f32_bf8", always<from_byte<bf8>>, own_all},
    {"v_cvt_pk_f32_fp8", lane<[](u16 v) { return from_pair<fp8>(v); }>, own_all},
    {"v_cvt_pk_f32_bf8", lane<[](u16 v) { return from_pair<bf8>(v); }>, own_all},
    {"v_cvt_pk_fp8_f32", always<to_pair<fp8>>, own_all}, {"v_cvt_pk_bf8_f32", always<to_pair<bf8>>, own_all},
    {"v_cvt_sr_fp8_f32", always<to_byte<fp8>>, own_all}, {"v_cvt_sr_bf8_f32", always<to_byte<bf8>>, own_all},
    {"v_dot4_f32_fp8_fp8", always<dot4<fp8, fp8>>, own_all}, {"v_dot4_f32_fp8_bf8", always<dot4<fp8, bf8>>, own_all},
    {"v_dot4_f32_bf8_fp8", always<dot4<bf8, fp8>>, own_all}, {"v_dot4_f32_bf8_bf8", always<dot4<bf8, bf8>>, own_all},

    {"v_s_exp_f32", always<on_scalar<[](float a) { return sem::exp_f32(a); }>>, own_all | whole_wave},
    {"v_s_log_f32", always<on_scalar<[](float a) { return sem::log_f32(a); }>>, own_all | whole_wave},
    {"v_s_rcp_f32", always<on_scalar<[](float a) { return sem::rcp_f32(a); }>>, own_all | whole_wave},
    {"v_s_rsq_f32", always<on_scalar<[](float a) { return sem::rsq_f32(a); }>>, own_all | whole_wave},
    {"v_s_sqrt_f32", always<on_scalar<[](float a) { return sem::sqrt_f32(a); }>>, own_all | whole_wave},
    {"v_s_exp_f16", always<on_scalar<[](half a) { return sem::exp_f16(a); }>>, own_all | whole_wave},
    {"v_s_log_f16", always<on_scalar<[](half a) { return sem::log_f16(a); }>>, own_all | whole_wave},
    {"v_s_rcp_f16", always<on_scalar<[](half a) { return sem::rcp_f16(a); }>>, own_all | whole_wave},
    {"v_s_rsq_f16", always<on_scalar<[](half a) { return sem::rsq_f16(a); }>>, own_all | whole_wave},
    {"v_s_sqrt_f16", always<on_scalar<[](half a) { return sem::sqrt_f16(a); }>>, own_all | whole_wave},
};

}  // namespace

const HandlerGroup group_valu_gfx12{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
