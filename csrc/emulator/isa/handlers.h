// The list of handler groups. Add a line when you add an ops_<group>.cpp.
#pragma once

#include "emulator/isa/inst.h"

#define USBGPU_ISA_GROUPS(X) \
  X(control)                 \
  X(salu)                    \
  X(salu_float)              \
  X(smem)                    \
  X(global)                  \
  X(atomic)                  \
  X(buffer)                  \
  X(ds)                      \
  X(valu32)                  \
  X(valu16)                  \
  X(valu64)                  \
  X(valu_convert)            \
  X(minmax)                  \
  X(valu_gfx12)              \
  X(trans)                   \
  X(compare)                 \
  X(vop3p)                   \
  X(wmma)                    \
  X(swmmac)                  \
  X(lane)                    \
  X(wave64)                  \
  X(vopd)                    \
  X(stage)

namespace usbgpu::emulator::isa {

#define X(name) extern const HandlerGroup group_##name;
namespace baseline { USBGPU_ISA_GROUPS(X) }
namespace v3 { USBGPU_ISA_GROUPS(X) }
#undef X

// The row of a mnemonic for this machine's CPU, or nullptr. Defined in registry.cpp.
const HandlerRow* find_handler(const char* mnemonic);
const char* isa_level();  // "v3" or "baseline"

}  // namespace usbgpu::emulator::isa
