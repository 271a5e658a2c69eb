// Updates of global memory that several lanes may make at once.
#pragma once
#include "family.h"

namespace usbgpu_family {

template <uint32_t Bytes> struct atomic_word;
template <> struct atomic_word<1> { using type = uint8_t; };
template <> struct atomic_word<2> { using type = uint16_t; };
template <> struct atomic_word<4> { using type = uint32_t; };
template <> struct atomic_word<8> { using type = uint64_t; };

// Read, combine, exchange: works for every type and operation. 8- and 16-bit elements live inside
// a 32-bit word, the smallest that memory can exchange.
template <typename T, typename Op>
USBGPU_INLINE void atomic_combine(global_ptr<char> to, T value, Op op) {
  using Acc = typename select<traits<T>::floating, accumulate_t<T>, T>::type;
  if constexpr (sizeof(T) >= 4) {
    using W = typename atomic_word<sizeof(T)>::type;
    auto target = (global_ptr<W>)to;
    W seen = __hip_atomic_load(target, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
    while (true) {
      W wanted = __builtin_bit_cast(W, convert<T>(op(convert<Acc>(__builtin_bit_cast(T, seen)), convert<Acc>(value))));
      if (__hip_atomic_compare_exchange_strong(target, &seen, wanted, __ATOMIC_RELAXED, __ATOMIC_RELAXED,
                                               __HIP_MEMORY_SCOPE_AGENT))
        return;
    }
  } else {
    using W = typename atomic_word<sizeof(T)>::type;
    const uint64_t address = (uint64_t)to;
    auto target = (global_ptr<uint32_t>)(address & ~uint64_t(3));
    const uint32_t shift = (uint32_t)(address & 3) * 8, mask = (uint32_t)(W)~W(0) << shift;
    uint32_t seen = __hip_atomic_load(target, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
    while (true) {
      T before = __builtin_bit_cast(T, (W)(seen >> shift));
      W after = __builtin_bit_cast(W, convert<T>(op(convert<Acc>(before), convert<Acc>(value))));
      uint32_t wanted = (seen & ~mask) | (uint32_t)after << shift;
      if (__hip_atomic_compare_exchange_strong(target, &seen, wanted, __ATOMIC_RELAXED, __ATOMIC_RELAXED,
                                               __HIP_MEMORY_SCOPE_AGENT))
        return;
    }
  }
}

template <typename T>
USBGPU_INLINE void atomic_add(global_ptr<char> to, T value) {
  if constexpr (same_type<T, int32_t>::value || same_type<T, int64_t>::value) {
    __hip_atomic_fetch_add((global_ptr<T>)to, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
  } else if constexpr (same_type<T, float>::value) {
    // one instruction, where VRAM is known to be neither fine-grained nor remote
    [[clang::atomic(no_fine_grained_memory, no_remote_memory, ignore_denormal_mode)]] {
      __hip_atomic_fetch_add((global_ptr<float>)to, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
    }
  } else {
    atomic_combine<T>(to, value, Sum{});
  }
}

}  // namespace usbgpu_family
