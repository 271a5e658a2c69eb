// DispatchStub kernels with one input.
#include <ATen/native/UnaryOps.h>
#include <ATen/ops/frexp_native.h>
#include <ATen/ops/frexp_ops.h>
#include <torch/library.h>

#include <cmath>
#include <limits>

#include "aten/backend/fallback.h"
#include "aten/pointwise.h"

namespace at::native {

namespace {

using usbgpu::aten::arithmetic_type;
using usbgpu::aten::compute_dtype;
using usbgpu::aten::Pointwise;

#define UNARY(NAME)                                \
  void NAME##_usbgpu(TensorIteratorBase& iter) {   \
    static Pointwise op(#NAME);                    \
    op(iter, arithmetic_type(iter));               \
  }

UNARY(acos)
UNARY(acosh)
UNARY(asinh)
UNARY(atanh)
UNARY(asin)
UNARY(atan)
UNARY(ceil)
UNARY(cos)
UNARY(cosh)
UNARY(erf)
UNARY(erfc)
UNARY(exp)
UNARY(exp2)
UNARY(expm1)
UNARY(floor)
UNARY(frac)
UNARY(log)
UNARY(log10)
UNARY(log1p)
UNARY(log2)
UNARY(neg)
UNARY(reciprocal)
UNARY(round)
UNARY(rsqrt)
UNARY(sigmoid)
UNARY(sign)
UNARY(sin)
UNARY(sinc)
UNARY(sinh)
UNARY(sqrt)
UNARY(tan)
UNARY(tanh)
UNARY(trunc)
UNARY(angle)
UNARY(abs)
UNARY(entr)

void bitwise_not_usbgpu(TensorIteratorBase& iter) {
  static Pointwise op("bitwise_not");
  op(iter, usbgpu::aten::integral_type(iter, "bitwise_not", /*bool_too=*/true));
}

// The output may have another dtype than the (only) input here, and there is no common one.
void logical_not_usbgpu(TensorIteratorBase& iter) {
  static Pointwise op("logical_not");
  op(iter, compute_dtype(iter.dtype(1)));
}
void signbit_usbgpu(TensorIteratorBase& iter) {
  static Pointwise floating("signbit"), integer("signbit_integer");
  const auto type = compute_dtype(iter.dtype(1));
  (isFloatingType(type) ? floating : integer)(iter, type);
}
// Of a real number its own sign; of a complex one sign's specialisation.
void sgn_usbgpu(TensorIteratorBase& iter) { sign_usbgpu(iter); }
void conj_physical_usbgpu(TensorIteratorBase& iter) {
  static Pointwise copy("copy"), conj("conj");
  (isComplexType(iter.dtype(0)) ? conj : copy)(iter, arithmetic_type(iter));
}

void logit_usbgpu(TensorIteratorBase& iter, const Scalar& eps) {
  static Pointwise op("logit");
  op(iter, arithmetic_type(iter), {eps});
}

void round_decimals_usbgpu(TensorIteratorBase& iter, int64_t decimals) {
  static Pointwise up("round_decimals_up"), down("round_decimals_down");
  const double power = std::pow(10.0, static_cast<double>(std::abs(decimals)));
  (decimals >= 0 ? up : down)(iter, arithmetic_type(iter), {power});
}

void nan_to_num_usbgpu(TensorIteratorBase& iter, std::optional<double> nan, std::optional<double> positive,
                       std::optional<double> negative) {
  static Pointwise op("nan_to_num");
  const auto type = iter.dtype(0);
  const double largest = type == kHalf       ? 65504.0
                         : type == kBFloat16 ? static_cast<double>(std::numeric_limits<c10::BFloat16>::max())
                         : type == kFloat    ? static_cast<double>(std::numeric_limits<float>::max())
                                             : std::numeric_limits<double>::max();
  const auto bound = [&](std::optional<double> value, double otherwise) {
    if (!value) return Scalar(otherwise);
    // f32 arithmetic stands for f16 too: what does not fit is infinite there already
    return Scalar(type == kDouble ? *value : static_cast<double>(static_cast<float>(*value)));
  };
  op(iter, compute_dtype(type), {Scalar(nan.value_or(0.0)), bound(positive, largest), bound(negative, -largest)});
}

// Mantissa and exponent: one launch for both.
void frexp_usbgpu(TensorIteratorBase& iter) {
  static Pointwise op("frexp", -1, "pair");
  op(iter, compute_dtype(iter.dtype(0)));
}
std::tuple<Tensor&, Tensor&> frexp_out_usbgpu(const Tensor& self, Tensor& mantissa, Tensor& exponent) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::frexp_Tensor_out, self, mantissa, exponent);
  return frexp_out(self, mantissa, exponent);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) { m.impl("frexp.Tensor_out", &frexp_out_usbgpu); }

}  // namespace

REGISTER_PRIVATEUSE1_DISPATCH(frexp_stub, &frexp_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(acos_stub, &acos_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(acosh_stub, &acosh_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(asinh_stub, &asinh_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(atanh_stub, &atanh_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(asin_stub, &asin_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(atan_stub, &atan_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(bitwise_not_stub, &bitwise_not_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(ceil_stub, &ceil_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(cos_stub, &cos_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(cosh_stub, &cosh_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(erf_stub, &erf_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(erfc_stub, &erfc_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(exp_stub, &exp_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(exp2_stub, &exp2_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(expm1_stub, &expm1_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(floor_stub, &floor_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(frac_stub, &frac_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(log_stub, &log_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(log10_stub, &log10_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(log1p_stub, &log1p_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(log2_stub, &log2_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(neg_stub, &neg_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(reciprocal_stub, &reciprocal_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(round_stub, &round_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(rsqrt_stub, &rsqrt_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(sigmoid_stub, &sigmoid_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(sign_stub, &sign_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(sin_stub, &sin_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(sinc_stub, &sinc_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(sinh_stub, &sinh_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(sqrt_stub, &sqrt_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(tan_stub, &tan_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(tanh_stub, &tanh_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(trunc_stub, &trunc_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(angle_stub, &angle_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(abs_stub, &abs_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(logical_not_stub, &logical_not_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(signbit_stub, &signbit_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(sgn_stub, &sgn_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(conj_physical_stub, &conj_physical_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(logit_stub, &logit_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(round_decimals_stub, &round_decimals_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(nan_to_num_stub, &nan_to_num_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_entr_stub, &entr_usbgpu)

}  // namespace at::native
