// Scalar memory: s_load, s_buffer_load. Low address bits below the element's size are ignored (dwords: two bits).
// src[0] = base (SGPR pair, or the four SGPRs of a buffer descriptor), src[1] = SGPR offset, imm = constant offset.
#include "emulator/isa/buffer.h"
#include "emulator/isa/dispatch.h"
#include "emulator/isa/handler.h"
#include "emulator/isa/handlers.h"
#include "emulator/isa/vm.h"
#include "emulator/isa/vmem.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

const Inst* violation(Wave& w, const Inst* i, uint64_t va) {
  return raise(w, i, static_cast<uint8_t>(WaveFault::Kind::memory_violation), va, static_cast<uint8_t>(Access::read));
}
USBGPU_INLINE bool fetch(Wave& w, uint64_t va, void* into, uint32_t bytes) {
  const TlbEntry* e = find_entry<false>(w, va, bytes);
  if (__builtin_expect(e == nullptr, 0)) return memory_read(*w.memory, va, into, bytes);
  __builtin_memcpy(into, reinterpret_cast<const char*>(va + e->delta), bytes);
  return true;
}

template <unsigned dwords> const Inst* load(Wave& w, const Inst* i) {
  const uint64_t base = scalar<uint64_t>(w, i, i->src[0]);
  const uint64_t va = (base + static_cast<uint64_t>(static_cast<int64_t>(i->imm)) + scalar<uint32_t>(w, i, i->src[1])) & ~uint64_t{3};
  uint32_t values[dwords];
  if (!fetch(w, va, values, sizeof values)) return violation(w, i, va);
  __builtin_memcpy(reinterpret_cast<char*>(&w) + i->dst, values, sizeof values);
  return i + 1;
}
// gfx12: bytes and words, extended by the element's sign
template <class T> const Inst* load_small(Wave& w, const Inst* i) {
  const uint64_t base = scalar<uint64_t>(w, i, i->src[0]);
  const uint64_t va = (base + static_cast<uint64_t>(static_cast<int64_t>(i->imm)) + scalar<uint32_t>(w, i, i->src[1])) & ~uint64_t{sizeof(T) - 1};
  T value;
  if (!fetch(w, va, &value, sizeof value)) return violation(w, i, va);
  set_scalar<uint32_t>(w, i->dst, static_cast<uint32_t>(static_cast<int32_t>(value)));
  return i + 1;
}

// Buffers: what lies outside the descriptor's range reads as 0, dword by dword.
template <unsigned dwords> const Inst* buffer_load(Wave& w, const Inst* i) {
  const Descriptor d(w, i, i->src[0]);
  const uint64_t offset = (uint64_t{scalar<uint32_t>(w, i, i->src[1])} + static_cast<uint64_t>(static_cast<int64_t>(i->imm))) & ~uint64_t{3};
  uint32_t values[dwords];
  for (unsigned k = 0; k < dwords; ++k) {
    values[k] = 0;
    const uint64_t at = offset + 4 * k;
    if (at + 4 > d.bytes()) continue;
    if (!fetch(w, d.base + at, &values[k], 4)) return violation(w, i, d.base + at);
  }
  __builtin_memcpy(reinterpret_cast<char*>(&w) + i->dst, values, sizeof values);
  return i + 1;
}
template <class T> const Inst* buffer_load_small(Wave& w, const Inst* i) {
  const Descriptor d(w, i, i->src[0]);
  const uint64_t at = (uint64_t{scalar<uint32_t>(w, i, i->src[1])} + static_cast<uint64_t>(static_cast<int64_t>(i->imm))) & ~uint64_t{sizeof(T) - 1};
  T value{};
  if (at + sizeof(T) <= d.bytes() && !fetch(w, d.base + at, &value, sizeof value)) return violation(w, i, d.base + at);
  set_scalar<uint32_t>(w, i->dst, static_cast<uint32_t>(static_cast<int32_t>(value)));
  return i + 1;
}
const Inst* nop(Wave&, const Inst* i) { return i + 1; }

constexpr HandlerRow rows[] = {
    {"s_load_b32", always<load<1>>},   {"s_load_b64", always<load<2>>},   {"s_load_b96", always<load<3>>},
    {"s_load_b128", always<load<4>>},  {"s_load_b256", always<load<8>>},  {"s_load_b512", always<load<16>>},
    {"s_load_i8", always<load_small<int8_t>>},   {"s_load_u8", always<load_small<uint8_t>>},
    {"s_load_i16", always<load_small<int16_t>>}, {"s_load_u16", always<load_small<uint16_t>>},
    {"s_buffer_load_b32", always<buffer_load<1>>},   {"s_buffer_load_b64", always<buffer_load<2>>},
    {"s_buffer_load_b96", always<buffer_load<3>>},   {"s_buffer_load_b128", always<buffer_load<4>>},
    {"s_buffer_load_b256", always<buffer_load<8>>},  {"s_buffer_load_b512", always<buffer_load<16>>},
    {"s_buffer_load_i8", always<buffer_load_small<int8_t>>},   {"s_buffer_load_u8", always<buffer_load_small<uint8_t>>},
    {"s_buffer_load_i16", always<buffer_load_small<int16_t>>}, {"s_buffer_load_u16", always<buffer_load_small<uint16_t>>},
    // translation hints without a result
    {"s_atc_probe", always<nop>}, {"s_atc_probe_buffer", always<nop>},
    {"s_prefetch_inst", always<nop>}, {"s_prefetch_inst_pc_rel", always<nop>}, {"s_prefetch_data", always<nop>},
    {"s_prefetch_data_pc_rel", always<nop>}, {"s_buffer_prefetch_data", always<nop>},
};

}  // namespace

const HandlerGroup group_smem{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
