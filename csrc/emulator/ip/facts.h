// Shapes of the fact tables that generate.py fills from asic/*.json.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace usbgpu::emulator {

struct FieldFact {
  uint8_t lsb, msb;  // lsb above msb: this chip has no such field; it reads as 0 and cannot be set
  constexpr uint32_t mask() const {
    return lsb > msb ? 0 : (msb - lsb == 31 ? 0xFFFFFFFFu : ((1u << (msb - lsb + 1)) - 1)) << lsb;
  }
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

// One component of the PSP's boot loader, in the order of their time.
struct BootFact {
  const char* name;
  uint32_t command, kind;
  uint32_t other_kind;  // 0, or an image that is taken as well
  bool required;        // before the last one
};

struct Identity {
  uint16_t vendor, device, subsystem_vendor, subsystem_device;
  uint8_t revision;
};

// One product with the chip.
struct ProductFacts {
  const char* name;
  Identity identity;
  uint64_t vram_bytes;
  uint32_t ppt_watts;
  std::span<const uint16_t> inactive_wgps;  // masks by shader engine * arrays + array; shorter: none
};

struct Geometry {
  uint32_t num_se, num_sa_per_se, num_wgp_per_sa, max_waves_per_simd, max_scratch_slots_per_cu, lds_kib, wave_size, num_gl2c;
};

struct PteFacts {
  uint8_t huge;         // the bit that makes an entry above the last level a leaf
  uint8_t prt;
  bool leaf_is_marked;  // entries of the last level need that bit too
};

struct PspFacts {
  uint32_t sos_version;
  bool tmr_at_boot;  // the trusted memory region is there since power-on
  std::span<const BootFact> boot;
};

// Byte offsets in the metrics table; the current clocks come first, as facts::smu_clk numbers them.
struct MetricsFacts {
  uint32_t bytes;
  uint32_t gfxclk_before_sleep, gfxclk_average, gfxclk_target, fclk_before_sleep, fclk_average, memclk_before_sleep, memclk_average;
  uint32_t counter, gfx_millivolts, soc_millivolts, gfx_activity, memory_activity, energy, socket_power, board_power;
  uint32_t temperature, hotspot, intake, pcie_rate, pcie_width, fan_percent, fan_rpm, ppt_throttling;
  uint32_t temperatures;  // how many, from `temperature` on
};

// Byte offsets in the powerplay table, and what stands in two of its fields.
struct PowerplayFacts {
  uint32_t bytes;
  uint32_t start_field, start;  // where the firmware's own part begins
  uint32_t default_watts, message_watts, features, feature_bit, lower_percent, lower_bytes;
  int32_t lower;
};

struct SmuFacts {
  uint32_t version;  // of a firmware that may have been loaded before
  bool image_version_swapped;
  uint32_t driver_interface;
  uint32_t mode1_message;  // of the normal mailbox; 0: only the debug mailbox resets
  std::span<const uint32_t> levels[4];  // MHz by level, slowest first; GFXCLK, SOCCLK, UCLK, FCLK
  std::span<const uint8_t> acknowledged;  // messages that change nothing here
  MetricsFacts metrics;
  PowerplayFacts powerplay;
};

// SQ_IND indices of a wave's registers and the bits that say why it halted.
struct WaveFacts {
  uint32_t status, state, exceptions, pc_lo, pc_hi, exec_lo, exec_hi, hw_id1;
  uint32_t valid;  // mask; 0 where the status register does not say it
  uint32_t valid_and_idle;
  uint8_t execz, fatal, halt, illegal, mem_viol;
};

struct ChipFacts {
  const char* name;
  const char* target;
  uint8_t gfx;        // 11 or 12
  uint8_t gc_info_minor;
  std::span<const ProductFacts> products;  // the first is shown unless asked otherwise
  Geometry geometry;
  PteFacts pte;
  PspFacts psp;
  SmuFacts smu;
  WaveFacts waves;
  std::span<const uint32_t> addresses;   // by Reg; 0xFFFFFFFF: this chip has no such register
  std::span<const FieldFact> fields;     // by Field
  std::span<const IpFact> ips;
  std::span<const FirmwareFact> firmware;
};

}  // namespace usbgpu::emulator
