// Sorting of rows, for the operators that start with it.
#pragma once

#include <ATen/core/Tensor.h>

namespace usbgpu::aten {

struct Sorted {
  at::Tensor keys, order;  // contiguous, like the input; order: int64
};

// Sorts the last dimension of a contiguous tensor, stably; NaN is the largest. The tensor has elements.
// into: contiguous tensors for the result, of rows as long or, with the first ones only, shorter.
// Those that are undefined, or too short for how the rows are sorted, are replaced.
Sorted sort_rows(const at::Tensor& input, bool descending, Sorted into = {});

}  // namespace usbgpu::aten
