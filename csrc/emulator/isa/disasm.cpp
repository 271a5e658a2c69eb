// Text of an instruction in LLVM's syntax, from the decode tables.
#include <cstdio>
#include <cstring>
#include <string_view>

#include "emulator/isa/decode.h"

namespace usbgpu::emulator::isa {
namespace {

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string range(const char* prefix, unsigned first, unsigned count) {
  if (count <= 1) return prefix + std::to_string(first);
  return std::string(prefix) + "[" + std::to_string(first) + ":" + std::to_string(first + count - 1) + "]";
}

// s_delay_alu: two dependencies of following instructions. RDNA3 ISA, 'S_DELAY_ALU'.
std::string delay(uint32_t imm) {
  const char* const dependency[] = {"NO_DEP", "VALU_DEP_1", "VALU_DEP_2", "VALU_DEP_3", "VALU_DEP_4", "TRANS32_DEP_1", "TRANS32_DEP_2",
                                    "TRANS32_DEP_3", "FMA_ACCUM_CYCLE_1", "SALU_CYCLE_1", "SALU_CYCLE_2", "SALU_CYCLE_3"};
  const char* const skip[] = {"SAME", "NEXT", "SKIP_1", "SKIP_2", "SKIP_3", "SKIP_4"};
  const uint32_t first = imm & 15, distance = imm >> 4 & 7, second = imm >> 7 & 15;
  if (first > 11 || distance > 5 || second > 11) return hex(imm);
  std::string text = std::string("instid0(") + dependency[first] + ")";
  if (distance) text += std::string(" | instskip(") + skip[distance] + ")";
  if (second) text += std::string(" | instid1(") + dependency[second] + ")";
  return text;
}

// s_waitcnt_depctr: only the counters that are waited for.
std::string dependency_counters(uint32_t imm) {
  struct Counter { const char* name; unsigned lo, width; };
  constexpr Counter counters[] = {{"va_vdst", 12, 4}, {"va_sdst", 9, 3}, {"va_ssrc", 8, 1}, {"hold_cnt", 7, 1},
                                  {"vm_vsrc", 2, 3}, {"va_vcc", 1, 1}, {"sa_sdst", 0, 1}};
  std::string text;
  for (const Counter& c : counters) {
    const uint32_t full = (1u << c.width) - 1, value = imm >> c.lo & full;
    if (value != full) text += (text.empty() ? "depctr_" : " depctr_") + std::string(c.name) + "(" + std::to_string(value) + ")";
  }
  return text.empty() ? hex(imm) : text;
}

class Printer {
 public:
  Printer(const Decoded& d, uint64_t pc) : d_(d), pc_(pc) {}

  std::string text() {
    switch (d_.format->format) {
      case Format::VOPD: return vopd();
      case Format::SOP1: case Format::SOP2: case Format::SOPC: case Format::SOPK: case Format::SOPP: return scalar();
      case Format::SMEM: return smem();
      case Format::DS: return ds();
      case Format::FLAT: case Format::GLOBAL: case Format::SCRATCH: return flat(Field::f_addr, Field::f_data, Field::f_offset);
      case Format::VFLAT: case Format::VGLOBAL: case Format::VSCRATCH: return flat(Field::f_vaddr, Field::f_vsrc, Field::f_ioffset);
      case Format::VOP1: case Format::VOP2: case Format::VOPC: case Format::VOP3: case Format::VOP3P: case Format::VOP3SD: return vector();
      default: return d_.row->name;  // graphics-only and buffer formats: the name is enough
    }
  }

 private:
  static unsigned dwords(const OperandRow& o) { return o.bits == 0 ? 1 : (o.bits + 31) / 32; }

  std::string scalar_register(uint32_t code, unsigned count) const {
    switch (code) {
      case 106: return count > 1 ? "vcc" : "vcc_lo";
      case 107: return "vcc_hi";
      case 124: return "null";
      case 125: return "m0";
      case 126: return count > 1 ? "exec" : "exec_lo";
      case 127: return "exec_hi";
      default: break;
    }
    if (code < 106) return range("s", code, count);
    if (code < 124) return range("ttmp", code - 108, count);
    return "?" + std::to_string(code);
  }
  std::string source(uint32_t code, const OperandRow& o, bool short_encoding) const {
    const unsigned count = dwords(o);
    if (code >= 256) {
      unsigned n = code - 256;
      if (o.bits == 16 && short_encoding) return "v" + std::to_string(n & 127) + (n & 128 ? ".h" : ".l");
      return range("v", n, count);
    }
    if (code >= 128 && code <= 192) return std::to_string(code - 128);
    if (code >= 193 && code <= 208) return std::to_string(192 - static_cast<int>(code));
    switch (code) {
      case 235: return "src_shared_base";
      case 236: return "src_shared_limit";
      case 237: return "src_private_base";
      case 238: return "src_private_limit";
      case 240: return "0.5";
      case 241: return "-0.5";
      case 242: return "1.0";
      case 243: return "-1.0";
      case 244: return "2.0";
      case 245: return "-2.0";
      case 246: return "4.0";
      case 247: return "-4.0";
      case 248: return o.bits == 64 ? "0.15915494309189532" : o.bits == 16 ? "0.15915494" : "0.15915494";
      case 253: return "src_scc";
      case 255: return hex(o.bits == 16 ? d_.literal & 0xFFFF : d_.literal);
      default: return scalar_register(code, count);
    }
  }

  struct List {
    std::string text;
    void add(const std::string& item) { text += (text.empty() ? " " : ", ") + item; }
  };

  std::string vector() const;
  std::string vopd() const;
  std::string scalar() const;
  std::string smem() const;
  std::string ds() const;
  std::string flat(Field address, Field data, Field offset) const;
  std::string dpp() const;
  std::string immediate(const OperandRow& o) const;

  const Decoded& d_;
  uint64_t pc_;
};

std::string Printer::vector() const {
  const OpRow& op = *d_.row;
  const Format f = d_.format->format;
  const bool short_encoding = f == Format::VOP1 || f == Format::VOP2 || f == Format::VOPC;
  std::string name = op.name;
  if (d_.dpp != Decoded::Dpp::none) name += short_encoding ? "_dpp" : "_e64_dpp";
  else if (short_encoding) name += name == "v_nop" || name.ends_with("mk_f32") || name.ends_with("ak_f32") || name.ends_with("mk_f16") ||
                                      name.ends_with("ak_f16") || name.starts_with("v_swap") || name.starts_with("v_readfirstlane") ? "" : "_e32";
  else if (op.has_e32) name += "_e64";
  uint32_t neg = 0, abs = 0;
  if (!short_encoding) neg = d_[Field::f_neg], abs = f == Format::VOP3 ? d_[Field::f_abs] : 0;
  if (d_.dpp == Decoded::Dpp::dpp16 && short_encoding) {
    neg = (d_.dpp_word >> 20 & 1) | (d_.dpp_word >> 22 & 1) << 1;
    abs = (d_.dpp_word >> 21 & 1) | (d_.dpp_word >> 23 & 1) << 1;
  }
  const uint32_t opsel = short_encoding || f == Format::VOP3SD ? 0 : d_[Field::f_opsel];
  const auto half = [&](const OperandRow& o, unsigned bit) -> std::string {
    return f == Format::VOP3 && o.bits == 16 ? (opsel >> bit & 1 ? ".h" : ".l") : "";
  };
  std::string destination, carry, sources[3];
  bool any_sixteen = false;
  for (unsigned n = 0; n < op.operand_count; ++n) {
    const OperandRow& o = op.operands[n];
    uint32_t code = d_.code(o);
    any_sixteen |= o.bits == 16;
    const bool wave_mask = o.bits == 0;
    switch (o.field) {
      case Field::f_vdst:
        if (o.kind == OperandKind::k_exec) break;
        destination = o.kind == OperandKind::k_vgpr ? source(256 + (code & 255), o, short_encoding) + half(o, 3)
                                                    : scalar_register(code, wave_mask ? 1 : dwords(o));
        break;
      case Field::f_sdst: carry = scalar_register(code, 1); break;
      case Field::f_src0: case Field::f_src1: case Field::f_src2: case Field::f_vsrc1: {
        const unsigned slot = o.field == Field::f_src0 ? 0 : o.field == Field::f_src2 ? 2 : 1;
        if (o.field == Field::f_vsrc1 || (o.kind == OperandKind::k_vgpr && code < 256)) code = 256 + (code & 255);
        std::string s = wave_mask ? scalar_register(code, 1) : source(code, o, short_encoding);
        if (code >= 256) s += half(o, slot);
        if (f != Format::VOP3P) {
          if (abs >> slot & 1) s = "|" + s + "|";
          if (neg >> slot & 1) s = "-" + s;
        }
        sources[slot] = s;
        break;
      }
      default: break;
    }
  }
  const std::string k = hex(d_.literal);
  if (std::strstr(op.name, "fmaak")) sources[2] = k;
  if (std::strstr(op.name, "fmamk")) sources[2] = sources[1], sources[1] = k;
  if (f == Format::VOPC && !op.writes_exec) destination = "vcc_lo";
  if (f == Format::VOP2 && op.writes_vcc) carry = "vcc_lo";
  if (f == Format::VOP2 && op.reads_vcc) sources[2] = "vcc_lo";
  List list;
  if (!destination.empty()) list.add(destination);
  if (!carry.empty()) list.add(carry);
  for (const std::string& s : sources)
    if (!s.empty()) list.add(s);
  std::string text = name + list.text;
  if (f == Format::VOP3P) {
    const unsigned count = sources[2].empty() ? 2 : 3;
    const uint32_t hi = d_[Field::f_opsel_hi] | d_[Field::f_opsel_hi2] << 2, full = (1u << count) - 1;
    const auto bits = [&](const char* label, uint32_t value) {
      text += std::string(" ") + label + ":[";
      for (unsigned n = 0; n < count; ++n) text += (n ? "," : "") + std::to_string(value >> n & 1);
      text += "]";
    };
    const bool matrix = op.cls == InstClass::wmma, mix = std::strstr(op.name, "_mix");
    if (d_[Field::f_opsel]) bits("op_sel", d_[Field::f_opsel]);
    if (!matrix && (mix ? hi & full : (hi & full) != full)) bits("op_sel_hi", hi);
    if (d_[Field::f_neg] & full) bits("neg_lo", d_[Field::f_neg]);
    if (d_[Field::f_neg_hi] & full) bits("neg_hi", d_[Field::f_neg_hi]);
  } else if (f == Format::VOP3 && opsel && !any_sixteen) {
    text += " op_sel:[" + std::to_string(opsel & 1) + "," + std::to_string(opsel >> 1 & 1) + "]";
  }
  if (!short_encoding && d_[Field::f_clmp]) text += " clamp";
  if (f == Format::VOP3 || f == Format::VOP3SD) {
    const char* modifiers[] = {"", " mul:2", " mul:4", " div:2"};
    text += modifiers[d_[Field::f_omod] & 3];
  }
  return text + dpp();
}

std::string Printer::dpp() const {
  const uint32_t word = d_.dpp_word;
  if (d_.dpp == Decoded::Dpp::dpp8) {
    std::string text = " dpp8:[";
    for (unsigned n = 0; n < 8; ++n) text += (n ? "," : "") + std::to_string(word >> (8 + 3 * n) & 7);
    return text + "]" + (d_.dpp8_fetch_inactive ? " fi:1" : "");
  }
  if (d_.dpp != Decoded::Dpp::dpp16) return "";
  const uint32_t control = word >> 8 & 0x1FF;
  std::string text;
  const auto number = [&](const char* name) { text = std::string(" ") + name + ":" + std::to_string(control & 15); };
  if (control < 0x100) {
    text = " quad_perm:[";
    for (unsigned n = 0; n < 4; ++n) text += (n ? "," : "") + std::to_string(control >> (2 * n) & 3);
    text += "]";
  } else if (control <= 0x10F) number("row_shl");
  else if (control <= 0x11F) number("row_shr");
  else if (control <= 0x12F) number("row_ror");
  else if (control == 0x140) text = " row_mirror";
  else if (control == 0x141) text = " row_half_mirror";
  else if (control >= 0x150 && control <= 0x15F) number("row_share");
  else if (control >= 0x160 && control <= 0x16F) number("row_xmask");
  else text = " dpp_ctrl:" + hex(control);
  text += " row_mask:" + hex(word >> 28) + " bank_mask:" + hex(word >> 24 & 15);
  if (word >> 19 & 1) text += " bound_ctrl:1";
  if (word >> 18 & 1) text += " fi:1";
  return text;
}

std::string Printer::vopd() const {
  const auto half = [&](const OpRow& op, Field dst, Field src0, Field vsrc1) {
    List list;
    list.add("v" + std::to_string(d_[dst]));
    list.add(source(d_[src0], op.operands[0], false));
    const bool two = op.operand_count > 2;
    const std::string second = "v" + std::to_string(d_[vsrc1] & 255);
    if (std::strstr(op.name, "fmamk")) list.add(hex(d_.literal));
    if (two) list.add(second);
    if (std::strstr(op.name, "fmaak")) list.add(hex(d_.literal));
    return op.name + list.text;
  };
  return half(*d_.row, Field::f_vdstx, Field::f_srcx0, Field::f_vsrcx1) + " :: " +
         half(*d_.row_y, Field::f_vdsty, Field::f_srcy0, Field::f_vsrcy1);
}

std::string Printer::immediate(const OperandRow& o) const {
  const uint32_t imm = d_[Field::f_simm16];
  const std::string_view name = d_.row->name;
  switch (o.kind) {
    case OperandKind::k_label: return hex(pc_ + static_cast<uint64_t>(branch_offset(d_)));
    case OperandKind::k_waitcnt: {
      std::string text;
      const auto counter = [&](const char* label, uint32_t value, uint32_t none) {
        if (value != none) text += (text.empty() ? "" : " ") + std::string(label) + "(" + std::to_string(value) + ")";
      };
      counter("vmcnt", imm >> 10 & 63, 63);
      counter("expcnt", imm & 7, 7);
      counter("lgkmcnt", imm >> 4 & 63, 63);
      return text.empty() ? hex(imm) : text;
    }
    case OperandKind::k_delay: return delay(imm);
    case OperandKind::k_waitcnt_depctr: return dependency_counters(imm);
    case OperandKind::k_sendmsg:
      if (imm == 1) return "sendmsg(MSG_INTERRUPT)";
      if (imm == 3) return "sendmsg(MSG_DEALLOC_VGPRS)";
      return hex(imm);
    case OperandKind::k_hwreg: {
      const uint32_t offset = imm >> 6 & 31, size = (imm >> 11) + 1;
      return "hwreg(" + std::to_string(imm & 63) + ", " + std::to_string(offset) + ", " + std::to_string(size) + ")";
    }
    default:
      if (name == "s_nop" || name == "s_sleep" || name == "s_sethalt" || name == "s_trap" || name == "s_setprio") return std::to_string(imm);
      return hex(imm);
  }
}

std::string Printer::scalar() const {
  const OpRow& op = *d_.row;
  std::string destination, sources[2], imm;
  for (unsigned n = 0; n < op.operand_count; ++n) {
    const OperandRow& o = op.operands[n];
    const unsigned count = dwords(o);
    if (o.field == Field::f_sdst) destination = scalar_register(d_[o.field], count);
    else if (o.field == Field::f_ssrc0 && o.kind == OperandKind::k_sendmsg_rtn) sources[0] = hex(d_[o.field]);
    else if (o.field == Field::f_ssrc0) sources[0] = source(d_[o.field], o, false);
    else if (o.field == Field::f_ssrc1) sources[1] = source(d_[o.field], o, false);
    else if (o.field == Field::f_simm16) imm = immediate(o);
  }
  List list;
  const bool setreg = std::strstr(op.name, "setreg") != nullptr;
  if (setreg) {
    list.add(imm);
    list.add(op.literal ? hex(d_.literal) : destination);
    return op.name + list.text;
  }
  if (!destination.empty()) list.add(destination);
  for (const std::string& s : sources)
    if (!s.empty()) list.add(s);
  if (!imm.empty()) list.add(imm);
  return op.name + list.text;
}

std::string Printer::smem() const {
  const OpRow& op = *d_.row;
  List list;
  for (unsigned n = 0; n < op.operand_count; ++n)
    if (op.operands[n].field == Field::f_sdata) list.add(scalar_register(d_[Field::f_sdata], dwords(op.operands[n])));
  if (op.operand_count == 0) return op.name;
  const bool buffer = std::strstr(op.name, "buffer") != nullptr;
  list.add(scalar_register(d_[Field::f_sbase], buffer ? 4 : 2));
  const bool gfx12 = d_.format->bytes == 8 && d_[Field::f_ioffset] != 0;
  const int32_t offset = gfx12 ? static_cast<int32_t>(d_[Field::f_ioffset] << 8) >> 8 : static_cast<int32_t>(d_[Field::f_offset] << 11) >> 11;
  const uint32_t soffset = d_[Field::f_soffset];
  if (soffset == 124) {
    list.add((offset < 0 ? "-" : "") + hex(static_cast<uint32_t>(offset < 0 ? -offset : offset)));
    return op.name + list.text;
  }
  list.add(scalar_register(soffset, 1));
  return op.name + list.text + (offset ? " offset:" + hex(static_cast<uint32_t>(offset)) : "");
}

std::string Printer::ds() const {
  const OpRow& op = *d_.row;
  List list;
  for (const Field f : {Field::f_vdst, Field::f_addr, Field::f_data0, Field::f_data1})
    for (unsigned n = 0; n < op.operand_count; ++n)
      if (op.operands[n].field == f) list.add(range("v", d_[f], dwords(op.operands[n])));
  std::string text = op.name + list.text;
  if (std::strstr(op.name, "2addr")) {
    if (d_[Field::f_offset0]) text += " offset0:" + std::to_string(d_[Field::f_offset0]);
    if (d_[Field::f_offset1]) text += " offset1:" + std::to_string(d_[Field::f_offset1]);
  } else if (const uint32_t offset = d_[Field::f_offset0] | d_[Field::f_offset1] << 8) {
    text += " offset:" + std::to_string(offset);
  }
  return text;
}

std::string Printer::flat(Field address, Field data, Field offset) const {
  const OpRow& op = *d_.row;
  const Format f = d_.format->format;
  const bool scratch = f == Format::SCRATCH || f == Format::VSCRATCH, flat = f == Format::FLAT || f == Format::VFLAT;
  const bool old = address == Field::f_addr;
  const bool returns = old ? d_[Field::f_glc] : d_[Field::f_th] & 1;
  const bool atomic = std::strstr(op.name, "atomic") != nullptr, store = std::strstr(op.name, "_store") != nullptr;
  unsigned data_dwords = 1, result_dwords = 1;
  for (unsigned n = 0; n < op.operand_count; ++n) {
    if (op.operands[n].field == data) data_dwords = dwords(op.operands[n]);
    if (op.operands[n].field == Field::f_vdst) result_dwords = dwords(op.operands[n]);
  }
  if (atomic) result_dwords = std::strstr(op.name, "64") ? 2 : 1;
  const uint32_t saddr = d_[Field::f_saddr];
  const bool has_saddr = !flat && saddr != 124;
  List list;
  if (!store && (!atomic || returns)) list.add(range("v", d_[Field::f_vdst], result_dwords));
  if (scratch) list.add(d_[Field::f_sve] ? "v" + std::to_string(d_[address]) : "off");
  else list.add(range("v", d_[address], has_saddr ? 1 : 2));
  if (store || atomic) list.add(range("v", d_[data], data_dwords));
  if (!flat) list.add(has_saddr ? scalar_register(saddr, scratch ? 1 : 2) : "off");
  std::string text = op.name + list.text;
  const unsigned width = old ? 13 : 24;
  const int32_t value = static_cast<int32_t>(d_[offset] << (32 - width)) >> (32 - width);
  if (value) text += " offset:" + std::to_string(value);
  if (old) {
    if (d_[Field::f_glc]) text += " glc";
    if (d_[Field::f_slc]) text += " slc";
    if (d_[Field::f_dlc]) text += " dlc";
  } else if (d_[Field::f_th] || d_[Field::f_scope]) {
    text += " th:" + std::to_string(d_[Field::f_th]) + " scope:" + std::to_string(d_[Field::f_scope]);
  }
  return text;
}

}  // namespace

std::string disassemble(const Decoded& d, std::span<const uint32_t> words, uint64_t pc) {
  if (!d.row) {
    char text[24];
    std::snprintf(text, sizeof text, ".long 0x%08x", words.empty() ? 0 : words[0]);
    return text;
  }
  return Printer(d, pc).text();
}

}  // namespace usbgpu::emulator::isa
