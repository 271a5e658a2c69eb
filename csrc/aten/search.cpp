// searchsorted, bucketize, repeat_interleave. Kernels: torch_usbgpu/kernels/search.hip.
#include "aten/walk.h"

#include <ATen/native/BucketizationUtils.h>
#include <ATen/ops/bucketize_ops.h>
#include <ATen/ops/repeat_interleave_ops.h>
#include <ATen/ops/searchsorted_ops.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/search_args.h"
#include "aten/backend/fallback.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::Scalar;
using at::ScalarType;
using at::Tensor;
using usbgpu_family::RepeatArgs;
using usbgpu_family::SearchArgs;
using Side = std::optional<std::string_view>;

// All contiguous, boundaries and input of one dtype.
void launch_search(const Tensor& boundaries, const Tensor& input, const Tensor& sorter, bool right, const Tensor& result) {
  static KernelCache cache;
  const ScalarType type = input.scalar_type(), out = result.scalar_type();
  Kernel* kernel = cache.get(key(type, out, right, sorter.defined()), [&]() -> KernelSource {
    const std::string symbol = std::string("search_") + dtype_name(type) + "_" + dtype_name(out) + (right ? "_right" : "_left") +
                               (sorter.defined() ? "_sorter" : "");
    const auto truth = [](bool value) { return value ? "true" : "false"; };
    return {"search", symbol, "USBGPU_SEARCH(" + symbol + ", SearchArgs, search<" + dtype_c_type(type) + ", " + dtype_c_type(out) +
                                  ", " + truth(right) + ", " + truth(sorter.defined()) + ">)"};
  });
  SearchArgs args{};
  args.boundaries = address(boundaries), args.input = address(input), args.output = address(result);
  args.sorter = sorter.defined() ? address(sorter) : 0;
  args.count = input.numel(), args.width = boundaries.size(-1);
  // One row of boundaries serves the whole input.
  args.per_row = boundaries.dim() == 1 ? args.count : static_cast<uint64_t>(input.size(-1));
  launch(kernel, grid_for(args.count), kGroup256, args);
}

Tensor& search_out(const Tensor& sorted, const Tensor& self, bool out_int32, bool right, const Side& side,
                   const std::optional<Tensor>& sorter_given, Tensor& out) {
  const Tensor sorter = sorter_given.value_or(Tensor());
  at::native::searchsorted_pre_check(sorted, self, out, out_int32, right, side, sorter);
  check_same_device("searchsorted", {{"sorted_sequence", &sorted}, {"out", &out}});
  TORCH_CHECK_NOT_IMPLEMENTED(self.scalar_type() != at::kBool || sorted.scalar_type() != at::kBool,
                              "\"searchsorted_out_cpu\" not implemented for 'Bool'");
  resize_out(out, self.sizes());
  if (self.numel() == 0) return out;
  Tensor input, boundaries, order;
  at::native::searchsorted_maybe_trim_input_tensors(input, boundaries, order, self, sorted, sorter);
  if (!input.defined()) input = self;
  if (!boundaries.defined()) boundaries = sorted;
  if (!order.defined()) order = sorter;
  const Tensor result = out.is_contiguous() ? out : dense_like(out);
  launch_search(boundaries, input, order, right || (side && *side == "right"), result);
  if (!result.is_same(out)) out.copy_(result);
  return out;
}

Tensor new_result(bool out_int32) { return empty({0}, out_int32 ? at::kInt : at::kLong); }

Tensor& searchsorted_out(const Tensor& sorted, const Tensor& self, bool out_int32, bool right, Side side,
                         const std::optional<Tensor>& sorter, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::searchsorted_Tensor_out, sorted, self, out_int32, right, side, sorter, out);
  return search_out(sorted, self, out_int32, right, side, sorter, out);
}
Tensor searchsorted(const Tensor& sorted, const Tensor& self, bool out_int32, bool right, Side side,
                    const std::optional<Tensor>& sorter) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::searchsorted_Tensor, sorted, self, out_int32, right, side, sorter);
  Tensor out = new_result(out_int32);
  return search_out(sorted, self, out_int32, right, side, sorter, out);
}
Tensor& searchsorted_scalar_out(const Tensor& sorted, const Scalar& self, bool out_int32, bool right, Side side,
                                const std::optional<Tensor>& sorter, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::searchsorted_Scalar_out, sorted, self, out_int32, right, side, sorter, out);
  return search_out(sorted, at::native::searchsorted_scalar_tensor(self, sorted.device()), out_int32, right, side, sorter, out);
}
Tensor searchsorted_scalar(const Tensor& sorted, const Scalar& self, bool out_int32, bool right, Side side,
                           const std::optional<Tensor>& sorter) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::searchsorted_Scalar, sorted, self, out_int32, right, side, sorter);
  Tensor out = new_result(out_int32);
  return search_out(sorted, at::native::searchsorted_scalar_tensor(self, sorted.device()), out_int32, right, side, sorter, out);
}

void check_boundaries(const Tensor& boundaries) {
  TORCH_CHECK(boundaries.dim() == 1, "boundaries tensor must be 1 dimension, but got dim(", boundaries.dim(), ")");
}

Tensor& bucketize_out(const Tensor& self, const Tensor& boundaries, bool out_int32, bool right, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::bucketize_Tensor_out, self, boundaries, out_int32, right, out);
  check_boundaries(boundaries);
  return search_out(boundaries, self, out_int32, right, std::nullopt, std::nullopt, out);
}
Tensor bucketize_tensor(const Tensor& self, const Tensor& boundaries, bool out_int32, bool right) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::bucketize_Tensor, self, boundaries, out_int32, right);
  check_boundaries(boundaries);
  Tensor out = new_result(out_int32);
  return search_out(boundaries, self, out_int32, right, std::nullopt, std::nullopt, out);
}
Tensor bucketize_scalar(const Scalar& self, const Tensor& boundaries, bool out_int32, bool right) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::bucketize_Scalar, self, boundaries, out_int32, right);
  return bucketize_tensor(at::native::searchsorted_scalar_tensor(self, boundaries.device()), boundaries, out_int32, right);
}

// ---- repeat_interleave: [2, 0, 3] -> [0, 0, 2, 2, 2]

Tensor repeat_interleave(const Tensor& repeats_, std::optional<int64_t> output_size) {
  check_on_device("repeat_interleave", "repeats", repeats_);
  static KernelCache cache;
  const ScalarType type = repeats_.scalar_type();
  TORCH_CHECK(repeats_.dim() == 1, "repeat_interleave only accept 1D vector as repeat");
  TORCH_CHECK(type == at::kLong || type == at::kInt, "repeats has to be Long or Int tensor");
  if (repeats_.size(0) == 0) return dense_like(repeats_);
  const auto kernel = [&](const char* name) {
    return cache.get(key(type, name[7]), [&]() -> KernelSource {
      const std::string symbol = std::string(name) + "_" + dtype_name(type);
      return {"search", symbol, "USBGPU_SEARCH(" + symbol + ", RepeatArgs, " + name + "<" + dtype_c_type(type) + ">)"};
    });
  };
  const Tensor repeats = repeats_.contiguous(), ends = empty({repeats.size(0)}, at::kLong), outcome = empty({2}, at::kLong);
  RepeatArgs args{};
  args.repeats = address(repeats), args.ends = address(ends), args.outcome = address(outcome);
  args.count = repeats.size(0), args.error_block = device().error_block();
  args.check = output_size.has_value(), args.total = output_size.value_or(0);
  launch(kernel("repeat_sums"), {1, 1, 1}, kGroup256, args);
  if (!output_size) {
    std::array<int64_t, 2> sum_and_least{};
    read_back(sum_and_least.data(), args.outcome, sizeof(sum_and_least));
    TORCH_CHECK(sum_and_least[1] >= 0, "repeats can not be negative");
    args.total = sum_and_least[0];
  }
  const Tensor result = empty({static_cast<int64_t>(args.total)}, type);
  if (args.total == 0) return result;
  args.output = address(result);
  launch(kernel("repeat_write"), grid_for(args.total), kGroup256, args);
  return result;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("searchsorted.Tensor", &searchsorted);
  m.impl("searchsorted.Tensor_out", &searchsorted_out);
  m.impl("searchsorted.Scalar", &searchsorted_scalar);
  m.impl("searchsorted.Scalar_out", &searchsorted_scalar_out);
  m.impl("bucketize.Tensor", &bucketize_tensor);
  m.impl("bucketize.Tensor_out", &bucketize_out);
  m.impl("bucketize.Scalar", &bucketize_scalar);
  m.impl("repeat_interleave.Tensor", &repeat_interleave);
}

}  // namespace
}  // namespace usbgpu::aten
