// segment_reduce and its gradient: a thread per segment and inner position, elements in order.
#include "family.h"
#include "segment_args.h"

namespace usbgpu_family {

enum SegmentForm { kSegmentMax, kSegmentMean, kSegmentMin, kSegmentSum, kSegmentProduct };

struct Segment {
  uint64_t first, length;   // of its elements in data; they are `inner` apart
};

template <typename Index, bool Offsets>
USBGPU_INLINE Segment segment_of(const SegmentArgs& args, uint64_t k) {
  const uint64_t row = k / args.inner, inner = k - row * args.inner, outer = row / args.segments, s = row - outer * args.segments;
  int64_t from, to;
  if constexpr (Offsets) {
    const global_ptr<Index> offsets = at<Index>(args.ends) + outer * (args.segments + 1) + s;
    from = (int64_t)offsets[0], to = (int64_t)offsets[1];
  } else {
    const global_ptr<Index> ends = at<Index>(args.ends) + row;
    from = s ? (int64_t)ends[-1] : 0, to = (int64_t)ends[0];
  }
  // unchecked lengths may be wrong, accesses may not
  if (from < 0) from = 0;
  if (to > (int64_t)args.size) to = args.size;
  return {(outer * args.size + from) * args.inner + inner, to > from ? (uint64_t)(to - from) : 0};
}

template <typename Acc> USBGPU_INLINE Acc not_a_number() { return (Acc)__builtin_nanf(""); }

template <typename T, typename Index, SegmentForm Form, bool Offsets>
USBGPU_INLINE void segment_reduce(const SegmentArgs& args) {
  using Acc = accumulate_t<T>;
  const uint64_t k = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (k >= args.count) return;
  const Segment segment = segment_of<Index, Offsets>(args, k);
  constexpr float infinity = __builtin_inff();
  Acc value = args.has_initial ? (Acc)args.initial
              : (Acc)(Form == kSegmentMax ? -infinity : Form == kSegmentMin ? infinity : Form == kSegmentProduct ? 1.f : 0.f);
#pragma clang loop unroll(disable)
  for (uint64_t i = 0; i < segment.length; ++i) {
    const Acc x = convert<Acc>(at<T>(args.data)[segment.first + i * args.inner]);
    if constexpr (Form == kSegmentMax) value = Max{}(x, value);
    else if constexpr (Form == kSegmentMin) value = (x < value || x != x) ? x : value;
    else if constexpr (Form == kSegmentProduct) value *= x;
    else value += x;
  }
  if constexpr (Form == kSegmentMean) {
    if (segment.length) value /= (Acc)segment.length;
    else if (!args.has_initial) value = not_a_number<Acc>();
  }
  at<T>(args.output)[k] = convert<T>(value);
}

// The gradient of elements outside all segments stays what it was (0).
template <typename T, typename Index, SegmentForm Form, bool Offsets>
USBGPU_INLINE void segment_reduce_backward(const SegmentArgs& args) {
  using Acc = accumulate_t<T>;
  const uint64_t k = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (k >= args.count) return;
  const Segment segment = segment_of<Index, Offsets>(args, k);
  const Acc grad = convert<Acc>(at<T>(args.grad)[k]), output = convert<Acc>(at<T>(args.output)[k]);
  const global_ptr<T> data = at<T>(args.data) + segment.first, result = at<T>(args.grad_data) + segment.first;
  if constexpr (Form == kSegmentMax || Form == kSegmentMin) {
    uint32_t ties = 0;   // they share the gradient
#pragma clang loop unroll(disable)
    for (uint64_t i = 0; i < segment.length; ++i) {
      const Acc x = convert<Acc>(data[i * args.inner]);
      ties += x == output || x != x;
    }
    const Acc share = ties > 1 ? grad / (Acc)ties : grad;
#pragma clang loop unroll(disable)
    for (uint64_t i = 0; i < segment.length; ++i) {
      const Acc x = convert<Acc>(data[i * args.inner]);
      result[i * args.inner] = convert<T>(x == output || x != x ? share : (Acc)0);
    }
  } else if constexpr (Form == kSegmentProduct) {
#pragma clang loop unroll(disable)
    for (uint64_t i = 0; i < segment.length; ++i) {
      const Acc x = convert<Acc>(data[i * args.inner]);
      Acc slope = grad * output / x;
      if (x == 0 || x != x) {
        Acc others = args.has_initial ? (Acc)args.initial : (Acc)1;
#pragma clang loop unroll(disable)
        for (uint64_t j = 0; j < segment.length; ++j)
          if (j != i) others *= convert<Acc>(data[j * args.inner]);
        slope = grad * others;
      }
      result[i * args.inner] = convert<T>(slope);
    }
  } else {
    const T each = convert<T>(Form == kSegmentMean ? grad / (Acc)segment.length : grad);
#pragma clang loop unroll(disable)
    for (uint64_t i = 0; i < segment.length; ++i) result[i * args.inner] = each;
  }
}

}  // namespace usbgpu_family

#define USBGPU_SEGMENT(symbol, form, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::SegmentArgs args) { \
    using namespace usbgpu_family; \
    form<__VA_ARGS__>(args); \
  }
