// Walks over the elements of a channel, and their mean and variance: for norm.hip and sync_norm.hip.
#pragma once
#include "family.h"
#include "norm_args.h"

namespace usbgpu_family {

USBGPU_INLINE uint32_t divide(uint32_t value, usbgpu::kernels::Divisor by) {
  return (__umulhi(value, by.magic) + value) >> by.shift;
}

// Element i of a channel: sample and place within the channel are mixed in i.
template <typename T>
struct ChannelWalk {
  global_ptr<T> base;
  int64_t n, s;
  usbgpu::kernels::Divisor inner;
  USBGPU_INLINE ChannelWalk(const NormView& view, uint32_t channel, usbgpu::kernels::Divisor by)
      : base(at<T>(view.address) + (int64_t)channel * view.c), n(view.n), s(view.s), inner(by) {}
  USBGPU_INLINE global_ptr<T> operator()(uint32_t i) const {
    const uint32_t sample = divide(i, inner);
    return base + ((int64_t)sample * n + (int64_t)(i - sample * inner.value) * s);
  }
};

template <typename Acc>
struct Moments {
  Acc mean, squares;   // squares: sum of squared differences
};

template <typename T, typename Acc>
USBGPU_INLINE Moments<Acc> moments(const ChannelWalk<T>& input, uint32_t count, Acc* scratch) {
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < count; i += 256) sum += convert<Acc>(*input(i));
  const Acc mean = block_reduce<256>(sum, Sum{}, scratch) / (Acc)count;
  Acc squares = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < count; i += 256) {
    const Acc difference = convert<Acc>(*input(i)) - mean;
    squares += difference * difference;
  }
  return {mean, block_reduce<256>(squares, Sum{}, scratch)};
}

}  // namespace usbgpu_family
