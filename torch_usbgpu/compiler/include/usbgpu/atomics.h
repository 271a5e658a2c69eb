// Atomic read-modify-write: relaxed, scope of the whole GPU, result = the old value.
#pragma once

#define USBGPU_ATOMIC(name, builtin, T)                                                  \
  USBGPU_FN T name(T* address, T value) {                                                \
    return builtin(address, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);          \
  }
#define USBGPU_ATOMIC_INTEGERS(name, builtin) \
  USBGPU_ATOMIC(name, builtin, int)           \
  USBGPU_ATOMIC(name, builtin, unsigned)      \
  USBGPU_ATOMIC(name, builtin, long)          \
  USBGPU_ATOMIC(name, builtin, unsigned long) \
  USBGPU_ATOMIC(name, builtin, long long)     \
  USBGPU_ATOMIC(name, builtin, unsigned long long)
USBGPU_ATOMIC_INTEGERS(atomicAdd, __hip_atomic_fetch_add)
USBGPU_ATOMIC_INTEGERS(atomicMin, __hip_atomic_fetch_min)
USBGPU_ATOMIC_INTEGERS(atomicMax, __hip_atomic_fetch_max)
USBGPU_ATOMIC_INTEGERS(atomicAnd, __hip_atomic_fetch_and)
USBGPU_ATOMIC_INTEGERS(atomicOr, __hip_atomic_fetch_or)
USBGPU_ATOMIC_INTEGERS(atomicXor, __hip_atomic_fetch_xor)
USBGPU_ATOMIC_INTEGERS(atomicExch, __hip_atomic_exchange)
USBGPU_ATOMIC(atomicExch, __hip_atomic_exchange, float)
USBGPU_ATOMIC(atomicExch, __hip_atomic_exchange, double)
#undef USBGPU_ATOMIC_INTEGERS
#undef USBGPU_ATOMIC

USBGPU_FN int atomicSub(int* address, int value) { return atomicAdd(address, -value); }
USBGPU_FN unsigned atomicSub(unsigned* address, unsigned value) { return atomicAdd(address, 0u - value); }
USBGPU_FN unsigned long long atomicSub(unsigned long long* address, unsigned long long value) {
  return atomicAdd(address, 0ull - value);
}

template <class T> USBGPU_FN T atomicCAS(T* address, T expected, T desired) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "compare and swap moves 4 or 8 bytes");
  __hip_atomic_compare_exchange_strong(address, &expected, desired, __ATOMIC_RELAXED, __ATOMIC_RELAXED,
                                       __HIP_MEMORY_SCOPE_AGENT);
  return expected;
}

USBGPU_FN unsigned atomicInc(unsigned* address, unsigned limit) {
  return __builtin_amdgcn_atomic_inc32(address, limit, __ATOMIC_RELAXED, "agent");
}
USBGPU_FN unsigned atomicDec(unsigned* address, unsigned limit) {
  return __builtin_amdgcn_atomic_dec32(address, limit, __ATOMIC_RELAXED, "agent");
}

// The memory is VRAM of this GPU: not fine-grained, not behind another device's link. Without
// this promise clang emits a compare-and-swap loop in place of global_atomic_add_f32.
USBGPU_FN float atomicAdd(float* address, float value) {
  [[clang::atomic(no_fine_grained_memory, no_remote_memory, ignore_denormal_mode)]] {
    return __hip_atomic_fetch_add(address, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
  }
}
USBGPU_FN float atomicMax(float* address, float value) {
  [[clang::atomic(no_fine_grained_memory, no_remote_memory, ignore_denormal_mode)]] {
    return __hip_atomic_fetch_max(address, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
  }
}
USBGPU_FN float atomicMin(float* address, float value) {
  [[clang::atomic(no_fine_grained_memory, no_remote_memory, ignore_denormal_mode)]] {
    return __hip_atomic_fetch_min(address, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
  }
}

namespace usbgpu {

// For what the memory pipe has no instruction: read, compute, compare and swap until it holds.
// word: uint32_t or uint64_t as wide as T.
template <class T, class Op> USBGPU_FN T atomic_update(T* address, Op op) {
  if constexpr (sizeof(T) >= 4) {
    using word = conditional_t<sizeof(T) == 8, unsigned long long, unsigned>;
    word* target = reinterpret_cast<word*>(address);
    word old = __hip_atomic_load(target, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
    for (;;) {
      const word seen = atomicCAS(target, old, bit_cast<word>(op(bit_cast<T>(old))));
      if (seen == old) return bit_cast<T>(old);
      old = seen;
    }
  } else {
    // Part of an aligned word. Stepping back by a byte offset keeps the pointer's address space
    // (masking the address as an integer would turn the access into a FLAT one).
    const unsigned byte = (unsigned)(reinterpret_cast<uintptr_t>(address) & 3), shift = byte * 8;
    unsigned* target = reinterpret_cast<unsigned*>(reinterpret_cast<char*>(address) - byte);
    constexpr unsigned ones = sizeof(T) == 2 ? 0xffffu : 0xffu;
    using part = conditional_t<sizeof(T) == 2, unsigned short, unsigned char>;
    unsigned old = __hip_atomic_load(target, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
    for (;;) {
      const T before = bit_cast<T>((part)(old >> shift));
      const unsigned after = (old & ~(ones << shift)) | ((unsigned)bit_cast<part>(op(before)) << shift);
      const unsigned seen = atomicCAS(target, old, after);
      if (seen == old) return before;
      old = seen;
    }
  }
}

}  // namespace usbgpu

USBGPU_FN double atomicAdd(double* address, double value) {
  return usbgpu::atomic_update(address, [value](double old) { return old + value; });
}
USBGPU_FN double atomicMax(double* address, double value) {
  return usbgpu::atomic_update(address, [value](double old) { return old < value ? value : old; });
}
USBGPU_FN double atomicMin(double* address, double value) {
  return usbgpu::atomic_update(address, [value](double old) { return value < old ? value : old; });
}
USBGPU_FN __half atomicAdd(__half* address, __half value) {
  return usbgpu::atomic_update(address, [value](__half old) { return (__half)(old + value); });
}
USBGPU_FN __nv_bfloat16 atomicAdd(__nv_bfloat16* address, __nv_bfloat16 value) {
  return usbgpu::atomic_update(address,
                               [value](__nv_bfloat16 old) { return (__nv_bfloat16)((float)old + (float)value); });
}
// The shared-memory scopes of CUDA are no faster here.
template <class T> USBGPU_FN T atomicAdd_block(T* address, T value) { return atomicAdd(address, value); }
template <class T> USBGPU_FN T atomicAdd_system(T* address, T value) { return atomicAdd(address, value); }
