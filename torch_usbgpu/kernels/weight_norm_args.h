// Arguments of weight_norm.hip: element i of row r lies at r * row_stride + i * item_stride.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct WeightNormArgs {
  uint64_t v, g, w, norms;                   // norms: one per row, in the accumulation type
  uint64_t grad_w, grad_v, grad_g;
  uint32_t rows, width, row_stride, item_stride;
};

}  // namespace usbgpu_family
