// Arguments of kernels/reduce.hip; compiles as host C++ and as device code.
#pragma once

#include "pointwise_args.h"

namespace usbgpu::kernels {

// KEPT: dimensions of the output (rank class), REDUCED: dimensions that vanish.
template <int KEPT, int REDUCED>
struct ReduceArgs {
  uint64_t out, second;        // second output (indices, mean) where there is one
  uint64_t in;
  uint64_t partial;            // accumulators [segment][output]; of the two-pass form
  uint64_t param[2];
  uint32_t outputs;            // elements of the output
  uint32_t length;             // elements reduced into one
  uint32_t segment_length;     // elements that one workgroup row reduces; length in the one-pass form
  uint32_t segments;
  Divisor kept[KEPT], reduced[REDUCED];                  // fastest dimension first
  uint32_t out_stride[KEPT], second_stride[KEPT], in_stride[KEPT], reduced_stride[REDUCED];   // bytes
};

constexpr int kReduceThreads = 256;

}  // namespace usbgpu::kernels
