// What handlers ask of the host side: hardware registers, clock, floating-point environment.
#pragma once

#include <cstdint>

#include "emulator/isa/wave.h"

namespace usbgpu::emulator::isa {

// Hardware registers by id (s_getreg/s_setreg). RDNA3 ISA, 'Hardware registers'.
uint32_t read_hwreg(const Wave& wave, unsigned id);
void write_hwreg(Wave& wave, unsigned id, uint32_t value);
// s_sendmsg_rtn: 131 = 100 MHz counter; the others (doorbell, trap addresses) read as 0.
uint64_t message_result(const Wave& wave, unsigned id);
// s_sendmsg. MSG_INTERRUPT reaches the interrupt ring; DEALLOC_VGPRS and the others have no effect that a wave could see.
void send_message(const Wave& wave, unsigned id);
// gfx12 barriers (`number` as s_barrier_signal has it). Signals: true when it is the phase's first. `members`: of a
// named barrier, 0 = as it was set up.
bool signal_barrier(Wave& wave, int32_t number, uint32_t members);
void init_barrier(Wave& wave, int32_t number, uint32_t members);
bool leave_barrier(Wave& wave);
uint32_t barrier_state(const Wave& wave, int32_t number);
// Instruction fetch at pc: false records the fault.
bool fetch_allowed(Wave& wave, uint64_t pc, uint32_t& word);

// MODE decides which variant of the decoded code a wave runs: the usual float mode has no cost.
void set_mode(Wave& wave, uint32_t mode);
// The host's rounding direction, as MODE counts them: 0 nearest even, 1 +inf, 2 -inf, 3 zero. While
// handlers run it is 0, but for single operations in the variant for any mode (.round, ops_stage.cpp).
void set_host_rounding(unsigned rounding);
// Nearest even, denormals kept; the thread's own environment is restored at scope exit.
class HostFloatEnvironment {
 public:
  HostFloatEnvironment();
  ~HostFloatEnvironment();
  HostFloatEnvironment(const HostFloatEnvironment&) = delete;
  HostFloatEnvironment& operator=(const HostFloatEnvironment&) = delete;

 private:
  uint64_t saved_;
};

}  // namespace usbgpu::emulator::isa
