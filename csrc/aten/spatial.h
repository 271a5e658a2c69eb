// Tensors with one to three spatial dimensions for the kernels that walk over [N, C, D, H, W]
// (torch_usbgpu/kernels/spatial_args.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "../../torch_usbgpu/kernels/spatial_args.h"
#include "aten/arguments.h"
#include "aten/launch.h"

namespace usbgpu::aten {

using usbgpu_family::SpatialWalk;
using usbgpu_family::Volume;

struct SpatialSizes {
  int64_t n = 1, c = 1, axis[3] = {1, 1, 1};   // d, h, w
};

// The last `axes` dimensions of a tensor are spatial; before them come the channels, and the batch if there is one.
inline SpatialSizes spatial_sizes(at::IntArrayRef sizes, int axes) {
  SpatialSizes result;
  const int dims = static_cast<int>(sizes.size());
  for (int k = 0; k < axes; ++k) result.axis[3 - axes + k] = sizes[dims - axes + k];
  if (dims > axes) result.c = sizes[dims - axes - 1];
  if (dims > axes + 1) result.n = sizes[0];
  return result;
}

inline Volume volume_of(const at::Tensor& tensor, int axes) {
  Volume volume{};
  const int dims = static_cast<int>(tensor.dim());
  volume.address = address(tensor);
  int64_t reach = 0, elements = 1;
  for (int k = 0; k < axes; ++k) {
    const int64_t size = tensor.size(dims - axes + k), stride = size > 1 ? tensor.stride(dims - axes + k) : 0;
    reach += std::max<int64_t>(size - 1, 0) * stride, elements *= size;
    volume.stride[3 - axes + k] = static_cast<int32_t>(stride);
  }
  TORCH_CHECK_NOT_IMPLEMENTED(reach < INT32_MAX && elements < INT32_MAX, "usbgpu's pooling, padding and sampling kernels need "
                              "channels of less than 2^31 elements, got ", tensor.sizes());
  if (dims > axes) volume.c = tensor.stride(dims - axes - 1);
  if (dims > axes + 1) volume.n = tensor.stride(0);
  return volume;
}

// Calls f(walk, first sample) for pieces of the batch that a launch can number: at most 2^31 - 1 threads.
// `written`: the tensor that the threads stand for. channels = false leaves them out (one thread for all).
template <class F>
void each_piece(const at::Tensor& written, int axes, bool channels, F&& f) {
  if (written.numel() == 0) return;
  const SpatialSizes sizes = spatial_sizes(written.sizes(), axes);
  const int64_t c = channels ? sizes.c : 1, sample = c * sizes.axis[0] * sizes.axis[1] * sizes.axis[2];
  TORCH_CHECK_NOT_IMPLEMENTED(sample < INT32_MAX, "usbgpu's pooling, padding and sampling kernels write samples of less than "
                              "2^31 elements, got ", written.sizes());
  const int64_t channel_stride = written.dim() > axes ? written.stride(written.dim() - axes - 1) : 0;
  SpatialWalk walk{};
  walk.channels_last = channels && channel_stride == 1 && c > 1;
  const int64_t digits[4] = {sizes.axis[2], sizes.axis[1], sizes.axis[0], c};
  for (int k = 0; k < 4; ++k) {
    walk.digit[k] = divisor(static_cast<uint32_t>(walk.channels_last ? digits[(k + 3) % 4] : digits[k]));
  }
  const int64_t step = std::max<int64_t>(INT32_MAX / sample, 1);
  for (int64_t first = 0; first < sizes.n; first += step) {
    walk.count = static_cast<uint32_t>(std::min(step, sizes.n - first) * sample);
    f(walk, first);
  }
}

inline void skip_samples(Volume& volume, int64_t samples, size_t element_size) {
  if (volume.address) volume.address += static_cast<uint64_t>(samples * volume.n * static_cast<int64_t>(element_size));
}

inline Dim3 grid_of(const SpatialWalk& walk) { return {ceil_div(walk.count, 256), 1, 1}; }
inline constexpr Dim3 kSpatialGroup{256, 1, 1};

// "expected dtype Float for `grad_output` but got dtype Double"
inline void check_same_dtype(const at::Tensor& self, const at::Tensor& other, const char* name) {
  TORCH_CHECK(self.scalar_type() == other.scalar_type(), "expected dtype ", self.scalar_type(), " for `", name,
              "` but got dtype ", other.scalar_type());
}

}  // namespace usbgpu::aten

// Sends dtypes that the kernels do not have to the CPU, counted. All arguments of the schema, in order.
#define FALLBACK_IF(condition, Op, ...)                                                               \
  if (C10_UNLIKELY(condition))                                                                        \
  return at::native::call_fallback_fn<&::usbgpu::aten::boxed_fallback, Op>::call(__VA_ARGS__)
