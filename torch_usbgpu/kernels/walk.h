// Places in strided operands (Walk of index_args.h), words by size, and sums over a workgroup's threads.
#pragma once
#include "family.h"
#include "index_args.h"

namespace usbgpu_family {

template <uint32_t Bytes> struct word;
template <> struct word<1> { using type = uint8_t; };
template <> struct word<2> { using type = uint16_t; };
template <> struct word<4> { using type = uint32_t; };
template <> struct word<8> { using type = uint64_t; };
template <> struct word<16> { using type = unsigned __int128; };  // to be moved only

template <uint32_t Operands>
struct Position {
  int32_t offset[Operands];
  USBGPU_INLINE Position(const Walk<Operands>& walk, uint32_t linear) {
#pragma unroll
    for (uint32_t k = 0; k < Operands; ++k) offset[k] = 0;
#pragma clang loop unroll(disable)
    for (uint32_t d = 0; d + 1 < walk.dims; ++d) {
      uint32_t rest = linear / walk.size[d], i = linear - rest * walk.size[d];
#pragma unroll
      for (uint32_t k = 0; k < Operands; ++k) offset[k] += (int32_t)i * walk.stride[d][k];
      linear = rest;
    }
#pragma unroll
    for (uint32_t k = 0; k < Operands; ++k) offset[k] += (int32_t)linear * walk.stride[walk.dims - 1][k];
  }
  template <typename T>
  USBGPU_INLINE global_ptr<T> of(const Walk<Operands>& walk, uint32_t k) const {
    return (global_ptr<T>)((global_ptr<char>)walk.address[k] + offset[k]);
  }
};

// Sum of `value` over the threads before this one; `all` gets the sum over the workgroup.
USBGPU_INLINE uint32_t block_exclusive_sum(uint32_t value, uint32_t& all, uint32_t* scratch) {
  uint32_t inclusive = value;
#pragma unroll
  for (uint32_t step = 1; step < 32; step <<= 1) {
    uint32_t before = __builtin_amdgcn_ds_bpermute((int)((lane_id() - step) << 2), (int)inclusive);
    if (lane_id() >= step) inclusive += before;
  }
  local_barrier();
  if (lane_id() == 31) scratch[threadIdx.x >> 5] = inclusive;
  local_barrier();
  uint32_t base = 0;
  all = 0;
#pragma unroll
  for (uint32_t wave = 0; wave < 8; ++wave) {
    uint32_t sum = scratch[wave];
    if (wave < (threadIdx.x >> 5)) base += sum;
    all += sum;
  }
  return base + inclusive - value;
}

}  // namespace usbgpu_family
