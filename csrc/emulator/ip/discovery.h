#pragma once

#include <cstddef>
#include <vector>

#include "emulator/ip/facts.h"

namespace usbgpu::emulator {

// The IP discovery binary that the board's own firmware leaves near the end of VRAM.
std::vector<std::byte> discovery_binary(const ChipFacts& chip);

}  // namespace usbgpu::emulator
