// What a memory instruction transfers per lane: FLAT, GLOBAL, SCRATCH and buffers. Only ops_*.cpp include this.
#pragma once

#include "emulator/isa/vmem.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {

// One element type of a memory instruction: what is transferred per lane, and how.
template <unsigned n> struct Dwords {
  static constexpr uint32_t bytes = 4 * n;
  static USBGPU_INLINE void load(Wave& w, uint32_t reg, LaneOffsets& o) { gather<n>(w, reg, o); }
  static USBGPU_INLINE void store(Wave& w, uint32_t reg, LaneOffsets& o) { scatter<n>(w, reg, o); }
  static void put(Wave& w, uint32_t reg, unsigned lane, const uint32_t* v) {
    for (unsigned k = 0; k < n; ++k) lanes_at(w, reg)[kLanes * k + lane] = v[k];
  }
  static void get(Wave& w, uint32_t reg, unsigned lane, uint32_t* v) {
    for (unsigned k = 0; k < n; ++k) v[k] = lanes_at(w, reg)[kLanes * k + lane];
  }
};
template <class T, Half half> struct Small {
  static constexpr uint32_t bytes = sizeof(T);
  static USBGPU_INLINE void load(Wave& w, uint32_t reg, LaneOffsets& o) { gather_small<T, half>(w, reg, o); }
  static USBGPU_INLINE void store(Wave& w, uint32_t reg, LaneOffsets& o) { scatter_small<T, half == Half::high ? 16 : 0>(w, reg, o); }
  static void put(Wave& w, uint32_t reg, unsigned lane, const uint32_t* v) {
    T t;
    __builtin_memcpy(&t, v, sizeof t);
    uint32_t& r = lanes_at(w, reg)[lane];
    const uint32_t x = static_cast<uint32_t>(static_cast<int32_t>(t));
    r = half == Half::none ? x : half == Half::low ? (r & 0xFFFF0000u) | (x & 0xFFFFu) : (r & 0xFFFFu) | x << 16;
  }
  static void get(Wave& w, uint32_t reg, unsigned lane, uint32_t* v) { *v = lanes_at(w, reg)[lane] >> (half == Half::high ? 16 : 0); }
};

using U8full = Small<uint8_t, Half::none>;
using I8full = Small<int8_t, Half::none>;
using U16full = Small<uint16_t, Half::none>;
using I16full = Small<int16_t, Half::none>;
using U8low = Small<uint8_t, Half::low>;
using I8low = Small<int8_t, Half::low>;
using U16low = Small<uint16_t, Half::low>;
using U8high = Small<uint8_t, Half::high>;
using I8high = Small<int8_t, Half::high>;
using U16high = Small<uint16_t, Half::high>;

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
