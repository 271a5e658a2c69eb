// Vector memory access from a host base and 32 lane offsets: the part that global memory, scratch
// and LDS share. Only ops_*.cpp include this.
//
// Lanes with consecutive addresses are one copy; four dwords per lane are 16-byte accesses and a
// 4x4 transposition in registers (twice as fast as dword by dword).
#pragma once

#include "emulator/isa/handler.h"
#include "emulator/isa/vm.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {

using X4 = uint32_t __attribute__((vector_size(16)));
using X8 = uint32_t __attribute__((vector_size(32)));

constexpr U32 kLaneIndex = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                            16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

template <bool write> USBGPU_INLINE const TlbEntry* find_entry(Wave& w, uint64_t va, uint32_t bytes) {
  const TlbEntry& e = w.memory->large[va >> 21 & 255];
  if (__builtin_expect(va >= e.lo && va + bytes <= e.hi && (write ? e.write : e.read), 1)) return &e;
  return memory_fill(*w.memory, va, bytes, write);
}

// The 32 offsets from one host base. Lanes outside `exec` have the offset of an active lane.
struct LaneOffsets {
  alignas(128) uint32_t at[kLanes];
  U32 vector;
  char* base;
  bool run = false;   // known: all 32 lanes, one access behind the other
};

// Where a byte of a lane's private memory is: dwords are interleaved over the lanes of the wave.
// `lane` counts within the half of a wave64 that runs.
USBGPU_INLINE uint64_t private_address(const Wave& w, unsigned lane, uint32_t offset) {
  return w.scratch + uint64_t{offset & ~3u} * w.lanes + (w.first_lane + lane) * 4 + (offset & 3);
}

// Bytes of a lane's private memory that may lie in several of its dwords. At a fault `fault` is the address.
inline bool private_read(Wave& w, unsigned lane, uint32_t offset, void* into, uint32_t bytes, uint64_t& fault) {
  for (uint32_t done = 0; done < bytes;) {
    const uint32_t at = offset + done, piece = bytes - done < 4 - (at & 3) ? bytes - done : 4 - (at & 3);
    fault = private_address(w, lane, at);
    if (!memory_read(*w.memory, fault, static_cast<char*>(into) + done, piece)) return false;
    done += piece;
  }
  return true;
}
inline bool private_write(Wave& w, unsigned lane, uint32_t offset, const void* from, uint32_t bytes, uint64_t& fault) {
  for (uint32_t done = 0; done < bytes;) {
    const uint32_t at = offset + done, piece = bytes - done < 4 - (at & 3) ? bytes - done : 4 - (at & 3);
    fault = private_address(w, lane, at);
    if (!memory_write(*w.memory, fault, static_cast<const char*>(from) + done, piece)) return false;
    done += piece;
  }
  return true;
}

USBGPU_INLINE U32 substitute_inactive(U32 offset, uint32_t exec) {
  if (exec == ~0u) return offset;
  const U32 m = lane_mask(exec);
  return (offset & m) | ((U32{} + offset[static_cast<unsigned>(__builtin_ctz(exec))]) & ~m);
}

// All active lanes inside one TLB entry? exec is not 0.
template <bool write> USBGPU_INLINE bool map_lanes(Wave& w, U64 address, uint32_t exec, uint32_t bytes, LaneOffsets& out) {
  const TlbEntry* e = find_entry<write>(w, address[static_cast<unsigned>(__builtin_ctz(exec))], bytes);
  if (!e) return false;
  const U64 delta = address - e->lo;
  const U32 low = convert<U32>(delta), high = convert<U32>(delta >> 32);
  const uint32_t limit = static_cast<uint32_t>(e->hi - e->lo - bytes);
  const I32 outside = bits<I32>(high != 0u) | bits<I32>(low > limit);
  if (mask_of(outside) & exec) return false;
  out.vector = substitute_inactive(low, exec);
  out.base = reinterpret_cast<char*>(e->lo + e->delta);
  return true;
}

// The same for GLOBAL addresses straight from their registers, without 64-bit lanes: the addresses are
// zext(VGPR) + base + offset or VGPR64 + offset, and differ in the low dword only. False also where
// map_lanes would find a way (high dwords differ).
template <bool write, bool saddr> USBGPU_INLINE bool map_global(Wave& w, const Inst* i, uint32_t exec, uint32_t bytes, LaneOffsets& out) {
  const unsigned first = static_cast<unsigned>(__builtin_ctz(exec));
  const U32 low = load_lanes<U32>(w, i->src[0]);
  const uint32_t low_first = lanes_at(w, i->src[0])[first];
  uint64_t va = low_first + static_cast<uint64_t>(static_cast<int64_t>(i->imm));
  if constexpr (saddr) {
    va += scalar<uint64_t>(w, i, i->src[1]);
  } else {
    const uint32_t high_first = lanes_at(w, i->src[0] + 128)[first];
    if (mask_of(bits<I32>(load_lanes<U32>(w, i->src[0] + 128) != high_first)) & exec) return false;
    va += uint64_t{high_first} << 32;
  }
  const TlbEntry* e = find_entry<write>(w, va, bytes);
  if (!e) return false;
  // How far a lane may be below and above the first: to the ends of the entry and of the low dword.
  const uint64_t below = va - e->lo, above = e->hi - bytes - va;
  char* host = reinterpret_cast<char*>(va + e->delta);
  if (exec == ~0u && mask_of(bits<I32>(low == low_first + kLaneIndex * bytes)) == ~0u && above >= 31 * bytes && low_first <= ~0u - 31 * bytes) {
    out.vector = kLaneIndex * bytes;
    out.base = host;
    out.run = true;
    return true;
  }
  const uint32_t down = static_cast<uint32_t>(below < low_first ? below : low_first);
  const uint32_t up = static_cast<uint32_t>(above < ~low_first ? above : ~low_first);
  const U32 offset = low - (low_first - down);
  if (mask_of(bits<I32>(offset > down + up)) & exec) return false;
  out.vector = substitute_inactive(offset, exec);
  out.base = host - down;
  return true;
}

USBGPU_INLINE void spill(LaneOffsets& o) { __builtin_memcpy(o.at, &o.vector, sizeof o.at); }
USBGPU_INLINE bool consecutive(const LaneOffsets& o, uint32_t step) {
  return o.run || mask_of(bits<I32>(o.vector == o.vector[0] + kLaneIndex * step)) == ~0u;
}

template <class T> USBGPU_INLINE T load_at(const char* p) {
  T v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class T> USBGPU_INLINE void store_at(char* p, T v) { __builtin_memcpy(p, &v, sizeof v); }

USBGPU_INLINE void transpose4(const X8 (&r)[4], X8 (&out)[4]) {
  const X8 t0 = __builtin_shufflevector(r[0], r[1], 0, 8, 1, 9, 4, 12, 5, 13);
  const X8 t1 = __builtin_shufflevector(r[0], r[1], 2, 10, 3, 11, 6, 14, 7, 15);
  const X8 t2 = __builtin_shufflevector(r[2], r[3], 0, 8, 1, 9, 4, 12, 5, 13);
  const X8 t3 = __builtin_shufflevector(r[2], r[3], 2, 10, 3, 11, 6, 14, 7, 15);
  out[0] = __builtin_shufflevector(t0, t2, 0, 1, 8, 9, 4, 5, 12, 13);
  out[1] = __builtin_shufflevector(t0, t2, 2, 3, 10, 11, 6, 7, 14, 15);
  out[2] = __builtin_shufflevector(t1, t3, 0, 1, 8, 9, 4, 5, 12, 13);
  out[3] = __builtin_shufflevector(t1, t3, 2, 3, 10, 11, 6, 7, 14, 15);
}

// Loads n dwords per lane into n consecutive VGPRs from dst on, under EXEC.
template <unsigned n> USBGPU_INLINE void gather(Wave& w, uint32_t dst, LaneOffsets& o) {
  const uint32_t exec = exec_of(w);
  if constexpr (n == 1) {
    U32 v;
    if (consecutive(o, 4)) {
      v = load_at<U32>(o.base + o.vector[0]);
    } else {
      spill(o);
      alignas(128) uint32_t out[kLanes];
      for (unsigned lane = 0; lane < kLanes; ++lane) out[lane] = load_at<uint32_t>(o.base + o.at[lane]);
      __builtin_memcpy(&v, out, sizeof v);
    }
    store_dwords(w, dst, v);
  } else if constexpr (n == 2) {
    spill(o);
    alignas(128) uint64_t out[kLanes];
    for (unsigned lane = 0; lane < kLanes; ++lane) out[lane] = load_at<uint64_t>(o.base + o.at[lane]);
    U64 v;
    __builtin_memcpy(&v, out, sizeof v);
    store<U64>(w, dst, v);
  } else if constexpr (n == 3) {
    spill(o);
    U32 v[3];
    for (unsigned k = 0; k < 3; ++k) {
      alignas(128) uint32_t out[kLanes];
      for (unsigned lane = 0; lane < kLanes; ++lane) out[lane] = load_at<uint32_t>(o.base + o.at[lane] + 4 * k);
      __builtin_memcpy(&v[k], out, sizeof out);
    }
    for (unsigned k = 0; k < 3; ++k) store_dwords(w, dst + 128 * k, v[k]);
  } else {
    static_assert(n == 4);
    // One address for lanes 0-15 and one for lanes 16-31: how matrix kernels read a column.
    const U32 two = __builtin_shufflevector(o.vector, o.vector, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                            16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16);
    if (mask_of(bits<I32>(o.vector == two)) == ~0u) {
      const X4 low = load_at<X4>(o.base + o.vector[0]), high = load_at<X4>(o.base + o.vector[16]);
      for (unsigned k = 0; k < 4; ++k) {
        const X8 a = X8{} + low[k], b = X8{} + high[k];
        U32 v;
        __builtin_memcpy(&v, &a, sizeof a), __builtin_memcpy(reinterpret_cast<char*>(&v) + 32, &a, sizeof a);
        __builtin_memcpy(reinterpret_cast<char*>(&v) + 64, &b, sizeof b), __builtin_memcpy(reinterpret_cast<char*>(&v) + 96, &b, sizeof b);
        store_dwords(w, dst + 128 * k, v);
      }
      return;
    }
    spill(o);
    alignas(128) uint32_t staged[4][kLanes];
    uint32_t* to = exec == ~0u ? lanes_at(w, dst) : staged[0];
    for (unsigned g = 0; g < kLanes; g += 8) {
      X8 r[4], out[4];
      for (unsigned k = 0; k < 4; ++k) {
        const X4 a = load_at<X4>(o.base + o.at[g + k]), b = load_at<X4>(o.base + o.at[g + 4 + k]);
        r[k] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
      }
      transpose4(r, out);
      for (unsigned k = 0; k < 4; ++k) __builtin_memcpy(to + kLanes * k + g, &out[k], sizeof out[k]);
    }
    if (exec != ~0u)
      for (unsigned k = 0; k < 4; ++k) store_dwords(w, dst + 128 * k, load_at<U32>(reinterpret_cast<const char*>(staged[k])));
  }
}

// Stores n dwords per lane of EXEC from n consecutive VGPRs. Higher lanes win where lanes overlap.
template <unsigned n> USBGPU_INLINE void scatter(Wave& w, uint32_t src, LaneOffsets& o) {
  const uint32_t exec = exec_of(w);
  const uint32_t* from = lanes_at(w, src);
  if (exec == ~0u) {
    if constexpr (n == 1) {
      if (consecutive(o, 4)) {
        store_at<U32>(o.base + o.vector[0], load_lanes<U32>(w, src));
        return;
      }
    }
    spill(o);
    if constexpr (n == 4) {
      for (unsigned g = 0; g < kLanes; g += 8) {
        X8 r[4], out[4];
        for (unsigned k = 0; k < 4; ++k) __builtin_memcpy(&r[k], from + kLanes * k + g, sizeof r[k]);
        transpose4(r, out);
        for (unsigned k = 0; k < 4; ++k) store_at<X4>(o.base + o.at[g + k], __builtin_shufflevector(out[k], out[k], 0, 1, 2, 3));
        for (unsigned k = 0; k < 4; ++k) store_at<X4>(o.base + o.at[g + 4 + k], __builtin_shufflevector(out[k], out[k], 4, 5, 6, 7));
      }
      return;
    }
    for (unsigned lane = 0; lane < kLanes; ++lane)
      for (unsigned k = 0; k < n; ++k) store_at<uint32_t>(o.base + o.at[lane] + 4 * k, from[kLanes * k + lane]);
    return;
  }
  spill(o);
  for (uint32_t left = exec; left; left &= left - 1) {
    const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
    for (unsigned k = 0; k < n; ++k) store_at<uint32_t>(o.base + o.at[lane] + 4 * k, from[kLanes * k + lane]);
  }
}

// Where a sub-dword value goes: the whole register (sign- or zero-extended) or one half of it.
enum class Half : uint8_t { none, low, high };

USBGPU_INLINE void store_half(Wave& w, uint32_t dst, U32 v, Half half) {
  if (half == Half::low) v = (load_lanes<U32>(w, dst) & 0xFFFF0000u) | (v & 0xFFFFu);
  if (half == Half::high) v = (load_lanes<U32>(w, dst) & 0xFFFFu) | v << 16;
  store_dwords(w, dst, v);
}
template <class T, Half half> USBGPU_INLINE void gather_small(Wave& w, uint32_t dst, LaneOffsets& o) {
  alignas(128) uint32_t out[kLanes];
  if (consecutive(o, sizeof(T))) {
    const char* p = o.base + o.vector[0];
    for (unsigned lane = 0; lane < kLanes; ++lane) out[lane] = static_cast<uint32_t>(static_cast<int32_t>(load_at<T>(p + sizeof(T) * lane)));
  } else {
    spill(o);
    for (unsigned lane = 0; lane < kLanes; ++lane) out[lane] = static_cast<uint32_t>(static_cast<int32_t>(load_at<T>(o.base + o.at[lane])));
  }
  U32 v;
  __builtin_memcpy(&v, out, sizeof v);
  store_half(w, dst, v, half);
}
template <class T, unsigned shift> USBGPU_INLINE void scatter_small(Wave& w, uint32_t src, LaneOffsets& o) {
  const uint32_t* from = lanes_at(w, src);
  const uint32_t exec = exec_of(w);
  if (exec == ~0u && consecutive(o, sizeof(T))) {
    char* p = o.base + o.vector[0];
    T out[kLanes];
    for (unsigned lane = 0; lane < kLanes; ++lane) out[lane] = static_cast<T>(from[lane] >> shift);
    __builtin_memcpy(p, out, sizeof out);
    return;
  }
  spill(o);
  for (uint32_t left = exec; left; left &= left - 1) {
    const unsigned lane = static_cast<unsigned>(__builtin_ctz(left));
    store_at<T>(o.base + o.at[lane], static_cast<T>(from[lane] >> shift));
  }
}

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
