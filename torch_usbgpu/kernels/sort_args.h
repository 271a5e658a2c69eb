// Arguments of sort.hip: rows of n keys; those of a tensor [outer, n, inner], contiguous.
#pragma once
#include "portable.h"

namespace usbgpu_family {

inline constexpr uint32_t kSortTile = 2048;  // keys that one workgroup sorts in LDS

struct SortArgs {
  uint64_t keys, order;             // in; order: int64 original positions (merge only)
  uint64_t keys_out, order_out;
  uint32_t n, rows;
  uint32_t run;                     // merge: length of the sorted runs
  uint32_t width;                   // tile: power of two that holds a tile's keys
  uint32_t inner;                   // 1 unless one tile holds a row
  uint32_t kept;                    // of n, the length of the output's rows: n unless one tile holds a row
};

}  // namespace usbgpu_family
