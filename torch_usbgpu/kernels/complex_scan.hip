// logcumsumexp of complex numbers: a family of its own, because the mathematics of complex_math.h is much
// text that the other scans need not read.
#pragma once
#include "complex_math.h"
#include "scan.hip"

namespace usbgpu_family {

struct ScanComplexLogSumExp {
  template <typename T> static USBGPU_INLINE T identity() { return T(-__builtin_inff()); }
  template <typename T> USBGPU_INLINE T operator()(T before, T after) const {
    return usbgpu::kernels::cmath::log_add_exp(after, before);
  }
};

}  // namespace usbgpu_family
