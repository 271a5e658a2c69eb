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
ControlWord control_of(uint32_t mode) {
  // MODE.round f32: 0 nearest, 1 +inf, 2 -inf, 3 zero. MXCSR.RC: 0 nearest, 1 down, 2 up, 3 zero.
  constexpr ControlWord rounding[] = {0, 2, 1, 3};
  ControlWord word = kDefault | rounding[mode & 3] << 13;
  if (!(mode >> 4 & 1)) word |= 0x40;    // inputs flushed: DAZ
  if (!(mode >> 5 & 1)) word |= 0x8000;  // outputs flushed: FTZ
  return word;
}
#elif defined(__aarch64__)
using ControlWord = uint64_t;
ControlWord get_control() { ControlWord v; __asm__ volatile("mrs %0, fpcr" : "=r"(v)); return v; }
void set_control(ControlWord v) { __asm__ volatile("msr fpcr, %0" ::"r"(v)); }
ControlWord control_of(uint32_t mode) {
  // FPCR.RMode: 0 nearest, 1 +inf, 2 -inf, 3 zero: as MODE. FZ flushes inputs and outputs together.
  ControlWord word = static_cast<ControlWord>(mode & 3) << 22;
  if (!(mode >> 4 & 3)) word |= ControlWord{1} << 24;
  return word;
}
#else
using ControlWord = uint32_t;
ControlWord get_control() { return 0; }
void set_control(ControlWord) {}
ControlWord control_of(uint32_t) { return 0; }
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
  if (id != 1) return;
  w.mode = value;
  apply_mode(w);
}

uint64_t message_result(const Wave&, unsigned id) { return id == 131 ? realtime_100mhz() : 0; }

bool fetch_allowed(Wave& wave, uint64_t pc, uint32_t& word) {
  (void)word;
  const auto t = wave.memory->space->translate(pc, Access::execute, false);
  return t && t->executable && t->bytes >= 4 && t->host;
}

void apply_mode(const Wave& wave) {
  wave.worker->applied_mode = wave.mode;
  const ControlWord wanted = control_of(wave.mode);
  // reading is cheap, writing is not
#if defined(__SSE2__)
  if ((get_control() & 0xFFC0u) != (wanted & 0xFFC0u)) set_control(wanted);
#else
  if (get_control() != wanted) set_control(wanted);
#endif
}

HostFloatEnvironment::HostFloatEnvironment() : saved_(get_control()) {}
HostFloatEnvironment::~HostFloatEnvironment() { set_control(static_cast<ControlWord>(saved_)); }

}  // namespace usbgpu::emulator::isa
