// Arguments of margin.hip: scores [N, C], contiguous.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct MarginArgs {
  uint64_t input, target, weight;   // target: [N], or label lists [N, C]; weight: [C], 0 = none
  uint64_t output;                  // [N] losses, or the gradient [N, C]
  uint64_t is_target;               // multilabel: [N, C], written forward, read backward
  uint64_t grad;                    // backward: [N], or a single one
  uint64_t error_block;             // for targets out of range
  double margin, scale;             // scale: 1 / C, and backward also 1 / N where the loss was a mean
  uint32_t batch, classes;
};

}  // namespace usbgpu_family
