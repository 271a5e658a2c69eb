// Eigenvalues of general matrices. Kernels: torch_usbgpu/kernels/linalg_eig.hip, of complex matrices
// linalg_eig_complex.hip.
#include "aten/linalg.h"

#include <ATen/native/LinearAlgebraUtils.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_linalg_check_errors.h>
#include <ATen/ops/_linalg_eigvals_ops.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_eig_ops.h>
#include <ATen/ops/linalg_eigvals_ops.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/linalg_eig_args.h"
#include "aten/backend/complex.h"

namespace usbgpu::aten {
namespace linalg {
namespace {

// values: (batch..., n); vectors: (batch..., n, n), column-major as LAPACK has them
std::tuple<Tensor, Tensor> eig(const Tensor& self, const char* name, bool vectors) {
  static KernelCache cache;
  at::native::squareCheckInputs(self, name);
  TORCH_CHECK(self.isfinite().all().item<bool>(), "torch.", name, ": input tensor should not contain infs or NaNs.");
  const at::ScalarType type = self.scalar_type(), complex = c10::toComplexType(type);
  check_dtype("linalg_eig_out_cpu", self);
  const Tensor values = empty(self.sizes().slice(0, self.dim() - 1), complex);
  const Tensor rows = empty(vectors ? self.sizes() : at::IntArrayRef{0}, complex);
  const Tensor columns = vectors ? rows.mT() : rows;
  if (self.numel() == 0) return {values, columns};
  // Row-major inside the kernel: the transpose's columns are the rows.
  const Tensor h = clone_columns(readable(self, self).transpose(1, 2)), v = vectors ? dense_like(h) : empty({0}, type);
  const Tensor info = empty(self.sizes().slice(0, self.dim() - 2), at::kInt);
  usbgpu_family::EigArgs args{};
  args.h = address(h), args.v = address(v);
  args.values = address(values), args.vectors = address(rows);
  args.info = address(info);
  args.n = size_arg(h, 1), args.want_vectors = vectors;
  Kernel* kernel = cache.get(key(type), [&]() -> KernelSource {
    const std::string symbol = std::string("linalg_eig_") + dtype_name(type);
    if (type == complex)
      return {"linalg_eig_complex", symbol,
              "USBGPU_LINALG_EIG_COMPLEX(" + symbol + ", " + dtype_c_type(c10::toRealValueType(type)) + ")"};
    return {"linalg_eig", symbol, "USBGPU_LINALG_EIG(" + symbol + ", " + dtype_c_type(type) + ")"};
  });
  launch(kernel, {size_arg(h, 0), 1, 1}, {32, 1, 1}, args);
  at::_linalg_check_errors(info, std::string("torch.") + name, self.dim() == 2);
  return {values, columns};
}

std::tuple<Tensor, Tensor> linalg_eig(const Tensor& self) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::linalg_eig, self);
  return eig(self, "linalg.eig", true);
}

Tensor linalg_eigvals(const Tensor& self) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::_linalg_eigvals, self);
  return std::get<0>(eig(self, "linalg.eigvals", false));
}

void deliver(const Tensor& out, const Tensor& result) {
  at::native::resize_output(out, result.sizes());
  out.copy_(result);
}

std::tuple<Tensor&, Tensor&> linalg_eig_out(const Tensor& self, Tensor& values, Tensor& vectors) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::linalg_eig_out, self, values, vectors);
  const at::ScalarType complex = c10::toComplexType(self.scalar_type());
  check_on_device("torch.linalg.eig", "eigenvalues", values);
  check_on_device("torch.linalg.eig", "eigenvectors", vectors);
  at::native::checkLinalgCompatibleDtype("torch.linalg.eig", values.scalar_type(), complex, "eigenvalues");
  at::native::checkLinalgCompatibleDtype("torch.linalg.eig", vectors.scalar_type(), complex, "eigenvectors");
  const auto [w, v] = eig(self, "linalg.eig", true);
  deliver(values, w), deliver(vectors, v);
  return {values, vectors};
}

Tensor& linalg_eigvals_out(const Tensor& self, Tensor& values) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::linalg_eigvals_out, self, values);
  check_on_device("torch.linalg.eigvals", "eigenvalues", values);
  at::native::checkLinalgCompatibleDtype("torch.linalg.eigvals", values.scalar_type(), c10::toComplexType(self.scalar_type()),
                                         "eigenvalues");
  deliver(values, std::get<0>(eig(self, "linalg.eigvals", false)));
  return values;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("linalg_eig", &linalg_eig);
  m.impl("linalg_eig.out", &linalg_eig_out);
  m.impl("_linalg_eigvals", &linalg_eigvals);
  m.impl("linalg_eigvals.out", &linalg_eigvals_out);
}

}  // namespace
}  // namespace linalg
}  // namespace usbgpu::aten
