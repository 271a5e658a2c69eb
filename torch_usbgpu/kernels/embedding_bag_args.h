// Arguments of embedding_bag.hip. Indices, offsets and what follows from them share one integer dtype.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct BagArgs {
  uint64_t weight, indices, offsets, sample_weight;   // weight: strides below; sample_weight: [n], 0 = none
  uint64_t output;                                    // [bags, width], or what the pass writes
  uint64_t offset2bag, bag_size, max_indices;         // [n], [bags], [bags, width] or (not max) [bags]
  uint64_t grad, counts;                              // backward: [bags, width]; uses of each row, 0 = not asked for
  uint64_t error_block;
  int64_t weight_row, weight_column;                  // elements
  int64_t rows, padding;                              // of the table; the row that counts for nothing, or -1
  uint32_t bags, width, count;                        // count: of indices
  uint32_t last_given;                                // offsets has bags + 1 elements
};

struct RenormRowsArgs {
  uint64_t weight, indices, claims, error_block;   // claims: uint32 per row, zero
  double maximum, power;
  int64_t row_stride, column_stride, rows;
  uint32_t count, width;
};

}  // namespace usbgpu_family
