// wave64: per-lane instructions run for lanes 0..31, then for lanes 32..63 (lower.cpp lays the Insts out).
#include "emulator/isa/handler.h"
#include "emulator/isa/handlers.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

USBGPU_INLINE const Inst* run(Wave& w, const Inst* i, unsigned count) {
  for (const Inst* end = i + count; i != end;)
    if (!(i = i->fn(w, i))) return nullptr;
  return i;
}

// imm Insts for the lower half follow, then as many for the upper one. While these run, sgpr[kExec] is
// EXEC_HI and sgpr[kExec + 1] EXEC_LO. aux: the instruction's result is a lane mask; it goes to dst.
const Inst* halves(Wave& w, const Inst* i) {
  const unsigned count = static_cast<unsigned>(i->imm);
  const uint32_t low = w.sgpr[kExec], high = w.sgpr[kExec + 1];
  w.exec_operand[0] = low;
  w.exec_operand[1] = high;
  const Inst* p = i + 1;
  // a half without lanes changes nothing but masks
  if (low | i->aux) {
    if (!run(w, p, count)) return nullptr;
  }
  p += count;
  if (high | i->aux) {
    w.sgpr[kExec] = high;
    w.sgpr[kExec + 1] = low;
    w.first_lane = 32;
    const bool finished = run(w, p, count) != nullptr;
    w.first_lane = 0;
    w.sgpr[kExec] = low;
    w.sgpr[kExec + 1] = high;
    if (!finished) return nullptr;
  }
  if (i->aux) __builtin_memcpy(reinterpret_cast<char*>(&w) + i->dst, w.half_mask, sizeof w.half_mask);
  return p + count;
}

constexpr HandlerRow rows[] = {
    {".halves", always<halves>},
};

}  // namespace

const HandlerGroup group_wave64{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
