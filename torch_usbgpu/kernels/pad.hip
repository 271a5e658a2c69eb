// Padding by reflection or by repeating the border. The gradient of an input is gathered from the
// outputs that show it, so there are no atomics, nothing to clear before, and one result for all runs.
#include "pad_args.h"
#include "spatial.h"

namespace usbgpu_family {

template <uint32_t Bytes> struct moved;
template <> struct moved<1> { using type = uint8_t; };
template <> struct moved<2> { using type = uint16_t; };
template <> struct moved<4> { using type = uint32_t; };
template <> struct moved<8> { using type = uint64_t; };

// ---- along one axis: the input of output o, and all outputs of input i

struct Reflect {
  USBGPU_INLINE static int32_t input(const PadArgs& args, uint32_t axis, int32_t o) {
    int32_t i = o - args.before[axis];
    i = i < 0 ? -i : i;
    return i < args.in[axis] ? i : 2 * (args.in[axis] - 1) - i;
  }
  // itself, and its images in the two borders (which are not their own images)
  int32_t at[3];
  USBGPU_INLINE Reflect(const PadArgs& args, uint32_t axis, int32_t i) {
    const int32_t before = args.before[axis], last = args.in[axis] - 1;
    at[0] = i + before;
    at[1] = i > 0 ? before - i : -1;
    at[2] = i < last ? before + 2 * last - i : -1;
  }
  USBGPU_INLINE int32_t count() const { return 3; }
  USBGPU_INLINE int32_t output(int32_t k) const { return k == 0 ? at[0] : k == 1 ? at[1] : at[2]; }
};

struct Replicate {
  USBGPU_INLINE static int32_t input(const PadArgs& args, uint32_t axis, int32_t o) {
    return at_most(at_least(o - args.before[axis], 0), args.in[axis] - 1);
  }
  int32_t first, last;
  USBGPU_INLINE Replicate(const PadArgs& args, uint32_t axis, int32_t i) {
    first = i == 0 ? 0 : i + args.before[axis];
    last = i == args.in[axis] - 1 ? args.out[axis] - 1 : i + args.before[axis];
    first = at_least(first, 0), last = at_most(last, args.out[axis] - 1);
  }
  USBGPU_INLINE int32_t count() const { return last - first + 1; }
  USBGPU_INLINE int32_t output(int32_t k) const { return first + k; }
};

template <uint32_t Bytes, typename Border>
USBGPU_INLINE void pad(const PadArgs& args) {
  using T = typename moved<Bytes>::type;
  const uint32_t i = spatial_thread();
  if (i >= args.walk.count) return;
  const Place place = place_of(args.walk, i);
  const int32_t offset = offset_of(args.input, Border::input(args, 0, place.at[0]), Border::input(args, 1, place.at[1]),
                                   Border::input(args, 2, place.at[2]));
  *element_of<T>(args.output, place) = channel_of<T>(args.input, place)[offset];
}

template <typename T, typename Border>
USBGPU_INLINE void pad_backward(const PadArgs& args) {
  const uint32_t i = spatial_thread();
  if (i >= args.walk.count) return;
  const Place place = place_of(args.walk, i);
  const global_ptr<T> grad = channel_of<T>(args.output, place);
  const Border d(args, 0, place.at[0]), h(args, 1, place.at[1]), w(args, 2, place.at[2]);
  const auto inside = [&](uint32_t axis, int32_t o) __attribute__((device)) { return o >= 0 && o < args.out[axis]; };
  accumulate_t<T> sum = 0;
#pragma clang loop unroll(disable)
  for (int32_t z = 0; z < d.count(); ++z) {
    if (!inside(0, d.output(z))) continue;
#pragma clang loop unroll(disable)
    for (int32_t y = 0; y < h.count(); ++y) {
      if (!inside(1, h.output(y))) continue;
#pragma clang loop unroll(disable)
      for (int32_t x = 0; x < w.count(); ++x) {
        if (inside(2, w.output(x))) {
          sum += convert<accumulate_t<T>>(grad[offset_of(args.output, d.output(z), h.output(y), w.output(x))]);
        }
      }
    }
  }
  *element_of<T>(args.input, place) = convert<T>(sum);
}

}  // namespace usbgpu_family

#define USBGPU_PAD(symbol, bytes, border) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::PadArgs args) { usbgpu_family::pad<bytes, usbgpu_family::border>(args); }
#define USBGPU_PAD_BACKWARD(symbol, T, border) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::PadArgs args) { \
    usbgpu_family::pad_backward<T, usbgpu_family::border>(args); \
  }
