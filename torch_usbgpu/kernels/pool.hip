// Pooling over windows that lie on a grid (max and average), that share the input evenly (adaptive),
// or that lie where random samples put them (fractional).
//
// A thread per element written, gradients included: a gradient is gathered from all windows that
// cover its element, so there are no atomics, nothing to clear before, and one result for all runs.
#include "atomics.h"
#include "device_error.h"
#include "pool_args.h"
#include "spatial.h"

namespace usbgpu_family {

struct Range { int32_t start, end; };

// ---- windows: the inputs of output o, and the outputs whose windows may cover input i

struct Strided {
  template <typename T>
  USBGPU_INLINE static Range inputs(const PoolArgs& args, uint32_t axis, int32_t o, const Place&) {
    int32_t start = o * args.stride[axis] - args.padding[axis];
    const int32_t end = at_most(start + (args.kernel[axis] - 1) * args.dilation[axis] + 1, args.in[axis]);
    if (args.dilation[axis] == 1) return {at_least(start, 0), end};   // uniform: the rest becomes a division
#pragma clang loop unroll(disable)
    while (start < 0) start += args.dilation[axis];
    return {start, end};
  }
  USBGPU_INLINE static int32_t step(const PoolArgs& args, uint32_t axis) { return args.dilation[axis]; }
  USBGPU_INLINE static Range outputs(const PoolArgs& args, uint32_t axis, int32_t i) {
    const int32_t reach = (args.kernel[axis] - 1) * args.dilation[axis] + 1, shifted = i + args.padding[axis];
    const uint32_t stride = (uint32_t)args.stride[axis];
    const int32_t first = shifted < reach ? 0 : (int32_t)((uint32_t)(shifted - reach) / stride) + 1;
    return {first, at_most((int32_t)((uint32_t)shifted / stride) + 1, args.out[axis])};
  }
  // What an average is divided by along this axis.
  USBGPU_INLINE static int32_t extent(const PoolArgs& args, uint32_t axis, int32_t o) {
    const int32_t start = o * args.stride[axis] - args.padding[axis], end = start + args.kernel[axis];
    if (args.count_padding) return at_most(end, args.in[axis] + args.padding[axis]) - start;
    return at_most(end, args.in[axis]) - at_least(start, 0);
  }
};

// floor(i * from / to)
USBGPU_INLINE int32_t scaled_floor(const PoolArgs& args, int32_t i, int32_t from, int32_t to) {
  if (args.wide) return (int32_t)((uint64_t)(uint32_t)i * (uint32_t)from / (uint32_t)to);
  return (int32_t)((uint32_t)i * (uint32_t)from / (uint32_t)to);
}
// ceil((i + 1) * from / to)
USBGPU_INLINE int32_t scaled_ceil(const PoolArgs& args, int32_t i, int32_t from, int32_t to) {
  if (args.wide) return (int32_t)(((uint64_t)((uint32_t)i + 1) * (uint32_t)from - 1) / (uint32_t)to) + 1;
  return (int32_t)((((uint32_t)i + 1) * (uint32_t)from - 1) / (uint32_t)to) + 1;
}

// Window o of n over an input of m: [floor(o m / n), ceil((o + 1) m / n)).
struct Adaptive {
  template <typename T>
  USBGPU_INLINE static Range inputs(const PoolArgs& args, uint32_t axis, int32_t o, const Place&) {
    return {scaled_floor(args, o, args.in[axis], args.out[axis]), scaled_ceil(args, o, args.in[axis], args.out[axis])};
  }
  USBGPU_INLINE static int32_t step(const PoolArgs&, uint32_t) { return 1; }
  USBGPU_INLINE static Range outputs(const PoolArgs& args, uint32_t axis, int32_t i) {
    return {scaled_floor(args, i, args.out[axis], args.in[axis]), scaled_ceil(args, i, args.out[axis], args.in[axis])};
  }
  USBGPU_INLINE static int32_t extent(const PoolArgs& args, uint32_t axis, int32_t o) {
    return scaled_ceil(args, o, args.in[axis], args.out[axis]) - scaled_floor(args, o, args.in[axis], args.out[axis]);
  }
};

// Graham, "Fractional Max-Pooling" (2014), pseudorandom sequences: window o starts at
// trunc((o + u) a) - trunc(u a), the last one at the end. Rounded as the dtype rounds at every step.
struct Fractional {
  template <typename T>
  USBGPU_INLINE static Range inputs(const PoolArgs& args, uint32_t axis, int32_t o, const Place& place) {
    using Acc = accumulate_t<T>;
    const int32_t room = args.in[axis] - args.kernel[axis];
    int32_t start = room;
    if (o + 1 < args.out[axis]) {
      // the samples of two axes are (w, h), those of three (d, h, w)
      const uint32_t column = args.axes == 2 ? 2 - axis : axis;
      const auto rounded = [](Acc value) __attribute__((device)) { return convert<Acc>(convert<T>(value)); };
      const Acc sample = convert<Acc>(at<T>(args.samples)[place.n * args.sample_stride[0] + place.c * args.sample_stride[1] +
                                                             column * args.sample_stride[2]]);
      const Acc step = rounded(rounded((Acc)room) / rounded((Acc)(args.out[axis] - 1)));
      start = (int32_t)rounded(rounded(rounded((Acc)o) + sample) * step) - (int32_t)rounded(sample * step);
    }
    return {start, start + args.kernel[axis]};
  }
  USBGPU_INLINE static int32_t step(const PoolArgs&, uint32_t) { return 1; }
};

// ---- maximum: the first of equals, the last NaN

template <typename T>
USBGPU_INLINE arithmetic_t<T> least() {
  if constexpr (traits<T>::floating) return -(arithmetic_t<T>)__builtin_inff();
  else if constexpr ((T)-1 > (T)0) return 0;
  else return (T)((uint64_t)1 << (8 * sizeof(T) - 1));
}

template <typename T, typename Windows>
USBGPU_INLINE void pool_max(const PoolArgs& args) {
  using Acc = arithmetic_t<T>;
  const uint32_t i = spatial_thread();
  if (i >= args.walk.count) return;
  const Place place = place_of(args.walk, i);
  const global_ptr<T> input = channel_of<T>(args.input, place);
  const Range d = Windows::template inputs<T>(args, 0, place.at[0], place);
  const Range h = Windows::template inputs<T>(args, 1, place.at[1], place);
  const Range w = Windows::template inputs<T>(args, 2, place.at[2], place);
  T best = convert<T>(least<T>());
  int32_t index = (d.start * args.in[1] + h.start) * args.in[2] + w.start;
#pragma clang loop unroll(disable)
  for (int32_t z = d.start; z < d.end; z += Windows::step(args, 0)) {
#pragma clang loop unroll(disable)
    for (int32_t y = h.start; y < h.end; y += Windows::step(args, 1)) {
#pragma clang loop unroll(disable)
      for (int32_t x = w.start; x < w.end; x += Windows::step(args, 2)) {
        const T value = input[offset_of(args.input, z, y, x)];
        if (convert<Acc>(value) > convert<Acc>(best) || convert<Acc>(value) != convert<Acc>(value)) {
          best = value;
          index = (z * args.in[1] + y) * args.in[2] + x;
        }
      }
    }
  }
  *element_of<T>(args.output, place) = best;
  *element_of<int64_t>(args.indices, place) = index;
}

template <typename T, typename Windows>
USBGPU_INLINE void pool_max_backward(const PoolArgs& args) {
  const uint32_t i = spatial_thread();
  if (i >= args.walk.count) return;
  const Place place = place_of(args.walk, i);
  const global_ptr<T> grad = channel_of<T>(args.output, place);
  const global_ptr<int64_t> indices = channel_of<int64_t>(args.indices, place);
  const int64_t self = (place.at[0] * args.in[1] + place.at[1]) * args.in[2] + place.at[2];
  const Range d = Windows::outputs(args, 0, place.at[0]), h = Windows::outputs(args, 1, place.at[1]),
              w = Windows::outputs(args, 2, place.at[2]);
  accumulate_t<T> sum = 0;
#pragma clang loop unroll(disable)
  for (int32_t z = d.start; z < d.end; ++z) {
#pragma clang loop unroll(disable)
    for (int32_t y = h.start; y < h.end; ++y) {
#pragma clang loop unroll(disable)
      for (int32_t x = w.start; x < w.end; ++x) {
        if (indices[offset_of(args.indices, z, y, x)] == self)
          sum += convert<accumulate_t<T>>(grad[offset_of(args.output, z, y, x)]);
      }
    }
  }
  *element_of<T>(args.input, place) = convert<T>(sum);
}

// ---- average

template <typename T, typename Windows>
USBGPU_INLINE void pool_average(const PoolArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t i = spatial_thread();
  if (i >= args.walk.count) return;
  const Place place = place_of(args.walk, i);
  const global_ptr<T> input = channel_of<T>(args.input, place);
  const Range d = Windows::template inputs<T>(args, 0, place.at[0], place);
  const Range h = Windows::template inputs<T>(args, 1, place.at[1], place);
  const Range w = Windows::template inputs<T>(args, 2, place.at[2], place);
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (int32_t z = d.start; z < d.end; ++z) {
#pragma clang loop unroll(disable)
    for (int32_t y = h.start; y < h.end; ++y) {
#pragma clang loop unroll(disable)
      for (int32_t x = w.start; x < w.end; ++x) sum += convert<Acc>(input[offset_of(args.input, z, y, x)]);
    }
  }
  const Acc divisor = args.divisor ? (Acc)args.divisor
                                   : (Acc)(Windows::extent(args, 0, place.at[0]) * Windows::extent(args, 1, place.at[1]) *
                                           Windows::extent(args, 2, place.at[2]));
  *element_of<T>(args.output, place) = convert<T>(sum / divisor);
}

template <typename T, typename Windows>
USBGPU_INLINE void pool_average_backward(const PoolArgs& args) {
  using Acc = accumulate_t<T>;
  const uint32_t i = spatial_thread();
  if (i >= args.walk.count) return;
  const Place place = place_of(args.walk, i);
  const global_ptr<T> grad = channel_of<T>(args.output, place);
  const Range d = Windows::outputs(args, 0, place.at[0]), h = Windows::outputs(args, 1, place.at[1]),
              w = Windows::outputs(args, 2, place.at[2]);
  Acc sum = 0;
#pragma clang loop unroll(disable)
  for (int32_t z = d.start; z < d.end; ++z) {
    const int32_t deep = Windows::extent(args, 0, z);
#pragma clang loop unroll(disable)
    for (int32_t y = h.start; y < h.end; ++y) {
      const int32_t plane = deep * Windows::extent(args, 1, y);
#pragma clang loop unroll(disable)
      for (int32_t x = w.start; x < w.end; ++x) {
        const Acc divisor = args.divisor ? (Acc)args.divisor : (Acc)(plane * Windows::extent(args, 2, x));
        sum += convert<Acc>(grad[offset_of(args.output, z, y, x)]) / divisor;
      }
    }
  }
  *element_of<T>(args.input, place) = convert<T>(sum);
}

// ---- the other way round: output[indices] = input (or += input), into an output of zeros

template <typename T, bool Add>
USBGPU_INLINE void pool_scatter(const PoolArgs& args) {
  const uint32_t i = spatial_thread();
  if (i >= args.walk.count) return;
  const Place place = place_of(args.walk, i);
  const int64_t index = *element_of<int64_t>(args.indices, place);
  const int32_t size = args.out[0] * args.out[1] * args.out[2];
  if (index < 0 || index >= size) {
    record_out_of_bounds(args.error_block, 0, index, size);
    return;
  }
  const uint32_t width = (uint32_t)args.out[2], height = (uint32_t)args.out[1];
  const uint32_t row = (uint32_t)index / width, x = (uint32_t)index - row * width, z = row / height, y = row - z * height;
  const T value = *element_of<T>(args.input, place);
  const global_ptr<T> to = channel_of<T>(args.output, place) + offset_of(args.output, (int32_t)z, (int32_t)y, (int32_t)x);
  if constexpr (Add) atomic_add((global_ptr<char>)to, value);
  else *to = value;
}

}  // namespace usbgpu_family

#define USBGPU_POOL(symbol, form, T, windows) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::PoolArgs args) { usbgpu_family::form<T, usbgpu_family::windows>(args); }
#define USBGPU_POOL_SCATTER(symbol, T, add) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::PoolArgs args) { usbgpu_family::pool_scatter<T, add>(args); }
