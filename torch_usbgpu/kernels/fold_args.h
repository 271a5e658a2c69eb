// Arguments of fold.hip. Strides count elements of the kernel's type; a complex number is two of them
// ("parts"), which lie next to each other.
#pragma once
#include "portable.h"
#include "pointwise_args.h"

namespace usbgpu_family::fold {

using usbgpu::kernels::Divisor;

// columns[n, (c, ky, kx), (ly, lx)] and image[n, c, y, x] at y = ly * stride - padding + ky * dilation
struct FoldArgs {
  uint64_t image, columns;
  int64_t image_stride[4], columns_stride[3];
  Divisor parts, channels, kernel[2], blocks[2], size[2], stride[2];   // blocks: of sliding windows
  int32_t padding[2], dilation[2];
  uint32_t count;          // elements of what is written
};

inline constexpr uint32_t kUnfoldDims = 8;

// out[.., i, ..] = sum over windows w and places p with w * step + p == i of grad[.., w, .., p]
struct UnfoldArgs {
  uint64_t grad, out;
  int64_t grad_stride[kUnfoldDims], out_stride[kUnfoldDims];   // fastest dimension first
  int64_t place_stride;
  Divisor size[kUnfoldDims], parts, step;
  uint32_t dims, along;                                        // along: the unfolded dimension's number
  uint32_t window, windows, count;
};

}  // namespace usbgpu_family::fold
