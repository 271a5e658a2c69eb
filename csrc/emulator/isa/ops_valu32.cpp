// 32-bit VALU operations.
#include "emulator/isa/handler.h"
#include "emulator/isa/handlers.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

struct Move { static U32 apply(U32 a) { return a; } };
struct AddF32 { static F32 apply(F32 a, F32 b) { return a + b; } };
struct GreaterU32 { static I32 apply(U32 a, U32 b) { return bits<I32>(a > b); } };

// v_add_co_ci_u32: the carry-in mask is src2 (VCC in VOP2), the carry-out mask dst2.
template <K ka, K kb> struct AddCarry {
  static const Inst* run(Wave& w, const Inst* i) {
    const U32 a = source<U32, ka>(w, i, i->src[0]), b = source<U32, kb>(w, i, i->src[1]);
    const U32 in = lane_mask(scalar<uint32_t>(w, i, i->src[2]));  // all ones = -1
    const U32 partial = a + b, sum = partial - in;
    const I32 out = bits<I32>(partial < a) | bits<I32>(sum < partial);
    store<U32>(w, i->dst, sum);
    set_scalar<uint32_t>(w, i->dst2, mask_of(out) & exec_of(w));
    return i + 1;
  }
};

constexpr HandlerRow rows[] = {
    {"v_mov_b32", select_unary<Move, U32, U32>},
    {"v_add_f32", select_binary<AddF32, F32>},
    {"v_cmp_gt_u32", select_compare<GreaterU32, U32>},
    {"v_add_co_ci_u32", select2<AddCarry>},
};

}  // namespace

const HandlerGroup group_valu32{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
