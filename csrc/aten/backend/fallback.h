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

// complex64 and complex128: which operators take them is decided operator by operator (backend/complex.h).
inline bool is_native_complex(at::ScalarType type) { return type == at::kComplexFloat || type == at::kComplexDouble; }

enum class Numbers { real, complex_too };

// Does an argument have, or ask for, a dtype without kernels? Anything may be passed.
template <Numbers numbers = Numbers::real, class T>
bool unsupported(const T& argument) {
  constexpr bool complex_too = numbers == Numbers::complex_too;
  if constexpr (std::is_base_of_v<at::TensorBase, T>) {
    return argument.defined() && unsupported<numbers>(argument.scalar_type());
  } else if constexpr (std::is_same_v<T, at::Scalar>) {
    return !complex_too && argument.isComplex();
  } else if constexpr (std::is_same_v<T, at::ScalarType>) {
    return !dtype_supported(argument) && !(complex_too && is_native_complex(argument));
  } else if constexpr (requires { argument.has_value(); *argument; }) {
    return argument.has_value() && unsupported<numbers>(*argument);
  } else if constexpr (requires { argument.begin(); argument.end(); }) {
    if constexpr (!std::is_arithmetic_v<std::remove_cvref_t<decltype(*argument.begin())>>) {
      for (const auto& item : argument) {
        if (unsupported<numbers>(static_cast<const std::remove_cvref_t<decltype(item)>&>(item))) return true;
      }
    }
    return false;
  } else {
    return false;
  }
}

template <Numbers numbers = Numbers::real, class... Arguments>
bool any_unsupported(const Arguments&... arguments) {
  return (unsupported<numbers>(arguments) || ...);
}

}  // namespace usbgpu::aten

// FALLBACK_UNLESS_SUPPORTED(at::_ops::mm_out, self, mat2, out): all arguments of the schema, in order.
// Needs #include <ATen/ops/mm_ops.h>.
#define FALLBACK_UNLESS_SUPPORTED(Op, ...)                                                             \
  if (C10_UNLIKELY(::usbgpu::aten::any_unsupported(__VA_ARGS__)))                                       \
  return at::native::call_fallback_fn<&::usbgpu::aten::boxed_fallback, Op>::call(__VA_ARGS__)
