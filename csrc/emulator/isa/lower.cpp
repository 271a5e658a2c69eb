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
  p.aux = static_cast<uint32_t>(scalar) | static_cast<uint32_t>(scalar || lds) << 1;
  p.literal = name.find("d16_hi") != name.npos ? 0xFFFF0000u : name.find("d16") != name.npos ? 0xFFFFu : 0xFFFFFFFFu;
  p.fn = find_handler(".pending")->select(Shape{});
  out.push_back(p);
}

}  // namespace

void lower(const Decoded& instruction, uint64_t pc, std::vector<Inst>& out, bool strict) {
  const size_t first = out.size();
  if (Builder(instruction, pc, out).build().empty()) {
    if (!strict) return;
    const InstClass cls = instruction.row->cls;
    const std::string_view name = instruction.row->name;
    if (cls == InstClass::smem || cls == InstClass::lds || cls == InstClass::vmem_load || cls == InstClass::vmem_store) append_pending(instruction, out);
    if (name == "s_waitcnt") out.back().fn = find_handler(".wait")->select(Shape{});
    if (name == "s_waitcnt_vmcnt" || name == "s_waitcnt_lgkmcnt" || name == "s_wait_idle") {  // rare: waits for everything
      out.back().fn = find_handler(".wait")->select(Shape{});
      out.back().imm = 0;
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
  return d.row->cls == InstClass::branch || !falls_through(d) || is(d, "s_barrier") || is(d, "s_sleep") || is(d, "s_trap");
}

bool falls_through(const Decoded& d) {
  return d.row && !is(d, "s_endpgm") && !is(d, "s_branch") && !is(d, "s_setpc_b64") && !is(d, "s_swappc_b64") && !is(d, "s_rfe_b64") &&
         !is(d, "s_call_b64") && !is(d, "s_endpgm_saved") && !is(d, "s_code_end") && !is(d, "s_sethalt");
}

}  // namespace usbgpu::emulator::isa
