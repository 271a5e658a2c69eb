// VOPD: two operations in one instruction. Both halves read all their sources, accumulators
// included, before either result is written. The frequent pairs are compiled here as one handler
// each, under the name "v_dual_x::v_dual_y"; the decoder composes the others of the plain operations.
#include "emulator/isa/valu_hot.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

struct In { U32 a, b, accumulator, vcc; };  // what a half may look at; the unused is never loaded

struct Fmac { static constexpr bool accumulates = true, selects = false; USBGPU_INLINE static U32 apply(const In& in) { return hot::Fma::apply(in.a, in.b, in.accumulator); } };
#define USBGPU_HALF(NAME, RESULT)                                                  \
  struct NAME {                                                                    \
    static constexpr bool accumulates = false, selects = false;                    \
    USBGPU_INLINE static U32 apply(const In& in) { return RESULT; }                \
  };
USBGPU_HALF(Mul, hot::Mul::apply(in.a, in.b))
USBGPU_HALF(Add, hot::Add::apply(in.a, in.b))
USBGPU_HALF(Sub, hot::Sub::apply(in.a, in.b))
USBGPU_HALF(MaxIeee, hot::Max<true>::apply(in.a, in.b))
USBGPU_HALF(MaxNum, hot::Max<false>::apply(in.a, in.b))
USBGPU_HALF(Mov, in.a)
USBGPU_HALF(AddInteger, in.a + in.b)
USBGPU_HALF(ShiftLeft, in.b << (in.a & 31))
USBGPU_HALF(And, in.a & in.b)
#undef USBGPU_HALF
struct Cndmask { static constexpr bool accumulates = false, selects = true; USBGPU_INLINE static U32 apply(const In& in) { return (in.b & in.vcc) | (in.a & ~in.vcc); } };

template <class Op, K k> USBGPU_INLINE In load(Wave& w, const Inst* i, uint32_t src0, uint32_t src1, uint32_t dst) {
  In in;
  in.a = source<U32, k>(w, i, src0);
  in.b = load_lanes<U32>(w, src1);
  if constexpr (Op::accumulates) in.accumulator = load_lanes<U32>(w, dst);
  if constexpr (Op::selects) in.vcc = lane_mask(w.sgpr[kVcc]);
  return in;
}
template <class X, class Y> struct Pair {
  template <K kx, K ky> struct Kinds {
    static const Inst* run(Wave& w, const Inst* i) {
      const U32 x = X::apply(load<X, kx>(w, i, i->src[0], i->src[1], i->dst));
      const U32 y = Y::apply(load<Y, ky>(w, i, i->src[2], i->src3, i->dst2));
      store<U32>(w, i->dst, x);
      store<U32>(w, i->dst2, y);
      return i + 1;
    }
  };
  static constexpr bool needs_ieee = std::is_same_v<X, MaxIeee> || std::is_same_v<Y, MaxIeee>;
  static Handler select(const Shape& s) {  // bits 0 and 2: src0 of X, of Y
    if (needs_ieee && !s.ieee) return nullptr;
    Shape kinds = s;
    kinds.scalars = static_cast<uint8_t>((s.scalars & 1) | (s.scalars >> 1 & 2));
    return select2<Kinds>(kinds);
  }
};

#define PAIR(X, x, Y, y) {"v_dual_" x "::v_dual_" y, Pair<X, Y>::select},
#define WITH_Y(X, x)                                                                                                        \
  PAIR(X, x, Fmac, "fmac_f32") PAIR(X, x, Mul, "mul_f32") PAIR(X, x, Add, "add_f32") PAIR(X, x, Sub, "sub_f32")              \
  PAIR(X, x, MaxIeee, "max_f32") PAIR(X, x, MaxNum, "max_num_f32") PAIR(X, x, Mov, "mov_b32") PAIR(X, x, Cndmask, "cndmask_b32") PAIR(X, x, AddInteger, "add_nc_u32")                         \
  PAIR(X, x, ShiftLeft, "lshlrev_b32") PAIR(X, x, And, "and_b32")
constexpr HandlerRow rows[] = {
    WITH_Y(Fmac, "fmac_f32") WITH_Y(Mul, "mul_f32") WITH_Y(Add, "add_f32") WITH_Y(Sub, "sub_f32")
    WITH_Y(MaxIeee, "max_f32") WITH_Y(MaxNum, "max_num_f32") WITH_Y(Mov, "mov_b32") WITH_Y(Cndmask, "cndmask_b32")
};

}  // namespace

const HandlerGroup group_vopd{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
