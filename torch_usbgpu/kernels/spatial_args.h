// Tensors with one to three spatial dimensions, seen as [N, C, D, H, W] with any strides (missing
// dimensions have size 1): what pool.hip, upsample.hip, pad.hip and grid_sample.hip walk over.
#pragma once
#include "portable.h"
#include "pointwise_args.h"

namespace usbgpu_family {

// Strides in elements. The host makes sure that offsets within one channel fit 31 bits.
struct Volume {
  uint64_t address;
  int64_t n, c;
  int32_t stride[3];
  uint32_t unused;
};

// A thread per element of [N, C, D, H, W], at most 2^31 - 1 of them per launch. Neighbouring threads
// go along W, or along C where the tensor written to is channels-last.
struct SpatialWalk {
  usbgpu::kernels::Divisor digit[4];   // fastest first; what remains is n
  uint32_t count, channels_last;
};

}  // namespace usbgpu_family
