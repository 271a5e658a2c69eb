// The 4 KiB configuration space of one PCIe function: values with write masks.
#pragma once

#include <array>
#include <cstdint>

namespace usbgpu::emulator {

class ConfigSpace {
 public:
  // Declares a dword: reset value, the bits that software may write, the bits that a written 1 clears.
  void define(unsigned reg, uint32_t reset, uint32_t writable = 0, uint32_t write_one_clears = 0) {
    Register& r = registers_[reg / 4];
    r = {reset, reset, writable, write_one_clears};
  }

  uint32_t read(unsigned reg) const { return registers_[reg / 4].value; }

  void write(unsigned reg, uint32_t value, unsigned byte_enables) {
    Register& r = registers_[reg / 4];
    const uint32_t lanes = lane_mask(byte_enables);
    r.value = (r.value & ~(r.writable & lanes)) | (value & r.writable & lanes);
    r.value &= ~(value & r.write_one_clears & lanes);
  }

  // For hardware-owned status bits.
  void set(unsigned reg, uint32_t value) { registers_[reg / 4].value = value; }
  void set_reset_value(unsigned reg, uint32_t value) { registers_[reg / 4].reset = registers_[reg / 4].value = value; }
  void set_writable(unsigned reg, uint32_t mask) { registers_[reg / 4].writable = mask; }

  void reset() {
    for (Register& r : registers_) r.value = r.reset;
  }

  static constexpr uint32_t lane_mask(unsigned byte_enables) {
    uint32_t mask = 0;
    for (unsigned lane = 0; lane < 4; ++lane)
      if (byte_enables >> lane & 1) mask |= 0xFFu << (8 * lane);
    return mask;
  }

 private:
  struct Register {
    uint32_t value = 0, reset = 0, writable = 0, write_one_clears = 0;
  };
  std::array<Register, 1024> registers_{};
};

// Register numbers of the PCI and PCIe specifications that more than one file uses.
namespace pci {
constexpr unsigned id = 0x00, command = 0x04, class_revision = 0x08, header = 0x0C, bar0 = 0x10;
constexpr unsigned bus_numbers = 0x18, memory_window = 0x20, prefetchable_window = 0x24;
constexpr unsigned prefetchable_base_upper = 0x28, prefetchable_limit_upper = 0x2C, bridge_control = 0x3C;
constexpr unsigned subsystem = 0x2C, expansion_rom = 0x30, capabilities = 0x34, interrupt = 0x3C;
constexpr uint32_t command_memory = 1u << 1, command_bus_master = 1u << 2;
constexpr uint32_t command_writable = 0x0547;        // io, memory, bus master, parity, SERR#, INTx disable
constexpr uint32_t status_errors = 0xF9000000u;      // write 1 to clear
constexpr uint32_t status_has_capabilities = 1u << 20;
constexpr uint32_t secondary_bus_reset = 1u << 22;   // bridge control bit 6, in the dword at 0x3C
constexpr uint32_t device_control_flr = 1u << 15;

enum class PortType : uint32_t { endpoint = 0, legacy_endpoint = 1, upstream = 5, downstream = 6 };
struct Link {
  uint32_t max_speed, max_width, speed, width;  // speed: 1 = 2.5 GT/s, 2 = 5, 3 = 8, 4 = 16
};

// Writes the PCI Express capability (id 0x10) at `at`.
inline void add_express_capability(ConfigSpace& space, unsigned at, unsigned next, PortType type, Link link, bool flr) {
  space.define(at, 0x10u | next << 8 | (2u | static_cast<uint32_t>(type) << 4) << 16);
  space.define(at + 0x04, 0x00008001u | (flr ? 1u << 28 : 0));  // 256-byte payloads, role-based errors
  space.define(at + 0x08, 0x00002810u, flr ? 0x0000FFFFu : 0x00007FFFu, 0x000F0000u);
  space.define(at + 0x0C, link.max_speed | link.max_width << 4 | 0x3u << 10);
  space.define(at + 0x10, (link.speed | link.width << 4) << 16, 0x000001FBu);
  space.define(at + 0x24, 0x00000800u);
  space.define(at + 0x28, 0, 0x0000FFFFu);
  space.define(at + 0x2C, ((1u << link.max_speed) - 1) << 1);
  space.define(at + 0x30, link.max_speed, 0x0000FFFFu);
}

// Power management (id 1): D0 and D3hot, no soft reset on the way back.
inline void add_power_capability(ConfigSpace& space, unsigned at, unsigned next) {
  space.define(at, 0x01u | next << 8 | 0x0003u << 16);
  space.define(at + 4, 0x00000008u, 0x00000103u, 0x00008000u);
}
}  // namespace pci
}  // namespace usbgpu::emulator
