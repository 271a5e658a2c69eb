// Pooling whose windows or targets are data: fractional maximum pooling and unpooling.
// Kernels: torch_usbgpu/kernels/pool.hip.
#include <ATen/Context.h>
#include <ATen/native/FractionalMaxPooling.h>
#include <ATen/ops/fractional_max_pool2d_backward_meta.h>
#include <ATen/ops/fractional_max_pool2d_backward_ops.h>
#include <ATen/ops/fractional_max_pool2d_meta.h>
#include <ATen/ops/fractional_max_pool2d_ops.h>
#include <ATen/ops/fractional_max_pool3d_backward_ops.h>
#include <ATen/ops/fractional_max_pool3d_meta.h>
#include <ATen/ops/fractional_max_pool3d_ops.h>
#include <ATen/ops/max_unpool2d_ops.h>
#include <ATen/ops/max_unpool3d_ops.h>
#include <torch/library.h>

#include "aten/backend/fallback.h"
#include "aten/pool.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::IntArrayRef;
using at::Tensor;

bool floating(const Tensor& self) { return dtype_supported(self.scalar_type()) && at::isFloatingType(self.scalar_type()); }

// ---- fractional maximum

void fractional(int axes, const Tensor& self, IntArrayRef kernel_size, const Tensor& samples, const Tensor& output,
                const Tensor& indices) {
  PoolArgs args{};
  for (int k = 0; k < 3; ++k) args.kernel[k] = 1;
  for (int k = 0; k < axes; ++k) {
    args.kernel[3 - axes + k] = static_cast<int32_t>(kernel_size.size() == 1 ? kernel_size[0] : kernel_size[k]);
  }
  args.samples = address(samples);
  for (int k = 0; k < 3; ++k) args.sample_stride[k] = samples.stride(k);
  launch_pool(PoolForm::max, PoolWindows::fractional, self, output, indices, axes, args);
}

std::tuple<Tensor&, Tensor&> fractional2d_out(const Tensor& self, IntArrayRef kernel_size, IntArrayRef output_size,
                                              const Tensor& samples, Tensor& output, Tensor& indices) {
  FALLBACK_IF(!floating(self), at::_ops::fractional_max_pool2d_output, self, kernel_size, output_size, samples, output, indices);
  check_same_device("fractional_max_pool2d", {{"self", &self}, {"random_samples", &samples}, {"output", &output}, {"indices", &indices}});
  OutputOf<at::meta::structured_fractional_max_pool2d> op{&output, &indices};
  op.meta(self, kernel_size, output_size, samples);
  at::native::fractional_max_pool_check_shape<2>(self, samples);
  fractional(2, self, kernel_size, samples, output, indices);
  return {output, indices};
}

std::tuple<Tensor&, Tensor&> fractional3d_out(const Tensor& self, IntArrayRef kernel_size, IntArrayRef output_size,
                                              const Tensor& samples, Tensor& output, Tensor& indices) {
  FALLBACK_IF(!floating(self), at::_ops::fractional_max_pool3d_output, self, kernel_size, output_size, samples, output, indices);
  check_same_device("fractional_max_pool3d", {{"self", &self}, {"random_samples", &samples}, {"output", &output}, {"indices", &indices}});
  OutputOf<at::meta::structured_fractional_max_pool3d> op{&output, &indices};
  op.meta(self, kernel_size, output_size, samples);
  at::native::fractional_max_pool_check_shape<3>(self, samples);
  fractional(3, self, kernel_size, samples, output, indices);
  return {output, indices};
}

// Windows may overlap, and only the samples knew where they were: sums are scattered. Their order is not fixed.
void fractional_backward(int axes, const char* name, const Tensor& grad_output, const Tensor& indices, Tensor& grad_input) {
  at::globalContext().alertNotDeterministic(name);
  check_index_dtype(indices);
  TORCH_CHECK(indices.sizes() == grad_output.sizes(), name, ": expected indices of the gradient's sizes ", grad_output.sizes(),
              ", but got ", indices.sizes());
  grad_input.zero_();
  PoolArgs args{};
  args.error_block = device().error_block();
  launch_pool(PoolForm::add, PoolWindows::strided, grad_output, grad_input, indices, axes, args);
}

Tensor& fractional2d_backward_out(const Tensor& grad_output, const Tensor& self, IntArrayRef kernel_size, IntArrayRef output_size,
                                  const Tensor& indices, Tensor& grad_input) {
  FALLBACK_IF(!floating(self), at::_ops::fractional_max_pool2d_backward_grad_input, grad_output, self, kernel_size, output_size,
              indices, grad_input);
  check_same_device("fractional_max_pool2d_backward",
                    {{"grad_output", &grad_output}, {"self", &self}, {"indices", &indices}, {"grad_input", &grad_input}});
  check_same_dtype(self, grad_output, "grad_output");
  OutputOf<at::meta::structured_fractional_max_pool2d_backward> op(grad_input);
  op.meta(grad_output, self, kernel_size, output_size, indices);
  fractional_backward(2, "fractional_max_pool2d_backward", grad_output, indices, grad_input);
  return grad_input;
}

Tensor& fractional3d_backward_out(const Tensor& grad_output, const Tensor& self, IntArrayRef kernel_size, IntArrayRef output_size,
                                  const Tensor& indices, Tensor& grad_input) {
  FALLBACK_IF(!floating(self), at::_ops::fractional_max_pool3d_backward_grad_input, grad_output, self, kernel_size, output_size,
              indices, grad_input);
  check_same_device("fractional_max_pool3d_backward",
                    {{"grad_output", &grad_output}, {"self", &self}, {"indices", &indices}, {"grad_input", &grad_input}});
  check_same_dtype(self, grad_output, "grad_output");
  check_same_dtype(self, grad_input, "grad_input");
  TORCH_CHECK(self.dim() == 4 || self.dim() == 5, "fractional_max_pool3d_backward: expected a 4D or 5D input, but got ", self.sizes());
  std::vector<int64_t> sizes = self.sizes().vec();
  TORCH_CHECK(output_size.size() == 1 || output_size.size() == 3,
              "fractional_max_pool3d_backward: output_size must be one number or three");
  for (int k = 0; k < 3; ++k) sizes[sizes.size() - 3 + k] = output_size.size() == 1 ? output_size[0] : output_size[k];
  TORCH_CHECK(grad_output.sizes() == IntArrayRef(sizes), "fractional_max_pool3d_backward: expected gradOutput of sizes ",
              IntArrayRef(sizes), ", but got ", grad_output.sizes());
  at::native::resize_output(grad_input, self.sizes());
  at::assert_no_internal_overlap(grad_input);
  fractional_backward(3, "fractional_max_pool3d_backward", grad_output, indices, grad_input);
  return grad_input;
}

Tensor fractional3d_backward(const Tensor& grad_output, const Tensor& self, IntArrayRef kernel_size, IntArrayRef output_size,
                             const Tensor& indices) {
  FALLBACK_IF(!floating(self), at::_ops::fractional_max_pool3d_backward, grad_output, self, kernel_size, output_size, indices);
  Tensor grad_input = empty({0}, self.scalar_type());
  return fractional3d_backward_out(grad_output, self, kernel_size, output_size, indices, grad_input);
}

// ---- unpooling

void unpool(int axes, const char* name, const Tensor& self, const Tensor& indices, IntArrayRef output_size, const Tensor& out) {
  at::globalContext().alertNotDeterministic(name);
  check_same_device(name, {{"self", &self}, {"indices", &indices}, {"out", &out}});
  TORCH_CHECK(indices.scalar_type() == at::kLong, "elements in indices should be type int64 but got: ", indices.scalar_type());
  TORCH_CHECK(output_size.size() == static_cast<size_t>(axes), "There should be exactly ", axes == 2 ? "two" : "three",
              " elements (", axes == 2 ? "height, width" : "depth, height, width", ") in output_size, but got ", output_size.size(),
              " elements.");
  TORCH_CHECK(self.dim() == axes + 1 || self.dim() == axes + 2, "Input to max_unpooling", axes, "d should be a ", axes + 1, "d or ",
              axes + 2, "d Tensor, but got a tensor with ", self.dim(), " dimensions.");
  TORCH_CHECK(self.sizes() == indices.sizes(), "Expected shape of indices to be same as that of the input tensor (", self.sizes(),
              ") but got indices tensor with shape: ", indices.sizes());
  for (int64_t d = 1; d < self.dim(); ++d) {
    TORCH_CHECK(self.size(d) > 0, name, "(): Expected input to have non-zero size for non-batch dimensions, but got ", self.sizes(),
                " with dimension ", d, " being empty.");
  }
  check_same_dtype(self, out, "out");
  std::vector<int64_t> sizes = self.sizes().vec();
  std::copy(output_size.begin(), output_size.end(), sizes.end() - axes);
  if (at::native::resize_output(out, sizes) && axes == 2) {
    out.unsafeGetTensorImpl()->empty_tensor_restride(self.suggest_memory_format());
  }
  at::assert_no_internal_overlap(out);
  out.zero_();
  PoolArgs args{};
  args.error_block = device().error_block();
  launch_pool(PoolForm::put, PoolWindows::strided, self, out, indices, axes, args);
}

Tensor& unpool2d_out(const Tensor& self, const Tensor& indices, IntArrayRef output_size, Tensor& out) {
  FALLBACK_IF(!floating(self), at::_ops::max_unpool2d_out, self, indices, output_size, out);
  unpool(2, "max_unpool2d", self, indices, output_size, out);
  return out;
}
Tensor unpool2d(const Tensor& self, const Tensor& indices, IntArrayRef output_size) {
  FALLBACK_IF(!floating(self), at::_ops::max_unpool2d, self, indices, output_size);
  const Tensor out = empty({0}, self.scalar_type());
  unpool(2, "max_unpool2d", self, indices, output_size, out);
  return out;
}

void check_unpool3d(IntArrayRef stride, IntArrayRef padding) {
  TORCH_CHECK(stride.size() == 3, "There should be exactly three elements (depth, height, width) in stride, but got: ",
              stride.size(), " elements.");
  TORCH_CHECK(padding.size() == 3, "There should be exactly three elements (depth, height, width) in padding, but got: ",
              padding.size(), " elements.");
  TORCH_CHECK(stride[0] > 0 && stride[1] > 0 && stride[2] > 0, "strides should be greater than zero, but got stride: ", stride);
}

Tensor& unpool3d_out(const Tensor& self, const Tensor& indices, IntArrayRef output_size, IntArrayRef stride, IntArrayRef padding,
                     Tensor& out) {
  FALLBACK_IF(!floating(self), at::_ops::max_unpool3d_out, self, indices, output_size, stride, padding, out);
  check_unpool3d(stride, padding);
  unpool(3, "max_unpool3d", self, indices, output_size, out);
  return out;
}
Tensor unpool3d(const Tensor& self, const Tensor& indices, IntArrayRef output_size, IntArrayRef stride, IntArrayRef padding) {
  FALLBACK_IF(!floating(self), at::_ops::max_unpool3d, self, indices, output_size, stride, padding);
  Tensor out = empty({0}, self.scalar_type());
  return unpool3d_out(self, indices, output_size, stride, padding, out);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("fractional_max_pool2d.output", &fractional2d_out);
  m.impl("fractional_max_pool2d_backward.grad_input", &fractional2d_backward_out);
  m.impl("fractional_max_pool3d.output", &fractional3d_out);
  m.impl("fractional_max_pool3d_backward", &fractional3d_backward);
  m.impl("fractional_max_pool3d_backward.grad_input", &fractional3d_backward_out);
  m.impl("max_unpool2d", &unpool2d);
  m.impl("max_unpool2d.out", &unpool2d_out);
  m.impl("max_unpool3d", &unpool3d);
  m.impl("max_unpool3d.out", &unpool3d_out);
}

}  // namespace
}  // namespace usbgpu::aten
