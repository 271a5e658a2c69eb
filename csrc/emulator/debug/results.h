// Which registers an instruction writes, by its tables.
#pragma once

#include <cstdint>
#include <vector>

#include "emulator/isa/decode.h"

namespace usbgpu::emulator::debug {

struct RegisterRange {
  bool vector = false;
  uint16_t first = 0, count = 1;  // dwords
};

// `lanes`: 32 or 64; a lane mask is one SGPR or two.
std::vector<RegisterRange> results_of(const isa::Decoded& instruction, unsigned lanes);

}  // namespace usbgpu::emulator::debug
