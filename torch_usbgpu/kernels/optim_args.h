// Arguments of optim.hip: one launch for many tensors. Every tensor is cut into pieces of
// kMultiTensorChunk elements, one workgroup each; first_chunk says where a tensor's pieces start.
#pragma once
#include "portable.h"

namespace usbgpu_family {

inline constexpr uint32_t kMultiTensorChunk = 4096;   // elements per workgroup
inline constexpr uint32_t kMultiTensorThreads = 256;

// One tensor of the lists. The table is written to the device ahead of the launch, so that any number
// of tensors takes one launch, and no launch carries room that it does not need.
template <uint32_t Operands>
struct TensorEntry {
  uint64_t address[Operands];
  uint64_t own;                 // what else belongs to this tensor, see the kernels' arguments
  uint32_t elements, first_chunk;
};

struct MultiTensorTable {
  uint64_t entries;             // address of TensorEntry<Operands>[tensors]
  uint32_t tensors;
  uint32_t aligned;             // all addresses are multiples of four elements
};

struct ForeachArgs {            // own: the tensor's scalar (a double), if scalar_per_tensor
  MultiTensorTable table;
  double scalar;
  uint64_t scalar_tensor;       // address of a 0-dim tensor that multiplies the scalar, 0: none
  uint32_t scalar_per_tensor;
};

struct NormArgs {               // own: address of the result
  MultiTensorTable table;
  uint64_t partial;             // one accumulator per chunk
  uint32_t order;               // 1, 2 or kInfinityNorm
};
inline constexpr uint32_t kInfinityNorm = 0xffffffffu;

struct AdamArgs {               // parameter, gradient, exp_avg, exp_avg_sq, max_exp_avg_sq;
  MultiTensorTable table;       // own: address of the step counter, already advanced
  double lr, beta1, beta2, weight_decay, epsilon;
  uint64_t lr_tensor, grad_scale, found_inf;   // addresses, 0: none
  uint32_t maximize;
};

struct SgdArgs {                // parameter, gradient, momentum buffer
  MultiTensorTable table;
  double lr, weight_decay, momentum, dampening;
  uint64_t lr_tensor, grad_scale, found_inf;
  uint32_t nesterov, maximize, first_step;
};

struct UnscaleArgs {            // gradient
  MultiTensorTable table;
  uint64_t inverse_scale, found_inf;
};

struct UpdateScaleArgs {
  uint64_t scale, growth_tracker, found_inf;
  double growth_factor, backoff_factor;
  int32_t growth_interval;
};

}  // namespace usbgpu_family
