// The status buffer in which kernels record the first invalid index they meet: blocking read-backs
// look at it and raise IndexError. Shared by the device (record) and the host (decode).
#pragma once
#include "portable.h"

namespace usbgpu_family {

enum DeviceErrorKind : uint32_t {
  kNoError = 0,
  kIndexOutOfRange = 1,      // index, size: of the dimension
  kTargetOutOfRange = 2,     // index, size: number of classes
  kNotADistribution = 3,     // multinomial
  kMaskSourceTooShort = 4,   // masked_scatter_
};

struct DeviceError {
  uint32_t kind;
  uint32_t dimension;
  int64_t index;
  int64_t size;
};

#if defined(__AMDGCN__)
// The first one wins; the fields of the winner are complete before the next fence of the stream.
__attribute__((device)) __attribute__((always_inline)) inline void record_device_error(
    uint64_t address, uint32_t kind, uint32_t dimension, int64_t index, int64_t size) {
  using Word = __attribute__((address_space(1))) uint32_t;
  auto word = (Word*)address;
  uint32_t expected = kNoError;
  if (__hip_atomic_compare_exchange_strong(word, &expected, kind, __ATOMIC_RELAXED, __ATOMIC_RELAXED,
                                           __HIP_MEMORY_SCOPE_AGENT)) {
    word[1] = dimension;
    *(__attribute__((address_space(1))) int64_t*)(address + 8) = index;
    *(__attribute__((address_space(1))) int64_t*)(address + 16) = size;
  }
}
#endif

}  // namespace usbgpu_family
