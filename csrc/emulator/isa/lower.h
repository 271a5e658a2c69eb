// One decoded instruction -> the Insts (instruction plus staging micro-ops) that execute it.
#pragma once

#include <string>
#include <vector>

#include "emulator/isa/decode.h"

namespace usbgpu::emulator::isa {

// What the lowering depends on besides the instruction.
struct LowerOptions {
  bool wave64 = false;
  bool any_mode = false;  // MODE's rounding and denormals may be other than kUsualFloatMode
  bool ieee = true;       // MODE.IEEE (gfx11)
  bool strict = false;    // loads deliver at the matching wait instruction only (Wave::pending)
};

// Appends to `out`. An instruction that cannot execute (unknown, no handler, unsupported form)
// becomes one Inst that raises the illegal instruction fault when it is reached.
void lower(const Decoded& instruction, uint64_t pc, std::vector<Inst>& out, const LowerOptions& options = {});

// Why `lower` would make it illegal, or empty. For the list of what is not implemented.
std::string unsupported(const Decoded& instruction, const LowerOptions& options = {});

// True where control does not (or may not) go on behind the instruction: branches, s_endpgm, s_setpc ...
bool ends_block(const Decoded& instruction);
bool falls_through(const Decoded& instruction);

}  // namespace usbgpu::emulator::isa
