// Arguments of unique.hip.
#pragma once
#include "portable.h"

namespace usbgpu_family {

inline constexpr uint32_t kUniqueElements = 2048;  // per workgroup, and rows that one sorts in LDS

struct UniqueArgs {
  uint64_t keys;              // elements in order; rows: [n, row] contiguous, in any order
  uint64_t order;             // int64 original positions, 0: as they lie
  uint64_t order_out;         // sorting rows
  uint64_t counts;            // uint32 heads per workgroup, then their exclusive prefix
  uint64_t values;            // the distinct keys; rows: int64, where each was first
  uint64_t starts, inverse, lengths;  // int64; each may be 0
  uint64_t n, row;            // elements (or rows); elements of a row
  uint64_t distinct;
  uint32_t run, width;        // sorting rows, see sort_args.h
};

}  // namespace usbgpu_family
