// Text of scalar instructions: counters, messages and hardware registers by name.
#include <cstring>

#include "emulator/isa/disasm.h"

namespace usbgpu::emulator::isa::text {
namespace {

// s_delay_alu: two dependencies of following instructions. RDNA3 ISA, 'S_DELAY_ALU'.
std::string delay(uint32_t imm) {
  const char* const dependency[] = {"NO_DEP", "VALU_DEP_1", "VALU_DEP_2", "VALU_DEP_3", "VALU_DEP_4", "TRANS32_DEP_1", "TRANS32_DEP_2",
                                    "TRANS32_DEP_3", "FMA_ACCUM_CYCLE_1", "SALU_CYCLE_1", "SALU_CYCLE_2", "SALU_CYCLE_3"};
  const char* const skip[] = {"SAME", "NEXT", "SKIP_1", "SKIP_2", "SKIP_3", "SKIP_4"};
  const uint32_t first = imm & 15, distance = imm >> 4 & 7, second = imm >> 7 & 15;
  std::string text;
  const auto add = [&](const char* label, const char* value) { text += (text.empty() ? "" : " | ") + std::string(label) + "(" + value + ")"; };
  if (first) add("instid0", first < 12 ? dependency[first] : "/* invalid instid value */");
  if (distance) add("instskip", distance < 6 ? skip[distance] : "/* invalid instskip value */");
  if (second) add("instid1", second < 12 ? dependency[second] : "/* invalid instid value */");
  return text.empty() ? "0" : text;
}

// s_waitcnt_depctr, s_wait_alu: only the counters that are waited for.
std::string dependency_counters(uint32_t imm) {
  struct Counter { const char* name; unsigned lo, width; };
  constexpr Counter counters[] = {{"hold_cnt", 7, 1}, {"sa_sdst", 0, 1}, {"va_vdst", 12, 4}, {"va_sdst", 9, 3},
                                  {"va_ssrc", 8, 1}, {"va_vcc", 1, 1}, {"vm_vsrc", 2, 3}};
  constexpr uint32_t kUnused = 0x60;
  if (imm & kUnused) return hex(imm);
  const bool nothing = imm == (0xFFFF & ~kUnused);      // then every counter is written
  std::string text;
  for (const Counter& c : counters) {
    const uint32_t full = (1u << c.width) - 1, value = imm >> c.lo & full;
    if (value != full || nothing) text += (text.empty() ? "depctr_" : " depctr_") + std::string(c.name) + "(" + std::to_string(value) + ")";
  }
  return text;
}

std::string wait_counters(uint32_t imm) {
  const uint32_t vm = imm >> 10 & 63, exp = imm & 7, lgkm = imm >> 4 & 63;
  const bool nothing = vm == 63 && exp == 7 && lgkm == 63;
  std::string text;
  const auto counter = [&](const char* label, uint32_t value, uint32_t none) {
    if (value != none || nothing) text += (text.empty() ? "" : " ") + std::string(label) + "(" + std::to_string(value) + ")";
  };
  counter("vmcnt", vm, 63);
  counter("expcnt", exp, 7);
  counter("lgkmcnt", lgkm, 63);
  return text;
}

std::string message(uint32_t imm, bool gfx12) {
  const char* name = nullptr;
  switch (imm & 0xFF) {
    case 1: name = "MSG_INTERRUPT"; break;
    case 2: name = "MSG_HS_TESSFACTOR"; break;
    case 3: name = "MSG_DEALLOC_VGPRS"; break;
    case 5: name = gfx12 ? nullptr : "MSG_STALL_WAVE_GEN"; break;
    case 6: name = gfx12 ? nullptr : "MSG_HALT_WAVES"; break;
    case 9: name = "MSG_GS_ALLOC_REQ"; break;
    case 128: name = "MSG_RTN_GET_DOORBELL"; break;
    case 129: name = "MSG_RTN_GET_DDID"; break;
    case 130: name = "MSG_RTN_GET_TMA"; break;
    case 131: name = "MSG_RTN_GET_REALTIME"; break;
    case 132: name = "MSG_RTN_SAVE_WAVE"; break;
    case 133: name = "MSG_RTN_GET_TBA"; break;
    case 134: name = "MSG_RTN_GET_TBA_TO_PC"; break;
    case 135: name = gfx12 ? "MSG_RTN_GET_SE_AID_ID" : nullptr; break;
    default: break;
  }
  if (name) return std::string("sendmsg(") + name + ")";
  return imm < 256 ? "sendmsg(" + std::to_string(imm) + ", 0, 0)" : std::to_string(imm);
}

const char* register_name(uint32_t id, bool gfx12) {
  switch (id) {
    case 1: return gfx12 ? "HW_REG_WAVE_MODE" : "HW_REG_MODE";
    case 2: return gfx12 ? "HW_REG_WAVE_STATUS" : "HW_REG_STATUS";
    case 3: return gfx12 ? nullptr : "HW_REG_TRAPSTS";
    case 4: return gfx12 ? "HW_REG_WAVE_STATE_PRIV" : nullptr;
    case 5: return gfx12 ? "HW_REG_WAVE_GPR_ALLOC" : "HW_REG_GPR_ALLOC";
    case 6: return gfx12 ? "HW_REG_WAVE_LDS_ALLOC" : "HW_REG_LDS_ALLOC";
    case 7: return "HW_REG_IB_STS";
    case 10: return gfx12 ? "HW_REG_PERF_SNAPSHOT_DATA" : nullptr;
    case 11: return gfx12 ? "HW_REG_PERF_SNAPSHOT_PC_LO" : nullptr;
    case 12: return gfx12 ? "HW_REG_PERF_SNAPSHOT_PC_HI" : nullptr;
    case 15: return gfx12 ? "HW_REG_PERF_SNAPSHOT_DATA1" : "HW_REG_SH_MEM_BASES";
    case 16: return gfx12 ? "HW_REG_PERF_SNAPSHOT_DATA2" : nullptr;
    case 17: return gfx12 ? "HW_REG_WAVE_EXCP_FLAG_PRIV" : nullptr;
    case 18: return gfx12 ? "HW_REG_WAVE_EXCP_FLAG_USER" : "HW_REG_PERF_SNAPSHOT_PC_LO";
    case 19: return gfx12 ? "HW_REG_WAVE_TRAP_CTRL" : "HW_REG_PERF_SNAPSHOT_PC_HI";
    case 20: return gfx12 ? "HW_REG_WAVE_SCRATCH_BASE_LO" : "HW_REG_FLAT_SCR_LO";
    case 21: return gfx12 ? "HW_REG_WAVE_SCRATCH_BASE_HI" : "HW_REG_FLAT_SCR_HI";
    case 23: return gfx12 ? "HW_REG_WAVE_HW_ID1" : "HW_REG_HW_ID1";
    case 24: return gfx12 ? "HW_REG_WAVE_HW_ID2" : "HW_REG_HW_ID2";
    case 26: return gfx12 ? "HW_REG_WAVE_SCHED_MODE" : nullptr;
    case 27: return gfx12 ? nullptr : "HW_REG_PERF_SNAPSHOT_DATA";
    case 29: return gfx12 ? "HW_REG_SHADER_CYCLES_LO" : "HW_REG_SHADER_CYCLES";
    case 30: return gfx12 ? "HW_REG_SHADER_CYCLES_HI" : nullptr;
    case 31: return gfx12 ? "HW_REG_WAVE_DVGPR_ALLOC_LO" : nullptr;
    case 32: return gfx12 ? "HW_REG_WAVE_DVGPR_ALLOC_HI" : nullptr;
    default: return nullptr;
  }
}

std::string hardware_register(uint32_t imm, bool gfx12) {
  const uint32_t id = imm & 63, offset = imm >> 6 & 31, size = (imm >> 11 & 31) + 1;
  const char* name = register_name(id, gfx12);
  std::string text = "hwreg(" + (name ? std::string(name) : std::to_string(id));
  if (offset || size != 32) text += ", " + std::to_string(offset) + ", " + std::to_string(size);
  return text + ")";
}

// The code's own claim of the microcode version it was built for.
std::string version(uint32_t imm) {
  if (imm & ~0xE0FFu) return hex(imm);
  const uint32_t number = imm & 0xFF;
  std::string text = number == 0   ? "UC_VERSION_GFX7"
                     : number == 4 ? "UC_VERSION_GFX10"
                     : number == 6 ? "UC_VERSION_GFX11"
                     : number == 9 ? "UC_VERSION_GFX12"
                                   : std::to_string(number);
  bool nested = false;
  const std::pair<uint32_t, const char*> flags[] = {{0x2000, "W64"}, {0x4000, "W32"}, {0x8000, "MDP"}};
  for (const auto& [bit, label] : flags) {
    if (!(imm & bit)) continue;
    if (nested) text = "(" + text + ")";
    text += std::string("|UC_VERSION_") + label + "_BIT";
    nested = true;
  }
  return text;
}

// Immediates that LLVM writes as bit patterns; the others are numbers.
bool pattern(std::string_view name) {
  return name.starts_with("s_wait") || name == "s_round_mode" || name == "s_set_inst_prefetch_distance" || name == "s_ttracedata_imm" ||
         name == "s_clause";
}

std::string immediate(const Decoded& d, const OperandRow& o, uint64_t pc) {
  const uint32_t imm = d[Field::f_simm16];
  switch (o.kind) {
    case OperandKind::k_label: return hex(pc + static_cast<uint64_t>(branch_offset(d)));
    case OperandKind::k_waitcnt: return wait_counters(imm);
    case OperandKind::k_delay: return delay(imm);
    case OperandKind::k_waitcnt_depctr: case OperandKind::k_wait_alu: return dependency_counters(imm);
    case OperandKind::k_sendmsg: return message(imm, (d.arch == Arch::gfx12));
    case OperandKind::k_hwreg: return hardware_register(imm, (d.arch == Arch::gfx12));
    case OperandKind::k_version: return version(imm);
    default: return d.format->format == Format::SOPK || pattern(d.row->name) ? hex(imm) : number(imm);
  }
}

}  // namespace

std::string scalar(const Decoded& d, uint64_t pc) {
  const OpRow& op = *d.row;
  std::string destination, sources[2], imm;
  for (unsigned n = 0; n < op.operand_count; ++n) {
    const OperandRow& o = op.operands[n];
    if (o.field == Field::f_sdst) destination = scalar_register(d[o.field], dwords(o));
    else if (o.field == Field::f_ssrc0 && o.kind == OperandKind::k_sendmsg_rtn) sources[0] = message(d[o.field], (d.arch == Arch::gfx12));
    else if (o.field == Field::f_ssrc0) sources[0] = constant_or_scalar(d[o.field], o, d.literal);
    else if (o.field == Field::f_ssrc1) sources[1] = constant_or_scalar(d[o.field], o, d.literal);
    else if (o.field == Field::f_simm16) imm = immediate(d, o, pc);
  }
  List list;
  if (std::strstr(op.name, "setreg")) {
    list.add(imm);
    list.add(op.literal ? hex(d.literal) : destination);
    return op.name + list.text;
  }
  if (std::strcmp(op.name, "s_endpgm") == 0 && d[Field::f_simm16]) imm = std::to_string(d[Field::f_simm16]);
  if (std::strcmp(op.name, "s_waitcnt") == 0) imm = wait_counters(d[Field::f_simm16]);
  if (!destination.empty()) list.add(destination);
  if (std::strcmp(op.name, "s_fmamk_f32") == 0) list.add(sources[0]), list.add(hex(d.literal)), list.add(sources[1]);
  else
    for (const std::string& s : sources)
      if (!s.empty()) list.add(s);
  if (std::strcmp(op.name, "s_fmaak_f32") == 0) list.add(hex(d.literal));
  if (!imm.empty()) list.add(imm);
  return op.name + list.text;
}

}  // namespace usbgpu::emulator::isa::text
