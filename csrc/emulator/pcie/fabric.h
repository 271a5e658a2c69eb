// Everything behind the adapter's TLP engine: two ports of the ASM2464PD's switch, the card's own switch, the GPU.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

#include "emulator/pcie/bridge.h"
#include "emulator/pcie/gpu_function.h"
#include "emulator/pcie/ports.h"

namespace usbgpu::emulator {

class Fabric {
 public:
  static constexpr unsigned bridge_count = 4;

  Fabric(Gpu& gpu, unsigned lanes, const BarOptions& bars);

  struct ConfigAddress {
    unsigned bus, device, function, reg;
    bool type1;
  };
  Completion config_read(const ConfigAddress& address, uint32_t& value);
  Completion config_write(const ConfigAddress& address, uint32_t value, unsigned byte_enables);
  Completion memory_read(uint64_t address, uint32_t& value);
  Completion memory_write(uint64_t address, uint32_t value, unsigned byte_enables);

  // Does a memory request to this address reach somebody?
  bool claims(uint64_t address) const;
  // For streams: the aperture behind an address and how far it reaches, windows included.
  GpuFunction::Region find(uint64_t address) const;
  GpuFunction& gpu() { return gpu_function_; }
  // A fault switch: a card with other ids; one that is not AMD's comes without AMD's switch. nullopt: the board's own.
  void present(std::optional<CardId> card);

  // Link training ends with the link up if a card is there. Changing it resets what is behind.
  void set_link(bool up);
  bool link_up() const { return link_up_; }
  // May the GPU's own requests reach the adapter? Read from the GPU's threads.
  bool upstream_enabled() const { return upstream_enabled_.load(std::memory_order_acquire); }

 private:
  struct Target {
    int bridge = -1;       // index, or
    int function = -1;     // of the GPU
  };
  bool route(const ConfigAddress& address, Target& target) const;
  void reset_below(unsigned bridge);
  void update_upstream();
  std::span<const Bridge> bridges() const { return {bridges_.data(), bridges_there_}; }

  Gpu& gpu_;
  std::array<Bridge, bridge_count> bridges_;
  unsigned bridges_there_ = bridge_count;
  GpuFunction gpu_function_;
  bool link_up_ = false;
  std::atomic<bool> upstream_enabled_{false};
};

}  // namespace usbgpu::emulator
