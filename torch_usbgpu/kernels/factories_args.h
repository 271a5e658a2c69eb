// Arguments of kernels/factories.hip; compiles as host C++ and as device code.
#pragma once

#if !defined(__HIP__)
#include <cstdint>
#endif

namespace usbgpu::kernels {

constexpr uint32_t kFactoryThreads = 256;

struct RangeArgs {
  uint64_t out;
  uint64_t count;
  uint64_t start, end, step;   // bits of the arithmetic type
  uint64_t base;               // logspace; of the same type
};

struct TriangleArgs {
  uint64_t out, in;
  uint64_t count;
  int64_t diagonal;
  uint32_t rows, columns;
};

}  // namespace usbgpu::kernels
