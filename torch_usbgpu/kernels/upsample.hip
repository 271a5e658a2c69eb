// Resampling: nearest, linear, cubic, and anti-aliased filters, separable over one to three axes.
//
// A Filter says, per axis, which inputs an output is made of ("taps") and with what weights. The
// gradient of an input is gathered from the outputs that may have it among their taps: they are
// found by inverting the affine map with a margin, and weighed by the very same code as forward.
// So there are no atomics, nothing to clear before, and one result for all runs.
#include "spatial.h"
#include "upsample_args.h"

namespace usbgpu_family {

template <typename Real>
USBGPU_INLINE Real step_of(const ResampleAxis& axis) {
  if constexpr (sizeof(Real) == 8) return axis.step64;
  else return axis.step32;
}

// Position of output o in the input, of pixel centres or (align_corners) of corners. One rounding, as
// where ATen is compiled for a CPU with FMA.
template <typename Real>
USBGPU_INLINE Real source_of(const ResampleAxis& axis, int32_t o, bool align_corners) {
  const Real step = step_of<Real>(axis);
  return align_corners ? step * (Real)o : __builtin_elementwise_fma(step, (Real)o + (Real)0.5, (Real)-0.5);
}

// ---- filters: taps of output o; input(k) is always inside the axis

// Nearest neighbours are chosen in f32 whatever the dtype, as torch does on every device.
template <typename Real>
struct Nearest {
  static constexpr int32_t reach = 1;
  int32_t first;
  USBGPU_INLINE Nearest(const ResampleAxis& axis, int32_t o, bool) {
    if (axis.copied) first = o;
    else if (axis.halved) first = o >> 1;
    else first = at_most((int32_t)__builtin_floorf((float)o * axis.step32), axis.in - 1);
  }
  USBGPU_INLINE int32_t taps() const { return 1; }
  USBGPU_INLINE int32_t input(int32_t) const { return first; }
  USBGPU_INLINE Real weight(int32_t) const { return 1; }
};

template <typename Real>
struct NearestExact {
  static constexpr int32_t reach = 1;
  int32_t first;
  USBGPU_INLINE NearestExact(const ResampleAxis& axis, int32_t o, bool) {
    first = axis.copied ? o : at_most((int32_t)__builtin_floorf(((float)o + 0.5f) * axis.step32), axis.in - 1);
  }
  USBGPU_INLINE int32_t taps() const { return 1; }
  USBGPU_INLINE int32_t input(int32_t) const { return first; }
  USBGPU_INLINE Real weight(int32_t) const { return 1; }
};

template <typename Real>
struct Linear {
  static constexpr int32_t reach = 2;
  int32_t first, second;
  Real fraction;
  USBGPU_INLINE Linear(const ResampleAxis& axis, int32_t o, bool align_corners) {
    first = second = o, fraction = 0;
    if (axis.copied) return;
    Real source = source_of<Real>(axis, o, align_corners);
    source = source < 0 ? 0 : source;
    first = at_most((int32_t)__builtin_floorf((float)source), axis.in - 1);
    fraction = source - (Real)first;
    fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
    second = first < axis.in - 1 ? first + 1 : first;
  }
  USBGPU_INLINE int32_t taps() const { return second == first ? 1 : 2; }
  USBGPU_INLINE int32_t input(int32_t k) const { return k ? second : first; }
  USBGPU_INLINE Real weight(int32_t k) const { return second == first ? (Real)1 : k ? fraction : (Real)1 - fraction; }
};

// Keys, "Cubic convolution interpolation for digital image processing" (1981), parameter a.
template <typename Real>
USBGPU_INLINE Real cubic_near(Real x, Real a) { return ((a + 2) * x - (a + 3)) * x * x + 1; }      // |x| <= 1
template <typename Real>
USBGPU_INLINE Real cubic_far(Real x, Real a) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; }  // 1 < |x| < 2

template <typename Real>
struct Cubic {
  static constexpr int32_t reach = 3;
  int32_t first, last, copied;
  Real fraction;
  USBGPU_INLINE Cubic(const ResampleAxis& axis, int32_t o, bool align_corners) {
    first = o, last = axis.in - 1, copied = (int32_t)axis.copied, fraction = 0;
    if (copied) return;
    const Real source = source_of<Real>(axis, o, align_corners);
    first = at_most((int32_t)__builtin_floorf((float)source), last);
    fraction = source - (Real)first;
    fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
  }
  USBGPU_INLINE int32_t taps() const { return copied ? 1 : 4; }
  USBGPU_INLINE int32_t input(int32_t k) const { return copied ? first : at_most(at_least(first + k - 1, 0), last); }
  USBGPU_INLINE Real weight(int32_t k) const {
    const Real a = (Real)-0.75;
    if (copied) return 1;
    const Real x = k < 2 ? fraction : (Real)1 - fraction;
    return k == 0 || k == 3 ? cubic_far(x + 1, a) : cubic_near(x, a);
  }
};

// Anti-aliased: the filter is widened to the step, its weights are normalised, and it ends at the borders.
struct Triangle {
  static constexpr int32_t width = 2;
  template <typename Real> USBGPU_INLINE static Real at(Real x) {
    x = x < 0 ? -x : x;
    return x < 1 ? 1 - x : (Real)0;
  }
};
struct CatmullRom {
  static constexpr int32_t width = 4;
  template <typename Real> USBGPU_INLINE static Real at(Real x) {
    x = x < 0 ? -x : x;
    return x < 1 ? cubic_near(x, (Real)-0.5) : x < 2 ? cubic_far(x, (Real)-0.5) : (Real)0;
  }
};
struct Lanczos3 {
  static constexpr int32_t width = 6;
  template <typename Real> USBGPU_INLINE static Real sinc(Real x) {
    if (x == 0) return 1;
    if constexpr (sizeof(Real) == 8) return sinpi(x) / (x * (Real)3.14159265358979323846);
    else return sinpif(x) / (x * (Real)3.14159265358979323846);
  }
  template <typename Real> USBGPU_INLINE static Real at(Real x) { return x > -3 && x < 3 ? sinc(x) * sinc(x / 3) : (Real)0; }
};

template <typename Real, typename Shape>
struct Smooth {
  static constexpr int32_t reach = 1 + Shape::width / 2;
  int32_t first, count;
  Real centre, inverse, scale;
  USBGPU_INLINE Smooth(const ResampleAxis& axis, int32_t o, bool) {
    first = o, count = 1, centre = 0, inverse = 0, scale = 1;
    if (axis.copied) return;
    const Real step = step_of<Real>(axis), wide = step >= 1 ? step : (Real)1;
    const Real support = (Real)(Shape::width * 0.5) * wide;
    inverse = step >= 1 ? (Real)1 / step : (Real)1;
    centre = step * ((Real)o + (Real)0.5);
    first = at_least((int32_t)(centre - support + (Real)0.5), 0);
    count = at_most((int32_t)(centre + support + (Real)0.5), axis.in) - first;
    Real sum = 0;
#pragma clang loop unroll(disable)
    for (int32_t k = 0; k < count; ++k) sum += raw(k);
    scale = sum != 0 ? (Real)1 / sum : (Real)1;
  }
  USBGPU_INLINE Real raw(int32_t k) const { return Shape::at(((Real)(k + first) - centre + (Real)0.5) * inverse); }
  USBGPU_INLINE int32_t taps() const { return count; }
  USBGPU_INLINE int32_t input(int32_t k) const { return first + k; }
  USBGPU_INLINE Real weight(int32_t k) const { return inverse == 0 ? (Real)1 : raw(k) * scale; }
};
template <typename Real> using SmoothLinear = Smooth<Real, Triangle>;
template <typename Real> using SmoothCubic = Smooth<Real, CatmullRom>;
template <typename Real> using SmoothLanczos = Smooth<Real, Lanczos3>;

// ---- forward

template <typename T, template <typename> typename Filter>
USBGPU_INLINE void upsample(const UpsampleArgs& args) {
  using Real = typename select<traits<T>::floating, accumulate_t<T>, float>::type;
  const uint32_t i = spatial_thread();
  if (i >= args.walk.count) return;
  const Place place = place_of(args.walk, i);
  const global_ptr<T> input = channel_of<T>(args.input, place);
  const bool align = args.align_corners;
  const Filter<Real> d(args.axis[0], place.at[0], align), h(args.axis[1], place.at[1], align), w(args.axis[2], place.at[2], align);
  if constexpr (Filter<Real>::reach == 1) {   // a copy: also of what is no number
    *element_of<T>(args.output, place) = input[offset_of(args.input, d.input(0), h.input(0), w.input(0))];
  } else {
    Real sum = 0;
#pragma clang loop unroll(disable)
    for (int32_t z = 0; z < d.taps(); ++z) {
      Real plane = 0;
#pragma clang loop unroll(disable)
      for (int32_t y = 0; y < h.taps(); ++y) {
        const global_ptr<T> row = input + offset_of(args.input, d.input(z), h.input(y), 0);
        Real line = 0;
#pragma clang loop unroll(disable)
        for (int32_t x = 0; x < w.taps(); ++x) line += convert<Real>(row[w.input(x) * args.input.stride[2]]) * w.weight(x);
        plane += line * h.weight(y);
      }
      sum += plane * d.weight(z);
    }
    *element_of<T>(args.output, place) = convert<T>(sum);
  }
}

// ---- backward

// Outputs that may have input i among their taps. An affine map that does not fit the sizes (scale
// factors given beside them) makes borders serve many outputs: they look at all of that side.
template <typename Real, int32_t Reach, bool Wide>
USBGPU_INLINE void candidates(const ResampleAxis& axis, int32_t i, bool align_corners, int32_t& start, int32_t& end) {
  start = 0, end = axis.out;
  if (axis.copied) {
    start = i, end = i + 1;
    return;
  }
  const float step = axis.step32;
  if (!(step > 0)) return;
  const float reach = Wide && step > 1 ? (float)Reach * step : (float)Reach, shift = align_corners ? 0.0f : 0.5f;
  const float low = ((float)i - reach + shift) / step - shift, high = ((float)i + reach + shift) / step - shift;
  // beyond 2^24 a float misses by more than the margin
  const float slack = 2.0f + __builtin_fabsf(high) * 4e-7f;
  if (i > 0) start = (int32_t)__builtin_fmaxf(__builtin_floorf(low) - slack, 0.0f);
  if (i < axis.in - 1) end = (int32_t)__builtin_fminf(__builtin_ceilf(high) + slack + 1.0f, (float)axis.out);
  end = at_most(end, axis.out);
}

// Weight of input i in the taps of `filter`: border inputs can be there more than once.
template <typename Real, typename Filter>
USBGPU_INLINE Real weight_of(const Filter& filter, int32_t i) {
  Real sum = 0;
#pragma clang loop unroll(disable)
  for (int32_t k = 0; k < filter.taps(); ++k) {
    if (filter.input(k) == i) sum += filter.weight(k);
  }
  return sum;
}
template <typename Real, typename Shape>
USBGPU_INLINE Real weight_of(const Smooth<Real, Shape>& filter, int32_t i) {
  const int32_t k = i - filter.first;
  return k >= 0 && k < filter.taps() ? filter.weight(k) : (Real)0;
}

template <typename T, template <typename> typename Filter, bool Wide>
USBGPU_INLINE void upsample_backward(const UpsampleArgs& args) {
  using Real = accumulate_t<T>;
  const uint32_t i = spatial_thread();
  if (i >= args.walk.count) return;
  const Place place = place_of(args.walk, i);
  const global_ptr<T> grad = channel_of<T>(args.output, place);
  const bool align = args.align_corners;
  int32_t start[3], end[3];
#pragma unroll
  for (uint32_t axis = 0; axis < 3; ++axis) {
    candidates<Real, Filter<Real>::reach, Wide>(args.axis[axis], place.at[axis], align, start[axis], end[axis]);
  }
  Real sum = 0;
#pragma clang loop unroll(disable)
  for (int32_t z = start[0]; z < end[0]; ++z) {
    const Real deep = weight_of<Real>(Filter<Real>(args.axis[0], z, align), place.at[0]);
    if (deep == 0) continue;
#pragma clang loop unroll(disable)
    for (int32_t y = start[1]; y < end[1]; ++y) {
      const Real high = weight_of<Real>(Filter<Real>(args.axis[1], y, align), place.at[1]);
      if (high == 0) continue;
      Real line = 0;
#pragma clang loop unroll(disable)
      for (int32_t x = start[2]; x < end[2]; ++x) {
        const Real wide = weight_of<Real>(Filter<Real>(args.axis[2], x, align), place.at[2]);
        if (wide != 0) line += convert<Real>(grad[offset_of(args.output, z, y, x)]) * wide;
      }
      sum += line * high * deep;
    }
  }
  *element_of<T>(args.input, place) = convert<T>(sum);
}

}  // namespace usbgpu_family

#define USBGPU_UPSAMPLE(symbol, T, filter) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::UpsampleArgs args) { \
    usbgpu_family::upsample<T, usbgpu_family::filter>(args); \
  }
#define USBGPU_UPSAMPLE_BACKWARD(symbol, T, filter, wide) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::UpsampleArgs args) { \
    usbgpu_family::upsample_backward<T, usbgpu_family::filter, wide>(args); \
  }
