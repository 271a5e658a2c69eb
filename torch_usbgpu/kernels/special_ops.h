// Special functions as elementwise operations (see pointwise_ops.h). Their mathematics is in
// usbgpu/math; here is only where PyTorch's CPU kernels answer something of their own.
#pragma once
#include <usbgpu/math/bessel.h>
#include <usbgpu/math/incomplete_gamma.h>
#include <usbgpu/math/normal.h>
#include <usbgpu/math/orthogonal.h>
#include <usbgpu/math/zeta.h>

#include "pointwise_ops.h"

namespace usbgpu::kernels {

#define SPECIAL1(NAME, ...) \
  template <class T> struct op_##NAME { static __device__ __forceinline__ T apply(Scalars<T> s, T a) { return __VA_ARGS__; } };
#define SPECIAL2(NAME, ...) \
  template <class T> struct op_##NAME { static __device__ __forceinline__ T apply(Scalars<T> s, T a, T b) { return __VA_ARGS__; } };
// NaN at infinity, where the limit is another: so do ATen's series.
#define FINITE1(NAME, ...) SPECIAL1(NAME, math::isinf(a) ? nan_of<T>() : (__VA_ARGS__))

SPECIAL1(lgamma, math::lgamma(a))
SPECIAL1(digamma, math::digamma(a))
SPECIAL1(polygamma, math::polygamma((int)s(0), a))
SPECIAL1(erfinv, math::erfinv(a))
SPECIAL1(erfcx, math::erfcx(a))
SPECIAL1(ndtri, math::ndtri(a))
SPECIAL1(log_ndtr, math::log_ndtr(a))
SPECIAL2(zeta, math::zeta(a, b))
SPECIAL2(igamma, math::igamma(a, b))
SPECIAL2(igammac, math::igammac(a, b))

FINITE1(i0, math::i0(a))
SPECIAL1(i0e, math::i0e(a))
FINITE1(i1, math::i1(a))
SPECIAL1(i1e, math::i1e(a))
SPECIAL1(modified_bessel_k0, math::k0(a))
SPECIAL1(modified_bessel_k1, math::k1(a))
SPECIAL1(scaled_modified_bessel_k0, math::k0e(a))
SPECIAL1(scaled_modified_bessel_k1, math::k1e(a))
FINITE1(bessel_j0, math::j0(a))
FINITE1(bessel_j1, math::j1(a))
FINITE1(bessel_y0, math::y0(a))
FINITE1(bessel_y1, math::y1(a))
SPECIAL1(spherical_bessel_j0, math::spherical_j0(a))
FINITE1(airy_ai, math::airy_ai(a))

#define POLYNOMIAL(NAME, KIND) SPECIAL2(NAME, math::polynomial_of<math::KIND>(a, b))
#define SHIFTED(NAME, KIND) SPECIAL2(NAME, math::shifted_polynomial_of<math::KIND>(a, b))
POLYNOMIAL(chebyshev_polynomial_t, chebyshev_t)
POLYNOMIAL(chebyshev_polynomial_u, chebyshev_u)
POLYNOMIAL(chebyshev_polynomial_v, chebyshev_v)
POLYNOMIAL(chebyshev_polynomial_w, chebyshev_w)
POLYNOMIAL(hermite_polynomial_h, hermite_h)
POLYNOMIAL(hermite_polynomial_he, hermite_he)
POLYNOMIAL(laguerre_polynomial_l, laguerre_l)
POLYNOMIAL(legendre_polynomial_p, legendre_p)
SHIFTED(shifted_chebyshev_polynomial_t, chebyshev_t)
SHIFTED(shifted_chebyshev_polynomial_u, chebyshev_u)
SHIFTED(shifted_chebyshev_polynomial_v, chebyshev_v)
SHIFTED(shifted_chebyshev_polynomial_w, chebyshev_w)

#undef SPECIAL1
#undef SPECIAL2
#undef FINITE1
#undef POLYNOMIAL
#undef SHIFTED

}  // namespace usbgpu::kernels
