// The bus interface block: indirect register and VRAM access, HDP flush, doorbell routing.
#pragma once

#include <functional>
#include <optional>

#include "emulator/ip/board.h"

namespace usbgpu::emulator {

class Nbio {
 public:
  explicit Nbio(Board& board);
  void power_on();

  enum class Target { mec, sdma };
  // Where a doorbell at this byte offset of BAR2 goes; nullopt: dropped.
  std::optional<Target> route(uint32_t offset);

 private:
  Board& board_;
};

}  // namespace usbgpu::emulator
