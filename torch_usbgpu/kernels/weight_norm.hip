// w = v * g / |v|, the norm of each row, and the gradients: a workgroup per row.
#include "family.h"
#include "weight_norm_args.h"

namespace usbgpu_family {

template <typename T>
USBGPU_INLINE void weight_norm(const WeightNormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const uint64_t base = (uint64_t)blockIdx.x * args.row_stride;
  Acc squares = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.width; i += 256) {
    const Acc v = convert<Acc>(at<T>(args.v)[base + (uint64_t)i * args.item_stride]);
    squares += v * v;
  }
  const Acc norm = __builtin_elementwise_sqrt(block_reduce<256>(squares, Sum{}, scratch));
  const Acc scale = convert<Acc>(at<T>(args.g)[blockIdx.x]) / norm;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.width; i += 256) {
    const uint64_t place = base + (uint64_t)i * args.item_stride;
    at<T>(args.w)[place] = convert<T>(convert<Acc>(at<T>(args.v)[place]) * scale);
  }
  if (threadIdx.x == 0) at<Acc>(args.norms)[blockIdx.x] = norm;
}

// grad_g = <grad_w, v> / |v|;  grad_v = g / |v| * (grad_w - v * <grad_w, v> / |v|^2)
template <typename T>
USBGPU_INLINE void weight_norm_backward(const WeightNormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const uint64_t base = (uint64_t)blockIdx.x * args.row_stride;
  Acc along = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.width; i += 256) {
    const uint64_t place = base + (uint64_t)i * args.item_stride;
    along += convert<Acc>(at<T>(args.grad_w)[place]) * convert<Acc>(at<T>(args.v)[place]);
  }
  along = block_reduce<256>(along, Sum{}, scratch);
  const Acc inverse = (Acc)1 / at<Acc>(args.norms)[blockIdx.x], part = along * inverse * inverse;
  const Acc scale = convert<Acc>(at<T>(args.g)[blockIdx.x]) * inverse;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.width; i += 256) {
    const uint64_t place = base + (uint64_t)i * args.item_stride;
    const Acc v = convert<Acc>(at<T>(args.v)[place]);
    at<T>(args.grad_v)[place] = convert<T>((convert<Acc>(at<T>(args.grad_w)[place]) - v * part) * scale);
  }
  if (threadIdx.x == 0) at<T>(args.grad_g)[blockIdx.x] = convert<T>(along * inverse);
}

}  // namespace usbgpu_family

#define USBGPU_WEIGHT_NORM(symbol, form, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::WeightNormArgs args) { usbgpu_family::form<T>(args); }
