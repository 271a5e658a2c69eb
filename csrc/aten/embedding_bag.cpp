// embedding_bag, its gradients, and embedding_renorm_. Kernels: torch_usbgpu/kernels/embedding_bag.hip.
#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_embedding_bag_backward_ops.h>
#include <ATen/ops/_embedding_bag_dense_backward_ops.h>
#include <ATen/ops/_embedding_bag_forward_only_ops.h>
#include <ATen/ops/_embedding_bag_ops.h>
#include <ATen/ops/_embedding_bag_per_sample_weights_backward_ops.h>
#include <ATen/ops/_embedding_bag_sparse_backward.h>
#include <ATen/ops/embedding_renorm_ops.h>
#include <ATen/ops/index_add.h>
#include <torch/library.h>

#include <cmath>

#include "../../torch_usbgpu/kernels/embedding_bag_args.h"
#include "aten/backend/fallback.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::ScalarType;
using at::Tensor;
using Optional = std::optional<Tensor>;
using usbgpu_family::BagArgs;
using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;

constexpr int64_t kSum = 0, kMean = 1, kMax = 2;

void launch_bags(const std::string& form, int variant, ScalarType type, ScalarType index, const std::string& last, uint64_t threads,
                 const BagArgs& args) {
  static KernelCache cache;
  if (threads == 0) return;
  TORCH_CHECK(threads < uint64_t{1} << 39, "embedding_bag: this is more than usbgpu's kernels can index");
  Kernel* kernel = cache.get(key(variant, type, index), [&]() -> KernelSource {
    const std::string symbol = form + "_" + std::to_string(variant) + "_" + dtype_name(type) + "_" + dtype_name(index);
    const std::string types = form == "embedding_bag_count" ? dtype_c_type(index) : std::string(dtype_c_type(type)) + ", " + dtype_c_type(index);
    return {"embedding_bag", symbol, "USBGPU_BAG(" + symbol + ", " + form + ", " + types + last + ")"};
  });
  launch(kernel, {ceil_div(threads, 256), 1, 1}, {256, 1, 1}, args);
}

void check_integers(const char* name, const Tensor& tensor) {
  TORCH_CHECK(tensor.scalar_type() == at::kLong || tensor.scalar_type() == at::kInt, "Expected tensor for argument '", name,
              "' to have one of the following scalar types: Long, Int; but got ", tensor.scalar_type(),
              " instead (while checking arguments for embedding_bag)");
}

void check_forward(const Tensor& weight, const Tensor& indices, const Tensor& offsets, int64_t mode, const Tensor& sample_weight,
                   bool include_last_offset, int64_t padding) {
  check_same_device("embedding_bag", {{"weight", &weight}, {"indices", &indices}, {"offsets", &offsets}});
  TORCH_CHECK(indices.dim() == 1 || indices.dim() == 2, "input has to be a 1D or 2D Tensor, but got Tensor of dimension ", indices.dim());
  TORCH_CHECK(indices.dim() != 1 || offsets.dim() == 1, "offsets has to be a 1D Tensor, but got Tensor of dimension ", offsets.dim());
  TORCH_CHECK(weight.dim() == 2, "weight has to be a 2D Tensor, but got Tensor of dimension ", weight.dim());
  check_integers("indices", indices), check_integers("offsets", offsets);
  TORCH_CHECK(at::isFloatingType(weight.scalar_type()), "Expected tensor for argument #1 'weight' to have one of the following scalar "
              "types: Half, BFloat16, Float, Double; but got ", weight.scalar_type(), " instead (while checking arguments for embedding_bag)");
  TORCH_CHECK(padding < weight.size(0), "padding_idx must be within the number of embeddings, ", weight.size(0), ", but got ", padding);
  TORCH_CHECK(mode >= kSum && mode <= kMax, "embedding_bag: mode must be 0 (sum), 1 (mean) or 2 (max), but got ", mode);
  TORCH_CHECK(indices.numel() < INT32_MAX && offsets.numel() < INT32_MAX && weight.size(1) < INT32_MAX,
              "embedding_bag: this is more than usbgpu's kernels can index");
  TORCH_CHECK(!include_last_offset || offsets.size(0) >= 1, "include_last_offset: number of offset should be at least 1");
  if (!sample_weight.defined()) return;
  check_same_device("embedding_bag", {{"weight", &weight}, {"per_sample_weights", &sample_weight}});
  TORCH_CHECK(mode == kSum, "embedding_bag: per_sample_weights only supported with mode='sum'");
  TORCH_CHECK(sample_weight.scalar_type() == weight.scalar_type(), "Expected tensor for argument #1 'weight' to have the same type as "
              "tensor for argument #1 'per_sample_weights'; but type ", weight.scalar_type(), " does not equal ",
              sample_weight.scalar_type(), " (while checking arguments for embedding_bag)");
  TORCH_CHECK(sample_weight.dim() == 1 && sample_weight.numel() == indices.numel(), "embedding_bag: expected per_sample_weights of ",
              indices.numel(), " elements, but got ", sample_weight.sizes());
}

// Indices and offsets in the wider of their dtypes.
struct Integers {
  ScalarType type;
  Tensor indices, offsets;
  Integers(const Tensor& i, const Tensor& o)
      : type(i.scalar_type() == at::kLong || o.scalar_type() == at::kLong ? at::kLong : at::kInt),
        indices(i.to(type).contiguous()), offsets(o.to(type).contiguous()) {}
};

Four forward(const Tensor& weight, const Tensor& indices_, const Tensor& offsets_, int64_t mode, const Optional& sample_weight_,
             bool include_last_offset, int64_t padding) {
  const Tensor given = sample_weight_.value_or(Tensor());
  check_forward(weight, indices_, offsets_, mode, given, include_last_offset, padding);
  const Integers integers(indices_, offsets_);
  const Tensor sample_weight = given.defined() ? given.contiguous() : given;
  const int64_t bags = integers.offsets.numel() - include_last_offset, width = weight.size(1);
  Tensor output = empty({bags, width}, weight.scalar_type()), bag_size = empty({bags}, integers.type);
  Tensor max_indices = mode == kMax ? empty({bags, width}, integers.type) : empty({bags}, integers.type);
  // Indices that wrong or shorter offsets leave out are in no bag.
  Tensor offset2bag = empty({integers.indices.numel()}, integers.type);
  if (include_last_offset || bags == 0) offset2bag.fill_(-1);
  BagArgs args{};
  args.weight = address(weight), args.indices = address(integers.indices), args.offsets = address(integers.offsets);
  args.sample_weight = sample_weight.defined() ? address(sample_weight) : 0;
  args.output = address(output), args.offset2bag = address(offset2bag), args.bag_size = address(bag_size);
  args.max_indices = address(max_indices);
  args.error_block = device().error_block();
  args.weight_row = weight.stride(0), args.weight_column = weight.stride(1);
  args.rows = weight.size(0), args.padding = padding;
  args.bags = static_cast<uint32_t>(bags), args.width = static_cast<uint32_t>(width);
  args.count = static_cast<uint32_t>(integers.indices.numel()), args.last_given = include_last_offset;
  static constexpr const char* modes[] = {", kBagSum", ", kBagMean", ", kBagMax"};
  launch_bags("embedding_bag", static_cast<int>(mode), weight.scalar_type(), integers.type, modes[mode],
              static_cast<uint64_t>(bags) * std::max<int64_t>(width, 1), args);
  return {output, offset2bag, bag_size, max_indices};
}

Four embedding_bag(const Tensor& weight, const Tensor& indices, const Tensor& offsets, bool scale_grad_by_freq, int64_t mode,
                   bool sparse, const Optional& per_sample_weights, bool include_last_offset, int64_t padding_idx) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_embedding_bag, weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights,
                            include_last_offset, padding_idx);
  return forward(weight, indices, offsets, mode, per_sample_weights, include_last_offset, padding_idx);
}

Four embedding_bag_forward_only(const Tensor& weight, const Tensor& indices, const Tensor& offsets, bool scale_grad_by_freq,
                                int64_t mode, bool sparse, const Optional& per_sample_weights, bool include_last_offset,
                                int64_t padding_idx) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_embedding_bag_forward_only, weight, indices, offsets, scale_grad_by_freq, mode, sparse,
                            per_sample_weights, include_last_offset, padding_idx);
  return forward(weight, indices, offsets, mode, per_sample_weights, include_last_offset, padding_idx);
}

Tensor dense_backward(const Tensor& grad_, const Tensor& indices_, const Tensor& offset2bag_, const Tensor& bag_size_,
                      const Tensor& max_indices_, int64_t num_weights, bool scale_grad_by_freq, int64_t mode,
                      const Optional& sample_weight_, int64_t padding) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_embedding_bag_dense_backward, grad_, indices_, offset2bag_, bag_size_, max_indices_, num_weights,
                            scale_grad_by_freq, mode, sample_weight_, padding);
  check_same_device("embedding_bag_backward", {{"grad", &grad_}, {"indices", &indices_}, {"offset2bag", &offset2bag_},
                                               {"bag_size", &bag_size_}, {"maximum_indices", &max_indices_}});
  TORCH_CHECK(at::isFloatingType(grad_.scalar_type()) && grad_.dim() == 2, "embedding_bag_backward: expected a floating gradient of two "
              "dimensions, but got ", grad_.scalar_type(), " ", grad_.sizes());
  check_integers("indices", indices_);
  const Tensor given = sample_weight_.value_or(Tensor());
  TORCH_CHECK(!given.defined() || (mode == kSum && given.scalar_type() == grad_.scalar_type() && given.numel() == indices_.numel()),
              "embedding_bag_backward: per_sample_weights must be one of the gradient's dtype per index, and mode 'sum'");
  TORCH_CHECK(offset2bag_.numel() == indices_.numel() && bag_size_.numel() == grad_.size(0) &&
              (mode != kMax || max_indices_.sizes() == grad_.sizes()), "embedding_bag_backward: the sizes of the bags do not fit the gradient");
  const Integers integers(indices_, offset2bag_);
  const ScalarType type = grad_.scalar_type(), sums = compute_dtype(type);
  const Tensor grad = grad_.contiguous(), sample_weight = given.defined() ? given.contiguous() : given;
  const Tensor bag_size = bag_size_.to(integers.type).contiguous();
  const Tensor max_indices = mode == kMax ? max_indices_.to(integers.type).contiguous() : bag_size;
  const int64_t width = grad.size(1), count = integers.indices.numel();
  Tensor result = empty({num_weights, width}, sums).zero_(), counts;
  BagArgs args{};
  args.indices = address(integers.indices), args.offset2bag = address(integers.offsets), args.bag_size = address(bag_size);
  args.max_indices = address(max_indices), args.grad = address(grad), args.output = address(result);
  args.sample_weight = sample_weight.defined() ? address(sample_weight) : 0;
  args.error_block = device().error_block(), args.rows = num_weights, args.padding = padding;
  args.bags = static_cast<uint32_t>(grad.size(0)), args.width = static_cast<uint32_t>(width), args.count = static_cast<uint32_t>(count);
  if (scale_grad_by_freq && mode != kMax) {
    counts = empty({num_weights}, at::kInt).zero_();
    args.counts = address(counts);
    launch_bags("embedding_bag_count", 3, at::kInt, integers.type, "", static_cast<uint64_t>(count), args);
  }
  const uint64_t shares = static_cast<uint64_t>(count) * width;
  if (mode == kMax) {
    at::globalContext().alertNotDeterministic("embedding_bag_backward_max");
    launch_bags("embedding_bag_backward_max", 4, type, integers.type, "", static_cast<uint64_t>(grad.numel()), args);
  } else if (at::globalContext().deterministicAlgorithms() && shares) {
    const Tensor each = empty({count, width}, sums);
    args.output = address(each);
    launch_bags("embedding_bag_shares", mode == kMean ? 6 : 5, type, integers.type, mode == kMean ? ", true" : ", false", shares, args);
    result = result.index_add(0, integers.indices, each);
  } else {
    launch_bags("embedding_bag_backward", mode == kMean ? 8 : 7, type, integers.type, mode == kMean ? ", true" : ", false", shares, args);
  }
  return result.to(type);
}

Tensor backward(const Tensor& grad, const Tensor& indices, const Tensor& offsets, const Tensor& offset2bag, const Tensor& bag_size,
                const Tensor& max_indices, int64_t num_weights, bool scale_grad_by_freq, int64_t mode, bool sparse,
                const Optional& sample_weight, int64_t padding) {
  if (sparse)
    return at::_embedding_bag_sparse_backward(grad, indices, offsets, offset2bag, bag_size, num_weights, scale_grad_by_freq, mode,
                                              sample_weight, padding);
  return at::_ops::_embedding_bag_dense_backward::call(grad, indices, offset2bag, bag_size, max_indices, num_weights, scale_grad_by_freq,
                                                       mode, sample_weight, padding);
}

Tensor sample_weights_backward(const Tensor& grad_, const Tensor& weight, const Tensor& indices_, const Tensor& offsets,
                               const Tensor& offset2bag, int64_t mode, int64_t padding) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_embedding_bag_per_sample_weights_backward, grad_, weight, indices_, offsets, offset2bag, mode,
                            padding);
  TORCH_CHECK(mode == kSum, "embedding_bag_backward: per_sample_weights only supported for mode='sum'");
  check_same_device("embedding_bag_backward", {{"grad", &grad_}, {"weight", &weight}, {"indices", &indices_}, {"offset2bag", &offset2bag}});
  TORCH_CHECK(grad_.dim() == 2 && weight.dim() == 2 && grad_.size(1) == weight.size(1) && grad_.scalar_type() == weight.scalar_type() &&
              at::isFloatingType(grad_.scalar_type()), "embedding_bag_backward: expected a gradient like the weight's rows, but got ",
              grad_.scalar_type(), " ", grad_.sizes(), " for ", weight.scalar_type(), " ", weight.sizes());
  check_integers("indices", indices_);
  TORCH_CHECK(offset2bag.numel() == indices_.numel(), "embedding_bag_backward: offset2bag must have an element per index");
  const Integers integers(indices_, offset2bag);
  const Tensor grad = grad_.contiguous();
  Tensor result = empty({integers.indices.numel()}, grad.scalar_type());
  BagArgs args{};
  args.weight = address(weight), args.indices = address(integers.indices), args.offset2bag = address(integers.offsets);
  args.grad = address(grad), args.output = address(result), args.error_block = device().error_block();
  args.weight_row = weight.stride(0), args.weight_column = weight.stride(1), args.rows = weight.size(0), args.padding = padding;
  args.bags = static_cast<uint32_t>(grad.size(0)), args.width = static_cast<uint32_t>(grad.size(1));
  args.count = static_cast<uint32_t>(integers.indices.numel());
  launch_bags("embedding_bag_sample_weights", 9, grad.scalar_type(), integers.type, "", uint64_t{args.count} * 32, args);
  return result;
}

// Rows that are named and longer than max_norm are shrunk to it.
Tensor& embedding_renorm_(Tensor& self, const Tensor& indices_, double max_norm, double norm_type) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::embedding_renorm_, self, indices_, max_norm, norm_type);
  static KernelCache cache;
  check_same_device("embedding_renorm_", {{"self", &self}, {"indices", &indices_}});
  TORCH_CHECK(self.dim() == 2, "Expected 2-dimensional tensor, but got ", self.dim(),
              "-dimensional tensor for argument #1 'self' (while checking arguments for embedding_renorm_)");
  check_integers("indices", indices_);
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(self.scalar_type()), "\"embedding_renorm_\" not implemented for '",
                              at::toString(self.scalar_type()), "'");
  TORCH_CHECK(indices_.numel() < INT32_MAX && self.size(1) < INT32_MAX, "embedding_renorm_: this is more than usbgpu's kernels can index");
  if (indices_.numel() == 0 || self.numel() == 0) return self;
  at::assert_no_internal_overlap(self);
  const Tensor indices = indices_.contiguous(), claims = empty({self.size(0)}, at::kInt).zero_();
  const uint32_t norm = norm_type == 0 ? 0 : norm_type == 1 ? 1 : norm_type == 2 ? 2 : std::isinf(norm_type) && norm_type > 0 ? 3 : 4;
  const ScalarType type = self.scalar_type(), index = indices.scalar_type();
  Kernel* kernel = cache.get(key(type, index, norm), [&]() -> KernelSource {
    const std::string symbol = std::string("embedding_renorm_") + dtype_name(type) + "_" + dtype_name(index) + "_" + std::to_string(norm);
    return {"embedding_bag", symbol, "USBGPU_ROWS(" + symbol + ", embedding_renorm, " + dtype_c_type(type) + ", " + dtype_c_type(index) +
                                         ", " + std::to_string(norm) + ")"};
  });
  const usbgpu_family::RenormRowsArgs args{address(self), address(indices), address(claims), device().error_block(), max_norm, norm_type,
                                           self.stride(0), self.stride(1), self.size(0), static_cast<uint32_t>(indices.numel()),
                                           static_cast<uint32_t>(self.size(1))};
  launch(kernel, {ceil_div(args.count, 8), 1, 1}, {256, 1, 1}, args);
  return self;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_embedding_bag", &embedding_bag);
  m.impl("_embedding_bag_forward_only", &embedding_bag_forward_only);
  m.impl("_embedding_bag_backward", &backward);
  m.impl("_embedding_bag_dense_backward", &dense_backward);
  m.impl("embedding_renorm_", &embedding_renorm_);
  m.impl("_embedding_bag_per_sample_weights_backward", &sample_weights_backward);
}

}  // namespace
}  // namespace usbgpu::aten
