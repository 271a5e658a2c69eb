// Vector ALU instructions: modifiers a handler does not apply itself become micro-ops around it.
#include <cstring>

#include "emulator/isa/lower_builder.h"

namespace usbgpu::emulator::isa {

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

}  // namespace usbgpu::emulator::isa
