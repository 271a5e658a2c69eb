// Arguments of segment.hip: data [outer, size, inner], results [outer, segments, inner], contiguous.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct SegmentArgs {
  uint64_t data, output, grad, grad_data;
  uint64_t ends;          // [outer, segments] running sums of lengths, or offsets [outer, segments + 1]
  double initial;
  uint64_t count;         // outer * segments * inner
  uint32_t segments, size, inner;
  uint32_t has_initial;
};

}  // namespace usbgpu_family
