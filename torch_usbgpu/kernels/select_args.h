// Arguments of select.hip: rows of n elements, anywhere in memory.
#pragma once
#include "index_args.h"

namespace usbgpu_family {

inline constexpr uint32_t kSelectTile = 2048;  // elements that mode sorts in LDS

struct SelectArgs {
  Walk<3> rows;        // values, indices, first element of each row
  int64_t stride;      // bytes from one element of a row to the next
  uint32_t n;
  uint32_t k;          // kthvalue: rank, from 0
  uint32_t width;      // mode in LDS: power of two that holds a row
  uint64_t keys, order;  // mode of sorted rows: contiguous
};

}  // namespace usbgpu_family
