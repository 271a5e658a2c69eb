// Arguments of distance.hip. All tensors are contiguous.
#pragma once
#include "portable.h"

namespace usbgpu_family {

inline constexpr uint32_t kDistanceTile = 64, kDistanceDepth = 16;

struct DistanceArgs {
  uint64_t x1, x2;             // [batch, rows1, width], [batch, rows2, width]; pdist: x2 = x1
  uint64_t output;             // forward: distances; backward: gradient of x1
  uint64_t grad, distance;     // backward: [batch, rows1, rows2], or one per pair
  double p;
  uint64_t count;              // distances, or elements of the gradient
  uint32_t rows1, rows2, width;
};

struct RenormArgs {
  uint64_t factor, norm;
  double maximum;
  uint32_t count;
};

}  // namespace usbgpu_family
