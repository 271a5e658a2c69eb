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

uint32_t read_hwreg(const Wave& w, unsigned id) {
  switch (id) {
    case 1: return w.mode;
    case 2: return 0;                                     // STATUS: nothing a program may rely on
    case 15: return w.apertures[0] | w.apertures[1] >> 16;  // SH_MEM_BASES
    case 20: return static_cast<uint32_t>(w.scratch);
    case 21: return static_cast<uint32_t>(w.scratch >> 32);
    case 23: return w.slot;                               // HW_ID1: wave slot
    case 29: return static_cast<uint32_t>(realtime_100mhz()) & 0xFFFFF;  // SHADER_CYCLES, 20 bits
    default: return 0;
  }
}

void write_hwreg(Wave& w, unsigned id, uint32_t value) {
  if (id == 1) set_mode(w, value);
}

uint64_t message_result(const Wave&, unsigned id) { return id == 131 ? realtime_100mhz() : 0; }

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
