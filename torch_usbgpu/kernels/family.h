// What the hand-written operator families share on the device: kernel declaration, global
// pointers out of 64-bit addresses, accumulation types, wave and workgroup reductions.
#pragma once
#include <hip_runtime.h>
#include "portable.h"

// A fixed workgroup size lets the compiler give each wave all the registers that size leaves.
#define USBGPU_FAMILY_KERNEL(threads) \
  extern "C" __attribute__((global)) __attribute__((amdgpu_flat_work_group_size(threads, threads)))
#define USBGPU_INLINE __attribute__((device)) __attribute__((always_inline)) inline

namespace usbgpu_family {

// Addresses arrive as integers: without the address space the compiler would have to emit FLAT
// instructions, which also occupy the LDS path.
template <typename T>
using global_ptr = __attribute__((address_space(1))) T*;
template <typename T>
USBGPU_INLINE global_ptr<T> at(uint64_t address) { return (global_ptr<T>)address; }
// A uniform base plus a 32-bit byte offset: one scalar pair and one VGPR.
template <typename T>
USBGPU_INLINE global_ptr<T> at(uint64_t base, uint32_t byte_offset) {
  return (global_ptr<T>)((global_ptr<char>)base + byte_offset);
}

template <typename A, typename B> struct same_type { static constexpr bool value = false; };
template <typename A> struct same_type<A, A> { static constexpr bool value = true; };
template <bool C, typename A, typename B> struct select { using type = A; };
template <typename A, typename B> struct select<false, A, B> { using type = B; };

template <typename T> struct traits { static constexpr bool floating = false; using accumulate = int64_t; };
template <> struct traits<float> { static constexpr bool floating = true; using accumulate = float; };
template <> struct traits<_Float16> { static constexpr bool floating = true; using accumulate = float; };
template <> struct traits<__bf16> { static constexpr bool floating = true; using accumulate = float; };
template <> struct traits<double> { static constexpr bool floating = true; using accumulate = double; };
// What a value of T is summed in. Integers: 64 bits wrap just as the narrow type would.
template <typename T> using accumulate_t = typename traits<T>::accumulate;

template <typename To, typename From>
USBGPU_INLINE To convert(From value) {
  if constexpr (same_type<To, bool>::value) return value != From(0);
  else if constexpr (same_type<From, _Float16>::value || same_type<From, __bf16>::value) return (To)(float)value;
  else if constexpr (same_type<To, _Float16>::value || same_type<To, __bf16>::value) return (To)(float)value;
  else return (To)value;
}

// ---- waves (32 lanes)
USBGPU_INLINE uint32_t lane_id() { return __builtin_amdgcn_mbcnt_lo(~0u, 0); }
// The same in all lanes of a wave, and the compiler may keep it in a scalar register.
USBGPU_INLINE uint32_t wave_id() { return __builtin_amdgcn_readfirstlane(threadIdx.x >> 5); }

USBGPU_INLINE uint32_t shuffle_xor_bits(uint32_t bits, uint32_t mask) {
  return __builtin_amdgcn_ds_bpermute((int)((lane_id() ^ mask) << 2), (int)bits);
}
template <typename T>
USBGPU_INLINE T shuffle_xor(T value, uint32_t mask) {
  if constexpr (sizeof(T) == 4) {
    return __builtin_bit_cast(T, shuffle_xor_bits(__builtin_bit_cast(uint32_t, value), mask));
  } else {
    static_assert(sizeof(T) == 8);
    uint64_t bits = __builtin_bit_cast(uint64_t, value);
    uint64_t low = shuffle_xor_bits((uint32_t)bits, mask), high = shuffle_xor_bits((uint32_t)(bits >> 32), mask);
    return __builtin_bit_cast(T, low | high << 32);
  }
}

struct Sum {
  template <typename T> USBGPU_INLINE T operator()(T a, T b) const { return a + b; }
};
// A NaN wins, as in PyTorch's amax.
struct Max {
  template <typename T> USBGPU_INLINE T operator()(T a, T b) const { return (a > b || a != a) ? a : b; }
};

template <typename Op, typename T>
USBGPU_INLINE T wave_reduce(T value, Op op) {
#pragma unroll
  for (uint32_t mask = 16; mask; mask >>= 1) value = op(value, shuffle_xor(value, mask));
  return value;
}

// Waits for LDS traffic only: global loads in flight stay in flight (all waves of a group run on
// one CU, kernels are compiled in CU mode).
USBGPU_INLINE void local_barrier() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup", "local");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup", "local");
}

// Every thread gets the result. scratch: one T per wave, in LDS.
template <uint32_t Threads, typename Op, typename T>
USBGPU_INLINE T block_reduce(T value, Op op, T* scratch) {
  value = wave_reduce(value, op);
  if constexpr (Threads > 32) {
    local_barrier();  // an earlier reduction's result may still be being read
    if (lane_id() == 0) scratch[threadIdx.x >> 5] = value;
    local_barrier();
    value = scratch[0];
#pragma unroll
    for (uint32_t wave = 1; wave < Threads / 32; ++wave) value = op(value, scratch[wave]);
  }
  return value;
}

}  // namespace usbgpu_family
