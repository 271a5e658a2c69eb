// GLOBAL, FLAT and buffer atomics, by the host's atomics: workgroups run on several threads and the bridge
// writes the same memory. With glc (aux bit 0) the value before the operation is returned.
#include "emulator/isa/atomic_ops.h"
#include "emulator/isa/buffer.h"
#include "emulator/isa/dispatch.h"
#include "emulator/isa/handlers.h"
#include "emulator/isa/vmem.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

template <class T> struct Bits;
template <> struct Bits<uint32_t> { using type = uint32_t; };
template <> struct Bits<int32_t> { using type = uint32_t; };
template <> struct Bits<float> { using type = uint32_t; };
template <> struct Bits<uint64_t> { using type = uint64_t; };
template <> struct Bits<int64_t> { using type = uint64_t; };

template <class T> T read_data(Wave& w, uint32_t reg, unsigned lane) {
  uint32_t dwords[sizeof(T) / 4];
  for (unsigned k = 0; k < sizeof(T) / 4; ++k) dwords[k] = lanes_at(w, reg)[kLanes * k + lane];
  T value;
  __builtin_memcpy(&value, dwords, sizeof value);
  return value;
}

template <class T, T (*op)(T, T)> struct Rmw {
  using type = T;
  static T next(T old, T data, T) { return op(old, data); }
  static constexpr bool compare = false;
};
template <class T> struct CompareSwap {
  using type = T;
  static T next(T old, T data, T expected) { return old == expected ? data : old; }
  static constexpr bool compare = true;
};

template <class Op> typename Op::type exchange(void* where, typename Op::type data, typename Op::type expected) {
  using T = typename Op::type;
  using B = typename Bits<T>::type;
  auto* p = static_cast<B*>(where);
  B old = __atomic_load_n(p, __ATOMIC_RELAXED);
  for (;;) {
    T value;
    __builtin_memcpy(&value, &old, sizeof value);
    const T next = Op::next(value, data, expected);
    B wanted;
    __builtin_memcpy(&wanted, &next, sizeof wanted);
    if (__atomic_compare_exchange_n(p, &old, wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return value;
  }
}

// In the lanes of `active`, one after the other. Lanes of EXEC that are not active (out of a buffer's range) return 0.
template <class Op, bool flat> const Inst* perform(Wave& w, const Inst* i, U64 address, uint32_t active) {
  using T = typename Op::type;
  const uint32_t exec = exec_of(w);
  T returned[kLanes] = {};
  for (uint32_t left = active; left; left &= left - 1) {
    const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
    const T data = read_data<T>(w, i->src[2], lane);
    const T expected = Op::compare ? read_data<T>(w, i->src[2] + 128 * (sizeof(T) / 4), lane) : T{};
    uint64_t va = address[lane];
    if (va % sizeof(T) != 0)
      return raise(w, i, static_cast<uint8_t>(WaveFault::Kind::misaligned_atomic), va, static_cast<uint8_t>(Access::atomic));
    T old{};
    if (flat && static_cast<uint32_t>(va >> 32) == w.apertures[0]) {
      const uint32_t at = static_cast<uint32_t>(va);
      if (uint64_t{at} + sizeof(T) <= w.group->lds_bytes) {
        __builtin_memcpy(&old, w.group->lds + at, sizeof old);
        const T next = Op::next(old, data, expected);
        __builtin_memcpy(w.group->lds + at, &next, sizeof next);
      }
      returned[lane] = old;
      continue;
    }
    if (flat && static_cast<uint32_t>(va >> 32) == w.apertures[1]) {
      // Nobody else sees it, and its dwords are not neighbours.
      const uint32_t at = static_cast<uint32_t>(va);
      bool good = private_read(w, lane, at, &old, sizeof old, va);
      const T next = Op::next(old, data, expected);
      good = good && private_write(w, lane, at, &next, sizeof next, va);
      if (!good) return raise(w, i, static_cast<uint8_t>(WaveFault::Kind::memory_violation), va, static_cast<uint8_t>(Access::atomic));
      returned[lane] = old;
      continue;
    }
    const TlbEntry* e = find_entry<true>(w, va, sizeof(T));
    if (e) {
      returned[lane] = exchange<Op>(reinterpret_cast<char*>(va + e->delta), data, expected);
      continue;
    }
    const AtomicPlace place = memory_atomic_walk(*w.memory, va, sizeof(T));
    if (!place.good) return raise(w, i, static_cast<uint8_t>(WaveFault::Kind::memory_violation), va, static_cast<uint8_t>(Access::atomic));
    if (place.host) {
      returned[lane] = exchange<Op>(static_cast<char*>(place.host), data, expected);
      continue;
    }
    // behind the bridge: read, compute, write
    memory_atomic_lock();
    bool good = memory_read(*w.memory, va, &old, sizeof old);
    if (good) {
      const T next = Op::next(old, data, expected);
      good = memory_write(*w.memory, va, &next, sizeof next);
    }
    memory_atomic_unlock();
    if (!good) return raise(w, i, static_cast<uint8_t>(WaveFault::Kind::memory_violation), va, static_cast<uint8_t>(Access::atomic));
    returned[lane] = old;
  }
  if (i->aux & 1) {
    for (uint32_t left = exec; left; left &= left - 1) {
      const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
      uint32_t dwords[sizeof(T) / 4];
      __builtin_memcpy(dwords, &returned[lane], sizeof dwords);
      for (unsigned k = 0; k < sizeof(T) / 4; ++k) lanes_at(w, i->dst)[kLanes * k + lane] = dwords[k];
    }
  }
  return i + 1;
}

template <class Op, bool saddr, bool flat> const Inst* run(Wave& w, const Inst* i) {
  const uint32_t exec = exec_of(w);
  if (exec == 0) return i + 1;
  const uint64_t offset = static_cast<uint64_t>(static_cast<int64_t>(i->imm));
  U64 address;
  if constexpr (saddr) address = convert<U64>(load_lanes<U32>(w, i->src[0])) + (scalar<uint64_t>(w, i, i->src[1]) + offset);
  else address = load_lanes<U64>(w, i->src[0]) + offset;
  return perform<Op, flat>(w, i, address, exec);
}
template <class Op> const Inst* buffer(Wave& w, const Inst* i) {
  const BufferAccess access(w, i);
  U64 address{};
  uint32_t active = 0;
  for (uint32_t left = exec_of(w); left; left &= left - 1) {
    const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
    if (!access.inside(lane, 0, sizeof(typename Op::type))) continue;
    address[lane] = access.address(lane, 0);
    active |= 1u << lane;
  }
  return perform<Op, false>(w, i, address, active);
}

template <class Op> Handler select_global(const Shape& s) { return s.scalars & 2 ? run<Op, true, false> : run<Op, false, false>; }

#define EACH(name, ...) {"global_atomic_" name, select_global<__VA_ARGS__>}, {"flat_atomic_" name, always<run<__VA_ARGS__, false, true>>}, \
  {"buffer_atomic_" name, always<buffer<__VA_ARGS__>>}
#define INTEGER(name, suffix, T, op) EACH(name "_" suffix, Rmw<T, op<T>>)

constexpr HandlerRow rows[] = {
    INTEGER("swap", "b32", uint32_t, rmw_swap), INTEGER("swap", "b64", uint64_t, rmw_swap),
    EACH("cmpswap_b32", CompareSwap<uint32_t>), EACH("cmpswap_b64", CompareSwap<uint64_t>), EACH("cmpswap_f32", CompareSwap<float>),
    INTEGER("add", "u32", uint32_t, rmw_add), INTEGER("add", "u64", uint64_t, rmw_add),
    INTEGER("sub", "u32", uint32_t, rmw_sub), INTEGER("sub", "u64", uint64_t, rmw_sub),
    INTEGER("csub", "u32", uint32_t, rmw_csub), INTEGER("cond_sub", "u32", uint32_t, rmw_cond_sub),
    EACH("pk_add_f16", Rmw<uint32_t, rmw_pk_add_f16>), EACH("pk_add_bf16", Rmw<uint32_t, rmw_pk_add_bf16>),
    INTEGER("min", "i32", int32_t, rmw_min), INTEGER("min", "u32", uint32_t, rmw_min),
    INTEGER("min", "i64", int64_t, rmw_min), INTEGER("min", "u64", uint64_t, rmw_min),
    INTEGER("max", "i32", int32_t, rmw_max), INTEGER("max", "u32", uint32_t, rmw_max),
    INTEGER("max", "i64", int64_t, rmw_max), INTEGER("max", "u64", uint64_t, rmw_max),
    INTEGER("and", "b32", uint32_t, rmw_and), INTEGER("and", "b64", uint64_t, rmw_and),
    INTEGER("or", "b32", uint32_t, rmw_or), INTEGER("or", "b64", uint64_t, rmw_or),
    INTEGER("xor", "b32", uint32_t, rmw_xor), INTEGER("xor", "b64", uint64_t, rmw_xor),
    INTEGER("inc", "u32", uint32_t, rmw_inc), INTEGER("inc", "u64", uint64_t, rmw_inc),
    INTEGER("dec", "u32", uint32_t, rmw_dec), INTEGER("dec", "u64", uint64_t, rmw_dec),
    INTEGER("add", "f32", float, rmw_add), INTEGER("min", "f32", float, rmw_fmin), INTEGER("max", "f32", float, rmw_fmax),
};

}  // namespace

const HandlerGroup group_atomic{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
