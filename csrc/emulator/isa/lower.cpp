#include "emulator/isa/lower.h"

#include <cstring>
#include <string_view>

#include "emulator/isa/handlers.h"
#include "emulator/isa/wave.h"

namespace usbgpu::emulator::isa {
namespace {

constexpr uint32_t kInvalid = 0x7FFFFFFF;
constexpr uint32_t constant_offset(unsigned n) { return static_cast<uint32_t>(offsetof(Wave, constant) + 8 * n); }
constexpr uint32_t kZero = constant_offset(kConstInteger);

bool is_float64(Type t) { return t == Type::t_F64; }
bool is_half(Type t) {
  switch (t) {
    case Type::t_F16: case Type::t_BF16: case Type::t_PK2_F16: case Type::t_PK2_BF16: case Type::t_WMMA_DC_F16: return true;
    default: return false;
  }
}
bool is_sixteen(const OperandRow& o) { return o.bits == 16; }


// Builds the Insts of one instruction.
class Builder {
 public:
  Builder(const Decoded& d, uint64_t pc, std::vector<Inst>& out) : d_(d), pc_(pc), out_(out), first_(out.size()) {}

  // An empty string, or what is missing.
  std::string build() {
    if (!d_.row) return "unknown encoding";
    if (d_.row->absent) return std::string(d_.row->name) + " is not on this chip";
    switch (d_.format->format) {
      case Format::VOPD: return vopd();
      case Format::VOP1: case Format::VOP2: case Format::VOP3: case Format::VOP3P: case Format::VOP3SD: case Format::VOPC:
        return vector();
      case Format::SOP1: case Format::SOP2: case Format::SOPC: case Format::SOPK: case Format::SOPP:
        return scalar();
      case Format::SMEM: return smem();
      case Format::DS: return ds();
      case Format::FLAT: case Format::GLOBAL: case Format::SCRATCH: return flat(Field::f_addr, Field::f_data, Field::f_offset);
      case Format::VFLAT: case Format::VGLOBAL: case Format::VSCRATCH: return flat(Field::f_vaddr, Field::f_vsrc, Field::f_ioffset);
      default: return mubuf();
    }
  }

 private:
  struct Source { uint32_t offset = kZero; bool scalar = true; bool high = false; };

  Inst blank(const char* mnemonic) {
    Inst i{};
    i.pc = pc_;
    i.cls = d_.row->cls;
    i.dst = i.dst2 = static_cast<uint32_t>(offsetof(Wave, discard));
    i.src[0] = i.src[1] = i.src[2] = i.src3 = kZero;
    row_ = find_handler(mnemonic);
    return i;
  }

  // Scalar register, constant or literal as a source.
  uint32_t scalar_source(uint32_t code, const OperandRow& o) {
    if (code < kNull || code == kM0 || code == kExec || code == kExec + 1) return sgpr_offset(code);
    if (code == kNull) return kZero;
    if (code >= 128 && code <= 192) return constant_offset(kConstInteger + code - 128);
    if (code >= 193 && code <= 208) return constant_offset(kConstInteger + 65 + code - 193);
    if (code >= 235 && code <= 238) return constant_offset(kConstShared + code - 235);
    if (code >= 240 && code <= 248) {
      const unsigned base = o.bits == 64 ? kConstF64 : is_half(o.type) || o.bits == 16 ? kConstF16 : kConstF32;
      return constant_offset(base + code - 240);
    }
    if (code == 253) return static_cast<uint32_t>(offsetof(Wave, scc));
    if (code == 255) return literal_source(o);
    return kInvalid;
  }
  uint32_t literal_source(const OperandRow& o) {
    // A literal is 32 bits: the high dword of a double, else extended by the operand's signedness.
    if (is_float64(o.type)) literal_ = uint64_t{d_.literal} << 32;
    else if (o.type == Type::t_I64) literal_ = static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(d_.literal)));
    else literal_ = d_.literal;
    return kInInst | static_cast<uint32_t>(offsetof(Inst, literal));
  }
  Source any_source(uint32_t code, const OperandRow& o, bool short_encoding) {
    if (code < 256) return {scalar_source(code, o), true, false};
    unsigned n = code - 256;
    bool high = false;
    if (short_encoding && is_sixteen(o)) high = n >= 128, n &= 127;  // true16
    return {vgpr_offset(n), false, high};
  }
  static uint32_t scalar_destination(uint32_t code) {
    return code == kNull || code > kExec + 1 ? static_cast<uint32_t>(offsetof(Wave, discard))
           : code >= kTtmp0 && code < kNull ? static_cast<uint32_t>(offsetof(Wave, discard))  // TTMPs: user writes are dropped
                                            : sgpr_offset(code);
  }

  bool finish(Inst& i, const Shape& shape) {
    if (!row_) return false;
    i.fn = row_->select(shape);
    i.literal = literal_;
    if (!i.fn) return false;
    out_.push_back(i);
    return true;
  }
  std::string missing(const char* name) { return std::string(name) + (row_ ? " (this form)" : "") + " is not implemented"; }

  void micro(const char* mnemonic, Inst i, bool scalar) {
    const HandlerRow* row = find_handler(mnemonic);
    Shape shape{};
    shape.scalars = scalar;
    i.fn = row ? row->select(shape) : nullptr;
    i.literal = literal_;
    i.pc = pc_;
    i.cls = d_.row->cls;
    staging_failed_ |= !i.fn;
    out_.push_back(i);
  }
  uint32_t temp() { temps_ += 2; return temp_offset(temps_ - 2); }

  // Replaces a source by a staged copy with neg/abs applied or the high half shifted down.
  void stage_half(Source& s) {
    Inst i{};
    i.src[0] = s.offset;
    i.dst = temp();
    micro(".half", i, s.scalar);
    s = {i.dst, false, false};
  }
  void stage_modifiers(Source& s, const OperandRow& o, bool neg, bool abs) {
    Inst i{};
    i.src[0] = s.offset;
    i.dst = temp();
    i.neg = neg;
    i.abs = abs;
    micro(o.bits == 64 ? ".mod_f64" : o.bits == 16 ? ".mod_f16" : ".mod_f32", i, s.scalar);
    s = {i.dst, false, false};
  }

  std::string vector();
  std::string vopd();
  std::string scalar();
  std::string smem();
  std::string ds();
  std::string flat(Field address, Field data, Field offset);
  std::string mubuf();

  const Decoded& d_;
  uint64_t pc_;
  std::vector<Inst>& out_;
  size_t first_;
  const HandlerRow* row_ = nullptr;
  uint64_t literal_ = 0;
  unsigned temps_ = 0;
  bool staging_failed_ = false;
};

std::string Builder::vector() {
  const OpRow& op = *d_.row;
  const Format f = d_.format->format;
  const bool short_encoding = f == Format::VOP1 || f == Format::VOP2 || f == Format::VOPC;
  const bool packed = f == Format::VOP3P;
  Inst i = blank(op.name);
  if (!row_) return missing(op.name);
  const uint16_t handles = packed ? static_cast<uint16_t>(own_all) : row_->handles;

  uint8_t neg = 0, abs = 0, opsel = 0, clamp = 0, omod = 0;
  if (!short_encoding) {
    neg = static_cast<uint8_t>(d_[Field::f_neg]);
    abs = static_cast<uint8_t>(f == Format::VOP3 ? d_[Field::f_abs] : 0);
    clamp = static_cast<uint8_t>(d_[Field::f_clmp]);
    omod = static_cast<uint8_t>(f == Format::VOP3P ? 0 : d_[Field::f_omod]);
    opsel = static_cast<uint8_t>(f == Format::VOP3SD ? 0 : d_[Field::f_opsel]);
  }
  Source sources[3];
  const OperandRow* rows[3] = {};
  const OperandRow* result = nullptr;
  bool sdst_null = false;
  const bool fmamk = std::strstr(op.name, "fmamk"), fmaak = std::strstr(op.name, "fmaak");
  for (unsigned n = 0; n < op.operand_count; ++n) {
    const OperandRow& o = op.operands[n];
    const uint32_t code = d_.code(o);
    switch (o.field) {
      case Field::f_vdst:
        result = &o;
        if (o.kind == OperandKind::k_sreg || o.kind == OperandKind::k_sdst || o.kind == OperandKind::k_sdst_null) i.dst = scalar_destination(code);
        else if (o.kind == OperandKind::k_exec) i.dst = sgpr_offset(kExec);
        else {
          unsigned v = code & 0xFF;
          if (short_encoding && is_sixteen(o)) opsel |= static_cast<uint8_t>((v >> 7) << 3), v &= 127;
          i.dst = vgpr_offset(v);
        }
        break;
      case Field::f_sdst:
        sdst_null = code == kNull;
        i.dst2 = scalar_destination(code);
        break;
      case Field::f_src0: case Field::f_src1: case Field::f_src2: case Field::f_vsrc1: {
        unsigned slot = o.field == Field::f_src0 ? 0 : o.field == Field::f_src2 ? 2 : 1;
        uint32_t c = code;
        if (o.field == Field::f_vsrc1 || (o.kind == OperandKind::k_vgpr && c < 256)) c = 256 + (c & 0xFF);
        if (fmamk && o.field == Field::f_vsrc1) slot = 2;
        sources[slot] = any_source(c, o, short_encoding);
        if (sources[slot].offset == kInvalid) return std::string(op.name) + ": invalid source";
        if (sources[slot].high) opsel |= static_cast<uint8_t>(1u << slot);
        rows[slot] = &o;
        break;
      }
      default: break;
    }
  }
  if (fmamk || fmaak) {
    const unsigned slot = fmamk ? 1 : 2;
    sources[slot] = {literal_source(op.operands[0]), true, false};
    rows[slot] = &op.operands[0];
  }
  if (f == Format::VOPC) i.dst = sgpr_offset(op.writes_exec ? static_cast<unsigned>(kExec) : static_cast<unsigned>(kVcc));
  if (f == Format::VOP2) {  // implicit VCC as explicit mask operands
    if (op.reads_vcc) sources[2] = {sgpr_offset(kVcc), true, false};
    if (op.writes_vcc) i.dst2 = sgpr_offset(kVcc);
  }

  // DPP: the lanes come from elsewhere; everything after sees a temporary.
  if (d_.dpp != Decoded::Dpp::none) {
    Inst p{};
    p.src[0] = sources[0].offset;
    p.imm = static_cast<int32_t>(d_.dpp_word);
    p.dst = temp();
    p.aux = d_.dpp8_fetch_inactive;
    micro(d_.dpp == Decoded::Dpp::dpp16 ? ".dpp16" : ".dpp8", p, false);
    sources[0].offset = p.dst;
    if (d_.dpp == Decoded::Dpp::dpp16 && short_encoding) {
      neg |= static_cast<uint8_t>((d_.dpp_word >> 20 & 1) | (d_.dpp_word >> 22 & 1) << 1);
      abs |= static_cast<uint8_t>((d_.dpp_word >> 21 & 1) | (d_.dpp_word >> 23 & 1) << 1);
    }
  }
  const bool half_operands = [&] {
    bool any = result && is_sixteen(*result);
    for (const OperandRow* r : rows) any |= r && is_sixteen(*r);
    return any;
  }();
  if (!packed && half_operands && !(handles & own_opsel)) {
    for (unsigned n = 0; n < 3; ++n)
      if ((opsel >> n & 1) && rows[n] && is_sixteen(*rows[n])) stage_half(sources[n]), opsel &= static_cast<uint8_t>(~(1u << n));
  }
  if (!(handles & own_neg_abs) && (neg | abs)) {
    for (unsigned n = 0; n < 3; ++n)
      if (rows[n] && ((neg | abs) >> n & 1)) {
        if ((opsel >> n & 1) && is_sixteen(*rows[n])) stage_half(sources[n]), opsel &= static_cast<uint8_t>(~(1u << n));
        stage_modifiers(sources[n], *rows[n], neg >> n & 1, abs >> n & 1);
      }
    neg = abs = 0;
  }
  // Results that need finishing go to a temporary first.
  const bool stage_high = !packed && result && is_sixteen(*result) && (opsel & 8) && !(handles & own_opsel);
  const bool stage_clamp = (clamp && !(handles & own_clamp)) || (omod && !(handles & own_omod));
  const uint32_t destination = i.dst;
  const bool wide = result && result->bits == 64;
  if (stage_clamp || stage_high) {
    if (stage_clamp && result && result->type != Type::t_F32 && result->type != Type::t_F64 && result->type != Type::t_F16)
      return std::string(op.name) + ": clamp of an integer is not implemented";
    i.dst = temp();
    if (result->read) {  // the accumulator
      Inst c{};
      c.src[0] = destination;
      c.dst = i.dst;
      micro(stage_high ? ".half" : wide ? ".copy64" : ".copy", c, false);
    }
  }
  for (unsigned n = 0; n < 3; ++n) i.src[n] = sources[n].offset;
  i.neg = neg;
  i.abs = abs;
  i.opsel = stage_high ? opsel & 7 : opsel;
  i.clamp = stage_clamp ? 0 : clamp;
  i.omod = stage_clamp ? 0 : omod;
  if (packed) {
    i.neg_hi = static_cast<uint8_t>(d_[Field::f_neg_hi]);
    i.opsel_hi = static_cast<uint8_t>(d_[Field::f_opsel_hi] | d_[Field::f_opsel_hi2] << 2);
  }
  Shape shape{};
  for (unsigned n = 0; n < 3; ++n) shape.scalars |= static_cast<uint8_t>(sources[n].scalar << n);
  shape.neg = i.neg, shape.abs = i.abs, shape.opsel = i.opsel, shape.neg_hi = i.neg_hi, shape.opsel_hi = i.opsel_hi;
  shape.clamp = i.clamp, shape.omod = i.omod, shape.sdst_null = sdst_null;
  row_ = find_handler(op.name);
  if (!finish(i, shape)) return missing(op.name);
  uint32_t pending = i.dst;
  if (stage_clamp) {
    Inst c{};
    c.src[0] = pending;
    c.dst = stage_high ? (pending = temp()) : destination;
    c.clamp = clamp;
    c.omod = omod;
    micro(result->type == Type::t_F64 ? ".clamp_f64" : result->type == Type::t_F16 ? ".clamp_f16" : ".clamp_f32", c, false);
  }
  if (stage_high) {
    Inst c{};
    c.src[0] = pending;
    c.dst = destination;
    micro(".merge_high", c, false);
  }
  if (d_.dpp != Decoded::Dpp::none) micro(op.writes_exec ? ".dpp_end_cmpx" : ".dpp_end", Inst{}, false);
  return staging_failed_ ? std::string(op.name) + ": modifier is not implemented" : "";
}

std::string Builder::vopd() {
  const OpRow &x = *d_.row, &y = *d_.row_y;
  const auto half = [&](const OpRow& op, Field src0, Field vsrc1, Source (&s)[2]) {
    s[0] = any_source(d_[src0], op.operands[0], false);
    s[1] = {vgpr_offset(d_[vsrc1] & 0xFF), false, false};
    return s[0].offset != kInvalid;
  };
  Source xs[2], ys[2];
  if (!half(x, Field::f_srcx0, Field::f_vsrcx1, xs) || !half(y, Field::f_srcy0, Field::f_vsrcy1, ys)) return "invalid source";
  literal_ = d_.literal;
  const uint32_t dx = vgpr_offset(d_[Field::f_vdstx]), dy = vgpr_offset(d_[Field::f_vdsty]);

  std::string pair = std::string(x.name) + "::" + y.name;
  Inst i = blank(pair.c_str());
  if (row_) {
    i.dst = dx, i.src[0] = xs[0].offset, i.src[1] = xs[1].offset;
    i.dst2 = dy, i.src[2] = ys[0].offset, i.src3 = ys[1].offset;
    Shape shape{};
    shape.scalars = static_cast<uint8_t>(xs[0].scalar | ys[0].scalar << 2);
    if (finish(i, shape)) return "";
  }
  // X into a temporary, Y in place, X's result moved: Y has read its sources before X's destination changes.
  const auto emit = [&](const OpRow& op, Source (&s)[2], uint32_t dst) {
    const std::string plain = "v_" + std::string(op.name + std::strlen("v_dual_"));
    Inst half = blank(plain.c_str());
    half.dst = dst;
    half.src[0] = s[0].offset;
    half.src[1] = s[1].offset;
    Shape shape{};
    shape.scalars = s[0].scalar;
    if (plain == "v_fmaak_f32") half.src[2] = kInInst | offsetof(Inst, literal), shape.scalars |= 4;
    else if (plain == "v_fmamk_f32") half.src[2] = half.src[1], half.src[1] = kInInst | offsetof(Inst, literal), shape.scalars |= 2;
    else shape.scalars |= 4;
    if (plain == "v_cndmask_b32") half.src[2] = sgpr_offset(kVcc);
    return finish(half, shape);
  };
  const uint32_t staged = temp();
  if (x.operands[1].read) {
    Inst c{};
    c.src[0] = dx;
    c.dst = staged;
    micro(".copy", c, false);
  }
  if (!emit(x, xs, staged)) return missing(x.name);
  if (!emit(y, ys, dy)) return missing(y.name);
  Inst move{};
  move.src[0] = staged;
  move.dst = dx;
  micro(".move", move, false);
  return "";
}

std::string Builder::scalar() {
  const OpRow& op = *d_.row;
  Inst i = blank(op.name);
  i.imm = static_cast<int16_t>(d_[Field::f_simm16]);
  for (unsigned n = 0; n < op.operand_count; ++n) {
    const OperandRow& o = op.operands[n];
    if (o.field == Field::f_sdst) {
      i.dst = scalar_destination(d_[o.field]);
      if (o.read || !o.write) i.src[0] = scalar_source(d_[o.field], o);  // SOPK: compares and read-modify-write
    } else if (o.field == Field::f_ssrc0 || o.field == Field::f_ssrc1) {
      const unsigned slot = o.field == Field::f_ssrc0 ? 0 : 1;
      // message ids and barrier ids are numbers, not operands
      if (o.kind == OperandKind::k_sendmsg_rtn || o.kind == OperandKind::k_barrier_id) { i.imm = static_cast<int32_t>(d_[o.field]); continue; }
      i.src[slot] = scalar_source(d_[o.field], o);
      if (i.src[slot] == kInvalid) return std::string(op.name) + ": invalid source";
    }
  }
  if (op.literal) literal_ = d_.literal;
  for (unsigned n = 0; n < op.operand_count; ++n)
    if (op.operands[n].kind == OperandKind::k_label) literal_ = pc_ + static_cast<uint64_t>(branch_offset(d_));  // target address
  if (!finish(i, Shape{})) return missing(op.name);
  return "";
}

std::string Builder::smem() {
  const OpRow& op = *d_.row;
  Inst i = blank(op.name);
  i.dst = scalar_destination(d_[Field::f_sdata]);
  i.src[0] = sgpr_offset(d_[Field::f_sbase]);
  OperandRow offset{Field::f_soffset, OperandKind::k_sreg, Type::t_B32, 32, true, false};
  i.src[1] = scalar_source(d_[Field::f_soffset], offset);
  if (i.src[1] == kInvalid) return std::string(op.name) + ": invalid offset";
  const bool gfx12 = d_[Field::f_ioffset] != 0;
  i.imm = gfx12 ? static_cast<int32_t>(d_[Field::f_ioffset] << 8) >> 8 : static_cast<int32_t>(d_[Field::f_offset] << 11) >> 11;
  if (!finish(i, Shape{})) return missing(op.name);
  return "";
}

std::string Builder::ds() {
  const OpRow& op = *d_.row;
  if (d_.format->format == Format::DS && d_[Field::f_gds]) return std::string(op.name) + " gds is not implemented";
  Inst i = blank(op.name);
  i.dst = vgpr_offset(d_[Field::f_vdst]);
  i.src[0] = vgpr_offset(d_[Field::f_addr]);
  i.src[1] = vgpr_offset(d_[Field::f_data0]);
  i.src[2] = vgpr_offset(d_[Field::f_data1]);
  i.imm = static_cast<int32_t>(d_[Field::f_offset0] | d_[Field::f_offset1] << 8);
  if (!finish(i, Shape{})) return missing(op.name);
  return "";
}

// src[0] = address VGPR, src[1] = saddr (zero constant without), src[2] = data, aux bit 0: glc (the
// pre-operation value is returned), bit 1: an address VGPR takes part, bit 2: saddr takes part.
std::string Builder::flat(Field address, Field data, Field offset) {
  const OpRow& op = *d_.row;
  const Format f = d_.format->format;
  Inst i = blank(op.name);
  const bool scratch = f == Format::SCRATCH || f == Format::VSCRATCH, flat = f == Format::FLAT || f == Format::VFLAT;
  const unsigned width = address == Field::f_addr ? 13 : 24;
  const uint32_t raw = d_[offset];
  i.imm = static_cast<int32_t>(raw << (32 - width)) >> (32 - width);
  if (flat && width == 13) i.imm = static_cast<int32_t>(raw & 0xFFF);  // RDNA3 ISA: FLAT offsets are not negative
  i.dst = vgpr_offset(d_[Field::f_vdst]);
  i.src[0] = vgpr_offset(d_[address]);
  i.src[2] = vgpr_offset(d_[data]);
  const uint32_t saddr = d_[Field::f_saddr];
  const bool uses_saddr = !flat && saddr != kNull && saddr != 127;
  i.src[1] = uses_saddr ? sgpr_offset(saddr) : kZero;
  const bool uses_vaddr = scratch ? d_[Field::f_sve] != 0 : true;
  const bool returns = address == Field::f_addr ? d_[Field::f_glc] != 0 : (d_[Field::f_th] & 1) != 0;
  i.aux = static_cast<uint32_t>(returns) | static_cast<uint32_t>(uses_vaddr) << 1 | static_cast<uint32_t>(uses_saddr) << 2;
  Shape shape{};
  shape.scalars = static_cast<uint8_t>(uses_saddr << 1);
  if (!finish(i, shape)) return missing(op.name);
  return "";
}

// Clang uses buffer encodings for cache control only (buffer_gl0_inv, buffer_gl1_inv).
std::string Builder::mubuf() {
  Inst i = blank(d_.row->name);
  if (!finish(i, Shape{})) return missing(d_.row->name);
  return "";
}

}  // namespace

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
