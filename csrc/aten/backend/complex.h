// What operators include whose kernels know complex64 and complex128. Everything else sends them to the counted
// fallback, as other dtypes without kernels.
#pragma once

#include "aten/backend/fallback.h"

namespace usbgpu::aten {

// unsupported() of fallback.h, of such operators.
template <class T>
bool unsupported_even_complex(const T& argument) {
  return unsupported<Numbers::complex_too>(argument);
}

}  // namespace usbgpu::aten

// FALLBACK_UNLESS_SUPPORTED of operators that compute with complex numbers too.
#define FALLBACK_UNLESS_COMPLEX_SUPPORTED(Op, ...)                                                                   \
  if (C10_UNLIKELY(::usbgpu::aten::any_unsupported<::usbgpu::aten::Numbers::complex_too>(__VA_ARGS__)))              \
  return at::native::call_fallback_fn<&::usbgpu::aten::boxed_fallback, Op>::call(__VA_ARGS__)
