#include "aten/reduce.h"

#include <ATen/native/ReduceAllOps.h>
#include <ATen/native/ReduceOps.h>
#include <ATen/native/ReduceOpsUtils.h>
#include <ATen/native/TensorCompare.h>
#include <ATen/ops/count_nonzero_ops.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>

#include "../../torch_usbgpu/kernels/reduce_args.h"
#include "aten/arguments.h"
#include "aten/backend/complex.h"
#include "aten/pointwise.h"

namespace usbgpu::aten {

namespace {

constexpr uint32_t kThreads = kernels::kReduceThreads;
static_assert(sizeof(kernels::ReduceArgs<1, 1>) == 48 + 16 + 2 * 12 + 16);

// How the work is shared, see kernels/reduce.hip.
struct Plan {
  bool row;
  uint32_t slices;
  uint32_t segments = 1;
};

// Below this many outputs the device is not full, and above this length a thread's part is long.
constexpr uint32_t kFewOutputs = 256;
constexpr uint32_t kLongRow = 512;
constexpr uint32_t kSegment = 8192;      // elements per workgroup of the two-pass form
constexpr uint32_t kMostSegments = 1024;

// row: neighbouring elements of the reduction are nearer in memory than neighbouring outputs.
Plan plan(uint32_t outputs, uint32_t length, bool row) {
  if (length <= 16) return {false, 1};
  if (!row) {
    Plan columns{false, length >= 64 ? 8u : 1u};
    if (outputs < kFewOutputs && length > kSegment) columns.segments = std::min(ceil_div(length, kSegment / 8), kMostSegments);
    return columns;
  }
  if (length < kLongRow) return {true, 32};
  Plan rows{true, kThreads};
  if (outputs < kFewOutputs && length > 2 * kSegment) rows.segments = std::min(ceil_div(length, kSegment), kMostSegments);
  return rows;
}

// Can a lane load 16 bytes of neighbouring elements at once? Worth it where every lane has such a load.
bool is_packed(const at::TensorIteratorBase& iter, int in, const Plan& how, at::IntArrayRef kept, at::IntArrayRef reduced,
               uint64_t length) {
  const int64_t item = iter.element_size(in), least = how.slices * 16 / item;
  if (!how.row || reduced.size() != 1 || item > 8 || iter.strides(in)[reduced[0]] != item) return false;
  if (static_cast<int64_t>(length) < least || reinterpret_cast<uint64_t>(iter.data_ptr(in)) % 16) return false;
  return std::all_of(kept.begin(), kept.end(), [&](int64_t d) { return iter.shape()[d] == 1 || iter.strides(in)[d] % 16 == 0; });
}

// Bytes of an accumulator of a reduction, as reduce_ops.h declares them.
size_t accumulator_bytes(const std::string& name, at::ScalarType arithmetic) {
  const size_t item = c10::elementSize(arithmetic);
  if (name == "any" || name == "all") return 4;
  if (name == "count_nonzero") return 8;
  if (name.starts_with("arg") || name.ends_with("_index") || name == "aminmax") return item == 8 ? 16 : 8;
  if (name.starts_with("var")) return 3 * item;
  return item;
}

}  // namespace

void Reduction::operator()(at::TensorIteratorBase& iter, at::ScalarType arithmetic, std::initializer_list<at::Scalar> params) {
  if (iter.numel() == 0) return;   // callers fill the identity
  uint64_t bits[2] = {};
  int count = 0;
  for (const at::Scalar& param : params) bits[count++] = scalar_bits(param, c10::toRealValueType(arithmetic));
  const int in = iter.noutputs();
  const at::Tensor& input = iter.tensor(in);
  if (!iter.can_use_32bit_indexing() && !input.is_contiguous() && input.numel() == iter.numel() &&
      input.nbytes() <= std::numeric_limits<int32_t>::max()) {
    // Few elements far apart: packed, they are within reach.
    const at::Tensor packed = input.contiguous();
    auto near = in == 2 ? at::TensorIterator::reduce_op(const_cast<at::Tensor&>(iter.tensor(0)), const_cast<at::Tensor&>(iter.tensor(1)), packed)
                        : at::TensorIterator::reduce_op(const_cast<at::Tensor&>(iter.tensor(0)), packed);
    return run(near, arithmetic, bits);
  }
  run(iter, arithmetic, bits);
}

void Reduction::run(at::TensorIteratorBase& iter, at::ScalarType arithmetic, const uint64_t* params) {
  if (!iter.can_use_32bit_indexing()) {
    for (auto& part : iter.with_32bit_indexing()) {
      TORCH_CHECK_NOT_IMPLEMENTED(part.is_final_output() && !part.should_accumulate(), "a reduction of more than 2 GiB into "
                                  "one element is not implemented on usbgpu: reduce one dimension after the other");
      run(part, arithmetic, params);
    }
    return;
  }
  const int outputs = iter.noutputs();
  const int in = outputs;
  c10::SmallVector<int64_t, 8> kept, reduced;
  for (int d = 0; d < iter.ndim(); ++d) {
    // A dimension of size 1 may have any stride; it belongs to neither, so to the kept ones.
    (iter.shape()[d] > 1 && iter.strides(0)[d] == 0 ? reduced : kept).push_back(d);
  }
  uint64_t output_count = 1, length = 1;
  for (const int d : kept) output_count *= static_cast<uint64_t>(iter.shape()[d]);
  for (const int d : reduced) length *= static_cast<uint64_t>(iter.shape()[d]);

  const int64_t kept_stride = kept.empty() ? INT64_MAX : std::abs(iter.strides(in)[kept[0]]);
  const int64_t reduced_stride = reduced.empty() ? INT64_MAX : std::abs(iter.strides(in)[reduced[0]]);
  const Plan how = plan(static_cast<uint32_t>(output_count), static_cast<uint32_t>(length),
                        output_count == 1 || reduced_stride < kept_stride);
  const bool two_pass = how.segments > 1, packed = is_packed(iter, in, how, kept, reduced, length);
  const auto rank = [](size_t dims) { return dims <= 1 ? 1 : rank_class(static_cast<int>(dims)) == 2 ? 2 : rank_class(static_cast<int>(dims)); };
  const int kept_rank = rank(kept.size()), reduced_rank = rank(reduced.size());

  const auto in_type = iter.dtype(in), out_type = iter.dtype(0), second_type = outputs > 1 ? iter.dtype(1) : out_type;
  const std::string operation = std::string("usbgpu::kernels::red_") + name_ + "<" + dtype_c_type(arithmetic) + ">";
  const std::string ranks = std::to_string(kept_rank) + ", " + std::to_string(reduced_rank) + ")";
  const auto base_symbol = [&] {
    std::string symbol = std::string("red_") + name_ + "_" + dtype_name(arithmetic) + "_" + dtype_name(in_type) + "_" + dtype_name(out_type);
    if (outputs > 1) symbol += std::string("_") + dtype_name(second_type);
    return symbol + "_k" + std::to_string(kept_rank) + "r" + std::to_string(reduced_rank);
  };
  const std::string out_types = std::string(dtype_c_type(out_type)) + ", " + dtype_c_type(second_type);
  const uint64_t types = static_cast<uint64_t>(arithmetic) << 24 | static_cast<uint64_t>(in_type) << 16 |
                         static_cast<uint64_t>(out_type) << 8 | static_cast<uint64_t>(second_type);
  const uint64_t shape_key = types << 24 | static_cast<uint64_t>(kept_rank) << 16 | static_cast<uint64_t>(reduced_rank) << 8;
  const uint64_t slices_key = how.slices == 1 ? 0 : how.slices == 8 ? 1 : how.slices == 32 ? 2 : 3;
  Kernel* first = cache_.get(shape_key | (how.row ? 128 : 0) | (two_pass ? 64 : 0) | (packed ? 16 : 0) | slices_key, [&] {
    const auto flag = [](bool value) { return value ? "true, " : "false, "; };
    const std::string slices = std::to_string(how.slices);
    const std::string symbol = base_symbol() + (how.row ? "_row" : "_col") + slices + (packed ? "v" : "") + (two_pass ? "p" : "");
    return KernelSource{"reduce", symbol, "USBGPU_REDUCE(" + symbol + ", " + operation + ", " + dtype_c_type(in_type) + ", " +
                        out_types + ", " + flag(how.row) + flag(packed) + slices + ", " + flag(two_pass) + ranks};
  });

  at::Tensor partial;
  if (two_pass) {
    const size_t bytes = accumulator_bytes(name_, arithmetic) * how.segments * output_count;
    partial = empty({static_cast<int64_t>(bytes)}, at::kByte);
  }
  // a multiple of 16: each begins with a whole pack
  const uint32_t segment_length = two_pass ? (ceil_div(length, how.segments) + 15) / 16 * 16 : static_cast<uint32_t>(length);
  const uint32_t segments = two_pass ? ceil_div(length, segment_length) : 1;

  ArgumentBuffer args;
  args.word(reinterpret_cast<uint64_t>(iter.data_ptr(0)));
  args.word(outputs > 1 ? reinterpret_cast<uint64_t>(iter.data_ptr(1)) : 0);
  args.word(reinterpret_cast<uint64_t>(iter.data_ptr(in)));
  args.word(two_pass ? address(partial) : 0);
  args.word(params[0]);
  args.word(params[1]);
  args.half(static_cast<uint32_t>(output_count));
  args.half(static_cast<uint32_t>(length));
  args.half(segment_length);
  args.half(segments);
  const auto sizes = [&](const auto& dims, int count) {
    for (int i = 0; i < count; ++i) {
      const auto size = divisor(i < static_cast<int>(dims.size()) ? static_cast<uint32_t>(iter.shape()[dims[i]]) : 1);
      args.half(size.value);
      args.half(size.magic);
      args.half(size.shift);
    }
  };
  const auto strides = [&](int operand, const auto& dims, int count) {
    for (int i = 0; i < count; ++i) {
      args.half(operand >= 0 && i < static_cast<int>(dims.size()) ? static_cast<uint32_t>(iter.strides(operand)[dims[i]]) : 0);
    }
  };
  sizes(kept, kept_rank);
  sizes(reduced, reduced_rank);
  strides(0, kept, kept_rank);
  strides(outputs > 1 ? 1 : -1, kept, kept_rank);
  strides(in, kept, kept_rank);
  strides(in, reduced, reduced_rank);
  args.align();

  const uint32_t groups = ceil_div(output_count, kThreads / how.slices);
  device().launch(first, {groups, segments}, {kThreads}, args.data(), args.size());
  if (two_pass) {
    Kernel* second = cache_.get(shape_key | 32, [&] {
      const std::string symbol = base_symbol() + "_second";
      return KernelSource{"reduce", symbol, "USBGPU_REDUCE_PARTIALS(" + symbol + ", " + operation + ", " + out_types + ", " + ranks};
    });
    device().launch(second, {static_cast<uint32_t>(output_count)}, {kThreads}, args.data(), args.size());
  }
}

}  // namespace usbgpu::aten

namespace at::native {

namespace {

using usbgpu::aten::compute_dtype;
using usbgpu::aten::Reduction;

// What sums of this output accumulate in.
ScalarType sum_type(ScalarType out) { return isFloatingType(out) || isComplexType(out) ? compute_dtype(out) : kLong; }
ScalarType input_type(const TensorIteratorBase& iter) { return iter.dtype(iter.noutputs()); }

void sum_usbgpu(TensorIterator& iter) {
  static Reduction op("sum");
  op(iter, sum_type(iter.dtype(0)));
}
void nansum_usbgpu(TensorIterator& iter) {
  static Reduction op("nansum");
  op(iter, sum_type(iter.dtype(0)));
}
void mean_usbgpu(TensorIterator& iter) {
  static Reduction op("mean");
  op(iter, sum_type(iter.dtype(0)));
}
void prod_usbgpu(TensorIterator& iter) {
  static Reduction op("prod");
  op(iter, sum_type(iter.dtype(0)));
}
void max_values_usbgpu(TensorIterator& iter) {
  static Reduction op("max");
  op(iter, compute_dtype(input_type(iter)));
}
void min_values_usbgpu(TensorIterator& iter) {
  static Reduction op("min");
  op(iter, compute_dtype(input_type(iter)));
}
void and_usbgpu(TensorIterator& iter) {
  static Reduction op("all");
  op(iter, compute_dtype(input_type(iter)));
}
void or_usbgpu(TensorIterator& iter) {
  static Reduction op("any");
  op(iter, compute_dtype(input_type(iter)));
}
void argmax_usbgpu(TensorIterator& iter) {
  static Reduction op("argmax");
  op(iter, compute_dtype(input_type(iter)));
}
void argmin_usbgpu(TensorIterator& iter) {
  static Reduction op("argmin");
  op(iter, compute_dtype(input_type(iter)));
}

void std_var_usbgpu(TensorIterator& iter, double correction, bool take_sqrt) {
  static Reduction one("var"), with_mean("var_mean");
  (iter.noutputs() == 2 ? with_mean : one)(iter, compute_dtype(iter.dtype(0)), {correction, take_sqrt ? 1 : 0});
}

// Magnitudes of complex elements are taken on the way in; the result is real.
ScalarType norm_type(const TensorIteratorBase& iter) {
  return isComplexType(input_type(iter)) ? input_type(iter) : compute_dtype(iter.dtype(0));
}
void norm_usbgpu(TensorIterator& iter, const Scalar& p) {
  static Reduction zero("norm0"), one("norm1"), two("norm2"), largest("norm_max"), smallest("norm_min"), general("norm");
  const auto type = norm_type(iter);
  const double order = p.toDouble();
  if (iter.numel() == 0) {   // no group has an element: torch leaves these to the kernel, unlike those of sum()
    iter.output().fill_(order < 0 ? std::numeric_limits<double>::infinity() : 0.0);
    return;
  }
  if (order == 0) return zero(iter, type);
  if (order == 1) return one(iter, type);
  if (order == 2) return two(iter, type);
  if (std::isinf(order)) return (order > 0 ? largest : smallest)(iter, type);
  general(iter, type, {order});
}
void powsum_usbgpu(TensorIterator& iter, const Scalar& p) {
  if (iter.numel() == 0) {
    iter.output().zero_();
    return;
  }
  static Reduction op("powsum");
  op(iter, norm_type(iter), {p.toDouble()});
}

// Two outputs of one reduction over a dimension of a tensor that has elements.
void into_two(Reduction& op, const Tensor& values, const Tensor& indices, const Tensor& self, int64_t dim, bool keepdim) {
  dim = maybe_wrap_dim(dim, self.dim());
  const auto expanded = [&](const Tensor& out) { return (keepdim ? out : out.unsqueeze(dim)).expand(self.sizes()); };
  auto iter = TensorIteratorConfig()
                  .set_check_mem_overlap(false)   // outputs are expanded over the reduced dimension
                  .is_reduction(true)
                  .resize_outputs(false)
                  .check_all_same_dtype(false)
                  .declare_static_shape(self.sizes())
                  .add_owned_output(expanded(values))
                  .add_owned_output(expanded(indices))
                  .add_owned_const_input(self)
                  .build();
  op(iter, compute_dtype(self.scalar_type()));
}
// max(dim) and min(dim): values and where they are.
void extreme_with_index(Reduction& op, const Tensor& values, const Tensor& indices, const Tensor& self, int64_t dim, bool keepdim) {
  if (self.numel() == 0) return;
  if (self.dim() == 0) {
    const_cast<Tensor&>(values).copy_(self);
    const_cast<Tensor&>(indices).zero_();
    return;
  }
  into_two(op, values, indices, self, dim, keepdim);
}
void max_usbgpu(const Tensor& values, const Tensor& indices, const Tensor& self, int64_t dim, bool keepdim) {
  static Reduction op("max_index");
  extreme_with_index(op, values, indices, self, dim, keepdim);
}
void min_usbgpu(const Tensor& values, const Tensor& indices, const Tensor& self, int64_t dim, bool keepdim) {
  static Reduction op("min_index");
  extreme_with_index(op, values, indices, self, dim, keepdim);
}

void reduce_all(Reduction& op, const Tensor& result, const Tensor& self) {
  auto iter = meta::make_reduction(self, result, OptionalIntArrayRef(std::nullopt), /*keepdim=*/false, self.scalar_type());
  op(iter, compute_dtype(self.scalar_type()));
}
void max_all_usbgpu(Tensor& result, const Tensor& self) {
  static Reduction op("max");
  reduce_all(op, result, self);
}
void min_all_usbgpu(Tensor& result, const Tensor& self) {
  static Reduction op("min");
  reduce_all(op, result, self);
}
Reduction& aminmax_reduction() {
  static Reduction op("aminmax");
  return op;
}
void aminmax_all_usbgpu(const Tensor& self, Tensor& least, Tensor& most) {
  into_two(aminmax_reduction(), least, most, self.reshape({-1}), 0, /*keepdim=*/false);
}
void aminmax_usbgpu(const Tensor& self, int64_t dim, bool keepdim, Tensor& least, Tensor& most) {
  if (self.numel() == 0) return;
  if (self.dim() == 0) {
    least.copy_(self);
    most.copy_(self);
    return;
  }
  into_two(aminmax_reduction(), least, most, self, dim, keepdim);
}

Tensor count_nonzero(const Tensor& self, IntArrayRef dims) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::count_nonzero_dim_IntList, self, dims);
  static Reduction op("count_nonzero");
  Tensor result = usbgpu::aten::empty(meta::get_reduction_shape(self, dims, /*keepdim=*/false), kLong);
  if (self.numel() == 0) return result.zero_();
  // no dimensions: all of them
  auto iter = meta::make_reduction(self, result, dims, /*keepdim=*/false, self.scalar_type());
  op(iter, compute_dtype(self.scalar_type()));
  return result;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) { m.impl("count_nonzero.dim_IntList", &count_nonzero); }

}  // namespace

REGISTER_PRIVATEUSE1_DISPATCH(sum_stub, &sum_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(nansum_stub, &nansum_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(mean_stub, &mean_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(prod_stub, &prod_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(max_values_stub, &max_values_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(min_values_stub, &min_values_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(and_stub, &and_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(or_stub, &or_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(argmax_stub, &argmax_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(argmin_stub, &argmin_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(std_var_stub, &std_var_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(norm_stub, &norm_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(powsum_stub, &powsum_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(max_stub, &max_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(min_stub, &min_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(max_all_stub, &max_all_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(min_all_stub, &min_all_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(aminmax_allreduce_stub, &aminmax_all_usbgpu)
REGISTER_PRIVATEUSE1_DISPATCH(aminmax_stub, &aminmax_usbgpu)

}  // namespace at::native
