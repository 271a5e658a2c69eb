// Operators that put elements elsewhere: cat of many inputs at once, roll along any dimensions at once.
// Elements are words of their size; they have no dtype here.
#include "family.h"
#include "shape_args.h"
#include "walk.h"

namespace usbgpu_family {

// The input whose groups this one is among: the last one that starts no later. A search in scalar registers.
template <typename Args>
USBGPU_INLINE uint32_t input_of_group(const Args& args) {
  uint32_t low = 0, high = args.inputs;
#pragma clang loop unroll(disable)
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    if (args.input[middle].first_group <= blockIdx.x) low = middle;
    else high = middle;
  }
  return low;
}

template <uint32_t Bytes>
USBGPU_INLINE void cat_rows(const CatRowsArgs& args) {
  using T = typename word<Bytes>::type;
  const CatRowsInput& input = args.input[input_of_group(args)];
  const uint32_t first = (blockIdx.x - input.first_group) * kCatGroup + threadIdx.x;
  const global_ptr<T> from = at<T>(input.address), to = at<T>(args.out) + input.start;
  T value[kCatGroup / 256];
#pragma unroll
  for (uint32_t k = 0; k < kCatGroup / 256; ++k)
    if (first + k * 256 < input.words) value[k] = from[first + k * 256];
#pragma unroll
  for (uint32_t k = 0; k < kCatGroup / 256; ++k) {
    const uint32_t i = first + k * 256;
    if (i >= input.words) break;
    const uint32_t row = (__umulhi(i, input.row.magic) + i) >> input.row.shift;
    to[(uint64_t)row * args.pitch + (i - row * input.row.value)] = value[k];
  }
}

template <uint32_t Bytes>
USBGPU_INLINE void cat_strided(const CatStridedArgs& args) {
  using T = typename word<Bytes>::type;
  const CatStridedInput& input = args.input[input_of_group(args)];
  const uint32_t end = input.count, first = (blockIdx.x - input.first_group) * kCatGroup + threadIdx.x;
#pragma clang loop unroll(disable)
  for (uint32_t k = 0; k < kCatGroup / 256; ++k) {
    uint32_t linear = first + k * 256;
    if (linear >= end) break;
    int32_t from = 0, to = 0;
#pragma clang loop unroll(disable)
    for (uint32_t d = 0; d < args.dims; ++d) {
      const uint32_t size = d == args.joined ? input.joined_size : args.size[d];
      const uint32_t rest = linear / size;
      const int32_t i = (int32_t)(linear - rest * size);
      from += i * input.stride[d], to += i * args.out_stride[d];
      linear = rest;
    }
    *(global_ptr<T>)(at<char>(args.out) + input.start + to) = *(global_ptr<T>)(at<char>(input.address) + from);
  }
}

template <uint32_t Bytes>
USBGPU_INLINE void roll(const RollArgs& args) {
  using T = typename word<Bytes>::type;
  const uint32_t element = blockIdx.x * 256 + threadIdx.x;
  if (element >= args.count) return;
  uint32_t linear = element;
  int32_t from = 0;
#pragma clang loop unroll(disable)
  for (uint32_t d = 0; d < args.dims; ++d) {
    const uint32_t size = args.size[d], rest = linear / size, i = linear - rest * size, shift = args.shift[d];
    from += (int32_t)(i < shift ? i + size - shift : i - shift) * args.stride[d];
    linear = rest;
  }
  at<T>(args.out)[element] = *(global_ptr<T>)(at<char>(args.source) + from);
}

}  // namespace usbgpu_family

#define USBGPU_SHAPE(symbol, Args, ...) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::Args args) { usbgpu_family::__VA_ARGS__(args); }
