// The parts of nn.SyncBatchNorm: statistics of one process, their union, the map, and the same backward.
// A workgroup per channel. Statistics are kept in the accumulation type.
#include "family.h"
#include "norm_walk.h"
#include "sync_norm_args.h"

namespace usbgpu_family {

template <typename P, typename Acc>
USBGPU_INLINE Acc statistic(uint64_t address, uint32_t channel, Acc otherwise) {
  return address ? convert<Acc>(at<P>(address)[channel]) : otherwise;
}

// mean and 1 / sqrt(var + epsilon)
template <typename T, typename P>
USBGPU_INLINE void sync_statistics(const SyncNormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const uint32_t channel = blockIdx.x;
  const Moments<Acc> m = moments(ChannelWalk<T>(args.input, channel, args.inner), args.count, scratch);
  if (threadIdx.x != 0) return;
  at<Acc>(args.mean)[channel] = m.mean;
  at<Acc>(args.rstd)[channel] = (Acc)1 / __builtin_elementwise_sqrt(m.squares / (Acc)args.count + (Acc)args.epsilon);
}

// (x - mean) * rstd * weight + bias. P: of weight and bias
template <typename T, typename P>
USBGPU_INLINE void sync_map(const SyncNormArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t channel = blockIdx.x;
  const ChannelWalk<T> input(args.input, channel, args.inner), output(args.output, channel, args.inner);
  const Acc mean = at<Acc>(args.mean)[channel];
  const Acc scale = at<Acc>(args.rstd)[channel] * statistic<P>(args.weight, channel, (Acc)1), shift = statistic<P>(args.bias, channel, (Acc)0);
#pragma clang loop unroll(disable)
  for (uint32_t i = blockIdx.y * 256 + threadIdx.x; i < args.count; i += args.parts * 256)
    *output(i) = convert<T>((convert<Acc>(*input(i)) - mean) * scale + shift);
}

// A thread per channel: statistics [worlds, C] of several processes become one. T: the running statistics' type.
// Source of the union: T. Chan, G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm for computing
// sample variances", 1979.
template <typename T, typename P>
USBGPU_INLINE void sync_gather(const SyncNormArgs& args) {
  using Acc = accumulate_t<P>;
  const uint32_t channel = blockIdx.x * 256 + threadIdx.x;
  if (channel >= args.channels) return;
  Acc mean = 0, squares = 0, count = 0;
#pragma clang loop unroll(disable)
  for (uint32_t w = 0; w < args.worlds; ++w) {
    const int64_t i = (int64_t)w * args.world_stride + channel;
    const Acc other = convert<Acc>(at<P>(args.means)[i]), rstd = convert<Acc>(at<P>(args.rstds)[i]);
    const Acc n = convert<Acc>(at<T>(args.counts)[w]);
    const Acc variance = (Acc)1 / (rstd * rstd) - (Acc)args.epsilon;
    const Acc together = count + n, difference = other - mean;
    mean += difference * (n / together);
    squares += variance * n + difference * difference * (count * n / together);
    count = together;
  }
  at<Acc>(args.mean)[channel] = mean;
  at<Acc>(args.rstd)[channel] = (Acc)1 / __builtin_elementwise_sqrt(squares / count + (Acc)args.epsilon);
  const Acc momentum = (Acc)args.momentum;
  if (args.running_mean) {
    const global_ptr<T> to = at<T>(args.running_mean) + (int64_t)channel * args.running_mean_stride;
    *to = convert<T>(momentum * mean + ((Acc)1 - momentum) * convert<Acc>(*to));
  }
  if (args.running_var) {
    const global_ptr<T> to = at<T>(args.running_var) + (int64_t)channel * args.running_var_stride;
    *to = convert<T>(momentum * (squares / (count - (Acc)1)) + ((Acc)1 - momentum) * convert<Acc>(*to));
  }
}

// Sums of the gradient, and of it times (x - mean); the gradients of weight and bias are those times rstd, and plain.
template <typename T, typename P>
USBGPU_INLINE void sync_backward_sums(const SyncNormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const uint32_t channel = blockIdx.x;
  const ChannelWalk<T> input(args.input, channel, args.inner), grad(args.grad, channel, args.inner);
  const Acc mean = at<Acc>(args.mean)[channel];
  Acc sum = 0, along = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.count; i += 256) {
    const Acc g = convert<Acc>(*grad(i));
    sum += g;
    along += g * (convert<Acc>(*input(i)) - mean);
  }
  sum = block_reduce<256>(sum, Sum{}, scratch);
  along = block_reduce<256>(along, Sum{}, scratch);
  if (threadIdx.x != 0) return;
  if (args.sum_grad) at<Acc>(args.sum_grad)[channel] = sum;
  if (args.sum_along) at<Acc>(args.sum_along)[channel] = along;
  if (args.grad_weight) at<P>(args.grad_weight)[channel] = convert<P>(along * at<Acc>(args.rstd)[channel]);
  if (args.grad_bias) at<P>(args.grad_bias)[channel] = convert<P>(sum);
}

// The gradient of the input, with sums over all processes; counts: int32, elements per channel of each process.
template <typename T, typename P>
USBGPU_INLINE void sync_backward_map(const SyncNormArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t channel = blockIdx.x;
  const ChannelWalk<T> input(args.input, channel, args.inner), grad(args.grad, channel, args.inner), output(args.output, channel, args.inner);
  Acc count = 0;
#pragma clang loop unroll(disable)
  for (uint32_t w = 0; w < args.worlds; ++w) count += (Acc)at<int32_t>(args.counts)[w];
  const Acc mean = at<Acc>(args.mean)[channel], rstd = at<Acc>(args.rstd)[channel];
  const Acc scale = rstd * statistic<P>(args.weight, channel, (Acc)1);
  const Acc mean_grad = at<Acc>(args.sum_grad)[channel] / count, along = at<Acc>(args.sum_along)[channel] / count * rstd * rstd;
#pragma clang loop unroll(disable)
  for (uint32_t i = blockIdx.y * 256 + threadIdx.x; i < args.count; i += args.parts * 256)
    *output(i) = convert<T>((convert<Acc>(*grad(i)) - mean_grad - (convert<Acc>(*input(i)) - mean) * along) * scale);
}

}  // namespace usbgpu_family

#define USBGPU_SYNC_NORM(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::SyncNormArgs args) { usbgpu_family::form<__VA_ARGS__>(args); }
