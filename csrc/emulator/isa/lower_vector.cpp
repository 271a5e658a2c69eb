// Vector ALU instructions: modifiers a handler does not apply itself become micro-ops around it.
#include <cstring>
#include <string_view>

#include "emulator/isa/lower_builder.h"

namespace usbgpu::emulator::isa {

namespace {

// MODE's rounding acts on operations that round in an arithmetic unit: table units, conversions to
// integers and to the nearest integral value have a rounding of their own.
bool rounds_by_mode(std::string_view name) {
  constexpr std::string_view stems[] = {
      "v_add_f", "v_sub_f", "v_subrev_f", "v_mul_f", "v_mul_dx9", "v_mullit", "v_fma", "v_ldexp", "v_div_fmas", "v_pk_add_f", "v_pk_mul_f",
      "v_pk_fma", "v_cvt_f32_i32", "v_cvt_f32_u32", "v_cvt_f32_f64", "v_cvt_f16_f32", "v_cvt_f16_i16", "v_cvt_f16_u16"};
  for (const std::string_view stem : stems)
    if (name.starts_with(stem)) return true;
  return false;
}
// MODE's denormal bits act on every float operand, but for operations that look at bits (class), that
// take numbers apart, the end of the division chain, and units with rules of their own: table units
// flush f32 always, dot products and matrices keep what they get. v_div_scale does look at flushed
// operands: with denormals off hardware answers a denormal denominator with NaN and VCC = 1.
bool flushes_by_mode(std::string_view name) {
  constexpr std::string_view exempt[] = {"v_cmp_class", "v_cmpx_class", "v_div_fixup", "v_frexp", "v_dot",
                                         "v_wmma", "v_swmmac", "v_mov", "v_s_"};
  for (const std::string_view stem : exempt)
    if (name.starts_with(stem)) return false;
  return true;
}
// The micro-op that flushes denormals of an operand type, or nullptr.
const char* flush_of(const OperandRow& o) {
  switch (o.type) {
    case Type::t_F32: return ".flush_f32";
    case Type::t_F64: return ".flush_f64";
    case Type::t_F16: case Type::t_PK2_F16: return ".flush_f16";
    default: return nullptr;
  }
}
// Bits of MODE: [4] f32 inputs, [5] f32 results, [6], [7] the same for f16 and f64
constexpr int32_t input_bit(const OperandRow& o) { return o.type == Type::t_F32 ? 4 : 6; }
constexpr int32_t output_bit(const OperandRow& o) { return o.type == Type::t_F32 ? 5 : 7; }

}  // namespace

void Builder::flush(const OperandRow& o, Source from, uint32_t to, int32_t mode_bit) {
  Inst i{};
  i.src[0] = from.offset;
  i.dst = to;
  i.imm = mode_bit;
  micro(flush_of(o), i, from.scalar);
}
void Builder::rounding(const OperandRow* result, bool begin) {
  Inst i{};
  i.imm = result && result->type == Type::t_F32 ? 0 : 2;  // MODE[1:0]: f32, MODE[3:2]: f16 and f64
  micro(begin ? ".round" : ".round_end", i, false);
}

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
        if (o.bits == 0) masks_ |= mask_dst;
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
        masks_ |= mask_dst2;
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
        if (o.bits == 0 && slot == 2) masks_ |= mask_src2;
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
  if (f == Format::VOPC) masks_ |= mask_dst, i.dst = sgpr_offset(op.writes_exec ? static_cast<unsigned>(kExec) : static_cast<unsigned>(kVcc));
  if (f == Format::VOP2) {  // implicit VCC as explicit mask operands
    if (op.reads_vcc) sources[2] = {sgpr_offset(kVcc), true, false}, masks_ |= mask_src2;
    if (op.writes_vcc) i.dst2 = sgpr_offset(kVcc), masks_ |= mask_dst2;
  } else if (op.reads_vcc) {  // v_div_fmas
    i.src3 = sgpr_offset(kVcc), masks_ |= mask_src3;
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
  const bool flushes = options_.any_mode && flushes_by_mode(op.name);
  if (flushes)
    for (unsigned n = 0; n < 3; ++n)
      if (rows[n] && flush_of(*rows[n]) && !(n == 1 && std::strstr(op.name, "ldexp"))) {  // v_ldexp's exponent is an integer
        const uint32_t staged = temp();
        flush(*rows[n], sources[n], staged, input_bit(*rows[n]));
        sources[n] = {staged, false, sources[n].high};
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
  const bool stage_clamp = result && ((clamp && !(handles & own_clamp)) || (omod && !(handles & own_omod)));  // v_nop has the bits, too
  const bool stage_flush = flushes && result && flush_of(*result);
  const uint32_t destination = i.dst;
  const bool wide = result && result->bits == 64;
  if (stage_clamp || stage_high || stage_flush) {
    if (stage_clamp && result && result->type != Type::t_F32 && result->type != Type::t_F64 && result->type != Type::t_F16)
      return std::string(op.name) + ": clamp of an integer is not implemented";
    i.dst = temp();
    if (result->read) {  // the accumulator
      Inst c{};
      c.src[0] = destination;
      c.dst = i.dst;
      micro(stage_high ? ".half" : wide ? ".copy64" : ".copy", c, false);
      if (stage_flush) flush(*result, {i.dst, false, false}, i.dst, input_bit(*result));
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
  const bool rounds = options_.any_mode && rounds_by_mode(op.name);
  if (rounds) rounding(result, true);
  masked_inst_ = out_.size();
  if (!finish(i, shape)) return missing(op.name);
  if (rounds) rounding(result, false);
  uint32_t pending = i.dst;
  if (stage_flush) {
    flush(*result, {pending, false, false}, pending, output_bit(*result));
    if (!stage_clamp && !stage_high) {
      Inst c{};
      c.src[0] = pending;
      c.dst = destination;
      const bool partial = is_sixteen(*result), high = (i.opsel & 8) || std::strstr(op.name, "mixhi");
      micro(partial ? high ? ".take_high" : ".take_low" : wide ? ".move64" : ".move", c, false);
    }
  }
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
  if (d_.dpp != Decoded::Dpp::none) micro(op.writes_exec && !options_.wave64 ? ".dpp_end_cmpx" : ".dpp_end", Inst{}, false);
  return staging_failed_ ? std::string(op.name) + ": modifier is not implemented" : "";
}

std::string Builder::vopd() {
  if (options_.wave64) return "VOPD needs wave32";
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
  if (row_ && !options_.any_mode) {
    i.dst = dx, i.src[0] = xs[0].offset, i.src[1] = xs[1].offset;
    i.dst2 = dy, i.src[2] = ys[0].offset, i.src3 = ys[1].offset;
    Shape shape{};
    shape.scalars = static_cast<uint8_t>(xs[0].scalar | ys[0].scalar << 2);
    if (finish(i, shape)) return "";
  }
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
    constexpr OperandRow f32{Field::f_vdst, OperandKind::k_vgpr, Type::t_F32, 32, false, true};
    const bool flushes = options_.any_mode && plain.ends_with("_f32") && flushes_by_mode(plain);
    const bool rounds = options_.any_mode && rounds_by_mode(plain);
    if (flushes)
      for (unsigned k = 0; k < (plain == "v_fmaak_f32" || plain == "v_fmamk_f32" ? 3u : 2u); ++k) {
        const uint32_t flushed = temp();
        flush(f32, {half.src[k], (shape.scalars >> k & 1) != 0, false}, flushed, input_bit(f32));
        half.src[k] = flushed, shape.scalars &= static_cast<uint8_t>(~(1u << k));
      }
    if (flushes) flush(f32, {dst, false, false}, dst, input_bit(f32));  // the accumulator
    if (rounds) rounding(&f32, true);
    if (!finish(half, shape)) return false;
    if (rounds) rounding(&f32, false);
    if (flushes) flush(f32, {dst, false, false}, dst, output_bit(f32));
    return true;
  };
  // Both into temporaries, then moved: Y has read its sources before X's destination changes.
  const auto stage = [&](const OpRow& op, uint32_t dst) {
    const uint32_t staged = temp();
    Inst c{};
    c.src[0] = dst;
    c.dst = staged;
    if (op.operands[1].read || options_.any_mode) micro(".copy", c, false);
    return staged;
  };
  const auto move = [&](uint32_t from, uint32_t to) {
    Inst m{};
    m.src[0] = from;
    m.dst = to;
    micro(".move", m, false);
  };
  const uint32_t staged_x = stage(x, dx), staged_y = options_.any_mode ? stage(y, dy) : dy;
  if (!emit(x, xs, staged_x)) return missing(x.name);
  if (!emit(y, ys, staged_y)) return missing(y.name);
  move(staged_x, dx);
  if (staged_y != dy) move(staged_y, dy);
  return staging_failed_ ? "a modifier is not implemented" : "";
}

}  // namespace usbgpu::emulator::isa
