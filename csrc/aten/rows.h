// Walks over the rows of tensors along one dimension, however they are strided.
#pragma once

#include "aten/walk.h"

namespace usbgpu::aten {

// Calls f(Walk<N>) over pieces that fit 32-bit offsets. operands: outputs first, all of the same shape, in which the rows' own dimension is left out.
template <uint32_t N, class F>
void for_rows(uint32_t outputs, const std::array<at::Tensor, N>& operands, F&& f) {
  auto config = at::TensorIteratorConfig();
  config.set_check_mem_overlap(false).check_all_same_dtype(false).resize_outputs(false);
  for (uint32_t k = 0; k < N; ++k) k < outputs ? config.add_owned_output(operands[k]) : config.add_owned_const_input(operands[k]);
  auto iter = config.build();
  in_32_bits(iter, [&](at::TensorIteratorBase& piece) { f(walk_of<N>(piece)); });
}

// Bytes from one element to the next along dim
inline int64_t stride_bytes(const at::Tensor& tensor, int64_t dim) {
  return tensor.stride(dim) * static_cast<int64_t>(tensor.element_size());
}

}  // namespace usbgpu::aten
