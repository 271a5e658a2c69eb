// Text of an instruction in LLVM's syntax, from the decode tables: vector instructions and what all share.
#include "emulator/isa/disasm.h"

#include <cstdio>
#include <cstring>

namespace usbgpu::emulator::isa {
namespace text {

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string number(int64_t value) { return value >= -16 && value <= 64 ? std::to_string(value) : hex(static_cast<uint64_t>(value)); }

std::string range(const char* prefix, unsigned first, unsigned count) {
  if (count <= 1) return prefix + std::to_string(first);
  return std::string(prefix) + "[" + std::to_string(first) + ":" + std::to_string(first + count - 1) + "]";
}

std::string scalar_register(uint32_t code, unsigned count) {
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

std::string constant_or_scalar(uint32_t code, const OperandRow& o, uint32_t literal) {
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
    case 248: return o.bits >= 64 ? "0.15915494309189532" : "0.15915494";
    case 253: return "src_scc";
    case 255: return hex(literal);
    default: return scalar_register(code, dwords(o));
  }
}

const OperandRow* find_operand(const OpRow& op, Field field) {
  for (unsigned n = 0; n < op.operand_count; ++n)
    if (op.operands[n].field == field) return &op.operands[n];
  return nullptr;
}

namespace {

bool contains(const char* name, const char* part) { return std::strstr(name, part) != nullptr; }

std::string bit_list(const char* label, uint32_t value, unsigned count) {
  std::string text = std::string(" ") + label + ":[";
  for (unsigned n = 0; n < count; ++n) text += (n ? "," : "") + std::to_string(value >> n & 1);
  return text + "]";
}

class Vector {
 public:
  explicit Vector(const Decoded& d)
      : d_(d), op_(*d.row), format_(d.format->format),
        short_(format_ == Format::VOP1 || format_ == Format::VOP2 || format_ == Format::VOPC),
        packed_(format_ == Format::VOP3P) {
    opsel_ = short_ || format_ == Format::VOP3SD ? 0 : d_[Field::f_opsel];
    if (!short_) neg_ = d_[Field::f_neg], abs_ = format_ == Format::VOP3 ? d_[Field::f_abs] : 0;
    if (packed_ && contains(op_.name, "_mix")) abs_ = d_[Field::f_neg_hi];
    if (d_.dpp == Decoded::Dpp::dpp16 && short_) {
      neg_ = (d_.dpp_word >> 20 & 1) | (d_.dpp_word >> 22 & 1) << 1;
      abs_ = (d_.dpp_word >> 21 & 1) | (d_.dpp_word >> 23 & 1) << 1;
    }
  }

  std::string text() {
    operands();
    std::string out = name() + list_.text + modifiers();
    return out + dpp();
  }

 private:
  std::string name() const;
  std::string source(uint32_t code, const OperandRow& o, unsigned slot) const;
  void operands();
  std::string modifiers() const;
  std::string dpp() const;

  const Decoded& d_;
  const OpRow& op_;
  const Format format_;
  const bool short_, packed_;
  uint32_t neg_ = 0, abs_ = 0, opsel_ = 0;
  List list_;
  unsigned source_count_ = 0;
};

std::string Vector::name() const {
  const std::string name = op_.name;
  const bool has_dpp = d_.dpp != Decoded::Dpp::none;
  if (format_ == Format::VOPC && has_dpp) return name;
  if (short_ && has_dpp) return name + "_dpp";
  // Operations with one encoding carry no suffix, and so do those with a constant of their own.
  const bool alone = name == "v_nop" || name == "v_pipeflush" || contains(op_.name, "mk_f") || contains(op_.name, "ak_f") ||
                     name == "v_dot2acc_f32_f16" || name == "v_pk_fmac_f16" || name.starts_with("v_swap") || name.starts_with("v_readfirstlane") ||
                     name.starts_with("v_permlane64");
  if (short_) return alone ? name : name + "_e32";
  if (has_dpp) return name + "_e64_dpp";
  return op_.has_e32 && !alone ? name + "_e64" : name;
}

std::string Vector::source(uint32_t code, const OperandRow& o, unsigned slot) const {
  if (code < 256) return constant_or_scalar(code, o, d_.literal);
  const unsigned n = code - 256;
  if (o.bits != 16 || packed_) return vgprs(n, dwords(o));
  if (short_) return vgprs(n & 127, 1) + (n & 128 ? ".h" : ".l");
  return vgprs(n, 1) + (opsel_ >> slot & 1 ? ".h" : ".l");
}

void Vector::operands() {
  std::string destination, carry, sources[3];
  for (unsigned n = 0; n < op_.operand_count; ++n) {
    const OperandRow& o = op_.operands[n];
    uint32_t code = d_.code(o);
    switch (o.field) {
      case Field::f_vdst:
        if (o.kind == OperandKind::k_exec) break;
        destination = o.kind == OperandKind::k_vgpr ? source(256 + (code & 255), o, 3) : scalar_register(code, dwords(o));
        break;
      case Field::f_sdst: carry = scalar_register(code, 1); break;
      case Field::f_src0: case Field::f_src1: case Field::f_src2: case Field::f_vsrc1: {
        const unsigned slot = o.field == Field::f_src0 ? 0 : o.field == Field::f_src2 ? 2 : 1;
        if (o.field == Field::f_vsrc1) code = 256 + (code & 255);
        std::string s = source(code, o, slot);
        if (!packed_ || contains(op_.name, "_mix")) {
          if (abs_ >> slot & 1) s = "|" + s + "|";
          if (neg_ >> slot & 1) s = code == 255 && !(abs_ >> slot & 1) ? "neg(" + s + ")" : "-" + s;
        }
        sources[slot] = s;
        break;
      }
      default: break;
    }
  }
  const std::string k = hex(d_.literal);
  if (contains(op_.name, "fmaak")) sources[2] = k;
  if (contains(op_.name, "fmamk")) sources[2] = sources[1], sources[1] = k;
  if (format_ == Format::VOPC && !op_.writes_exec) destination = "vcc_lo";
  if (format_ == Format::VOP2 && op_.writes_vcc) carry = "vcc_lo";
  if (format_ == Format::VOP2 && op_.reads_vcc) sources[2] = "vcc_lo";
  if (!destination.empty()) list_.add(destination);
  if (!carry.empty()) list_.add(carry);
  for (const std::string& s : sources)
    if (!s.empty()) list_.add(s), ++source_count_;
}

std::string Vector::modifiers() const {
  if (short_) return "";
  std::string text;
  const unsigned count = source_count_;
  const uint32_t full = (1u << count) - 1;
  if (packed_) {
    const uint32_t hi = d_[Field::f_opsel_hi] | d_[Field::f_opsel_hi2] << 2;
    const bool mix = contains(op_.name, "_mix");
    if (contains(op_.name, "swmmac")) text += opsel_ & 3 ? " index_key:" + std::to_string(opsel_ & 3) : "";
    else if (opsel_ & full) text += bit_list("op_sel", opsel_, count);
    if (mix ? (hi & full) != 0 : (hi & full) != full) text += bit_list("op_sel_hi", hi, count);
    if (!mix) {
      if (neg_ & full) text += bit_list("neg_lo", neg_, count);
      if (d_[Field::f_neg_hi] & full) text += bit_list("neg_hi", d_[Field::f_neg_hi], count);
    }
    return text + (d_[Field::f_clmp] ? " clamp" : "");
  }
  if (opsel_ && (contains(op_.name, "_f32_fp8") || contains(op_.name, "_f32_bf8")) && !contains(op_.name, "_pk_")) {
    text += " byte_sel:" + std::to_string((opsel_ & 1) << 1 | (opsel_ >> 1 & 1));
  } else if (opsel_ && contains(op_.name, "v_cvt_sr_")) {
    text += " byte_sel:" + std::to_string(opsel_ >> 2);
  } else if (opsel_ && op_.operand_count && !contains(op_.name, "v_cndmask_b16")) {
    // Sources (the accumulator counts as one), then the destination; the permutes use the two low bits for other things.
    const unsigned places = contains(op_.name, "fmac") ? count + 1 : count;
    const bool compare_dpp = contains(op_.name, "v_cmp_") && d_.dpp != Decoded::Dpp::none;
    const uint32_t bits = (opsel_ & full) | (opsel_ >> 3 & 1) << places;
    text += bit_list("op_sel", bits, contains(op_.name, "permlane") ? 2 : op_.writes_exec || compare_dpp ? places : places + 1);
  }
  const char* const clamp = d_[Field::f_clmp] ? " clamp" : "";
  if (format_ == Format::VINTERP) return clamp + text + " wait_exp:" + std::to_string(d_[Field::f_waitexp]);
  text += clamp;
  const char* const omod[] = {"", " mul:2", " mul:4", " div:2"};
  return text + omod[d_[Field::f_omod] & 3];
}

std::string Vector::dpp() const {
  const uint32_t word = d_.dpp_word;
  if (d_.dpp == Decoded::Dpp::dpp8) {
    std::string text = " dpp8:[";
    for (unsigned n = 0; n < 8; ++n) text += (n ? "," : "") + std::to_string(word >> (8 + 3 * n) & 7);
    return text + "]" + (d_.dpp8_fetch_inactive ? " fi:1" : "");
  }
  if (d_.dpp != Decoded::Dpp::dpp16) return "";
  const uint32_t control = word >> 8 & 0x1FF;
  std::string text;
  const auto numbered = [&](const char* name) { text = std::string(" ") + name + ":" + std::to_string(control & 15); };
  if (control < 0x100) {
    text = " quad_perm:[";
    for (unsigned n = 0; n < 4; ++n) text += (n ? "," : "") + std::to_string(control >> (2 * n) & 3);
    text += "]";
  } else if (control > 0x100 && control <= 0x10F) numbered("row_shl");
  else if (control > 0x110 && control <= 0x11F) numbered("row_shr");
  else if (control > 0x120 && control <= 0x12F) numbered("row_ror");
  else if (control == 0x140) text = " row_mirror";
  else if (control == 0x141) text = " row_half_mirror";
  else if (control >= 0x150 && control <= 0x15F) numbered("row_share");
  else if (control >= 0x160 && control <= 0x16F) numbered("row_xmask");
  else text = " dpp_ctrl:" + hex(control);
  text += " row_mask:" + hex(word >> 28) + " bank_mask:" + hex(word >> 24 & 15);
  if (word >> 19 & 1) text += " bound_ctrl:1";
  if (word >> 18 & 1) text += " fi:1";
  return text;
}

std::string vopd(const Decoded& d) {
  const auto half = [&](const OpRow& op, Field dst, Field src0, Field vsrc1) {
    List list;
    list.add(vgprs(d[dst], 1));
    const uint32_t code = d[src0];
    list.add(code >= 256 ? vgprs(code - 256, 1) : constant_or_scalar(code, op.operands[0], d.literal));
    if (contains(op.name, "fmamk")) list.add(hex(d.literal));
    if (op.operand_count > 2) list.add(vgprs(d[vsrc1] & 255, 1));
    if (contains(op.name, "fmaak")) list.add(hex(d.literal));
    return op.name + list.text;
  };
  return half(*d.row, Field::f_vdstx, Field::f_srcx0, Field::f_vsrcx1) + " :: " +
         half(*d.row_y, Field::f_vdsty, Field::f_srcy0, Field::f_vsrcy1);
}

}  // namespace
}  // namespace text

std::string disassemble(const Decoded& d, std::span<const uint32_t> words, uint64_t pc) {
  if (!d.row) {
    char line[24];
    std::snprintf(line, sizeof line, ".long 0x%08x", words.empty() ? 0 : words[0]);
    return line;
  }
  switch (d.format->format) {
    case Format::VOPD: return text::vopd(d);
    case Format::SOP1: case Format::SOP2: case Format::SOPC: case Format::SOPK: case Format::SOPP: return text::scalar(d, pc);
    case Format::SMEM: return text::smem(d);
    case Format::DS: return text::ds(d);
    case Format::LDSDIR: case Format::VDSDIR: return text::lds_direct(d);
    case Format::FLAT: case Format::GLOBAL: case Format::SCRATCH:
    case Format::VFLAT: case Format::VGLOBAL: case Format::VSCRATCH: return text::flat(d);
    case Format::MUBUF: case Format::MTBUF: case Format::VBUFFER: return text::buffer(d);
    case Format::MIMG: case Format::VIMAGE: case Format::VSAMPLE: return text::image(d);
    case Format::EXP: case Format::VEXPORT: return text::exported(d);
    default: return text::Vector(d).text();
  }
}

}  // namespace usbgpu::emulator::isa
