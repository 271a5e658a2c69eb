// GLOBAL, FLAT and SCRATCH loads and stores. Operands as Builder::flat() in lower_scalar_memory.cpp lays them out.
//
//   GLOBAL   SGPR64 + zext(VGPR32) or VGPR64, plus a signed offset
//   FLAT     VGPR64 plus offset; addresses in the shared or private aperture go to LDS or scratch
//   SCRATCH  offset [+ SGPR32] [+ VGPR32] into the lane's private memory, dword-interleaved over the
//            lanes of the wave: byte = base + (offset & ~3) * lanes + lane * 4 + (offset & 3)
#include "emulator/isa/dispatch.h"
#include "emulator/isa/handler.h"
#include "emulator/isa/handlers.h"
#include "emulator/isa/vmem.h"
#include "emulator/isa/vmem_elements.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

constexpr uint8_t kViolation = static_cast<uint8_t>(WaveFault::Kind::memory_violation);

template <bool saddr> USBGPU_INLINE U64 global_address(Wave& w, const Inst* i) {
  const uint64_t offset = static_cast<uint64_t>(static_cast<int64_t>(i->imm));
  if constexpr (saddr) {
    return convert<U64>(load_lanes<U32>(w, i->src[0])) + (scalar<uint64_t>(w, i, i->src[1]) + offset);
  } else {
    return load_lanes<U64>(w, i->src[0]) + offset;
  }
}

// Lane by lane: mixed pages, pages behind the bridge, FLAT apertures, faults. Loads are complete
// before the first register changes, so a fault leaves the destination untouched.
// `address` of Space::scratch is the offset in the lane's private memory.
enum class Space { global, flat, scratch };
struct LaneTarget { Space where; bool lds; uint64_t address; };

template <Space space> USBGPU_INLINE LaneTarget lane_target(const Wave& w, uint64_t va) {
  const uint32_t high = static_cast<uint32_t>(va >> 32), low = static_cast<uint32_t>(va);
  if constexpr (space == Space::flat) {
    if (high == w.apertures[0]) return {Space::flat, true, low};
    if (high == w.apertures[1]) return {Space::scratch, false, low};
  }
  return {space == Space::scratch ? Space::scratch : Space::global, false, va};
}

template <class E, Space space> const Inst* load_slow(Wave& w, const Inst* i, U64 address) {
  uint32_t values[kLanes][4];
  for (uint32_t left = exec_of(w); left; left &= left - 1) {
    const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
    const LaneTarget t = lane_target<space>(w, address[lane]);
    uint64_t fault = t.address;
    bool good = true;
    if (t.lds) {
      for (unsigned k = 0; k < 4; ++k) values[lane][k] = 0;
      if (t.address + E::bytes <= w.group->lds_bytes) __builtin_memcpy(values[lane], w.group->lds + t.address, E::bytes);
    } else if (t.where == Space::scratch) {
      good = private_read(w, lane, static_cast<uint32_t>(t.address), values[lane], E::bytes, fault);
    } else {
      good = memory_read(*w.memory, t.address, values[lane], E::bytes);
    }
    if (!good) return raise(w, i, kViolation, fault, static_cast<uint8_t>(Access::read));
  }
  for (uint32_t left = exec_of(w); left; left &= left - 1) {
    const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
    E::put(w, i->dst, lane, values[lane]);
  }
  return i + 1;
}
template <class E, Space space> const Inst* store_slow(Wave& w, const Inst* i, U64 address) {
  for (uint32_t left = exec_of(w); left; left &= left - 1) {
    const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
    const LaneTarget t = lane_target<space>(w, address[lane]);
    uint64_t fault = t.address;
    bool good = true;
    uint32_t value[4];
    E::get(w, i->src[2], lane, value);
    if (t.lds) {
      if (t.address + E::bytes <= w.group->lds_bytes) __builtin_memcpy(w.group->lds + t.address, value, E::bytes);
    } else if (t.where == Space::scratch) {
      good = private_write(w, lane, static_cast<uint32_t>(t.address), value, E::bytes, fault);
    } else {
      good = memory_write(*w.memory, t.address, value, E::bytes);
    }
    if (!good) return raise(w, i, kViolation, fault, static_cast<uint8_t>(Access::write));
  }
  return i + 1;
}

template <class E, bool saddr> const Inst* global_load(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (exec == 0) return i + 1;
  LaneOffsets o;
  if (__builtin_expect(!map_global<false, saddr>(w, i, exec, E::bytes, o), 0)) {
    const U64 address = global_address<saddr>(w, i);
    if (!map_lanes<false>(w, address, exec, E::bytes, o)) return load_slow<E, Space::global>(w, i, address);
  }
  E::load(w, i->dst, o);
  return i + 1;
}
template <class E, bool saddr> const Inst* global_store(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (exec == 0) return i + 1;
  LaneOffsets o;
  if (__builtin_expect(!map_global<true, saddr>(w, i, exec, E::bytes, o), 0)) {
    const U64 address = global_address<saddr>(w, i);
    if (!map_lanes<true>(w, address, exec, E::bytes, o)) return store_slow<E, Space::global>(w, i, address);
  }
  E::store(w, i->src[2], o);
  return i + 1;
}

// Any active lane in an aperture? (Both are 4 GiB, so the high dword decides.)
USBGPU_INLINE bool in_aperture(const Wave& w, U64 address, uint32_t exec) {
  const U32 high = convert<U32>(address >> 32);
  return (mask_of(bits<I32>(high == w.apertures[0]) | bits<I32>(high == w.apertures[1])) & exec) != 0;
}
template <class E> const Inst* flat_load(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (exec == 0) return i + 1;
  const U64 address = global_address<false>(w, i);
  LaneOffsets o;
  if (in_aperture(w, address, exec) || !map_lanes<false>(w, address, exec, E::bytes, o)) return load_slow<E, Space::flat>(w, i, address);
  E::load(w, i->dst, o);
  return i + 1;
}
template <class E> const Inst* flat_store(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (exec == 0) return i + 1;
  const U64 address = global_address<false>(w, i);
  LaneOffsets o;
  if (in_aperture(w, address, exec) || !map_lanes<true>(w, address, exec, E::bytes, o)) return store_slow<E, Space::flat>(w, i, address);
  E::store(w, i->src[2], o);
  return i + 1;
}

USBGPU_INLINE U32 scratch_offset(Wave& w, const Inst* i) {
  uint32_t base = static_cast<uint32_t>(i->imm);
  if (i->aux & 4) base += scalar<uint32_t>(w, i, i->src[1]);
  return (i->aux & 2) ? load_lanes<U32>(w, i->src[0]) + base : U32{} + base;
}
USBGPU_INLINE U64 swizzled(const Wave& w, U32 offset) {
  return (w.scratch + w.first_lane * 4) + convert<U64>(offset & ~3u) * w.lanes + convert<U64>(kLaneIndex * 4 + (offset & 3u));
}
template <unsigned n> const Inst* scratch_load(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (exec == 0) return i + 1;
  const U32 offset = scratch_offset(w, i);
  U32 values[n];
  for (unsigned k = 0; k < n; ++k) {
    // a dword may straddle two rows when it is not aligned: bytes 0..3 then come one by one
    alignas(128) uint32_t out[kLanes];
    const bool aligned = (mask_of(bits<I32>((offset & 3u) != 0u)) & exec) == 0;
    LaneOffsets o;
    const U64 address = swizzled(w, offset + 4 * k);
    if (aligned && map_lanes<false>(w, address, exec, 4, o)) {
      spill(o);
      for (unsigned lane = 0; lane < kLanes; ++lane) out[lane] = load_at<uint32_t>(o.base + o.at[lane]);
    } else {
      for (uint32_t left = exec; left; left &= left - 1) {
        const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
        uint8_t bytes[4];
        for (unsigned b = 0; b < 4; ++b) {
          const uint32_t at = offset[lane] + 4 * k + b;
          const uint64_t va = private_address(w, lane, at);
          if (!memory_read(*w.memory, va, &bytes[b], 1)) return raise(w, i, kViolation, va, static_cast<uint8_t>(Access::read));
        }
        __builtin_memcpy(&out[lane], bytes, 4);
      }
    }
    __builtin_memcpy(&values[k], out, sizeof out);
  }
  for (unsigned k = 0; k < n; ++k) store_dwords(w, i->dst + 128 * k, values[k]);
  return i + 1;
}
template <unsigned n> const Inst* scratch_store(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (exec == 0) return i + 1;
  const U32 offset = scratch_offset(w, i);
  const bool aligned = (mask_of(bits<I32>((offset & 3u) != 0u)) & exec) == 0;
  for (unsigned k = 0; k < n; ++k) {
    LaneOffsets o;
    const U64 address = swizzled(w, offset + 4 * k);
    if (aligned && map_lanes<true>(w, address, exec, 4, o)) {
      scatter<1>(w, i->src[2] + 128 * k, o);
      continue;
    }
    for (uint32_t left = exec; left; left &= left - 1) {
      const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
      uint8_t bytes[4];
      __builtin_memcpy(bytes, lanes_at(w, i->src[2] + 128 * k) + lane, 4);
      for (unsigned b = 0; b < 4; ++b) {
        const uint32_t at = offset[lane] + 4 * k + b;
        const uint64_t va = private_address(w, lane, at);
        if (!memory_write(*w.memory, va, &bytes[b], 1)) return raise(w, i, kViolation, va, static_cast<uint8_t>(Access::write));
      }
    }
  }
  return i + 1;
}
template <class E> const Inst* scratch_load_small(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (exec == 0) return i + 1;
  const U32 offset = scratch_offset(w, i);
  LaneOffsets o;
  // The two bytes of a halfword at an odd offset may be in two dwords.
  const bool whole = E::bytes == 1 || (mask_of(bits<I32>((offset & 3u) == 3u)) & exec) == 0;
  if (!whole || !map_lanes<false>(w, swizzled(w, offset), exec, E::bytes, o)) return load_slow<E, Space::scratch>(w, i, convert<U64>(offset));
  E::load(w, i->dst, o);
  return i + 1;
}
template <class E> const Inst* scratch_store_small(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (exec == 0) return i + 1;
  const U32 offset = scratch_offset(w, i);
  LaneOffsets o;
  // The two bytes of a halfword at an odd offset may be in two dwords.
  const bool whole = E::bytes == 1 || (mask_of(bits<I32>((offset & 3u) == 3u)) & exec) == 0;
  if (!whole || !map_lanes<true>(w, swizzled(w, offset), exec, E::bytes, o)) return store_slow<E, Space::scratch>(w, i, convert<U64>(offset));
  E::store(w, i->src[2], o);
  return i + 1;
}

// global_*_addtid: SGPR base + offset + 4 * lane, no address register.
USBGPU_INLINE U64 lane_address(Wave& w, const Inst* i) {
  const uint64_t base = scalar<uint64_t>(w, i, i->src[1]) + static_cast<uint64_t>(static_cast<int64_t>(i->imm)) + w.first_lane * 4;
  return convert<U64>(kLaneIndex * 4) + base;
}
const Inst* load_addtid(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (exec == 0) return i + 1;
  const U64 address = lane_address(w, i);
  LaneOffsets o;
  if (!map_lanes<false>(w, address, exec, 4, o)) return load_slow<Dwords<1>, Space::global>(w, i, address);
  Dwords<1>::load(w, i->dst, o);
  return i + 1;
}
const Inst* store_addtid(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (exec == 0) return i + 1;
  const U64 address = lane_address(w, i);
  LaneOffsets o;
  if (!map_lanes<true>(w, address, exec, 4, o)) return store_slow<Dwords<1>, Space::global>(w, i, address);
  Dwords<1>::store(w, i->src[2], o);
  return i + 1;
}

// *_block (gfx12): for each bit n of M0, VGPR dst + n <-> the dword 4 n behind the address. Lane by lane: rare.
template <bool scratch> USBGPU_INLINE uint64_t block_address(Wave& w, const Inst* i, unsigned lane, unsigned n, U64 global) {
  if constexpr (scratch) return private_address(w, lane, scratch_offset(w, i)[lane] + 4 * n);
  else return global[lane] + 4 * n;
}
template <bool scratch, bool saddr, bool load> const Inst* block(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w), m0 = w.sgpr[kM0], reg = load ? i->dst : i->src[2];
  const U64 global = scratch ? U64{} : global_address<saddr>(w, i);
  const uint32_t end = vgpr_offset(kVgprs) + (w.first_lane ? kUpperHalf : 0);
  for (unsigned n = 0; n < 32; ++n) {
    if (!(m0 >> n & 1) || reg + 128 * n >= end) continue;
    uint32_t values[kLanes];
    for (uint32_t left = exec; left; left &= left - 1) {
      const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
      const uint64_t va = block_address<scratch>(w, i, lane, n, global);
      if constexpr (load) {
        if (!memory_read(*w.memory, va, &values[lane], 4)) return raise(w, i, kViolation, va, static_cast<uint8_t>(Access::read));
      } else {
        if (!memory_write(*w.memory, va, &lanes_at(w, reg + 128 * n)[lane], 4)) return raise(w, i, kViolation, va, static_cast<uint8_t>(Access::write));
      }
    }
    if constexpr (load)
      for (uint32_t left = exec; left; left &= left - 1) {
        const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
        lanes_at(w, reg + 128 * n)[lane] = values[lane];
      }
  }
  return i + 1;
}
template <bool load> Handler select_block(const Shape& s) { return s.scalars & 2 ? block<false, true, load> : block<false, false, load>; }

// global_load_tr (gfx12, wave32): eight lanes load eight elements each and get the transposed 8x8 block. T: 16- or 8-bit element.
template <class T, bool saddr> const Inst* load_transposed(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (exec == 0) return i + 1;
  const U64 address = global_address<saddr>(w, i);
  constexpr unsigned kDwords = 2 * sizeof(T);
  T in[kLanes][8] = {}, out[8];
  for (uint32_t left = exec; left; left &= left - 1) {
    const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
    if (!memory_read(*w.memory, address[lane], in[lane], sizeof in[lane]))
      return raise(w, i, kViolation, address[lane], static_cast<uint8_t>(Access::read));
  }
  for (uint32_t left = exec; left; left &= left - 1) {
    const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
    for (unsigned e = 0; e < 8; ++e) out[e] = in[(lane & ~7u) + e][lane & 7];
    uint32_t dwords[kDwords];
    __builtin_memcpy(dwords, out, sizeof dwords);
    for (unsigned k = 0; k < kDwords; ++k) lanes_at(w, i->dst)[kLanes * k + lane] = dwords[k];
  }
  return i + 1;
}
template <class T> Handler select_transposed(const Shape& s) { return s.scalars & 2 ? load_transposed<T, true> : load_transposed<T, false>; }

template <class E> Handler select_load(const Shape& s) { return s.scalars & 2 ? global_load<E, true> : global_load<E, false>; }
template <class E> Handler select_store(const Shape& s) { return s.scalars & 2 ? global_store<E, true> : global_store<E, false>; }

#define LOAD(name, E) {"global_load_" name, select_load<E>}, {"flat_load_" name, always<flat_load<E>>}
#define STORE(name, E) {"global_store_" name, select_store<E>}, {"flat_store_" name, always<flat_store<E>>}
#define LOAD_SMALL(name, ...) LOAD(name, __VA_ARGS__), {"scratch_load_" name, always<scratch_load_small<__VA_ARGS__>>}
#define STORE_SMALL(name, ...) STORE(name, __VA_ARGS__), {"scratch_store_" name, always<scratch_store_small<__VA_ARGS__>>}

constexpr HandlerRow rows[] = {
    LOAD("b32", Dwords<1>), LOAD("b64", Dwords<2>), LOAD("b96", Dwords<3>), LOAD("b128", Dwords<4>),
    STORE("b32", Dwords<1>), STORE("b64", Dwords<2>), STORE("b96", Dwords<3>), STORE("b128", Dwords<4>),
    LOAD_SMALL("u8", U8full), LOAD_SMALL("i8", I8full), LOAD_SMALL("u16", U16full), LOAD_SMALL("i16", I16full),
    LOAD_SMALL("d16_u8", U8low), LOAD_SMALL("d16_i8", I8low), LOAD_SMALL("d16_b16", U16low),
    LOAD_SMALL("d16_hi_u8", U8high), LOAD_SMALL("d16_hi_i8", I8high), LOAD_SMALL("d16_hi_b16", U16high),
    STORE_SMALL("b8", U8full), STORE_SMALL("b16", U16full), STORE_SMALL("d16_hi_b8", U8high), STORE_SMALL("d16_hi_b16", U16high),
    {"global_load_addtid_b32", always<load_addtid>}, {"global_store_addtid_b32", always<store_addtid>},
    {"global_load_block", select_block<true>}, {"global_store_block", select_block<false>},
    {"scratch_load_block", always<block<true, false, true>>}, {"scratch_store_block", always<block<true, false, false>>},
    {"global_load_tr_b128", select_transposed<uint16_t>, wave32_only}, {"global_load_tr_b64", select_transposed<uint8_t>, wave32_only},
    {"scratch_load_b32", always<scratch_load<1>>}, {"scratch_load_b64", always<scratch_load<2>>},
    {"scratch_load_b96", always<scratch_load<3>>}, {"scratch_load_b128", always<scratch_load<4>>},
    {"scratch_store_b32", always<scratch_store<1>>}, {"scratch_store_b64", always<scratch_store<2>>},
    {"scratch_store_b96", always<scratch_store<3>>}, {"scratch_store_b128", always<scratch_store<4>>},
};

}  // namespace

const HandlerGroup group_global{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
