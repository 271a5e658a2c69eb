// Arguments of softmax.hip. Tensors are contiguous: element (outer, i, inner) of a row lies at
// (outer * dim + i) * inner_size + inner.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct SoftmaxArgs {
  uint64_t input, output;
  uint32_t dim, inner, rows;   // rows = outer * inner
};

struct SoftmaxBackwardArgs {
  uint64_t grad, output, grad_input;
  uint32_t dim, inner, rows;
};

struct LayerNormArgs {
  uint64_t input, weight, bias, output, mean, rstd;   // weight, bias: 0 = none
  uint32_t rows, width;
  double epsilon;
};

struct LayerNormBackwardArgs {
  uint64_t grad, input, mean, rstd, weight, grad_input, grad_weight, grad_bias;
  uint32_t rows, width;
};

}  // namespace usbgpu_family
