// multi_margin_loss and multilabel_margin_loss with their gradients: a wave per sample.
//
// Sums run in the same order every time; nothing is added atomically.
#include "family.h"
#include "device_error.h"
#include "margin_args.h"

namespace usbgpu_family {

USBGPU_INLINE uint32_t sample_of_wave() { return blockIdx.x * 8 + wave_id(); }

// The target's class; -1 where it is out of range (recorded).
USBGPU_INLINE int64_t margin_target(const MarginArgs& args, uint32_t sample) {
  const int64_t t = at<int64_t>(args.target)[sample];
  if (t >= 0 && t < (int64_t)args.classes) return t;
  record_data_error(args.error_block, kMarginTargetOutOfRange, t, args.classes);
  return -1;
}

template <typename T>
USBGPU_INLINE accumulate_t<T> margin_weight(const MarginArgs& args, int64_t t) {
  return args.weight ? convert<accumulate_t<T>>(at<T>(args.weight)[t]) : accumulate_t<T>(1);
}

template <typename T, uint32_t Power>
USBGPU_INLINE void multi_margin(const MarginArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t sample = sample_of_wave();
  if (sample >= args.batch) return;
  const global_ptr<T> row = at<T>(args.input) + (uint64_t)sample * args.classes;
  const int64_t t = margin_target(args, sample);
  Acc sum = 0;
  if (t >= 0) {
    const Acc base = (Acc)args.margin - convert<Acc>(row[t]);
#pragma clang loop unroll(disable)
    for (uint32_t d = lane_id(); d < args.classes; d += 32) {
      const Acc z = base + convert<Acc>(row[d]);
      // a NaN compares as not above 0, as on the CPU
      if (d != (uint64_t)t && z > 0) sum += Power == 1 ? z : z * z;
    }
    sum = wave_reduce(sum, Sum{}) * margin_weight<T>(args, t) * (Acc)args.scale;
  }
  if (lane_id() == 0) at<T>(args.output)[sample] = convert<T>(sum);
}

template <typename T, uint32_t Power, bool Single>
USBGPU_INLINE void multi_margin_backward(const MarginArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t sample = sample_of_wave();
  if (sample >= args.batch) return;
  const uint64_t first = (uint64_t)sample * args.classes;
  const global_ptr<T> row = at<T>(args.input) + first, result = at<T>(args.output) + first;
  const int64_t t = margin_target(args, sample);
  const Acc base = t >= 0 ? (Acc)args.margin - convert<Acc>(row[t]) : (Acc)0;
  const Acc scale = t >= 0 ? convert<Acc>(at<T>(args.grad)[Single ? 0 : sample]) * margin_weight<T>(args, t) * (Acc)args.scale : (Acc)0;
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t d = lane_id(); d < args.classes; d += 32) {
    if (d == (uint64_t)t) continue;
    const Acc z = base + convert<Acc>(row[d]);
    const Acc slope = z > 0 ? scale * (Power == 1 ? (Acc)1 : (Acc)2 * z) : (Acc)0;
    sum += slope;
    result[d] = convert<T>(slope);
  }
  sum = wave_reduce(sum, Sum{});
  if (lane_id() == 0 && t >= 0) result[t] = convert<T>(-sum);
}

// Labels before the first -1.
USBGPU_INLINE uint32_t labels_of(const MarginArgs& args, const global_ptr<int64_t> labels) {
  uint32_t count = args.classes;
#pragma clang loop unroll(disable)
  for (uint32_t k = lane_id(); k < args.classes; k += 32) {
    const int64_t label = labels[k];
    if (label < -1 || label >= (int64_t)args.classes)
      record_data_error(args.error_block, kMultilabelTargetOutOfRange, label, args.classes);
    if ((label < 0 || label >= (int64_t)args.classes) && k < count) count = k;
  }
  return wave_reduce(count, [](uint32_t a, uint32_t b) __attribute__((device)) { return a < b ? a : b; });
}

// What one lane stored, the others may load.
USBGPU_INLINE void wave_sees_stores() { __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "workgroup"); }

template <typename T>
USBGPU_INLINE void multilabel_margin(const MarginArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t sample = sample_of_wave();
  if (sample >= args.batch) return;
  const uint64_t first = (uint64_t)sample * args.classes;
  const global_ptr<T> row = at<T>(args.input) + first, marks = at<T>(args.is_target) + first;
  const global_ptr<int64_t> labels = at<int64_t>(args.target) + first;
  const uint32_t count = labels_of(args, labels);
#pragma clang loop unroll(disable)
  for (uint32_t d = lane_id(); d < args.classes; d += 32) marks[d] = convert<T>((Acc)0);
  wave_sees_stores();
#pragma clang loop unroll(disable)
  for (uint32_t k = lane_id(); k < count; k += 32) marks[labels[k]] = convert<T>((Acc)1);
  wave_sees_stores();
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t d = lane_id(); d < args.classes; d += 32) {
    if (convert<Acc>(marks[d]) != 0) continue;
    const Acc above = (Acc)1 + convert<Acc>(row[d]);
#pragma clang loop unroll(disable)
    for (uint32_t k = 0; k < count; ++k) {
      const Acc z = above - convert<Acc>(row[labels[k]]);
      if (z > 0) sum += z;
    }
  }
  sum = wave_reduce(sum, Sum{}) * (Acc)args.scale;
  if (lane_id() == 0) at<T>(args.output)[sample] = convert<T>(sum);
}

template <typename T, bool Single>
USBGPU_INLINE void multilabel_margin_backward(const MarginArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t sample = sample_of_wave();
  if (sample >= args.batch) return;
  const uint64_t first = (uint64_t)sample * args.classes;
  const global_ptr<T> row = at<T>(args.input) + first, marks = at<T>(args.is_target) + first, result = at<T>(args.output) + first;
  const global_ptr<int64_t> labels = at<int64_t>(args.target) + first;
  const uint32_t count = labels_of(args, labels);
  const Acc scale = convert<Acc>(at<T>(args.grad)[Single ? 0 : sample]) * (Acc)args.scale;
  // An element's slope is `scale` times the pairs in which it takes part: up as a rival, down as a label (as often
  // as it is listed).
#pragma clang loop unroll(disable)
  for (uint32_t d = lane_id(); d < args.classes; d += 32) {
    const Acc x = convert<Acc>(row[d]);
    int32_t pairs = 0;
    if (convert<Acc>(marks[d]) == 0) {
#pragma clang loop unroll(disable)
      for (uint32_t k = 0; k < count; ++k) pairs += (Acc)1 - convert<Acc>(row[labels[k]]) + x > 0;
    } else {
      int32_t listed = 0;
#pragma clang loop unroll(disable)
      for (uint32_t k = 0; k < count; ++k) listed += labels[k] == (int64_t)d;
#pragma clang loop unroll(disable)
      for (uint32_t e = 0; e < args.classes; ++e)
        if (convert<Acc>(marks[e]) == 0) pairs -= (Acc)1 - x + convert<Acc>(row[e]) > 0;
      pairs *= listed;
    }
    result[d] = convert<T>(pairs ? scale * (Acc)pairs : (Acc)0);
  }
}

}  // namespace usbgpu_family

#define USBGPU_MARGIN(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::MarginArgs args) { usbgpu_family::form<__VA_ARGS__>(args); }
