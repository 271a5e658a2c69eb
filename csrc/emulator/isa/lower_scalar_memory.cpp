// Scalar instructions, scalar and vector memory, LDS.
#include <cstring>

#include "emulator/isa/lower_builder.h"

namespace usbgpu::emulator::isa {

std::string Builder::scalar() {
  const OpRow& op = *d_.row;
  Inst i = blank(op.name);
  i.imm = static_cast<int16_t>(d_[Field::f_simm16]);
  if (std::strstr(op.name, "_barrier_") && d_.format->format == Format::SOP1) {
    // The barrier's number: an inline constant, or M0 (aux). The tables list operands of the signals only.
    const uint32_t code = d_[Field::f_ssrc0];
    i.aux = code == kM0;
    i.imm = code >= 128 && code <= 192 ? static_cast<int32_t>(code) - 128 : code >= 193 && code <= 208 ? 192 - static_cast<int32_t>(code) : 0;
    if (std::strcmp(op.name, "s_get_barrier_state") == 0) i.dst = scalar_destination(d_[Field::f_sdst]);
    return finish(i, Shape{}) ? "" : missing(op.name);
  }
  for (unsigned n = 0; n < op.operand_count; ++n) {
    const OperandRow& o = op.operands[n];
    if (o.field == Field::f_sdst) {
      i.dst = scalar_destination(d_[o.field]);
      if (o.read || !o.write) i.src[0] = scalar_source(d_[o.field], o);  // SOPK: compares and read-modify-write
    } else if (o.field == Field::f_ssrc0 || o.field == Field::f_ssrc1) {
      const unsigned slot = o.field == Field::f_ssrc0 ? 0 : 1;
      // message ids and barrier ids are numbers, not operands
      if (o.kind == OperandKind::k_sendmsg_rtn) { i.imm = static_cast<int32_t>(d_[o.field]); continue; }
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
  i.imm = d_.arch == Arch::gfx12 ? static_cast<int32_t>(d_[Field::f_ioffset] << 8) >> 8 : static_cast<int32_t>(d_[Field::f_offset] << 11) >> 11;
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

// Buffers and what else has no builder of its own (graphics, which finds no handler and so faults by name).
// src[0] = index and/or offset VGPRs, src[1] = SGPR offset, src[2] = data, src3 = descriptor (four SGPRs);
// aux bit 0: an atomic returns the value before, bit 1: idxen, bit 2: offen.
std::string Builder::mubuf() {
  const OpRow& op = *d_.row;
  Inst i = blank(op.name);
  const bool gfx11 = d_.format->format == Format::MUBUF;
  if (gfx11 || d_.format->format == Format::VBUFFER) {
    if (d_[Field::f_tfe]) return std::string(op.name) + " tfe is not implemented";
    i.dst = i.src[2] = vgpr_offset(d_[Field::f_vdata]);
    i.src[0] = vgpr_offset(d_[Field::f_vaddr]);
    OperandRow offset{Field::f_soffset, OperandKind::k_sreg, Type::t_B32, 32, true, false};
    i.src[1] = scalar_source(d_[Field::f_soffset], offset);
    if (i.src[1] == kInvalid) return std::string(op.name) + ": invalid offset";
    i.src3 = sgpr_offset(gfx11 ? d_[Field::f_srsrc] : d_[Field::f_rsrc]);
    i.imm = gfx11 ? static_cast<int32_t>(d_[Field::f_offset] & 0xFFF) : static_cast<int32_t>(d_[Field::f_ioffset] << 8) >> 8;
    const bool returns = gfx11 ? d_[Field::f_glc] != 0 : (d_[Field::f_th] & 1) != 0;
    i.aux = static_cast<uint32_t>(returns) | d_[Field::f_idxen] << 1 | d_[Field::f_offen] << 2;
  }
  if (!finish(i, Shape{})) return missing(op.name);
  return "";
}

}  // namespace usbgpu::emulator::isa
