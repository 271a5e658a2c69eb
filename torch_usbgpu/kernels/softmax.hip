// softmax, log_softmax, layer_norm and their gradients: kernels that reduce a row and then map it.
//
// Threads per row: 32 (a wave per row, 8 rows per workgroup) or 256 (long rows).
// With inner > 1 neighbouring rows are neighbours in memory and 1 thread per row reads coalesced.
#include "family.h"
#include "softmax_args.h"

namespace usbgpu_family {

template <uint32_t PerRow>
struct Row {
  uint32_t index, first;
  USBGPU_INLINE Row() {
    if constexpr (PerRow == 1) index = blockIdx.x * 256 + threadIdx.x, first = 0;
    else if constexpr (PerRow == 32) index = blockIdx.x * 8 + wave_id(), first = lane_id();
    else index = blockIdx.x, first = threadIdx.x;
  }
};

template <uint32_t PerRow, typename Op, typename T>
USBGPU_INLINE T row_reduce(T value, Op op, T* scratch) {
  if constexpr (PerRow == 1) return value;
  else if constexpr (PerRow == 32) return wave_reduce(value, op);
  else return block_reduce<PerRow>(value, op, scratch);
}

USBGPU_INLINE float exponential(float x) { return __builtin_expf(x); }
USBGPU_INLINE double exponential(double x) { return usbgpu::math::exp(x); }
USBGPU_INLINE float logarithm(float x) { return __builtin_logf(x); }
USBGPU_INLINE double logarithm(double x) { return usbgpu::math::log(x); }

template <bool Log, typename In, typename Out, uint32_t PerRow>
USBGPU_INLINE void softmax(const SoftmaxArgs& args) {
  using Acc = accumulate_t<In>;
  __shared__ Acc scratch[8];
  const Row<PerRow> row;
  if (row.index >= args.rows) return;
  const uint64_t base = (uint64_t)(row.index / args.inner) * args.dim * args.inner + row.index % args.inner;
  const global_ptr<In> input = at<In>(args.input) + base;
  const global_ptr<Out> output = at<Out>(args.output) + base;

  Acc largest = -(Acc)__builtin_inff();
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.dim; i += PerRow) largest = Max{}(largest, convert<Acc>(input[(uint64_t)i * args.inner]));
  largest = row_reduce<PerRow>(largest, Max{}, scratch);
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.dim; i += PerRow)
    sum += exponential(convert<Acc>(input[(uint64_t)i * args.inner]) - largest);
  sum = row_reduce<PerRow>(sum, Sum{}, scratch);
  const Acc last = Log ? logarithm(sum) : (Acc)1 / sum;
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.dim; i += PerRow) {
    Acc shifted = convert<Acc>(input[(uint64_t)i * args.inner]) - largest;
    output[(uint64_t)i * args.inner] = convert<Out>(Log ? shifted - last : exponential(shifted) * last);
  }
}

// softmax:     (g - sum(g * y)) * y
// log_softmax: g - exp(y) * sum(g)
template <bool Log, typename Grad, typename In, uint32_t PerRow>
USBGPU_INLINE void softmax_backward(const SoftmaxBackwardArgs& args) {
  using Acc = accumulate_t<Grad>;
  __shared__ Acc scratch[8];
  const Row<PerRow> row;
  if (row.index >= args.rows) return;
  const uint64_t base = (uint64_t)(row.index / args.inner) * args.dim * args.inner + row.index % args.inner;
  const global_ptr<Grad> grad = at<Grad>(args.grad) + base;
  const global_ptr<Grad> output = at<Grad>(args.output) + base;
  const global_ptr<In> grad_input = at<In>(args.grad_input) + base;
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.dim; i += PerRow) {
    Acc g = convert<Acc>(grad[(uint64_t)i * args.inner]);
    sum += Log ? g : g * convert<Acc>(output[(uint64_t)i * args.inner]);
  }
  sum = row_reduce<PerRow>(sum, Sum{}, scratch);
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.dim; i += PerRow) {
    Acc g = convert<Acc>(grad[(uint64_t)i * args.inner]), y = convert<Acc>(output[(uint64_t)i * args.inner]);
    grad_input[(uint64_t)i * args.inner] = convert<In>(Log ? g - exponential(y) * sum : (g - sum) * y);
  }
}

// Two passes over the row: the variance of the differences, not E[x^2] - E[x]^2.
template <typename T, uint32_t PerRow>
USBGPU_INLINE void layer_norm(const LayerNormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const Row<PerRow> row;
  if (row.index >= args.rows) return;
  const global_ptr<T> input = at<T>(args.input) + (uint64_t)row.index * args.width;
  const global_ptr<T> output = at<T>(args.output) + (uint64_t)row.index * args.width;
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.width; i += PerRow) sum += convert<Acc>(input[i]);
  const Acc mean = row_reduce<PerRow>(sum, Sum{}, scratch) / (Acc)args.width;
  Acc squares = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.width; i += PerRow) {
    Acc difference = convert<Acc>(input[i]) - mean;
    squares += difference * difference;
  }
  squares = row_reduce<PerRow>(squares, Sum{}, scratch);
  const Acc rstd = (Acc)1 / __builtin_elementwise_sqrt(squares / (Acc)args.width + (Acc)args.epsilon);
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.width; i += PerRow) {
    Acc value = (convert<Acc>(input[i]) - mean) * rstd;
    if (args.weight) value *= convert<Acc>(at<T>(args.weight)[i]);
    if (args.bias) value += convert<Acc>(at<T>(args.bias)[i]);
    output[i] = convert<T>(value);
  }
  if (row.first == 0) at<Acc>(args.mean)[row.index] = mean, at<Acc>(args.rstd)[row.index] = rstd;
}

template <typename T, uint32_t PerRow>
USBGPU_INLINE void layer_norm_backward(const LayerNormBackwardArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const Row<PerRow> row;
  if (row.index >= args.rows) return;
  const uint64_t base = (uint64_t)row.index * args.width;
  const Acc mean = at<Acc>(args.mean)[row.index], rstd = at<Acc>(args.rstd)[row.index];
  Acc sum = 0, sum_normal = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.width; i += PerRow) {
    Acc g = convert<Acc>(at<T>(args.grad)[base + i]);
    if (args.weight) g *= convert<Acc>(at<T>(args.weight)[i]);
    sum += g;
    sum_normal += g * (convert<Acc>(at<T>(args.input)[base + i]) - mean) * rstd;
  }
  sum = row_reduce<PerRow>(sum, Sum{}, scratch) / (Acc)args.width;
  sum_normal = row_reduce<PerRow>(sum_normal, Sum{}, scratch) / (Acc)args.width;
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.width; i += PerRow) {
    Acc g = convert<Acc>(at<T>(args.grad)[base + i]);
    if (args.weight) g *= convert<Acc>(at<T>(args.weight)[i]);
    Acc normal = (convert<Acc>(at<T>(args.input)[base + i]) - mean) * rstd;
    at<T>(args.grad_input)[base + i] = convert<T>((g - sum - normal * sum_normal) * rstd);
  }
}

// A thread per column: gradients of weight and bias, rows summed in order.
template <typename T>
USBGPU_INLINE void layer_norm_backward_weights(const LayerNormBackwardArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t column = blockIdx.x * 256 + threadIdx.x;
  if (column >= args.width) return;
  Acc weight = 0, bias = 0;
#pragma clang loop unroll(disable)
  for (uint32_t row = 0; row < args.rows; ++row) {
    uint64_t i = (uint64_t)row * args.width + column;
    Acc g = convert<Acc>(at<T>(args.grad)[i]);
    weight += g * (convert<Acc>(at<T>(args.input)[i]) - at<Acc>(args.mean)[row]) * at<Acc>(args.rstd)[row];
    bias += g;
  }
  if (args.grad_weight) at<T>(args.grad_weight)[column] = convert<T>(weight);
  if (args.grad_bias) at<T>(args.grad_bias)[column] = convert<T>(bias);
}

}  // namespace usbgpu_family

#define USBGPU_SOFTMAX(symbol, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::SoftmaxArgs args) { usbgpu_family::softmax<__VA_ARGS__>(args); }
#define USBGPU_SOFTMAX_BACKWARD(symbol, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::SoftmaxBackwardArgs args) { \
    usbgpu_family::softmax_backward<__VA_ARGS__>(args); \
  }
#define USBGPU_LAYER_NORM(symbol, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::LayerNormArgs args) { usbgpu_family::layer_norm<__VA_ARGS__>(args); }
#define USBGPU_LAYER_NORM_BACKWARD(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::LayerNormBackwardArgs args) { usbgpu_family::form<__VA_ARGS__>(args); }
