// Boolean masks: masked_fill_, nonzero, nonzero_static, masked_select, masked_scatter_. Kernels: index.hip.
#include "aten/walk.h"

#include <ATen/ExpandUtils.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/ops/masked_fill_ops.h>
#include <ATen/ops/masked_scatter_ops.h>
#include <ATen/ops/masked_select_ops.h>
#include <ATen/ops/nonzero_ops.h>
#include <ATen/ops/nonzero_static_ops.h>
#include <torch/library.h>

#include "aten/backend/complex.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::Scalar;
using at::ScalarType;
using at::Tensor;
using usbgpu_family::CompactArgs;

// value_address: of one element of self's dtype, 0: `bits`
void launch_masked_fill(const Tensor& self, const Tensor& mask_, uint64_t bits, uint64_t value_address) {
  static KernelCache cache;
  TORCH_CHECK(mask_.scalar_type() == at::kBool, "masked_fill_ only supports boolean masks, but got mask with dtype ",
              mask_.scalar_type());
  if (at::has_internal_overlap(self) == at::MemOverlap::Yes) {   // one value for all: which thread writes last is the same
    TORCH_WARN("Use of masked_fill_ on expanded tensors is deprecated. Please clone() the tensor before performing this "
               "operation. This also applies to advanced indexing e.g. tensor[mask] = scalar");
  }
  at::assert_no_partial_overlap(self, mask_);
  const auto mask = at::expand_inplace(self, mask_, "masked_fill_");
  const size_t bytes = self.element_size();
  Kernel* kernel = cache.get(bytes, [&]() -> KernelSource {
    const std::string n = std::to_string(bytes), symbol = "masked_fill_w" + n;
    return {"index", symbol, "USBGPU_MOVE(" + symbol + ", MaskedFillArgs, masked_fill<" + n + ">)"};
  });
  auto iter = at::TensorIteratorConfig()
                  .set_check_mem_overlap(false)
                  .check_all_same_dtype(false)
                  .resize_outputs(false)
                  .add_output(self)
                  .add_const_input(*mask)
                  .build();
  in_32_bits(iter, [&](at::TensorIteratorBase& piece) {
    const usbgpu_family::MaskedFillArgs args{walk_of<2>(piece), bits, value_address};
    launch(kernel, grid_for(args.walk.count), kGroup256, args);
  });
}

void fill_masked(const Tensor& self, const Tensor& mask, const Scalar& value) {
  if (self.element_size() <= 8) return launch_masked_fill(self, mask, scalar_bits(value, self.scalar_type()), 0);
  Tensor element = empty({}, self.scalar_type());   // too wide for the arguments
  element.fill_(value);
  launch_masked_fill(self, mask, 0, address(element));
}

Tensor& masked_fill_scalar(Tensor& self, const Tensor& mask, const Scalar& value) {
  if (!is_native_complex(self.scalar_type())) FALLBACK_UNLESS_SUPPORTED(at::_ops::masked_fill__Scalar, self, mask, value);
  check_same_device("masked_fill_", {{"self", &self}, {"mask", &mask}});
  fill_masked(self, mask, value);
  return self;
}

Tensor& masked_fill_tensor(Tensor& self, const Tensor& mask, const Tensor& value) {
  if (!is_native_complex(self.scalar_type())) FALLBACK_UNLESS_SUPPORTED(at::_ops::masked_fill__Tensor, self, mask, value);
  check_same_device("masked_fill_", {{"self", &self}, {"mask", &mask}});
  TORCH_CHECK(value.dim() == 0, "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with ", value.dim(),
              " dimension(s).");
  if (value.is_cpu()) {
    fill_masked(self, mask, value.item());
  } else {
    check_same_device("masked_fill_", {{"self", &self}, {"value", &value}});
    const Tensor converted = value.to(self.scalar_type());
    launch_masked_fill(self, mask, 0, address(converted));
  }
  return self;
}

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

// Rows of `out` that there are places for; the others stay as they are.
void write_places(Compaction& compaction, const Tensor& self, const Tensor& out) {
  if (out.numel() == 0) return;
  const Tensor target = out.contiguous();  // out itself where it is contiguous
  compaction.args.output = address(target), compaction.args.output_rows = out.size(0);
  compaction.args.dims = static_cast<uint32_t>(self.dim());
  for (int64_t d = 0; d < self.dim(); ++d) compaction.args.size[d] = self.size(d);
  launch(compact_kernel(Compact::nonzero), {compaction.args.groups, 1, 1}, kGroup256, compaction.args);
  if (!target.is_same(out)) out.copy_(target);
}

Tensor& nonzero_out(const Tensor& self, Tensor& out) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::nonzero_out, self, out);
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
  write_places(compaction, self, out);
  return out;
}

Tensor nonzero(const Tensor& self) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::nonzero, self);
  Tensor out = empty({0}, at::kLong);
  return nonzero_out(self, out);
}

// Nothing is read back: the size of the output is the caller's.
Tensor& nonzero_static_out(const Tensor& self, int64_t size, int64_t fill_value, Tensor& out) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::nonzero_static_out, self, size, fill_value, out);
  TORCH_CHECK(size >= 0, "nonzero_static: 'size' must be an non-negative integer");
  TORCH_CHECK(out.scalar_type() == at::kLong, "nonzero_static: Expected out tensor to have scalar type Long but got scalar type",
              out.scalar_type());
  check_same_device("nonzero_static", {{"self", &self}, {"out", &out}});
  at::assert_no_internal_overlap(out);
  at::assert_no_overlap(out, self);
  TORCH_CHECK_NOT_IMPLEMENTED(self.dim() <= static_cast<int64_t>(usbgpu_family::kWalkDims), "nonzero_static: usbgpu handles ",
                              usbgpu_family::kWalkDims, " dimensions, got ", self.dim());
  resize_out(out, {size, self.dim()});
  if (out.numel() == 0) return out;
  out.fill_(fill_value);
  if (self.numel() == 0) return out;
  Compaction compaction(truth(self));
  write_places(compaction, self, out);
  return out;
}

Tensor nonzero_static(const Tensor& self, int64_t size, int64_t fill_value) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::nonzero_static, self, size, fill_value);
  Tensor out = empty({0}, at::kLong);
  return nonzero_static_out(self, size, fill_value, out);
}

Tensor& masked_select_out(const Tensor& self, const Tensor& mask, Tensor& out) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::masked_select_out, self, mask, out);
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
  const Tensor target = out.is_contiguous() ? out : dense_like(out);
  compaction.args.output = address(target), compaction.args.source = address(source);
  launch(compact_kernel(Compact::select, self.element_size()), {compaction.args.groups, 1, 1}, kGroup256, compaction.args);
  if (!target.is_same(out)) out.copy_(target);
  return out;
}

Tensor masked_select(const Tensor& self, const Tensor& mask) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::masked_select, self, mask);
  check_on_device("masked_select", "self", self);
  Tensor out = empty({0}, self.scalar_type());
  return masked_select_out(self, mask, out);
}

// A source that is too short is found out on the device: nothing has to be read back here.
Tensor& masked_scatter(Tensor& self, const Tensor& mask_, const Tensor& source_) {
  if (!is_native_complex(self.scalar_type())) FALLBACK_UNLESS_SUPPORTED(at::_ops::masked_scatter_, self, mask_, source_);
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
  m.impl("masked_fill_.Scalar", &masked_fill_scalar);
  m.impl("masked_fill_.Tensor", &masked_fill_tensor);
  m.impl("nonzero", &nonzero);
  m.impl("nonzero.out", &nonzero_out);
  m.impl("nonzero_static", &nonzero_static);
  m.impl("nonzero_static.out", &nonzero_static_out);
  m.impl("masked_select", &masked_select);
  m.impl("masked_select.out", &masked_select_out);
  m.impl("masked_scatter_", &masked_scatter);
}

}  // namespace
}  // namespace usbgpu::aten
