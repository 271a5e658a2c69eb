// Arguments of kernels/fft.hip; compiles as host C++ and as device code.
#pragma once

#if !defined(__HIP__)
#include <cstdint>
#endif

namespace usbgpu::kernels {

constexpr int kFftThreads = 256;
constexpr int kFftDims = 6;         // of the batch, after merging neighbours
constexpr int kFftPasses = 12;      // factors of a transform in LDS
constexpr int kFftMostLines = 64;   // transforms of one workgroup

// Where the lines of a batch are. Element g of line b is at address + line offset(b) + g * stride.
struct FftSide {
  uint64_t address;
  int64_t stride;                  // bytes
  int64_t step[kFftDims];          // bytes, from line to line
  // A transform cut in two works on every multiply-th element: g = n * multiply + j * add,
  // j: the line's index in the first dimension.
  uint32_t multiply, add;
  uint32_t length;                 // elements that exist: others are read as 0, not written
  uint32_t unused;
};

struct FftArgs {
  FftSide in, out;
  uint64_t factor;                 // of every input element: the other operand of a convolution
  double scale;
  uint32_t size[kFftDims];         // of the batch
  uint32_t lines;                  // their product
  uint32_t length;                 // of the transform
  uint32_t whole;                  // of the transform it is a part of, or the same
  uint32_t per_group;              // lines of a workgroup
  uint32_t inverse;
  uint32_t columns;                // neighbouring lines are nearer in memory than neighbouring elements
  uint32_t twist;                  // multiply element k of line j by the (j k)-th root of `whole`
  uint32_t passes;
  uint32_t radix[kFftPasses];
};

}  // namespace usbgpu::kernels
