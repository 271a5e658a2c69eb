// Eigenvalues of symmetric and Hermitian matrices, and singular values. Kernels:
// torch_usbgpu/kernels/linalg_spectral.hip.
#include "aten/linalg.h"

#include <ATen/native/BatchLinearAlgebra.h>

namespace usbgpu::aten {
namespace linalg {
namespace {

using at::ScalarType;
using usbgpu_family::CompleteArgs;
using usbgpu_family::EighArgs;
using usbgpu_family::SvdArgs;

// vectors: in: the matrix, of which one triangle is read. out: the eigenvectors, if they are wanted.
void eigh_kernel(const Tensor& values, const Tensor& vectors, const Tensor& info, bool upper, bool compute_vectors) {
  static KernelCache cache;
  check_dtype("linalg_eigh_cpu", vectors);
  if (vectors.numel() == 0) {
    info.zero_();
    return;
  }
  const Tensor a = writable(vectors);
  const int64_t batch = a.size(0), n = a.size(1);
  const ScalarType type = a.scalar_type();
  const bool staged = matrix_fits(n, n, type);
  const Tensor none = empty({0, 0, 0}, type);
  const Tensor work = staged ? none : empty_columns(batch, n, n, type), v = compute_vectors ? empty_columns(batch, n, n, type) : none;
  const Tensor rotations = empty({batch, (n + 1) / 2 * 2}, type);
  EighArgs args{};
  args.a = matrix_arg(a), args.work = matrix_arg(work), args.v = matrix_arg(v);
  args.rotations = address(rotations), args.rotations_batch = rotations.stride(0);
  args.values = address(values), args.values_batch = n;
  args.info = address(info);
  args.n = size_arg(a, 1), args.upper = upper, args.vectors = compute_vectors;
  launch(kernel_for(cache, 0, "linalg_spectral", "USBGPU_LINALG_EIGH", "linalg_eigh", "", type, staged),
         {size_arg(a, 0), 1, 1}, kGroup, args);
}

// U is orthonormal up to its rank; Householder reflections of those columns span the rest.
void complete_basis(const Tensor& u, int64_t columns, const Tensor& rank) {
  static KernelCache cache;
  const ScalarType type = u.scalar_type();
  const Tensor reflectors = clone_columns(u.narrow(2, 0, columns));
  const Tensor tau = empty({u.size(0), columns}, type), q = empty_columns(u.size(0), u.size(1), u.size(2), type);
  geqrf(reflectors, tau);
  reflect(reflectors, tau, q, false, true);
  CompleteArgs args{};
  args.u = matrix_arg(u), args.q = matrix_arg(q);
  args.rank = address(rank);
  args.rows = size_arg(u, 1), args.columns = size_arg(u, 2);
  Kernel* kernel = cache.get(key(type), [&]() -> KernelSource {
    const std::string symbol = std::string("linalg_complete_") + dtype_name(type);
    return {"linalg_spectral", symbol, "USBGPU_LINALG_COMPLETE(" + symbol + ", " + dtype_c_type(type) + ")"};
  });
  launch(kernel, {size_arg(u, 0), 1, 1}, kGroup, args);
}

void svd_kernel(const Tensor& a_, const bool full_matrices, const bool compute_uv, const std::optional<std::string_view>& /*driver*/,
                const Tensor& u_, const Tensor& s, const Tensor& vh_, const Tensor& info) {
  static KernelCache cache;
  check_dtype("linalg_svd_cpu", a_);
  Tensor a = readable(a_, a_);
  const int64_t batch = a.size(0);
  const ScalarType type = a.scalar_type();
  if (a.size(1) == 0 || a.size(2) == 0 || batch == 0) {   // orthonormal bases of nothing
    info.zero_();
    if (compute_uv) {
      for (const Tensor& basis : {u_, vh_}) {
        if (!basis.numel()) continue;
        basis.zero_();
        basis.diagonal(0, -2, -1).fill_(1);
      }
    }
    return;
  }
  const Tensor none = empty({0, 0, 0}, type);
  Tensor u = compute_uv ? writable(u_) : none, v = compute_uv ? writable(vh_).transpose(1, 2) : none;
  SvdArgs args{};
  args.conjugate_v = 1;          // v is V^H transposed
  if (a.size(1) < a.size(2)) {   // A^H = V S U^H
    a = a.mH();
    std::swap(u, v);
    std::swap(args.conjugate_u, args.conjugate_v);
  }
  const int64_t rows = a.size(1), n = a.size(2);
  const Tensor w = clone_columns(a), rotations = compute_uv ? empty_columns(batch, n, n, type) : none;
  const Tensor lengths = empty({batch, n}, c10::toRealValueType(type)), rank = empty({batch}, at::kInt);
  args.w = matrix_arg(w), args.v = matrix_arg(rotations);
  args.u_out = matrix_arg(u), args.v_out = matrix_arg(v);
  args.lengths = address(lengths), args.values = address(s), args.values_batch = n;
  args.rank = address(rank), args.info = address(info);
  args.rows = size_arg(a, 1), args.columns = size_arg(a, 2), args.vectors = compute_uv;
  (void)full_matrices;   // told by the shape of u
  const bool staged = matrix_fits(rows, n, type);
  launch(kernel_for(cache, 0, "linalg_spectral", "USBGPU_LINALG_SVD", "linalg_svd", "", type, staged),
         {size_arg(a, 0), 1, 1}, kGroup, args);
  if (compute_uv) complete_basis(u, n, rank);
}

}  // namespace
}  // namespace linalg
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(linalg_eigh_stub, &usbgpu::aten::linalg::eigh_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(svd_stub, &usbgpu::aten::linalg::svd_kernel)
}  // namespace at::native
