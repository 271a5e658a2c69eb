// Complex numbers out of real ones: complex, polar. Arithmetic of complex operands is in the pointwise
// files, whose operations kernels/complex_ops.h specialises.
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/complex_native.h>
#include <ATen/ops/complex_ops.h>
#include <torch/library.h>

#include "aten/backend/complex.h"
#include "aten/pointwise.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::Tensor;

// Two halves make a complex32: no arithmetic, so storage is all it takes.
Tensor& complex_out(const Tensor& real, const Tensor& imag, Tensor& out) {
  if (out.scalar_type() != at::kComplexHalf) FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::complex_out, real, imag, out);
  check_same_device("complex", {{"real", &real}, {"imag", &imag}, {"out", &out}});
  return at::native::complex_out(real, imag, out);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) { m.impl("complex.out", &complex_out); }

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {

namespace {

using usbgpu::aten::Pointwise;

void complex_usbgpu(TensorIterator& iter) {
  static Pointwise op("complex");
  op(iter, iter.dtype(1));
}
void polar_usbgpu(TensorIterator& iter) {
  static Pointwise op("polar");
  op(iter, iter.dtype(1));
}

}  // namespace

REGISTER_PRIVATEUSE1_DISPATCH(complex_stub, &complex_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(polar_stub, &polar_usbgpu)

}  // namespace at::native
