// Adaptive pooling: the windows share the input evenly. Kernels: torch_usbgpu/kernels/pool.hip.
#include <ATen/native/AdaptivePooling.h>
#include <ATen/ops/_adaptive_avg_pool2d_backward_ops.h>
#include <ATen/ops/_adaptive_avg_pool2d_ops.h>
#include <ATen/ops/_adaptive_avg_pool3d_backward_ops.h>
#include <ATen/ops/_adaptive_avg_pool3d_ops.h>
#include <ATen/ops/adaptive_avg_pool2d_ops.h>
#include <ATen/ops/adaptive_avg_pool3d_backward_ops.h>
#include <ATen/ops/adaptive_avg_pool3d_ops.h>
#include <ATen/ops/adaptive_max_pool2d_backward_meta.h>
#include <ATen/ops/adaptive_max_pool2d_backward_ops.h>
#include <ATen/ops/adaptive_max_pool2d_meta.h>
#include <ATen/ops/adaptive_max_pool2d_ops.h>
#include <ATen/ops/adaptive_max_pool3d_backward_meta.h>
#include <ATen/ops/adaptive_max_pool3d_backward_ops.h>
#include <ATen/ops/adaptive_max_pool3d_meta.h>
#include <ATen/ops/adaptive_max_pool3d_ops.h>
#include <torch/library.h>

#include "aten/backend/fallback.h"
#include "aten/pool.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::IntArrayRef;
using at::Tensor;

bool floating(const Tensor& self) { return dtype_supported(self.scalar_type()) && at::isFloatingType(self.scalar_type()); }

void resize_like_input(const Tensor& self, const Tensor& out, IntArrayRef sizes, int axes) {
  check_same_dtype(self, out, "out");
  if (at::native::resize_output(out, sizes) && axes == 2) {
    out.unsafeGetTensorImpl()->empty_tensor_restride(self.suggest_memory_format());
  }
  at::assert_no_internal_overlap(out);
}

// ---- average

void average(const char* name, int axes, const Tensor& self, IntArrayRef output_size, const Tensor& out) {
  check_same_device(name, {{"self", &self}, {"out", &out}});
  TORCH_CHECK(output_size.size() == static_cast<size_t>(axes), name, ": output_size must be ", axes);
  TORCH_CHECK(self.dim() == axes + 1 || self.dim() == axes + 2, name, "(): Expected ", axes + 1, "D or ", axes + 2,
              "D tensor, but got ", self.sizes());
  std::vector<int64_t> sizes = self.sizes().vec();
  for (int k = 0; k < axes; ++k) {
    const int64_t d = self.dim() - axes + k;
    TORCH_CHECK(self.size(d) > 0, name, "(): Expected input to have non-zero size for non-batch dimensions, "
                "but input has sizes ", self.sizes(), " with dimension ", d, " being empty");
    TORCH_CHECK(output_size[k] >= 0, name, ": elements of output_size must be greater than or equal to 0 but received ", output_size);
    sizes[d] = output_size[k];
  }
  resize_like_input(self, out, sizes, axes);
  launch_pool(PoolForm::average, PoolWindows::adaptive, self, out, Tensor(), axes, PoolArgs{});
}

void average_backward(const char* name, int axes, const Tensor& grad_output, const Tensor& self, const Tensor& grad_input) {
  check_same_device(name, {{"grad_output", &grad_output}, {"self", &self}, {"grad_input", &grad_input}});
  at::native::adaptive_pool_empty_output_check(grad_output, name);
  TORCH_CHECK(self.dim() == axes + 1 || self.dim() == axes + 2, name, "(): Expected ", axes + 1, "D or ", axes + 2,
              "D tensor, but got ", self.sizes());
  TORCH_CHECK(grad_output.dim() == self.dim(), name, "(): Expected grad_output of ", self.dim(), " dimensions, but got ",
              grad_output.sizes());
  for (int64_t d = 0; d < self.dim() - axes; ++d) {
    TORCH_CHECK(grad_output.size(d) == self.size(d), name, "(): Expected grad_output of batch and channels ",
                self.sizes().slice(0, self.dim() - axes), ", but got ", grad_output.sizes());
  }
  check_same_dtype(self, grad_output, "grad_output");
  resize_like_input(self, grad_input, self.sizes(), axes);
  launch_pool(PoolForm::average_backward, PoolWindows::adaptive, grad_input, grad_output, Tensor(), axes, PoolArgs{});
}

Tensor& avg_pool2d_out(const Tensor& self, IntArrayRef output_size, Tensor& out) {
  FALLBACK_IF(!floating(self), at::_ops::adaptive_avg_pool2d_out, self, output_size, out);
  average("adaptive_avg_pool2d", 2, self, output_size, out);
  return out;
}
Tensor avg_pool2d(const Tensor& self, IntArrayRef output_size) {
  FALLBACK_IF(!floating(self), at::_ops::_adaptive_avg_pool2d, self, output_size);
  const Tensor out = empty({0}, self.scalar_type());
  average("adaptive_avg_pool2d", 2, self, output_size, out);
  return out;
}
Tensor avg_pool2d_backward(const Tensor& grad_output, const Tensor& self) {
  FALLBACK_IF(!floating(self), at::_ops::_adaptive_avg_pool2d_backward, grad_output, self);
  const Tensor grad_input = empty({0}, self.scalar_type());
  average_backward("adaptive_avg_pool2d_backward", 2, grad_output, self, grad_input);
  return grad_input;
}
Tensor& avg_pool3d_out(const Tensor& self, IntArrayRef output_size, Tensor& out) {
  FALLBACK_IF(!floating(self), at::_ops::adaptive_avg_pool3d_out, self, output_size, out);
  average("adaptive_avg_pool3d", 3, self, output_size, out);
  return out;
}
Tensor avg_pool3d(const Tensor& self, IntArrayRef output_size) {
  FALLBACK_IF(!floating(self), at::_ops::_adaptive_avg_pool3d, self, output_size);
  const Tensor out = empty({0}, self.scalar_type());
  average("adaptive_avg_pool3d", 3, self, output_size, out);
  return out;
}
Tensor& avg_pool3d_backward_out(const Tensor& grad_output, const Tensor& self, Tensor& grad_input) {
  FALLBACK_IF(!floating(self), at::_ops::adaptive_avg_pool3d_backward_grad_input, grad_output, self, grad_input);
  average_backward("adaptive_avg_pool3d_backward", 3, grad_output, self, grad_input);
  return grad_input;
}
Tensor avg_pool3d_backward(const Tensor& grad_output, const Tensor& self) {
  FALLBACK_IF(!floating(self), at::_ops::_adaptive_avg_pool3d_backward, grad_output, self);
  const Tensor grad_input = empty({0}, self.scalar_type());
  average_backward("adaptive_avg_pool3d_backward", 3, grad_output, self, grad_input);
  return grad_input;
}

// ---- maximum

template <class Meta, class Op>
std::tuple<Tensor&, Tensor&> maximum(const char* name, int axes, const Tensor& self, IntArrayRef output_size, Tensor& out,
                                     Tensor& indices) {
  FALLBACK_IF(!floating(self), Op, self, output_size, out, indices);
  check_same_device(name, {{"self", &self}, {"out", &out}, {"indices", &indices}});
  OutputOf<Meta> op{&out, &indices};
  op.meta(self, output_size);
  launch_pool(PoolForm::max, PoolWindows::adaptive, self, out, indices, axes, PoolArgs{});
  return {out, indices};
}

template <class Meta, class Op>
Tensor& maximum_backward(const char* name, int axes, const Tensor& grad_output, const Tensor& self, const Tensor& indices,
                         Tensor& grad_input) {
  FALLBACK_IF(!floating(self), Op, grad_output, self, indices, grad_input);
  check_same_device(name, {{"grad_output", &grad_output}, {"self", &self}, {"indices", &indices}, {"grad_input", &grad_input}});
  OutputOf<Meta> op(grad_input);
  op.meta(grad_output, self, indices);
  check_index_dtype(indices);
  TORCH_CHECK(grad_output.dim() == self.dim(), "expected a gradient of ", self.dim(), " dimensions, but got ", grad_output.sizes());
  TORCH_CHECK(indices.sizes() == grad_output.sizes(), "expected sizes ", grad_output.sizes(), " for `indices` but got sizes ",
              indices.sizes());
  launch_pool(PoolForm::max_backward, PoolWindows::adaptive, grad_input, grad_output, indices, axes, PoolArgs{});
  return grad_input;
}

std::tuple<Tensor&, Tensor&> max_pool2d_out(const Tensor& self, IntArrayRef output_size, Tensor& out, Tensor& indices) {
  return maximum<at::meta::structured_adaptive_max_pool2d, at::_ops::adaptive_max_pool2d_out>("adaptive_max_pool2d", 2, self,
                                                                                              output_size, out, indices);
}
std::tuple<Tensor&, Tensor&> max_pool3d_out(const Tensor& self, IntArrayRef output_size, Tensor& out, Tensor& indices) {
  return maximum<at::meta::structured_adaptive_max_pool3d, at::_ops::adaptive_max_pool3d_out>("adaptive_max_pool3d", 3, self,
                                                                                              output_size, out, indices);
}
Tensor& max_pool2d_backward_out(const Tensor& grad_output, const Tensor& self, const Tensor& indices, Tensor& grad_input) {
  return maximum_backward<at::meta::structured_adaptive_max_pool2d_backward, at::_ops::adaptive_max_pool2d_backward_grad_input>(
      "adaptive_max_pool2d_backward", 2, grad_output, self, indices, grad_input);
}
Tensor& max_pool3d_backward_out(const Tensor& grad_output, const Tensor& self, const Tensor& indices, Tensor& grad_input) {
  return maximum_backward<at::meta::structured_adaptive_max_pool3d_backward, at::_ops::adaptive_max_pool3d_backward_grad_input>(
      "adaptive_max_pool3d_backward", 3, grad_output, self, indices, grad_input);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("adaptive_avg_pool2d.out", &avg_pool2d_out);
  m.impl("_adaptive_avg_pool2d", &avg_pool2d);
  m.impl("_adaptive_avg_pool2d_backward", &avg_pool2d_backward);
  m.impl("adaptive_avg_pool3d.out", &avg_pool3d_out);
  m.impl("_adaptive_avg_pool3d", &avg_pool3d);
  m.impl("adaptive_avg_pool3d_backward.grad_input", &avg_pool3d_backward_out);
  m.impl("_adaptive_avg_pool3d_backward", &avg_pool3d_backward);
  m.impl("adaptive_max_pool2d.out", &max_pool2d_out);
  m.impl("adaptive_max_pool2d_backward.grad_input", &max_pool2d_backward_out);
  m.impl("adaptive_max_pool3d.out", &max_pool3d_out);
  m.impl("adaptive_max_pool3d_backward.grad_input", &max_pool3d_backward_out);
}

}  // namespace
}  // namespace usbgpu::aten
