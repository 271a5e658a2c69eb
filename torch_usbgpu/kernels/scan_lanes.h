// A value of another lane of the wave.
#pragma once
#include "family.h"

namespace usbgpu_family {

template <typename T>
USBGPU_INLINE T from_lane(T value, uint32_t lane) {
  const int at_byte = (int)(lane << 2);
  if constexpr (sizeof(T) == 4) {
    return __builtin_bit_cast(T, __builtin_amdgcn_ds_bpermute(at_byte, __builtin_bit_cast(int, value)));
  } else if constexpr (sizeof(T) == 16) {
    struct Halves { uint64_t first, second; };
    const Halves halves = __builtin_bit_cast(Halves, value);
    return __builtin_bit_cast(T, Halves{from_lane(halves.first, lane), from_lane(halves.second, lane)});
  } else {
    const uint64_t bits = __builtin_bit_cast(uint64_t, value);
    const uint64_t low = (uint32_t)__builtin_amdgcn_ds_bpermute(at_byte, (int)(uint32_t)bits);
    const uint64_t high = (uint32_t)__builtin_amdgcn_ds_bpermute(at_byte, (int)(uint32_t)(bits >> 32));
    return __builtin_bit_cast(T, low | high << 32);
  }
}

}  // namespace usbgpu_family
