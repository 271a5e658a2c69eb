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

}  // namespace

void lower(const Decoded& instruction, uint64_t pc, std::vector<Inst>& out, bool strict) {
  const size_t first = out.size();
  if (Builder(instruction, pc, out).build().empty()) {
    if (!strict) return;
    const InstClass cls = instruction.row->cls;
    const std::string_view name = instruction.row->name;
    if (cls == InstClass::smem || cls == InstClass::lds || cls == InstClass::vmem_load || cls == InstClass::vmem_store) append_pending(instruction, out);
    if (const uint32_t limits = wait_limits(name, instruction[Field::f_simm16]); limits != kNoLimit) {
      out.back().fn = find_handler(".wait")->select(Shape{});
      out.back().literal = limits;
    }
    return;
  }
  out.resize(first);
  Inst illegal{};
  illegal.pc = pc;
  illegal.cls = InstClass::other;
  illegal.fn = find_handler(".illegal")->select(Shape{});
  out.push_back(illegal);
}

std::string unsupported(const Decoded& instruction) {
  std::vector<Inst> scrap;
  return Builder(instruction, 0, scrap).build();
}

namespace {
bool is(const Decoded& d, std::string_view name) { return d.row && name == d.row->name; }
}  // namespace

bool ends_block(const Decoded& d) {
  if (!d.row) return true;
  return d.row->cls == InstClass::branch || !falls_through(d) || is(d, "s_barrier") || is(d, "s_barrier_wait") || is(d, "s_sleep") ||
         is(d, "s_sleep_var") || is(d, "s_trap") || is(d, "s_subvector_loop_begin") || is(d, "s_subvector_loop_end");
}

bool falls_through(const Decoded& d) {
  return d.row && !is(d, "s_endpgm") && !is(d, "s_branch") && !is(d, "s_setpc_b64") && !is(d, "s_swappc_b64") && !is(d, "s_rfe_b64") &&
         !is(d, "s_call_b64") && !is(d, "s_endpgm_saved") && !is(d, "s_endpgm_ordered_ps_done") && !is(d, "s_code_end") && !is(d, "s_sethalt") && !is(d, "s_sendmsghalt");
}

}  // namespace usbgpu::emulator::isa
