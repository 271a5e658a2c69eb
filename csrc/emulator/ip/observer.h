// What the engines tell somebody who watches them: traces. Unwatched, it costs one load per packet.
#pragma once

#include <cstdint>
#include <span>

namespace usbgpu::emulator {

class EngineObserver {
 public:
  struct Packet {
    const char* engine;             // "compute", "sdma"
    unsigned instance, queue;       // SDMA engine; hardware queue
    unsigned depth;                 // 0: from the ring, 1, 2: from an indirect buffer
    uint64_t va;                    // of the header
    std::span<const uint32_t> words;
  };
  virtual ~EngineObserver() = default;
  // Called on the engine's thread, once, before the packet is first attempted.
  virtual void packet(const Packet& packet) = 0;
};

}  // namespace usbgpu::emulator
