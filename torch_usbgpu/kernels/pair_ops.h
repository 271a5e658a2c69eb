// Elementwise operations with two results (see pair.hip).
#pragma once
#include "pointwise_ops.h"

namespace usbgpu::kernels {

template <class T, class U = T> struct Two {
  T first;
  U second;
};

// Mantissa in [0.5, 1) and exponent; of a zero, an infinity and NaN the number itself and 0.
template <class T> struct op_frexp {
  static __device__ __forceinline__ Two<T, int32_t> apply(Scalars<T>, T a) {
    if (a == T(0) || !(::fabs(a) < infinity_of<T>())) return {a, 0};
    int exponent;
    const T mantissa = math::frexp(a, &exponent);
    return {mantissa, exponent};
  }
};
// Gradients of a sigmoid(b), gradient g.
template <class T> struct op_glu_backward {
  static __device__ __forceinline__ Two<T> apply(Scalars<T>, T a, T b, T g) {
    const T gate = sigmoid_of(b);
    return {gate * g, (T(1) - gate) * gate * g * a};
  }
};
// Input, weight, gradient.
template <class T> struct op_prelu_backward {
  static __device__ __forceinline__ Two<T> apply(Scalars<T>, T a, T weight, T g) {
    return a > 0 ? Two<T>{g, T(0)} : Two<T>{weight * g, a * g};
  }
};

}  // namespace usbgpu::kernels
