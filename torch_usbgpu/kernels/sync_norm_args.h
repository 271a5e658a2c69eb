// Arguments of sync_norm.hip. Statistics are in the accumulation type of the elements, contiguous.
#pragma once
#include "norm_args.h"

namespace usbgpu_family {

struct SyncNormArgs {
  NormView input, grad, output;
  uint64_t weight, bias;                        // [C]; 0 = none
  uint64_t mean, rstd;                          // [C]
  uint64_t means, rstds, counts;                // [worlds, C], [worlds, C], [worlds]
  uint64_t running_mean, running_var;           // [C]; 0 = none
  uint64_t sum_grad, sum_along;                 // [C]; forward pass of the sums: 0 = not asked for
  uint64_t grad_weight, grad_bias;              // [C]; 0 = not asked for
  double momentum, epsilon;
  int64_t running_mean_stride, running_var_stride, world_stride;
  usbgpu::kernels::Divisor inner;
  uint32_t count, channels, worlds, parts;      // count: elements of a channel
};

}  // namespace usbgpu_family
