// Arguments of pool.hip.
#pragma once
#include "spatial_args.h"

namespace usbgpu_family {

struct PoolArgs {
  Volume input, output, indices;   // backward: gradients; indices are int64, into one channel's D * H * W
  uint64_t samples;                // fractional: of the input's dtype
  int64_t sample_stride[3];        // n, c, axis; in elements
  int64_t divisor;                 // average: 0 = the size of the window
  uint64_t error_block;            // scatter: for indices out of range
  SpatialWalk walk;                // over the output; backward and scatter: over the input
  int32_t in[3], out[3];
  int32_t kernel[3], stride[3], padding[3], dilation[3];
  uint32_t count_padding;          // average: the padding belongs to the window
  uint32_t wide;                   // adaptive: in * out of an axis needs 64 bits
  uint32_t axes;                   // fractional: how many spatial axes there are
};

}  // namespace usbgpu_family
