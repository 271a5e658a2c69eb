// The counted road to the CPU for operators, or dtypes, that have no kernel here.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/stack.h>
#include <ATen/native/CPUFallback.h>

#include <map>
#include <string>

#include "aten/launch.h"

namespace usbgpu::aten {

enum class FallbackMode { warn, silent, error };

void boxed_fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack);

// operator name -> times it ran on the CPU since the last reset
std::map<std::string, uint64_t> fallback_counts();
void reset_fallback_counts();
void set_fallback_mode(FallbackMode mode);
FallbackMode fallback_mode();

// Does any of the arguments have a dtype without kernels? Anything may be passed.
inline bool unsupported(const at::TensorBase& t) { return t.defined() && !dtype_supported(t.scalar_type()); }
inline bool unsupported(const std::optional<at::Tensor>& t) { return t.has_value() && unsupported(*t); }
inline bool unsupported(const at::Scalar& s) { return s.isComplex(); }
inline bool unsupported(const std::optional<at::Scalar>& s) { return s.has_value() && s->isComplex(); }
inline bool unsupported(at::ScalarType type) { return !dtype_supported(type); }
inline bool unsupported(std::optional<at::ScalarType> type) { return type.has_value() && !dtype_supported(*type); }
template <class List>
  requires requires(const List& list) { list.begin(); list.end(); }
bool unsupported(const List& list) {
  for (const auto& item : list) {
    if (unsupported(item)) return true;
  }
  return false;
}
template <class Other>
  requires(!requires(const Other& list) { list.begin(); })
constexpr bool unsupported(const Other&) { return false; }

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
