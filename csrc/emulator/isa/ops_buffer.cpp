// MUBUF and VBUFFER: raw and structured buffers. Each dword is checked against the descriptor by itself: outside, loads give 0 and
// stores are dropped. Lane by lane: compilers for compute use plain pointers. Atomics are in ops_atomic.cpp.
#include "emulator/isa/buffer.h"
#include "emulator/isa/dispatch.h"
#include "emulator/isa/handlers.h"
#include "emulator/isa/vmem_elements.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

constexpr uint8_t kViolation = static_cast<uint8_t>(WaveFault::Kind::memory_violation);

// Loads are complete before the first register changes.
template <class E> const Inst* load(Wave& w, const Inst* i) {
  const BufferAccess access(w, i);
  constexpr uint32_t kStep = E::bytes < 4 ? E::bytes : 4;
  uint32_t values[kLanes][4] = {};
  for (uint32_t left = exec_of(w); left; left &= left - 1) {
    const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
    for (uint32_t byte = 0; byte < E::bytes; byte += kStep) {
      if (!access.inside(lane, byte, kStep)) continue;
      const uint64_t va = access.address(lane, byte);
      if (!memory_read(*w.memory, va, &values[lane][byte / 4], kStep)) return raise(w, i, kViolation, va, static_cast<uint8_t>(Access::read));
    }
  }
  for (uint32_t left = exec_of(w); left; left &= left - 1) {
    const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
    E::put(w, i->dst, lane, values[lane]);
  }
  return i + 1;
}
template <class E> const Inst* store(Wave& w, const Inst* i) {
  const BufferAccess access(w, i);
  constexpr uint32_t kStep = E::bytes < 4 ? E::bytes : 4;
  for (uint32_t left = exec_of(w); left; left &= left - 1) {
    const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
    uint32_t value[4];
    E::get(w, i->src[2], lane, value);
    for (uint32_t byte = 0; byte < E::bytes; byte += kStep) {
      if (!access.inside(lane, byte, kStep)) continue;
      const uint64_t va = access.address(lane, byte);
      if (!memory_write(*w.memory, va, &value[byte / 4], kStep)) return raise(w, i, kViolation, va, static_cast<uint8_t>(Access::write));
    }
  }
  return i + 1;
}

#define LOAD(name, E) {"buffer_load_" name, always<load<E>>}
#define STORE(name, E) {"buffer_store_" name, always<store<E>>}

constexpr HandlerRow rows[] = {
    LOAD("b32", Dwords<1>), LOAD("b64", Dwords<2>), LOAD("b96", Dwords<3>), LOAD("b128", Dwords<4>),
    STORE("b32", Dwords<1>), STORE("b64", Dwords<2>), STORE("b96", Dwords<3>), STORE("b128", Dwords<4>),
    LOAD("u8", U8full), LOAD("i8", I8full), LOAD("u16", U16full), LOAD("i16", I16full),
    LOAD("d16_u8", U8low), LOAD("d16_i8", I8low), LOAD("d16_b16", U16low),
    LOAD("d16_hi_u8", U8high), LOAD("d16_hi_i8", I8high), LOAD("d16_hi_b16", U16high),
    STORE("b8", U8full), STORE("b16", U16full), STORE("d16_hi_b8", U8high), STORE("d16_hi_b16", U16high),
};

}  // namespace

const HandlerGroup group_buffer{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
