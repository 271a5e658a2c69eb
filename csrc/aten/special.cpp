// Special functions. Kernels: torch_usbgpu/kernels/special.hip.
#include <ATen/native/BinaryOps.h>
#include <ATen/native/UnaryOps.h>

#include "aten/pointwise.h"

namespace at::native {

namespace {

using usbgpu::aten::arithmetic_type;
using usbgpu::aten::floating_type;
using usbgpu::aten::Pointwise;

// What ATen's CPU kernel computes in float and double only.
ScalarType full_precision_type(const TensorIteratorBase& iter, const char* op) {
  const auto type = iter.common_dtype();
  TORCH_CHECK_NOT_IMPLEMENTED(type == kFloat || type == kDouble, "\"", op, "_cpu\" not implemented for '", type, "'");
  return type;
}

#define SPECIAL(NAME)                               \
  void NAME##_usbgpu(TensorIteratorBase& iter) {    \
    static Pointwise op(#NAME, -1, "special");      \
    op(iter, floating_type(iter, #NAME "_cpu"));    \
  }
#define SPECIAL_FULL_PRECISION(NAME)                \
  void NAME##_usbgpu(TensorIteratorBase& iter) {    \
    static Pointwise op(#NAME, -1, "special");      \
    op(iter, full_precision_type(iter, #NAME));     \
  }
SPECIAL(lgamma)
SPECIAL(digamma)
SPECIAL(erfinv)
SPECIAL(i0)
SPECIAL(i0e)
SPECIAL(igamma)
SPECIAL(igammac)
SPECIAL(i1)
SPECIAL(i1e)
SPECIAL_FULL_PRECISION(erfcx)
SPECIAL_FULL_PRECISION(ndtri)
SPECIAL_FULL_PRECISION(log_ndtr)
SPECIAL_FULL_PRECISION(zeta)
SPECIAL_FULL_PRECISION(airy_ai)
SPECIAL_FULL_PRECISION(bessel_j0)
SPECIAL_FULL_PRECISION(bessel_j1)
SPECIAL_FULL_PRECISION(bessel_y0)
SPECIAL_FULL_PRECISION(bessel_y1)
SPECIAL_FULL_PRECISION(modified_bessel_k0)
SPECIAL_FULL_PRECISION(modified_bessel_k1)
SPECIAL_FULL_PRECISION(scaled_modified_bessel_k0)
SPECIAL_FULL_PRECISION(scaled_modified_bessel_k1)
SPECIAL_FULL_PRECISION(spherical_bessel_j0)
SPECIAL_FULL_PRECISION(chebyshev_polynomial_t)
SPECIAL_FULL_PRECISION(chebyshev_polynomial_u)
SPECIAL_FULL_PRECISION(chebyshev_polynomial_v)
SPECIAL_FULL_PRECISION(chebyshev_polynomial_w)
SPECIAL_FULL_PRECISION(hermite_polynomial_h)
SPECIAL_FULL_PRECISION(hermite_polynomial_he)
SPECIAL_FULL_PRECISION(laguerre_polynomial_l)
SPECIAL_FULL_PRECISION(legendre_polynomial_p)
SPECIAL_FULL_PRECISION(shifted_chebyshev_polynomial_t)
SPECIAL_FULL_PRECISION(shifted_chebyshev_polynomial_u)
SPECIAL_FULL_PRECISION(shifted_chebyshev_polynomial_v)
SPECIAL_FULL_PRECISION(shifted_chebyshev_polynomial_w)

// The same functions as i0 and i1, which ATen computes by two copies of one series.
void modified_bessel_i0_usbgpu(TensorIteratorBase& iter) {
  full_precision_type(iter, "modified_bessel_i0");
  i0_usbgpu(iter);
}
void modified_bessel_i1_usbgpu(TensorIteratorBase& iter) {
  full_precision_type(iter, "modified_bessel_i1");
  i1_usbgpu(iter);
}

void polygamma_usbgpu(TensorIteratorBase& iter, const int64_t n) {
  static Pointwise op("polygamma", -1, "special");
  op(iter, floating_type(iter, "polygamma"), {static_cast<double>(n)});
}

}  // namespace

REGISTER_PRIVATEUSE1_DISPATCH(lgamma_stub, &lgamma_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(digamma_stub, &digamma_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(polygamma_stub, &polygamma_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(erfinv_stub, &erfinv_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(i0_stub, &i0_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_i0e_stub, &i0e_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_i1_stub, &i1_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_i1e_stub, &i1e_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_erfcx_stub, &erfcx_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_ndtri_stub, &ndtri_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_log_ndtr_stub, &log_ndtr_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(igamma_stub, &igamma_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(igammac_stub, &igammac_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(zeta_stub, &zeta_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_airy_ai_stub, &airy_ai_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_bessel_j0_stub, &bessel_j0_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_bessel_j1_stub, &bessel_j1_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_bessel_y0_stub, &bessel_y0_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_bessel_y1_stub, &bessel_y1_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_modified_bessel_i0_stub, &modified_bessel_i0_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_modified_bessel_i1_stub, &modified_bessel_i1_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_modified_bessel_k0_stub, &modified_bessel_k0_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_modified_bessel_k1_stub, &modified_bessel_k1_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_scaled_modified_bessel_k0_stub, &scaled_modified_bessel_k0_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_scaled_modified_bessel_k1_stub, &scaled_modified_bessel_k1_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(special_spherical_bessel_j0_stub, &spherical_bessel_j0_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(chebyshev_polynomial_t_stub, &chebyshev_polynomial_t_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(chebyshev_polynomial_u_stub, &chebyshev_polynomial_u_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(chebyshev_polynomial_v_stub, &chebyshev_polynomial_v_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(chebyshev_polynomial_w_stub, &chebyshev_polynomial_w_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(hermite_polynomial_h_stub, &hermite_polynomial_h_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(hermite_polynomial_he_stub, &hermite_polynomial_he_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(laguerre_polynomial_l_stub, &laguerre_polynomial_l_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(legendre_polynomial_p_stub, &legendre_polynomial_p_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(shifted_chebyshev_polynomial_t_stub, &shifted_chebyshev_polynomial_t_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(shifted_chebyshev_polynomial_u_stub, &shifted_chebyshev_polynomial_u_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(shifted_chebyshev_polynomial_v_stub, &shifted_chebyshev_polynomial_v_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(shifted_chebyshev_polynomial_w_stub, &shifted_chebyshev_polynomial_w_usbgpu)

}  // namespace at::native
