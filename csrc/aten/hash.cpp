// hash_tensor: the exclusive or of all elements, a reduction (torch_usbgpu/kernels/reduce.hip), and
// tensors of zeros that have no memory.
#include <ATen/EmptyTensor.h>
#include <ATen/native/ReduceOpsUtils.h>
#include <ATen/ops/_efficientzerotensor_ops.h>
#include <ATen/ops/hash_tensor_meta.h>
#include <ATen/ops/hash_tensor_ops.h>
#include <torch/library.h>

#include "aten/backend/fallback.h"
#include "aten/reduce.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::Tensor;

// The result is uint64, which has no kernels: they write the same bits as int64.
Tensor& hash_tensor_out(const Tensor& self, at::IntArrayRef dim, bool keepdim, int64_t mode, Tensor& out) {
  static Reduction hash("hash");
  if (unsupported(self)) {
    return at::native::call_fallback_fn<&boxed_fallback, at::_ops::hash_tensor_out>::call(self, dim, keepdim, mode, out);
  }
  check_same_device("hash_tensor", {{"self", &self}, {"out", &out}});
  OutputOf<at::meta::structured_hash_tensor> op(out);
  op.meta(self, dim, keepdim, mode);
  if (out.numel() == 0) return out;
  Tensor words = out.view(at::kLong);
  if (self.numel() == 0) {
    words.zero_();
    return out;
  }
  auto iter = at::native::make_reduction("hash_tensor", words, self, dim, keepdim, self.scalar_type(), at::kLong);
  hash(iter, at::isFloatingType(self.scalar_type()) ? at::kDouble : at::kLong);
  return out;
}

// ---- _efficientzerotensor: shape and dtype without storage, for derivatives that are zero

struct NoMemory final : at::Allocator {
  at::DataPtr allocate(size_t) override {
    return {nullptr, nullptr, [](void*) {}, at::Device(at::kPrivateUse1, 0)};
  }
  void copy_data(void*, const void*, size_t) const override { TORCH_INTERNAL_ASSERT(false, "a zero tensor has no data"); }
};

Tensor efficient_zero_tensor(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                             std::optional<at::Device>, std::optional<bool>) {
  static NoMemory allocator;
  return at::detail::empty_generic(size, &allocator, c10::DispatchKeySet({c10::DispatchKey::PrivateUse1, c10::DispatchKey::ZeroTensor}),
                                   c10::dtype_or_default(dtype), std::nullopt);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("hash_tensor.out", &hash_tensor_out);
  m.impl("_efficientzerotensor", &efficient_zero_tensor);
}

}  // namespace
}  // namespace usbgpu::aten
