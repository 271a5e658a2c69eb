// Arguments of optim.hip: one launch for many tensors. Every tensor is cut into pieces of
// kMultiTensorChunk elements, one workgroup each; first_chunk says where a tensor's pieces start.
#pragma once
#include "portable.h"

namespace usbgpu_family {

inline constexpr uint32_t kMultiTensorChunk = 4096;   // elements per workgroup
inline constexpr uint32_t kMultiTensorThreads = 256;

// Tensors per launch. The tables travel with every launch, so there are two sizes: a small one for
// small models, and a large one of 1.5 to 2.2 KB, a seventh of a submission window.
inline constexpr uint32_t kFewTensors = 8, kManyTensors = 32;

template <uint32_t Operands, uint32_t Limit>
struct MultiTensorTable {
  uint64_t address[Operands][Limit];
  uint32_t elements[Limit];
  uint32_t first_chunk[Limit];
  uint32_t tensors;
};

template <uint32_t Operands, uint32_t Limit>
struct ForeachArgs {
  MultiTensorTable<Operands, Limit> table;
  uint32_t scalar_per_tensor;   // 1: scalars[tensor], 0: scalars[0]
  double scalars[Limit];
  uint64_t scalar_tensor;       // address of a 0-dim tensor that multiplies the scalar, 0: none
};

template <uint32_t Limit>
struct NormArgs {
  MultiTensorTable<1, Limit> table;
  uint64_t partial;             // one accumulator per chunk
  uint64_t result[Limit];       // one address per tensor
  uint32_t order;               // 1, 2 or kInfinityNorm
};
inline constexpr uint32_t kInfinityNorm = 0xffffffffu;

template <uint32_t Limit>
struct AdamArgs {
  MultiTensorTable<5, Limit> table;  // parameter, gradient, exp_avg, exp_avg_sq, max_exp_avg_sq
  uint64_t step[Limit];              // addresses of the step counters, already advanced
  double lr, beta1, beta2, weight_decay, epsilon;
  uint64_t lr_tensor, grad_scale, found_inf;   // addresses, 0: none
  uint32_t maximize;
};

template <uint32_t Limit>
struct SgdArgs {
  MultiTensorTable<3, Limit> table;    // parameter, gradient, momentum buffer
  double lr, weight_decay, momentum, dampening;
  uint64_t lr_tensor, grad_scale, found_inf;
  uint32_t nesterov, maximize, first_step;
};

template <uint32_t Limit>
struct UnscaleArgs {
  MultiTensorTable<1, Limit> table;
  uint64_t inverse_scale, found_inf;
};

struct UpdateScaleArgs {
  uint64_t scale, growth_tracker, found_inf;
  double growth_factor, backoff_factor;
  int32_t growth_interval;
};

}  // namespace usbgpu_family
