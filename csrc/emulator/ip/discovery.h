#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "emulator/ip/facts.h"

namespace usbgpu::emulator {

// The IP discovery binary that the board's own firmware leaves near the end of VRAM. `gc`: another version of the
// graphics core than the chip's.
std::vector<std::byte> discovery_binary(const ChipFacts& chip, std::optional<std::array<uint8_t, 3>> gc = {});

}  // namespace usbgpu::emulator
