// Scalar memory: s_load_b32 ... b512. The address' low two bits are ignored for dword loads.
#include "emulator/isa/dispatch.h"
#include "emulator/isa/handler.h"
#include "emulator/isa/handlers.h"
#include "emulator/isa/vm.h"
#include "emulator/isa/vmem.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

template <unsigned dwords> const Inst* load(Wave& w, const Inst* i) {
  const uint64_t base = scalar<uint64_t>(w, i, i->src[0]);
  const uint64_t va = (base + static_cast<uint64_t>(static_cast<int64_t>(i->imm)) + scalar<uint32_t>(w, i, i->src[1])) & ~uint64_t{3};
  uint32_t values[dwords];
  const TlbEntry* e = find_entry<false>(w, va, 4 * dwords);
  if (__builtin_expect(e != nullptr, 1)) {
    __builtin_memcpy(values, reinterpret_cast<const char*>(va + e->delta), sizeof values);
  } else if (!memory_read(*w.memory, va, values, sizeof values)) {
    return raise(w, i, static_cast<uint8_t>(WaveFault::Kind::memory_violation), va, static_cast<uint8_t>(Access::read));
  }
  __builtin_memcpy(reinterpret_cast<char*>(&w) + i->dst, values, sizeof values);
  return i + 1;
}

constexpr HandlerRow rows[] = {
    {"s_load_b32", always<load<1>>},   {"s_load_b64", always<load<2>>},   {"s_load_b128", always<load<4>>},
    {"s_load_b256", always<load<8>>},  {"s_load_b512", always<load<16>>},
};

}  // namespace

const HandlerGroup group_smem{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
