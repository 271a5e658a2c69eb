// How a kernel reports an index out of range: it skips the access and records the first offender in
// the runtime's error block (csrc/runtime/runtime.h, ErrorBlock), which every blocking read-back
// brings along and turns into an IndexError. Other errors of the data become a RuntimeError.
#pragma once
#include <hip_runtime.h>
#include "error_kinds.h"

namespace usbgpu_family {

inline constexpr uint32_t kIndexOutOfBounds = 1, kDataError = 2;

// The exchange lets one thread win; its fields are in memory before the fence that ends the kernel.
__attribute__((device)) __attribute__((always_inline)) inline void record_error(
    uint64_t error_block, uint32_t code, uint32_t detail, int64_t index, int64_t size) {
  using Word = __attribute__((address_space(1))) uint32_t;
  using Long = __attribute__((address_space(1))) int64_t;
  uint32_t expected = 0;
  if (__hip_atomic_compare_exchange_strong((Word*)error_block, &expected, code, __ATOMIC_RELAXED,
                                           __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT)) {
    *(Word*)(error_block + 4) = detail;
    *(Long*)(error_block + 8) = index;
    *(Long*)(error_block + 16) = size;
  }
}

__attribute__((device)) __attribute__((always_inline)) inline void record_out_of_bounds(
    uint64_t error_block, uint32_t dimension, int64_t index, int64_t size) {
  record_error(error_block, kIndexOutOfBounds, dimension, index, size);
}

__attribute__((device)) __attribute__((always_inline)) inline void record_data_error(
    uint64_t error_block, DataErrorKind kind, int64_t index = 0, int64_t size = 0) {
  record_error(error_block, kDataError, kind, index, size);
}

}  // namespace usbgpu_family
