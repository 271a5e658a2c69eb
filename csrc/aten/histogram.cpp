// histc, histogram, histogramdd, bincount. Kernels: torch_usbgpu/kernels/histogram.hip.
#include "aten/walk.h"

#include <ATen/Context.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/native/Histogram.h>
#include <ATen/ops/_histogramdd_bin_edges_ops.h>
#include <ATen/ops/_histogramdd_from_bin_cts_ops.h>
#include <ATen/ops/_histogramdd_from_bin_tensors_ops.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/bincount_ops.h>
#include <ATen/ops/histc_native.h>
#include <ATen/ops/histc_ops.h>
#include <ATen/ops/histogram_native.h>
#include <ATen/ops/histogram_ops.h>
#include <ATen/ops/_histogramdd_bin_edges_native.h>
#include <ATen/ops/_histogramdd_from_bin_cts_native.h>
#include <ATen/ops/_histogramdd_from_bin_tensors_native.h>
#include <ATen/ops/stack.h>
#include <c10/util/accumulate.h>
#include <torch/library.h>

#include <cmath>

#include "../../torch_usbgpu/kernels/histogram_args.h"
#include "aten/backend/fallback.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::Scalar;
using at::ScalarType;
using at::Tensor;
using at::TensorList;
using usbgpu_family::HistogramArgs;
using usbgpu_family::kHistogramDims;

enum class Method : uint8_t { search, linear, linear_and_look };

// Enough workgroups to fill the device; each counts many points before it adds to memory.
uint32_t groups_for(uint64_t points) { return std::min(ceil_div(points, 256 * 8), 1024u); }

void bins_of_points(const Tensor& self, const std::optional<Tensor>& weight_given, bool density, Tensor& hist,
                    const TensorList& edges, Method method) {
  static KernelCache cache;
  const ScalarType type = self.scalar_type();
  const Tensor weights = weight_given.value_or(Tensor());
  const bool weighted = weights.defined();
  if (weighted) at::globalContext().alertNotDeterministic("histogram with weights on usbgpu");
  TORCH_CHECK(edges.size() == static_cast<size_t>(self.size(-1)), "histogramdd: ", edges.size(), " sets of bin edges for ",
              self.size(-1), " dimensions");
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(type), "\"histogram_cpu\" not implemented for '", type, "'");
  TORCH_CHECK_NOT_IMPLEMENTED(self.size(-1) <= static_cast<int64_t>(kHistogramDims), "histogramdd: usbgpu handles ", kHistogramDims,
                              " dimensions, got ", self.size(-1));
  const int64_t points = c10::multiply_integers(self.sizes().slice(0, self.dim() - 1));
  const Tensor input = self.contiguous();   // leading dimensions are all points
  const Tensor bins = empty(hist.sizes(), weighted ? at::kDouble : at::kLong).zero_();
  HistogramArgs args{};
  args.points = points, args.dims = static_cast<uint32_t>(self.size(-1)), args.bins = bins.numel();
  std::vector<Tensor> held;
  for (uint32_t d = 0; d < args.dims; ++d) {
    held.push_back(edges[d].contiguous());
    args.edges[d] = address(held.back()), args.edge_count[d] = static_cast<uint32_t>(held.back().numel());
    args.stride[d] = bins.stride(d);
  }
  if (args.points && args.bins) {
    Kernel* kernel = cache.get(key(type, method, weighted), [&]() -> KernelSource {
      static constexpr const char* names[] = {"search", "linear", "look"};
      static constexpr const char* methods[] = {"kSearch", "kLinear", "kLinearAndLook"};
      const auto m = static_cast<size_t>(method);
      const std::string form = weighted ? "histogram_weigh" : "histogram_count";
      const std::string symbol = form + "_" + names[m] + "_" + dtype_name(type);
      return {"histogram", symbol, "USBGPU_HISTOGRAM(" + symbol + ", " + form + "<" + dtype_c_type(type) + ", usbgpu_family::" +
                                       methods[m] + ">)"};
    });
    const Tensor heavy = weighted ? weights.to(type).contiguous() : Tensor();
    args.input = address(input), args.weights = weighted ? address(heavy) : 0, args.bins_out = address(bins);
    args.groups = groups_for(args.points);
    launch(kernel, {args.groups, 1, 1}, kGroup256, args);
  }
  hist.copy_(bins);
  if (!density) return;
  hist.div_(hist.sum());
  for (uint32_t d = 0; d < args.dims; ++d) {
    std::vector<int64_t> shape(args.dims, 1);
    shape[d] = -1;
    hist.div_(held[d].diff().view(shape));
  }
}

void histogramdd_kernel(const Tensor& self, const std::optional<Tensor>& weight, bool density, Tensor& hist, const TensorList& edges) {
  bins_of_points(self, weight, density, hist, edges, Method::search);
}
void histogramdd_linear_kernel(const Tensor& self, const std::optional<Tensor>& weight, bool density, Tensor& hist,
                               const TensorList& edges, bool local_search) {
  bins_of_points(self, weight, density, hist, edges, local_search ? Method::linear_and_look : Method::linear);
}

// On the host, by one read-back.
Tensor least_and_most(const Tensor& flat) {
  const Tensor both = empty({2}, flat.scalar_type());
  Tensor least = both.select(0, 0), most = both.select(0, 1);
  at::aminmax_out(least, most, flat);
  return both.cpu();
}

void outer_edges_kernel(const Tensor& input, const int64_t dims, std::vector<double>& leftmost, std::vector<double>& rightmost) {
  const auto [least, most] = at::aminmax(input.reshape({-1, dims}), 0);
  const Tensor both = at::stack({least, most}).to(at::kDouble).cpu();   // one read-back
  for (int64_t d = 0; d < dims; ++d) {
    leftmost[d] = both.const_data_ptr<double>()[d];
    rightmost[d] = both.const_data_ptr<double>()[dims + d];
  }
}

// ---- histc: no tensor of edges, and the counts are converted where they are made

// False: not for the kernel; ATen's function has the error for it.
bool count_equal_bins(const Tensor& self, int64_t bins, const Scalar& min, const Scalar& max, Tensor& out) {
  static KernelCache cache;
  const ScalarType type = self.scalar_type();
  if (bins <= 0 || bins >= (int64_t{1} << 31) || out.scalar_type() != type) return false;
  const Tensor flat = self.reshape({-1}).contiguous();
  double least = min.toDouble(), most = max.toDouble();
  if (least == most && flat.numel() > 0) {
    const Tensor both = least_and_most(flat).to(at::kDouble);
    least = both.const_data_ptr<double>()[0], most = both.const_data_ptr<double>()[1];
  }
  if (least == most) least -= 1, most += 1;
  if (!std::isfinite(least) || !std::isfinite(most) || least >= most) return false;
  resize_out(out, {bins});
  at::assert_no_internal_overlap(out);
  if (flat.numel() == 0) return out.zero_(), true;
  Kernel* kernel = cache.get(key(type), [&]() -> KernelSource {
    const std::string symbol = std::string("histc_") + dtype_name(type);
    return {"histogram", symbol, "USBGPU_HISTC(" + symbol + ", " + dtype_c_type(type) + ")"};
  });
  const Tensor target = out.is_contiguous() && !out.is_alias_of(flat) ? out : empty({bins}, type);
  usbgpu_family::HistcArgs args{};
  args.input = address(flat), args.output = address(target), args.least = least, args.most = most;
  args.points = flat.numel(), args.bins = static_cast<uint32_t>(bins), args.groups = groups_for(args.points);
  Tensor counts;
  if (args.groups > 1 || bins > static_cast<int64_t>(usbgpu_family::kHistogramLocal))
    counts = empty({bins + 1}, at::kLong).zero_(), args.counts = address(counts);
  launch(kernel, {args.groups, 1, 1}, kGroup256, args);
  if (!target.is_same(out)) out.copy_(target);
  return true;
}

// Integers as on CUDA: programs take their own way for the CPU, which refuses them.
void check_histc(const Tensor& self) {
  TORCH_CHECK_NOT_IMPLEMENTED(self.scalar_type() != at::kBool, "\"histogram_cpu\" not implemented for 'Bool'");
}

Tensor histc(const Tensor& self, int64_t bins, const Scalar& min, const Scalar& max) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::histc, self, bins, min, max);
  check_histc(self);
  Tensor out = empty({0}, self.scalar_type());
  return count_equal_bins(self, bins, min, max, out) ? out : at::native::histogram_histc(self, bins, min, max);
}
Tensor& histc_out(const Tensor& self, int64_t bins, const Scalar& min, const Scalar& max, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::histc_out, self, bins, min, max, out);
  check_histc(self);
  check_same_device("histc", {{"self", &self}, {"out", &out}});
  return count_equal_bins(self, bins, min, max, out) ? out : at::native::histogram_histc_out(self, bins, min, max, out);
}

// ---- ATen's own functions do the rest; only their registration is missing

// The CPU counts in several dimensions for these two only.
void check_histogram(const Tensor& self, const std::optional<Tensor>& weight) {
  TORCH_CHECK_NOT_IMPLEMENTED(self.scalar_type() == at::kFloat || self.scalar_type() == at::kDouble,
                              "\"histogramdd\" not implemented for '", self.scalar_type(), "'");
  if (weight && weight->defined()) check_same_device("histogram", {{"self", &self}, {"weight", &*weight}});
}

using Range = std::optional<at::ArrayRef<double>>;
using Weight = std::optional<Tensor>;

std::tuple<Tensor, Tensor> histogram_tensor(const Tensor& self, const Tensor& bins, const Weight& weight, bool density) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::histogram_bins_tensor, self, bins, weight, density);
  check_same_device("histogram", {{"self", &self}, {"bins", &bins}});
  check_histogram(self, weight);
  return at::native::histogram(self, bins, weight, density);
}
std::tuple<Tensor&, Tensor&> histogram_tensor_out(const Tensor& self, const Tensor& bins, const Weight& weight, bool density,
                                                  Tensor& hist, Tensor& edges) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::histogram_bins_tensor_out, self, bins, weight, density, hist, edges);
  check_same_device("histogram", {{"self", &self}, {"bins", &bins}, {"hist", &hist}, {"bin_edges", &edges}});
  check_histogram(self, weight);
  return at::native::histogram_out(self, bins, weight, density, hist, edges);
}
std::tuple<Tensor, Tensor> histogram_count(const Tensor& self, int64_t bins, Range range, const Weight& weight, bool density) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::histogram_bin_ct, self, bins, range, weight, density);
  check_histogram(self, weight);
  return at::native::histogram(self, bins, range, weight, density);
}
std::tuple<Tensor&, Tensor&> histogram_count_out(const Tensor& self, int64_t bins, Range range, const Weight& weight, bool density,
                                                 Tensor& hist, Tensor& edges) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::histogram_bin_ct_out, self, bins, range, weight, density, hist, edges);
  check_same_device("histogram", {{"self", &self}, {"hist", &hist}, {"bin_edges", &edges}});
  check_histogram(self, weight);
  return at::native::histogram_out(self, bins, range, weight, density, hist, edges);
}
std::vector<Tensor> histogramdd_edges(const Tensor& self, at::IntArrayRef bins, Range range, const Weight& weight, bool density) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_histogramdd_bin_edges, self, bins, range, weight, density);
  check_histogram(self, weight);
  return at::native::histogramdd_bin_edges(self, bins, range, weight, density);
}
Tensor histogramdd_counts(const Tensor& self, at::IntArrayRef bins, Range range, const Weight& weight, bool density) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_histogramdd_from_bin_cts, self, bins, range, weight, density);
  check_histogram(self, weight);
  return at::native::_histogramdd(self, bins, range, weight, density);
}
Tensor histogramdd_tensors(const Tensor& self, TensorList bins, const Weight& weight, bool density) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::_histogramdd_from_bin_tensors, self, bins, weight, density);
  check_histogram(self, weight);
  return at::native::_histogramdd(self, bins, weight, density);
}

// ---- bincount

Tensor bincount(const Tensor& self, const Weight& weight_given, int64_t minlength) {
  if (any_unsupported(self, weight_given))
    return at::native::call_fallback_fn_symint<&boxed_fallback, at::_ops::bincount>::call(self, weight_given, minlength);
  static KernelCache cache;
  const Tensor weights = weight_given.value_or(Tensor());
  const bool weighted = weights.defined();
  check_on_device("bincount", "self", self);
  if (weighted) check_on_device("bincount", "weights", weights);
  const ScalarType type = self.scalar_type();
  TORCH_CHECK_NOT_IMPLEMENTED(at::isIntegralType(type, /*includeBool=*/false), "\"bincount_cpu\" not implemented for '", type, "'");
  TORCH_CHECK(minlength >= 0, "minlength should be >= 0");
  if (self.dim() == 1 && self.numel() == 0) return empty({minlength}, at::kLong).zero_();
  constexpr const char* refused = "bincount only supports 1-d non-negative integral inputs.";
  TORCH_CHECK(self.dim() == 1, refused);
  const Tensor both = least_and_most(self).to(at::kLong);
  TORCH_CHECK(both.const_data_ptr<int64_t>()[0] >= 0, refused);
  TORCH_CHECK(!weighted || (weights.dim() == 1 && weights.size(0) == self.size(0)),
              "weights should be 1-d and have the same length as input");
  const int64_t count = std::max(both.const_data_ptr<int64_t>()[1] + 1, minlength);
  if (weighted && at::globalContext().deterministicAlgorithms()) {   // index_add then has a fixed order
    const ScalarType sums = weights.scalar_type() == at::kFloat ? at::kFloat : at::kDouble;
    return empty({count}, sums).zero_().index_add_(0, self.to(at::kLong), weights.to(sums));
  }
  const Tensor input = self.contiguous(), bins = empty({count}, weighted ? at::kDouble : at::kLong).zero_();
  const Tensor heavy = weighted ? weights.to(weights.scalar_type() == at::kFloat ? at::kFloat : at::kDouble).contiguous() : Tensor();
  const ScalarType weight_type = weighted ? heavy.scalar_type() : at::kLong;
  Kernel* kernel = cache.get(key(type, weight_type), [&]() -> KernelSource {
    const std::string form = weighted ? "bincount_weigh" : "bincount_count";
    const std::string symbol = form + "_" + dtype_name(type) + (weighted ? std::string("_") + dtype_name(weight_type) : "");
    return {"histogram", symbol, "USBGPU_HISTOGRAM(" + symbol + ", " + form + "<" + dtype_c_type(type) +
                                     (weighted ? std::string(", ") + dtype_c_type(weight_type) : "") + ">)"};
  });
  HistogramArgs args{};
  args.input = address(input), args.weights = weighted ? address(heavy) : 0, args.bins_out = address(bins);
  args.points = input.numel(), args.bins = count, args.dims = 1;
  args.groups = groups_for(args.points);
  launch(kernel, {args.groups, 1, 1}, kGroup256, args);
  return weight_type == at::kFloat ? bins.to(at::kFloat) : bins;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("histc", &histc);
  m.impl("histc.out", &histc_out);
  m.impl("histogram.bins_tensor", &histogram_tensor);
  m.impl("histogram.bins_tensor_out", &histogram_tensor_out);
  m.impl("histogram.bin_ct", &histogram_count);
  m.impl("histogram.bin_ct_out", &histogram_count_out);
  m.impl("_histogramdd_bin_edges", &histogramdd_edges);
  m.impl("_histogramdd_from_bin_cts", &histogramdd_counts);
  m.impl("_histogramdd_from_bin_tensors", &histogramdd_tensors);
  m.impl("bincount", &bincount);
}

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(histogramdd_stub, &usbgpu::aten::histogramdd_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(histogramdd_linear_stub, &usbgpu::aten::histogramdd_linear_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(histogram_select_outer_bin_edges_stub, &usbgpu::aten::outer_edges_kernel)
}  // namespace at::native
