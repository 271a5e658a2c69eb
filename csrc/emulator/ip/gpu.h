// The emulated GPU without its PCIe config space: three apertures, DMA, reset.
// pcie/ wraps it in a function with BARs; tests may drive it directly.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "emulator/ip/hang.h"
#include "emulator/isa/counters.h"
#include "emulator/pcie/ports.h"

namespace usbgpu::emulator {

class EngineObserver;
class WaveObserver;

// What the board has been through before it is found.
enum class StartState : uint8_t {
  cold,
  warm,    // a driver of another layout shut down in order: firmware loaded, nothing runs
  dirty,   // another driver was torn away: queues active, a fault latched
  wedged,  // the security processor lives and the power controller does not answer: only power helps
};
StartState start_state(const std::string& name);  // throws std::invalid_argument

struct GpuOptions {
  std::string chip = "navi31";     // a key of asic/chips.json
  uint64_t vram_bytes = 0;         // 0: what the product has; reserved lazily
  unsigned threads = 0;            // shader threads; 0: all cores
  bool deterministic = false;      // engines step only inside bus accesses, workgroups in order
  std::string board = {};          // product name as in asic/boards.json; empty: the chip's first
  bool counters = false;           // shader cores count memory segments and bank conflicts (slower)
};

struct GpuIdentity {
  uint16_t vendor, device, subsystem_vendor, subsystem_device;
  uint8_t revision;
  uint64_t vram_bytes;
  uint32_t doorbell_bytes;   // BAR2
  uint32_t register_bytes;   // BAR5
};

struct ChipFacts;
struct ProductFacts;
std::span<const ChipFacts* const> emulated_chips();

class Gpu {
 public:
  static std::unique_ptr<Gpu> create(const GpuOptions& options);  // throws std::invalid_argument
  virtual ~Gpu() = default;  // stops all engine threads

  virtual GpuIdentity identity() const = 0;
  virtual void attach(UpstreamPort* port) = 0;      // before the first power-on
  virtual void set_bus_master(bool enabled) = 0;    // DMA is not emitted while false
  virtual void cold_reset() = 0;                    // rails dropped and restored
  virtual void leave(StartState) {}                 // after power-on: as if somebody had used it before
  virtual void inject(const GpuFaults&) {}          // from now on

  // BAR0. Dword TLPs; offset is dword aligned and inside the aperture.
  virtual uint32_t vram_read(uint64_t offset) = 0;
  virtual void vram_write(uint64_t offset, uint32_t value, unsigned byte_enables) = 0;
  // BAR2. Byte offset.
  virtual void doorbell_write(uint32_t offset, uint32_t value) = 0;
  // BAR5. Byte offset, dword aligned.
  virtual uint32_t register_read(uint32_t offset) = 0;
  virtual void register_write(uint32_t offset, uint32_t value) = 0;

  virtual WakeSource& wake() = 0;  // the adapter notifies it when SRAM content changed

  // What the compute engine ran, by the kernels' entry addresses. For measuring, not part of the hardware.
  virtual std::map<uint64_t, LaunchStatistics> launches() { return {}; }

  // Traces and debuggers. nullptr: nobody. Both must live as long as the GPU, or be taken back before.
  virtual void observe(EngineObserver* engines, WaveObserver* waves) {}
};

}  // namespace usbgpu::emulator
