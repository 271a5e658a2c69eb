// linalg_cross (kernel: torch_usbgpu/kernels/cross.hip), and products and sums put together from
// other operators: addbmm, trace.
#include "aten/rows.h"

#include <ATen/native/Cross.h>
#include <ATen/ops/addbmm_ops.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/trace_ops.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/cross_args.h"
#include "aten/backend/complex.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::Scalar;
using at::Tensor;

void cross_stub_kernel(const Tensor& result, const Tensor& a, const Tensor& b, int64_t dim) {
  static KernelCache cache;
  if (result.numel() == 0) return;
  const at::ScalarType type = result.scalar_type();
  TORCH_CHECK_NOT_IMPLEMENTED(type != at::kBool, "\"cross\" not implemented for 'Bool'");
  for (const Tensor* operand : {&a, &b}) {
    TORCH_CHECK(operand->scalar_type() == type, "expected scalar type ", type, " but found ", operand->scalar_type());
  }
  Kernel* kernel = cache.get(key(type), [&]() -> KernelSource {
    const std::string symbol = std::string("cross_") + dtype_name(type);
    return {"cross", symbol, "USBGPU_CROSS(" + symbol + ", " + dtype_c_type(type) + ")"};
  });
  usbgpu_family::CrossArgs args{};
  args.stride[0] = stride_bytes(result, dim), args.stride[1] = stride_bytes(a, dim), args.stride[2] = stride_bytes(b, dim);
  for_rows<3>(1, {result.select(dim, 0), a.select(dim, 0), b.select(dim, 0)}, [&](const usbgpu_family::Walk<3>& walk) {
    args.rows = walk;
    launch(kernel, grid_for(walk.count), kGroup256, args);
  });
}

// ---- addbmm: the sum over the batch is one more stretch of the product's inner dimension, so one
// product of [n, b*m] by [b*m, p] does it all.

// self, broadcast to the result
Tensor checked_addbmm(const Tensor& self, const Tensor& batch1, const Tensor& batch2) {
  check_same_device("addbmm", {{"self", &self}, {"batch1", &batch1}, {"batch2", &batch2}});
  Tensor broadcast = self.expand({batch1.size(1), batch2.size(2)});
  TORCH_CHECK(batch1.dim() == 3, "batch1 must be a 3D tensor");
  TORCH_CHECK(batch2.dim() == 3, "batch2 must be a 3D tensor");
  TORCH_CHECK(batch1.size(0) == batch2.size(0), "batch1 and batch2 must have same number of batches, got ", batch1.size(0),
              " and ", batch2.size(0));
  TORCH_CHECK(batch1.size(2) == batch2.size(1), "Incompatible matrix sizes for bmm (", batch1.size(1), "x", batch1.size(2),
              " and ", batch2.size(1), "x", batch2.size(2), ")");
  return broadcast;
}

struct Flat {
  Tensor left, right;
  Flat(const Tensor& batch1, const Tensor& batch2) {
    const int64_t inner = batch1.size(0) * batch1.size(2);
    left = batch1.permute({1, 0, 2}).reshape({batch1.size(1), inner});
    right = batch2.reshape({inner, batch2.size(2)});
  }
};

Tensor& addbmm_out(const Tensor& self, const Tensor& batch1, const Tensor& batch2, const Scalar& beta, const Scalar& alpha,
                   Tensor& out) {
  if (!self.is_complex()) FALLBACK_UNLESS_SUPPORTED(at::_ops::addbmm_out, self, batch1, batch2, beta, alpha, out);
  const Tensor broadcast = checked_addbmm(self, batch1, batch2);
  const Flat flat(batch1, batch2);
  return at::addmm_out(out, broadcast, flat.left, flat.right, beta, alpha);
}

Tensor addbmm(const Tensor& self, const Tensor& batch1, const Tensor& batch2, const Scalar& beta, const Scalar& alpha) {
  if (!self.is_complex()) FALLBACK_UNLESS_SUPPORTED(at::_ops::addbmm, self, batch1, batch2, beta, alpha);
  const Tensor broadcast = checked_addbmm(self, batch1, batch2);
  const Flat flat(batch1, batch2);
  return at::addmm(broadcast, flat.left, flat.right, beta, alpha);
}

Tensor& addbmm_inplace(Tensor& self, const Tensor& batch1, const Tensor& batch2, const Scalar& beta, const Scalar& alpha) {
  if (!self.is_complex()) FALLBACK_UNLESS_SUPPORTED(at::_ops::addbmm_, self, batch1, batch2, beta, alpha);
  checked_addbmm(self, batch1, batch2);
  const Flat flat(batch1, batch2);
  return self.addmm_(flat.left, flat.right, beta, alpha);
}

// ---- trace

Tensor trace(const Tensor& self) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::trace, self);
  TORCH_CHECK(self.dim() == 2, "trace: expected a matrix, but got tensor with dim ", self.dim());
  TORCH_CHECK_NOT_IMPLEMENTED(self.scalar_type() != at::kBool, "\"trace\" not implemented for 'Bool'");
  return self.diagonal().sum();
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("addbmm", &addbmm);
  m.impl("addbmm.out", &addbmm_out);
  m.impl("addbmm_", &addbmm_inplace);
  m.impl("trace", &trace);
}

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(cross_stub, &usbgpu::aten::cross_stub_kernel)
}  // namespace at::native
