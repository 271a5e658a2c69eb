// Where a thread stands in [N, C, D, H, W], and where that is in memory.
#pragma once
#include "family.h"
#include "spatial_args.h"

namespace usbgpu_family {

struct Place {
  uint32_t n, c;
  int32_t at[3];   // d, h, w
};

USBGPU_INLINE uint32_t spatial_thread() { return blockIdx.x * 256 + threadIdx.x; }

USBGPU_INLINE Place place_of(const SpatialWalk& walk, uint32_t linear) {
  uint32_t digit[4];
#pragma unroll
  for (uint32_t k = 0; k < 4; ++k) {
    const usbgpu::kernels::Divisor by = walk.digit[k];
    const uint32_t quotient = (__umulhi(linear, by.magic) + linear) >> by.shift;
    digit[k] = linear - quotient * by.value;
    linear = quotient;
  }
  Place place;
  place.n = linear;
  if (walk.channels_last) {
    place.c = digit[0];
    place.at[2] = (int32_t)digit[1], place.at[1] = (int32_t)digit[2], place.at[0] = (int32_t)digit[3];
  } else {
    place.at[2] = (int32_t)digit[0], place.at[1] = (int32_t)digit[1], place.at[0] = (int32_t)digit[2];
    place.c = digit[3];
  }
  return place;
}

template <typename T>
USBGPU_INLINE global_ptr<T> channel_of(const Volume& volume, uint32_t n, uint32_t c) {
  return at<T>(volume.address) + ((int64_t)n * volume.n + (int64_t)c * volume.c);
}
template <typename T>
USBGPU_INLINE global_ptr<T> channel_of(const Volume& volume, const Place& place) {
  return channel_of<T>(volume, place.n, place.c);
}
USBGPU_INLINE int32_t offset_of(const Volume& volume, int32_t d, int32_t h, int32_t w) {
  return d * volume.stride[0] + h * volume.stride[1] + w * volume.stride[2];
}
template <typename T>
USBGPU_INLINE global_ptr<T> element_of(const Volume& volume, const Place& place) {
  return channel_of<T>(volume, place) + offset_of(volume, place.at[0], place.at[1], place.at[2]);
}

// What values are compared and summed in: integers stay themselves.
template <typename T>
using arithmetic_t = typename select<traits<T>::floating, accumulate_t<T>, T>::type;

USBGPU_INLINE int32_t at_least(int32_t a, int32_t b) { return a > b ? a : b; }
USBGPU_INLINE int32_t at_most(int32_t a, int32_t b) { return a < b ? a : b; }

}  // namespace usbgpu_family
