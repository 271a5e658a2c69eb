// Floating point of the scalar ALU (gfx12), and its 64-bit additions. The functions are those of the vector ALU, on
// one value; a 16-bit result has a zero upper half. RDNA4 ISA, SOP1, SOP2, SOPC.
#include "emulator/isa/host.h"
#include "emulator/isa/semantics_gfx12.h"
#include "emulator/isa/valu.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

using sem::f16;
using sem::f32;

template <class T> USBGPU_INLINE T operand(Wave& w, const Inst* i, uint32_t offset) {
  if constexpr (sizeof(T) == 2) return sem::as<T>(static_cast<u16>(scalar<u32>(w, i, offset)));
  else return scalar<T>(w, i, offset);
}
template <class R> USBGPU_INLINE void result(Wave& w, const Inst* i, R r) {
  if constexpr (sizeof(R) == 2) set_scalar<u32>(w, i->dst, sem::as<u16>(r));
  else set_scalar<R>(w, i->dst, r);
}

// MODE other than the usual: denormals of operands and results, rounding around the operation.
template <class T> USBGPU_INLINE T flushed(const Wave& w, T v, bool is_result) {
  if constexpr (std::is_same_v<T, float>) return w.mode >> (4 + is_result) & 1 ? v : sem::flush(v);
  else if constexpr (std::is_same_v<T, half>) return (w.mode >> (6 + is_result) & 1) || (v.bits & 0x7C00u) ? v : half{static_cast<u16>(v.bits & 0x8000u)};
  else return v;
}
template <class T> USBGPU_INLINE T opaque(T v) {  // keeps the operation between the two changes of the rounding direction
  __asm__ volatile("" : "+m"(v) : : "memory");
  return v;
}
template <auto f, class R, class... A> [[gnu::noinline]] R by_mode(const Wave& w, A... a) {
  set_host_rounding(w.mode >> (std::is_same_v<R, half> ? 2 : 0) & 3);
  const R r = opaque(f(opaque(flushed(w, a, false))...));
  set_host_rounding(0);
  return flushed(w, r, true);
}

template <auto f, bool accumulate, class R, class... A> struct Scalar {
  static const Inst* run(Wave& w, const Inst* i) { return with(w, i, std::index_sequence_for<A...>{}); }
  template <size_t... n> USBGPU_INLINE static const Inst* with(Wave& w, const Inst* i, std::index_sequence<n...>) {
    const auto at = [&](size_t k) { return accumulate && k == sizeof...(A) - 1 ? i->dst : i->src[k]; };
    const R r = __builtin_expect(w.variant & kAnyMode, 0) ? by_mode<f, R, A...>(w, operand<A>(w, i, at(n))...) : f(operand<A>(w, i, at(n))...);
    if constexpr (std::is_same_v<R, bool>) w.scc = r;
    else result<R>(w, i, r);
    return i + 1;
  }
};
template <auto f, bool accumulate> struct bind_scalar {
  template <class R, class... A> using type = Scalar<f, accumulate, R, A...>;
};
template <auto f> constexpr Handler scalar_op = signature_of<f>::template apply<bind_scalar<f, false>::template type>::run;
template <auto f> constexpr Handler scalar_accumulate = signature_of<f>::template apply<bind_scalar<f, true>::template type>::run;

// K is the literal: s_fmaak a * b + K, s_fmamk a * K + b
template <bool addend> const Inst* fma_literal(Wave& w, const Inst* i) {
  const float a = operand<float>(w, i, i->src[0]), b = operand<float>(w, i, i->src[1]), k = sem::as<float>(static_cast<u32>(i->literal));
  constexpr auto fma = [](float x, float y, float z) { return sem::canon(sem::fma(x, y, z)); };
  const float y = addend ? b : k, z = addend ? k : b;
  result(w, i, __builtin_expect(w.variant & kAnyMode, 0) ? by_mode<fma, float>(w, a, y, z) : fma(a, y, z));
  return i + 1;
}
const Inst* cvt_hi_f32_f16(Wave& w, const Inst* i) {
  result(w, i, sem::canon(f32(half{sem::high16(scalar<u32>(w, i, i->src[0]))})));
  return i + 1;
}

#define COMPARE(name, condition)                                                              \
  {"s_cmp_" name "_f32", always<scalar_op<[](float a, float b) -> bool { return condition; }>>}, \
  {"s_cmp_" name "_f16", always<scalar_op<[](half x, half y) -> bool { const float a = f32(x), b = f32(y); return condition; }>>}

constexpr HandlerRow rows[] = {
    {"s_add_f32", always<scalar_op<[](float a, float b) { return sem::canon(a + b); }>>},
    {"s_sub_f32", always<scalar_op<[](float a, float b) { return sem::canon(a - b); }>>},
    {"s_mul_f32", always<scalar_op<[](float a, float b) { return sem::canon(a * b); }>>},
    {"s_fmac_f32", always<scalar_accumulate<[](float a, float b, float c) { return sem::canon(sem::fma(a, b, c)); }>>},
    {"s_fmaak_f32", always<fma_literal<true>>}, {"s_fmamk_f32", always<fma_literal<false>>},
    {"s_min_f32", always<scalar_op<[](float a, float b) { return sem::min(a, b); }>>},
    {"s_max_f32", always<scalar_op<[](float a, float b) { return sem::max(a, b); }>>},
    {"s_minimum_f32", always<scalar_op<[](float a, float b) { return sem::minimum(a, b); }>>},
    {"s_maximum_f32", always<scalar_op<[](float a, float b) { return sem::maximum(a, b); }>>},
    {"s_ceil_f32", always<scalar_op<[](float a) { return sem::ceil(a); }>>},
    {"s_floor_f32", always<scalar_op<[](float a) { return sem::floor(a); }>>},
    {"s_trunc_f32", always<scalar_op<[](float a) { return sem::trunc(a); }>>},
    {"s_rndne_f32", always<scalar_op<[](float a) { return sem::rndne(a); }>>},

    {"s_add_f16", always<scalar_op<[](half a, half b) { return f16(f32(a) + f32(b)); }>>},
    {"s_sub_f16", always<scalar_op<[](half a, half b) { return f16(f32(a) - f32(b)); }>>},
    {"s_mul_f16", always<scalar_op<[](half a, half b) { return f16(f32(a) * f32(b)); }>>},
    {"s_fmac_f16", always<scalar_accumulate<[](half a, half b, half c) { return sem::fma(a, b, c); }>>},
    {"s_min_f16", always<scalar_op<[](half a, half b) { return sem::min(a, b); }>>},
    {"s_max_f16", always<scalar_op<[](half a, half b) { return sem::max(a, b); }>>},
    {"s_minimum_f16", always<scalar_op<[](half a, half b) { return sem::minimum(a, b); }>>},
    {"s_maximum_f16", always<scalar_op<[](half a, half b) { return sem::maximum(a, b); }>>},
    {"s_ceil_f16", always<scalar_op<[](half a) { return f16(sem::ceil(f32(a))); }>>},
    {"s_floor_f16", always<scalar_op<[](half a) { return f16(sem::floor(f32(a))); }>>},
    {"s_trunc_f16", always<scalar_op<[](half a) { return f16(sem::trunc(f32(a))); }>>},
    {"s_rndne_f16", always<scalar_op<[](half a) { return f16(sem::rndne(f32(a))); }>>},

    {"s_cvt_f32_i32", always<scalar_op<[](i32 a) { return static_cast<float>(a); }>>},
    {"s_cvt_f32_u32", always<scalar_op<[](u32 a) { return static_cast<float>(a); }>>},
    {"s_cvt_i32_f32", always<scalar_op<[](float a) { return sem::i32(a); }>>},
    {"s_cvt_u32_f32", always<scalar_op<[](float a) { return sem::u32(a); }>>},
    {"s_cvt_f16_f32", always<scalar_op<[](float a) { return f16(a); }>>},
    {"s_cvt_f32_f16", always<scalar_op<[](half a) { return sem::canon(f32(a)); }>>},
    {"s_cvt_hi_f32_f16", always<cvt_hi_f32_f16>},
    {"s_cvt_pk_rtz_f16_f32", always<scalar_op<[](float a, float b) { return sem::pair(sem::f16_rtz(a).bits, sem::f16_rtz(b).bits); }>>},

    COMPARE("lt", a < b), COMPARE("eq", a == b), COMPARE("le", a <= b), COMPARE("gt", a > b), COMPARE("lg", a < b || a > b),
    COMPARE("ge", a >= b), COMPARE("o", a == a && b == b), COMPARE("u", a != a || b != b), COMPARE("nge", !(a >= b)),
    COMPARE("nlg", !(a < b || a > b)), COMPARE("ngt", !(a > b)), COMPARE("nle", !(a <= b)), COMPARE("neq", !(a == b)),
    COMPARE("nlt", !(a < b)),

    {"s_add_nc_u64", always<scalar_op<[](u64 a, u64 b) { return a + b; }>>},
    {"s_sub_nc_u64", always<scalar_op<[](u64 a, u64 b) { return a - b; }>>},
    {"s_mul_u64", always<scalar_op<[](u64 a, u64 b) { return a * b; }>>},
};

}  // namespace

const HandlerGroup group_salu_float{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
