// Activations and their backward, element by element.
#include <ATen/TensorIterator.h>
#include <ATen/TensorOperators.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/native/Activation.h>
#include <ATen/ops/_prelu_kernel_backward_ops.h>
#include <ATen/ops/gelu_backward_ops.h>
#include <ATen/ops/gelu_ops.h>
#include <ATen/ops/glu_backward_ops.h>
#include <ATen/ops/log_sigmoid_backward_ops.h>
#include <ATen/ops/log_sigmoid_forward_ops.h>
#include <torch/library.h>

#include "aten/backend/fallback.h"
#include "aten/pointwise.h"

namespace at::native {

namespace {

using usbgpu::aten::arithmetic_type;
using usbgpu::aten::floating_type;
using usbgpu::aten::Pointwise;

#define ACTIVATION(NAME, OP, ITERATOR)         \
  void NAME##_usbgpu(ITERATOR& iter) {         \
    static Pointwise op(OP);                   \
    op(iter, floating_type(iter, OP));         \
  }
#define ACTIVATION_SCALAR(NAME, OP, ITERATOR)                  \
  void NAME##_usbgpu(ITERATOR& iter, const Scalar& scalar) {   \
    static Pointwise op(OP);                                   \
    op(iter, floating_type(iter, OP), {scalar});               \
  }
#define ACTIVATION_SCALARS(NAME, OP, ITERATOR)                                  \
  void NAME##_usbgpu(ITERATOR& iter, const Scalar& first, const Scalar& second) { \
    static Pointwise op(OP);                                                    \
    op(iter, floating_type(iter, OP), {first, second});                         \
  }

void silu_usbgpu(TensorIteratorBase& iter) {
  static Pointwise op("silu");
  op(iter, isComplexType(iter.common_dtype()) ? iter.common_dtype() : floating_type(iter, "silu"));
}
ACTIVATION(silu_backward, "silu_backward", TensorIteratorBase)
ACTIVATION(mish, "mish", TensorIteratorBase)
ACTIVATION(mish_backward, "mish_backward", TensorIterator)
ACTIVATION(glu, "glu", TensorIteratorBase)
ACTIVATION(hardsigmoid, "hardsigmoid", TensorIteratorBase)
ACTIVATION(hardsigmoid_backward, "hardsigmoid_backward", TensorIteratorBase)
ACTIVATION(hardswish, "hardswish", TensorIterator)
ACTIVATION(hardswish_backward, "hardswish_backward", TensorIterator)
ACTIVATION(prelu, "prelu", TensorIterator)
ACTIVATION_SCALAR(leaky_relu, "leaky_relu", TensorIteratorBase)
ACTIVATION_SCALAR(leaky_relu_backward, "leaky_relu_backward", TensorIteratorBase)
ACTIVATION_SCALAR(hardshrink, "hardshrink", TensorIteratorBase)
ACTIVATION_SCALAR(softshrink, "softshrink", TensorIteratorBase)
ACTIVATION_SCALAR(shrink_backward, "shrink_backward", TensorIteratorBase)
ACTIVATION_SCALARS(softplus, "softplus", TensorIteratorBase)
ACTIVATION_SCALARS(softplus_backward, "softplus_backward", TensorIteratorBase)
ACTIVATION_SCALARS(hardtanh_backward, "hardtanh_backward", TensorIterator)

// relu's backward too: any dtype
void threshold_usbgpu(TensorIteratorBase& iter, const Scalar& threshold, const Scalar& value) {
  static Pointwise op("threshold");
  op(iter, arithmetic_type(iter), {threshold, value});
}
void elu_usbgpu(TensorIteratorBase& iter, const Scalar& alpha, const Scalar& scale, const Scalar& input_scale) {
  static Pointwise op("elu");
  op(iter, floating_type(iter, "elu"), {alpha.toDouble() * scale.toDouble(), scale, input_scale});
}
void elu_backward_usbgpu(TensorIteratorBase& iter, const Scalar& alpha, const Scalar& scale, const Scalar& input_scale,
                         bool is_result) {
  static Pointwise from_input("elu_backward"), from_result("elu_backward_result");
  (is_result ? from_result : from_input)(iter, arithmetic_type(iter),
                                         {alpha.toDouble() * scale.toDouble(), scale, input_scale});
}

// ---- operators whose CPU class does more than calling its stub

Tensor& gelu_out(const Tensor& self, std::string_view approximate, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::gelu_out, self, approximate, out);
  static Pointwise exact("gelu"), by_tanh("gelu_tanh");
  auto iter = TensorIterator::unary_op(out, self);
  (get_gelutype_enum(approximate) == GeluType::Tanh ? by_tanh : exact)(iter, floating_type(iter, "gelu"));
  return out;
}

Tensor& gelu_backward_out(const Tensor& grad, const Tensor& self, std::string_view approximate, Tensor& grad_input) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::gelu_backward_grad_input, grad, self, approximate, grad_input);
  static Pointwise exact("gelu_backward"), by_tanh("gelu_tanh_backward");
  auto iter = TensorIterator::borrowing_binary_op(grad_input, grad, self);
  (get_gelutype_enum(approximate) == GeluType::Tanh ? by_tanh : exact)(iter, floating_type(iter, "gelu"));
  return grad_input;
}

// buffer is the CPU's own: here the backward computes from the input alone
std::tuple<Tensor&, Tensor&> log_sigmoid_forward_out(const Tensor& self, Tensor& output, Tensor& buffer) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::log_sigmoid_forward_output, self, output, buffer);
  static Pointwise op("log_sigmoid");
  auto iter = TensorIterator::unary_op(output, self);
  op(iter, arithmetic_type(iter));
  return {output, buffer};
}
std::tuple<Tensor, Tensor> log_sigmoid_forward(const Tensor& self) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::log_sigmoid_forward, self);
  Tensor output = usbgpu::aten::empty(self.sizes(), self.scalar_type());
  Tensor buffer = usbgpu::aten::empty({0}, self.scalar_type());
  log_sigmoid_forward_out(self, output, buffer);
  return {output, buffer};
}
Tensor& log_sigmoid_backward_out(const Tensor& grad, const Tensor& self, const Tensor& buffer, Tensor& grad_input) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::log_sigmoid_backward_grad_input, grad, self, buffer, grad_input);
  static Pointwise op("log_sigmoid_backward");
  auto iter = TensorIteratorConfig().add_output(grad_input).add_const_input(grad).add_const_input(self).build();
  op(iter, arithmetic_type(iter));
  return grad_input;
}
Tensor log_sigmoid_backward(const Tensor& grad, const Tensor& self, const Tensor& buffer) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::log_sigmoid_backward, grad, self, buffer);
  Tensor grad_input = usbgpu::aten::empty(self.sizes(), self.scalar_type());
  return log_sigmoid_backward_out(grad, self, buffer, grad_input);
}

std::tuple<Tensor, Tensor> prelu_kernel_backward(const Tensor& grad, const Tensor& self, const Tensor& weight) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_prelu_kernel_backward, grad, self, weight);
  static Pointwise op("prelu_backward", -1, "pair");
  Tensor grad_self = usbgpu::aten::empty(self.sizes(), self.scalar_type());
  Tensor grad_weight = usbgpu::aten::empty(self.sizes(), self.scalar_type());
  auto iter = TensorIteratorConfig().add_output(grad_self).add_output(grad_weight).add_const_input(self)
                  .add_const_input(weight).add_const_input(grad).build();
  op(iter, arithmetic_type(iter));
  return {grad_self, grad_weight};
}

// Both halves of the gradient in one launch: they are views of grad_input.
Tensor& glu_backward_out(const Tensor& grad, const Tensor& self, int64_t dim, Tensor& grad_input) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::glu_backward_grad_input, grad, self, dim, grad_input);
  static Pointwise op("glu_backward", -1, "pair");
  TORCH_CHECK(self.dim() > 0, "glu does not support 0-dimensional tensors");
  const int64_t wrapped = maybe_wrap_dim(dim, self.dim()), size = self.size(wrapped);
  TORCH_CHECK(size % 2 == 0, "Halving dimension must be even, but dimension ", wrapped, " is size ", size);
  usbgpu::aten::resize_out(grad_input, self.sizes());
  Tensor grad_first = grad_input.narrow(wrapped, 0, size / 2), grad_second = grad_input.narrow(wrapped, size / 2, size / 2);
  const Tensor first = self.narrow(wrapped, 0, size / 2), second = self.narrow(wrapped, size / 2, size / 2);
  auto iter = TensorIteratorConfig().set_check_mem_overlap(true).add_output(grad_first).add_output(grad_second)
                  .add_const_input(first).add_const_input(second).add_const_input(grad).resize_outputs(false).build();
  op(iter, floating_type(iter, "glu_backward_cpu"));
  return grad_input;
}
Tensor glu_backward(const Tensor& grad, const Tensor& self, int64_t dim) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::glu_backward, grad, self, dim);
  Tensor grad_input = usbgpu::aten::empty(self.sizes(), self.scalar_type());
  return glu_backward_out(grad, self, dim, grad_input);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("gelu.out", &gelu_out);
  m.impl("gelu_backward.grad_input", &gelu_backward_out);
  m.impl("log_sigmoid_forward", &log_sigmoid_forward);
  m.impl("log_sigmoid_forward.output", &log_sigmoid_forward_out);
  m.impl("log_sigmoid_backward", &log_sigmoid_backward);
  m.impl("log_sigmoid_backward.grad_input", &log_sigmoid_backward_out);
  m.impl("glu_backward", &glu_backward);
  m.impl("glu_backward.grad_input", &glu_backward_out);
  m.impl("_prelu_kernel_backward", &prelu_kernel_backward);
}

}  // namespace

REGISTER_PRIVATEUSE1_DISPATCH(elu_stub, &elu_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(elu_backward_stub, &elu_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(softplus_stub, &softplus_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(softplus_backward_stub, &softplus_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(threshold_stub, &threshold_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(hardtanh_backward_stub, &hardtanh_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(hardsigmoid_stub, &hardsigmoid_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(hardsigmoid_backward_stub, &hardsigmoid_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(hardswish_stub, &hardswish_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(hardswish_backward_stub, &hardswish_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(hardshrink_stub, &hardshrink_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(softshrink_stub, &softshrink_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(shrink_backward_stub, &shrink_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(leaky_relu_stub, &leaky_relu_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(leaky_relu_backward_stub, &leaky_relu_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(glu_stub, &glu_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(silu_stub, &silu_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(silu_backward_stub, &silu_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(mish_stub, &mish_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(mish_backward_stub, &mish_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(prelu_stub, &prelu_usbgpu)

}  // namespace at::native
