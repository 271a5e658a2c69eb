// One pre-decoded instruction: everything a handler needs, in one cache line.
//
// A handler is a plain function `const Inst* fn(Wave&, const Inst*)`. It executes one
// instruction for all 32 lanes and returns the next Inst (`i + 1`, or a branch target, or
// nullptr to leave the interpreter loop). Operands are byte offsets from the start of the
// Wave, whatever they are: a VGPR (32 lanes of 4 bytes), an SGPR, VCC, EXEC, M0, SCC or an
// inline constant in the wave's constant table. The one exception is a literal, which lives
// in the Inst itself: its offset has the sign bit set (see source() in handler.h).
//
// Compiled into every ISA level: plain data, no inline functions with linkage.
#pragma once

#include <cstddef>
#include <cstdint>

namespace usbgpu::emulator::isa {

struct Wave;
struct Inst;
using Handler = const Inst* (*)(Wave&, const Inst*);

// Buckets of DispatchCounters.
enum class InstClass : uint8_t { salu, valu, vopd, wmma, trans, vmem_load, vmem_store, smem, lds, branch, other, count };

constexpr uint32_t kInInst = 0x80000000u;  // operand offset: relative to the Inst, not to the Wave

struct alignas(64) Inst {
  Handler fn;
  uint32_t dst;        // vdst / sdst / sdata; compares: the mask's SGPR
  uint32_t src[3];     // src0..2; memory: address, saddr/base, data
  uint32_t dst2;       // carry-out mask (VOP3SD); VOPD: destination of the Y half
  uint32_t src3;       // VOPD: src[0], src[1] are X's sources, src[2], src3 are Y's
  uint64_t literal;    // literal constant, already widened to the type of its operand; K of fmaak/fmamk
  int32_t imm;         // simm16, memory offset, DPP control dword
  uint8_t neg, abs;    // bit n: source n. VOP3P: neg = neg_lo
  uint8_t opsel;       // bits 0-2: source n reads its high half, bit 3: destination is the high half
  InstClass cls;
  uint64_t pc;         // virtual address of the instruction
  union {
    const Inst* target;  // branches: first instruction of the block jumped to; resolved on first execution
    struct {
      uint8_t neg_hi, opsel_hi;  // VOP3P, one bit per source; abs of fma_mix is neg_hi
      uint8_t clamp, omod;       // omod: 1 = *2, 2 = *4, 3 = /2
      uint32_t aux;              // memory: glc/slc/dlc bits 0..2, number of dwords ...
    };
    struct {
      uint32_t loaded, stored;   // .block, .lanes: bytes per lane; imm: vector instructions
    };
  };
};
static_assert(sizeof(Inst) == 64);

// The pseudo-instruction at the head of each block holds, in place of dst..literal, the number of
// its instructions by class as u16[16]; element 15 is their sum, those before it are:
constexpr size_t kBlockCounts = 8;
constexpr unsigned kBlockBarriers = 11, kBlockF64 = 12, kBlockLdsPasses = 13, kBlockScalarDwords = 14, kBlockTotal = 15;

// ---- How a handler file offers its handlers -------------------------------------------------
//
// ops_<group>.cpp defines, in namespace ISA_LEVEL, `const HandlerGroup group_<group>` and the
// name is listed once in USBGPU_ISA_GROUPS (handlers.h). The decoder looks rows up by mnemonic
// (the name in data/gfx11.json, the same for all encodings of an operation: VOP2 and VOP3
// v_add_f32 are one row) and calls `select` with the shape of the instruction at hand.
struct Shape {
  uint8_t scalars;     // bit n: source n is scalar (SGPR, constant or literal): kind S; else V
  uint8_t neg, abs, opsel, neg_hi, opsel_hi, clamp, omod;  // what of it the row's `handles` claims; the rest is 0
  bool sdst_null;      // the carry/mask output goes to NULL
  bool gfx12;
  bool wave64;
  bool any_mode;       // MODE's rounding and denormals may be other than the usual (program.h)
  bool ieee;           // MODE.IEEE (gfx11): minimum and maximum give a quiet NaN for a signalling one
};
using Select = Handler (*)(const Shape&);  // nullptr: this shape is not supported (illegal instruction fault)

// Modifiers which a row's handlers apply themselves. What is not claimed is staged by the decoder:
// neg/abs sources go through a micro-op into a temporary VGPR first; clamp/omod and a high-half
// destination come from a temporary afterwards; high-half sources are shifted down into a
// temporary. DPP is always staged. Staging costs one more dispatch per modifier, so claim what is
// frequent (neg on fma, opsel on 16-bit operations) and leave the rest.
enum Handles : uint16_t {
  stage_all = 0,
  own_neg_abs = 1,      // i->neg, i->abs
  own_clamp = 2,        // i->clamp. Staging clamps floats only: integer clamp must be owned
  own_omod = 4,         // i->omod
  own_opsel = 8,        // i->opsel incl. bit 3
  own_all = 15,
  whole_wave = 16,      // wave64: executed once, by a handler that sees both halves (Shape::wave64)
  wave32_only = 32,     // wave64: not implemented
};

// Operands are canonical, whatever the encoding:
//   dst      vdst; for v_cmp the mask's SGPR (VCC in VOPC encoding), for v_cmpx EXEC; v_readlane: an SGPR
//   src[0..2] src0, src1/vsrc1, src2. VOP2 forms with an implicit VCC get it as an operand:
//            v_cndmask_b32: src[2] = mask; v_add_co_ci_u32 and relatives: src[2] = carry in, dst2 = carry out.
//            v_fmac/v_pk_fmac/v_dot2acc: the accumulator is dst (rw) and no source.
//            v_fmaak: src[2] = literal (kind S); v_fmamk: src[1] = literal, src[2] = vsrc1.
//   dst2     sdst of VOP3SD (v_add_co_u32, v_div_scale, v_mad_u64_u32 ...); NULL goes to Wave::discard
//   v_div_fmas: src3 = VCC; v_permlane*: src[1], src[2] are the lane selects (kind S)
//   v_swap_*: dst and src[0] are both written.
// 16-bit sources of kind V: the handler reads the low half of each dword, unless it owns opsel
// (then bit n of i->opsel selects the half of source n, bit 3 that of the destination; true16
// encodings of VOP1/VOP2/VOPC arrive as opsel, too). A 16-bit result keeps the other half of dst.
// Without own_opsel a high-half destination arrives as a temporary and only its low half counts.
// Packed operations (VOP3P) always see neg, neg_hi, opsel, opsel_hi in the Inst; nothing is staged for
// them (own_all is implied). So do v_fma_mix, v_dot, WMMA.
// VOPD: the decoder first asks for a row "v_dual_<x>::v_dual_<y>" (dst, src[0], src[1] = X; dst2, src[2],
// src3 = Y; accumulators are the destinations; literal = K of fmaak/fmamk; Shape::scalars bits 0..3 in the
// order X0 X1 Y0 Y1). Without one it emits the plain rows (v_dual_fmac_f32 -> v_fmac_f32) with X's result in
// a temporary, so every VOPD works as soon as the plain operation exists.
struct HandlerRow {
  const char* mnemonic;
  Select select;
  uint16_t handles = stage_all;
};

struct HandlerGroup {
  const HandlerRow* rows;
  size_t count;
};

}  // namespace usbgpu::emulator::isa
