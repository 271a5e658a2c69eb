#include "emulator/isa/lower.h"

#include <string_view>

#include "emulator/isa/lower_builder.h"

namespace usbgpu::emulator::isa {

namespace {

// Strict mode: a load is followed by a micro-op that takes its result away until the matching wait.
void append_pending(const Decoded& d, std::vector<Inst>& out) {
  const OpRow& op = *d.row;
  const std::string_view name = op.name;
  Inst p{};
  p.pc = out.back().pc;
  p.dst = out.back().dst;
  uint32_t bits = 0;
  for (unsigned n = 0; n < op.operand_count; ++n)
    if (op.operands[n].write) bits = op.operands[n].bits;
  const bool scalar = op.cls == InstClass::smem, lds = op.cls == InstClass::lds, atomic = name.find("_atomic_") != name.npos;
  if (name.starts_with("scratch_store") || name.find("_store_") != name.npos || bits == 0) return;
  if (atomic && !(out.back().aux & 1)) return;
  if (atomic) bits = name.find("64") != name.npos ? 64 : 32;
  p.imm = static_cast<int32_t>((bits + 31) / 32);
  const WaitCounter counter = scalar ? (d.arch == Arch::gfx12 ? kWaitScalar : kWaitLds) : lds ? kWaitLds : kWaitVector;
  p.aux = static_cast<uint32_t>(scalar) | static_cast<uint32_t>(counter) << 1;
  p.literal = name.find("d16_hi") != name.npos ? 0xFFFF0000u : name.find("d16") != name.npos ? 0xFFFFu : 0xFFFFFFFFu;
  p.fn = find_handler(".pending")->select(Shape{});
  out.push_back(p);
}

// How many operations of each WaitCounter may stay outstanding behind a wait instruction, a byte each.
// RDNA3 ISA: s_waitcnt has vmcnt [15:10], lgkmcnt [9:4]; RDNA4 ISA: one instruction per counter.
constexpr uint32_t kNoLimit = 0xFFFFFF;
uint32_t wait_limits(std::string_view name, uint32_t imm) {
  const auto limits = [](uint32_t vector, uint32_t lds, uint32_t scalar) { return vector | lds << 8 | scalar << 16; };
  if (name == "s_waitcnt") return limits(imm >> 10 & 63, imm >> 4 & 63, 0xFF);
  if (name == "s_waitcnt_vmcnt" || name == "s_waitcnt_lgkmcnt" || name == "s_wait_idle") return 0;  // rare: waits for everything
  if (name == "s_wait_loadcnt") return limits(imm & 63, 0xFF, 0xFF);
  if (name == "s_wait_dscnt") return limits(0xFF, imm & 63, 0xFF);
  if (name == "s_wait_kmcnt") return limits(0xFF, 0xFF, imm & 31);
  if (name == "s_wait_loadcnt_dscnt") return limits(imm >> 8 & 63, imm & 63, 0xFF);
  if (name == "s_wait_storecnt_dscnt") return limits(0xFF, imm & 63, 0xFF);
  return kNoLimit;
}

void lower_waits(const Decoded& instruction, std::vector<Inst>& out, const LowerOptions& options) {
  if (!options.strict) return;
  const InstClass cls = instruction.row->cls;
  const std::string_view name = instruction.row->name;
  if (cls == InstClass::smem || cls == InstClass::lds || cls == InstClass::vmem_load || cls == InstClass::vmem_store) append_pending(instruction, out);
  if (const uint32_t limits = wait_limits(name, instruction[Field::f_simm16]); limits != kNoLimit) {
    out.back().fn = find_handler(".wait")->select(Shape{});
    out.back().literal = limits;
  }
}

bool runs_per_lane(const Decoded& d) {
  switch (d.format->format) {
    case Format::SOP1: case Format::SOP2: case Format::SOPC: case Format::SOPK: case Format::SOPP: case Format::SMEM: return false;
    case Format::MUBUF: case Format::VBUFFER: return d.row->cls == InstClass::vmem_load || d.row->cls == InstClass::vmem_store;
    default: return true;
  }
}

bool in_vgprs(uint32_t offset) { return offset >= vgpr_offset(0) && offset < temp_offset(0); }

// wave64: the Insts of an instruction become ".halves", themselves for lanes 0..31, and a copy for
// lanes 32..63. Operands of the copy: VGPRs of the upper half, the high dword of lane masks; temporaries
// are the same ones. EXEC as a plain operand comes from a copy, because sgpr[kExec] is exchanged while
// the upper half runs. Results that are masks wait in Wave::half_mask, for the upper half may still
// read the register they go to. `masks`: which operands of Inst number `masked` are lane masks.
void double_insts(std::vector<Inst>& out, size_t first, size_t masked, uint8_t masks) {
  const std::vector<Inst> lower_half(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
  out.resize(first);
  Inst head{};
  head.fn = find_handler(".halves")->select(Shape{});
  head.pc = lower_half.front().pc;
  head.cls = lower_half.front().cls;
  head.imm = static_cast<int32_t>(lower_half.size());
  const auto half_mask = [](unsigned half) { return static_cast<uint32_t>(offsetof(Wave, half_mask) + 4 * half); };
  out.push_back(head);
  for (unsigned half = 0; half < 2; ++half) {
    for (size_t n = 0; n < lower_half.size(); ++n) {
      Inst i = lower_half[n];
      const uint8_t own = first + n == masked ? masks : 0;
      const auto place = [&](uint32_t& operand, uint8_t flag, bool result) {
        if (result && (own & flag)) {
          out[first].dst = operand;
          out[first].aux = 1;
          operand = half_mask(half);
        } else if (half) {
          if (in_vgprs(operand)) operand += kUpperHalf;
          else if (own & flag) operand += 4;
          if (!result && (operand & ~4u) == sgpr_offset(kExec)) operand = static_cast<uint32_t>(offsetof(Wave, exec_operand)) + (operand & 4);
        }
      };
      place(i.dst, mask_dst, true), place(i.dst2, mask_dst2, true);
      place(i.src[0], 0, false), place(i.src[1], 0, false), place(i.src[2], mask_src2, false), place(i.src3, mask_src3, false);
      out.push_back(i);
    }
  }
}

}  // namespace

void lower(const Decoded& instruction, uint64_t pc, std::vector<Inst>& out, const LowerOptions& options) {
  const size_t first = out.size();
  Builder builder(instruction, pc, out, options);
  if (builder.build().empty()) {
    lower_waits(instruction, out, options);
    if (options.wave64 && runs_per_lane(instruction) && !builder.whole_wave() && out.size() > first)
      double_insts(out, first, builder.masked_inst(), builder.masks());
    return;
  }
  out.resize(first);
  Inst illegal{};
  illegal.pc = pc;
  illegal.cls = InstClass::other;
  illegal.fn = find_handler(".illegal")->select(Shape{});
  out.push_back(illegal);
}
std::string unsupported(const Decoded& instruction, const LowerOptions& options) {
  std::vector<Inst> scrap;
  return Builder(instruction, 0, scrap, options).build();
}

namespace {
bool is(const Decoded& d, std::string_view name) { return d.row && name == d.row->name; }
}  // namespace

bool ends_block(const Decoded& d) {
  if (!d.row) return true;
  return d.row->cls == InstClass::branch || !falls_through(d) || is(d, "s_barrier") || is(d, "s_barrier_wait") || is(d, "s_sleep") ||
         is(d, "s_sleep_var") || is(d, "s_trap") || is(d, "s_subvector_loop_begin") || is(d, "s_subvector_loop_end") ||
         is(d, "s_setreg_b32") || is(d, "s_setreg_imm32_b32") || is(d, "s_round_mode") || is(d, "s_denorm_mode");  // MODE may change
}

bool falls_through(const Decoded& d) {
  return d.row && !is(d, "s_endpgm") && !is(d, "s_branch") && !is(d, "s_setpc_b64") && !is(d, "s_swappc_b64") && !is(d, "s_rfe_b64") &&
         !is(d, "s_call_b64") && !is(d, "s_endpgm_saved") && !is(d, "s_endpgm_ordered_ps_done") && !is(d, "s_code_end") && !is(d, "s_sendmsghalt");  // (s_sethalt 0 goes on)
}

}  // namespace usbgpu::emulator::isa
