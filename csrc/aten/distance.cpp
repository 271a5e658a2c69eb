// cdist, pdist and renorm. Kernels: torch_usbgpu/kernels/distance.hip.
#include <ATen/ExpandUtils.h>
#include <ATen/core/Tensor.h>
#include <ATen/native/Distance.h>
#include <ATen/native/Normalization.h>
#include <ATen/ops/_euclidean_dist_native.h>
#include <torch/library.h>

#include <cmath>

#include "../../torch_usbgpu/kernels/distance_args.h"
#include "aten/launch.h"

namespace usbgpu::aten {
namespace {

using at::Tensor;
using usbgpu_family::DistanceArgs;
using usbgpu_family::kDistanceTile;

constexpr const char* kNorms[] = {"kDistanceZero", "kDistanceOne", "kDistanceTwo", "kDistanceInfinite", "kDistanceAny"};

int norm_of(double p) { return p == 0 ? 0 : p == 1 ? 1 : p == 2 ? 2 : std::isinf(p) ? 3 : 4; }

void check_dtypes(const char* op, const Tensor& x, const Tensor& other) {
  TORCH_CHECK_NOT_IMPLEMENTED(x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble, '"', op, "\" not implemented for '",
                              at::toString(x.scalar_type()), "'");
  TORCH_CHECK(other.scalar_type() == x.scalar_type(), "expected scalar type ", x.scalar_type(), " but found ", other.scalar_type());
}

void forward(const Tensor& result, const Tensor& x1, const Tensor& x2, double p, bool pairs) {
  static KernelCache cache;
  if (result.numel() == 0) return;
  check_dtypes(pairs ? "pdist" : "cdist", x1, x2);
  const Tensor a = x1.contiguous(), b = pairs ? a : x2.contiguous();
  const Tensor target = result.is_contiguous() ? result : dense_like(result);
  DistanceArgs args{};
  args.x1 = address(a), args.x2 = address(b), args.output = address(target);
  args.p = p, args.count = result.numel();
  TORCH_CHECK(args.count < uint64_t{1} << 36, "cdist: ", result.sizes(), " is more than usbgpu's kernels can index");
  args.rows1 = static_cast<uint32_t>(a.size(-2)), args.rows2 = static_cast<uint32_t>(b.size(-2));
  args.width = static_cast<uint32_t>(a.size(-1));
  const uint32_t lanes = args.width >= 32 ? 32 : 1;
  // A tile is worth its half empty neighbours from a few rows on, unless long vectors are to fill the device.
  const uint32_t down = ceil_div(args.rows1, kDistanceTile), across = ceil_div(args.rows2, kDistanceTile);
  const uint64_t batches = args.count / (uint64_t{args.rows1} * args.rows2);
  const bool tiled = !pairs && std::min(args.rows1, args.rows2) >= 16 && batches < 65536 && down < 65536 &&
                     (args.width <= 512 || batches * down * across >= 64);
  Kernel* kernel = cache.get(key(x1.scalar_type(), norm_of(p), lanes, pairs, tiled), [&]() -> KernelSource {
    const std::string type = x1.scalar_type() == at::kFloat ? "float" : "double", norm = kNorms[norm_of(p)], by = std::to_string(lanes);
    const std::string symbol = std::string(pairs ? "pdist_" : "cdist_") + type + "_" + norm + (tiled ? "_tiled" : "_by" + by);
    return {"distance", symbol,
            "USBGPU_DISTANCE(" + symbol + (tiled ? ", distance_tiled, " : ", distance, ") + type + ", " + norm +
                (tiled ? ")" : ", " + by + (pairs ? ", true)" : ", false)"))};
  });
  if (tiled) launch(kernel, {across, down, static_cast<uint32_t>(batches)}, {256, 1, 1}, args);
  else launch(kernel, {ceil_div(args.count, 256 / lanes), 1, 1}, {256, 1, 1}, args);
  if (!target.is_same(result)) result.copy_(target);
}

void backward(const Tensor& result, const Tensor& grad, const Tensor& x1, const Tensor& x2, double p, const Tensor& distance,
              bool pairs) {
  static KernelCache cache;
  if (result.numel() == 0) return;
  check_dtypes(pairs ? "pdist_backward" : "cdist_backward", x1, x2);
  const Tensor a = x1.contiguous(), b = pairs ? a : x2.contiguous(), g = grad.contiguous(), d = distance.contiguous();
  const Tensor target = result.is_contiguous() ? result : dense_like(result);
  DistanceArgs args{};
  args.x1 = address(a), args.x2 = address(b), args.output = address(target), args.grad = address(g), args.distance = address(d);
  args.p = p, args.count = a.numel();
  args.rows1 = static_cast<uint32_t>(a.size(-2)), args.rows2 = static_cast<uint32_t>(b.size(-2));
  args.width = static_cast<uint32_t>(a.size(-1));
  Kernel* kernel = cache.get(key(x1.scalar_type(), norm_of(p), pairs), [&]() -> KernelSource {
    const std::string type = x1.scalar_type() == at::kFloat ? "float" : "double", norm = kNorms[norm_of(p)];
    const std::string symbol = std::string(pairs ? "pdist_backward_" : "cdist_backward_") + type + "_" + norm;
    return {"distance", symbol,
            "USBGPU_DISTANCE(" + symbol + ", distance_backward, " + type + ", " + norm + (pairs ? ", true)" : ", false)")};
  });
  launch(kernel, {ceil_div(args.count, 256), 1, 1}, {256, 1, 1}, args);
  if (!target.is_same(result)) result.copy_(target);
}

void cdist(Tensor& result, const Tensor& x1, const Tensor& x2, const double p) { forward(result, x1, x2, p, false); }
void pdist(Tensor& result, const Tensor& self, const double p) { forward(result, self, self, p, true); }

// What cdist calls for p = 2 and more than 25 rows. ATen's own is a matrix product in twelve launches; its
// gradient formula takes any forward.
Tensor euclidean_dist(const Tensor& x1, const Tensor& x2) {
  const at::ScalarType type = x1.scalar_type();
  if ((type != at::kFloat && type != at::kDouble) || x2.scalar_type() != type) return at::native::_euclidean_dist(x1, x2);
  const auto batch = [](const Tensor& x) { return x.sizes().slice(0, x.dim() - 2); };
  std::vector<int64_t> sizes = at::infer_size(batch(x1), batch(x2));
  const auto expanded = [&](const Tensor& x) {
    std::vector<int64_t> to = sizes;
    to.insert(to.end(), {x.size(-2), x.size(-1)});
    return x.expand(to);
  };
  const Tensor a = expanded(x1), b = expanded(x2);
  sizes.insert(sizes.end(), {x1.size(-2), x2.size(-2)});
  const Tensor result = empty(sizes, type);
  if (x1.size(-1) == 0) return result.zero_();
  forward(result, a, b, 2, false);
  return result;
}
TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) { m.impl("_euclidean_dist", &euclidean_dist); }

void cdist_backward(Tensor& result, const Tensor& grad, const Tensor& x1, const Tensor& x2, const double p, const Tensor& distance) {
  backward(result, grad, x1, x2, p, distance, false);
}
void pdist_backward(Tensor& result, const Tensor& grad, const Tensor& self, const double p, const Tensor& distance) {
  backward(result, grad, self, self, p, distance, true);
}

// ATen makes both tensors itself: factor and norm, dense and of the same sizes.
void renorm_scale_factor(at::TensorIteratorBase& iter, double maximum) {
  static KernelCache cache;
  if (iter.numel() == 0) return;
  TORCH_INTERNAL_ASSERT(iter.is_contiguous() && iter.numel() < INT32_MAX);
  Kernel* kernel = cache.get(key(iter.dtype(0), iter.dtype(1)), [&]() -> KernelSource {
    const std::string symbol = std::string("renorm_factor_") + dtype_name(iter.dtype(0)) + "_" + dtype_name(iter.dtype(1));
    return {"distance", symbol,
            "USBGPU_RENORM(" + symbol + ", " + dtype_c_type(iter.dtype(0)) + ", " + dtype_c_type(iter.dtype(1)) + ")"};
  });
  const usbgpu_family::RenormArgs args{reinterpret_cast<uint64_t>(iter.data_ptr(0)), reinterpret_cast<uint64_t>(iter.data_ptr(1)),
                                       maximum, static_cast<uint32_t>(iter.numel())};
  launch(kernel, {ceil_div(args.count, 256), 1, 1}, {256, 1, 1}, args);
}

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(cdist_stub, &usbgpu::aten::cdist)
REGISTER_PRIVATEUSE1_DISPATCH(cdist_backward_stub, &usbgpu::aten::cdist_backward)
REGISTER_PRIVATEUSE1_DISPATCH(pdist_forward_stub, &usbgpu::aten::pdist)
REGISTER_PRIVATEUSE1_DISPATCH(pdist_backward_stub, &usbgpu::aten::pdist_backward)
REGISTER_PRIVATEUSE1_DISPATCH(renorm_scale_factor_stub, &usbgpu::aten::renorm_scale_factor)
}  // namespace at::native
