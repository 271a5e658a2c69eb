// Arguments of histogram.hip.
#pragma once
#include "portable.h"

namespace usbgpu_family {

inline constexpr uint32_t kHistogramDims = 8;
inline constexpr uint32_t kHistogramLocal = 4096;  // bins that a workgroup counts in LDS first

struct HistogramArgs {
  uint64_t input, weights;          // [points, dims] contiguous; per point, or 0
  uint64_t bins_out;                // int64 counts, or double sums of weights; zeroed
  uint64_t edges[kHistogramDims];   // ascending, of the input's type
  uint64_t stride[kHistogramDims];  // in bins
  uint32_t edge_count[kHistogramDims];
  uint64_t points, bins;
  uint32_t dims, groups;
};

// histc: bins of equal width between `least` and `most`, into an output of the input's type.
struct HistcArgs {
  uint64_t input, output;           // contiguous
  uint64_t counts;                  // uint64 per bin and one more, zeroed; unused by a single group
  double least, most;
  uint64_t points;
  uint32_t bins, groups;
};

}  // namespace usbgpu_family
