// Is an element among the test elements? A thread per element.
#include "family.h"
#include "isin_args.h"

namespace usbgpu_family {

// T: bool comes as uint8_t. Comparison is of equal types, so exact; NaN is in no set.
template <typename T>
USBGPU_INLINE void isin(const IsinArgs& args) {
  const uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (i >= args.count) return;
  const T value = at<T>(args.elements)[i];
  bool found = false;
  if (args.sorted) {
    uint32_t low = 0, high = args.test_count;
#pragma clang loop unroll(disable)
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      if (at<T>(args.tests)[middle] < value) low = middle + 1;
      else high = middle;
    }
    found = low < args.test_count && at<T>(args.tests)[low] == value;
  } else {
#pragma clang loop unroll(disable)
    for (uint32_t k = 0; k < args.test_count; ++k) found |= at<T>(args.tests)[k] == value;
  }
  at<uint8_t>(args.output)[i] = found != (args.invert != 0);
}

}  // namespace usbgpu_family

#define USBGPU_ISIN(symbol, T) \
  USBGPU_FAMILY_KERNEL(256) void symbol(usbgpu_family::IsinArgs args) { usbgpu_family::isin<T>(args); }
