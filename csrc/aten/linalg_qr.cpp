// Householder QR: geqrf, the explicit Q, products with Q. Kernels: torch_usbgpu/kernels/linalg_qr.hip.
#include "aten/linalg.h"

#include <ATen/native/BatchLinearAlgebra.h>

namespace usbgpu::aten {
namespace linalg {

using usbgpu_family::FactorArgs;
using usbgpu_family::ReflectArgs;

constexpr int64_t kPanel = 32;

static void geqrf_panel(const Tensor& a, const Tensor& tau) {
  static KernelCache cache;
  FactorArgs args{};
  args.a = matrix_arg(a), args.rows = size_arg(a, 1), args.columns = size_arg(a, 2);
  args.tau = address(tau), args.tau_batch = tau.stride(0);
  launch(kernel_for(cache, 0, "linalg_qr", "USBGPU_LINALG_GEQRF", "linalg_geqrf", "", a.scalar_type(),
                    matrix_fits(a.size(1), a.size(2), a.scalar_type())),
         {size_arg(a, 0), 1, 1}, kGroup, args);
}

// A wide matrix in panels: what is right of one is turned by as many workgroups as it has columns for.
void geqrf(const Tensor& a, const Tensor& tau) {
  const int64_t rows = a.size(1), columns = a.size(2), steps = std::min(rows, columns);
  if (columns <= 4 * kPanel) return geqrf_panel(a, tau);
  for (int64_t k = 0; k < steps; k += kPanel) {
    const int64_t width = std::min(kPanel, steps - k), rest = columns - k - width;
    const Tensor below = a.narrow(1, k, rows - k), panel = below.narrow(2, k, width), taus = tau.narrow(1, k, width);
    geqrf_panel(panel, taus);
    if (rest) reflect(panel, taus, below.narrow(2, k + width, rest), true, false);
  }
}

void reflect(const Tensor& v, const Tensor& tau, const Tensor& c, bool adjoint, bool identity, bool conjugate) {
  static KernelCache cache;
  ReflectArgs args{};
  args.v = matrix_arg(v), args.c = matrix_arg(c);
  args.tau = address(tau), args.tau_batch = tau.stride(0);
  args.rows = size_arg(c, 1), args.columns = size_arg(c, 2), args.reflectors = size_arg(tau, 1);
  args.adjoint = adjoint, args.identity = identity;
  args.conjugate = conjugate;
  launch(kernel_for(cache, 0, "linalg_qr", "USBGPU_LINALG_REFLECT", "linalg_reflect", "", c.scalar_type(),
                    column_fits(c.size(1), c.scalar_type())),
         {ceil_div(c.size(2), kWaves), size_arg(c, 0), 1}, kGroup, args);
}

namespace {

void geqrf_kernel(const Tensor& input, const Tensor& tau) {
  check_dtype("geqrf_cpu", input);
  if (input.numel() == 0) return;
  const Tensor a = writable(input);
  geqrf(a, tau.view({a.size(0), tau.size(-1)}));
}

// result holds the reflectors and receives the first columns of Q
Tensor& orgqr_kernel(Tensor& result, const Tensor& tau) {
  check_dtype("orgqr_cpu", result);
  if (result.numel() == 0) return result;
  const Tensor q = writable(result);
  reflect(clone_columns(q), readable_vectors(tau, result), q, false, true);
  return result;
}

// other = op(Q) other or other op(Q); from the right it is (op(Q)^T other^T)^T. op: nothing or the adjoint.
void ormqr_kernel(const Tensor& input, const Tensor& tau, const Tensor& other, bool left, bool transpose) {
  check_dtype("ormqr_cpu", other);
  if (other.numel() == 0) return;
  const Tensor c = writable(other);
  reflect(readable(input, other).resolve_conj(), readable_vectors(tau, other), left ? c : c.transpose(1, 2),
          /*adjoint=*/transpose == left, /*identity=*/false, /*conjugate=*/!left);
}

}  // namespace
}  // namespace linalg
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(geqrf_stub, &usbgpu::aten::linalg::geqrf_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(orgqr_stub, &usbgpu::aten::linalg::orgqr_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(ormqr_stub, &usbgpu::aten::linalg::ormqr_kernel)
}  // namespace at::native
