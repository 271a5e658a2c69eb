// _foreach_*: one launch for many tensors. Kernels: torch_usbgpu/kernels/optim.hip.
//
// Lists that differ in dtype, device or layout, and integers, take ATen's slow path (a loop of
// ordinary operators), as on every device.
#include <ATen/core/Tensor.h>
#include <ATen/native/ForeachUtils.h>
#include <ATen/ops/_foreach_abs_native.h>
#include <ATen/ops/_foreach_add_native.h>
#include <ATen/ops/_foreach_addcdiv_native.h>
#include <ATen/ops/_foreach_addcmul_native.h>
#include <ATen/ops/_foreach_clamp_max_native.h>
#include <ATen/ops/_foreach_clamp_min_native.h>
#include <ATen/ops/_foreach_copy_native.h>
#include <ATen/ops/_foreach_div_native.h>
#include <ATen/ops/_foreach_lerp_native.h>
#include <ATen/ops/_foreach_mul_native.h>
#include <ATen/ops/_foreach_neg_native.h>
#include <ATen/ops/_foreach_norm_native.h>
#include <ATen/ops/_foreach_reciprocal_native.h>
#include <ATen/ops/_foreach_sqrt_native.h>
#include <ATen/ops/_foreach_sub_native.h>
#include <ATen/ops/_foreach_zero_native.h>
#include <torch/library.h>

#include <bit>
#include <cmath>

#include "aten/launch.h"
#include "aten/multi_tensor.h"

namespace usbgpu::aten {
namespace {

using at::Scalar;
using at::ScalarType;
using at::Tensor;
using at::TensorList;
using Scalars = at::ArrayRef<Scalar>;
namespace native = at::native;

// Functors of optim.hip
enum class Op : uint8_t {
  Add, Mul, Div, Sqrt, Reciprocal, Neg, Abs, Fill, ClampMax, ClampMin, AddTensor, MulTensor, DivTensor, Maximum, Minimum,
  Lerp, Addcmul, Addcdiv,
};
constexpr const char* kNames[] = {"Add",  "Mul",       "Div",       "Sqrt",      "Reciprocal", "Neg",     "Abs",  "Fill",    "ClampMax",
                                  "ClampMin", "AddTensor", "MulTensor", "DivTensor", "Maximum",    "Minimum", "Lerp", "Addcmul", "Addcdiv"};

// Can our kernels do it: floating, all alike, on this device, dense, scalars that do not promote.
bool fast(at::ArrayRef<TensorList> lists, Scalars scalars = {}) {
  for (const TensorList& list : lists) {
    for (const Tensor& tensor : list) {
      if (tensor.device().type() != at::kPrivateUse1 || !at::isFloatingType(tensor.scalar_type()) ||
          !dtype_supported(tensor.scalar_type()) || tensor.numel() > int64_t{0xffffffff})
        return false;
    }
  }
  return native::can_use_fast_route(lists, scalars);
}

// lists[0]: results. scalars: none, one, or one per tensor. factor: a 0-dim device tensor, or undefined.
template <size_t Operands>
void map(Op op, const std::array<TensorList, Operands>& lists, Scalars scalars, const Tensor& factor = {}) {
  static KernelCache cache;
  const ScalarType type = lists[0][0].scalar_type();
  Kernel* kernel = cache.get(key(op, type), [&] {
    const char* name = kNames[static_cast<size_t>(op)];
    return multi_tensor_source(std::string("foreach_") + name + "_" + dtype_name(type), "ForeachArgs",
                               std::string("foreach_map<") + dtype_c_type(type) + ", usbgpu_family::Foreach" + name + ", " +
                                   std::to_string(Operands) + ">");
  });
  usbgpu_family::ForeachArgs args{};
  args.scalar_per_tensor = scalars.size() > 1;
  args.scalar = scalars.empty() ? 1.0 : scalars[0].toDouble();
  args.scalar_tensor = factor.defined() ? address(factor) : 0;
  multi_tensor<Operands>(kernel, lists, args, [&](size_t i) {
    return scalars.size() > 1 ? std::bit_cast<uint64_t>(scalars[i].toDouble()) : uint64_t{0};
  });
}

void map(Op op, TensorList out, TensorList a, Scalars scalars, const Tensor& factor = {}) {
  map<2>(op, {out, a}, scalars, factor);
}
void map(Op op, TensorList out, TensorList a, TensorList b, Scalars scalars) { map<3>(op, {out, a, b}, scalars); }
void map(Op op, TensorList out, TensorList a, TensorList b, TensorList c, Scalars scalars) {
  map<4>(op, {out, a, b, c}, scalars);
}

std::vector<Tensor> results_like(TensorList self) {
  std::vector<Tensor> results;
  results.reserve(self.size());
  for (const Tensor& tensor : self) results.push_back(empty_strided(tensor.sizes(), tensor.strides(), tensor.scalar_type()));
  return results;
}

// ---- the operators: each has a functional and an in-place form, with the same kernel

#define FOREACH_UNARY(function, op, slow)                                        \
  std::vector<Tensor> function(TensorList self) {                                \
    native::check_foreach_api_restrictions(self);                                \
    if (!fast({self})) return native::slow(self);                                \
    std::vector<Tensor> out = results_like(self);                                \
    map(op, out, self, Scalars());                                               \
    return out;                                                                  \
  }                                                                              \
  void function##_(TensorList self) {                                            \
    native::check_foreach_api_restrictions(self);                                \
    if (!fast({self})) return native::slow##_(self);                             \
    map(op, self, self, Scalars());                                              \
  }

FOREACH_UNARY(foreach_sqrt, Op::Sqrt, foreach_tensor_sqrt_slow)
FOREACH_UNARY(foreach_neg, Op::Neg, foreach_tensor_neg_slow)
FOREACH_UNARY(foreach_abs, Op::Abs, foreach_tensor_abs_slow)
FOREACH_UNARY(foreach_reciprocal, Op::Reciprocal, foreach_tensor_reciprocal_slow)

// VALUE: what the kernel gets for a scalar
#define FOREACH_SCALAR(function, op, slow, VALUE)                                \
  std::vector<Tensor> function(TensorList self, const Scalar& scalar) {          \
    native::check_foreach_api_restrictions(self);                                \
    if (!fast({self}, {scalar})) return native::slow(self, scalar);              \
    std::vector<Tensor> out = results_like(self);                                \
    map(op, out, self, {VALUE(scalar)});                                         \
    return out;                                                                  \
  }                                                                              \
  void function##_(TensorList self, const Scalar& scalar) {                      \
    native::check_foreach_api_restrictions(self);                                \
    if (!fast({self}, {scalar})) return native::slow##_(self, scalar);           \
    map(op, self, self, {VALUE(scalar)});                                        \
  }

#define FOREACH_SCALARS(function, op, slow, VALUE)                               \
  std::vector<Tensor> function(TensorList self, Scalars scalars) {               \
    native::check_foreach_api_restrictions(self, scalars);                       \
    if (!fast({self}, scalars)) return native::slow(self, scalars);              \
    std::vector<Tensor> out = results_like(self);                                \
    map(op, out, self, each(scalars, VALUE));                                    \
    return out;                                                                  \
  }                                                                              \
  void function##_(TensorList self, Scalars scalars) {                           \
    native::check_foreach_api_restrictions(self, scalars);                       \
    if (!fast({self}, scalars)) return native::slow##_(self, scalars);           \
    map(op, self, self, each(scalars, VALUE));                                   \
  }

Scalar same(const Scalar& scalar) { return scalar; }
Scalar negative(const Scalar& scalar) { return -scalar.toDouble(); }
std::vector<Scalar> each(Scalars scalars, Scalar (*value)(const Scalar&)) {
  std::vector<Scalar> result;
  for (const Scalar& scalar : scalars) result.push_back(value(scalar));
  return result;
}

FOREACH_SCALAR(foreach_add_scalar, Op::Add, foreach_tensor_add_scalar_kernel_slow, same)
FOREACH_SCALAR(foreach_sub_scalar, Op::Add, foreach_tensor_sub_scalar_kernel_slow, negative)
FOREACH_SCALAR(foreach_mul_scalar, Op::Mul, foreach_tensor_mul_scalar_kernel_slow, same)
FOREACH_SCALAR(foreach_div_scalar, Op::Div, foreach_tensor_div_scalar_kernel_slow, same)
FOREACH_SCALAR(foreach_clamp_max_scalar, Op::ClampMax, foreach_tensor_clamp_max_scalar_kernel_slow, same)
FOREACH_SCALAR(foreach_clamp_min_scalar, Op::ClampMin, foreach_tensor_clamp_min_scalar_kernel_slow, same)
FOREACH_SCALARS(foreach_add_scalars, Op::Add, foreach_tensor_add_scalarlist_kernel_slow, same)
FOREACH_SCALARS(foreach_sub_scalars, Op::Add, foreach_tensor_sub_scalarlist_kernel_slow, negative)
FOREACH_SCALARS(foreach_mul_scalars, Op::Mul, foreach_tensor_mul_scalarlist_kernel_slow, same)
FOREACH_SCALARS(foreach_div_scalars, Op::Div, foreach_tensor_div_scalarlist_kernel_slow, same)

#define FOREACH_LIST(function, op, slow)                                         \
  std::vector<Tensor> function(TensorList self, TensorList other) {              \
    native::check_foreach_api_restrictions(self, other);                         \
    if (!fast({self, other})) return native::slow(self, other);                  \
    std::vector<Tensor> out = results_like(self);                                \
    map(op, out, self, other, Scalars());                                        \
    return out;                                                                  \
  }                                                                              \
  void function##_(TensorList self, TensorList other) {                          \
    native::check_foreach_api_restrictions(self, other);                         \
    if (!fast({self, other})) return native::slow##_(self, other);               \
    map(op, self, self, other, Scalars());                                       \
  }

FOREACH_LIST(foreach_mul_list, Op::MulTensor, foreach_tensor_mul_list_kernel_slow)
FOREACH_LIST(foreach_div_list, Op::DivTensor, foreach_tensor_div_list_kernel_slow)
FOREACH_LIST(foreach_maximum_list, Op::Maximum, foreach_tensor_clamp_min_list_kernel_slow)
FOREACH_LIST(foreach_minimum_list, Op::Minimum, foreach_tensor_clamp_max_list_kernel_slow)

// Two lists and a scalar
#define FOREACH_LIST_SCALAR(function, op, slow, VALUE)                                           \
  std::vector<Tensor> function(TensorList self, TensorList other, const Scalar& scalar) {        \
    native::check_foreach_api_restrictions(self, other);                                         \
    if (!fast({self, other}, {scalar})) return native::slow(self, other, scalar);                \
    std::vector<Tensor> out = results_like(self);                                                \
    map(op, out, self, other, {VALUE(scalar)});                                                  \
    return out;                                                                                  \
  }                                                                                              \
  void function##_(TensorList self, TensorList other, const Scalar& scalar) {                    \
    native::check_foreach_api_restrictions(self, other);                                         \
    if (!fast({self, other}, {scalar})) return native::slow##_(self, other, scalar);             \
    map(op, self, self, other, {VALUE(scalar)});                                                 \
  }

FOREACH_LIST_SCALAR(foreach_add_list, Op::AddTensor, foreach_tensor_add_list_kernel_slow, same)
FOREACH_LIST_SCALAR(foreach_sub_list, Op::AddTensor, foreach_tensor_sub_list_kernel_slow, negative)
FOREACH_LIST_SCALAR(foreach_lerp_scalar, Op::Lerp, foreach_tensor_lerp_list_kernel_slow, same)

std::vector<Tensor> foreach_lerp_scalars(TensorList self, TensorList other, Scalars scalars) {
  native::check_foreach_api_restrictions(self, other, scalars);
  if (!fast({self, other}, scalars)) return native::foreach_tensor_lerp_scalarlist_kernel_slow(self, other, scalars);
  std::vector<Tensor> out = results_like(self);
  map(Op::Lerp, out, self, other, scalars);
  return out;
}
void foreach_lerp_scalars_(TensorList self, TensorList other, Scalars scalars) {
  native::check_foreach_api_restrictions(self, other, scalars);
  if (!fast({self, other}, scalars)) return native::foreach_tensor_lerp_scalarlist_kernel_slow_(self, other, scalars);
  map(Op::Lerp, self, self, other, scalars);
}

#define FOREACH_TERNARY(function, op, slow)                                                                   \
  std::vector<Tensor> function##_scalar(TensorList self, TensorList a, TensorList b, const Scalar& value) {   \
    native::check_foreach_api_restrictions(self, a, b);                                                       \
    if (!fast({self, a, b}, {value})) return native::slow##_scalar_slow(self, a, b, value);                   \
    std::vector<Tensor> out = results_like(self);                                                             \
    map(op, out, self, a, b, {value});                                                                        \
    return out;                                                                                               \
  }                                                                                                           \
  void function##_scalar_(TensorList self, TensorList a, TensorList b, const Scalar& value) {                 \
    native::check_foreach_api_restrictions(self, a, b);                                                       \
    if (!fast({self, a, b}, {value})) return native::slow##_scalar_slow_(self, a, b, value);                  \
    map(op, self, self, a, b, {value});                                                                       \
  }                                                                                                           \
  std::vector<Tensor> function##_scalars(TensorList self, TensorList a, TensorList b, Scalars values) {       \
    native::check_foreach_api_restrictions(self, a, b, values);                                               \
    if (!fast({self, a, b}, values)) return native::slow##_scalarlist_slow(self, a, b, values);               \
    std::vector<Tensor> out = results_like(self);                                                             \
    map(op, out, self, a, b, values);                                                                         \
    return out;                                                                                               \
  }                                                                                                           \
  void function##_scalars_(TensorList self, TensorList a, TensorList b, Scalars values) {                     \
    native::check_foreach_api_restrictions(self, a, b, values);                                               \
    if (!fast({self, a, b}, values)) return native::slow##_scalarlist_slow_(self, a, b, values);              \
    map(op, self, self, a, b, values);                                                                        \
  }

FOREACH_TERNARY(foreach_addcmul, Op::Addcmul, foreach_tensor_addcmul)
FOREACH_TERNARY(foreach_addcdiv, Op::Addcdiv, foreach_tensor_addcdiv)

// other: one tensor for the whole list; a 0-dim one of the same dtype on the device takes the fast road
bool is_factor(const Tensor& other, TensorList self) {
  return other.dim() == 0 && other.device() == self[0].device() && other.scalar_type() == self[0].scalar_type();
}
void foreach_mul_tensor_(TensorList self, const Tensor& other) {
  native::check_foreach_api_restrictions(self);
  if (!fast({self}) || !is_factor(other, self)) return native::foreach_tensor_mul_tensor_kernel_slow_(self, other);
  map(Op::Mul, self, self, Scalars(), other);
}
std::vector<Tensor> foreach_mul_tensor(TensorList self, const Tensor& other) {
  native::check_foreach_api_restrictions(self);
  if (!fast({self}) || !is_factor(other, self)) return native::foreach_tensor_mul_tensor_kernel_slow(self, other);
  std::vector<Tensor> out = results_like(self);
  map(Op::Mul, out, self, Scalars(), other);
  return out;
}
void foreach_div_tensor_(TensorList self, const Tensor& other) {
  native::check_foreach_api_restrictions(self);
  if (!fast({self}) || !is_factor(other, self)) return native::foreach_tensor_div_tensor_kernel_slow_(self, other);
  map(Op::Div, self, self, Scalars(), other);
}

void foreach_zero_(TensorList self) {
  native::check_foreach_api_restrictions(self);
  if (!fast({self})) return native::foreach_tensor_zero_slow_(self);
  map<1>(Op::Fill, {self}, {Scalar(0.0)});
}

// Same layout on this device, any two dtypes with kernels (one launch needs them alike within each list).
bool copies_fast(TensorList self, TensorList src) {
  for (size_t i = 0; i < self.size(); ++i) {
    const Tensor &to = self[i], &from = src[i];
    if (!to.device().is_privateuseone() || from.device() != to.device() || !to.is_non_overlapping_and_dense() ||
        to.sizes() != from.sizes() || to.strides() != from.strides() || to.scalar_type() != self[0].scalar_type() ||
        from.scalar_type() != src[0].scalar_type() || !dtype_supported(to.scalar_type()) ||
        !dtype_supported(from.scalar_type()) || to.numel() > int64_t{0xffffffff})
      return false;
  }
  return true;
}
void foreach_copy_(TensorList self, TensorList src, bool non_blocking) {
  static KernelCache cache;
  native::check_foreach_api_restrictions(self, src);
  if (!copies_fast(self, src)) return native::foreach_tensor_copy_list_kernel_slow_(self, src, non_blocking);
  const ScalarType to = self[0].scalar_type(), from = src[0].scalar_type();
  Kernel* kernel = cache.get(key(to, from), [&] {
    return multi_tensor_source(std::string("foreach_copy_") + dtype_name(to) + "_" + dtype_name(from), "ForeachArgs",
                               std::string("foreach_copy<") + dtype_c_type(to) + ", " + dtype_c_type(from) + ">");
  });
  multi_tensor<2>(kernel, {self, src}, usbgpu_family::ForeachArgs{}, kNothingOwn);
}

std::vector<Tensor> foreach_norm(TensorList self, const Scalar& ord, std::optional<ScalarType> dtype) {
  static KernelCache cache;
  native::check_foreach_api_restrictions(self);
  const double p = ord.isIntegral(false) ? static_cast<double>(ord.toLong()) : ord.isFloatingPoint() ? ord.toDouble() : -1.0;
  const ScalarType type = self[0].scalar_type();
  if (!fast({self}) || !(p == 1.0 || p == 2.0 || (std::isinf(p) && p > 0)) || (dtype && *dtype != type))
    return native::foreach_tensor_norm_slow(self, ord, dtype);
  if (std::any_of(self.begin(), self.end(), [](const Tensor& tensor) { return tensor.numel() == 0; }))
    return native::foreach_tensor_norm_slow(self, ord, dtype);
  std::vector<Tensor> out;
  for (size_t i = 0; i < self.size(); ++i) out.push_back(empty({}, type));
  const TensorTable<1> table({self}, [&](size_t i) { return address(out[i]); });
  const Tensor partial = empty({table.chunks()}, compute_dtype(type));
  usbgpu_family::NormArgs args{};
  args.table = table.table(), args.partial = address(partial);
  args.order = std::isinf(p) ? usbgpu_family::kInfinityNorm : static_cast<uint32_t>(p);
  // A group per chunk, then one per tensor.
  const auto run = [&](bool final, uint32_t groups) {
    Kernel* kernel = cache.get(key(final, type), [&] {
      const std::string t = dtype_c_type(type);
      return multi_tensor_source(std::string(final ? "norm_final_" : "norm_partial_") + dtype_name(type), "NormArgs",
                                 final ? "norm_final<" + t + ", " + t + ">" : "norm_partial<" + t + ">");
    });
    launch(kernel, {groups, 1, 1}, {usbgpu_family::kMultiTensorThreads, 1, 1}, args);
  };
  run(false, table.chunks());
  run(true, table.tensors());
  return out;
}

#define IMPL_BOTH(name, overload, function)            \
  m.impl("_foreach_" name overload, &function);        \
  m.impl("_foreach_" name "_" overload, &function##_)

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  IMPL_BOTH("sqrt", "", foreach_sqrt);
  IMPL_BOTH("neg", "", foreach_neg);
  IMPL_BOTH("abs", "", foreach_abs);
  IMPL_BOTH("reciprocal", "", foreach_reciprocal);
  IMPL_BOTH("add", ".Scalar", foreach_add_scalar);
  IMPL_BOTH("add", ".List", foreach_add_list);
  IMPL_BOTH("add", ".ScalarList", foreach_add_scalars);
  IMPL_BOTH("sub", ".Scalar", foreach_sub_scalar);
  IMPL_BOTH("sub", ".List", foreach_sub_list);
  IMPL_BOTH("sub", ".ScalarList", foreach_sub_scalars);
  IMPL_BOTH("mul", ".Scalar", foreach_mul_scalar);
  IMPL_BOTH("mul", ".List", foreach_mul_list);
  IMPL_BOTH("mul", ".ScalarList", foreach_mul_scalars);
  IMPL_BOTH("mul", ".Tensor", foreach_mul_tensor);
  IMPL_BOTH("div", ".Scalar", foreach_div_scalar);
  IMPL_BOTH("div", ".List", foreach_div_list);
  IMPL_BOTH("div", ".ScalarList", foreach_div_scalars);
  m.impl("_foreach_div_.Tensor", &foreach_div_tensor_);
  IMPL_BOTH("clamp_max", ".Scalar", foreach_clamp_max_scalar);
  IMPL_BOTH("clamp_min", ".Scalar", foreach_clamp_min_scalar);
  IMPL_BOTH("maximum", ".List", foreach_maximum_list);
  IMPL_BOTH("minimum", ".List", foreach_minimum_list);
  IMPL_BOTH("lerp", ".Scalar", foreach_lerp_scalar);
  IMPL_BOTH("lerp", ".ScalarList", foreach_lerp_scalars);
  IMPL_BOTH("addcmul", ".Scalar", foreach_addcmul_scalar);
  IMPL_BOTH("addcmul", ".ScalarList", foreach_addcmul_scalars);
  IMPL_BOTH("addcdiv", ".Scalar", foreach_addcdiv_scalar);
  IMPL_BOTH("addcdiv", ".ScalarList", foreach_addcdiv_scalars);
  m.impl("_foreach_zero_", &foreach_zero_);
  m.impl("_foreach_copy_", &foreach_copy_);
  m.impl("_foreach_norm.Scalar", &foreach_norm);
}

}  // namespace
}  // namespace usbgpu::aten
