// Read-modify-write operations, shared by LDS and memory atomics. Only ops_*.cpp include this.
// RDNA3 ISA, 'DS instructions' and 'FLAT, GLOBAL atomics'.
#pragma once

#include "emulator/isa/handler.h"

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
// minNum/maxNum: the number wins over a NaN
template <class T> USBGPU_INLINE T rmw_fmin(T old, T data) { return data < old || old != old ? data : old; }
template <class T> USBGPU_INLINE T rmw_fmax(T old, T data) { return data > old || old != old ? data : old; }

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
