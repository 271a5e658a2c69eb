// batch_norm and group_norm with their gradients: a workgroup per channel, or per group of a sample.
//
// Each kernel sums its elements and then maps them: one launch. The variance is that of the
// differences from the mean (two passes), not E[x^2] - E[x]^2.
// T: elements. P: parameters and statistics, T itself or, for f16 and bf16, also f32.
#include "family.h"
#include "norm_walk.h"

namespace usbgpu_family {

// Element i of a group of one sample: channel (within the group) and place are mixed in i.
template <typename T>
struct GroupWalk {
  global_ptr<T> base;
  int64_t c, s;
  usbgpu::kernels::Divisor inner;
  USBGPU_INLINE GroupWalk(const NormView& view, uint32_t sample, uint32_t first_channel, usbgpu::kernels::Divisor by)
      : base(at<T>(view.address) + ((int64_t)sample * view.n + (int64_t)first_channel * view.c)), c(view.c), s(view.s), inner(by) {}
  USBGPU_INLINE global_ptr<T> operator()(uint32_t i, uint32_t channel) const {
    return base + ((int64_t)channel * c + (int64_t)(i - channel * inner.value) * s);
  }
};

template <typename P, typename Acc>
USBGPU_INLINE Acc parameter(uint64_t address, uint64_t i, Acc otherwise) {
  return address ? convert<Acc>(at<P>(address)[i]) : otherwise;
}

template <typename P, typename Acc>
USBGPU_INLINE void update_running(const NormArgs& args, uint32_t channel, const Moments<Acc>& m) {
  const Acc momentum = (Acc)args.momentum;
  if (args.running_mean) {
    const global_ptr<P> to = at<P>(args.running_mean) + (int64_t)channel * args.running_mean_stride;
    *to = convert<P>(momentum * m.mean + ((Acc)1 - momentum) * convert<Acc>(*to));
  }
  if (args.running_var) {
    const global_ptr<P> to = at<P>(args.running_var) + (int64_t)channel * args.running_var_stride;
    const Acc unbiased = m.squares / ((Acc)args.count - (Acc)1);
    *to = convert<P>(momentum * unbiased + ((Acc)1 - momentum) * convert<Acc>(*to));
  }
}

template <typename T, typename P>
USBGPU_INLINE void batch_norm_train(const NormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const uint32_t channel = blockIdx.x;
  const ChannelWalk<T> input(args.input, channel, args.inner), output(args.output, channel, args.inner);
  const Moments<Acc> m = moments(input, args.count, scratch);
  const Acc rstd = (Acc)1 / __builtin_elementwise_sqrt(m.squares / (Acc)args.count + (Acc)args.epsilon);
  const Acc scale = rstd * parameter<P>(args.weight, channel, (Acc)1), shift = parameter<P>(args.bias, channel, (Acc)0);
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.count; i += 256) *output(i) = convert<T>((convert<Acc>(*input(i)) - m.mean) * scale + shift);
  if (threadIdx.x == 0) {
    at<P>(args.mean)[channel] = convert<P>(m.mean), at<P>(args.rstd)[channel] = convert<P>(rstd);
    update_running<P>(args, channel, m);
  }
}

template <typename T, typename P>
USBGPU_INLINE void batch_norm_eval(const NormArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t channel = blockIdx.x;
  const ChannelWalk<T> input(args.input, channel, args.inner), output(args.output, channel, args.inner);
  const Acc mean = convert<Acc>(at<P>(args.running_mean)[(int64_t)channel * args.running_mean_stride]);
  const Acc var = convert<Acc>(at<P>(args.running_var)[(int64_t)channel * args.running_var_stride]);
  const Acc rstd = (Acc)1 / __builtin_elementwise_sqrt(var + (Acc)args.epsilon);
  const Acc scale = rstd * parameter<P>(args.weight, channel, (Acc)1), shift = parameter<P>(args.bias, channel, (Acc)0);
#pragma clang loop unroll(disable)
  for (uint32_t i = blockIdx.y * 256 + threadIdx.x; i < args.count; i += args.parts * 256)
    *output(i) = convert<T>((convert<Acc>(*input(i)) - mean) * scale + shift);
}

// mean, biased variance (in args.rstd), running statistics
template <typename T, typename P>
USBGPU_INLINE void batch_norm_statistics(const NormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const uint32_t channel = blockIdx.x;
  const Moments<Acc> m = moments(ChannelWalk<T>(args.input, channel, args.inner), args.count, scratch);
  if (threadIdx.x != 0) return;
  at<P>(args.mean)[channel] = convert<P>(m.mean), at<P>(args.rstd)[channel] = convert<P>(m.squares / (Acc)args.count);
  update_running<P>(args, channel, m);
}

// With the batch's own statistics the gradient also flows through mean and variance.
template <typename T, typename P, bool Train>
USBGPU_INLINE void batch_norm_backward(const NormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const uint32_t channel = blockIdx.x;
  const ChannelWalk<T> input(args.input, channel, args.inner), grad(args.grad, channel, args.inner);
  Acc mean, rstd;
  if constexpr (Train) {
    mean = convert<Acc>(at<P>(args.mean)[channel]), rstd = convert<Acc>(at<P>(args.rstd)[channel]);
  } else {
    mean = convert<Acc>(at<P>(args.running_mean)[(int64_t)channel * args.running_mean_stride]);
    const Acc var = convert<Acc>(at<P>(args.running_var)[(int64_t)channel * args.running_var_stride]);
    rstd = (Acc)1 / __builtin_elementwise_sqrt(var + (Acc)args.epsilon);
  }
  Acc sum = 0, sum_normal = 0;
  if (Train || args.grad_weight || args.grad_bias) {
#pragma clang loop unroll(disable)
    for (uint32_t i = threadIdx.x; i < args.count; i += 256) {
      const Acc g = convert<Acc>(*grad(i));
      sum += g;
      sum_normal += g * (convert<Acc>(*input(i)) - mean) * rstd;
    }
    sum = block_reduce<256>(sum, Sum{}, scratch);
    sum_normal = block_reduce<256>(sum_normal, Sum{}, scratch);
  }
  if (threadIdx.x == 0) {
    if (args.grad_weight) at<P>(args.grad_weight)[channel] = convert<P>(sum_normal);
    if (args.grad_bias) at<P>(args.grad_bias)[channel] = convert<P>(sum);
  }
  if (!args.output.address) return;
  const ChannelWalk<T> output(args.output, channel, args.inner);
  const Acc scale = rstd * parameter<P>(args.weight, channel, (Acc)1);
  const Acc mean_grad = sum / (Acc)args.count, along = sum_normal / (Acc)args.count;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.count; i += 256) {
    Acc g = convert<Acc>(*grad(i));
    if constexpr (Train) g -= mean_grad + (convert<Acc>(*input(i)) - mean) * rstd * along;
    *output(i) = convert<T>(g * scale);
  }
}

template <typename T, typename P>
USBGPU_INLINE void group_norm(const NormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const uint32_t groups = args.channels / args.per_group;
  const uint32_t sample = blockIdx.x / groups, first = (blockIdx.x - sample * groups) * args.per_group;
  const GroupWalk<T> input(args.input, sample, first, args.inner), output(args.output, sample, first, args.inner);
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.count; i += 256) sum += convert<Acc>(*input(i, divide(i, args.inner)));
  const Acc mean = block_reduce<256>(sum, Sum{}, scratch) / (Acc)args.count;
  Acc squares = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.count; i += 256) {
    const Acc difference = convert<Acc>(*input(i, divide(i, args.inner))) - mean;
    squares += difference * difference;
  }
  squares = block_reduce<256>(squares, Sum{}, scratch);
  const Acc rstd = (Acc)1 / __builtin_elementwise_sqrt(squares / (Acc)args.count + (Acc)args.epsilon);
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.count; i += 256) {
    const uint32_t c = divide(i, args.inner);
    const Acc normal = (convert<Acc>(*input(i, c)) - mean) * rstd;
    *output(i, c) = convert<T>(normal * parameter<P>(args.weight, first + c, (Acc)1) + parameter<P>(args.bias, first + c, (Acc)0));
  }
  if (threadIdx.x == 0) at<P>(args.mean)[blockIdx.x] = convert<P>(mean), at<P>(args.rstd)[blockIdx.x] = convert<P>(rstd);
}

template <typename T, typename P>
USBGPU_INLINE void group_norm_backward(const NormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const uint32_t groups = args.channels / args.per_group;
  const uint32_t sample = blockIdx.x / groups, first = (blockIdx.x - sample * groups) * args.per_group;
  const GroupWalk<T> input(args.input, sample, first, args.inner), grad(args.grad, sample, first, args.inner);
  const GroupWalk<T> output(args.output, sample, first, args.inner);
  const Acc mean = convert<Acc>(at<P>(args.mean)[blockIdx.x]), rstd = convert<Acc>(at<P>(args.rstd)[blockIdx.x]);
  Acc sum = 0, sum_normal = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.count; i += 256) {
    const uint32_t c = divide(i, args.inner);
    const Acc g = convert<Acc>(*grad(i, c)) * parameter<P>(args.weight, first + c, (Acc)1);
    sum += g;
    sum_normal += g * (convert<Acc>(*input(i, c)) - mean) * rstd;
  }
  sum = block_reduce<256>(sum, Sum{}, scratch) / (Acc)args.count;
  sum_normal = block_reduce<256>(sum_normal, Sum{}, scratch) / (Acc)args.count;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.count; i += 256) {
    const uint32_t c = divide(i, args.inner);
    const Acc g = convert<Acc>(*grad(i, c)) * parameter<P>(args.weight, first + c, (Acc)1);
    const Acc normal = (convert<Acc>(*input(i, c)) - mean) * rstd;
    *output(i, c) = convert<T>((g - sum - normal * sum_normal) * rstd);
  }
}

// A workgroup per channel; args.count = batch * S.
template <typename T, typename P>
USBGPU_INLINE void group_norm_backward_weights(const NormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const uint32_t channel = blockIdx.x, groups = args.channels / args.per_group, group = channel / args.per_group;
  const ChannelWalk<T> input(args.input, channel, args.inner), grad(args.grad, channel, args.inner);
  Acc weight = 0, bias = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = threadIdx.x; i < args.count; i += 256) {
    const uint64_t row = (uint64_t)divide(i, args.inner) * groups + group;
    const Acc g = convert<Acc>(*grad(i));
    weight += g * (convert<Acc>(*input(i)) - convert<Acc>(at<P>(args.mean)[row])) * convert<Acc>(at<P>(args.rstd)[row]);
    bias += g;
  }
  weight = block_reduce<256>(weight, Sum{}, scratch);
  bias = block_reduce<256>(bias, Sum{}, scratch);
  if (threadIdx.x != 0) return;
  if (args.grad_weight) at<P>(args.grad_weight)[channel] = convert<P>(weight);
  if (args.grad_bias) at<P>(args.grad_bias)[channel] = convert<P>(bias);
}

}  // namespace usbgpu_family

#define USBGPU_NORM(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::NormArgs args) { usbgpu_family::form<__VA_ARGS__>(args); }
