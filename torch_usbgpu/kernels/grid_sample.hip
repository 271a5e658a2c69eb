// Sampling at the points of a grid (spatial transformers): a thread per point, which goes through the
// channels. Points are anywhere, so the gradient of the input is scattered by atomics; that of the
// grid is summed in one thread.
#include "atomics.h"
#include "grid_sample_args.h"
#include "spatial.h"

namespace usbgpu_family {

template <typename Real>
USBGPU_INLINE Real unnormalised(Real x, int32_t size, bool align) {
  return align ? (x + 1) / 2 * (Real)(size - 1) : ((x + 1) * (Real)size - 1) / 2;
}

// A coordinate that is no number becomes 0 among pixels, and the far end among voxels, as on the CPU.
template <int Axes, typename Real>
USBGPU_INLINE Real clipped(Real x, int32_t size, Real& slope) {
  const Real last = (Real)(size - 1);
  if (!(x > 0 && x < last)) slope = 0;
  if constexpr (Axes == 2) return x > 0 ? (x < last ? x : last) : (Real)0;
  else return x < last ? (x > 0 ? x : (Real)0) : last;
}

// Reflected about the borders (the centres of the border pixels if align_corners) as often as needed.
template <typename Real>
USBGPU_INLINE Real reflected(Real x, int32_t size, bool align, Real& slope) {
  const Real low = align ? (Real)0 : (Real)-0.5, span = align ? (Real)(size - 1) : (Real)size;
  if (span == 0) {
    slope = 0;
    return 0;
  }
  if (x < low) slope = -slope;
  x = x < low ? low - x : x - low;
  const Real flips = __builtin_elementwise_floor(x / span), rest = x - flips * span;
  const bool odd = flips - 2 * __builtin_elementwise_floor(flips / 2) != 0;
  if (odd) slope = -slope;
  return odd ? span - rest + low : rest + low;
}

template <int Axes, typename Real>
USBGPU_INLINE Real padded(const GridSampleArgs& args, Real x, int32_t size, Real& slope) {
  if (args.padding == GridPadding::reflection) x = reflected(x, size, args.align_corners, slope);
  if (args.padding != GridPadding::zeros) x = clipped<Axes>(x, size, slope);
  return x;
}

// ---- taps along one axis: places, weights, and how the weights change with the grid's coordinate

template <typename Real, int Taps>
struct AxisTaps {
  int32_t index[Taps];     // 0 where the tap is outside
  bool inside[Taps];
  Real weight[Taps], slope[Taps];
  USBGPU_INLINE void place(int k, Real x, int32_t size) {
    inside[k] = x >= 0 && x < (Real)size;    // not a number is outside
    index[k] = inside[k] ? (int32_t)x : 0;
  }
};

template <typename Real>
USBGPU_INLINE void cubic_taps(Real t, Real* weight, Real* slope) {   // Keys 1981, a = -0.75
  const Real a = (Real)-0.75;
  const auto near = [&](Real x) __attribute__((device)) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
  const auto far = [&](Real x) __attribute__((device)) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
  const auto near_slope = [&](Real x) __attribute__((device)) { return (3 * (a + 2) * x - 2 * (a + 3)) * x; };
  const auto far_slope = [&](Real x) __attribute__((device)) { return (3 * a * x - 10 * a) * x + 8 * a; };
  weight[0] = far(t + 1), weight[1] = near(t), weight[2] = near(1 - t), weight[3] = far(2 - t);
  slope[0] = far_slope(t + 1), slope[1] = near_slope(t), slope[2] = -near_slope(1 - t), slope[3] = -far_slope(2 - t);
}

template <typename Real, int Taps, int Axes>
USBGPU_INLINE AxisTaps<Real, Taps> taps_of(const GridSampleArgs& args, Real coordinate, int32_t size) {
  AxisTaps<Real, Taps> taps;
  const bool align = args.align_corners;
  Real x = unnormalised(coordinate, size, align), scale = align ? (Real)(size - 1) / 2 : (Real)size / 2;
  if constexpr (Taps == 4) {
    const Real first = __builtin_elementwise_floor(x);
    cubic_taps(x - first, taps.weight, taps.slope);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      Real unused = 1;
      taps.place(k, padded<Axes>(args, first + (Real)(k - 1), size, unused), size);
      taps.slope[k] *= scale;
    }
  } else {
    x = padded<Axes>(args, x, size, scale);
    if constexpr (Taps == 1) {
      taps.place(0, __builtin_elementwise_roundeven(x), size);
      taps.weight[0] = 1, taps.slope[0] = 0;
    } else {
      const Real first = __builtin_elementwise_floor(x);
      taps.place(0, first, size);
      taps.place(1, first + 1, size);
      taps.weight[0] = first + 1 - x, taps.weight[1] = x - first;
      taps.slope[0] = -scale, taps.slope[1] = scale;
    }
  }
  return taps;
}

// An axis that is not there
template <typename Real>
USBGPU_INLINE AxisTaps<Real, 1> whole_axis() {
  AxisTaps<Real, 1> taps;
  taps.index[0] = 0, taps.inside[0] = true, taps.weight[0] = 1, taps.slope[0] = 0;
  return taps;
}

template <typename T, int Taps, int Axes>
struct Sampler {
  using Real = accumulate_t<T>;
  static constexpr int deep = Axes == 3 ? Taps : 1;
  AxisTaps<Real, deep> d;
  AxisTaps<Real, Taps> h, w;

  USBGPU_INLINE Sampler(const GridSampleArgs& args, const Place& place) {
    const global_ptr<T> grid = element_of<T>(args.grid, place);
    w = taps_of<Real, Taps, Axes>(args, convert<Real>(grid[0]), args.in[2]);
    h = taps_of<Real, Taps, Axes>(args, convert<Real>(grid[args.grid.c]), args.in[1]);
    if constexpr (Axes == 3) d = taps_of<Real, Taps, Axes>(args, convert<Real>(grid[2 * args.grid.c]), args.in[0]);
    else d = whole_axis<Real>();
  }
  // visit(z, y, x, inside)
  template <typename Visit>
  USBGPU_INLINE void each(Visit visit) const {
#pragma unroll
    for (int z = 0; z < deep; ++z) {
#pragma unroll
      for (int y = 0; y < Taps; ++y) {
#pragma unroll
        for (int x = 0; x < Taps; ++x) visit(z, y, x, d.inside[z] && h.inside[y] && w.inside[x]);
      }
    }
  }
};

template <typename T, int Taps, int Axes>
USBGPU_INLINE void grid_sample(const GridSampleArgs& args) {
  using Real = accumulate_t<T>;
  const uint32_t i = spatial_thread();
  if (i >= args.walk.count) return;
  const Place place = place_of(args.walk, i);
  const Sampler<T, Taps, Axes> at(args, place);
  global_ptr<T> input = channel_of<T>(args.input, place.n, 0), output = element_of<T>(args.output, place);
#pragma clang loop unroll(disable)
  for (uint32_t c = 0; c < args.channels; ++c) {
    Real sum = 0;
    at.each([&](int z, int y, int x, bool inside) __attribute__((device)) {
      const Real value = inside ? convert<Real>(input[offset_of(args.input, at.d.index[z], at.h.index[y], at.w.index[x])]) : (Real)0;
      const Real product = value * (at.h.weight[y] * at.w.weight[x] * at.d.weight[z]);
      // beside pixels, weights that are no numbers show; beside voxels and for single taps they do not
      if (inside || (Axes == 2 && Taps > 1)) sum += product;
    });
    *output = convert<T>(sum);
    input += args.input.c, output += args.output.c;
  }
}

template <typename T, int Taps, int Axes>
USBGPU_INLINE void grid_sample_backward(const GridSampleArgs& args) {
  using Real = accumulate_t<T>;
  const uint32_t i = spatial_thread();
  if (i >= args.walk.count) return;
  const Place place = place_of(args.walk, i);
  const Sampler<T, Taps, Axes> at(args, place);
  global_ptr<T> input = channel_of<T>(args.input, place.n, 0), grad = element_of<T>(args.output, place);
  global_ptr<T> grad_input = channel_of<T>(args.grad_input, place.n, 0);
  const bool to_input = args.grad_input.address != 0, to_grid = args.grad_grid.address != 0;
  Real gx = 0, gy = 0, gz = 0;
#pragma clang loop unroll(disable)
  for (uint32_t c = 0; c < args.channels; ++c) {
    const Real g = convert<Real>(*grad);
    at.each([&](int z, int y, int x, bool inside) __attribute__((device)) {
      if (!inside) return;
      const int32_t iz = at.d.index[z], iy = at.h.index[y], ix = at.w.index[x];
      if (to_input) {
        const Real share = g * (at.h.weight[y] * at.w.weight[x] * at.d.weight[z]);
        atomic_add((global_ptr<char>)(grad_input + offset_of(args.grad_input, iz, iy, ix)), convert<T>(share));
      }
      if (to_grid && Taps > 1) {
        const Real value = g * convert<Real>(input[offset_of(args.input, iz, iy, ix)]);
        gx += value * at.w.slope[x] * at.h.weight[y] * at.d.weight[z];
        gy += value * at.w.weight[x] * at.h.slope[y] * at.d.weight[z];
        if constexpr (Axes == 3) gz += value * at.w.weight[x] * at.h.weight[y] * at.d.slope[z];
      }
    });
    input += args.input.c, grad += args.output.c, grad_input += args.grad_input.c;
  }
  if (to_grid) {
    const global_ptr<T> to = element_of<T>(args.grad_grid, place);
    to[0] = convert<T>(gx), to[args.grad_grid.c] = convert<T>(gy);
    if constexpr (Axes == 3) to[2 * args.grad_grid.c] = convert<T>(gz);
  }
}

}  // namespace usbgpu_family

#define USBGPU_GRID_SAMPLE(symbol, form, T, taps, axes) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::GridSampleArgs args) { usbgpu_family::form<T, taps, axes>(args); }
