// One decoded instruction -> the Insts (instruction plus staging micro-ops) that execute it.
#pragma once

#include <string>
#include <vector>

#include "emulator/isa/decode.h"

namespace usbgpu::emulator::isa {

// Appends to `out`. An instruction that cannot execute (unknown, no handler, unsupported form)
// becomes one Inst that raises the illegal instruction fault when it is reached.
// `strict`: loads deliver at the matching wait instruction only (Wave::pending).
void lower(const Decoded& instruction, uint64_t pc, std::vector<Inst>& out, bool strict = false);

// Why `lower` would make it illegal, or empty. For the list of what is not implemented.
std::string unsupported(const Decoded& instruction);

// True where control does not (or may not) go on behind the instruction: branches, s_endpgm, s_setpc ...
bool ends_block(const Decoded& instruction);
bool falls_through(const Decoded& instruction);

}  // namespace usbgpu::emulator::isa
