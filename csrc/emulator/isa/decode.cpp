#include "emulator/isa/decode.h"

namespace usbgpu::emulator::isa {
namespace {

constexpr uint32_t kLiteral = 255, kDpp16 = 250, kDpp8 = 233, kDpp8FetchInactive = 234;

uint32_t bits_of(std::span<const uint32_t> words, unsigned lo, unsigned width) {
  const unsigned word = lo / 32, shift = lo % 32;
  uint64_t value = word < words.size() ? words[word] : 0;
  if (word + 1 < words.size()) value |= uint64_t{words[word + 1]} << 32;
  return static_cast<uint32_t>(value >> shift & ((uint64_t{1} << width) - 1));
}

bool takes_dpp(Format f) {
  return f == Format::VOP1 || f == Format::VOP2 || f == Format::VOPC || f == Format::VOP3 || f == Format::VOP3P || f == Format::VOP3SD;
}

bool is_source(FieldRow::Kind kind) { return kind == FieldRow::src9 || kind == FieldRow::ssrc8; }

}  // namespace

const ArchTables& tables_of(Arch arch) { return arch == Arch::gfx11 ? gfx11_tables : gfx12_tables; }

uint32_t Decoded::code(const OperandRow& operand) const {
  Field f = operand.field;
  switch (format->format) {  // the facts spell VOPD's operands by the Y half, and vsrc for src in VGPR-only fields
    case Format::VOPD:
      break;
    case Format::VINTERP:
      return (*this)[f];
    default:
      if (f == Field::f_src0 && dpp != Dpp::none) return 256 + (*this)[Field::f_vsrc0];
      if (f == Field::f_src1 && format->format == Format::VOP2) f = Field::f_vsrc1;
      break;
  }
  return (*this)[f];
}

Decoded decode(Arch arch, std::span<const uint32_t> words) {
  Decoded d;
  d.arch = arch;
  if (words.empty()) return d;
  const ArchTables& tables = tables_of(arch);
  const uint32_t first = words[0];
  for (unsigned n = 0; n < tables.count; ++n) {
    const FormatRow& format = tables.formats[n];
    if ((first & format.mask) != format.value) continue;
    const int16_t row = format.index[bits_of(words, format.op_lo, format.op_width)];
    if (row < 0) continue;
    d.format = &format;
    d.row = &tables.ops[row];
    break;
  }
  if (!d.row) return d;

  const FormatRow& format = *d.format;
  d.bytes = format.bytes;
  bool literal = d.row->literal;
  bool vopd = format.format == Format::VOPD;
  for (unsigned n = 0; n < format.field_count; ++n) {
    const FieldRow& field = format.fields[n];
    uint32_t value = bits_of(words, field.lo, field.width);
    if (field.kind == FieldRow::sgpr_div2) value *= 2;
    if (field.kind == FieldRow::sgpr_div4) value *= 4;
    d.fields[static_cast<size_t>(field.field)] = value;
  }
  if (vopd) {
    // Y's destination has the parity opposite to X's.
    uint32_t& y = d.fields[static_cast<size_t>(Field::f_vdsty)];
    y = y << 1 | (~d[Field::f_vdstx] & 1);
    const int16_t second = tables.opy_index[d[Field::f_opy]];
    d.row_y = second < 0 ? nullptr : &tables.ops[second];
    if (!d.row_y) return d.row = nullptr, d;
    literal |= d.row_y->literal;
  }
  // An unused source field may hold anything: only operands of this opcode count.
  const auto check = [&](Field f) {
    if (d[f] == kLiteral) literal = true;
  };
  if (vopd) {
    check(Field::f_srcx0);
    check(Field::f_srcy0);
  } else {
    for (unsigned n = 0; n < d.row->operand_count; ++n) {
      const Field f = d.row->operands[n].field;
      for (unsigned k = 0; k < format.field_count; ++k)
        if (format.fields[k].field == f && is_source(format.fields[k].kind) && d.row->operands[n].read &&
            format.format != Format::MTBUF && format.format != Format::MUBUF)
          check(f);
    }
    if (takes_dpp(format.format)) {
      const uint32_t source = d[Field::f_src0];
      const uint32_t word = bits_of(words, d.bytes * 8, 32);
      if (source == kDpp16 || source == kDpp8 || source == kDpp8FetchInactive) {
        d.dpp = source == kDpp16 ? Decoded::Dpp::dpp16 : Decoded::Dpp::dpp8;
        d.dpp8_fetch_inactive = source == kDpp8FetchInactive;
        d.dpp_word = word;
        d.fields[static_cast<size_t>(Field::f_vsrc0)] = word & 0xFF;
        d.bytes += 4;
        return d;
      }
    }
  }
  // Addresses 1 to 4 of an image instruction in the non-sequential form: one more dword.
  if (format.format == Format::MIMG && d[Field::f_nsa]) literal = true;
  if (literal) {
    d.has_literal = true;
    d.literal = bits_of(words, d.bytes * 8, 32);
    d.bytes += 4;
  }
  return d;
}

int64_t branch_offset(const Decoded& d) {
  return 4 + 4 * static_cast<int64_t>(static_cast<int16_t>(d[Field::f_simm16]));
}

}  // namespace usbgpu::emulator::isa
