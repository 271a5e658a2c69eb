// Arguments of scan.hip: contiguous [outer, dim, inner], rows = outer * inner.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct ScanArgs {
  uint64_t input, output;
  uint32_t dim, inner, rows;
  uint64_t indices;     // cummax, cummin: int64
  uint64_t totals;      // of segments, [row][segment]: where a row is shared by several groups
  uint32_t segment;     // elements of one group's part of a row
  uint32_t segments;    // of a row
};

}  // namespace usbgpu_family
