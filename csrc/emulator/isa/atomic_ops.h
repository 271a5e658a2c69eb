// Read-modify-write operations, shared by LDS and memory atomics. Only ops_*.cpp include this.
// RDNA3 ISA, 'DS instructions' and 'FLAT, GLOBAL atomics'.
#pragma once

#include "emulator/isa/handler.h"
#include "emulator/isa/semantics.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {

template <class T> USBGPU_INLINE T rmw_swap(T, T data) { return data; }
template <class T> USBGPU_INLINE T rmw_add(T old, T data) { return old + data; }
template <class T> USBGPU_INLINE T rmw_sub(T old, T data) { return old - data; }
template <class T> USBGPU_INLINE T rmw_rsub(T old, T data) { return data - old; }
template <class T> USBGPU_INLINE T rmw_min(T old, T data) { return data < old ? data : old; }
template <class T> USBGPU_INLINE T rmw_max(T old, T data) { return data > old ? data : old; }
template <class T> USBGPU_INLINE T rmw_and(T old, T data) { return old & data; }
template <class T> USBGPU_INLINE T rmw_or(T old, T data) { return old | data; }
template <class T> USBGPU_INLINE T rmw_xor(T old, T data) { return old ^ data; }
template <class T> USBGPU_INLINE T rmw_inc(T old, T data) { return old >= data ? 0 : old + 1; }
template <class T> USBGPU_INLINE T rmw_dec(T old, T data) { return old == 0 || old > data ? data : old - 1; }
template <class T> USBGPU_INLINE T rmw_csub(T old, T data) { return old < data ? 0 : old - data; }
template <class T> USBGPU_INLINE T rmw_cond_sub(T old, T data) { return old >= data ? old - data : old; }
// minNum/maxNum: the number wins over a NaN, -0 is below +0
template <class T> USBGPU_INLINE T rmw_fmin(T old, T data) { return sem::min(old, data); }
template <class T> USBGPU_INLINE T rmw_fmax(T old, T data) { return sem::max(old, data); }
// Two 16-bit floats in a dword (gfx12)
USBGPU_INLINE uint32_t rmw_pk_add_f16(uint32_t old, uint32_t data) {
  const auto sum = [&](unsigned shift) { return sem::f16(sem::f32(half{static_cast<uint16_t>(old >> shift)}) + sem::f32(half{static_cast<uint16_t>(data >> shift)})).bits; };
  return sem::pair(sum(0), sum(16));
}
USBGPU_INLINE uint32_t rmw_pk_add_bf16(uint32_t old, uint32_t data) {
  const auto sum = [&](unsigned shift) { return sem::bf16(sem::f32(bfloat{static_cast<uint16_t>(old >> shift)}) + sem::f32(bfloat{static_cast<uint16_t>(data >> shift)})).bits; };
  return sem::pair(sum(0), sum(16));
}

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
