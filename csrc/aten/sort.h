// Sorting of rows, for the operators that start with it.
#pragma once

#include <ATen/core/Tensor.h>

namespace usbgpu::aten {

struct Sorted {
  at::Tensor keys, order;  // contiguous, like the input; order: int64
};

// Sorts the last dimension of a contiguous tensor, stably; NaN is the largest. The tensor has elements.
Sorted sort_rows(const at::Tensor& input, bool descending);

}  // namespace usbgpu::aten
