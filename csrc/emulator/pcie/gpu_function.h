// The GPU as the bridge sees it: function 0 with BARs in front of ip/gpu.h, function 1 (HDMI audio).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "emulator/ip/gpu.h"
#include "emulator/pcie/config_space.h"
#include "emulator/pcie/ports.h"

namespace usbgpu::emulator {

// What a card offers for BAR 0. Its own firmware straps it at 256 MiB; a card of before ReBAR has nothing else.
struct BarOptions {
  bool resizable = true;
  uint64_t largest = 0;  // bytes, a power of two of 256 MiB at least; 0: all of VRAM
};

class GpuFunction final : public Endpoint {
 public:
  GpuFunction(Gpu& gpu, pci::Link link, const BarOptions& bars);

  Completion config_read(unsigned function, unsigned reg, uint32_t& value) override;
  Completion config_write(unsigned function, unsigned reg, uint32_t value, unsigned byte_enables) override;
  Completion memory_read(uint64_t address, uint32_t& value) override;
  Completion memory_write(uint64_t address, uint32_t value, unsigned byte_enables) override;
  void set_power(bool on) override;

  // A card of somebody else: only its ids are modelled. nullopt: the board's own.
  void present(std::optional<CardId> card);

  // As an operating system leaves it: BARs placed at their full size, memory and bus master on.
  void leave_enumerated();

  // Conventional reset of the whole device (PERST#, secondary bus reset).
  void reset();
  bool bus_master() const { return graphics_.read(pci::command) & pci::command_bus_master; }

  // A stretch of addresses that all go to one aperture: streams look it up once.
  enum class Aperture : uint8_t { none, vram, doorbell, registers, io, audio };
  struct Region {
    Aperture aperture = Aperture::none;
    uint64_t offset = 0;  // of the address asked for
    uint64_t bytes = 0;   // from there on
  };
  Region find(uint64_t address) const;
  uint32_t read(Aperture aperture, uint64_t offset);
  void write(Aperture aperture, uint64_t offset, uint32_t value, unsigned byte_enables);

  // Called when the command register or a reset changed who may be bus master.
  std::function<void()> on_command_change;
  // How many of the next config reads are answered "retry" (CRS) after a reset.
  unsigned crs_after_reset = 0;

 private:
  void define_graphics(pci::Link link);
  void define_resizable_bars();
  void define_audio(pci::Link link);
  void apply_resize();
  uint64_t bar_base(unsigned reg) const;

  Gpu& gpu_;
  GpuIdentity identity_;
  ConfigSpace graphics_, audio_;
  const bool resizable_;
  uint32_t bar0_max_index_;  // log2(MiB) of the largest size
  uint64_t bar0_bytes_ = 0, bar2_bytes_ = 0;
  unsigned crs_left_ = 0;
};

}  // namespace usbgpu::emulator
