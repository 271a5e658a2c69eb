// Maximum and average pooling over windows on a grid. Kernels: torch_usbgpu/kernels/pool.hip.
#include "aten/pool.h"

#include <ATen/native/Pool.h>
#include <ATen/ops/avg_pool2d_backward_meta.h>
#include <ATen/ops/avg_pool2d_backward_ops.h>
#include <ATen/ops/avg_pool2d_meta.h>
#include <ATen/ops/avg_pool2d_ops.h>
#include <ATen/ops/avg_pool3d_backward_meta.h>
#include <ATen/ops/avg_pool3d_backward_ops.h>
#include <ATen/ops/avg_pool3d_meta.h>
#include <ATen/ops/avg_pool3d_ops.h>
#include <ATen/ops/max_pool2d_with_indices_backward_meta.h>
#include <ATen/ops/max_pool2d_with_indices_backward_ops.h>
#include <ATen/ops/max_pool2d_with_indices_meta.h>
#include <ATen/ops/max_pool2d_with_indices_ops.h>
#include <ATen/ops/max_pool3d_with_indices_backward_ops.h>
#include <ATen/ops/max_pool3d_with_indices_ops.h>
#include <torch/library.h>

#include "aten/backend/fallback.h"
#include "aten/structured.h"

namespace usbgpu::aten {

using at::IntArrayRef;
using at::ScalarType;
using at::Tensor;

void launch_pool(PoolForm form, PoolWindows windows, const Tensor& input, const Tensor& output, const Tensor& indices,
                 int axes, PoolArgs args) {
  const bool over_input = form != PoolForm::max && form != PoolForm::average;
  const Tensor& written = over_input ? input : output;
  if (written.numel() == 0) return;
  static KernelCache cache;
  const ScalarType type = input.scalar_type();
  Kernel* kernel = cache.get(key(form, windows, type), [&]() -> KernelSource {
    static constexpr const char* forms[] = {"pool_max", "pool_max_backward", "pool_average", "pool_average_backward",
                                            "pool_scatter", "pool_scatter"};
    static constexpr const char* policies[] = {"Strided", "Adaptive", "Fractional"};
    static constexpr const char* names[] = {"_strided_", "_adaptive_", "_fractional_"};
    const auto f = static_cast<size_t>(form), w = static_cast<size_t>(windows);
    const bool scatter = form == PoolForm::put || form == PoolForm::add, add = form == PoolForm::add;
    const std::string symbol = std::string(forms[f]) + (scatter ? (add ? "_add_" : "_put_") : names[w]) + dtype_name(type);
    if (scatter) {
      return {"pool", symbol, "USBGPU_POOL_SCATTER(" + symbol + ", " + dtype_c_type(type) + (add ? ", true)" : ", false)")};
    }
    return {"pool", symbol,
            "USBGPU_POOL(" + symbol + ", " + forms[f] + ", " + dtype_c_type(type) + ", " + policies[w] + ")"};
  });
  const SpatialSizes in = spatial_sizes(input.sizes(), axes), out = spatial_sizes(output.sizes(), axes);
  const Volume from = volume_of(input, axes), to = volume_of(output, axes);
  const Volume index = indices.defined() ? volume_of(indices, axes) : Volume{};
  for (int k = 0; k < 3; ++k) {
    args.in[k] = static_cast<int32_t>(in.axis[k]), args.out[k] = static_cast<int32_t>(out.axis[k]);
    args.wide |= (in.axis[k] + 1) * (out.axis[k] + 1) > UINT32_MAX;
  }
  args.axes = static_cast<uint32_t>(axes);
  const uint64_t samples = args.samples;
  each_piece(written, axes, true, [&](const SpatialWalk& walk, int64_t first) {
    args.walk = walk, args.input = from, args.output = to, args.indices = index;
    skip_samples(args.input, first, input.element_size());
    skip_samples(args.output, first, output.element_size());
    skip_samples(args.indices, first, sizeof(int64_t));
    if (samples) args.samples = samples + static_cast<uint64_t>(first * args.sample_stride[0]) * input.element_size();
    launch(kernel, grid_of(walk), kSpatialGroup, args);
  });
}

namespace {

bool floating(const Tensor& self) { return dtype_supported(self.scalar_type()) && at::isFloatingType(self.scalar_type()); }
bool averaged(const Tensor& self) { return floating(self) || self.scalar_type() == at::kLong; }
bool ordered(const Tensor& self) { return dtype_supported(self.scalar_type()) && self.scalar_type() != at::kBool; }

// One number for all axes, or one for each; what is left out (a stride) is taken from `otherwise`.
void expand(IntArrayRef given, IntArrayRef otherwise, int axes, int32_t* to) {
  const IntArrayRef values = given.empty() ? otherwise : given;
  for (int k = 0; k < axes; ++k) {
    to[3 - axes + k] = static_cast<int32_t>(values.size() == 1 ? values[0] : values[k]);
  }
}

PoolArgs grid_arguments(int axes, IntArrayRef kernel_size, IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation) {
  PoolArgs args{};
  for (int k = 0; k < 3; ++k) args.kernel[k] = args.stride[k] = args.dilation[k] = 1;
  expand(kernel_size, kernel_size, axes, args.kernel);
  expand(stride, kernel_size, axes, args.stride);
  expand(padding, padding, axes, args.padding);
  expand(dilation, dilation, axes, args.dilation);
  return args;
}

// ---- average

template <class Meta, class Op>
Tensor& average(int axes, const char* name, const Tensor& self, IntArrayRef kernel_size, IntArrayRef stride, IntArrayRef padding,
                bool ceil_mode, bool count_include_pad, std::optional<int64_t> divisor_override, Tensor& out) {
  FALLBACK_IF(!averaged(self), Op, self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, out);
  check_same_device(name, {{"self", &self}, {"out", &out}});
  OutputOf<Meta> op(out);
  op.meta(self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override);
  PoolArgs args = grid_arguments(axes, kernel_size, stride, padding, IntArrayRef(1));
  args.count_padding = count_include_pad, args.divisor = divisor_override.value_or(0);
  launch_pool(PoolForm::average, PoolWindows::strided, self, out, Tensor(), axes, args);
  return out;
}

template <class Meta, class Op>
Tensor& average_backward(int axes, const char* name, const Tensor& grad_output, const Tensor& self, IntArrayRef kernel_size,
                         IntArrayRef stride, IntArrayRef padding, bool ceil_mode, bool count_include_pad,
                         std::optional<int64_t> divisor_override, Tensor& grad_input) {
  FALLBACK_IF(!averaged(self), Op, grad_output, self, kernel_size, stride, padding, ceil_mode, count_include_pad,
              divisor_override, grad_input);
  check_same_device(name, {{"grad_output", &grad_output}, {"self", &self}, {"grad_input", &grad_input}});
  check_same_dtype(self, grad_output, "grad_output");
  OutputOf<Meta> op(grad_input);
  op.meta(grad_output, self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override);
  PoolArgs args = grid_arguments(axes, kernel_size, stride, padding, IntArrayRef(1));
  args.count_padding = count_include_pad, args.divisor = divisor_override.value_or(0);
  launch_pool(PoolForm::average_backward, PoolWindows::strided, grad_input, grad_output, Tensor(), axes, args);
  return grad_input;
}

Tensor& avg_pool2d_out(const Tensor& self, IntArrayRef kernel_size, IntArrayRef stride, IntArrayRef padding, bool ceil_mode,
                       bool count_include_pad, std::optional<int64_t> divisor, Tensor& out) {
  return average<at::meta::structured_avg_pool2d, at::_ops::avg_pool2d_out>(2, "avg_pool2d", self, kernel_size, stride, padding,
                                                                            ceil_mode, count_include_pad, divisor, out);
}
Tensor& avg_pool3d_out(const Tensor& self, IntArrayRef kernel_size, IntArrayRef stride, IntArrayRef padding, bool ceil_mode,
                       bool count_include_pad, std::optional<int64_t> divisor, Tensor& out) {
  return average<at::meta::structured_avg_pool3d, at::_ops::avg_pool3d_out>(3, "avg_pool3d", self, kernel_size, stride, padding,
                                                                            ceil_mode, count_include_pad, divisor, out);
}
Tensor& avg_pool2d_backward_out(const Tensor& grad_output, const Tensor& self, IntArrayRef kernel_size, IntArrayRef stride,
                                IntArrayRef padding, bool ceil_mode, bool count_include_pad, std::optional<int64_t> divisor,
                                Tensor& grad_input) {
  return average_backward<at::meta::structured_avg_pool2d_backward, at::_ops::avg_pool2d_backward_grad_input>(
      2, "avg_pool2d_backward", grad_output, self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor, grad_input);
}
Tensor& avg_pool3d_backward_out(const Tensor& grad_output, const Tensor& self, IntArrayRef kernel_size, IntArrayRef stride,
                                IntArrayRef padding, bool ceil_mode, bool count_include_pad, std::optional<int64_t> divisor,
                                Tensor& grad_input) {
  return average_backward<at::meta::structured_avg_pool3d_backward, at::_ops::avg_pool3d_backward_grad_input>(
      3, "avg_pool3d_backward", grad_output, self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor, grad_input);
}

// ---- maximum, 2d (structured)

std::tuple<Tensor&, Tensor&> max_pool2d_out(const Tensor& self, IntArrayRef kernel_size, IntArrayRef stride, IntArrayRef padding,
                                            IntArrayRef dilation, bool ceil_mode, Tensor& out, Tensor& indices) {
  FALLBACK_IF(!ordered(self), at::_ops::max_pool2d_with_indices_out, self, kernel_size, stride, padding, dilation, ceil_mode, out,
              indices);
  check_same_device("max_pool2d_with_indices", {{"self", &self}, {"out", &out}, {"indices", &indices}});
  OutputOf<at::meta::structured_max_pool2d_with_indices> op{&out, &indices};
  op.meta(self, kernel_size, stride, padding, dilation, ceil_mode);
  launch_pool(PoolForm::max, PoolWindows::strided, self, out, indices, 2,
              grid_arguments(2, kernel_size, stride, padding, dilation));
  return {out, indices};
}

Tensor& max_pool2d_backward_out(const Tensor& grad_output, const Tensor& self, IntArrayRef kernel_size, IntArrayRef stride,
                                IntArrayRef padding, IntArrayRef dilation, bool ceil_mode, const Tensor& indices,
                                Tensor& grad_input) {
  FALLBACK_IF(!floating(self), at::_ops::max_pool2d_with_indices_backward_grad_input, grad_output, self, kernel_size, stride,
              padding, dilation, ceil_mode, indices, grad_input);
  check_same_device("max_pool2d_with_indices_backward",
                    {{"grad_output", &grad_output}, {"self", &self}, {"indices", &indices}, {"grad_input", &grad_input}});
  check_same_dtype(self, grad_output, "grad_output");
  check_index_dtype(indices);
  OutputOf<at::meta::structured_max_pool2d_with_indices_backward> op(grad_input);
  op.meta(grad_output, self, kernel_size, stride, padding, dilation, ceil_mode, indices);
  launch_pool(PoolForm::max_backward, PoolWindows::strided, grad_input, grad_output, indices, 2,
              grid_arguments(2, kernel_size, stride, padding, dilation));
  return grad_input;
}

// ---- maximum, 3d (not structured: the checks are ours to make)

PoolArgs max_pool3d_arguments(IntArrayRef kernel_size, IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation) {
  TORCH_CHECK(kernel_size.size() == 1 || kernel_size.size() == 3,
              "max_pool3d: kernel_size must either be a single int, or a tuple of three ints");
  TORCH_CHECK(stride.empty() || stride.size() == 1 || stride.size() == 3,
              "max_pool3d: stride must either be omitted, a single int, or a tuple of three ints");
  TORCH_CHECK(padding.size() == 1 || padding.size() == 3, "max_pool3d: padding must either be a single int, or a tuple of three ints");
  TORCH_CHECK(dilation.size() == 1 || dilation.size() == 3,
              "max_pool3d: dilation must be either a single int, or a tuple of three ints");
  return grid_arguments(3, kernel_size, stride, padding, dilation);
}

std::vector<int64_t> max_pool3d_sizes(const Tensor& self, const PoolArgs& a, bool ceil_mode, const char* name) {
  TORCH_CHECK(self.dim() == 4 || self.dim() == 5, name, ": Expected 4D or 5D tensor for input, but got: ", self.sizes());
  std::vector<int64_t> sizes = self.sizes().vec();
  int64_t out[3];
  for (int k = 0; k < 3; ++k) {
    const int64_t in = self.size(k - 3);
    out[k] = at::native::pooling_output_shape<int64_t>(in, a.kernel[k], a.padding[k], a.stride[k], a.dilation[k], ceil_mode);
    sizes[sizes.size() - 3 + k] = out[k];
  }
  at::native::pool3d_shape_check(self, self.size(-4), a.kernel[0], a.kernel[1], a.kernel[2], a.stride[0], a.stride[1], a.stride[2],
                                 a.padding[0], a.padding[1], a.padding[2], a.dilation[0], a.dilation[1], a.dilation[2],
                                 self.size(-3), self.size(-2), self.size(-1), out[0], out[1], out[2], name);
  return sizes;
}

at::MemoryFormat format_of(const Tensor& self) {
  return self.dim() == 5 ? self.suggest_memory_format() : at::MemoryFormat::Contiguous;
}

void resize_to(const Tensor& out, IntArrayRef sizes, at::MemoryFormat format) {
  if (at::native::resize_output(out, sizes)) out.unsafeGetTensorImpl()->empty_tensor_restride(format);
  at::assert_no_internal_overlap(out);
}

std::tuple<Tensor&, Tensor&> max_pool3d_out(const Tensor& self, IntArrayRef kernel_size, IntArrayRef stride, IntArrayRef padding,
                                            IntArrayRef dilation, bool ceil_mode, Tensor& out, Tensor& indices) {
  FALLBACK_IF(!ordered(self), at::_ops::max_pool3d_with_indices_out, self, kernel_size, stride, padding, dilation, ceil_mode, out,
              indices);
  check_same_device("max_pool3d_with_indices", {{"self", &self}, {"out", &out}, {"indices", &indices}});
  const PoolArgs args = max_pool3d_arguments(kernel_size, stride, padding, dilation);
  const std::vector<int64_t> sizes = max_pool3d_sizes(self, args, ceil_mode, "max_pool3d_with_indices_out_usbgpu()");
  check_same_dtype(self, out, "out");
  check_index_dtype(indices);
  resize_to(out, sizes, format_of(self));
  resize_to(indices, sizes, format_of(self));
  launch_pool(PoolForm::max, PoolWindows::strided, self, out, indices, 3, args);
  return {out, indices};
}

std::tuple<Tensor, Tensor> max_pool3d(const Tensor& self, IntArrayRef kernel_size, IntArrayRef stride, IntArrayRef padding,
                                      IntArrayRef dilation, bool ceil_mode) {
  FALLBACK_IF(!ordered(self), at::_ops::max_pool3d_with_indices, self, kernel_size, stride, padding, dilation, ceil_mode);
  Tensor out = empty({0}, self.scalar_type()), indices = empty({0}, at::kLong);
  max_pool3d_out(self, kernel_size, stride, padding, dilation, ceil_mode, out, indices);
  return {out, indices};
}

Tensor& max_pool3d_backward_out(const Tensor& grad_output, const Tensor& self, IntArrayRef kernel_size, IntArrayRef stride,
                                IntArrayRef padding, IntArrayRef dilation, bool ceil_mode, const Tensor& indices,
                                Tensor& grad_input) {
  FALLBACK_IF(!floating(self), at::_ops::max_pool3d_with_indices_backward_grad_input, grad_output, self, kernel_size, stride,
              padding, dilation, ceil_mode, indices, grad_input);
  check_same_device("max_pool3d_with_indices_backward",
                    {{"grad_output", &grad_output}, {"self", &self}, {"indices", &indices}, {"grad_input", &grad_input}});
  const PoolArgs args = max_pool3d_arguments(kernel_size, stride, padding, dilation);
  const std::vector<int64_t> sizes = max_pool3d_sizes(self, args, ceil_mode, "max_pool3d_with_indices_backward_out_usbgpu()");
  for (const Tensor* tensor : {&grad_output, &indices}) {
    TORCH_CHECK(tensor->sizes() == IntArrayRef(sizes), "max_pool3d_with_indices_backward: expected gradient and indices of shape ",
                IntArrayRef(sizes), ", but got ", tensor->sizes());
  }
  check_same_dtype(self, grad_output, "grad_output");
  check_same_dtype(self, grad_input, "grad_input");
  check_index_dtype(indices);
  resize_to(grad_input, self.sizes(), format_of(self));
  launch_pool(PoolForm::max_backward, PoolWindows::strided, grad_input, grad_output, indices, 3, args);
  return grad_input;
}

Tensor max_pool3d_backward(const Tensor& grad_output, const Tensor& self, IntArrayRef kernel_size, IntArrayRef stride,
                           IntArrayRef padding, IntArrayRef dilation, bool ceil_mode, const Tensor& indices) {
  FALLBACK_IF(!floating(self), at::_ops::max_pool3d_with_indices_backward, grad_output, self, kernel_size, stride, padding,
              dilation, ceil_mode, indices);
  Tensor grad_input = empty({0}, self.scalar_type());
  return max_pool3d_backward_out(grad_output, self, kernel_size, stride, padding, dilation, ceil_mode, indices, grad_input);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("avg_pool2d.out", &avg_pool2d_out);
  m.impl("avg_pool2d_backward.grad_input", &avg_pool2d_backward_out);
  m.impl("avg_pool3d.out", &avg_pool3d_out);
  m.impl("avg_pool3d_backward.grad_input", &avg_pool3d_backward_out);
  m.impl("max_pool2d_with_indices.out", &max_pool2d_out);
  m.impl("max_pool2d_with_indices_backward.grad_input", &max_pool2d_backward_out);
  m.impl("max_pool3d_with_indices", &max_pool3d);
  m.impl("max_pool3d_with_indices.out", &max_pool3d_out);
  m.impl("max_pool3d_with_indices_backward", &max_pool3d_backward);
  m.impl("max_pool3d_with_indices_backward.grad_input", &max_pool3d_backward_out);
}

}  // namespace
}  // namespace usbgpu::aten
