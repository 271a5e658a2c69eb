// Sliding windows: im2col, col2im, and the gradient of unfold. The two that add do so per output, in
// a fixed order: no atomics, the same bits every time.
#include "family.h"
#include "fold_args.h"

namespace usbgpu_family::fold {

USBGPU_INLINE uint32_t divide(uint32_t n, const Divisor& by) { return (__umulhi(n, by.magic) + n) >> by.shift; }

// Splits the fastest digit off n.
USBGPU_INLINE uint32_t next_digit(uint32_t& n, const Divisor& by) {
  const uint32_t rest = divide(n, by), digit = n - rest * by.value;
  n = rest;
  return digit;
}

// T: a word of the element's size
template <typename T>
USBGPU_INLINE void im2col(const FoldArgs& args) {
  uint32_t rest = blockIdx.x * 256 + threadIdx.x;
  if (rest >= args.count) return;
  const uint32_t part = next_digit(rest, args.parts);
  const uint32_t lx = next_digit(rest, args.blocks[1]), ly = next_digit(rest, args.blocks[0]);
  const uint32_t kx = next_digit(rest, args.kernel[1]), ky = next_digit(rest, args.kernel[0]);
  const uint32_t c = next_digit(rest, args.channels), n = rest;
  const int32_t y = (int32_t)(ly * args.stride[0].value + ky * args.dilation[0]) - args.padding[0];
  const int32_t x = (int32_t)(lx * args.stride[1].value + kx * args.dilation[1]) - args.padding[1];
  T value = 0;
  if ((uint32_t)y < args.size[0].value && (uint32_t)x < args.size[1].value)
    value = at<T>(args.image)[n * args.image_stride[0] + c * args.image_stride[1] + y * args.image_stride[2] + x * args.image_stride[3] + part];
  const uint32_t k = (c * args.kernel[0].value + ky) * args.kernel[1].value + kx, l = ly * args.blocks[1].value + lx;
  at<T>(args.columns)[n * args.columns_stride[0] + k * args.columns_stride[1] + l * args.columns_stride[2] + part] = value;
}

// Which window has `position` at place `k` of the kernel; false: none.
USBGPU_INLINE bool window_of(const FoldArgs& args, uint32_t d, uint32_t position, uint32_t k, uint32_t& window) {
  const int32_t from = (int32_t)position + args.padding[d] - (int32_t)k * args.dilation[d];
  window = divide((uint32_t)from, args.stride[d]);
  return from >= 0 && window * args.stride[d].value == (uint32_t)from && window < args.blocks[d].value;
}

template <typename T>
USBGPU_INLINE void col2im(const FoldArgs& args) {
  uint32_t rest = blockIdx.x * 256 + threadIdx.x;
  if (rest >= args.count) return;
  const uint32_t part = next_digit(rest, args.parts);
  const uint32_t x = next_digit(rest, args.size[1]), y = next_digit(rest, args.size[0]);
  const uint32_t c = next_digit(rest, args.channels), n = rest;
  global_ptr<T> columns = at<T>(args.columns) + n * args.columns_stride[0] + part;
  accumulate_t<T> sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t ky = 0; ky < args.kernel[0].value; ++ky) {
    uint32_t ly, lx;
    if (!window_of(args, 0, y, ky, ly)) continue;
#pragma clang loop unroll(disable)
    for (uint32_t kx = 0; kx < args.kernel[1].value; ++kx) {
      if (!window_of(args, 1, x, kx, lx)) continue;
      const uint32_t k = (c * args.kernel[0].value + ky) * args.kernel[1].value + kx, l = ly * args.blocks[1].value + lx;
      sum += convert<accumulate_t<T>>(columns[k * args.columns_stride[1] + l * args.columns_stride[2]]);
    }
  }
  at<T>(args.image)[n * args.image_stride[0] + c * args.image_stride[1] + y * args.image_stride[2] + x * args.image_stride[3] + part] =
      convert<T>(sum);
}

template <typename T>
USBGPU_INLINE void unfold_backward(const UnfoldArgs& args) {
  uint32_t rest = blockIdx.x * 256 + threadIdx.x;
  if (rest >= args.count) return;
  const uint32_t part = next_digit(rest, args.parts);
  global_ptr<T> grad = at<T>(args.grad) + part, out = at<T>(args.out) + part;
  uint32_t position = 0;
  int64_t window_stride = 0;
#pragma clang loop unroll(disable)
  for (uint32_t d = 0; d < args.dims; ++d) {
    const uint32_t i = next_digit(rest, args.size[d]);
    out += i * args.out_stride[d];
    if (d == args.along) position = i, window_stride = args.grad_stride[d];
    else grad += i * args.grad_stride[d];
  }
  // windows from the first that still reaches the position to the last that has begun
  const uint32_t late = position >= args.window ? position - args.window + args.step.value : 0;
  const uint32_t first = divide(late, args.step);
  uint32_t last = divide(position, args.step) + 1;
  if (last > args.windows) last = args.windows;
  accumulate_t<T> sum = 0;
#pragma clang loop unroll(disable)
  for (uint32_t w = first; w < last; ++w)
    sum += convert<accumulate_t<T>>(grad[w * window_stride + (position - w * args.step.value) * args.place_stride]);
  *out = convert<T>(sum);
}

}  // namespace usbgpu_family::fold

#define USBGPU_FOLD(symbol, form, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::fold::FoldArgs args) { usbgpu_family::fold::form<T>(args); }
#define USBGPU_UNFOLD_BACKWARD(symbol, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::fold::UnfoldArgs args) { usbgpu_family::fold::unfold_backward<T>(args); }
