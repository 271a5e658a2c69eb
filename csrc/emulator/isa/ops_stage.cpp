// Micro-ops which the decoder puts around an instruction for modifiers its handler does not apply
// itself. They have mnemonics that begin with a dot. Sources: the decoder stages a modified source
// into a temporary VGPR; the operation then reads the temporary. Results: the operation writes a
// temporary and one of the micro-ops below finishes into the destination.
//
//   .mod_f16 .mod_f32 .mod_f64   dst = neg(abs(src0)) by neg, abs bit 0 (all lanes, EXEC ignored)
//   .half                        dst = src0 >> 16 (a source's high half)
//   .copy .copy64                dst = src0, all lanes (accumulators, VOPD's X result)
//   .clamp_f16/f32/f64           dst = omod, clamp of src0, under EXEC
//   .merge_low .merge_high       dst's half = low half of src0, under EXEC; the other half stays
//   .take_low .take_high         dst's half = the same half of src0, under EXEC
//   .move .move64                dst = src0 under EXEC
//   .flush_f16/f32/f64           dst = src0 with denormals as zeros of their sign, unless MODE's bit `imm` keeps
//                                them (all lanes; f16: both halves)
//   .round .round_end            the host rounds as MODE[imm+1:imm] says, until .round_end
//   .dpp16 .dpp8                 dst = src0 of the lanes that `imm` (the control dword) selects; lanes that are
//                                not written leave EXEC until .dpp_end. In ops_lane.cpp.
#include "emulator/isa/handler.h"
#include "emulator/isa/handlers.h"
#include "emulator/isa/host.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

USBGPU_INLINE void put(Wave& w, uint32_t offset, U32 v) { __builtin_memcpy(lanes_at(w, offset), &v, sizeof v); }

template <K k, uint32_t sign> const Inst* modify32(Wave& w, const Inst* i) {
  U32 v = source<U32, k>(w, i, i->src[0]);
  if (i->abs & 1) v &= ~(U32{} + sign);
  if (i->neg & 1) v ^= U32{} + sign;
  put(w, i->dst, v);
  return i + 1;
}
template <K k> const Inst* modify64(Wave& w, const Inst* i) {
  U64 v = source<U64, k>(w, i, i->src[0]);
  const U64 sign = U64{} + (uint64_t{1} << 63);
  if (i->abs & 1) v &= ~sign;
  if (i->neg & 1) v ^= sign;
  put(w, i->dst, convert<U32>(v));
  put(w, i->dst + 128, convert<U32>(v >> 32));
  return i + 1;
}
template <K k> const Inst* half(Wave& w, const Inst* i) {
  put(w, i->dst, source<U32, k>(w, i, i->src[0]) >> 16);
  return i + 1;
}
template <K k> const Inst* copy(Wave& w, const Inst* i) {
  put(w, i->dst, source<U32, k>(w, i, i->src[0]));
  return i + 1;
}
template <K k> const Inst* copy64(Wave& w, const Inst* i) {
  const U64 v = source<U64, k>(w, i, i->src[0]);
  put(w, i->dst, convert<U32>(v));
  put(w, i->dst + 128, convert<U32>(v >> 32));
  return i + 1;
}
const Inst* move(Wave& w, const Inst* i) {
  store<U32>(w, i->dst, load_lanes<U32>(w, i->src[0]));
  return i + 1;
}
const Inst* move64(Wave& w, const Inst* i) {
  store<U64>(w, i->dst, load_lanes<U64>(w, i->src[0]));
  return i + 1;
}

// Output modifiers. omod first, then clamp to [0, 1]; NaN clamps to 0 (DX10_CLAMP).
// Sources: RDNA3 ISA, 'Output modifiers'; omod is ignored where output denormals are enabled and in IEEE mode
// (LLVM, SIFoldOperands).
template <class V, class E> USBGPU_INLINE V finish(const Wave& w, V v, const Inst* i, unsigned denormal_bit) {
  const bool nan_to_zero = w.nan_clamps_to_zero;
  if (i->omod && !(w.mode >> denormal_bit & 1) && !(w.mode >> 9 & 1)) v = v * (V{} + (i->omod == 1 ? E(2) : i->omod == 2 ? E(4) : E(0.5)));
  if (i->clamp) {
    const V zero = V{}, one = zero + E(1);
    const V number = v > zero ? v : zero;  // false for NaN; -0 becomes +0
    v = nan_to_zero ? number : v == v ? number : v;
    v = v < one ? v : one;
  }
  return v;
}
const Inst* clamp32(Wave& w, const Inst* i) {
  store<F32>(w, i->dst, finish<F32, float>(w, load_lanes<F32>(w, i->src[0]), i, 5));
  return i + 1;
}
const Inst* clamp64(Wave& w, const Inst* i) {
  store<F64>(w, i->dst, finish<F64, double>(w, load_lanes<F64>(w, i->src[0]), i, 7));
  return i + 1;
}
// f16 is clamped on its bits: positive halves order like integers.
const Inst* clamp16(Wave& w, const Inst* i) {
  U32 v = load_lanes<U32>(w, i->src[0]) & 0xFFFFu;
  if (i->clamp) {
    const U32 nan = bits<U32>((v & 0x7FFFu) > 0x7C00u), negative = bits<U32>(v >= 0x8000u);
    v = (bits<U32>(v > 0x3C00u) & ~negative & ~nan & 0x3C00u) | (v & bits<U32>(v <= 0x3C00u));
  }
  const U32 old = load_lanes<U32>(w, i->dst);
  store<U32>(w, i->dst, (old & 0xFFFF0000u) | v);
  return i + 1;
}
const Inst* merge_low(Wave& w, const Inst* i) {
  store<U32>(w, i->dst, (load_lanes<U32>(w, i->dst) & 0xFFFF0000u) | (load_lanes<U32>(w, i->src[0]) & 0xFFFFu));
  return i + 1;
}
const Inst* merge_high(Wave& w, const Inst* i) {
  store<U32>(w, i->dst, (load_lanes<U32>(w, i->dst) & 0xFFFFu) | load_lanes<U32>(w, i->src[0]) << 16);
  return i + 1;
}

const Inst* take_high(Wave& w, const Inst* i) {
  store<U32>(w, i->dst, (load_lanes<U32>(w, i->dst) & 0xFFFFu) | (load_lanes<U32>(w, i->src[0]) & 0xFFFF0000u));
  return i + 1;
}

// ---- MODE --------------------------------------------------------------------------------------
USBGPU_INLINE bool keeps_denormals(const Wave& w, const Inst* i) { return w.mode >> i->imm & 1; }
template <K k> const Inst* flush16(Wave& w, const Inst* i) {
  U32 v = source<U32, k>(w, i, i->src[0]);
  if (!keeps_denormals(w, i)) {
    const U32 low = bits<U32>((v & 0x7C00u) == 0u) & 0x3FFu, high = bits<U32>((v & 0x7C000000u) == 0u) & 0x3FF0000u;
    v &= ~(low | high);
  }
  put(w, i->dst, v);
  return i + 1;
}
template <K k> const Inst* flush32(Wave& w, const Inst* i) {
  U32 v = source<U32, k>(w, i, i->src[0]);
  if (!keeps_denormals(w, i)) v &= ~(bits<U32>((v & 0x7F800000u) == 0u) & 0x7FFFFFu);
  put(w, i->dst, v);
  return i + 1;
}
template <K k> const Inst* flush64(Wave& w, const Inst* i) {
  const U64 v = source<U64, k>(w, i, i->src[0]);
  U32 low = convert<U32>(v), high = convert<U32>(v >> 32);
  if (!keeps_denormals(w, i)) {
    const U32 tiny = bits<U32>((high & 0x7FF00000u) == 0u);
    low &= ~tiny;
    high &= ~(tiny & 0xFFFFFu);
  }
  put(w, i->dst, low);
  put(w, i->dst + 128, high);
  return i + 1;
}
const Inst* round_by_mode(Wave& w, const Inst* i) {
  if (w.mode >> i->imm & 3) set_host_rounding(w.mode >> i->imm & 3);
  return i + 1;
}
const Inst* round_nearest(Wave& w, const Inst* i) {
  if (w.mode >> i->imm & 3) set_host_rounding(0);
  return i + 1;
}

template <Handler v, Handler s> Handler by_kind(const Shape& shape) { return shape.scalars & 1 ? s : v; }

constexpr HandlerRow rows[] = {
    {".mod_f16", by_kind<modify32<K::V, 0x8000u>, modify32<K::S, 0x8000u>>},
    {".mod_f32", by_kind<modify32<K::V, 0x80000000u>, modify32<K::S, 0x80000000u>>},
    {".mod_f64", by_kind<modify64<K::V>, modify64<K::S>>},
    {".half", by_kind<half<K::V>, half<K::S>>},
    {".copy", by_kind<copy<K::V>, copy<K::S>>},
    {".copy64", by_kind<copy64<K::V>, copy64<K::S>>},
    {".move", always<move>},
    {".move64", always<move64>},
    {".clamp_f16", always<clamp16>},
    {".clamp_f32", always<clamp32>},
    {".clamp_f64", always<clamp64>},
        {".merge_high", always<merge_high>},
    {".take_low", always<merge_low>},
    {".take_high", always<take_high>},
    {".flush_f16", by_kind<flush16<K::V>, flush16<K::S>>},
    {".flush_f32", by_kind<flush32<K::V>, flush32<K::S>>},
    {".flush_f64", by_kind<flush64<K::V>, flush64<K::S>>},
    {".round", always<round_by_mode>},
    {".round_end", always<round_nearest>},
};

}  // namespace

const HandlerGroup group_stage{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
