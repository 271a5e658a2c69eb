// Arguments of shape.hip.
#pragma once
#include "pointwise_args.h"
#include "portable.h"

namespace usbgpu_family {

using usbgpu::kernels::Divisor;

inline constexpr uint32_t kShapeDims = 8;
inline constexpr uint32_t kCatGroup = 1024;      // items that one workgroup of 256 threads moves

// Only as many entries of an input table travel as there are inputs: the tables are the last members.
inline constexpr uint32_t kCatRows = 128, kCatStrided = 64;

// Inputs that are dense, in the order of the output's memory: rows of words, which become parts of longer rows.
struct CatRowsInput {
  uint64_t address;
  uint32_t start;          // where in the output's row, in words
  uint32_t words;          // in all rows together
  Divisor row;             // words of a row
  uint32_t first_group;
};
struct CatRowsArgs {
  uint64_t out;
  uint32_t pitch, inputs;  // pitch: words of an output row
  CatRowsInput input[kCatRows];
};

// Any strides, in bytes, fastest dimension first. Sizes are the inputs' but for the joined dimension.
struct CatStridedInput {
  uint64_t address;
  uint32_t start;          // bytes from the output's first element
  uint32_t count, joined_size, first_group;
  int32_t stride[kShapeDims];
};
struct CatStridedArgs {
  uint64_t out;
  uint32_t dims, joined, inputs, pad;
  uint32_t size[kShapeDims];
  int32_t out_stride[kShapeDims];
  CatStridedInput input[kCatStrided];
};

// The output is contiguous; element i of a dimension comes from i - shift, wrapped.
struct RollArgs {
  uint64_t out, source;
  uint32_t dims, count;
  uint32_t size[kShapeDims], shift[kShapeDims];   // 0 <= shift < size
  int32_t stride[kShapeDims];                      // bytes
};

}  // namespace usbgpu_family
