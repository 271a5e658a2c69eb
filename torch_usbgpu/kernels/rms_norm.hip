// rms_norm and its gradient: a wave per row, or a workgroup per long row.
#include "family.h"
#include "rms_norm_args.h"

namespace usbgpu_family {

template <uint32_t PerRow>
struct RmsRow {
  uint32_t index, first;
  USBGPU_INLINE RmsRow() {
    if constexpr (PerRow == 32) index = blockIdx.x * 8 + wave_id(), first = lane_id();
    else index = blockIdx.x, first = threadIdx.x;
  }
};

template <typename T, uint32_t PerRow>
USBGPU_INLINE void rms_norm(const RmsNormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const RmsRow<PerRow> row;
  if (row.index >= args.rows) return;
  const uint64_t base = (uint64_t)row.index * args.width;
  Acc squares = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.width; i += PerRow) {
    const Acc x = convert<Acc>(at<T>(args.input)[base + i]);
    squares += x * x;
  }
  squares = block_reduce<PerRow>(squares, Sum{}, scratch);
  const Acc rstd = (Acc)1 / __builtin_elementwise_sqrt(squares / (Acc)args.width + (Acc)args.epsilon);
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.width; i += PerRow) {
    Acc value = convert<Acc>(at<T>(args.input)[base + i]) * rstd;
    if (args.weight) value *= convert<Acc>(at<T>(args.weight)[i]);
    at<T>(args.output)[base + i] = convert<T>(value);
  }
  if (row.first == 0) at<Acc>(args.rstd)[row.index] = rstd;
}

// With n = x * rstd and h = grad * weight: rstd * (h - n * mean(h * n))
template <typename T, uint32_t PerRow>
USBGPU_INLINE void rms_norm_backward(const RmsNormArgs& args) {
  using Acc = accumulate_t<T>;
  __shared__ Acc scratch[8];
  const RmsRow<PerRow> row;
  if (row.index >= args.rows) return;
  const uint64_t base = (uint64_t)row.index * args.width;
  const Acc rstd = at<Acc>(args.rstd)[row.index];
  Acc along = 0;
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.width; i += PerRow) {
    Acc g = convert<Acc>(at<T>(args.grad)[base + i]);
    if (args.weight) g *= convert<Acc>(at<T>(args.weight)[i]);
    along += g * convert<Acc>(at<T>(args.input)[base + i]) * rstd;
  }
  along = block_reduce<PerRow>(along, Sum{}, scratch) / (Acc)args.width;
#pragma clang loop unroll(disable)
  for (uint32_t i = row.first; i < args.width; i += PerRow) {
    Acc g = convert<Acc>(at<T>(args.grad)[base + i]);
    if (args.weight) g *= convert<Acc>(at<T>(args.weight)[i]);
    at<T>(args.grad_input)[base + i] = convert<T>((g - convert<Acc>(at<T>(args.input)[base + i]) * rstd * along) * rstd);
  }
}

// A thread per column, rows summed in order.
template <typename T, uint32_t>
USBGPU_INLINE void rms_norm_backward_weight(const RmsNormArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t column = blockIdx.x * 256 + threadIdx.x;
  if (column >= args.width) return;
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t row = 0; row < args.rows; ++row) {
    const uint64_t i = (uint64_t)row * args.width + column;
    sum += convert<Acc>(at<T>(args.grad)[i]) * convert<Acc>(at<T>(args.input)[i]) * at<Acc>(args.rstd)[row];
  }
  at<T>(args.grad_weight)[column] = convert<T>(sum);
}

}  // namespace usbgpu_family

#define USBGPU_RMS_NORM(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::RmsNormArgs args) { usbgpu_family::form<__VA_ARGS__>(args); }
