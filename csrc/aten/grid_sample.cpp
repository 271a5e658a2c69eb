// Sampling at the points of a grid, and its gradients. Kernels: torch_usbgpu/kernels/grid_sample.hip.
#include <ATen/Context.h>
#include <ATen/native/GridSamplerUtils.h>
#include <ATen/ops/grid_sampler_2d_backward_ops.h>
#include <ATen/ops/grid_sampler_2d_ops.h>
#include <ATen/ops/grid_sampler_3d_backward_ops.h>
#include <ATen/ops/grid_sampler_3d_ops.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/grid_sample_args.h"
#include "aten/backend/fallback.h"
#include "aten/spatial.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using at::native::GridSamplerInterpolation;
using usbgpu_family::GridPadding;
using usbgpu_family::GridSampleArgs;

bool floating(const Tensor& self) { return dtype_supported(self.scalar_type()) && at::isFloatingType(self.scalar_type()); }

// [N, D, H, W, coordinates] seen as [N, coordinates, D, H, W]
Tensor coordinates_first(const Tensor& grid) { return grid.movedim(-1, 1); }

void check(int axes, const Tensor& input, const Tensor& grid, int64_t interpolation, int64_t padding) {
  at::native::check_grid_sampler_common(input, grid);
  if (axes == 2) at::native::check_grid_sampler_2d(input, grid);
  else at::native::check_grid_sampler_3d(input, grid, interpolation);
  TORCH_CHECK(interpolation >= 0 && interpolation <= 2, "grid_sampler(): unknown interpolation mode ", interpolation);
  TORCH_CHECK(padding >= 0 && padding <= 2, "grid_sampler(): unknown padding mode ", padding);
  TORCH_CHECK(input.scalar_type() == grid.scalar_type(), "expected scalar type ", input.scalar_type(), " but found ",
              grid.scalar_type());
}

// grad_input (zeros) and grad_grid are undefined forward, and where they are not wanted.
void launch_grid_sample(int axes, bool backward, const Tensor& input, const Tensor& grid_, const Tensor& output,
                        const Tensor& grad_input, const Tensor& grad_grid, int64_t interpolation, int64_t padding, bool align_corners) {
  if (output.numel() == 0) return;
  const ScalarType type = input.scalar_type();
  static KernelCache cache;
  Kernel* kernel = cache.get(key(axes, backward, interpolation, type), [&]() -> KernelSource {
    const auto mode = static_cast<GridSamplerInterpolation>(interpolation);
    const std::string taps = mode == GridSamplerInterpolation::Nearest ? "1" : mode == GridSamplerInterpolation::Bilinear ? "2" : "4";
    const std::string form = backward ? "grid_sample_backward" : "grid_sample", dims = std::to_string(axes);
    const std::string symbol = form + "_" + taps + "_taps_" + dims + "d_" + dtype_name(type);
    return {"grid_sample", symbol,
            "USBGPU_GRID_SAMPLE(" + symbol + ", " + form + ", " + dtype_c_type(type) + ", " + taps + ", " + dims + ")"};
  });
  const Tensor grid = coordinates_first(grid_), to_grid = grad_grid.defined() ? coordinates_first(grad_grid) : Tensor();
  GridSampleArgs args{};
  const SpatialSizes in = spatial_sizes(input.sizes(), axes);
  for (int k = 0; k < 3; ++k) args.in[k] = static_cast<int32_t>(in.axis[k]);
  TORCH_CHECK_NOT_IMPLEMENTED(in.c < INT32_MAX, "usbgpu's grid_sample: ", in.c, " channels are too many");
  args.channels = static_cast<uint32_t>(in.c);
  args.padding = static_cast<GridPadding>(padding), args.align_corners = align_corners;
  const auto volume = [&](const Tensor& tensor) { return tensor.defined() ? volume_of(tensor, axes) : Volume{}; };
  const Volume from = volume(input), to = volume(output), points = volume(grid), sums = volume(grad_input), slopes = volume(to_grid);
  each_piece(output, axes, false, [&](const SpatialWalk& walk, int64_t first) {
    args.walk = walk;
    args.input = from, args.output = to, args.grid = points, args.grad_input = sums, args.grad_grid = slopes;
    for (Volume* part : {&args.input, &args.output, &args.grid, &args.grad_input, &args.grad_grid}) {
      skip_samples(*part, first, input.element_size());
    }
    launch(kernel, grid_of(walk), kSpatialGroup, args);
  });
}

template <int axes, class Op, class BackwardOp>
struct GridSampler {
  static Tensor forward(const Tensor& input, const Tensor& grid, int64_t interpolation, int64_t padding, bool align_corners) {
    FALLBACK_IF(!floating(input), Op, input, grid, interpolation, padding, align_corners);
    check(axes, input, grid, interpolation, padding);
    std::vector<int64_t> sizes = input.sizes().vec();
    for (int k = 0; k < axes; ++k) sizes[2 + k] = grid.size(1 + k);
    const Tensor output = empty(sizes, input.scalar_type());
    launch_grid_sample(axes, false, input, grid, output, Tensor(), Tensor(), interpolation, padding, align_corners);
    return output;
  }

  static std::tuple<Tensor, Tensor> backward(const Tensor& grad_output, const Tensor& input, const Tensor& grid, int64_t interpolation,
                                             int64_t padding, bool align_corners, std::array<bool, 2> wanted) {
    FALLBACK_IF(!floating(input), BackwardOp, grad_output, input, grid, interpolation, padding, align_corners, wanted);
    check(axes, input, grid, interpolation, padding);
    check_same_device("grid_sampler_backward", {{"grad_output", &grad_output}, {"input", &input}, {"grid", &grid}});
    TORCH_CHECK(grad_output.scalar_type() == input.scalar_type(), "expected scalar type ", input.scalar_type(), " but found ",
                grad_output.scalar_type());
    std::vector<int64_t> sizes = input.sizes().vec();
    for (int k = 0; k < axes; ++k) sizes[2 + k] = grid.size(1 + k);
    TORCH_CHECK(grad_output.sizes() == at::IntArrayRef(sizes), "grid_sampler_backward(): expected a gradient of sizes ",
                at::IntArrayRef(sizes), ", but got ", grad_output.sizes());
    if (wanted[0]) at::globalContext().alertNotDeterministic(axes == 2 ? "grid_sampler_2d_backward" : "grid_sampler_3d_backward");
    const Tensor grad_input = wanted[0] ? empty(input.sizes(), input.scalar_type()).zero_() : Tensor();
    const Tensor grad_grid = wanted[1] ? empty(grid.sizes(), grid.scalar_type()) : Tensor();
    if (wanted[1] && grad_output.numel() == 0) grad_grid.zero_();
    launch_grid_sample(axes, true, input, grid, grad_output, grad_input, grad_grid, interpolation, padding, align_corners);
    return {grad_input, grad_grid};
  }
};

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  using Planes = GridSampler<2, at::_ops::grid_sampler_2d, at::_ops::grid_sampler_2d_backward>;
  using Volumes = GridSampler<3, at::_ops::grid_sampler_3d, at::_ops::grid_sampler_3d_backward>;
  m.impl("grid_sampler_2d", &Planes::forward);
  m.impl("grid_sampler_2d_backward", &Planes::backward);
  m.impl("grid_sampler_3d", &Volumes::forward);
  m.impl("grid_sampler_3d_backward", &Volumes::backward);
}

}  // namespace
}  // namespace usbgpu::aten
