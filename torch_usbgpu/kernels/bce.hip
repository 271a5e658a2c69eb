// binary_cross_entropy and its gradient, element by element.
// Inputs and targets outside [0, 1] are recorded as an error, and their loss is NaN.
#include "family.h"
#include "device_error.h"
#include "bce_args.h"

namespace usbgpu_family {

// NaN stays NaN; torch clamps logarithms at -100 so that losses stay finite.
template <typename Acc> USBGPU_INLINE Acc clamped(Acc logarithm) { return logarithm < (Acc)-100 ? (Acc)-100 : logarithm; }

template <typename T>
USBGPU_INLINE void bce(const BceArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= args.count) return;
  const Acc x = convert<Acc>(at<T>(args.input)[i]), t = convert<Acc>(at<T>(args.target)[i]);
  Acc loss = (t - (Acc)1) * clamped<Acc>(::log1p(-x)) - t * clamped<Acc>(::log(x));
  if (args.weight) loss *= convert<Acc>(at<T>(args.weight)[i]);
  const bool possible = x >= 0 && x <= 1, valid = possible && t >= 0 && t <= 1;
  if (!valid) record_data_error(args.error_block, possible ? kTargetNotProbability : kInputNotProbability);
  at<T>(args.output)[i] = convert<T>(valid ? loss : (Acc)__builtin_nanf(""));
}

template <typename T, bool Single>
USBGPU_INLINE void bce_backward(const BceArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= args.count) return;
  const Acc x = convert<Acc>(at<T>(args.input)[i]), t = convert<Acc>(at<T>(args.target)[i]);
  const Acc variance = ((Acc)1 - x) * x, floor = (Acc)1e-12;
  Acc slope = convert<Acc>(at<T>(args.grad)[Single ? 0 : i]) * (x - t) / (variance < floor ? floor : variance);
  if (args.weight) slope *= convert<Acc>(at<T>(args.weight)[i]);
  at<T>(args.output)[i] = convert<T>(slope * (Acc)args.scale);
}

}  // namespace usbgpu_family

#define USBGPU_BCE(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::BceArgs args) { usbgpu_family::form<__VA_ARGS__>(args); }
