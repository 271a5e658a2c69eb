// DispatchStub kernels with two and more inputs: arithmetic, comparison, logic, bits, clamp, where.
#include <ATen/native/BinaryOps.h>
#include <ATen/native/Lerp.h>
#include <ATen/native/PointwiseOps.h>
#include <ATen/native/Pow.h>
#include <ATen/native/TensorCompare.h>

#include "aten/pointwise.h"

namespace at::native {

namespace {

using usbgpu::aten::arithmetic_type;
using usbgpu::aten::compute_dtype;
using usbgpu::aten::floating_type;
using usbgpu::aten::integral_type;
using usbgpu::aten::Pointwise;

// name -> stub, computed in the common dtype
#define BINARY(NAME)                                                    \
  void NAME##_usbgpu(TensorIteratorBase& iter) {                        \
    static Pointwise op(#NAME);                                         \
    op(iter, arithmetic_type(iter));                                    \
  }
#define FLOATING_BINARY(NAME)                                           \
  void NAME##_usbgpu(TensorIteratorBase& iter) {                        \
    static Pointwise op(#NAME);                                         \
    op(iter, floating_type(iter, #NAME));                               \
  }
#define FLOATING_OR_COMPLEX_BINARY(NAME)                                \
  void NAME##_usbgpu(TensorIteratorBase& iter) {                        \
    static Pointwise op(#NAME);                                         \
    op(iter, isComplexType(iter.common_dtype()) ? arithmetic_type(iter) : floating_type(iter, #NAME)); \
  }
#define INTEGRAL_BINARY(NAME, BOOL_TOO)                                 \
  void NAME##_usbgpu(TensorIteratorBase& iter) {                        \
    static Pointwise op(#NAME);                                         \
    op(iter, integral_type(iter, #NAME "_cpu", BOOL_TOO));                     \
  }
#define BINARY_ITERATOR(NAME)                                           \
  void NAME##_usbgpu(TensorIterator& iter) {                            \
    static Pointwise op(#NAME);                                         \
    op(iter, arithmetic_type(iter));                                    \
  }

void add_usbgpu(TensorIteratorBase& iter, const Scalar& alpha) {
  static Pointwise plain("add_plain"), scaled("add"), minus("sub_plain");
  const auto type = arithmetic_type(iter);
  if (alpha.equal(1)) {
    plain(iter, type);
  } else if (alpha.equal(-1) && type != kBool) {   // what sub() becomes
    minus(iter, type);
  } else {
    scaled(iter, type, {alpha});
  }
}

BINARY(mul)
BINARY(div)

// An integer divided by zero is an error: at once where the zero is a number from the host, else when the
// result is read.
#define DIVISION(NAME)                                                                                      \
  void NAME##_usbgpu(TensorIteratorBase& iter) {                                                            \
    static Pointwise op(#NAME);                                                                             \
    const auto type = arithmetic_type(iter);                                                                \
    const bool zero = isIntegralType(type, false) && iter.numel() != 0 && iter.is_cpu_scalar(2) &&          \
                      !iter.tensor(2).is_nonzero();                                                         \
    TORCH_CHECK(!zero, "ZeroDivisionError");                                                                \
    op.with_address(iter, type, usbgpu::aten::device().error_block());                                      \
  }
DIVISION(div_floor)
DIVISION(div_trunc)
DIVISION(remainder)
DIVISION(fmod)
FLOATING_BINARY(atan2)
FLOATING_BINARY(hypot)
FLOATING_BINARY(copysign)
FLOATING_BINARY(nextafter)
BINARY(heaviside)
FLOATING_BINARY(xlogy)
FLOATING_BINARY(xlog1py)
FLOATING_OR_COMPLEX_BINARY(logaddexp)
FLOATING_BINARY(logaddexp2)
INTEGRAL_BINARY(gcd, false)
INTEGRAL_BINARY(lcm, false)
BINARY(maximum)
BINARY(minimum)
BINARY(fmax)
BINARY(fmin)
INTEGRAL_BINARY(bitwise_and, true)
INTEGRAL_BINARY(bitwise_or, true)
INTEGRAL_BINARY(bitwise_xor, true)
INTEGRAL_BINARY(lshift, false)
INTEGRAL_BINARY(rshift, false)
BINARY(eq)
BINARY(ne)
BINARY(lt)
BINARY(le)
BINARY(gt)
BINARY(ge)
BINARY_ITERATOR(logical_and)
BINARY_ITERATOR(logical_or)
BINARY_ITERATOR(logical_xor)
FLOATING_OR_COMPLEX_BINARY(sigmoid_backward)
FLOATING_OR_COMPLEX_BINARY(tanh_backward)
BINARY(mse)

void pow_usbgpu(TensorIteratorBase& iter) {
  static Pointwise op("pow");
  op(iter, arithmetic_type(iter));
}

void pow_scalar_usbgpu(TensorIteratorBase& iter, const Scalar& exponent) {
  static Pointwise general("pow_scalar"), square("square"), cube("cube"), root("sqrt"), inverse_root("rsqrt"),
      inverse("reciprocal"), inverse_square("reciprocal_square"), copy("copy");
  const auto type = arithmetic_type(iter);
  const bool floating = isFloatingType(type);
  if (exponent.equal(2)) return square(iter, type);
  if (exponent.equal(3)) return cube(iter, type);
  if (exponent.equal(1)) return copy(iter, type);
  if (floating && exponent.equal(0.5)) return root(iter, type);
  if (floating && exponent.equal(-0.5)) return inverse_root(iter, type);
  if (floating && exponent.equal(-1)) return inverse(iter, type);
  if (floating && exponent.equal(-2)) return inverse_square(iter, type);
  general(iter, type, {exponent});
}

void smooth_l1_usbgpu(TensorIteratorBase& iter, double beta) {
  static Pointwise op("smooth_l1");
  op(iter, arithmetic_type(iter), {beta});
}
void huber_usbgpu(TensorIterator& iter, double delta) {
  static Pointwise op("huber");
  op(iter, arithmetic_type(iter), {delta});
}
void logit_backward_usbgpu(TensorIteratorBase& iter, const Scalar& eps) {
  static Pointwise op("logit_backward");
  op(iter, arithmetic_type(iter), {eps});
}

void addcmul_usbgpu(TensorIteratorBase& iter, const Scalar& value) {
  static Pointwise op("addcmul");
  op(iter, arithmetic_type(iter), {value});
}
void addcdiv_usbgpu(TensorIteratorBase& iter, const Scalar& value) {
  static Pointwise op("addcdiv");
  op(iter, arithmetic_type(iter), {value});
}
void mse_backward_usbgpu(TensorIterator& iter, const Scalar& value) {
  static Pointwise op("mse_backward");
  op(iter, arithmetic_type(iter), {value});
}
void smooth_l1_backward_usbgpu(TensorIterator& iter, const Scalar& norm, double beta) {
  static Pointwise op("smooth_l1_backward");
  op(iter, arithmetic_type(iter), {norm, beta});
}
void huber_backward_usbgpu(TensorIterator& iter, const Scalar& norm, double delta) {
  static Pointwise op("huber_backward");
  op(iter, arithmetic_type(iter), {norm, delta});
}

void lerp_scalar_usbgpu(TensorIteratorBase& iter, const Scalar& weight) {
  static Pointwise op("lerp_scalar");
  op(iter, compute_dtype(iter.dtype(0)), {weight});
}
void lerp_usbgpu(TensorIteratorBase& iter) {
  static Pointwise op("lerp");
  op(iter, compute_dtype(iter.dtype(0)));
}

// No common dtype: the condition is bool, and the selected values pass through unchanged.
void where_usbgpu(TensorIterator& iter) {
  static Pointwise op("where", /*bool_operand=*/0);
  op(iter, iter.dtype(0));
}

void clamp_usbgpu(TensorIteratorBase& iter) {
  static Pointwise op("clamp_tensor");
  op(iter, arithmetic_type(iter));
}
void clamp_scalar_usbgpu(TensorIteratorBase& iter, const Scalar& low, const Scalar& high) {
  static Pointwise op("clamp");
  op(iter, arithmetic_type(iter), {low, high});
}
void clamp_min_scalar_usbgpu(TensorIteratorBase& iter, Scalar low) {
  static Pointwise op("clamp_min");
  op(iter, arithmetic_type(iter), {low});
}
void clamp_max_scalar_usbgpu(TensorIteratorBase& iter, Scalar high) {
  static Pointwise op("clamp_max");
  op(iter, arithmetic_type(iter), {high});
}
void isposinf_usbgpu(TensorIteratorBase& iter) {
  static Pointwise op("isposinf");
  op(iter, compute_dtype(iter.dtype(1)));
}
void isneginf_usbgpu(TensorIteratorBase& iter) {
  static Pointwise op("isneginf");
  op(iter, compute_dtype(iter.dtype(1)));
}

}  // namespace

REGISTER_PRIVATEUSE1_DISPATCH(add_stub, &add_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(mul_stub, &mul_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(div_true_stub, &div_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(div_floor_stub, &div_floor_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(div_trunc_stub, &div_trunc_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(remainder_stub, &remainder_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(fmod_stub, &fmod_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(atan2_stub, &atan2_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(hypot_stub, &hypot_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(copysign_stub, &copysign_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(nextafter_stub, &nextafter_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(heaviside_stub, &heaviside_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(xlogy_stub, &xlogy_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(xlog1py_stub, &xlog1py_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(logaddexp_stub, &logaddexp_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(logaddexp2_stub, &logaddexp2_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(gcd_stub, &gcd_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(lcm_stub, &lcm_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(maximum_stub, &maximum_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(minimum_stub, &minimum_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(fmax_stub, &fmax_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(fmin_stub, &fmin_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(bitwise_and_stub, &bitwise_and_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(bitwise_or_stub, &bitwise_or_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(bitwise_xor_stub, &bitwise_xor_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(lshift_stub, &lshift_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(rshift_stub, &rshift_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(eq_stub, &eq_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(ne_stub, &ne_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(lt_stub, &lt_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(le_stub, &le_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(gt_stub, &gt_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(ge_stub, &ge_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(logical_and_stub, &logical_and_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(logical_or_stub, &logical_or_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(logical_xor_stub, &logical_xor_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(sigmoid_backward_stub, &sigmoid_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(tanh_backward_stub, &tanh_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(mse_stub, &mse_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(pow_tensor_tensor_stub, &pow_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(pow_tensor_scalar_stub, &pow_scalar_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(smooth_l1_stub, &smooth_l1_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(huber_stub, &huber_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(logit_backward_stub, &logit_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(addcmul_stub, &addcmul_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(addcdiv_stub, &addcdiv_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(mse_backward_stub, &mse_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(smooth_l1_backward_stub, &smooth_l1_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(huber_backward_stub, &huber_backward_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(lerp_kernel_scalar_weight, &lerp_scalar_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(lerp_kernel_tensor_weight, &lerp_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(where_kernel, &where_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(clamp_stub, &clamp_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(clamp_scalar_stub, &clamp_scalar_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(clamp_min_scalar_stub, &clamp_min_scalar_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(clamp_max_scalar_stub, &clamp_max_scalar_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(isposinf_stub, &isposinf_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(isneginf_stub, &isneginf_usbgpu)

}  // namespace at::native
