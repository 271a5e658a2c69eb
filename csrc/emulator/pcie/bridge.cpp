#include "emulator/pcie/bridge.h"

namespace usbgpu::emulator {

namespace {
constexpr unsigned power_capability = 0x50, express_capability = 0x58;
}

Bridge::Bridge(const BridgeIdentity& identity) : identity_(identity) {
  space_.define(pci::id, identity.vendor | static_cast<uint32_t>(identity.device) << 16);
  space_.define(pci::command, pci::status_has_capabilities, pci::command_writable, pci::status_errors);
  space_.define(pci::class_revision, 0x06040000u | identity.revision);
  space_.define(pci::header, 0x00010000u, 0x000000FFu);
  if (identity.bar_bytes) space_.define(pci::bar0, 0, ~(identity.bar_bytes - 1));
  space_.define(pci::bus_numbers, 0, 0x00FFFFFFu);  // a PCIe bridge has no latency timer
  space_.define(0x1C, 0x00000101u, 0x0000F0F0u, pci::status_errors);
  space_.define(pci::memory_window, 0, 0xFFF0FFF0u);
  space_.define(pci::prefetchable_window, 0x00010001u, 0xFFF0FFF0u);  // 64-bit capable
  space_.define(pci::prefetchable_base_upper, 0, 0xFFFFFFFFu);
  space_.define(pci::prefetchable_limit_upper, 0, 0xFFFFFFFFu);
  space_.define(pci::capabilities, power_capability);
  space_.define(pci::bridge_control, 0x00000000u, 0x007F00FFu);
  pci::add_power_capability(space_, power_capability, express_capability);
  pci::add_express_capability(space_, express_capability, 0, identity.port, identity.link, false);
  space_.define(0x100, 0x00010001u);  // advanced error reporting, the only extended capability
  for (unsigned reg = 0x104; reg <= 0x118; reg += 4) space_.define(reg, 0, 0xFFFFFFFFu);
}

bool Bridge::config_write(unsigned reg, uint32_t value, unsigned byte_enables) {
  const bool before = in_secondary_reset();
  space_.write(reg, value, byte_enables);
  return !before && in_secondary_reset();
}

Bridge::Window Bridge::memory_window() const {
  const uint32_t window = space_.read(pci::memory_window);
  return {static_cast<uint64_t>(window & 0xFFF0) << 16, (window & 0xFFF00000u) | 0xFFFFFull};
}

Bridge::Window Bridge::prefetchable_window() const {
  const uint32_t window = space_.read(pci::prefetchable_window);
  const uint64_t base_upper = space_.read(pci::prefetchable_base_upper);
  const uint64_t limit_upper = space_.read(pci::prefetchable_limit_upper);
  return {base_upper << 32 | static_cast<uint64_t>(window & 0xFFF0) << 16,
          limit_upper << 32 | (window & 0xFFF00000u) | 0xFFFFFull};
}

bool Bridge::forwards(uint64_t address) const {
  return decodes_memory() && (memory_window().contains(address) || prefetchable_window().contains(address));
}

uint64_t Bridge::forwards_until(uint64_t address) const {
  uint64_t until = UINT64_MAX;
  for (const Window& window : {memory_window(), prefetchable_window()}) {
    if (address < window.base && window.base < until) until = window.base;
    if (address <= window.limit && window.limit != UINT64_MAX && window.limit + 1 < until) until = window.limit + 1;
  }
  return until;
}

bool Bridge::claims_for_itself(uint64_t address) const {
  if (!identity_.bar_bytes || !decodes_memory()) return false;
  const uint64_t base = space_.read(pci::bar0) & ~15u;
  return base && address >= base && address < base + identity_.bar_bytes;
}

}  // namespace usbgpu::emulator
