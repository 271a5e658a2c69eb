// Fused optimisers and gradient scaling. Kernels: torch_usbgpu/kernels/optim.hip.
#include <ATen/core/Tensor.h>
#include <ATen/native/ForeachUtils.h>
#include <torch/library.h>

#include "aten/backend/fallback.h"
#include "aten/launch.h"
#include "aten/multi_tensor.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using at::TensorList;

uint64_t address_or_none(const std::optional<Tensor>& tensor) {
  return tensor && tensor->defined() ? address(*tensor) : 0;
}

void check_float_scalar(const char* op, const char* name, const std::optional<Tensor>& tensor) {
  if (!tensor || !tensor->defined()) return;
  check_on_device(op, name, *tensor);
  TORCH_CHECK(tensor->scalar_type() == at::kFloat && tensor->numel() == 1, op, ": ", name,
              " must be a float32 tensor of one element, but is ", tensor->scalar_type(), " of ", tensor->sizes());
}

void check_optimizer_lists(const char* op, at::ArrayRef<TensorList> lists) {
  for (const TensorList& list : lists) {
    TORCH_CHECK(list.size() == lists[0].size(), op, ": lists of tensors must have the same length, got ", lists[0].size(),
                " and ", list.size());
    for (const Tensor& tensor : list) check_on_device(op, "every tensor", tensor);
  }
  TORCH_CHECK(at::native::check_fast_path_restrictions(lists), op,
              ": parameters, gradients and states must have the same dtype, device and layout");
  for (const Tensor& tensor : lists[0]) {
    TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(tensor.scalar_type()) && dtype_supported(tensor.scalar_type()), '"', op,
                                "\" not implemented for '", at::toString(tensor.scalar_type()), "'");
  }
}

// A learning rate: a number, or the address of a float32 tensor.
struct LearningRate {
  double value = 0;
  uint64_t tensor = 0;
};

LearningRate learning_rate(const char* op, const Tensor& lr) {
  if (lr.is_cpu()) return {lr.item().toDouble(), 0};
  check_float_scalar(op, "lr", lr);
  return {0, address(lr)};
}

struct AdamSettings {
  LearningRate lr;
  double beta1, beta2, weight_decay, epsilon;
  bool amsgrad, maximize, decoupled;
};

void adam(const char* op, TensorList self, TensorList grads, TensorList exp_avgs, TensorList exp_avg_sqs,
          TensorList max_exp_avg_sqs, TensorList state_steps, const AdamSettings& settings,
          const std::optional<Tensor>& grad_scale, const std::optional<Tensor>& found_inf) {
  static KernelCache cache;
  if (self.empty()) return;
  if (settings.amsgrad) check_optimizer_lists(op, {self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs});
  else check_optimizer_lists(op, {self, grads, exp_avgs, exp_avg_sqs});
  TORCH_CHECK(state_steps.size() == self.size(), op, ": expected ", self.size(), " state_steps, got ", state_steps.size());
  for (const Tensor& step : state_steps) check_float_scalar(op, "state_steps", step);
  check_float_scalar(op, "grad_scale", grad_scale);
  check_float_scalar(op, "found_inf", found_inf);
  const ScalarType type = self[0].scalar_type();
  const bool decoupled = settings.decoupled, amsgrad = settings.amsgrad;
  Kernel* kernel = cache.get(key(type, decoupled, amsgrad), [&] {
    const std::string symbol = std::string(decoupled ? "adamw_" : "adam_") + (amsgrad ? "amsgrad_" : "") + dtype_name(type);
    return multi_tensor_source(symbol, "AdamArgs", std::string("adam<") + dtype_c_type(type) + (decoupled ? ", true" : ", false") +
                                                       (amsgrad ? ", true>" : ", false>"));
  });
  usbgpu_family::AdamArgs args{};
  args.lr = settings.lr.value, args.lr_tensor = settings.lr.tensor;
  args.beta1 = settings.beta1, args.beta2 = settings.beta2;
  args.weight_decay = settings.weight_decay, args.epsilon = settings.epsilon;
  args.grad_scale = address_or_none(grad_scale), args.found_inf = address_or_none(found_inf);
  args.maximize = settings.maximize;
  multi_tensor<5>(kernel, {self, grads, exp_avgs, exp_avg_sqs, amsgrad ? max_exp_avg_sqs : TensorList()}, args,
                  [&](size_t i) { return address(state_steps[i]); });
}

template <bool Decoupled>
void fused_adam(TensorList self, TensorList grads, TensorList exp_avgs, TensorList exp_avg_sqs, TensorList max_exp_avg_sqs,
                TensorList state_steps, double lr, double beta1, double beta2, double weight_decay, double eps, bool amsgrad,
                bool maximize, const std::optional<Tensor>& grad_scale, const std::optional<Tensor>& found_inf) {
  adam(Decoupled ? "_fused_adamw_" : "_fused_adam_", self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps,
       {{lr, 0}, beta1, beta2, weight_decay, eps, amsgrad, maximize, Decoupled}, grad_scale, found_inf);
}

template <bool Decoupled>
void fused_adam_tensor_lr(TensorList self, TensorList grads, TensorList exp_avgs, TensorList exp_avg_sqs,
                          TensorList max_exp_avg_sqs, TensorList state_steps, const Tensor& lr, double beta1, double beta2,
                          double weight_decay, double eps, bool amsgrad, bool maximize,
                          const std::optional<Tensor>& grad_scale, const std::optional<Tensor>& found_inf) {
  const char* op = Decoupled ? "_fused_adamw_" : "_fused_adam_";
  adam(op, self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps,
       {learning_rate(op, lr), beta1, beta2, weight_decay, eps, amsgrad, maximize, Decoupled}, grad_scale, found_inf);
}

void sgd(TensorList self, TensorList grads, TensorList momentum_buffers, double weight_decay, double momentum,
         LearningRate lr, double dampening, bool nesterov, bool maximize, bool is_first_step,
         const std::optional<Tensor>& grad_scale, const std::optional<Tensor>& found_inf) {
  static KernelCache cache;
  const char* op = "_fused_sgd_";
  if (self.empty()) return;
  const bool with_momentum = !momentum_buffers.empty();
  TORCH_CHECK(with_momentum || momentum == 0.0, op, ": momentum needs momentum buffers");
  if (with_momentum) check_optimizer_lists(op, {self, grads, momentum_buffers});
  else check_optimizer_lists(op, {self, grads});
  check_float_scalar(op, "grad_scale", grad_scale);
  check_float_scalar(op, "found_inf", found_inf);
  const ScalarType type = self[0].scalar_type();
  Kernel* kernel = cache.get(key(type, with_momentum), [&] {
    return multi_tensor_source(std::string(with_momentum ? "sgd_momentum_" : "sgd_") + dtype_name(type), "SgdArgs",
                               std::string("sgd<") + dtype_c_type(type) + (with_momentum ? ", true>" : ", false>"));
  });
  usbgpu_family::SgdArgs args{};
  args.lr = lr.value, args.lr_tensor = lr.tensor, args.weight_decay = weight_decay;
  args.momentum = momentum, args.dampening = dampening;
  args.grad_scale = address_or_none(grad_scale), args.found_inf = address_or_none(found_inf);
  args.nesterov = nesterov, args.maximize = maximize, args.first_step = is_first_step;
  multi_tensor<3>(kernel, {self, grads, momentum_buffers}, args, kNothingOwn);
}

void fused_sgd(TensorList self, TensorList grads, TensorList momentum_buffer_list, double weight_decay, double momentum,
               double lr, double dampening, bool nesterov, bool maximize, bool is_first_step,
               const std::optional<Tensor>& grad_scale, const std::optional<Tensor>& found_inf) {
  sgd(self, grads, momentum_buffer_list, weight_decay, momentum, {lr, 0}, dampening, nesterov, maximize, is_first_step,
      grad_scale, found_inf);
}

void fused_sgd_tensor_lr(TensorList self, TensorList grads, TensorList momentum_buffer_list, double weight_decay,
                         double momentum, const Tensor& lr, double dampening, bool nesterov, bool maximize,
                         bool is_first_step, const std::optional<Tensor>& grad_scale,
                         const std::optional<Tensor>& found_inf) {
  sgd(self, grads, momentum_buffer_list, weight_decay, momentum, learning_rate("_fused_sgd_", lr), dampening, nesterov,
      maximize, is_first_step, grad_scale, found_inf);
}

// ---- gradient scaling (torch.amp.GradScaler)

void amp_unscale(TensorList self, Tensor& found_inf, const Tensor& inv_scale) {
  static KernelCache cache;
  const char* op = "_amp_foreach_non_finite_check_and_unscale_";
  check_float_scalar(op, "found_inf", found_inf);
  check_float_scalar(op, "inv_scale", inv_scale);
  // Gradients may differ in dtype and layout: one launch for each run of like ones, strided ones densely.
  std::vector<Tensor> dense;
  std::vector<std::pair<Tensor, Tensor>> copies;  // from, to
  for (const Tensor& gradient : self) {
    check_on_device(op, "every tensor", gradient);
    TORCH_CHECK(at::isFloatingType(gradient.scalar_type()) && dtype_supported(gradient.scalar_type()), op,
                ": expected floating point gradients, got ", gradient.scalar_type());
    dense.push_back(gradient.is_non_overlapping_and_dense() ? gradient : gradient.contiguous());
    if (!dense.back().is_same(gradient)) copies.emplace_back(dense.back(), gradient);
  }
  std::stable_sort(dense.begin(), dense.end(), [](const Tensor& a, const Tensor& b) { return a.scalar_type() < b.scalar_type(); });
  for (size_t first = 0; first < dense.size();) {
    const ScalarType type = dense[first].scalar_type();
    size_t end = first;
    while (end < dense.size() && dense[end].scalar_type() == type) ++end;
    Kernel* kernel = cache.get(key(type), [&] {
      return multi_tensor_source(std::string("unscale_") + dtype_name(type), "UnscaleArgs",
                                 std::string("unscale<") + dtype_c_type(type) + ">");
    });
    usbgpu_family::UnscaleArgs args{};
    args.inverse_scale = address(inv_scale), args.found_inf = address(found_inf);
    multi_tensor<1>(kernel, {TensorList(dense.data() + first, end - first)}, args, kNothingOwn);
    first = end;
  }
  for (const auto& [from, to] : copies) to.copy_(from);
}

Tensor& amp_update_scale(Tensor& self, Tensor& growth_tracker, const Tensor& found_inf, double scale_growth_factor,
                         double scale_backoff_factor, int64_t growth_interval) {
  static KernelCache cache;
  const char* op = "_amp_update_scale_";
  check_float_scalar(op, "current_scale", self);
  check_float_scalar(op, "found_inf", found_inf);
  check_on_device(op, "growth_tracker", growth_tracker);
  TORCH_CHECK(growth_tracker.numel() == 1 && growth_tracker.scalar_type() == at::kInt,
              "growth_tracker must be a 1-element int tensor.");
  Kernel* kernel = cache.get(0, []() -> KernelSource { return {"optim", "update_scale", "USBGPU_UPDATE_SCALE(update_scale)"}; });
  const usbgpu_family::UpdateScaleArgs args{address(self),        address(growth_tracker), address(found_inf),
                                            scale_growth_factor,  scale_backoff_factor,    static_cast<int32_t>(growth_interval)};
  launch(kernel, {1, 1, 1}, {32, 1, 1}, args);
  return self;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_fused_adam_", &fused_adam<false>);
  m.impl("_fused_adam_.tensor_lr", &fused_adam_tensor_lr<false>);
  m.impl("_fused_adamw_", &fused_adam<true>);
  m.impl("_fused_adamw_.tensor_lr", &fused_adam_tensor_lr<true>);
  m.impl("_fused_sgd_", &fused_sgd);
  m.impl("_fused_sgd_.tensor_lr", &fused_sgd_tensor_lr);
  m.impl("_amp_foreach_non_finite_check_and_unscale_", &amp_unscale);
  m.impl("_amp_update_scale_", &amp_update_scale);
}

}  // namespace
}  // namespace usbgpu::aten
