#include "emulator/debug/results.h"

#include "emulator/isa/wave.h"

namespace usbgpu::emulator::debug {
namespace {

using namespace isa;

bool is_scalar(const OperandRow& o) {
  switch (o.kind) {
    case OperandKind::k_sreg: case OperandKind::k_sdst: case OperandKind::k_sdst_null: case OperandKind::k_sreg_m0: return true;
    default: return o.field == Field::f_sdst || o.field == Field::f_sdata;
  }
}

void add(std::vector<RegisterRange>& out, const Decoded& d, const OpRow& op, Field in_place_of_vdst, unsigned lanes) {
  for (unsigned n = 0; n < op.operand_count; ++n) {
    const OperandRow& o = op.operands[n];
    if (!o.write || o.kind == OperandKind::k_exec) continue;
    const Field field = o.field == Field::f_vdst && in_place_of_vdst != Field::count ? in_place_of_vdst : o.field;
    const bool scalar = is_scalar(o);
    const unsigned code = d[field] & 0xFF;
    const unsigned dwords = o.bits ? (o.bits + 31u) / 32 : lanes / 32;
    if (scalar && (code == kNull || code >= kScalarRegisters)) continue;
    const bool half = !scalar && o.bits == 16 && d.format->bytes == 4;  // true16: bit 7 selects the half
    out.push_back({!scalar, static_cast<uint16_t>(half ? code & 0x7F : code), static_cast<uint16_t>(dwords)});
  }
  if (op.writes_vcc) out.push_back({false, kVcc, static_cast<uint16_t>(lanes / 32)});
  if (op.writes_exec) out.push_back({false, kExec, static_cast<uint16_t>(lanes / 32)});
}

}  // namespace

std::vector<RegisterRange> results_of(const Decoded& d, unsigned lanes) {
  std::vector<RegisterRange> out;
  if (!d.row) return out;
  const bool pair = d.format->format == Format::VOPD;
  add(out, d, *d.row, pair ? Field::f_vdstx : Field::count, lanes);
  if (d.row_y) add(out, d, *d.row_y, Field::f_vdsty, lanes);
  if (d.format->format == Format::VOPC && !d.row->writes_exec && !d.row->writes_vcc)
    out.push_back({false, kVcc, static_cast<uint16_t>(lanes / 32)});
  return out;
}

}  // namespace usbgpu::emulator::debug
