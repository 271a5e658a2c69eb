// Turns a TensorIterator into the Walk of torch_usbgpu/kernels/index_args.h.
#pragma once

#include <ATen/native/TensorIterator.h>

#include "../../torch_usbgpu/kernels/index_args.h"
#include "aten/launch.h"
#include "aten/pointwise.h"  // scalar_bits

namespace usbgpu::aten {

using usbgpu_family::Walk;

// iter must fit 32-bit indexing; its operands are taken in order, `first` of them skipped.
template <uint32_t Operands>
Walk<Operands> walk_of(const at::TensorIteratorBase& iter) {
  Walk<Operands> walk{};
  TORCH_CHECK(iter.ndim() <= static_cast<int>(usbgpu_family::kWalkDims), "usbgpu: this needs ", iter.ndim(),
              " dimensions after merging neighbours; its kernels have ", usbgpu_family::kWalkDims);
  walk.dims = iter.ndim() ? static_cast<uint32_t>(iter.ndim()) : 1;
  walk.count = static_cast<uint32_t>(iter.numel());
  walk.size[0] = 1;
  for (int d = 0; d < iter.ndim(); ++d) walk.size[d] = static_cast<uint32_t>(iter.shape()[d]);
  for (uint32_t k = 0; k < Operands; ++k) {
    if (static_cast<int>(k) >= iter.ntensors()) break;
    walk.address[k] = reinterpret_cast<uint64_t>(iter.data_ptr(static_cast<int>(k)));
    for (int d = 0; d < iter.ndim(); ++d) walk.stride[d][k] = static_cast<int32_t>(iter.strides(static_cast<int>(k))[d]);
  }
  return walk;
}

// Calls f(iterator) for pieces whose byte offsets fit 32 bits.
template <class F>
void in_32_bits(at::TensorIteratorBase& iter, F&& f) {
  if (iter.numel() == 0) return;
  if (iter.can_use_32bit_indexing()) return f(iter);
  for (auto& piece : iter.with_32bit_indexing()) f(piece);
}

inline Dim3 grid_for(uint64_t threads) { return {ceil_div(threads, 256), 1, 1}; }
inline constexpr Dim3 kGroup256{256, 1, 1};

}  // namespace usbgpu::aten
