#include "aten/backend/fallback.h"

#include "aten/backend/fallback_listener.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/ops/empty_strided.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <set>
#include <span>

namespace usbgpu::aten {

namespace {

struct Record {
  std::mutex mutex;
  std::map<std::string, uint64_t> counts;
  std::set<std::string> warned;
  std::function<void(const std::string&)> listener;
};

Record& record() {
  static auto* the_record = new Record;
  return *the_record;
}

std::atomic<FallbackMode> mode{FallbackMode::warn};

// Never on the CPU: sharing storage with a host copy is impossible (views), and the others are
// what the fallback itself is made of. A missing one is our bug and must show itself.
const char* refusal(const std::string& name) {
  static const std::set<std::string> names = {
      "aten::as_strided", "aten::view", "aten::_reshape_alias", "aten::unfold", "aten::set_", "aten::resize_",
      "aten::empty", "aten::empty_strided", "aten::_copy_from", "aten::_copy_from_and_resize", "aten::copy_",
      "aten::_local_scalar_dense", "aten::alias", "aten::detach", "aten::view_as_real", "aten::view_as_complex"};
  static const std::set<std::string> random = {
      "aten::normal_", "aten::uniform_", "aten::random_", "aten::bernoulli_", "aten::exponential_", "aten::cauchy_",
      "aten::geometric_", "aten::log_normal_", "aten::randperm", "aten::multinomial", "aten::native_dropout"};
  if (names.count(name)) return "a view, factory or copy never runs on the CPU";
  if (random.count(name)) return "random numbers never come from the CPU";
  return nullptr;
}

bool on_device(const c10::IValue& value) {
  if (value.isTensor()) return value.toTensor().defined() && value.toTensor().is_privateuseone();
  if (value.isTensorList()) {
    for (const at::Tensor& tensor : value.toTensorVector()) {
      if (tensor.defined() && tensor.is_privateuseone()) return true;
    }
  }
  return false;
}

// The CPU operator may choose its way by the argument's layout, and autograd's formula asks the original
// for it again later (linalg_det: is A contiguous?). A plain copy to the CPU is contiguous where the
// original has gaps, so such arguments get a copy of the same strides. True if any was replaced.
bool replace_arguments_with_gaps(const c10::FunctionSchema& schema, torch::jit::Stack* stack) {
  const size_t count = schema.arguments().size(), first = stack->size() - count;
  bool replaced = false;
  for (size_t i = 0; i < count; ++i) {
    const c10::IValue& value = (*stack)[first + i];
    if (!value.isTensor() || !on_device(value) || schema.arguments()[i].alias_info()) continue;
    const at::Tensor& tensor = value.toTensor();
    if (tensor.layout() != at::kStrided || tensor.is_non_overlapping_and_dense() || at::has_internal_overlap(tensor) == at::MemOverlap::Yes) continue;
    at::Tensor copy = at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(at::kCPU));
    copy.copy_(tensor);
    (*stack)[first + i] = std::move(copy);
    replaced = true;
  }
  return replaced;
}

// With all device arguments replaced, ATen's fallback has no device to send the results to.
void return_to(c10::Device device, const c10::FunctionSchema& schema, torch::jit::Stack* stack) {
  for (c10::IValue& value : std::span(*stack).last(schema.returns().size())) {
    if (value.isTensor() && value.toTensor().defined() && value.toTensor().is_cpu()) value = value.toTensor().to(device);
  }
}

}  // namespace

void count_fallback(const std::string& full) {
  const auto now = mode.load();
  TORCH_CHECK_NOT_IMPLEMENTED(now != FallbackMode::error, "The operator '", full,
                              "' has no kernel on usbgpu for these arguments, and USBGPU_FALLBACK=error forbids to run "
                              "it on the CPU. Set USBGPU_FALLBACK=warn to allow it.");
  bool first;
  {
    std::lock_guard lock(record().mutex);
    ++record().counts[full];
    first = record().warned.insert(full).second;
  }
  if (record().listener) record().listener(full);
  if (first && now == FallbackMode::warn) {
    TORCH_WARN("The operator '", full, "' has no kernel on usbgpu yet and runs on the CPU: its operands travel over "
               "the cable and back. torch.usbgpu.fallbacks() counts them; USBGPU_FALLBACK=error forbids it.");
  }
}

void boxed_fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& name = op.operator_name();
  const std::string full = c10::toString(name);
  const char* refused = refusal(name.name);
  TORCH_CHECK_NOT_IMPLEMENTED(!refused, "The operator '", full, "' has no kernel for these arguments on usbgpu, and ",
                              refused, ".");
  count_fallback(full);
  // Wrong device mixes would otherwise be hidden by the copies: say it as torch does.
  const auto arguments = torch::jit::last(*stack, op.schema().arguments().size());
  for (const c10::IValue& value : arguments) {
    if (value.isTensor() && value.toTensor().defined()) {
      const at::Tensor& tensor = value.toTensor();
      TORCH_CHECK(tensor.is_privateuseone() || tensor.dim() == 0 || !tensor.is_cpu() || !on_device(arguments[0]),
                  "Expected all tensors to be on the same device, but found at least two devices, usbgpu:0 and ",
                  tensor.device(), "! (in ", full, ")");
    }
  }
  const c10::Device device(c10::DeviceType::PrivateUse1, 0);
  const bool replaced = replace_arguments_with_gaps(op.schema(), stack);
  at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
  if (replaced) return_to(device, op.schema(), stack);
}

std::map<std::string, uint64_t> fallback_counts() {
  std::lock_guard lock(record().mutex);
  return record().counts;
}

void reset_fallback_counts() {
  std::lock_guard lock(record().mutex);
  record().counts.clear();
}

void set_fallback_listener(std::function<void(const std::string&)> listener) {
  record().listener = std::move(listener);
}

void set_fallback_mode(FallbackMode to) { mode = to; }
FallbackMode fallback_mode() { return mode; }

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&boxed_fallback>()); }

}  // namespace usbgpu::aten
