// Arguments of scan.hip: contiguous [outer, dim, inner], rows = outer * inner.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct ScanArgs {
  uint64_t input, output;
  uint32_t dim, inner, rows;
  uint64_t indices;  // cummax, cummin: int64
};

}  // namespace usbgpu_family
