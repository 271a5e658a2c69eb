// The one place of the debugger that knows how many lanes a wave has and how its registers lie in memory.
#pragma once

#include <vector>

#include "emulator/debug/results.h"
#include "emulator/isa/wave.h"

namespace usbgpu::emulator::debug {

inline unsigned lanes_of(const isa::Wave&) { return 32; }
inline uint64_t exec_of_wave(const isa::Wave& w) { return w.sgpr[isa::kExec]; }

inline std::vector<uint32_t> read_registers(const isa::Wave& w, const RegisterRange& range) {
  std::vector<uint32_t> out;
  if (!range.vector) {
    const unsigned end = std::min<unsigned>(range.first + range.count, isa::kScalarRegisters);
    for (unsigned n = range.first; n < end; ++n) out.push_back(w.sgpr[n]);
    return out;
  }
  const unsigned end = std::min<unsigned>(range.first + range.count, isa::kVgprs);
  for (unsigned n = range.first; n < end; ++n) out.insert(out.end(), &w.vgpr[n][0], &w.vgpr[n][0] + lanes_of(w));
  return out;
}

}  // namespace usbgpu::emulator::debug
