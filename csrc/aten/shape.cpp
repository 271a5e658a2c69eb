// Operators that only move elements: cat, roll, flip, channel_shuffle, narrow_copy. Kernels: shape.hip, index.hip.
#include "aten/walk.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/native/IndexKernel.h>
#include <ATen/ops/cat_meta.h>
#include <ATen/ops/cat_ops.h>
#include <ATen/ops/channel_shuffle_ops.h>
#include <ATen/ops/roll_ops.h>
#include <torch/library.h>

#include <algorithm>
#include <numeric>

#include "../../torch_usbgpu/kernels/shape_args.h"
#include "aten/arguments.h"
#include "aten/backend/complex.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::Tensor;

Kernel* shape_kernel(const char* form, uint32_t code, const char* args, size_t bytes) {
  static KernelCache cache;
  return cache.get(key(code, bytes), [&]() -> KernelSource {
    const std::string n = std::to_string(bytes), symbol = std::string(form) + "_w" + n;
    return {"shape", symbol, "USBGPU_SHAPE(" + symbol + ", " + args + ", " + form + "<" + n + ">)"};
  });
}

bool kernels_can_move(const Tensor& tensor) {
  return tensor.device().is_privateuseone() && !tensor.is_conj() && !tensor.is_neg() && tensor.element_size() <= 16;
}

// One copy per input: knows all strides and dtypes.
void cat_by_copies(const std::vector<Tensor>& inputs, int64_t dim, const Tensor& out) {
  int64_t start = 0;
  for (const Tensor& input : inputs) {
    out.narrow(dim, start, input.size(dim)).copy_(input);
    start += input.size(dim);
  }
}

// Calls add(input, first group) for each input and flush(groups) after every `limit` of them.
template <class Groups, class Add, class Flush>
void in_tables(const std::vector<Tensor>& inputs, uint32_t limit, Groups&& groups_of, Add&& add, Flush&& flush) {
  uint32_t slot = 0, groups = 0;
  for (const Tensor& input : inputs) {
    add(slot, input, groups);
    groups += groups_of(input);
    if (++slot == limit) flush(slot, groups), slot = groups = 0;
  }
  if (slot) flush(slot, groups);
}

// Tables are as long as their launch needs them: what is behind does not travel.
template <class Args, class Entry>
void launch_table(Kernel* kernel, uint32_t groups, const Args& args, const Entry* end) {
  const size_t bytes = reinterpret_cast<const char*>(end) - reinterpret_cast<const char*>(&args);
  device().launch(kernel, {groups, 1, 1}, kGroup256, &args, bytes);
}

// All tensors dense in the order of the dimensions: rows of bytes, cut into the largest words that fit all of them.
void cat_rows(const std::vector<Tensor>& inputs, int64_t dim, const Tensor& out) {
  int64_t outer = 1;
  for (int64_t d = 0; d < dim; ++d) outer *= out.size(d);
  uint64_t bits = address(out);
  for (const Tensor& input : inputs) bits |= address(input) | input.nbytes() / outer;
  size_t width = 16;
  while (bits % width) width /= 2;
  Kernel* kernel = shape_kernel("cat_rows", 0, "CatRowsArgs", width);
  usbgpu_family::CatRowsArgs args;
  args.out = address(out), args.pitch = static_cast<uint32_t>(out.nbytes() / outer / width);
  uint32_t start = 0;
  in_tables(
      inputs, usbgpu_family::kCatRows, [&](const Tensor& input) { return ceil_div(input.nbytes() / width, usbgpu_family::kCatGroup); },
      [&](uint32_t slot, const Tensor& input, uint32_t first_group) {
        const uint32_t words = static_cast<uint32_t>(input.nbytes() / width), row = static_cast<uint32_t>(words / outer);
        args.input[slot] = {address(input), start, words, divisor(row), first_group};
        start += row;
      },
      [&](uint32_t count, uint32_t groups) {
        args.inputs = count;
        launch_table(kernel, groups, args, args.input + count);
      });
}

// tensors: the output, then the inputs. Dimensions that lie behind each other in all of them become one.
void merge_dimensions(std::vector<Tensor>& tensors, int64_t& dim) {
  for (int64_t d = tensors[0].dim() - 1; d > 0; --d) {
    if (d == dim || d - 1 == dim) continue;
    if (!std::all_of(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.stride(d - 1) == t.stride(d) * t.size(d); })) continue;
    for (Tensor& tensor : tensors) {
      auto sizes = tensor.sizes().vec(), strides = tensor.strides().vec();
      sizes[d - 1] *= sizes[d], strides[d - 1] = strides[d];
      sizes.erase(sizes.begin() + d), strides.erase(strides.begin() + d);
      tensor = tensor.as_strided(sizes, strides);
    }
    if (d < dim) --dim;
  }
}

// Does any element lie 2 GiB or more from the first one?
bool reaches_far(const Tensor& tensor) {
  int64_t last = 1;
  for (int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * std::abs(tensor.stride(d));
  return last * static_cast<int64_t>(tensor.element_size()) >= int64_t{1} << 31;
}

void cat_strided(std::vector<Tensor> inputs, int64_t dim, const Tensor& out) {
  std::vector<Tensor> tensors{out};
  tensors.insert(tensors.end(), inputs.begin(), inputs.end());
  merge_dimensions(tensors, dim);
  const Tensor result = tensors[0];
  const int64_t dims = result.dim();
  if (dims > usbgpu_family::kShapeDims || std::any_of(tensors.begin(), tensors.end(), reaches_far)) return cat_by_copies(inputs, dim, out);
  inputs.assign(tensors.begin() + 1, tensors.end());
  const size_t width = out.element_size();
  Kernel* kernel = shape_kernel("cat_strided", 1, "CatStridedArgs", width);
  usbgpu_family::CatStridedArgs args;
  args.out = address(out), args.dims = static_cast<uint32_t>(dims), args.joined = static_cast<uint32_t>(dims - 1 - dim), args.pad = 0;
  const auto strides_of = [&](const Tensor& tensor, int32_t* strides) {
    for (int64_t d = 0; d < usbgpu_family::kShapeDims; ++d)
      strides[d] = d < dims ? static_cast<int32_t>(tensor.stride(dims - 1 - d) * width) : 0;
  };
  for (int64_t d = 0; d < usbgpu_family::kShapeDims; ++d) args.size[d] = d < dims ? static_cast<uint32_t>(result.size(dims - 1 - d)) : 1;
  strides_of(result, args.out_stride);
  int64_t start = 0;
  in_tables(
      inputs, usbgpu_family::kCatStrided, [](const Tensor& input) { return ceil_div(input.numel(), usbgpu_family::kCatGroup); },
      [&](uint32_t slot, const Tensor& input, uint32_t first_group) {
        auto& entry = args.input[slot];
        entry = {address(input), static_cast<uint32_t>(start * result.stride(dim) * static_cast<int64_t>(width)),
                 static_cast<uint32_t>(input.numel()), static_cast<uint32_t>(input.size(dim)), first_group, {}};
        strides_of(input, entry.stride);
        start += input.size(dim);
      },
      [&](uint32_t count, uint32_t groups) {
        args.inputs = count;
        launch_table(kernel, groups, args, args.input + count);
      });
}

Tensor& cat_out(const at::ITensorListRef& tensors, int64_t dim, Tensor& out) {
  const auto given = tensors.materialize();
  bool alike = kernels_can_move(out), fallback = unsupported(out);
  for (const Tensor& input : given) {
    alike &= kernels_can_move(input) && input.scalar_type() == out.scalar_type();
    fallback |= unsupported(input);
  }
  if (fallback && !alike) return at::native::call_fallback_fn<&boxed_fallback, at::_ops::cat_out>::call(tensors, dim, out);
  for (const Tensor& input : given) check_same_device("cat", {{"out", &out}, {"tensors", &input}});
  OutputOf<at::meta::structured_cat> op(out);
  dim = op.meta(tensors, dim).dim;
  if (out.numel() == 0) return out;
  std::vector<Tensor> inputs;   // those with elements: an empty 1-d tensor goes with any shape
  for (const Tensor& input : given)
    if (input.numel()) inputs.push_back(input);
  if (!alike || out.numel() >= int64_t{1} << 31) {
    cat_by_copies(inputs, dim, out);
    return out;
  }
  // Dimensions in the order of the output's memory: channels_last joins like contiguous tensors.
  std::vector<int64_t> order(out.dim());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return out.stride(a) > out.stride(b); });
  const int64_t joined = std::find(order.begin(), order.end(), dim) - order.begin();
  const Tensor result = out.permute(order);
  bool dense = result.is_contiguous();
  for (Tensor& input : inputs) input = input.permute(order), dense &= input.is_contiguous();
  if (dense) cat_rows(inputs, joined, result);
  else cat_strided(std::move(inputs), joined, result);
  return out;
}

// One dimension after the other, each by two copies: shapes that the kernel's arguments have no room for.
Tensor roll_by_copies(const Tensor& self, at::IntArrayRef shifts, at::IntArrayRef dims) {
  Tensor result = self;
  for (size_t i = 0; i < dims.size(); ++i) {
    const Tensor from = result;
    result = dense_like(self);
    const int64_t dim = at::maybe_wrap_dim(dims[i], self.dim()), size = self.size(dim), shift = shifts[i];
    if (shift) result.narrow(dim, 0, shift).copy_(from.narrow(dim, size - shift, shift));
    result.narrow(dim, shift, size - shift).copy_(from.narrow(dim, 0, size - shift));
  }
  return result;
}

Tensor roll_tensor(const Tensor& self, at::IntArrayRef shifts, at::IntArrayRef dims) {
  if (unsupported(self) && !kernels_can_move(self))
    return at::native::call_fallback_fn<&boxed_fallback, at::_ops::roll>::call(self, shifts, dims);
  TORCH_CHECK(!shifts.empty(), "`shifts` required");
  if (dims.empty() && shifts.size() == 1) {
    const Tensor flat = self.contiguous().view({self.numel()});
    return roll_tensor(flat, shifts, {0}).view(self.sizes());
  }
  TORCH_CHECK(shifts.size() == dims.size(), "shifts and dimensions must align. shifts: ", shifts.size(), ", dims:", dims.size());
  // A dimension may be named more than once.
  if (self.numel() == 0) return self.clone();
  std::vector<int64_t> shift(self.dim(), 0);
  for (size_t i = 0; i < dims.size(); ++i) {
    const int64_t dim = at::maybe_wrap_dim(dims[i], self.dim(), /*wrap_scalar=*/false), size = self.size(dim);
    shift[dim] = ((shift[dim] + shifts[i] % size) % size + size) % size;
  }
  const Tensor result = dense_like(self);
  usbgpu_family::RollArgs args{};
  args.out = address(result), args.source = address(self), args.count = static_cast<uint32_t>(self.numel());
  const int64_t width = static_cast<int64_t>(self.element_size());
  uint32_t n = 0;
  bool fits = self.numel() < int64_t{1} << 31 && !reaches_far(self) && kernels_can_move(self);
  for (int64_t d = self.dim() - 1; d >= 0 && fits; --d) {
    const int64_t size = self.size(d), stride = self.stride(d) * width;
    if (size == 1) continue;
    // Dimensions that lie behind each other and stay as they are, or roll as a whole, are one.
    if (n && args.shift[n - 1] == 0 && stride == static_cast<int64_t>(args.stride[n - 1]) * args.size[n - 1]) {
      args.shift[n - 1] = static_cast<uint32_t>(shift[d]) * args.size[n - 1];
      args.size[n - 1] *= static_cast<uint32_t>(size);
      continue;
    }
    if (n == usbgpu_family::kShapeDims) fits = false;
    else args.size[n] = static_cast<uint32_t>(size), args.shift[n] = static_cast<uint32_t>(shift[d]), args.stride[n++] = static_cast<int32_t>(stride);
  }
  if (!fits) {
    std::vector<int64_t> rolled, by;
    for (int64_t d = 0; d < self.dim(); ++d)
      if (shift[d]) rolled.push_back(d), by.push_back(shift[d]);
    return rolled.empty() ? result.copy_(self) : roll_by_copies(self, by, rolled);
  }
  args.dims = n;
  launch(shape_kernel("roll", 2, "RollArgs", width), grid_for(args.count), kGroup256, args);
  return result;
}

// Channel c of group g goes to place g of the c-th bunch: a transposition of [groups, channels per group].
Tensor channel_shuffle(const Tensor& self, int64_t groups) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::channel_shuffle, self, groups);
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

// ATen's kernels for all devices have no variant with `out`.
Tensor& narrow_copy_out(const Tensor& self, int64_t dim, int64_t start, int64_t length, Tensor& out) {
  check_same_device("narrow_copy", {{"self", &self}, {"out", &out}});
  TORCH_CHECK(self.dtype() == out.dtype(), "narrow_copy: out is ", out.dtype(), ", the input ", self.dtype());
  const Tensor part = self.narrow(dim, start, length);
  resize_out(out, part.sizes());
  return out.copy_(part);
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
  m.impl("narrow_copy.out", &narrow_copy_out);
  m.impl("roll", &roll_tensor);
}

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(flip_stub, &usbgpu::aten::flip_kernel)
}  // namespace at::native
