// The seams between the emulated adapter, the bridges and the GPU.
//
// Downstream (adapter -> bridges -> GPU) travel single-dword TLPs, because that is all the
// adapter's engine can emit. Upstream (GPU -> adapter's SRAM pages) travel bursts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace usbgpu::emulator {

enum class Completion : uint8_t {
  success = 0,
  unsupported_request = 1,
  retry = 2,   // CRS: the function is still starting
  abort = 4,
  none = 0xFF  // link down: no completion ever arrives
};

struct CardId {
  uint16_t vendor, device;
};

// What claims the GPU's DMA: the adapter's SRAM and queue pages. Called from the GPU's own
// threads, so the implementation is thread-safe. `false` = nobody claims the address (reads
// then deliver all ones, writes vanish; the implementation records it).
class UpstreamPort {
 public:
  virtual ~UpstreamPort() = default;
  virtual bool dma_read(uint64_t bus_address, std::span<std::byte> into) = 0;
  virtual bool dma_write(uint64_t bus_address, std::span<const std::byte> from) = 0;
  // Host memory behind [bus_address, bus_address + bytes) if it is plain memory without side
  // effects on reading (the SRAM), else nullptr. Valid for the life of the port. The adapter
  // may change it at any time: read it with atomic or volatile loads. Writes always go through
  // dma_write.
  virtual const std::byte* readable_memory(uint64_t bus_address, size_t bytes) = 0;
};

// Why an engine that waits for memory should look again: bumped after every write that could
// end a wait (a landed USB transfer, a TLP into VRAM or a doorbell, an engine's own store).
class WakeSource {
 public:
  virtual ~WakeSource() = default;
  virtual void notify() = 0;
};

// A PCIe function behind the bridges, as the bridge sees it.
class Endpoint {
 public:
  virtual ~Endpoint() = default;
  // reg is dword aligned, 0..0xFFC. byte_enables: bit i = byte lane i.
  virtual Completion config_read(unsigned function, unsigned reg, uint32_t& value) = 0;
  virtual Completion config_write(unsigned function, unsigned reg, uint32_t value, unsigned byte_enables) = 0;
  virtual Completion memory_read(uint64_t address, uint32_t& value) = 0;  // dword aligned
  virtual Completion memory_write(uint64_t address, uint32_t value, unsigned byte_enables) = 0;
  // Rails and PERST#. Power off loses everything: registers, VRAM, firmware.
  virtual void set_power(bool on) = 0;
};

}  // namespace usbgpu::emulator
