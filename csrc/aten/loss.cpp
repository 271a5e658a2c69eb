// Negative log likelihood. Kernels: torch_usbgpu/kernels/loss.hip.
#include <ATen/core/Tensor.h>
#include <ATen/core/Reduction.h>
#include <ATen/ops/nll_loss2d_backward_ops.h>
#include <ATen/ops/nll_loss2d_forward_ops.h>
#include <ATen/ops/nll_loss_backward_meta.h>
#include <ATen/ops/nll_loss_backward_ops.h>
#include <ATen/ops/nll_loss_forward_meta.h>
#include <ATen/ops/nll_loss_forward_ops.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/loss_args.h"
#include "aten/backend/fallback.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using usbgpu_family::NllArgs;

void check_dtypes(const char* op, const Tensor& self, const Tensor& target, const std::optional<Tensor>& weight) {
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(self.scalar_type()), '"', op, "\" not implemented for '",
                              at::toString(self.scalar_type()), "'");
  TORCH_CHECK(target.scalar_type() == at::kLong || target.scalar_type() == at::kByte, op,
              ": expected target of scalar type Long or Byte but found ", target.scalar_type());
  TORCH_CHECK(!weight || !weight->defined() || weight->scalar_type() == self.scalar_type(), op,
              ": expected weight of scalar type ", self.scalar_type(), " but found ",
              weight && weight->defined() ? weight->scalar_type() : at::kFloat);
}

at::OptionalTensorRef optional(const std::optional<Tensor>& tensor) {
  return tensor && tensor->defined() ? at::OptionalTensorRef(*tensor) : at::OptionalTensorRef();
}

Tensor contiguous_weight(const std::optional<Tensor>& weight) {
  return weight && weight->defined() ? weight->contiguous() : Tensor();
}

// input: contiguous [N, C, ...] or [C]; target contiguous
NllArgs arguments(const char* op, const Tensor& input, const Tensor& target, const Tensor& weight, int64_t reduction,
                  int64_t ignore_index) {
  NllArgs args{};
  const int64_t batch = input.dim() == 1 ? 1 : input.size(0), classes = input.dim() == 1 ? input.size(0) : input.size(1);
  const int64_t inner = input.dim() > 2 ? input.size(2) * input.size(3) : 1;
  TORCH_CHECK(batch < INT32_MAX && classes < INT32_MAX && inner < INT32_MAX, op, ": ", input.sizes(),
              " is more than usbgpu's kernels can index");
  args.input = address(input), args.target = address(target), args.weight = weight.defined() ? address(weight) : 0;
  args.batch = static_cast<uint32_t>(batch), args.classes = static_cast<uint32_t>(classes);
  args.inner = static_cast<uint32_t>(inner), args.mean = reduction == at::Reduction::Mean;
  args.ignore_index = ignore_index;
  return args;
}

enum class NllForm { each, reduce, backward_each, backward_reduced };

void launch_nll(NllForm form, ScalarType type, ScalarType index, uint64_t threads, const NllArgs& args) {
  static KernelCache cache;
  Kernel* kernel = cache.get(key(form, type, index), [&]() -> KernelSource {
    static constexpr const char* names[] = {"nll_each", "nll_reduce", "nll_backward", "nll_backward"};
    static constexpr const char* symbols[] = {"nll_each_", "nll_reduce_", "nll_backward_each_", "nll_backward_reduced_"};
    static constexpr const char* last[] = {"", "", ", false", ", true"};
    const auto i = static_cast<size_t>(form);
    const std::string symbol = std::string(symbols[i]) + dtype_name(type) + "_" + dtype_name(index);
    return {"loss", symbol,
            "USBGPU_NLL(" + symbol + ", " + names[i] + ", " + dtype_c_type(type) + ", " + dtype_c_type(index) + last[i] + ")"};
  });
  launch(kernel, {ceil_div(threads, 256), 1, 1}, {256, 1, 1}, args);
}

// output and total_weight have their sizes and dtype
void forward(const char* op, const Tensor& self, const Tensor& target_, const std::optional<Tensor>& weight_,
             int64_t reduction, int64_t ignore_index, const Tensor& output, const Tensor& total_weight) {
  check_dtypes(op, self, target_, weight_);
  const Tensor input = self.contiguous(), target = target_.contiguous(), weight = contiguous_weight(weight_);
  NllArgs args = arguments(op, input, target, weight, reduction, ignore_index);
  args.error_block = device().error_block();
  if (reduction == at::Reduction::None && self.dim() != 1) {
    total_weight.zero_();
    if (output.numel() == 0) return;
    const Tensor result = output.is_contiguous() ? output : dense_like(output);
    args.output = address(result);
    launch_nll(NllForm::each, self.scalar_type(), target.scalar_type(), output.numel(), args);
    if (!result.is_same(output)) output.copy_(result);
    return;
  }
  args.output = address(output), args.total_weight = address(total_weight);
  launch_nll(NllForm::reduce, self.scalar_type(), target.scalar_type(), 1, args);
}

void backward(const char* op, const Tensor& grad_output, const Tensor& self, const Tensor& target_,
              const std::optional<Tensor>& weight_, int64_t reduction, int64_t ignore_index, const Tensor& total_weight,
              const Tensor& grad_input) {
  check_dtypes(op, self, target_, weight_);
  TORCH_CHECK(grad_output.scalar_type() == self.scalar_type(), op, ": expected grad_output of scalar type ",
              self.scalar_type(), " but found ", grad_output.scalar_type());
  if (grad_input.numel() == 0) return;
  const bool reduced = reduction != at::Reduction::None || self.dim() == 1;
  const Tensor target = target_.contiguous(), weight = contiguous_weight(weight_), grad = grad_output.contiguous();
  const Tensor result = grad_input.is_contiguous() ? grad_input : dense_like(grad_input);
  NllArgs args = arguments(op, self, target, weight, reduction, ignore_index);
  args.grad = address(grad), args.output = address(result), args.total_weight = address(total_weight);
  launch_nll(reduced ? NllForm::backward_reduced : NllForm::backward_each, self.scalar_type(), target.scalar_type(),
             grad_input.numel(), args);
  if (!result.is_same(grad_input)) grad_input.copy_(result);
}

std::tuple<Tensor&, Tensor&> nll_loss_forward_out(const Tensor& self, const Tensor& target, const std::optional<Tensor>& weight,
                                                  int64_t reduction, int64_t ignore_index, Tensor& output,
                                                  Tensor& total_weight) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::nll_loss_forward_output, self, target, weight, reduction, ignore_index, output,
                            total_weight);
  check_same_device("nll_loss_forward", {{"self", &self}, {"target", &target}, {"output", &output}});
  if (weight && weight->defined()) check_same_device("nll_loss_forward", {{"self", &self}, {"weight", &*weight}});
  OutputOf<at::meta::structured_nll_loss_forward> op{&output, &total_weight};
  op.meta(self, target, optional(weight), reduction, ignore_index);
  forward("nll_loss", self, target, weight, reduction, ignore_index, output, total_weight);
  return {output, total_weight};
}

Tensor& nll_loss_backward_out(const Tensor& grad_output, const Tensor& self, const Tensor& target,
                              const std::optional<Tensor>& weight, int64_t reduction, int64_t ignore_index,
                              const Tensor& total_weight, Tensor& grad_input) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::nll_loss_backward_grad_input, grad_output, self, target, weight, reduction,
                            ignore_index, total_weight, grad_input);
  check_same_device("nll_loss_backward", {{"grad_output", &grad_output}, {"self", &self}, {"target", &target}});
  OutputOf<at::meta::structured_nll_loss_backward> op(grad_input);
  op.meta(grad_output, self, target, optional(weight), reduction, ignore_index, total_weight);
  backward("nll_loss_backward", grad_output, self, target, weight, reduction, ignore_index, total_weight, grad_input);
  return grad_input;
}

void check_2d(const Tensor& self, const Tensor& target, const std::optional<Tensor>& weight) {
  TORCH_CHECK(target.dim() == 3, "only batches of spatial targets supported (3D tensors) but got targets of dimension: ",
              target.dim());
  TORCH_CHECK(self.dim() == 4, "only batches of spatial inputs supported (4D tensors), but got input of dimension: ", self.dim());
  TORCH_CHECK(!weight || !weight->defined() || weight->numel() == self.size(1),
              "weight tensor should be defined either for all or no classes");
  TORCH_CHECK(self.size(0) == target.size(0) && self.size(2) == target.size(1) && self.size(3) == target.size(2),
              "size mismatch (got input: ", self.sizes(), " , target: ", target.sizes());
}

std::tuple<Tensor&, Tensor&> nll_loss2d_forward_out(const Tensor& self, const Tensor& target, const std::optional<Tensor>& weight,
                                                    int64_t reduction, int64_t ignore_index, Tensor& output,
                                                    Tensor& total_weight) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::nll_loss2d_forward_output, self, target, weight, reduction, ignore_index, output,
                            total_weight);
  check_same_device("nll_loss2d_forward", {{"self", &self}, {"target", &target}, {"output", &output}});
  check_2d(self, target, weight);
  if (reduction == at::Reduction::None) resize_out(output, target.sizes());
  else resize_out(output, {});
  resize_out(total_weight, {});
  forward("nll_loss2d", self, target, weight, reduction, ignore_index, output, total_weight);
  return {output, total_weight};
}

std::tuple<Tensor, Tensor> nll_loss2d_forward(const Tensor& self, const Tensor& target, const std::optional<Tensor>& weight,
                                              int64_t reduction, int64_t ignore_index) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::nll_loss2d_forward, self, target, weight, reduction, ignore_index);
  Tensor output = empty({0}, self.scalar_type()), total_weight = empty({}, self.scalar_type());
  nll_loss2d_forward_out(self, target, weight, reduction, ignore_index, output, total_weight);
  return {output, total_weight};
}

Tensor& nll_loss2d_backward_out(const Tensor& grad_output, const Tensor& self, const Tensor& target,
                                const std::optional<Tensor>& weight, int64_t reduction, int64_t ignore_index,
                                const Tensor& total_weight, Tensor& grad_input) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::nll_loss2d_backward_grad_input, grad_output, self, target, weight, reduction,
                            ignore_index, total_weight, grad_input);
  check_same_device("nll_loss2d_backward", {{"grad_output", &grad_output}, {"self", &self}, {"target", &target}});
  check_2d(self, target, weight);
  resize_out(grad_input, self.sizes());
  backward("nll_loss2d_backward", grad_output, self, target, weight, reduction, ignore_index, total_weight, grad_input);
  return grad_input;
}

Tensor nll_loss2d_backward(const Tensor& grad_output, const Tensor& self, const Tensor& target,
                           const std::optional<Tensor>& weight, int64_t reduction, int64_t ignore_index,
                           const Tensor& total_weight) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::nll_loss2d_backward, grad_output, self, target, weight, reduction, ignore_index,
                            total_weight);
  Tensor grad_input = empty(self.sizes(), self.scalar_type());
  nll_loss2d_backward_out(grad_output, self, target, weight, reduction, ignore_index, total_weight, grad_input);
  return grad_input;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("nll_loss_forward.output", &nll_loss_forward_out);
  m.impl("nll_loss_backward.grad_input", &nll_loss_backward_out);
  m.impl("nll_loss2d_forward", &nll_loss2d_forward);
  m.impl("nll_loss2d_forward.output", &nll_loss2d_forward_out);
  m.impl("nll_loss2d_backward", &nll_loss2d_backward);
  m.impl("nll_loss2d_backward.grad_input", &nll_loss2d_backward_out);
}

}  // namespace
}  // namespace usbgpu::aten
