// Negative log likelihood and its gradient.
#include "family.h"
#include "device_error.h"
#include "loss_args.h"

namespace usbgpu_family {

// Class of element i (of N * S); -1: ignored or invalid (recorded).
template <typename Index>
USBGPU_INLINE int64_t target_class(const NllArgs& args, uint64_t i) {
  int64_t c = (int64_t)at<Index>(args.target)[i];
  if (c == args.ignore_index) return -1;
  if (c < 0 || c >= (int64_t)args.classes) {
    record_out_of_bounds(args.error_block, 1, c, args.classes);
    return -1;
  }
  return c;
}

template <typename T>
USBGPU_INLINE accumulate_t<T> class_weight(const NllArgs& args, int64_t c) {
  return args.weight ? convert<accumulate_t<T>>(at<T>(args.weight)[c]) : accumulate_t<T>(1);
}

// reduction = none
template <typename T, typename Index>
USBGPU_INLINE void nll_each(const NllArgs& args) {
  using Acc = accumulate_t<T>;
  const uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (i >= (uint64_t)args.batch * args.inner) return;
  int64_t c = target_class<Index>(args, i);
  Acc loss = 0;
  if (c >= 0) {
    uint64_t n = i / args.inner, s = i % args.inner;
    loss = -convert<Acc>(at<T>(args.input)[(n * args.classes + c) * args.inner + s]) * class_weight<T>(args, c);
  }
  at<T>(args.output)[i] = convert<T>(loss);
}

// One workgroup: the sum is taken in the same order every time.
template <typename T, typename Index>
USBGPU_INLINE void nll_reduce(const NllArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  Acc loss = 0, weight = 0;
  const uint64_t count = (uint64_t)args.batch * args.inner;
#pragma clang loop unroll(disable)
  for (uint64_t i = threadIdx.x; i < count; i += 256) {
    int64_t c = target_class<Index>(args, i);
    if (c < 0) continue;
    uint64_t n = args.inner == 1 ? i : i / args.inner, s = i - n * args.inner;
    Acc w = class_weight<T>(args, c);
    loss -= convert<Acc>(at<T>(args.input)[(n * args.classes + c) * args.inner + s]) * w;
    weight += w;
  }
  loss = block_reduce<256>(loss, Sum{}, scratch);
  weight = block_reduce<256>(weight, Sum{}, scratch);
  if (threadIdx.x == 0) {
    at<T>(args.output)[0] = convert<T>(args.mean ? loss / weight : loss);
    at<T>(args.total_weight)[0] = convert<T>(weight);
  }
}

// A thread per element of the gradient: writes the zeros, too.
template <typename T, typename Index, bool Reduced>
USBGPU_INLINE void nll_backward(const NllArgs& args) {
  using Acc = accumulate_t<T>;
  const uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (i >= (uint64_t)args.batch * args.classes * args.inner) return;
  uint64_t row = i / args.inner, s = i - row * args.inner, n = row / args.classes, c = row - n * args.classes;
  int64_t target = (int64_t)at<Index>(args.target)[n * args.inner + s];
  Acc value = 0;
  if (target == (int64_t)c && target != args.ignore_index) {
    value = -class_weight<T>(args, target) * convert<Acc>(at<T>(args.grad)[Reduced ? 0 : n * args.inner + s]);
    if (args.mean) value /= convert<Acc>(at<T>(args.total_weight)[0]);
  }
  at<T>(args.output)[i] = convert<T>(value);
}

}  // namespace usbgpu_family

#define USBGPU_NLL(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::NllArgs args) { usbgpu_family::form<__VA_ARGS__>(args); }
