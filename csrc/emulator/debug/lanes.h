// The one place of the debugger that knows how many lanes a wave has and how its registers lie in memory.
#pragma once

#include <vector>

#include "emulator/debug/results.h"
#include "emulator/isa/wave.h"

namespace usbgpu::emulator::debug {

inline unsigned lanes_of(const isa::Wave& w) { return w.lanes; }
inline uint64_t exec_of_wave(const isa::Wave& w) {
  return w.sgpr[isa::kExec] | (w.lanes == 64 ? uint64_t{w.sgpr[isa::kExec + 1]} << 32 : 0);
}
// Lanes 32 * half and up of a VGPR: the second half of a wave64 lives in the Wave behind (wave.h).
inline const uint32_t* vgpr_half(const isa::Wave& w, unsigned n, unsigned half) { return (&w)[half].vgpr[n]; }

inline std::vector<uint32_t> read_registers(const isa::Wave& w, const RegisterRange& range) {
  std::vector<uint32_t> out;
  if (!range.vector) {
    const unsigned end = std::min<unsigned>(range.first + range.count, isa::kScalarRegisters);
    for (unsigned n = range.first; n < end; ++n) out.push_back(w.sgpr[n]);
    return out;
  }
  const unsigned end = std::min<unsigned>(range.first + range.count, isa::kVgprs);
  for (unsigned n = range.first; n < end; ++n) 
    for (unsigned half = 0; half < lanes_of(w) / 32; ++half) out.insert(out.end(), vgpr_half(w, n, half), vgpr_half(w, n, half) + 32);
  return out;
}

}  // namespace usbgpu::emulator::debug
