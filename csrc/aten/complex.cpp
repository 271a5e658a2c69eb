// Complex numbers out of real ones: complex, polar. Arithmetic of complex operands is in the pointwise
// files, whose operations kernels/complex_ops.h specialises.
#include <ATen/native/TensorFactories.h>

#include "aten/pointwise.h"

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
