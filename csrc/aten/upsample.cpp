// Resampling (interpolate) and its gradients. Kernels: torch_usbgpu/kernels/upsample.hip.
#include <ATen/native/UpSample.h>
#include <ATen/ops/_upsample_bicubic2d_aa_backward_meta.h>
#include <ATen/ops/_upsample_bicubic2d_aa_backward_ops.h>
#include <ATen/ops/_upsample_bicubic2d_aa_meta.h>
#include <ATen/ops/_upsample_bicubic2d_aa_ops.h>
#include <ATen/ops/_upsample_bilinear2d_aa_backward_meta.h>
#include <ATen/ops/_upsample_bilinear2d_aa_backward_ops.h>
#include <ATen/ops/_upsample_bilinear2d_aa_meta.h>
#include <ATen/ops/_upsample_bilinear2d_aa_ops.h>
#include <ATen/ops/_upsample_lanczos2d_aa_backward_meta.h>
#include <ATen/ops/_upsample_lanczos2d_aa_backward_ops.h>
#include <ATen/ops/_upsample_lanczos2d_aa_meta.h>
#include <ATen/ops/_upsample_lanczos2d_aa_ops.h>
#include <ATen/ops/_upsample_nearest_exact1d_backward_meta.h>
#include <ATen/ops/_upsample_nearest_exact1d_backward_ops.h>
#include <ATen/ops/_upsample_nearest_exact1d_meta.h>
#include <ATen/ops/_upsample_nearest_exact1d_ops.h>
#include <ATen/ops/_upsample_nearest_exact2d_backward_meta.h>
#include <ATen/ops/_upsample_nearest_exact2d_backward_ops.h>
#include <ATen/ops/_upsample_nearest_exact2d_meta.h>
#include <ATen/ops/_upsample_nearest_exact2d_ops.h>
#include <ATen/ops/_upsample_nearest_exact3d_backward_meta.h>
#include <ATen/ops/_upsample_nearest_exact3d_backward_ops.h>
#include <ATen/ops/_upsample_nearest_exact3d_meta.h>
#include <ATen/ops/_upsample_nearest_exact3d_ops.h>
#include <ATen/ops/upsample_bicubic2d_backward_meta.h>
#include <ATen/ops/upsample_bicubic2d_backward_ops.h>
#include <ATen/ops/upsample_bicubic2d_meta.h>
#include <ATen/ops/upsample_bicubic2d_ops.h>
#include <ATen/ops/upsample_bilinear2d_backward_meta.h>
#include <ATen/ops/upsample_bilinear2d_backward_ops.h>
#include <ATen/ops/upsample_bilinear2d_meta.h>
#include <ATen/ops/upsample_bilinear2d_ops.h>
#include <ATen/ops/upsample_linear1d_backward_meta.h>
#include <ATen/ops/upsample_linear1d_backward_ops.h>
#include <ATen/ops/upsample_linear1d_meta.h>
#include <ATen/ops/upsample_linear1d_ops.h>
#include <ATen/ops/upsample_nearest1d_backward_meta.h>
#include <ATen/ops/upsample_nearest1d_backward_ops.h>
#include <ATen/ops/upsample_nearest1d_meta.h>
#include <ATen/ops/upsample_nearest1d_ops.h>
#include <ATen/ops/upsample_nearest2d_backward_meta.h>
#include <ATen/ops/upsample_nearest2d_backward_ops.h>
#include <ATen/ops/upsample_nearest2d_meta.h>
#include <ATen/ops/upsample_nearest2d_ops.h>
#include <ATen/ops/upsample_nearest3d_backward_meta.h>
#include <ATen/ops/upsample_nearest3d_backward_ops.h>
#include <ATen/ops/upsample_nearest3d_meta.h>
#include <ATen/ops/upsample_nearest3d_ops.h>
#include <ATen/ops/upsample_trilinear3d_backward_meta.h>
#include <ATen/ops/upsample_trilinear3d_backward_ops.h>
#include <ATen/ops/upsample_trilinear3d_meta.h>
#include <ATen/ops/upsample_trilinear3d_ops.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/upsample_args.h"
#include "aten/backend/fallback.h"
#include "aten/spatial.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::IntArrayRef;
using at::ScalarType;
using at::Tensor;
using usbgpu_family::ResampleAxis;
using usbgpu_family::UpsampleArgs;

enum class Filter { nearest, nearest_exact, linear, cubic, smooth_linear, smooth_cubic, smooth_lanczos };
constexpr const char* kFilters[] = {"Nearest", "NearestExact", "Linear", "Cubic", "SmoothLinear", "SmoothCubic", "SmoothLanczos"};

using Scale = std::optional<double>;
struct Options {
  bool align_corners = false;
  Scale scales[3];   // the last `axes` of them, in order
};
template <class... Scales>
Options options_of(bool align_corners, Scales... scales) {
  Options result{align_corners, {}};
  int next = 3 - static_cast<int>(sizeof...(scales));
  ((result.scales[next++] = scales), ...);
  return result;
}
template <class... Scales>
Options options_of(Scale first, Scales... scales) { return options_of(false, first, scales...); }

bool has_kernel(Filter filter, ScalarType type, bool backward) {
  if (!dtype_supported(type)) return false;
  // ATen resamples bytes with its own fixed-point arithmetic: only copies of them are ours
  return at::isFloatingType(type) || (filter == Filter::nearest || filter == Filter::nearest_exact ? type == at::kByte && !backward : false);
}

// Scale factors may be given that do not fit the sizes. Where the sizes are equal, or one is twice the
// other, ATen's CPU kernels then do one of two things, not always the same in both directions; so do we.
bool sizes_decide(Filter filter, bool backward, int axes, bool channels_last) {
  switch (filter) {
    case Filter::nearest: return backward || axes == 2 || channels_last;
    case Filter::linear: return true;
    case Filter::nearest_exact:
    case Filter::cubic: return false;
    default: return !backward;
  }
}

ResampleAxis axis_of(Filter filter, int64_t in, int64_t out, bool by_size, bool align_corners, Scale scale) {
  ResampleAxis axis{};
  TORCH_CHECK_NOT_IMPLEMENTED(in < INT32_MAX && out < INT32_MAX, "usbgpu resamples axes of less than 2^31 elements");
  axis.in = static_cast<int32_t>(in), axis.out = static_cast<int32_t>(out);
  axis.step32 = at::native::area_pixel_compute_scale<float>(in, out, align_corners, scale);
  axis.step64 = at::native::area_pixel_compute_scale<double>(in, out, align_corners, scale);
  axis.copied = by_size && in == out;
  axis.halved = by_size && filter == Filter::nearest && out == 2 * in;
  if (axis.halved) axis.step32 = 0.5f, axis.step64 = 0.5;
  return axis;
}

// The backward kernel writes `input`, the other one `output`.
void launch_upsample(Filter filter, bool backward, const Tensor& input, const Tensor& output, int axes, const Options& options) {
  const Tensor& written = backward ? input : output;
  if (written.numel() == 0) return;
  const ScalarType type = input.scalar_type();
  static KernelCache cache;
  Kernel* kernel = cache.get(key(filter, backward, type), [&]() -> KernelSource {
    const std::string name = kFilters[static_cast<int>(filter)], wide = filter >= Filter::smooth_linear ? "true" : "false";
    const std::string symbol = (backward ? "upsample_backward_" : "upsample_") + name + "_" + dtype_name(type);
    const std::string common = "(" + symbol + ", " + dtype_c_type(type) + ", " + name;
    return {"upsample", symbol, backward ? "USBGPU_UPSAMPLE_BACKWARD" + common + ", " + wide + ")" : "USBGPU_UPSAMPLE" + common + ")"};
  });
  UpsampleArgs args{};
  const SpatialSizes in = spatial_sizes(input.sizes(), axes), out = spatial_sizes(output.sizes(), axes);
  const auto format = input.suggest_memory_format();
  bool by_size = sizes_decide(filter, backward, axes, format != at::MemoryFormat::Contiguous);
  if (filter == Filter::cubic && backward) by_size = std::equal(in.axis, in.axis + 3, out.axis);
  for (int k = 0; k < 3; ++k) {
    const bool missing = k < 3 - axes;
    args.axis[k] = axis_of(filter, in.axis[k], out.axis[k], missing || by_size, options.align_corners, options.scales[k]);
  }
  args.align_corners = options.align_corners;
  const Volume from = volume_of(input, axes), to = volume_of(output, axes);
  each_piece(written, axes, true, [&](const SpatialWalk& walk, int64_t first) {
    args.walk = walk, args.input = from, args.output = to;
    skip_samples(args.input, first, input.element_size());
    skip_samples(args.output, first, output.element_size());
    launch(kernel, grid_of(walk), kSpatialGroup, args);
  });
}

// One operator and its gradient. Given: what the schema has between the sizes and the output.
template <Filter filter, int axes, class Meta, class Op, class BackwardMeta, class BackwardOp, class... Given>
struct Upsample {
  static Tensor& forward(const Tensor& self, IntArrayRef output_size, Given... given, Tensor& out) {
    FALLBACK_IF(!has_kernel(filter, self.scalar_type(), false), Op, self, output_size, given..., out);
    check_same_device("upsample", {{"self", &self}, {"out", &out}});
    OutputOf<Meta> op(out);
    op.meta(self, output_size, given...);
    launch_upsample(filter, false, self, out, axes, options_of(given...));
    return out;
  }
  static Tensor& backward(const Tensor& grad_output, IntArrayRef output_size, IntArrayRef input_size, Given... given,
                          Tensor& grad_input) {
    FALLBACK_IF(!has_kernel(filter, grad_output.scalar_type(), true), BackwardOp, grad_output, output_size, input_size, given...,
                grad_input);
    check_same_device("upsample_backward", {{"grad_output", &grad_output}, {"grad_input", &grad_input}});
    OutputOf<BackwardMeta> op(grad_input);
    op.meta(grad_output, output_size, input_size, given...);
    launch_upsample(filter, true, grad_input, grad_output, axes, options_of(given...));
    return grad_input;
  }
};

#define UPSAMPLE(name, filter, axes, ...)                                                                              \
  do {                                                                                                                 \
    using Entry = Upsample<filter, axes, at::meta::structured_##name, at::_ops::name##_out,                            \
                           at::meta::structured_##name##_backward, at::_ops::name##_backward_grad_input, __VA_ARGS__>; \
    m.impl(#name ".out", &Entry::forward);                                                                             \
    m.impl(#name "_backward.grad_input", &Entry::backward);                                                            \
  } while (false)

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  UPSAMPLE(upsample_nearest1d, Filter::nearest, 1, Scale);
  UPSAMPLE(upsample_nearest2d, Filter::nearest, 2, Scale, Scale);
  UPSAMPLE(upsample_nearest3d, Filter::nearest, 3, Scale, Scale, Scale);
  UPSAMPLE(_upsample_nearest_exact1d, Filter::nearest_exact, 1, Scale);
  UPSAMPLE(_upsample_nearest_exact2d, Filter::nearest_exact, 2, Scale, Scale);
  UPSAMPLE(_upsample_nearest_exact3d, Filter::nearest_exact, 3, Scale, Scale, Scale);
  UPSAMPLE(upsample_linear1d, Filter::linear, 1, bool, Scale);
  UPSAMPLE(upsample_bilinear2d, Filter::linear, 2, bool, Scale, Scale);
  UPSAMPLE(upsample_trilinear3d, Filter::linear, 3, bool, Scale, Scale, Scale);
  UPSAMPLE(upsample_bicubic2d, Filter::cubic, 2, bool, Scale, Scale);
  UPSAMPLE(_upsample_bilinear2d_aa, Filter::smooth_linear, 2, bool, Scale, Scale);
  UPSAMPLE(_upsample_bicubic2d_aa, Filter::smooth_cubic, 2, bool, Scale, Scale);
  UPSAMPLE(_upsample_lanczos2d_aa, Filter::smooth_lanczos, 2, bool, Scale, Scale);
}
#undef UPSAMPLE

}  // namespace
}  // namespace usbgpu::aten
