// A PCI-to-PCI bridge (type 1 header) with windows that are really decoded.
#pragma once

#include <cstdint>

#include "emulator/pcie/config_space.h"

namespace usbgpu::emulator {

struct BridgeIdentity {
  uint16_t vendor, device;
  uint8_t revision;
  pci::PortType port;
  pci::Link link;
  uint32_t bar_bytes;  // 0: none. The AMD card's upstream port has a small one.
};

class Bridge {
 public:
  explicit Bridge(const BridgeIdentity& identity);

  uint32_t config_read(unsigned reg) const { return space_.read(reg); }
  // True when the write asserted the secondary bus reset.
  bool config_write(unsigned reg, uint32_t value, unsigned byte_enables);
  void reset() { space_.reset(); }

  unsigned secondary_bus() const { return space_.read(pci::bus_numbers) >> 8 & 0xFF; }
  unsigned subordinate_bus() const { return space_.read(pci::bus_numbers) >> 16 & 0xFF; }
  bool bus_master() const { return space_.read(pci::command) & pci::command_bus_master; }
  bool in_secondary_reset() const { return space_.read(pci::bridge_control) & pci::secondary_bus_reset; }

  // Does a memory request travelling downstream pass to the secondary side?
  bool forwards(uint64_t address) const;
  // How far from `address` the answer of forwards() stays the same (for streams).
  uint64_t forwards_until(uint64_t address) const;
  bool claims_for_itself(uint64_t address) const;

 private:
  struct Window {
    uint64_t base, limit;  // limit inclusive; base > limit: closed
    bool contains(uint64_t address) const { return address >= base && address <= limit; }
  };
  Window memory_window() const;
  Window prefetchable_window() const;
  bool decodes_memory() const { return space_.read(pci::command) & pci::command_memory; }

  BridgeIdentity identity_;
  ConfigSpace space_;
};

}  // namespace usbgpu::emulator
