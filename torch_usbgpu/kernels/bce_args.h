// Arguments of bce.hip. Tensors are contiguous and of the same sizes.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct BceArgs {
  uint64_t input, target, weight, output;   // weight: 0 = none
  uint64_t grad;                            // backward: one per element, or a single one
  uint64_t error_block;                     // forward: for what is outside [0, 1]
  double scale;                             // backward: 1 / elements where the loss was a mean
  uint32_t count;
};

}  // namespace usbgpu_family
