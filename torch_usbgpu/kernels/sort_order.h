// The order of keys, and the bitonic network (Batcher 1968) that sorts what lies in LDS.
#pragma once
#include "family.h"

namespace usbgpu_family {

template <typename T, bool Descending>
USBGPU_INLINE bool before(T a, T b) {
  if constexpr (traits<T>::floating) {
    const auto x = convert<accumulate_t<T>>(a), y = convert<accumulate_t<T>>(b);
    if constexpr (Descending) return x > y || (x != x && y == y);
    else return x < y || (y != y && x == x);
  } else {
    return Descending ? a > b : a < b;
  }
}

// Position 0xffffffff pads a tile: behind everything.
template <typename T, bool Descending>
USBGPU_INLINE bool pair_before(T a, uint32_t ia, T b, uint32_t ib) {
  if (ia == ~0u || ib == ~0u) return ia < ib;
  return before<T, Descending>(a, b) || (!before<T, Descending>(b, a) && ia < ib);
}

template <typename T, bool Descending>
USBGPU_INLINE void exchange_pairs(T* keys, uint32_t* order, uint32_t i, uint32_t j, bool up) {
  const T a = keys[i], b = keys[j];
  const uint32_t ia = order[i], ib = order[j];
  if (pair_before<T, Descending>(b, ib, a, ia) == up) {
    keys[i] = b, keys[j] = a;
    order[i] = ib, order[j] = ia;
  }
}

// width: a power of two. exchange(i, j, up): puts the elements i < j in order, ascending or not.
// A barrier first and last.
template <typename Exchange>
USBGPU_INLINE void sort_in_lds(uint32_t width, Exchange exchange) {
  local_barrier();
#pragma clang loop unroll(disable)
  for (uint32_t size = 2; size <= width; size <<= 1) {
#pragma clang loop unroll(disable)
    for (uint32_t gap = size >> 1; gap; gap >>= 1) {
#pragma clang loop unroll(disable)
      for (uint32_t p = threadIdx.x; p < width / 2; p += 256) {
        const uint32_t i = 2 * p - (p & (gap - 1));  // has bit `gap` clear
        exchange(i, i + gap, (i & size) == 0);
      }
      local_barrier();
    }
  }
}

}  // namespace usbgpu_family
