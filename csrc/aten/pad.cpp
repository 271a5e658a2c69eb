// Padding by reflection and by repeating the border. Kernels: torch_usbgpu/kernels/pad.hip.
#include <ATen/native/Padding.h>
#include <ATen/ops/reflection_pad1d_backward_meta.h>
#include <ATen/ops/reflection_pad1d_backward_ops.h>
#include <ATen/ops/reflection_pad1d_meta.h>
#include <ATen/ops/reflection_pad1d_ops.h>
#include <ATen/ops/reflection_pad2d_backward_ops.h>
#include <ATen/ops/reflection_pad2d_ops.h>
#include <ATen/ops/reflection_pad3d_backward_meta.h>
#include <ATen/ops/reflection_pad3d_backward_ops.h>
#include <ATen/ops/reflection_pad3d_meta.h>
#include <ATen/ops/reflection_pad3d_ops.h>
#include <ATen/ops/replication_pad1d_backward_meta.h>
#include <ATen/ops/replication_pad1d_backward_ops.h>
#include <ATen/ops/replication_pad1d_meta.h>
#include <ATen/ops/replication_pad1d_ops.h>
#include <ATen/ops/replication_pad2d_backward_ops.h>
#include <ATen/ops/replication_pad2d_meta.h>
#include <ATen/ops/replication_pad2d_ops.h>
#include <ATen/ops/replication_pad3d_backward_ops.h>
#include <ATen/ops/replication_pad3d_meta.h>
#include <ATen/ops/replication_pad3d_ops.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/pad_args.h"
#include "aten/backend/fallback.h"
#include "aten/spatial.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::IntArrayRef;
using at::ScalarType;
using at::Tensor;
using usbgpu_family::PadArgs;

enum class Border { reflect, replicate };

// Elements are only moved: complex64 moves like any other 8 bytes. (There is no padding of bools.)
bool moved(const Tensor& self) {
  const ScalarType type = self.scalar_type();
  return (dtype_supported(type) && type != at::kBool) || type == at::kComplexFloat;
}
bool summed(const Tensor& self) { return dtype_supported(self.scalar_type()) && at::isFloatingType(self.scalar_type()); }

// Forward writes `output`, backward writes `input`. padding: of the last axis first, before and after.
void launch_pad(Border border, bool backward, const Tensor& input, const Tensor& output, int axes, IntArrayRef padding) {
  const Tensor& written = backward ? input : output;
  if (written.numel() == 0) return;
  const ScalarType type = input.scalar_type();
  const uint64_t what = backward ? static_cast<uint64_t>(type) : input.element_size();
  static KernelCache cache;
  Kernel* kernel = cache.get(key(border, backward, what), [&]() -> KernelSource {
    const std::string name = border == Border::reflect ? "Reflect" : "Replicate";
    if (backward) {
      const std::string symbol = "pad_backward_" + name + "_" + dtype_name(type);
      return {"pad", symbol, "USBGPU_PAD_BACKWARD(" + symbol + ", " + dtype_c_type(type) + ", " + name + ")"};
    }
    const std::string bytes = std::to_string(input.element_size()), symbol = "pad_" + name + "_" + bytes;
    return {"pad", symbol, "USBGPU_PAD(" + symbol + ", " + bytes + ", " + name + ")"};
  });
  PadArgs args{};
  const SpatialSizes in = spatial_sizes(input.sizes(), axes), out = spatial_sizes(output.sizes(), axes);
  for (int k = 0; k < 3; ++k) {
    args.in[k] = static_cast<int32_t>(in.axis[k]), args.out[k] = static_cast<int32_t>(out.axis[k]);
    if (k < axes) args.before[2 - k] = static_cast<int32_t>(padding[2 * k]);
  }
  const Volume from = volume_of(input, axes), to = volume_of(output, axes);
  each_piece(written, axes, true, [&](const SpatialWalk& walk, int64_t first) {
    args.walk = walk, args.input = from, args.output = to;
    skip_samples(args.input, first, input.element_size());
    skip_samples(args.output, first, output.element_size());
    launch(kernel, grid_of(walk), kSpatialGroup, args);
  });
}

// ---- operators that are not structured: the checks are ours to make

std::vector<int64_t> padded_sizes(const Tensor& self, int axes, IntArrayRef padding) {
  std::vector<int64_t> sizes = self.sizes().vec();
  for (int k = 0; k < axes; ++k) sizes[sizes.size() - 1 - k] += padding[2 * k] + padding[2 * k + 1];
  return sizes;
}

struct NoMeta {};

void check_reflection2d(const Tensor& self, IntArrayRef padding) {
  at::native::padding::check_valid_input<2>(self, padding);
  const int64_t last = self.dim() - 1;
  for (int k = 0; k < 2; ++k) {
    const int64_t d = last - k, size = self.size(d);
    TORCH_CHECK(padding[2 * k] < size && padding[2 * k + 1] < size, "Argument #", 4 + 2 * k,
                ": Padding size should be less than the corresponding input dimension, but got: padding (", padding[2 * k], ", ",
                padding[2 * k + 1], ") at dimension ", d, " of input ", self.sizes());
  }
  const std::vector<int64_t> sizes = padded_sizes(self, 2, padding);
  TORCH_CHECK(sizes[last] >= 1 && sizes[last - 1] >= 1, "input (H: ", self.size(-2), ", W: ", self.size(-1),
              ") is too small. Calculated output H: ", sizes[last - 1], " W: ", sizes[last]);
}

void check_gradient(const Tensor& grad_output, const Tensor& self, int axes, IntArrayRef padding) {
  TORCH_CHECK(padding.size() == static_cast<size_t>(2 * axes), "padding size is expected to be ", 2 * axes);
  TORCH_CHECK(self.dim() == axes + 1 || self.dim() == axes + 2, "padding backward: expected an input of ", axes + 1, " or ",
              axes + 2, " dimensions, but got ", self.sizes());
  TORCH_CHECK(grad_output.dim() == self.dim(), "padding backward: expected a gradient of ", self.dim(), " dimensions, but got ",
              grad_output.sizes());
  static constexpr const char* names[] = {"width", "height", "depth"};
  const std::vector<int64_t> sizes = padded_sizes(self, axes, padding);
  for (int64_t k = 0; k < self.dim(); ++k) {
    const int64_t d = self.dim() - 1 - k;
    TORCH_CHECK(grad_output.size(d) == sizes[d], "gradOutput ", k < axes ? names[k] : "batch or channels",
                " unexpected. Expected: ", sizes[d], ", Got: ", grad_output.size(d));
  }
}

// `fresh`: an output of our own, which takes the memory format of the input.
void resize_fresh(const Tensor& self, const Tensor& out, IntArrayRef sizes, bool fresh) {
  check_same_dtype(self, out, "out");
  at::native::resize_output(out, sizes);
  at::assert_no_internal_overlap(out);
  if (fresh) out.unsafeGetTensorImpl()->empty_tensor_restride(self.suggest_memory_format());
}

template <Border border, int axes, class Meta, class Op, class OutOp, class BackwardMeta, class BackwardOp, class BackwardOutOp>
struct Pad {
  static void pad_into(const Tensor& self, IntArrayRef padding, const Tensor& out, bool fresh) {
    check_same_device("pad", {{"self", &self}, {"out", &out}});
    if constexpr (std::is_same_v<Meta, NoMeta>) {
      check_reflection2d(self, padding);
    } else {
      OutputOf<Meta> op(out);
      op.meta(self, padding);
    }
    resize_fresh(self, out, padded_sizes(self, axes, padding), fresh);
    launch_pad(border, false, self, out, axes, padding);
  }
  static void backward_into(const Tensor& grad_output, const Tensor& self, IntArrayRef padding, const Tensor& grad_input, bool fresh) {
    check_same_device("pad_backward", {{"grad_output", &grad_output}, {"self", &self}, {"grad_input", &grad_input}});
    if constexpr (!std::is_same_v<BackwardMeta, NoMeta>) {
      OutputOf<BackwardMeta> op(grad_input);
      op.meta(grad_output, self, padding);
    }
    check_gradient(grad_output, self, axes, padding);
    check_same_dtype(self, grad_output, "grad_output");
    resize_fresh(self, grad_input, self.sizes(), fresh);
    launch_pad(border, true, grad_input, grad_output, axes, padding);
  }

  static Tensor pad(const Tensor& self, IntArrayRef padding) {
    FALLBACK_IF(!moved(self), Op, self, padding);
    const Tensor out = empty({0}, self.scalar_type());
    pad_into(self, padding, out, true);
    return out;
  }
  static Tensor& pad_out(const Tensor& self, IntArrayRef padding, Tensor& out) {
    FALLBACK_IF(!moved(self), OutOp, self, padding, out);
    pad_into(self, padding, out, false);
    return out;
  }
  static Tensor backward(const Tensor& grad_output, const Tensor& self, IntArrayRef padding) {
    FALLBACK_IF(!summed(self), BackwardOp, grad_output, self, padding);
    const Tensor grad_input = empty({0}, self.scalar_type());
    backward_into(grad_output, self, padding, grad_input, true);
    return grad_input;
  }
  static Tensor& backward_out(const Tensor& grad_output, const Tensor& self, IntArrayRef padding, Tensor& grad_input) {
    FALLBACK_IF(!summed(self), BackwardOutOp, grad_output, self, padding, grad_input);
    backward_into(grad_output, self, padding, grad_input, false);
    return grad_input;
  }
};

#define PAD(name, border, axes, meta, backward_meta)                                                                     \
  do {                                                                                                                   \
    using Entry = Pad<border, axes, meta, at::_ops::name, at::_ops::name##_out, backward_meta, at::_ops::name##_backward, \
                      at::_ops::name##_backward_grad_input>;                                                             \
    m.impl(#name, &Entry::pad);                                                                                          \
    m.impl(#name ".out", &Entry::pad_out);                                                                               \
    m.impl(#name "_backward", &Entry::backward);                                                                         \
    m.impl(#name "_backward.grad_input", &Entry::backward_out);                                                          \
  } while (false)

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  PAD(reflection_pad1d, Border::reflect, 1, at::meta::structured_reflection_pad1d, at::meta::structured_reflection_pad1d_backward);
  PAD(reflection_pad2d, Border::reflect, 2, NoMeta, NoMeta);
  PAD(reflection_pad3d, Border::reflect, 3, at::meta::structured_reflection_pad3d, at::meta::structured_reflection_pad3d_backward);
  PAD(replication_pad1d, Border::replicate, 1, at::meta::structured_replication_pad1d,
      at::meta::structured_replication_pad1d_backward);
  PAD(replication_pad2d, Border::replicate, 2, at::meta::structured_replication_pad2d, NoMeta);
  PAD(replication_pad3d, Border::replicate, 3, at::meta::structured_replication_pad3d, NoMeta);
}
#undef PAD

}  // namespace
}  // namespace usbgpu::aten
