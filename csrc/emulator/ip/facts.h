// Shapes of the fact tables that generate.py fills from asic/*.json.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace usbgpu::emulator {

struct FieldFact {
  uint8_t lsb, msb;
  constexpr uint32_t mask() const { return (msb - lsb == 31 ? 0xFFFFFFFFu : ((1u << (msb - lsb + 1)) - 1)) << lsb; }
};

struct IpFact {
  const char* name;
  uint16_t hw_id;
  uint8_t version[3];
  std::span<const uint32_t> bases;  // segment bases in dwords
};

// One firmware type of the PSP ring: its number, the kind in the image header, and whether
// RLC autoload needs it.
struct FirmwareFact {
  const char* name;
  uint32_t type, kind;
  bool required;
};

struct Geometry {
  uint32_t num_se, num_sa_per_se, num_wgp_per_sa, max_waves_per_simd, max_scratch_slots_per_cu, lds_kib, wave_size, num_gl2c;
};

struct ChipFacts {
  const char* name;
  const char* target;
  uint64_t vram_bytes;
  Geometry geometry;
  std::span<const uint32_t> addresses;   // by Reg; 0xFFFFFFFF: this chip has no such register
  std::span<const FieldFact> fields;     // by Field
  std::span<const IpFact> ips;
  std::span<const FirmwareFact> firmware;
};

}  // namespace usbgpu::emulator
