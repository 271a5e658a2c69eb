// Arguments of rms_norm.hip: rows of `width` elements, contiguous.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct RmsNormArgs {
  uint64_t input, weight, output, rstd;      // weight: 0 = none; rstd: one per row, in the accumulation type
  uint64_t grad, grad_input, grad_weight;
  double epsilon;
  uint32_t rows, width;
};

}  // namespace usbgpu_family
