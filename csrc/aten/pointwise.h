// Launches an operation of kernels/pointwise_ops.h over a TensorIterator.
#pragma once

#include <ATen/native/TensorIterator.h>
#include <c10/core/Scalar.h>

#include <initializer_list>

#include "aten/launch.h"

namespace usbgpu::aten {

struct Undefined;

// A name in pointwise_ops.h, or in <family>_ops.h of another family that includes pointwise.hip. Make it a static object: it holds the kernels found so far.
class Pointwise {
 public:
  // bool_operand: the one input (0 = first) that the operation takes as bool (where, masked_fill)
  explicit Pointwise(const char* name, int bool_operand = -1, const char* family = "pointwise");

  // One output (two: the operations of pair_ops.h, family "pair"), up to kMaxInputs inputs. arithmetic: the type the operation computes in. Operands of
  // other types are converted when loaded, CPU scalars travel in the arguments.
  void operator()(at::TensorIteratorBase& iter, at::ScalarType arithmetic,
                  std::initializer_list<at::Scalar> params = {});
  // The same with one parameter that is no number of the arithmetic type: an address.
  void with_address(at::TensorIteratorBase& iter, at::ScalarType arithmetic, uint64_t address);

  static constexpr int kMaxInputs = 4;
  static constexpr int kMaxParams = 4;

 private:
  void check_defined(at::ScalarType arithmetic) const;   // for this dtype, on the CPU
  void run(at::TensorIteratorBase& iter, at::ScalarType arithmetic, const uint64_t* params, int param_count);

  const char* name_;
  const char* family_;
  int bool_operand_;
  const struct Undefined* undefined_;
  KernelCache cache_;
};

// The type to compute in: the iterator's common dtype, with f16 and bf16 widened to f32.
inline at::ScalarType arithmetic_type(const at::TensorIteratorBase& iter) { return compute_dtype(iter.common_dtype()); }

// The same, of operations that ATen defines for some types only: the CPU's words for the others.
inline at::ScalarType floating_type(const at::TensorIteratorBase& iter, const char* op) {
  TORCH_CHECK_NOT_IMPLEMENTED(c10::isFloatingType(iter.common_dtype()), "\"", op, "\" not implemented for '", iter.common_dtype(), "'");
  return arithmetic_type(iter);
}
inline at::ScalarType integral_type(const at::TensorIteratorBase& iter, const char* op, bool bool_too) {
  TORCH_CHECK_NOT_IMPLEMENTED(c10::isIntegralType(iter.common_dtype(), bool_too), "\"", op, "\" not implemented for '",
                              iter.common_dtype(), "'");
  return iter.common_dtype();
}

// The bits of a value as `type`, in the low end of a word (what from_bits of kernels/convert.h reads).
uint64_t scalar_bits(const at::Scalar& value, at::ScalarType type);

}  // namespace usbgpu::aten
