// Arguments of search.hip.
#pragma once
#include "portable.h"

namespace usbgpu_family {

// All operands contiguous. Each row of boundaries has `width` ascending numbers.
struct SearchArgs {
  uint64_t boundaries, sorter, input, output;  // sorter: int64 or 0
  uint64_t count, per_row;                     // elements of the input; of them per row of boundaries
  uint64_t width;
};

// repeat_interleave
struct RepeatArgs {
  uint64_t repeats, ends, output;  // ends: int64, running sums of the repeats
  uint64_t outcome;                // int64 sum, int64 least of the repeats
  uint64_t error_block;
  uint64_t count, total;           // of repeats; of outputs
  uint32_t check;                  // the total was given by the caller, nobody has compared it
};

}  // namespace usbgpu_family
