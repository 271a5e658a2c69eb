// Boolean masks: nonzero, masked_select, masked_scatter_. Kernels: index.hip.
#include "aten/walk.h"

#include <ATen/ExpandUtils.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/ops/masked_scatter_ops.h>
#include <ATen/ops/masked_select_ops.h>
#include <ATen/ops/nonzero_ops.h>
#include <torch/library.h>

#include "aten/backend/fallback.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using usbgpu_family::CompactArgs;

// ---- compaction: count per group, prefix of the counts, then each group writes its own

enum class Compact : uint8_t { count, scan, nonzero, select, scatter };

Kernel* compact_kernel(Compact form, size_t bytes = 0) {
  static KernelCache cache;
  return cache.get(key(form, bytes), [&]() -> KernelSource {
    static constexpr const char* names[] = {"compact_count", "compact_scan", "nonzero", "masked_select", "masked_scatter"};
    const char* name = names[static_cast<size_t>(form)];
    const std::string symbol = std::string(name) + (bytes ? "_w" + std::to_string(bytes) : "");
    return {"index", symbol,
            "USBGPU_MOVE(" + symbol + ", CompactArgs, " + name + (bytes ? "<" + std::to_string(bytes) + ">" : "") + ")"};
  });
}

struct Compaction {
  CompactArgs args{};
  Tensor mask, counts, total;  // kept alive until the launches are appended

  explicit Compaction(const Tensor& contiguous_mask) : mask(contiguous_mask) {
    const uint64_t count = mask.numel();
    TORCH_CHECK(count < (uint64_t{1} << 32), "a mask of ", count, " elements is more than usbgpu's kernels can index");
    args.groups = ceil_div(count, usbgpu_family::kCompactElements);
    counts = empty({static_cast<int64_t>(args.groups)}, at::kInt), total = empty({}, at::kLong);
    args.mask = address(mask), args.counts = address(counts), args.total = address(total), args.count = count;
    launch(compact_kernel(Compact::count), {args.groups, 1, 1}, kGroup256, args);
    launch(compact_kernel(Compact::scan), {1, 1, 1}, kGroup256, args);
  }
  int64_t set_elements() const { return total.item<int64_t>(); }  // waits for the GPU
};

// A contiguous mask of bytes that are 0 or not
Tensor truth(const Tensor& tensor) {
  if (tensor.scalar_type() == at::kBool || tensor.scalar_type() == at::kByte || tensor.scalar_type() == at::kChar)
    return tensor.contiguous();
  return tensor.ne(0).contiguous();
}

Tensor& nonzero_out(const Tensor& self, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::nonzero_out, self, out);
  TORCH_CHECK(out.scalar_type() == at::kLong, "nonzero: Expected out tensor to have scalar type Long but got scalar type",
              out.scalar_type());
  check_same_device("nonzero", {{"self", &self}, {"out", &out}});
  at::assert_no_internal_overlap(out);
  at::assert_no_overlap(out, self);
  TORCH_CHECK_NOT_IMPLEMENTED(self.dim() <= static_cast<int64_t>(usbgpu_family::kWalkDims), "nonzero: usbgpu handles ",
                              usbgpu_family::kWalkDims, " dimensions, got ", self.dim());
  if (self.numel() == 0) {
    resize_out(out, {0, self.dim()});
    return out;
  }
  Compaction compaction(truth(self));
  const int64_t found = compaction.set_elements();
  resize_out(out, {found, self.dim()});
  if (out.numel() == 0) return out;
  const Tensor target = out.is_contiguous() ? out : empty_like(out);
  compaction.args.output = address(target), compaction.args.dims = static_cast<uint32_t>(self.dim());
  for (int64_t d = 0; d < self.dim(); ++d) compaction.args.size[d] = self.size(d);
  launch(compact_kernel(Compact::nonzero), {compaction.args.groups, 1, 1}, kGroup256, compaction.args);
  if (!target.is_same(out)) out.copy_(target);
  return out;
}

Tensor nonzero(const Tensor& self) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::nonzero, self);
  Tensor out = empty({0}, at::kLong);
  return nonzero_out(self, out);
}

Tensor& masked_select_out(const Tensor& self, const Tensor& mask, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::masked_select_out, self, mask, out);
  check_same_device("masked_select", {{"self", &self}, {"mask", &mask}, {"out", &out}});
  TORCH_CHECK(mask.scalar_type() == at::kBool, "masked_select: expected BoolTensor for mask");
  TORCH_CHECK(self.scalar_type() == out.scalar_type(), "masked_select(): self and result must have the same scalar type");
  at::assert_no_internal_overlap(out);
  at::assert_no_overlap(out, self);
  at::assert_no_overlap(out, mask);
  const auto [mask_expanded, self_expanded] = at::expand_outplace(mask, self);
  if (mask_expanded->numel() == 0) {
    resize_out(out, {0});
    return out;
  }
  Compaction compaction(mask_expanded->contiguous());
  const Tensor source = self_expanded->contiguous();
  const int64_t found = compaction.set_elements();
  resize_out(out, {found});
  if (found == 0) return out;
  const Tensor target = out.is_contiguous() ? out : empty_like(out);
  compaction.args.output = address(target), compaction.args.source = address(source);
  launch(compact_kernel(Compact::select, self.element_size()), {compaction.args.groups, 1, 1}, kGroup256, compaction.args);
  if (!target.is_same(out)) out.copy_(target);
  return out;
}

Tensor masked_select(const Tensor& self, const Tensor& mask) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::masked_select, self, mask);
  check_on_device("masked_select", "self", self);
  Tensor out = empty({0}, self.scalar_type());
  return masked_select_out(self, mask, out);
}

// A source that is too short is found out on the device: nothing has to be read back here.
Tensor& masked_scatter(Tensor& self, const Tensor& mask_, const Tensor& source_) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::masked_scatter_, self, mask_, source_);
  check_same_device("masked_scatter_", {{"self", &self}, {"mask", &mask_}, {"source", &source_}});
  at::assert_no_internal_overlap(self);
  TORCH_CHECK(self.scalar_type() == source_.scalar_type(),
              "masked_scatter_: expected self and source to have same dtypes but got ", self.scalar_type(), " and ",
              source_.scalar_type());
  TORCH_CHECK(mask_.scalar_type() == at::kBool, "masked_scatter_ only supports boolean masks, but got mask with dtype ",
              mask_.scalar_type());
  const auto mask = at::expand_inplace(self, mask_, "masked_scatter_");
  if (self.numel() == 0) return self;
  Compaction compaction(mask->contiguous());
  const Tensor target = self.contiguous();  // self itself where it is contiguous
  const Tensor source = source_.is_alias_of(self) ? source_.clone() : source_.contiguous();
  compaction.args.output = address(target), compaction.args.source = source.numel() ? address(source) : 0;
  compaction.args.source_count = source.numel(), compaction.args.error_block = device().error_block();
  launch(compact_kernel(Compact::scatter, self.element_size()), {compaction.args.groups, 1, 1}, kGroup256, compaction.args);
  if (!target.is_same(self)) self.copy_(target);
  return self;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("nonzero", &nonzero);
  m.impl("nonzero.out", &nonzero_out);
  m.impl("masked_select", &masked_select);
  m.impl("masked_select.out", &masked_select_out);
  m.impl("masked_scatter_", &masked_scatter);
}

}  // namespace
}  // namespace usbgpu::aten
