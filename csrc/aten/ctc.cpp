// ctc_loss and its gradient. Kernels: torch_usbgpu/kernels/ctc.hip.
#include <ATen/core/Tensor.h>
#include <ATen/ops/_ctc_loss_backward_ops.h>
#include <ATen/ops/_ctc_loss_ops.h>
#include <ATen/ops/tensor.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/ctc_args.h"
#include "aten/backend/fallback.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::IntArrayRef;
using at::ScalarType;
using at::Tensor;
using usbgpu_family::CtcArgs;

constexpr const char* kChecking = " (while checking arguments for ctc_loss_allocate_outputs)";

struct Shape {
  int64_t times, batch, classes, states;
  std::vector<int64_t> sizes;   // first target element, time steps, labels of each sample
};

Shape check(const Tensor& log_probs, const Tensor& targets, IntArrayRef input_lengths, IntArrayRef target_lengths, int64_t blank) {
  check_same_device("ctc_loss", {{"log_probs", &log_probs}, {"targets", &targets}});
  TORCH_CHECK(log_probs.numel() > 0, "log_probs tensor must not be empty");
  TORCH_CHECK(log_probs.dim() == 3, "Expected 3-dimensional tensor, but got ", log_probs.dim(),
              "-dimensional tensor for argument #1 'log_probs'", kChecking);
  TORCH_CHECK_NOT_IMPLEMENTED(log_probs.scalar_type() == at::kFloat || log_probs.scalar_type() == at::kDouble,
                              "\"ctc_loss\" not implemented for '", at::toString(log_probs.scalar_type()), "'");
  TORCH_CHECK(targets.scalar_type() == at::kLong || targets.scalar_type() == at::kInt,
              "targets must be of dtype Long or Int, but got ", targets.scalar_type());
  TORCH_CHECK(targets.dim() == 1 || targets.dim() == 2, "Expected 1 to 2 dimensions, but got ", targets.dim(),
              "-dimensional tensor for argument #2 'targets'", kChecking);
  const int64_t times = log_probs.size(0), batch = log_probs.size(1), classes = log_probs.size(2);
  TORCH_CHECK(blank >= 0 && blank < classes, "blank must be in label range");
  TORCH_CHECK(static_cast<int64_t>(input_lengths.size()) == batch, "input_lengths must be of size batch_size");
  TORCH_CHECK(static_cast<int64_t>(target_lengths.size()) == batch, "target_lengths must be of size batch_size");
  Shape shape{times, batch, classes, 1, std::vector<int64_t>(3 * batch)};
  int64_t at = 0, longest = 0;
  for (int64_t n = 0; n < batch; ++n) {
    TORCH_CHECK(target_lengths[n] >= 0, "Expected target_lengths to have value at least 0, but got value ", target_lengths[n], kChecking);
    TORCH_CHECK(input_lengths[n] >= 0, "Expected input_lengths to have value at least 0, but got value ", input_lengths[n], kChecking);
    TORCH_CHECK(input_lengths[n] <= times, "Expected input_lengths to have value at most ", times, ", but got value ",
                input_lengths[n], kChecking);
    shape.sizes[n] = targets.dim() == 1 ? at : n * targets.size(1);
    shape.sizes[batch + n] = input_lengths[n], shape.sizes[2 * batch + n] = target_lengths[n];
    at += target_lengths[n], longest = std::max(longest, target_lengths[n]);
  }
  if (targets.dim() == 1) {
    TORCH_CHECK(targets.size(0) == at, "Expected tensor to have size ", at, " at dimension 0, but got size ", targets.size(0),
                " for argument #2 'targets'", kChecking);
  } else {
    TORCH_CHECK(targets.size(0) == batch, "Expected tensor to have size ", batch, " at dimension 0, but got size ", targets.size(0),
                " for argument #2 'targets'", kChecking);
    TORCH_CHECK(targets.size(1) >= longest, "Expected tensor to have size at least ", longest, " at dimension 1, but got size ",
                targets.size(1), " for argument #2 'targets'", kChecking);
  }
  shape.states = 2 * longest + 1;
  TORCH_CHECK(times < INT32_MAX && classes < INT32_MAX && shape.states < INT32_MAX && batch < INT32_MAX / 4,
              "ctc_loss: this is more than usbgpu's kernels can index");
  return shape;
}

void launch_ctc(const char* form, int number, ScalarType type, ScalarType index, uint32_t groups, const CtcArgs& args) {
  static KernelCache cache;
  Kernel* kernel = cache.get(key(number, type, index), [&]() -> KernelSource {
    const std::string symbol = std::string(form) + "_" + dtype_name(type) + "_" + dtype_name(index);
    return {"ctc", symbol,
            "USBGPU_CTC(" + symbol + ", " + form + ", " + dtype_c_type(type) + ", " + dtype_c_type(index) + ")"};
  });
  launch(kernel, {groups, 1, 1}, {256, 1, 1}, args);
}

CtcArgs arguments(const Tensor& log_probs, const Tensor& targets, const Tensor& sizes, const Shape& shape, int64_t blank) {
  CtcArgs args{};
  args.log_probs = address(log_probs), args.targets = address(targets), args.sizes = address(sizes);
  args.error_block = device().error_block();
  args.stride_t = log_probs.stride(0), args.stride_n = log_probs.stride(1), args.stride_c = log_probs.stride(2);
  args.target_stride = 1;
  args.times = static_cast<uint32_t>(shape.times), args.batch = static_cast<uint32_t>(shape.batch);
  args.classes = static_cast<uint32_t>(shape.classes), args.states = static_cast<uint32_t>(shape.states);
  args.blank = static_cast<uint32_t>(blank);
  return args;
}

Tensor on_device(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::TensorOptions(at::kLong)).to(device);
}

std::tuple<Tensor, Tensor> ctc_loss(const Tensor& log_probs, const Tensor& targets_, IntArrayRef input_lengths, IntArrayRef target_lengths,
                                    int64_t blank, bool zero_infinity) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_ctc_loss, log_probs, targets_, input_lengths, target_lengths, blank, zero_infinity);
  const Shape shape = check(log_probs, targets_, input_lengths, target_lengths, blank);
  const Tensor targets = targets_.contiguous(), sizes = on_device(shape.sizes, log_probs.device());
  Tensor loss = empty({shape.batch}, log_probs.scalar_type());
  Tensor alpha = empty({shape.batch, shape.times, shape.states}, log_probs.scalar_type());
  CtcArgs args = arguments(log_probs, targets, sizes, shape, blank);
  args.alpha = address(alpha), args.loss = address(loss);
  launch_ctc("ctc_alpha", 0, log_probs.scalar_type(), targets.scalar_type(), args.batch, args);
  return {loss, alpha};
}

Tensor ctc_loss_backward(const Tensor& grad, const Tensor& log_probs, const Tensor& targets_, IntArrayRef input_lengths,
                         IntArrayRef target_lengths, const Tensor& loss_, const Tensor& alpha_, int64_t blank, bool zero_infinity) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_ctc_loss_backward, grad, log_probs, targets_, input_lengths, target_lengths, loss_, alpha_, blank,
                            zero_infinity);
  const Shape shape = check(log_probs, targets_, input_lengths, target_lengths, blank);
  const ScalarType type = log_probs.scalar_type();
  check_same_device("ctc_loss_backward", {{"grad", &grad}, {"log_probs", &log_probs}, {"log_alpha", &alpha_}});
  TORCH_CHECK(grad.sizes() == IntArrayRef({shape.batch}) && grad.scalar_type() == type && loss_.sizes() == grad.sizes() &&
              loss_.scalar_type() == type && alpha_.scalar_type() == type &&
              alpha_.sizes() == IntArrayRef({shape.batch, shape.times, shape.states}),
              "ctc_loss_backward: expected a gradient per sample, and what the forward pass returned");
  const Tensor targets = targets_.contiguous(), sizes = on_device(shape.sizes, log_probs.device());
  const Tensor alpha = alpha_.contiguous(), loss = loss_.contiguous(), beta = dense_like(alpha);
  Tensor result = dense_like(log_probs);
  CtcArgs args = arguments(log_probs, targets, sizes, shape, blank);
  args.alpha = address(alpha), args.beta = address(beta), args.loss = address(loss);
  args.grad = address(grad), args.grad_stride = grad.stride(0), args.grad_input = address(result);
  args.zero_infinity = zero_infinity;
  launch_ctc("ctc_beta", 1, type, targets.scalar_type(), args.batch, args);
  launch_ctc("ctc_backward", 2, type, targets.scalar_type(), ceil_div(static_cast<uint64_t>(shape.times) * shape.batch, 8), args);
  return result;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_ctc_loss", &ctc_loss);
  m.impl("_ctc_loss_backward", &ctc_loss_backward);
}

}  // namespace
}  // namespace usbgpu::aten
