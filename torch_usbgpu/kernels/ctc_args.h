// Arguments of ctc.hip. States of a sample: a blank, its first label, a blank, ... a blank.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct CtcArgs {
  uint64_t log_probs;                  // [T, N, C], strides below
  uint64_t targets, sizes;             // sizes: int64 [3, N]: first target element, time steps, labels
  uint64_t alpha, beta;                // [N, T, states], contiguous
  uint64_t loss, grad, grad_input;     // [N]; [N] with a stride; [T, N, C] contiguous
  uint64_t error_block;                // for labels out of range
  int64_t stride_t, stride_n, stride_c, target_stride, grad_stride;
  uint32_t times, batch, classes, states, blank, zero_infinity;
};

}  // namespace usbgpu_family
