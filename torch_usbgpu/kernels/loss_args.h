// Arguments of loss.hip. Log-probabilities and gradients are contiguous [N, C, S] (S = 1 for
// nll_loss, H * W for nll_loss2d), targets are contiguous [N, S].
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct NllArgs {
  uint64_t input, target, weight, output, total_weight;   // weight: 0 = none
  uint64_t grad;                                          // backward: of the loss
  uint64_t error_block;                                   // for targets out of range
  uint32_t batch, classes, inner, mean;                   // mean: 1 divides by the total weight
  int64_t ignore_index;
};

}  // namespace usbgpu_family
