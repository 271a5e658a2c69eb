// Advanced indexing, gather and scatter. Kernels: torch_usbgpu/kernels/index.hip.
//
// All of them are one of two walks: result[i] = source[i][indices] or result[i][indices] = source[i].
// The indexed operand has stride 0 along the dimension that an index replaces.
#include "aten/walk.h"

#include <ATen/Context.h>
#include <ATen/Dispatch.h>
#include <ATen/ExpandUtils.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/native/IndexKernel.h>
#include <ATen/native/IndexingUtils.h>
#include <ATen/native/ReductionType.h>
#include <ATen/native/TensorAdvancedIndexing.h>
#include <ATen/ops/embedding_dense_backward_ops.h>
#include <ATen/ops/index_add_meta.h>
#include <ATen/ops/index_add_ops.h>
#include <ATen/ops/index_reduce_meta.h>
#include <ATen/ops/index_reduce_ops.h>
#include <ATen/ops/index_select_ops.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include "aten/backend/complex.h"
#include "aten/sort.h"
#include "aten/structured.h"

namespace usbgpu::aten {

namespace {

using at::IntArrayRef;
using at::native::ReductionType;
using at::Scalar;
using at::ScalarType;
using at::Tensor;
using usbgpu_family::IndexArgs;
using usbgpu_family::kMaxIndices;

// What is done with an element at its indexed place.
enum class Action : uint8_t { get, put, add, multiply, maximum, minimum };

struct Indexed {  // the dimensions that index tensors replace
  IntArrayRef sizes, strides_bytes;
  bool allow_negative;
  int64_t first_dimension;  // for messages
};

KernelSource index_source(Action action, ScalarType type, ScalarType index, uint32_t indices) {
  static constexpr const char* names[] = {"get", "put", "add", "multiply", "maximum", "minimum"};
  static constexpr const char* functors[] = {"", "", "ReduceAdd", "ReduceMultiply", "ReduceMaximum", "ReduceMinimum"};
  const auto a = static_cast<size_t>(action);
  const bool move = action == Action::get || action == Action::put;
  const std::string bytes = std::to_string(c10::elementSize(type));
  const std::string symbol = std::string("index_") + names[a] + "_" + (move ? "w" + bytes : dtype_name(type)) + "_" +
                             dtype_name(index) + "_by" + std::to_string(indices);
  const std::string head = symbol + ", " + std::to_string(indices) + ", ";
  if (move)
    return {"index", symbol, "USBGPU_INDEX(" + head + "index_" + names[a] + "<" + bytes + ", " + dtype_c_type(index) + ">)"};
  return {"index", symbol,
          "USBGPU_INDEX_REDUCE(" + head + dtype_c_type(type) + ", " + functors[a] + ", " + dtype_c_type(index) + ")"};
}

// Floating sums and products depend on the order of their terms, and of several values put to one
// place the last is to win. Memory has no exchange wide enough for all complex numbers.
bool order_matters(Action action, ScalarType type) {
  const bool sums = action == Action::add || action == Action::multiply;
  if (sums && at::isComplexType(type)) return true;
  return at::globalContext().deterministicAlgorithms() && (action == Action::put || (sums && at::isFloatingType(type)));
}

template <uint32_t Indices>
void launch_in_order(Action action, ScalarType type, ScalarType index, IndexArgs<Indices> args) {
  static KernelCache places, writes;
  const std::string by = "_by" + std::to_string(Indices), head = std::to_string(Indices) + ", ";
  Kernel* place = places.get(key(index), [&]() -> KernelSource {
    const std::string symbol = std::string("index_places_") + dtype_name(index) + by;
    return {"index", symbol, "USBGPU_INDEX(" + symbol + ", " + head + "index_places<" + dtype_c_type(index) + ">)"};
  });
  const size_t bytes = c10::elementSize(type);
  const bool put = action == Action::put;
  Kernel* write = writes.get(put ? key(action, bytes) : key(action, 0x80 | static_cast<int>(type)), [&]() -> KernelSource {
    if (put) {
      const std::string w = std::to_string(bytes), symbol = "index_ordered_put_w" + w + by;
      return {"index", symbol, "USBGPU_INDEX(" + symbol + ", " + head + "ordered_put<" + w + ">)"};
    }
    const std::string symbol = std::string("index_ordered_") + (action == Action::add ? "add_" : "multiply_") + dtype_name(type) + by;
    return {"index", symbol, "USBGPU_INDEX(" + symbol + ", " + head + "ordered_reduce<" + dtype_c_type(type) +
                                 (action == Action::add ? ", usbgpu_family::ReduceAdd>)" : ", usbgpu_family::ReduceMultiply>)")};
  });
  const Tensor keys = empty({static_cast<int64_t>(args.walk.count)}, at::kLong);
  args.keys = address(keys);
  launch(place, grid_for(args.walk.count), kGroup256, args);
  const Sorted sorted = sort_rows(keys, false);
  args.keys = address(sorted.keys), args.order = address(sorted.order);
  launch(write, grid_for(args.walk.count), kGroup256, args);
}

template <uint32_t Indices>
void launch_indexed(Action action, at::TensorIteratorBase& iter, const Indexed& indexed, const Scalar* fill) {
  static KernelCache cache;
  const ScalarType type = iter.dtype(0), index = iter.dtype(fill ? 1 : 2);
  TORCH_CHECK_INDEX(index == at::kLong || index == at::kInt, "tensors used as indices must be long, int, byte or bool tensors");
  // Words of one size share a kernel.
  const bool move = action == Action::get || action == Action::put, in_order = !fill && order_matters(action, type);
  const uint64_t code = move ? key(action, c10::elementSize(type), index, Indices) : key(action, 0x80 | static_cast<int>(type), index, Indices);
  Kernel* kernel = in_order ? nullptr : cache.get(code, [&] { return index_source(action, type, index, Indices); });
  in_32_bits(iter, [&](at::TensorIteratorBase& piece) {
    IndexArgs<Indices> args{};
    if (fill) {  // operands: result, indices
      const auto narrow = walk_of<1 + Indices>(piece);
      args.walk.dims = narrow.dims, args.walk.count = narrow.count;
      for (uint32_t k = 0; k < 1 + Indices; ++k) args.walk.address[k ? k + 1 : 0] = narrow.address[k];
      for (uint32_t d = 0; d < narrow.dims; ++d) {
        args.walk.size[d] = narrow.size[d];
        for (uint32_t k = 0; k < 1 + Indices; ++k) args.walk.stride[d][k ? k + 1 : 0] = narrow.stride[d][k];
      }
      args.value = scalar_bits(*fill, type);
    } else {
      args.walk = walk_of<2 + Indices>(piece);
    }
    for (uint32_t k = 0; k < Indices; ++k) {
      args.size[k] = indexed.sizes[k], args.stride[k] = indexed.strides_bytes[k];
      args.dimension[k] = static_cast<uint32_t>(indexed.first_dimension + k);
    }
    args.allow_negative = indexed.allow_negative, args.error_block = device().error_block();
    if (in_order) return launch_in_order<Indices>(action, type, index, args);
    launch(kernel, grid_for(args.walk.count), kGroup256, args);
  });
}

// Operands of iter: result, source, one tensor per index; without the source if `fill` is given.
void run_indexed(Action action, at::TensorIteratorBase& iter, const Indexed& indexed, const Scalar* fill = nullptr) {
  if (iter.numel() == 0) return;
  switch (indexed.sizes.size()) {
    case 1: return launch_indexed<1>(action, iter, indexed, fill);
    case 2: return launch_indexed<2>(action, iter, indexed, fill);
    case 3: return launch_indexed<3>(action, iter, indexed, fill);
    case 4: return launch_indexed<4>(action, iter, indexed, fill);
    case 5: return launch_indexed<5>(action, iter, indexed, fill);
    case 6: return launch_indexed<6>(action, iter, indexed, fill);
    default:
      TORCH_CHECK_NOT_IMPLEMENTED(false, "usbgpu indexes with up to ", kMaxIndices, " tensors at once, got ", indexed.sizes.size());
  }
}

// ---- x[indices], x[indices] = value

void index_kernel(at::TensorIteratorBase& iter, IntArrayRef sizes, IntArrayRef strides) {
  run_indexed(Action::get, iter, {sizes, strides, true, 0});
}

void index_put_kernel(at::TensorIterator& iter, IntArrayRef sizes, IntArrayRef strides, bool accumulate) {
  run_indexed(accumulate ? Action::add : Action::put, iter, {sizes, strides, true, 0});
}

// Accumulation; the name speaks of how CUDA does it. Atomics here: the order of additions, and so
// the last bit of a floating sum, may differ between runs.
void index_put_accumulate(Tensor& self, const c10::List<std::optional<Tensor>>& given, const Tensor& value, bool accumulate,
                          bool unsafe) {
  if (self.numel() == 0 || value.numel() == 0) return;
  if (self.is_complex() && accumulate) {   // the parts are added one by one; they are a last dimension, which no index names
    Tensor parts = at::view_as_real(self);
    return index_put_accumulate(parts, given, at::view_as_real(value.resolve_conj()), accumulate, unsafe);
  }
  auto [source, indices, inverse] = [&] {
    std::vector<Tensor> expanded = at::native::expandTensors(self, given);
    expanded = at::expand_outplace(expanded);
    while (expanded.size() < static_cast<size_t>(self.dim())) expanded.emplace_back();
    for (Tensor& index : expanded)
      if (index.defined() && index.device() != self.device()) index = index.to(self.device());
    if (at::native::hasContiguousSubspace(expanded)) return std::make_tuple(self, expanded, std::vector<int64_t>());
    return at::native::transposeToFrontAndInvPerm(self, expanded);
  }();
  // Dimensions before the indexed ones, the shape of the indices, dimensions after them.
  std::vector<int64_t> shape, strides, sizes, index_strides;
  c10::SmallVector<Tensor, kMaxIndices> used;
  int64_t before = 0, after = 0;
  IntArrayRef replaced;
  for (int64_t d = 0; d < source.dim(); ++d) {
    if (indices[d].defined()) {
      if (used.empty()) replaced = indices[d].sizes();
      used.push_back(indices[d]);
      sizes.push_back(source.size(d)), index_strides.push_back(source.stride(d) * source.element_size());
    } else if (used.empty()) {
      ++before;
    } else {
      ++after;
    }
  }
  auto kept = [&](int64_t d) { shape.push_back(source.size(d)), strides.push_back(source.stride(d)); };
  for (int64_t d = 0; d < before; ++d) kept(d);
  for (int64_t size : replaced) shape.push_back(size), strides.push_back(0);
  for (int64_t d = source.dim() - after; d < source.dim(); ++d) kept(d);
  const Tensor result = source.as_strided(shape, strides);
  // Index tensors sit at their place among the dimensions.
  std::vector<int64_t> index_shape(before, 1);
  index_shape.insert(index_shape.end(), replaced.begin(), replaced.end());
  index_shape.insert(index_shape.end(), after, 1);
  const Tensor values = value.expand(shape);
  auto config = at::TensorIteratorConfig();
  config.set_check_mem_overlap(false).check_all_same_dtype(false).resize_outputs(false);
  config.add_output(result).add_owned_const_input(values);
  for (const Tensor& index : used) config.add_owned_const_input(index.reshape(index_shape));
  auto iter = config.build();
  run_indexed(accumulate ? Action::add : Action::put, iter, {sizes, index_strides, true, 0});
}

// ---- gather, scatter: one index tensor, as many dimensions as the operand

Tensor at_least_1d(const Tensor& tensor) { return tensor.dim() == 0 ? tensor.unsqueeze(0) : tensor; }

// `tensor` over index's shape, standing still along dim
Tensor restride(const Tensor& tensor, int64_t dim, IntArrayRef shape) {
  std::vector<int64_t> strides = tensor.strides().vec();
  strides[dim] = 0;
  return tensor.as_strided(shape, strides);
}

at::TensorIterator build(const Tensor& result, const Tensor* source, const Tensor& index) {
  auto config = at::TensorIteratorConfig();
  config.set_check_mem_overlap(false).check_all_same_dtype(false).resize_outputs(false).add_output(result);
  if (source) config.add_const_input(*source);
  return config.add_const_input(index).build();
}

// One index tensor, and either a source or a value. A complex sum is that of the parts, which are a last
// dimension that no index names.
void run_at(Action action, Tensor result, Tensor source, Tensor index, const Indexed& indexed, const Scalar* fill = nullptr) {
  if (result.is_complex()) {
    TORCH_CHECK_NOT_IMPLEMENTED(action != Action::maximum && action != Action::minimum, "\"scatter_gather_tensor_cpu_reduce_",
                                action == Action::maximum ? "amax" : "amin", "\" not implemented for '", result.scalar_type(), "'");
    if (fill && (action != Action::put || result.element_size() > 8)) {   // more than the arguments hold: an element in memory
      source = empty({}, result.scalar_type()).fill_(*fill).expand(result.sizes());
      fill = nullptr;
    }
    if (action == Action::add) {
      result = at::view_as_real(result), source = at::view_as_real(source.resolve_conj()), index = index.unsqueeze(-1);
    }
  }
  auto iter = build(result, fill ? nullptr : &source, index);
  run_indexed(action, iter, indexed, fill);
}

void gather_kernel(const Tensor& result_, const Tensor& self_, int64_t dim, const Tensor& index_) {
  if (index_.numel() == 0) return;
  const Tensor result = at_least_1d(result_), self = at_least_1d(self_), index = at_least_1d(index_);
  dim = at::maybe_wrap_dim(dim, self.dim());
  const int64_t size = self.size(dim), stride = self.stride(dim) * self.element_size();
  const Tensor source = restride(self, dim, index.sizes());
  auto iter = build(result.as_strided(index.sizes(), result.strides()), &source, index);
  run_indexed(Action::get, iter, {size, stride, false, dim});
}

void scatter_with(Action action, const Tensor& self_, int64_t dim, const Tensor& index_, const Tensor* src, const Scalar* value) {
  if (index_.numel() == 0) return;
  const Tensor self = at_least_1d(self_), index = at_least_1d(index_);
  dim = at::maybe_wrap_dim(dim, self.dim());
  const int64_t size = self.size(dim), stride = self.stride(dim) * self.element_size();
  Tensor source;
  if (src) source = at_least_1d(*src), source = source.as_strided(index.sizes(), source.strides());
  run_at(action, restride(self, dim, index.sizes()), source, index, {size, stride, false, dim}, value);
}

Action action_of(const ReductionType& reduce) {
  switch (reduce) {
    case ReductionType::SUM:
    case ReductionType::MEAN: return Action::add;  // ATen divides by the counts afterwards
    case ReductionType::PROD: return Action::multiply;
    case ReductionType::MAX: return Action::maximum;
    case ReductionType::MIN: return Action::minimum;
  }
  TORCH_CHECK(false, "unknown reduction");
}

void scatter_kernel(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& src) {
  scatter_with(Action::put, self, dim, index, &src, nullptr);
}
void scatter_fill_kernel(const Tensor& self, int64_t dim, const Tensor& index, const Scalar& value) {
  scatter_with(Action::put, self, dim, index, nullptr, &value);
}
void scatter_add_kernel(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& src) {
  scatter_with(Action::add, self, dim, index, &src, nullptr);
}
void scatter_reduce_kernel(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& src, const ReductionType& reduce) {
  TORCH_CHECK_NOT_IMPLEMENTED(reduce != ReductionType::MEAN || self.scalar_type() != at::kBool,
                              "\"scatter_gather_tensor_cpu_reduce_mean\" not implemented for 'Bool'");
  scatter_with(action_of(reduce), self, dim, index, &src, nullptr);
}
void scatter_scalar_reduce_kernel(const Tensor& self, int64_t dim, const Tensor& index, const Scalar& value,
                                  const ReductionType& reduce) {
  scatter_with(action_of(reduce), self, dim, index, nullptr, &value);
}

// ---- index_fill, index_copy: iter = (self with stride 0 along dim, index[, source])

void index_fill_kernel(at::TensorIterator& iter, int64_t dim, int64_t size, int64_t stride, const Scalar& value) {
  const int64_t stride_bytes = stride * static_cast<int64_t>(iter.element_size(0));
  if (iter.numel() == 0) return;
  run_at(Action::put, iter.tensor(0), Tensor(), iter.tensor(1), {size, stride_bytes, true, dim}, &value);
}

void index_copy_kernel(at::TensorIterator& iter, int64_t dim, int64_t size, int64_t stride) {
  const int64_t stride_bytes = stride * static_cast<int64_t>(iter.element_size(0));
  const Tensor &self = iter.tensor(0), &index = iter.tensor(1), &source = iter.tensor(2);
  auto ordered = build(self, &source, index);
  run_indexed(Action::put, ordered, {size, stride_bytes, false, dim});
}

// ---- take, put: one index into the flattened tensor

void take_kernel(at::TensorIterator& iter, const at::TensorBase& input_) {
  if (iter.numel() == 0) return;
  const Tensor input = at::OptionalTensorRef(input_)->contiguous();
  const int64_t size = input.numel(), stride = static_cast<int64_t>(input.element_size());
  const Tensor &result = iter.tensor(0), &index = iter.tensor(1);
  const Tensor source = input.as_strided(index.sizes(), std::vector<int64_t>(index.dim(), 0));
  auto ordered = build(result, &source, index);
  run_indexed(Action::get, ordered, {size, stride, true, 0});
}

// Accumulating, or of several sources for one place: which wins is not defined.
void put_kernel(at::TensorIterator& iter, const at::TensorBase& self_, const bool accumulate) {
  if (iter.numel() == 0) return;
  const Tensor self = *at::OptionalTensorRef(self_), target = self.contiguous();  // self itself where it is contiguous
  const Tensor &source = iter.tensor(0), &index = iter.tensor(1);
  const int64_t size = target.numel(), stride = static_cast<int64_t>(target.element_size());
  run_at(accumulate ? Action::add : Action::put, target.as_strided(index.sizes(), std::vector<int64_t>(index.dim(), 0)), source, index,
         {size, stride, true, 0});
  if (!target.is_same(self)) self.copy_(target);
}

// ---- index_select

// index seen along `dim` of a tensor of `dims` dimensions
Tensor along(const Tensor& index, int64_t dim, IntArrayRef shape) {
  std::vector<int64_t> strides(shape.size(), 0);
  strides[dim] = index.dim() ? index.stride(0) : 0;
  return index.as_strided(shape, strides);
}

void check_index_vector(const char* op, const Tensor& index) {
  TORCH_CHECK_INDEX(index.dim() <= 1, op, "(): Index is supposed to be a vector");
  TORCH_CHECK(index.scalar_type() == at::kLong || index.scalar_type() == at::kInt, op,
              "(): Expected dtype int32 or int64 for index but got: ", index.scalar_type());
}

Tensor& index_select_out(const Tensor& self_, int64_t dim, const Tensor& index, Tensor& out) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::index_select_out, self_, dim, index, out);
  check_same_device("index_select", {{"self", &self_}, {"index", &index}, {"out", &out}});
  check_index_vector("index_select", index);
  TORCH_CHECK(self_.scalar_type() == out.scalar_type(), "index_select(): self and result must have the same scalar type");
  dim = at::maybe_wrap_dim(dim, self_.dim());
  TORCH_CHECK(self_.dim() > 0 || index.numel() == 1, "index_select(): Index to scalar can have only 1 value, got ",
              index.numel(), " value(s)");
  at::assert_no_internal_overlap(out);
  at::assert_no_overlap(out, self_);
  at::assert_no_overlap(out, index);
  std::vector<int64_t> shape = self_.sizes().vec();
  if (!shape.empty()) shape[dim] = index.numel();
  resize_out(out, shape);
  if (out.numel() == 0) return out;
  const Tensor self = at_least_1d(self_), result = at_least_1d(out);
  const int64_t size = self.size(dim), stride = self.stride(dim) * self.element_size();
  const Tensor source = restride(self, dim, result.sizes()), indices = along(index, dim, result.sizes());
  auto iter = build(result, &source, indices);
  run_indexed(Action::get, iter, {size, stride, false, dim});
  return out;
}

Tensor index_select(const Tensor& self, int64_t dim, const Tensor& index) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::index_select, self, dim, index);
  check_on_device("index_select", "self", self);
  Tensor out = empty({0}, self.scalar_type());
  return index_select_out(self, dim, index, out);
}

// ---- index_add

Tensor& index_add_out(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& source, const Scalar& alpha,
                      Tensor& out) {
  if (!self.is_complex()) FALLBACK_UNLESS_SUPPORTED(at::_ops::index_add_out, self, dim, index, source, alpha, out);
  check_same_device("index_add", {{"self", &self}, {"index", &index}, {"source", &source}, {"out", &out}});
  OutputOf<at::meta::structured_index_add> op(out);
  op.meta(self, dim, index, source, alpha);
  dim = at::maybe_wrap_dim(dim, self.dim());
  if (!out.is_same(self)) out.copy_(self);
  if (index.numel() == 0) return out;
  const Tensor result = at_least_1d(out), scaled = alpha.equal(1) ? source : source.mul(alpha);
  const Tensor values = at_least_1d(scaled);
  const int64_t size = result.size(dim), stride = result.stride(dim) * result.element_size();
  run_at(Action::add, restride(result, dim, values.sizes()), values, along(index, dim, values.sizes()), {size, stride, false, dim});
  return out;
}

// ---- index_reduce

Tensor& index_reduce_out(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& source, std::string_view reduce,
                         bool include_self, Tensor& out) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::index_reduce_out, self, dim, index, source, reduce, include_self, out);
  check_same_device("index_reduce", {{"self", &self}, {"index", &index}, {"source", &source}, {"out", &out}});
  OutputOf<at::meta::structured_index_reduce> op(out);
  op.meta(self, dim, index, source, reduce, include_self);
  TORCH_CHECK_NOT_IMPLEMENTED(self.scalar_type() != at::kBool, "\"index_func_\" not implemented for 'Bool'");
  const bool mean = reduce == "mean";
  const Action action = mean ? Action::add : reduce == "prod" ? Action::multiply : reduce == "amax" ? Action::maximum : Action::minimum;
  const bool extreme = action == Action::maximum || action == Action::minimum;
  TORCH_CHECK_NOT_IMPLEMENTED(!extreme || !self.is_complex(), action == Action::maximum ? "\"maximum_cpu" : "\"minimum_cpu",
                              "\" not implemented for '", self.scalar_type(), "'");
  dim = at::maybe_wrap_dim(dim, self.dim());
  if (!out.is_same(self)) out.copy_(self);
  if (index.numel() == 0) return out;
  const Tensor result = at_least_1d(out), values = at_least_1d(source), indices = along(index, dim, values.sizes());
  const auto combine = [&](Action how, const Tensor& to, const Tensor* from, const Scalar* fill) {
    if (from ? from->numel() == 0 : to.numel() == 0) return;
    const int64_t size = to.size(dim), stride = to.stride(dim) * static_cast<int64_t>(to.element_size());
    run_at(how, restride(to, dim, values.sizes()), from ? *from : Tensor(), indices, {size, stride, false, dim}, fill);
  };
  if (!include_self) {
    // What the operation leaves other values alone with. min and max: beyond every value, infinity where there is one.
    const Scalar identity = AT_DISPATCH_ALL_TYPES_AND2(at::kHalf, at::kBFloat16, self.scalar_type(),
                                                       "index_reduce_func_exclude_input_init", [&]() -> Scalar {
      using Limits = std::numeric_limits<scalar_t>;
      if (action == Action::maximum) return Limits::has_infinity ? Scalar(-std::numeric_limits<double>::infinity()) : Scalar(Limits::lowest());
      if (action == Action::minimum) return Limits::has_infinity ? Scalar(std::numeric_limits<double>::infinity()) : Scalar(Limits::max());
      return action == Action::multiply ? 1 : 0;
    });
    combine(Action::put, result, nullptr, &identity);
  }
  combine(action, result, &values, nullptr);
  if (mean) {
    Tensor counts = include_self ? at::ones_like(result) : at::zeros_like(result);
    const Tensor one = at::ones({}, values.options()).expand(values.sizes());
    combine(Action::add, counts, &one, nullptr);
    counts.masked_fill_(counts.eq(0), 1);
    if (at::isFloatingType(self.scalar_type()) || self.is_complex()) out.div_(counts.view_as(out));
    else out.div_(counts.view_as(out), "floor");
  }
  return out;
}

// ---- embedding

Tensor embedding_dense_backward(const Tensor& grad_output, const Tensor& indices, int64_t num_weights, int64_t padding_idx,
                                bool scale_grad_by_freq) {
  if (scale_grad_by_freq || unsupported_even_complex(grad_output))
    return at::native::call_fallback_fn<&boxed_fallback, at::_ops::embedding_dense_backward>::call(
        grad_output, indices, num_weights, padding_idx, scale_grad_by_freq);
  check_same_device("embedding_dense_backward", {{"grad_output", &grad_output}, {"indices", &indices}});
  TORCH_CHECK(indices.scalar_type() == at::kLong || indices.scalar_type() == at::kInt,
              "embedding_backward: expected indices of dtype Long or Int but got ", indices.scalar_type());
  const Tensor index = indices.reshape({-1}), grad = grad_output.reshape({index.numel(), grad_output.size(-1)});
  // One row more, where the gradients of the padding go.
  const bool padded = padding_idx >= 0;
  Tensor weight = empty({num_weights, grad.size(1)}, grad.scalar_type()).zero_();
  if (index.numel() == 0 || grad.size(1) == 0) return weight;
  const int64_t size = num_weights, stride = weight.stride(0) * weight.element_size();
  const Tensor rows = along(index, 0, grad.sizes());
  run_at(Action::add, restride(weight, 0, grad.sizes()), grad, rows, {size, stride, false, 0});
  if (padded) weight.select(0, padding_idx).zero_();
  return weight;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("index_select", &index_select);
  m.impl("index_select.out", &index_select_out);
  m.impl("index_add.out", &index_add_out);
  m.impl("index_reduce.out", &index_reduce_out);
  m.impl("embedding_dense_backward", &embedding_dense_backward);
}

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(index_stub, &usbgpu::aten::index_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(index_put_stub, &usbgpu::aten::index_put_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(index_put_with_sort_stub, &usbgpu::aten::index_put_accumulate)
REGISTER_PRIVATEUSE1_DISPATCH(gather_stub, &usbgpu::aten::gather_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(scatter_stub, &usbgpu::aten::scatter_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(scatter_fill_stub, &usbgpu::aten::scatter_fill_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(scatter_add_stub, &usbgpu::aten::scatter_add_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(scatter_reduce_stub, &usbgpu::aten::scatter_reduce_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(scatter_reduce_two_stub, &usbgpu::aten::scatter_reduce_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(scatter_scalar_reduce_stub, &usbgpu::aten::scatter_scalar_reduce_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(index_fill_stub, &usbgpu::aten::index_fill_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(index_copy_stub, &usbgpu::aten::index_copy_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(take_stub, &usbgpu::aten::take_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(put_stub, &usbgpu::aten::put_kernel)
}  // namespace at::native
