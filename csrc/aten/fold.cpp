// Sliding windows: im2col (nn.Unfold), col2im (nn.Fold) and the gradient of Tensor.unfold.
// Kernels: torch_usbgpu/kernels/fold.hip.
#include <ATen/MemoryOverlap.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/native/im2col_shape_check.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/fold_args.h"
#include "aten/arguments.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::IntArrayRef;
using at::ScalarType;
using at::Tensor;
using usbgpu_family::fold::FoldArgs;
using usbgpu_family::fold::kUnfoldDims;
using usbgpu_family::fold::UnfoldArgs;

constexpr int64_t kLimit = int64_t{1} << 31;   // of a Divisor's dividend

// A complex number is two reals next to each other.
int64_t parts_of(ScalarType type) { return c10::isComplexType(type) ? 2 : 1; }
ScalarType part_type(ScalarType type) { return c10::isComplexType(type) ? c10::toRealValueType(type) : type; }

struct Windows {
  int64_t kernel[2], dilation[2], padding[2], stride[2];
  Windows(IntArrayRef kernel_, IntArrayRef dilation_, IntArrayRef padding_, IntArrayRef stride_) {
    const auto fill = [](int64_t(&to)[2], const char* name, IntArrayRef from) {
      TORCH_CHECK(from.size() == 2, "It is expected ", name, " equals to 2, but got size ", from.size());
      to[0] = from[0], to[1] = from[1];
    };
    fill(kernel, "kernel_size", kernel_), fill(dilation, "dilation", dilation_);
    fill(padding, "padding", padding_), fill(stride, "stride", stride_);
  }
  int64_t blocks(int d, int64_t size) const { return (size + 2 * padding[d] - dilation[d] * (kernel[d] - 1) - 1) / stride[d] + 1; }
};

void check_types(const char* name, const Tensor& self, const Tensor& out) {
  const ScalarType type = self.scalar_type();
  TORCH_CHECK_NOT_IMPLEMENTED(type == at::kFloat || type == at::kDouble || type == at::kHalf || type == at::kBFloat16 ||
                                  type == at::kBool || type == at::kComplexFloat || type == at::kComplexDouble,
                              '"', name, "\" not implemented for '", type, "'");
  TORCH_CHECK(out.scalar_type() == type, "expected scalar type ", type, " but found ", out.scalar_type());
}

// Splits what a kernel's 31-bit counts cannot hold: over the batch, else over the channels.
// image: (n, c, y, x); columns: (n, c * kernel, blocks).
template <class F>
void in_pieces(const Tensor& image, const Tensor& columns, int64_t kernel, F&& f) {
  const int64_t most = std::max(image.numel(), columns.numel()) * 2, batch = image.size(0), channels = image.size(1);
  if (most < kLimit || (batch == 1 && channels == 1)) return f(image, columns);
  if (batch > 1) {
    const int64_t half = batch / 2;
    in_pieces(image.narrow(0, 0, half), columns.narrow(0, 0, half), kernel, f);
    in_pieces(image.narrow(0, half, batch - half), columns.narrow(0, half, batch - half), kernel, f);
  } else {
    const int64_t half = channels / 2, rest = channels - half;
    in_pieces(image.narrow(1, 0, half), columns.narrow(1, 0, half * kernel), kernel, f);
    in_pieces(image.narrow(1, half, rest), columns.narrow(1, half * kernel, rest * kernel), kernel, f);
  }
}

void launch_fold(bool to_columns, const Tensor& image, const Tensor& columns, const Windows& windows) {
  static KernelCache cache;
  const ScalarType type = image.scalar_type();
  const int64_t parts = parts_of(type), count = (to_columns ? columns : image).numel() * parts;
  if (count == 0) return;
  TORCH_CHECK(count < kLimit, to_columns ? "im2col" : "col2im", ": ", count, " elements of one channel are more than usbgpu's kernels can index");
  FoldArgs args{};
  args.image = address(image), args.columns = address(columns);
  for (int d = 0; d < 4; ++d) args.image_stride[d] = image.stride(d) * parts;
  for (int d = 0; d < 3; ++d) args.columns_stride[d] = columns.stride(d) * parts;
  args.parts = divisor(static_cast<uint32_t>(parts)), args.channels = divisor(static_cast<uint32_t>(image.size(1)));
  for (int d = 0; d < 2; ++d) {
    args.kernel[d] = divisor(static_cast<uint32_t>(windows.kernel[d]));
    args.size[d] = divisor(static_cast<uint32_t>(image.size(2 + d)));
    args.blocks[d] = divisor(static_cast<uint32_t>(windows.blocks(d, image.size(2 + d))));
    args.stride[d] = divisor(static_cast<uint32_t>(windows.stride[d]));
    args.padding[d] = static_cast<int32_t>(windows.padding[d]), args.dilation[d] = static_cast<int32_t>(windows.dilation[d]);
  }
  args.count = static_cast<uint32_t>(count);
  // im2col moves words of a size, col2im adds.
  const ScalarType element = part_type(type);
  const auto bytes = c10::elementSize(element);
  Kernel* kernel = cache.get(key(to_columns, to_columns ? static_cast<int64_t>(bytes) : static_cast<int64_t>(element)), [&]() -> KernelSource {
    const std::string bits = std::to_string(8 * bytes);
    const std::string symbol = to_columns ? "im2col_" + bits : std::string("col2im_") + dtype_name(element);
    const std::string c_type = to_columns ? "uint" + bits + "_t" : dtype_c_type(element);
    return {"fold", symbol, "USBGPU_FOLD(" + symbol + (to_columns ? ", im2col, " : ", col2im, ") + c_type + ")"};
  });
  launch(kernel, {ceil_div(count, 256), 1, 1}, {256, 1, 1}, args);
}

void check_overlap(const Tensor& self, const Tensor& out) {
  at::assert_no_internal_overlap(out);
  at::assert_no_overlap(out, self);
}

Tensor& im2col_out(const Tensor& self, IntArrayRef kernel_size, IntArrayRef dilation, IntArrayRef padding, IntArrayRef stride,
                   Tensor& out) {
  const Windows windows(kernel_size, dilation, padding, stride);
  check_same_device("im2col", {{"self", &self}, {"out", &out}});
  at::native::im2col_shape_check(self, Tensor(), windows.kernel[0], windows.kernel[1], windows.dilation[0], windows.dilation[1],
                                 windows.padding[0], windows.padding[1], windows.stride[0], windows.stride[1]);
  const bool batched = self.dim() == 4;
  const Tensor image = batched ? self : self.unsqueeze(0);
  const int64_t kernel = windows.kernel[0] * windows.kernel[1];
  const int64_t rows = image.size(1) * kernel, length = windows.blocks(0, image.size(2)) * windows.blocks(1, image.size(3));
  check_types("im2col_out_cpu", self, out);
  resize_out(out, batched ? at::DimVector{image.size(0), rows, length} : at::DimVector{rows, length});
  check_overlap(self, out);
  in_pieces(image, batched ? out : out.unsqueeze(0), kernel,
            [&](const Tensor& from, const Tensor& to) { launch_fold(true, from, to, windows); });
  return out;
}

Tensor im2col(const Tensor& self, IntArrayRef kernel_size, IntArrayRef dilation, IntArrayRef padding, IntArrayRef stride) {
  Tensor out = empty({0}, self.scalar_type());
  return im2col_out(self, kernel_size, dilation, padding, stride, out);
}

Tensor& col2im_out(const Tensor& self, IntArrayRef output_size, IntArrayRef kernel_size, IntArrayRef dilation, IntArrayRef padding,
                   IntArrayRef stride, Tensor& out) {
  TORCH_CHECK(output_size.size() == 2, "It is expected output_size equals to 2, but got size ", output_size.size());
  const Windows windows(kernel_size, dilation, padding, stride);
  check_same_device("col2im", {{"self", &self}, {"out", &out}});
  at::native::col2im_shape_check(self, Tensor(), output_size[0], output_size[1], windows.kernel[0], windows.kernel[1],
                                 windows.dilation[0], windows.dilation[1], windows.padding[0], windows.padding[1],
                                 windows.stride[0], windows.stride[1]);
  const bool batched = self.dim() == 3;
  const Tensor columns = batched ? self : self.unsqueeze(0);
  const int64_t kernel = windows.kernel[0] * windows.kernel[1], channels = columns.size(1) / kernel;
  check_types("col2im_out_cpu", self, out);
  resize_out(out, batched ? at::DimVector{columns.size(0), channels, output_size[0], output_size[1]}
                          : at::DimVector{channels, output_size[0], output_size[1]});
  check_overlap(self, out);
  in_pieces(batched ? out : out.unsqueeze(0), columns, kernel,
            [&](const Tensor& to, const Tensor& from) { launch_fold(false, to, from, windows); });
  return out;
}

Tensor col2im(const Tensor& self, IntArrayRef output_size, IntArrayRef kernel_size, IntArrayRef dilation, IntArrayRef padding,
              IntArrayRef stride) {
  Tensor out = empty({0}, self.scalar_type());
  return col2im_out(self, output_size, kernel_size, dilation, padding, stride, out);
}

// ---- Tensor.unfold

// grad has out's dimensions, with windows instead of elements along `dim`, and places within a window last.
void launch_unfold_backward(const Tensor& grad, const Tensor& out, int64_t dim, int64_t step) {
  static KernelCache cache;
  const ScalarType type = out.scalar_type(), element = part_type(type);
  const int64_t parts = parts_of(type);
  if (out.numel() * parts >= kLimit) {
    int64_t longest = -1;
    for (int64_t d = 0; d < out.dim(); ++d)
      if (d != dim && (longest < 0 || out.size(d) > out.size(longest))) longest = d;
    TORCH_CHECK(longest >= 0 && out.size(longest) > 1, "unfold_backward: ", out.sizes(), " is more than usbgpu's kernels can index");
    const int64_t half = out.size(longest) / 2, rest = out.size(longest) - half;
    launch_unfold_backward(grad.narrow(longest, 0, half), out.narrow(longest, 0, half), dim, step);
    launch_unfold_backward(grad.narrow(longest, half, rest), out.narrow(longest, half, rest), dim, step);
    return;
  }
  struct Dimension {
    int64_t size, grad, out;
    bool along;
  };
  c10::SmallVector<Dimension, kUnfoldDims> dims;   // fastest first, neighbours merged where both tensors allow
  for (int64_t d = out.dim() - 1; d >= 0; --d) {
    const Dimension next{out.size(d), grad.stride(d), out.stride(d), d == dim};
    if (next.size == 1 && !next.along) continue;
    if (!dims.empty() && !next.along && !dims.back().along) {
      Dimension& last = dims.back();
      if (next.grad == last.grad * last.size && next.out == last.out * last.size) {
        last.size *= next.size;
        continue;
      }
    }
    dims.push_back(next);
  }
  if (dims.size() > kUnfoldDims) return launch_unfold_backward(grad.contiguous(), out, dim, step);
  UnfoldArgs args{};
  args.grad = address(grad), args.out = address(out);
  args.dims = static_cast<uint32_t>(dims.size());
  for (uint32_t d = 0; d < args.dims; ++d) {
    args.size[d] = divisor(static_cast<uint32_t>(dims[d].size));
    args.grad_stride[d] = dims[d].grad * parts, args.out_stride[d] = dims[d].out * parts;
    if (dims[d].along) args.along = d;
  }
  args.parts = divisor(static_cast<uint32_t>(parts)), args.step = divisor(static_cast<uint32_t>(std::min(step, kLimit - 1)));
  args.place_stride = grad.stride(-1) * parts;
  args.window = static_cast<uint32_t>(grad.size(-1)), args.windows = static_cast<uint32_t>(grad.size(dim));
  args.count = static_cast<uint32_t>(out.numel() * parts);
  Kernel* kernel = cache.get(key(element), [&]() -> KernelSource {
    const std::string symbol = std::string("unfold_backward_") + dtype_name(element);
    return {"fold", symbol, "USBGPU_UNFOLD_BACKWARD(" + symbol + ", " + dtype_c_type(element) + ")"};
  });
  launch(kernel, {ceil_div(args.count, 256), 1, 1}, {256, 1, 1}, args);
}

Tensor unfold_backward(const Tensor& grad, IntArrayRef input_sizes, int64_t dim, int64_t size, int64_t step) {
  const ScalarType type = grad.scalar_type();
  TORCH_CHECK_NOT_IMPLEMENTED(dtype_supported(type) || type == at::kComplexFloat || type == at::kComplexDouble,
                              "\"unfold_backward_cpu\" not implemented for '", type, "'");
  dim = at::maybe_wrap_dim(dim, static_cast<int64_t>(input_sizes.size()));
  TORCH_CHECK(step > 0, "step is ", step, " but must be > 0");
  TORCH_CHECK(grad.dim() == static_cast<int64_t>(input_sizes.size()) + 1 && grad.size(-1) == size, "unfold_backward: windows of size ",
              size, " of a tensor of sizes ", input_sizes, " cannot have sizes ", grad.sizes());
  Tensor out = empty(input_sizes, type);
  if (out.numel() == 0) return out;
  if (grad.numel() == 0) return out.zero_();
  if (input_sizes.empty()) {   // unfold of a number has no dimension of windows
    TORCH_CHECK(size == 1, "unfold_backward: a number has no windows of size ", size);
    return out.copy_(grad.squeeze(0));
  }
  for (int64_t d = 0; d < out.dim(); ++d) {
    const int64_t expected = d == dim ? (out.size(d) - size) / step + 1 : out.size(d);
    TORCH_CHECK(grad.size(d) == expected, "unfold_backward: dimension ", d, " of the gradient has size ", grad.size(d),
                " instead of ", expected);
  }
  launch_unfold_backward(grad, out, dim, step);
  return out;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("im2col", &im2col);
  m.impl("im2col.out", &im2col_out);
  m.impl("col2im", &col2im);
  m.impl("col2im.out", &col2im_out);
  m.impl("unfold_backward", &unfold_backward);
}

}  // namespace
}  // namespace usbgpu::aten
