// The interrupt handler block (OSSSYS): two rings of 32-byte entries in VRAM.
#pragma once

#include <array>
#include <cstdint>

#include "emulator/ip/board.h"

namespace usbgpu::emulator {

struct Interrupt {
  uint8_t client = 0, source = 0, ring = 0;
  std::array<uint32_t, 4> context{};
};

class InterruptRing {
 public:
  explicit InterruptRing(Board& board);
  void post(const Interrupt& interrupt);  // takes board.lock
  void power_on() {}

 private:
  Board& board_;
};

}  // namespace usbgpu::emulator
