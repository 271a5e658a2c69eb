// Complex elements in the hand-written families: what family.h says of the other types.
#pragma once
#include "complex.h"
#include "family.h"

namespace usbgpu_family {

template <typename R> struct traits<usbgpu::kernels::Complex<R>> {
  static constexpr bool floating = true;
  using accumulate = usbgpu::kernels::Complex<R>;
};

// Kernels of complex numbers call usbgpu_family::convert by its full name: beside it argument-dependent lookup
// would find convert.h's, where another family of the unit includes that.

// One element. A struct cannot be assigned across address spaces: a complex number moves as a vector.
template <typename T>
USBGPU_INLINE T read_element(global_ptr<T> from) {
  if constexpr (usbgpu::kernels::is_complex<T>) {
    return __builtin_bit_cast(T, *(global_ptr<typename usbgpu::kernels::ComplexWord<sizeof(T)>::Type>)from);
  } else {
    return *from;
  }
}
template <typename T>
USBGPU_INLINE void write_element(global_ptr<T> to, T value) {
  if constexpr (usbgpu::kernels::is_complex<T>) {
    using Word = typename usbgpu::kernels::ComplexWord<sizeof(T)>::Type;
    *(global_ptr<Word>)to = __builtin_bit_cast(Word, value);
  } else {
    *to = value;
  }
}

}  // namespace usbgpu_family
