// segment_reduce and its gradient. Kernels: torch_usbgpu/kernels/segment.hip.
#include <ATen/core/Tensor.h>
#include <ATen/native/ReductionType.h>
#include <ATen/native/SegmentReduce.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/zeros_like.h>

#include "../../torch_usbgpu/kernels/segment_args.h"
#include "aten/launch.h"

namespace usbgpu::aten {
namespace {

using at::Tensor;
using at::native::ReductionType;
using usbgpu_family::SegmentArgs;
using Initial = std::optional<at::Scalar>;

void launch_segments(ReductionType reduction, bool backward, bool offsets, const Tensor& data, const Tensor& ends, int64_t axis,
                     const Initial& initial, SegmentArgs args) {
  static KernelCache cache;
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(data.scalar_type()), "\"_segment_reduce_cpu\" not implemented for '",
                              at::toString(data.scalar_type()), "'");
  int64_t outer = 1, inner = 1;
  for (int64_t d = 0; d < axis; ++d) outer *= data.size(d);
  for (int64_t d = axis + 1; d < data.dim(); ++d) inner *= data.size(d);
  const int64_t segments = ends.size(axis) - offsets;
  args.count = static_cast<uint64_t>(outer * segments * inner);
  if (args.count == 0) return;
  TORCH_CHECK(args.count < uint64_t{1} << 38 && data.size(axis) < INT32_MAX && segments < INT32_MAX && inner < INT32_MAX,
              "segment_reduce: ", data.sizes(), " is more than usbgpu's kernels can index");
  args.segments = static_cast<uint32_t>(segments), args.size = static_cast<uint32_t>(data.size(axis));
  args.inner = static_cast<uint32_t>(inner);
  args.has_initial = initial.has_value(), args.initial = initial ? initial->toDouble() : 0;
  args.data = address(data), args.ends = address(ends);
  Kernel* kernel = cache.get(key(reduction, backward, offsets, data.scalar_type(), ends.scalar_type()), [&]() -> KernelSource {
    static constexpr const char* forms[] = {"kSegmentMax", "kSegmentMean", "kSegmentMin", "kSegmentSum", "kSegmentProduct"};
    const std::string form = forms[static_cast<size_t>(reduction)];
    const std::string name = backward ? "segment_reduce_backward" : "segment_reduce";
    const std::string symbol = name + "_" + form + "_" + dtype_name(data.scalar_type()) + "_" + dtype_name(ends.scalar_type()) +
                               (offsets ? "_offsets" : "_lengths");
    return {"segment", symbol,
            "USBGPU_SEGMENT(" + symbol + ", " + name + ", " + dtype_c_type(data.scalar_type()) + ", " +
                dtype_c_type(ends.scalar_type()) + ", " + form + (offsets ? ", true)" : ", false)")};
  });
  launch(kernel, {ceil_div(args.count, 256), 1, 1}, {256, 1, 1}, args);
}

// A running sum of lengths says where each segment ends.
Tensor ends_of(const Tensor& lengths_or_offsets, bool offsets, int64_t axis) {
  return offsets ? lengths_or_offsets.contiguous() : at::cumsum(lengths_or_offsets, axis).contiguous();
}

Tensor forward(ReductionType reduction, const Tensor& given, const Tensor& bounds, int64_t axis, const Initial& initial, bool offsets) {
  const Tensor data = given.contiguous(), ends = ends_of(bounds, offsets, axis);
  std::vector<int64_t> sizes = data.sizes().vec();
  sizes[axis] = bounds.size(axis) - offsets;
  Tensor output = empty(sizes, data.scalar_type());
  SegmentArgs args{};
  args.output = address(output);
  launch_segments(reduction, false, offsets, data, ends, axis, initial, args);
  return output;
}

Tensor backward(const Tensor& grad_, const Tensor& output_, const Tensor& given, ReductionType reduction, const Tensor& bounds,
                int64_t axis, const Initial& initial, bool offsets) {
  const Tensor data = given.contiguous(), grad = grad_.contiguous(), output = output_.contiguous();
  const Tensor ends = ends_of(bounds, offsets, axis);
  Tensor result = at::zeros_like(data);
  SegmentArgs args{};
  args.output = address(output), args.grad = address(grad), args.grad_data = address(result);
  launch_segments(reduction, true, offsets, data, ends, axis, initial, args);
  return result;
}

Tensor lengths(ReductionType reduction, const Tensor& data, const Tensor& bounds, int64_t axis, const Initial& initial) {
  return forward(reduction, data, bounds, axis, initial, false);
}
Tensor offsets(ReductionType reduction, const Tensor& data, const Tensor& bounds, int64_t axis, const Initial& initial) {
  return forward(reduction, data, bounds, axis, initial, true);
}
Tensor lengths_backward(const Tensor& grad, const Tensor& output, const Tensor& data, ReductionType reduction,
                        const Tensor& bounds, int64_t axis, const Initial& initial) {
  return backward(grad, output, data, reduction, bounds, axis, initial, false);
}
Tensor offsets_backward(const Tensor& grad, const Tensor& output, const Tensor& data, ReductionType reduction,
                        const Tensor& bounds, int64_t axis, const Initial& initial) {
  return backward(grad, output, data, reduction, bounds, axis, initial, true);
}

}  // namespace
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(_segment_reduce_lengths_stub, &usbgpu::aten::lengths)
REGISTER_PRIVATEUSE1_DISPATCH(_segment_reduce_offsets_stub, &usbgpu::aten::offsets)
REGISTER_PRIVATEUSE1_DISPATCH(_segment_reduce_lengths_backward_stub, &usbgpu::aten::lengths_backward)
REGISTER_PRIVATEUSE1_DISPATCH(_segment_reduce_offsets_backward_stub, &usbgpu::aten::offsets_backward)
}  // namespace at::native
