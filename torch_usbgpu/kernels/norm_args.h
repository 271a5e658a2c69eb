// Arguments of norm.hip: tensors seen as [N, C, S], each with its own strides (in elements).
#pragma once
#include "portable.h"
#include "pointwise_args.h"

namespace usbgpu_family {

struct NormView {
  uint64_t address;
  int64_t n, c, s;
};

struct NormArgs {
  NormView input, grad, output;    // output: of the forward pass, or the gradient of the input (address 0: not asked for)
  uint64_t weight, bias;           // [C] each; 0 = none
  uint64_t mean, rstd;             // [C] of batch norm, [N, groups] of group norm: written forward, read backward
  uint64_t running_mean, running_var;   // [C]; 0 = none
  uint64_t grad_weight, grad_bias;      // [C]; 0 = not asked for
  double momentum, epsilon;
  int64_t running_mean_stride, running_var_stride;
  usbgpu::kernels::Divisor inner;  // by S
  uint32_t count;                  // elements that share a mean
  uint32_t batch, channels, per_group;
  uint32_t parts;                  // workgroups that share a channel, where nothing is summed
};

}  // namespace usbgpu_family
