// Arguments of kernels/memory.hip; compiles as host C++ and as device code.
#pragma once

#if !defined(__HIP__)
#include <cstdint>
#endif

namespace usbgpu::kernels {

struct CopyArgs {
  uint64_t to, from;   // addresses
  uint64_t items;
};

struct FillArgs {
  uint64_t to;
  uint64_t pattern;    // repeated to 64 bits
  uint64_t items;
};

}  // namespace usbgpu::kernels
