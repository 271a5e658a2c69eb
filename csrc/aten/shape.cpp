// Operators that only move elements: cat, roll, flip, channel_shuffle. Kernels: index.hip.
#include "aten/walk.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/native/IndexKernel.h>
#include <ATen/ops/cat_meta.h>
#include <ATen/ops/cat_ops.h>
#include <ATen/ops/channel_shuffle_ops.h>
#include <ATen/ops/roll_ops.h>
#include <torch/library.h>

#include "aten/backend/fallback.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::Tensor;

// Each input is copied to its slice: the copy knows strides and dtypes.
Tensor& cat_out(const at::ITensorListRef& tensors, int64_t dim, Tensor& out) {
  const auto inputs = tensors.materialize();
  bool fallback = unsupported(out);
  for (const Tensor& input : inputs) fallback |= unsupported(input);
  if (fallback) return at::native::call_fallback_fn<&boxed_fallback, at::_ops::cat_out>::call(tensors, dim, out);
  for (const Tensor& input : inputs) check_same_device("cat", {{"out", &out}, {"tensors", &input}});
  OutputOf<at::meta::structured_cat> op(out);
  dim = op.meta(tensors, dim).dim;
  if (out.numel() == 0) return out;
  int64_t start = 0;
  for (const Tensor& input : inputs) {
    if (input.dim() == 1 && input.size(0) == 0) continue;  // an empty 1-d tensor goes with any shape
    const int64_t size = input.size(dim);
    if (input.numel()) out.narrow(dim, start, size).copy_(input);
    start += size;
  }
  return out;
}

Tensor roll_tensor(const Tensor& self, at::IntArrayRef shifts, at::IntArrayRef dims) {
  if (unsupported(self))
    return at::native::call_fallback_fn<&boxed_fallback, at::_ops::roll>::call(self, shifts, dims);
  TORCH_CHECK(!shifts.empty(), "`shifts` required");
  if (dims.empty() && shifts.size() == 1) {
    const Tensor flat = self.contiguous().view({self.numel()});
    return roll_tensor(flat, shifts, {0}).view(self.sizes());
  }
  TORCH_CHECK(shifts.size() == dims.size(), "shifts and dimensions must align. shifts: ", shifts.size(), ", dims:", dims.size());
  Tensor result = self;
  for (size_t i = 0; i < dims.size(); ++i) {
    const Tensor from = result;
    result = at::empty_like(self, at::MemoryFormat::Contiguous);
    if (self.numel() == 0) return result;
    const int64_t dim = at::maybe_wrap_dim(dims[i], self.dim()), size = self.size(dim);
    const int64_t shift = ((shifts[i] % size) + size) % size;
    if (shift) result.narrow(dim, 0, shift).copy_(from.narrow(dim, size - shift, shift));
    result.narrow(dim, shift, size - shift).copy_(from.narrow(dim, 0, size - shift));
  }
  return result;
}

// Channel c of group g goes to place g of the c-th bunch: a transposition of [groups, channels per group].
Tensor channel_shuffle(const Tensor& self, int64_t groups) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::channel_shuffle, self, groups);
  TORCH_CHECK(self.dim() > 2, "channel_shuffle expects input with > 2 dims, but got input with sizes ", self.sizes());
  const int64_t channels = self.size(1);
  TORCH_CHECK(groups > 0, "Number of groups to divide channels in must be positive. Value of groups:", groups);
  TORCH_CHECK(channels % groups == 0, "Number of channels must be divisible by groups. Got ", channels, " channels and ", groups,
              " groups.");
  const Tensor result = empty(self.sizes(), self.scalar_type(), self.suggest_memory_format());
  if (self.numel() == 0) return result;
  const auto split = [](const Tensor& tensor, int64_t first, int64_t second) {
    std::vector<int64_t> sizes = tensor.sizes().vec(), strides = tensor.strides().vec();
    sizes[1] = second, sizes.insert(sizes.begin() + 1, first);
    strides.insert(strides.begin() + 1, strides[1] * second);
    return tensor.as_strided(sizes, strides);
  };
  split(result, channels / groups, groups).copy_(split(self, groups, channels / groups).transpose(1, 2));
  return result;
}

// ATen has turned the strides of flipped dimensions negative.
void flip_kernel(at::TensorIterator& iter, const bool /*quantized*/) {
  static KernelCache cache;
  const size_t bytes = iter.element_size(0);
  Kernel* kernel = cache.get(bytes, [&]() -> KernelSource {
    const std::string n = std::to_string(bytes), symbol = "strided_copy_w" + n;
    return {"index", symbol, "USBGPU_MOVE(" + symbol + ", CopyArgs, strided_copy<" + n + ">)"};
  });
  in_32_bits(iter, [&](at::TensorIteratorBase& piece) {
    const usbgpu_family::CopyArgs args{walk_of<2>(piece)};
    launch(kernel, grid_for(args.walk.count), kGroup256, args);
  });
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("cat.out", &cat_out);
  m.impl("channel_shuffle", &channel_shuffle);
  m.impl("roll", &roll_tensor);
}

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(flip_stub, &usbgpu::aten::flip_kernel)
}  // namespace at::native
