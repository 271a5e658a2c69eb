// Matrix products of complex operands, and vdot. Kernel: torch_usbgpu/kernels/complex_matmul.hip.
#include "aten/complex_matmul.h"

#include <ATen/ops/dot.h>
#include <ATen/ops/vdot_ops.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/complex_matmul_args.h"
#include "aten/backend/complex.h"
#include "aten/launch.h"

namespace usbgpu::aten {

using at::Tensor;

void complex_product(const Tensor& out, const Tensor& a_given, const Tensor& b_given, const Tensor& addend_given,
                     const at::Scalar& beta, const at::Scalar& alpha) {
  static KernelCache cache;
  if (out.numel() == 0) return;
  const auto real = c10::toRealValueType(out.scalar_type());
  // Conjugation happens in the kernel; a negative bit (of an imaginary part's view) is rare.
  const Tensor a = a_given.resolve_neg(), b = b_given.resolve_neg();
  Kernel* kernel = cache.get(key(real), [&] {
    const std::string symbol = std::string("complex_matmul_") + dtype_name(real);
    return KernelSource{"complex_matmul", symbol, "USBGPU_COMPLEX_MATMUL(" + symbol + ", " + dtype_c_type(real) + ")"};
  });
  kernels::ComplexMatmulArgs args{};
  args.a = address(a), args.a_batch = a.stride(0), args.a_m = a.stride(1), args.a_k = a.stride(2);
  args.b = address(b), args.b_batch = b.stride(0), args.b_k = b.stride(1), args.b_n = b.stride(2);
  args.d = address(out), args.d_batch = out.stride(0), args.d_m = out.stride(1), args.d_n = out.stride(2);
  args.m = static_cast<uint32_t>(a.size(1)), args.n = static_cast<uint32_t>(b.size(2)), args.k = static_cast<uint32_t>(a.size(2));
  args.conjugate_a = a.is_conj(), args.conjugate_b = b.is_conj();
  const auto scale = [](double* to, const at::Scalar& value) {
    const auto number = value.toComplexDouble();
    to[0] = number.real(), to[1] = number.imag();
  };
  scale(args.alpha, alpha);
  Tensor addend;
  if (addend_given.defined() && !beta.equal(0)) {   // a NaN in an addend times 0 does not count
    addend = addend_given.resolve_conj().resolve_neg();
    args.c = address(addend), args.c_batch = addend.stride(0), args.c_m = addend.stride(1), args.c_n = addend.stride(2);
    scale(args.beta, beta);
  }
  constexpr auto tile = static_cast<uint32_t>(kernels::kComplexTile);
  launch(kernel, {ceil_div(args.n, tile), ceil_div(args.m, tile), static_cast<uint32_t>(out.size(0))}, {256}, args);
}

namespace {

// The first vector conjugated; of real ones the same as dot.
Tensor vdot(const Tensor& self, const Tensor& other) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::vdot, self, other);
  return at::dot(self.is_complex() ? self.conj() : self, other);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) { m.impl("vdot", &vdot); }

}  // namespace
}  // namespace usbgpu::aten
