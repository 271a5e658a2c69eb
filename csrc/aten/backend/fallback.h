// The counted road to the CPU for operators, or dtypes, that have no kernel here.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/stack.h>
#include <ATen/native/CPUFallback.h>

#include <map>
#include <string>
#include <type_traits>

#include "aten/launch.h"

namespace usbgpu::aten {

enum class FallbackMode { warn, silent, error };

// Counts and, once per operator, warns; throws where USBGPU_FALLBACK forbids it. For operators that must
// take their way to the CPU by hand, because the boxed fallback cannot run them.
void count_fallback(const std::string& full_name);

void boxed_fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack);

// operator name -> times it ran on the CPU since the last reset
std::map<std::string, uint64_t> fallback_counts();
void reset_fallback_counts();
void set_fallback_mode(FallbackMode mode);
FallbackMode fallback_mode();

// Does an argument have, or ask for, a dtype without kernels? Anything may be passed.
template <class T>
bool unsupported(const T& argument) {
  if constexpr (std::is_base_of_v<at::TensorBase, T>) {
    return argument.defined() && !dtype_supported(argument.scalar_type());
  } else if constexpr (std::is_same_v<T, at::Scalar>) {
    return argument.isComplex();
  } else if constexpr (std::is_same_v<T, at::ScalarType>) {
    return !dtype_supported(argument);
  } else if constexpr (requires { argument.has_value(); *argument; }) {
    return argument.has_value() && unsupported(*argument);
  } else if constexpr (requires { argument.begin(); argument.end(); }) {
    if constexpr (!std::is_arithmetic_v<std::remove_cvref_t<decltype(*argument.begin())>>) {
      for (const auto& item : argument) {
        if (unsupported(static_cast<const std::remove_cvref_t<decltype(item)>&>(item))) return true;
      }
    }
    return false;
  } else {
    return false;
  }
}

template <class... Arguments>
bool any_unsupported(const Arguments&... arguments) {
  return (unsupported(arguments) || ...);
}

}  // namespace usbgpu::aten

// FALLBACK_UNLESS_SUPPORTED(at::_ops::mm_out, self, mat2, out): all arguments of the schema, in order.
// Needs #include <ATen/ops/mm_ops.h>.
#define FALLBACK_UNLESS_SUPPORTED(Op, ...)                                                             \
  if (C10_UNLIKELY(::usbgpu::aten::any_unsupported(__VA_ARGS__)))                                       \
  return at::native::call_fallback_fn<&::usbgpu::aten::boxed_fallback, Op>::call(__VA_ARGS__)
