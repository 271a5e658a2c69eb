// Arguments of index.hip. A walk is the iteration space of a TensorIterator: sizes and byte strides
// per operand, fastest dimension first, small enough for 32-bit offsets.
#pragma once
#include "portable.h"

namespace usbgpu_family {

inline constexpr uint32_t kWalkDims = 8, kMaxIndices = 6;

template <uint32_t Operands>
struct Walk {
  uint64_t address[Operands];
  int32_t stride[kWalkDims][Operands];
  uint32_t size[kWalkDims];
  uint32_t dims, count;
};

// Operands: result, source, index tensors. `indexed`: the one of the two that the indices address
// (its strides along indexed dimensions are 0 in the walk).
template <uint32_t Indices>
struct IndexArgs {
  Walk<2 + Indices> walk;
  int64_t size[Indices];     // of the indexed dimensions
  int64_t stride[Indices];   // bytes
  uint32_t dimension[Indices];
  uint32_t allow_negative;
  uint64_t value;            // bits of the value, where source has no address
  uint64_t error_block;
  uint64_t keys, order;      // in a fixed order: int64 addresses written to, sorted with their walk positions
};

struct MaskedFillArgs {
  Walk<2> walk;              // result, mask
  uint64_t value;            // bits
  uint64_t value_address;    // or where they are
};

struct CopyArgs {
  Walk<2> walk;              // result, source
};

// nonzero, masked_select, masked_scatter: mask is contiguous, one byte per element
inline constexpr uint32_t kCompactElements = 2048;  // per workgroup
struct CompactArgs {
  uint64_t mask, counts, total;     // counts: one uint32 per workgroup, then its exclusive prefix
  uint64_t output, source;
  uint64_t count;
  uint64_t source_count, error_block;
  uint64_t output_rows;             // nonzero: rows that output has, further ones are dropped
  uint64_t size[kWalkDims];         // nonzero: of the mask's dimensions
  uint32_t groups, dims;
};

}  // namespace usbgpu_family
