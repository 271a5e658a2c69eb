// Arguments of grid_sample.hip.
#pragma once
#include "spatial_args.h"

namespace usbgpu_family {

enum class GridPadding : uint32_t { zeros, border, reflection };

struct GridSampleArgs {
  Volume input, output;            // backward: output is its gradient
  Volume grid;                     // spatial like the output; its channels are the coordinates x, y, z
  Volume grad_input, grad_grid;    // no address: not wanted
  SpatialWalk walk;                // over the output, one thread for all channels
  int32_t in[3];
  uint32_t channels;
  GridPadding padding;
  uint32_t align_corners;
};

}  // namespace usbgpu_family
