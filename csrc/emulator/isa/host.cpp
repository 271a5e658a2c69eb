#include "emulator/isa/host.h"

#include <chrono>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "emulator/isa/dispatch.h"
#include "emulator/isa/sched.h"

namespace usbgpu::emulator::isa {
namespace {

uint64_t realtime_100mhz() {
  using namespace std::chrono;
  return static_cast<uint64_t>(duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count()) / 10;
}

#if defined(__SSE2__)
using ControlWord = uint32_t;
constexpr ControlWord kDefault = 0x1F80;  // all exceptions masked, nearest even, no flush
ControlWord get_control() { return _mm_getcsr(); }
void set_control(ControlWord word) { _mm_setcsr(word); }
ControlWord rounding_word(unsigned rounding) {
  constexpr ControlWord direction[] = {0, 2, 1, 3};  // MODE: nearest, +inf, -inf, zero. MXCSR.RC: nearest, down, up, zero
  return kDefault | direction[rounding & 3] << 13;
}
#elif defined(__aarch64__)
using ControlWord = uint64_t;
ControlWord get_control() { ControlWord v; __asm__ volatile("mrs %0, fpcr" : "=r"(v)); return v; }
void set_control(ControlWord v) { __asm__ volatile("msr fpcr, %0" ::"r"(v)); }
ControlWord rounding_word(unsigned rounding) { return static_cast<ControlWord>(rounding & 3) << 22; }  // FPCR.RMode counts as MODE does
#else
using ControlWord = uint32_t;
ControlWord get_control() { return 0; }
void set_control(ControlWord) {}
ControlWord rounding_word(unsigned) { return 0; }
#endif

}  // namespace

namespace {

// Registers whose layout both generations share. RDNA3 ISA and RDNA4 ISA, 'Hardware registers'.
uint32_t hw_id1(const Wave& w) {  // WAVE_ID [4:0], SIMD_ID [9:8], WGP_ID [13:10], SA_ID [16], SE_ID [20:18]
  const Workgroup& g = *w.group;
  return (w.index / 4 & 31) | (w.index % 4) << 8 | (g.wgp & 15) << 10 | (g.sa & 1) << 16 | (g.se & 7) << 18;
}
constexpr uint32_t kHwId2 = 1 << 8;  // ME_ID [9:8]: compute queues are on ME 1; QUEUE, PIPE, VM_ID 0
uint32_t lds_alloc(const Wave& w) { return w.group->lds_bytes / 512 << 12; }  // LDS_SIZE [20:12], LDS_BASE 0
uint32_t gpr_alloc(const Wave& w) { return uint32_t{w.vgpr_blocks} << 12; }   // VGPR_SIZE [19:12], VGPR_BASE 0
uint32_t status(const Wave& w) {  // SCC, EXECZ, VCCZ, IN_WG, VALID; no trap handler, no debugger
  const uint32_t scc = w.gfx12 ? 0 : static_cast<uint32_t>(w.scc);
  return scc | uint32_t{w.sgpr[kExec] == 0} << 9 | uint32_t{w.sgpr[kVcc] == 0} << 10 | uint32_t{w.group->waves > 1} << 11 | 1u << 16;
}
uint32_t read_gfx11(const Wave& w, unsigned id) {
  switch (id) {
    case 1: return w.mode;
    case 2: return status(w);
    case 5: return gpr_alloc(w);
    case 6: return lds_alloc(w);
    case 15: return (w.apertures[0] == ~0u ? 0 : w.apertures[0]) | (w.apertures[1] == ~0u ? 0 : w.apertures[1] >> 16);  // SH_MEM_BASES
    case 20: return static_cast<uint32_t>(w.scratch);
    case 21: return static_cast<uint32_t>(w.scratch >> 32);
    case 23: return hw_id1(w);
    case 24: return kHwId2;
    case 29: return static_cast<uint32_t>(realtime_100mhz()) & 0xFFFFF;  // SHADER_CYCLES, 20 bits
    default: return 0;  // TRAPSTS: no exception has happened
  }
}
uint32_t read_gfx12(const Wave& w, unsigned id) {
  switch (id) {
    case 1: return w.mode;
    case 2: return status(w);
    case 4: return uint32_t{w.barrier_complete} << 2 | static_cast<uint32_t>(w.scc) << 9;  // STATE_PRIV: BARRIER_COMPLETE, SCC
    case 5: return gpr_alloc(w);
    case 6: return lds_alloc(w);
    case 20: return static_cast<uint32_t>(w.scratch);
    case 21: return static_cast<uint32_t>(w.scratch >> 32);
    case 23: return hw_id1(w);
    case 24: return kHwId2;
    case 29: return static_cast<uint32_t>(realtime_100mhz());
    case 30: return static_cast<uint32_t>(realtime_100mhz() >> 32);
    default: return 0;  // EXCP_FLAG_PRIV, EXCP_FLAG_USER, TRAP_CTRL: no exception has happened, none is enabled
  }
}

}  // namespace

uint32_t read_hwreg(const Wave& w, unsigned id) { return w.gfx12 ? read_gfx12(w, id) : read_gfx11(w, id); }

void write_hwreg(Wave& w, unsigned id, uint32_t value) {
  if (id == 1) set_mode(w, value);  // the others are read-only for programs
}

// LLVM, 'AMDGPU usage': 131 = REALTIME, 135 = SE_AID_ID (gfx12). Doorbell, TMA and TBA are 0: the queue has no trap handler.
uint64_t message_result(const Wave& w, unsigned id) { return id == 131 ? realtime_100mhz() : id == 135 && w.gfx12 ? w.group->se : 0; }

void send_message(const Wave& w, unsigned id) {
  constexpr unsigned kInterrupt = 1;
  const auto& interrupt = w.worker->state->interrupt;
  if ((id & 0xF) != kInterrupt || !interrupt) return;
  const Workgroup& g = *w.group;
  interrupt({w.sgpr[kM0] & 0xFFFFFF, g.se, g.sa, g.wgp, w.index % 4, w.index / 4});
}

bool fetch_allowed(Wave& wave, uint64_t pc, uint32_t& word) {
  (void)word;
  const auto t = wave.memory->space->translate(pc, Access::execute, false);
  return t && t->executable && t->bytes >= 4 && t->host;
}

void set_mode(Wave& w, uint32_t mode) {
  const bool gfx12 = w.worker->program->arch() == Arch::gfx12;
  w.mode = mode;
  w.nan_clamps_to_zero = gfx12 || (mode >> 8 & 1);
  w.variant = static_cast<uint8_t>(((mode & 0xFF) != kUsualFloatMode ? kAnyMode : 0) | (!gfx12 && !(mode >> 9 & 1) ? kNoIeee : 0));
}

void set_host_rounding(unsigned rounding) {
  const ControlWord wanted = rounding_word(rounding);
  // reading is cheap, writing is not; the exception flags of the x86 register are of no interest
#if defined(__SSE2__)
  if ((get_control() & 0xFFC0u) != (wanted & 0xFFC0u)) set_control(wanted);
#else
  if (get_control() != wanted) set_control(wanted);
#endif
}

HostFloatEnvironment::HostFloatEnvironment() : saved_(get_control()) { set_control(rounding_word(0)); }
HostFloatEnvironment::~HostFloatEnvironment() { set_control(static_cast<ControlWord>(saved_)); }

}  // namespace usbgpu::emulator::isa
