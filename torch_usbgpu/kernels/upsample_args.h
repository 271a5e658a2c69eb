// Arguments of upsample.hip.
#pragma once
#include "spatial_args.h"

namespace usbgpu_family {

// One axis: how far a step in the output goes in the input. Both precisions, as the arithmetic needs them.
struct ResampleAxis {
  double step64;
  float step32;
  int32_t in, out;
  uint32_t copied;       // the axis is passed through: output o is input o
  uint32_t halved;       // nearest: output o is input o / 2
  uint32_t unused;
};

struct UpsampleArgs {
  Volume input, output;  // backward: of the gradients
  ResampleAxis axis[3];
  SpatialWalk walk;      // over the output, backward: over the input
  uint32_t align_corners, unused;
};

}  // namespace usbgpu_family
