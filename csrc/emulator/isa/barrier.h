// The workgroup's barrier on gfx12. The rest of barrier.cpp is declared in host.h, for the handlers.
#pragma once

#include "emulator/isa/sched.h"

namespace usbgpu::emulator::isa {

// Ends the phase when every live wave has signalled: sets their flags and wakes those that wait.
void complete_barrier(Workgroup& group, Worker& worker);

}  // namespace usbgpu::emulator::isa
