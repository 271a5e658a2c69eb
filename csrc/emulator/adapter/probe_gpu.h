// A bare endpoint in place of the GPU: memory, registers and a DMA engine that the adapter's tests poke.
#pragma once

#include <memory>

#include "emulator/ip/gpu.h"

namespace usbgpu::emulator {

// BAR5 (every register reads back):
//   0x00/0x04 bus address, 0x08 VRAM offset, 0x0C bytes, 0x14 value, 0x18 delay in microseconds
//   0x10 command: 1 VRAM -> bus, 2 bus -> VRAM, 3 value -> bus (dword); | 0x100: on a thread, after the delay
//   0x1C result: 1 claimed, 2 unclaimed, 3 bus mastering off   0x20 cold resets   0x24 wake-ups   0x28 last doorbell
std::unique_ptr<Gpu> make_probe_gpu(uint64_t vram_bytes);

}  // namespace usbgpu::emulator
