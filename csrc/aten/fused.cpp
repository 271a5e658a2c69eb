// Operators that ATen's shared functions would take a launch or more further than CUDA goes: where with a number on the
// host, x[mask] = value, addr. Kernels: torch_usbgpu/kernels/pointwise.hip.
#include <ATen/MemoryOverlap.h>
#include <ATen/TensorIterator.h>
#include <ATen/native/LinearAlgebra.h>
#include <ATen/ops/result_type.h>
#include <ATen/ops/_index_put_impl_native.h>
#include <ATen/ops/_index_put_impl_ops.h>
#include <ATen/ops/addr_native.h>
#include <ATen/ops/addr_ops.h>
#include <ATen/ops/where_native.h>
#include <ATen/ops/where_ops.h>
#include <torch/library.h>

#include "aten/backend/complex.h"
#include "aten/pointwise.h"

namespace usbgpu::aten {
namespace {

using at::Scalar;
using at::Tensor;

bool on_device(const Tensor& tensor) { return tensor.device().type() == at::kPrivateUse1; }
bool is_number(const Tensor& tensor) { return tensor.is_cpu() && tensor.dim() == 0; }

// ---- where: a number travels in the arguments of the launch; ATen would make a tensor of it first

bool takes_numbers(const Tensor& condition, const Tensor& self, const Tensor& other) {
  const auto fits = [](const Tensor& x) { return (is_number(x) || on_device(x)) && dtype_supported(x.scalar_type()); };
  return on_device(condition) && condition.scalar_type() == at::kBool && fits(self) && fits(other) &&
         is_number(self) != is_number(other);   // TensorIterator takes one
}

void where_with_numbers(const Tensor& condition, const Tensor& self, const Tensor& other, Tensor& out) {
  static Pointwise op("where", /*bool_operand=*/0);
  const auto type = at::result_type(self, other);
  TORCH_CHECK(out.scalar_type() == type, "Expected out type to be ", type, " but got ", out.scalar_type());
  auto iter = at::TensorIteratorConfig()
                  .check_all_same_dtype(false)
                  .allow_cpu_scalars(true)
                  .add_output(out)
                  .add_owned_const_input(condition)
                  .add_owned_const_input(self.to(type))
                  .add_owned_const_input(other.to(type))
                  .build();
  op(iter, type);
}

Tensor where(const Tensor& condition, const Tensor& self, const Tensor& other) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::where_self, condition, self, other);
  if (!takes_numbers(condition, self, other)) return at::native::where(condition, self, other);
  Tensor out = empty({0}, at::result_type(self, other));
  where_with_numbers(condition, self, other, out);
  return out;
}
Tensor& where_out(const Tensor& condition, const Tensor& self, const Tensor& other, Tensor& out) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::where_self_out, condition, self, other, out);
  if (!on_device(out) || !takes_numbers(condition, self, other)) return at::native::where_self_out(condition, self, other, out);
  where_with_numbers(condition, self, other, out);
  return out;
}

// ---- x[..., mask, ...] = one value: chosen where it stands. ATen lists the mask's places first (three launches
// and a wait) unless the value is on the host, and Python puts it there for CUDA only.

using Indices = c10::List<std::optional<Tensor>>;

// The mask in self's dimensions; undefined unless that is all there is to do.
Tensor only_mask(const Tensor& self, const Indices& indices, const Tensor& value) {
  if (value.numel() != 1 || value.scalar_type() != self.scalar_type() || !on_device(self) || !on_device(value) ||
      at::has_internal_overlap(self) == at::MemOverlap::Yes)
    return Tensor();
  Tensor mask;
  int64_t dim = 0;   // of self, behind the indices so far
  for (const std::optional<Tensor>& index : indices) {
    if (!index || !index->defined()) {
      ++dim;
      continue;
    }
    if (mask.defined() || index->scalar_type() != at::kBool || !on_device(*index) || index->dim() == 0 ||
        dim + index->dim() > self.dim() || index->is_alias_of(self))
      return Tensor();
    if (index->sizes() != self.sizes().slice(dim, index->dim())) return Tensor();   // ATen has the error for it
    mask = *index;
    for (int64_t d = 0; d < dim; ++d) mask = mask.unsqueeze(0);
    dim += index->dim();
  }
  if (!mask.defined()) return Tensor();
  while (mask.dim() < self.dim()) mask = mask.unsqueeze(-1);
  return mask;
}

Tensor& index_put_impl_(Tensor& self, const Indices& indices, const Tensor& values, bool accumulate, bool unsafe) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::_index_put_impl_, self, indices, values, accumulate, unsafe);
  const Tensor mask = accumulate ? Tensor() : only_mask(self, indices, values);
  if (!mask.defined()) return at::native::_index_put_impl_(self, indices, values, accumulate, unsafe);
  const Tensor value = values.reshape({});
  return self.masked_fill_(mask, value.is_alias_of(self) ? value.clone() : value);
}

// ---- addr: beta self + alpha vec1 vec2^T in one launch. ATen's function is one for CPU and CUDA; of complex
// operands it makes a sum of a product.

Tensor addr(const Tensor& self, const Tensor& vec1, const Tensor& vec2, const Scalar& beta, const Scalar& alpha) {
  if (self.is_complex() || vec1.is_complex() || vec2.is_complex() || beta.isComplex() || alpha.isComplex())
    return at::native::math_addr(self, vec1, vec2, beta, alpha);
  FALLBACK_UNLESS_SUPPORTED(at::_ops::addr, self, vec1, vec2, beta, alpha);
  return at::native::addr(self, vec1, vec2, beta, alpha);
}
Tensor& addr_out(const Tensor& self, const Tensor& vec1, const Tensor& vec2, const Scalar& beta, const Scalar& alpha, Tensor& out) {
  if (self.is_complex() || vec1.is_complex() || vec2.is_complex() || out.is_complex() || beta.isComplex() || alpha.isComplex())
    return at::native::math_addr_out(self, vec1, vec2, beta, alpha, out);
  FALLBACK_UNLESS_SUPPORTED(at::_ops::addr_out, self, vec1, vec2, beta, alpha, out);
  return at::native::addr_out(self, vec1, vec2, beta, alpha, out);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("where.self", &where);
  m.impl("where.self_out", &where_out);
  m.impl("_index_put_impl_", &index_put_impl_);
  m.impl("addr", &addr);
  m.impl("addr.out", &addr_out);
}

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
namespace {

// What is multiplied by 0 may be infinite and does not show.
void addr_usbgpu(TensorIterator& iter, const Scalar& beta, const Scalar& alpha) {
  static usbgpu::aten::Pointwise op("addr"), product("addr_product");
  (beta.toDouble() == 0 ? product : op)(iter, usbgpu::aten::arithmetic_type(iter), {beta, alpha});
}

}  // namespace

REGISTER_PRIVATEUSE1_DISPATCH(addr_stub, &addr_usbgpu)

}  // namespace at::native
