// complex64 and complex128: which operators take them is decided operator by operator. Everything else
// sends them to the counted fallback, as other dtypes without kernels.
#pragma once

#include "aten/backend/fallback.h"

namespace usbgpu::aten {

inline bool is_native_complex(at::ScalarType type) { return type == at::kComplexFloat || type == at::kComplexDouble; }

// Like unsupported() of fallback.h, of operators whose kernels know complex numbers.
template <class T>
bool unsupported_even_complex(const T& argument) {
  if constexpr (std::is_base_of_v<at::TensorBase, T>) {
    return argument.defined() && unsupported(argument) && !is_native_complex(argument.scalar_type());
  } else if constexpr (std::is_same_v<T, at::Scalar>) {
    return false;
  } else if constexpr (std::is_same_v<T, at::ScalarType>) {
    return unsupported(argument) && !is_native_complex(argument);
  } else if constexpr (requires { argument.has_value(); *argument; }) {
    return argument.has_value() && unsupported_even_complex(*argument);
  } else if constexpr (requires { argument.begin(); argument.end(); }) {
    if constexpr (!std::is_arithmetic_v<std::remove_cvref_t<decltype(*argument.begin())>>) {
      for (const auto& item : argument) {
        if (unsupported_even_complex(static_cast<const std::remove_cvref_t<decltype(item)>&>(item))) return true;
      }
    }
    return false;
  } else {
    return false;
  }
}

template <class... Arguments>
bool any_unsupported_even_complex(const Arguments&... arguments) {
  return (unsupported_even_complex(arguments) || ...);
}

}  // namespace usbgpu::aten

// FALLBACK_UNLESS_SUPPORTED of operators that compute with complex numbers too.
#define FALLBACK_UNLESS_COMPLEX_SUPPORTED(Op, ...)                                                     \
  if (C10_UNLIKELY(::usbgpu::aten::any_unsupported_even_complex(__VA_ARGS__)))                        \
  return at::native::call_fallback_fn<&::usbgpu::aten::boxed_fallback, Op>::call(__VA_ARGS__)
