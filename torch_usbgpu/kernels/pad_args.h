// Arguments of pad.hip.
#pragma once
#include "spatial_args.h"

namespace usbgpu_family {

struct PadArgs {
  Volume input, output;   // backward: of the gradients
  SpatialWalk walk;       // over the output, backward: over the input
  int32_t in[3], out[3];
  int32_t before[3];      // padding at the start of each axis; negative crops
  uint32_t unused;
};

}  // namespace usbgpu_family
