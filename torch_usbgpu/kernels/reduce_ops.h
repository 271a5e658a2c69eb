// The reductions: templates over the arithmetic type T (f32 for f16, bf16 and f32; i64 for integers
// where ATen widens). Accumulators are combined in any order: combine must be commutative.
#pragma once
#include <hip/hip_runtime.h>

#include "convert.h"

namespace usbgpu::kernels {

template <class T> struct Limits;
template <> struct Limits<float> {
  static constexpr float low = -__builtin_inff(), high = __builtin_inff();
};
template <> struct Limits<double> {
  static constexpr double low = -__builtin_inf(), high = __builtin_inf();
};
template <> struct Limits<bool> { static constexpr bool low = false, high = true; };
#define USBGPU_INTEGER_LIMITS(T, BITS, SIGNED)                                          \
  template <> struct Limits<T> {                                                        \
    static constexpr T low = SIGNED ? T(uint64_t(1) << (BITS - 1)) : T(0);              \
    static constexpr T high = SIGNED ? T(~(uint64_t(1) << (BITS - 1))) : T(~uint64_t(0)); \
  };
USBGPU_INTEGER_LIMITS(int8_t, 8, true)
USBGPU_INTEGER_LIMITS(uint8_t, 8, false)
USBGPU_INTEGER_LIMITS(int16_t, 16, true)
USBGPU_INTEGER_LIMITS(int32_t, 32, true)
USBGPU_INTEGER_LIMITS(int64_t, 64, true)
#undef USBGPU_INTEGER_LIMITS

template <class T> __device__ __forceinline__ bool not_a_number(T a) {
  if constexpr (floating<T>) return a != a;
  return false;
}
template <class T> __device__ __forceinline__ T magnitude(T a) {
  if constexpr (floating<T>) return ::fabs(a);
  return a < T(0) ? T(-a) : a;
}

// Reductions whose accumulator is a plain value.
//   start: identity; step: one element; combine: two accumulators; finish: the result
#define USBGPU_REDUCTION(NAME, START, STEP, COMBINE, FINISH)                                              \
  template <class T> struct NAME {                                                                        \
    using Input = T;                                                                                      \
    using Acc = T;                                                                                        \
    static constexpr bool two_outputs = false;                                                            \
    static __device__ __forceinline__ Acc start() { return START; }                                       \
    static __device__ __forceinline__ Acc step(Acc a, T v, uint32_t, const uint64_t* p) { return STEP; }  \
    static __device__ __forceinline__ Acc combine(Acc a, Acc b) { return COMBINE; }                       \
    static __device__ __forceinline__ T finish(Acc a, uint32_t n, const uint64_t* p) { return FINISH; }   \
  };

#define USBGPU_MAX(A, B) ((A) > (B) || not_a_number(A) ? (A) : (B))
#define USBGPU_MIN(A, B) ((A) < (B) || not_a_number(A) ? (A) : (B))
USBGPU_REDUCTION(red_sum, T(0), T(a + v), T(a + b), a)
USBGPU_REDUCTION(red_nansum, T(0), not_a_number(v) ? a : T(a + v), T(a + b), a)
USBGPU_REDUCTION(red_mean, T(0), T(a + v), T(a + b), T(a / T(n)))
USBGPU_REDUCTION(red_prod, T(1), T(a * v), T(a * b), a)
USBGPU_REDUCTION(red_max, Limits<T>::low, USBGPU_MAX(a, v), USBGPU_MAX(a, b), a)
USBGPU_REDUCTION(red_min, Limits<T>::high, USBGPU_MIN(a, v), USBGPU_MIN(a, b), a)
USBGPU_REDUCTION(red_norm0, T(0), v != T(0) ? T(a + T(1)) : a, T(a + b), a)
USBGPU_REDUCTION(red_norm1, T(0), a + magnitude(v), T(a + b), a)
USBGPU_REDUCTION(red_norm2, T(0), a + v * v, T(a + b), ::sqrt(a))
USBGPU_REDUCTION(red_norm_max, T(0), USBGPU_MAX(a, magnitude(v)), USBGPU_MAX(a, b), a)
USBGPU_REDUCTION(red_norm_min, Limits<T>::high, USBGPU_MIN(a, magnitude(v)), USBGPU_MIN(a, b), a)
USBGPU_REDUCTION(red_norm, T(0), a + ::pow(magnitude(v), from_bits<T>(p[0])), T(a + b), ::pow(a, T(1) / from_bits<T>(p[0])))
USBGPU_REDUCTION(red_powsum, T(0), a + ::pow(magnitude(v), from_bits<T>(p[0])), T(a + b), a)
#undef USBGPU_REDUCTION

// Norms of complex elements: of their magnitudes.
template <class Real>
struct OfMagnitudes : Real {
  using Part = typename Real::Input;
  using Input = Complex<Part>;
  static __device__ __forceinline__ Part step(Part a, Input v, uint32_t i, const uint64_t* p) {
    return Real::step(a, ::hypot(v.re, v.im), i, p);
  }
};
template <class R> struct red_norm0<Complex<R>> : OfMagnitudes<red_norm0<R>> {};
template <class R> struct red_norm1<Complex<R>> : OfMagnitudes<red_norm1<R>> {};
template <class R> struct red_norm2<Complex<R>> : OfMagnitudes<red_norm2<R>> {};
template <class R> struct red_norm_max<Complex<R>> : OfMagnitudes<red_norm_max<R>> {};
template <class R> struct red_norm_min<Complex<R>> : OfMagnitudes<red_norm_min<R>> {};
template <class R> struct red_norm<Complex<R>> : OfMagnitudes<red_norm<R>> {};
template <class R> struct red_powsum<Complex<R>> : OfMagnitudes<red_powsum<R>> {};

// Elements are tested as the input's own type; the accumulator is a word, which lanes can exchange.
template <class T> struct red_any {
  using Input = T;
  using Acc = int;
  static constexpr bool two_outputs = false;
  static __device__ __forceinline__ Acc start() { return 0; }
  static __device__ __forceinline__ Acc step(Acc a, T v, uint32_t, const uint64_t*) { return a | (v != T(0)); }
  static __device__ __forceinline__ Acc combine(Acc a, Acc b) { return a | b; }
  static __device__ __forceinline__ bool finish(Acc a, uint32_t, const uint64_t*) { return a != 0; }
};
template <class T> struct red_all {
  using Input = T;
  using Acc = int;
  static constexpr bool two_outputs = false;
  static __device__ __forceinline__ Acc start() { return 1; }
  static __device__ __forceinline__ Acc step(Acc a, T v, uint32_t, const uint64_t*) { return a & (v != T(0)); }
  static __device__ __forceinline__ Acc combine(Acc a, Acc b) { return a & b; }
  static __device__ __forceinline__ bool finish(Acc a, uint32_t, const uint64_t*) { return a != 0; }
};
// Exclusive or of all elements' words: the bits of floats as double, integers as int64.
template <class T> struct red_hash {
  using Input = T;
  using Acc = int64_t;
  static constexpr bool two_outputs = false;
  static __device__ __forceinline__ Acc start() { return 0; }
  static __device__ __forceinline__ Acc step(Acc a, T v, uint32_t, const uint64_t*) { return a ^ __builtin_bit_cast(int64_t, v); }
  static __device__ __forceinline__ Acc combine(Acc a, Acc b) { return a ^ b; }
  static __device__ __forceinline__ int64_t finish(Acc a, uint32_t, const uint64_t*) { return a; }
};
template <class T> struct red_count_nonzero {
  using Input = T;
  using Acc = int64_t;
  static constexpr bool two_outputs = false;
  static __device__ __forceinline__ Acc start() { return 0; }
  static __device__ __forceinline__ Acc step(Acc a, T v, uint32_t, const uint64_t*) { return a + (v != T(0)); }
  static __device__ __forceinline__ Acc combine(Acc a, Acc b) { return a + b; }
  static __device__ __forceinline__ int64_t finish(Acc a, uint32_t, const uint64_t*) { return a; }
};

// Accumulators that lanes exchange are made of whole words.
template <class T> struct Wide { using Type = T; };
template <> struct Wide<bool> { using Type = int; };
template <> struct Wide<int8_t> { using Type = int; };
template <> struct Wide<uint8_t> { using Type = int; };
template <> struct Wide<int16_t> { using Type = int; };

template <class T> struct Range {
  typename Wide<T>::Type low, high;
};
template <class T> struct red_aminmax {
  using Input = T;
  using Acc = Range<T>;
  static constexpr bool two_outputs = true;
  static __device__ __forceinline__ Acc start() { return {Limits<T>::high, Limits<T>::low}; }
  static __device__ __forceinline__ Acc combine(Acc a, Acc b) { return {USBGPU_MIN(a.low, b.low), USBGPU_MAX(a.high, b.high)}; }
  static __device__ __forceinline__ Acc step(Acc a, T v, uint32_t, const uint64_t*) { return combine(a, Acc{v, v}); }
  static __device__ __forceinline__ T finish(Acc a, uint32_t, const uint64_t*) { return T(a.low); }
  static __device__ __forceinline__ T finish_second(Acc a, uint32_t, const uint64_t*) { return T(a.high); }
};

// The extreme value and where it is: NaN beats all, equal values go to the lower index.
template <class T>
struct Found {
  T value;
  uint32_t index;
};
template <> struct Found<bool> { int value; uint32_t index; };
template <> struct Found<int8_t> { int value; uint32_t index; };
template <> struct Found<uint8_t> { int value; uint32_t index; };
template <> struct Found<int16_t> { int value; uint32_t index; };

template <class T, bool largest>
struct Extreme {
  using Input = T;
  using Acc = Found<T>;
  static __device__ __forceinline__ Acc start() { return {largest ? Limits<T>::low : Limits<T>::high, ~0u}; }
  static __device__ __forceinline__ Acc combine(Acc a, Acc b) {
    const bool a_nan = not_a_number(a.value), b_nan = not_a_number(b.value);
    const bool better = largest ? a.value > b.value : a.value < b.value;
    const bool first = a_nan || b_nan ? a_nan && (!b_nan || a.index < b.index) : better || (a.value == b.value && a.index < b.index);
    return first ? a : b;
  }
  static __device__ __forceinline__ Acc step(Acc a, T v, uint32_t index, const uint64_t*) { return combine(a, Acc{v, index}); }
};
template <class T, bool largest>
struct ExtremeIndex : Extreme<T, largest> {
  static constexpr bool two_outputs = false;
  static __device__ __forceinline__ int64_t finish(Found<T> a, uint32_t, const uint64_t*) { return a.index; }
};
template <class T, bool largest>
struct ExtremeBoth : Extreme<T, largest> {
  static constexpr bool two_outputs = true;
  static __device__ __forceinline__ T finish(Found<T> a, uint32_t, const uint64_t*) { return T(a.value); }
  static __device__ __forceinline__ int64_t finish_second(Found<T> a, uint32_t, const uint64_t*) { return a.index; }
};
template <class T> struct red_argmax : ExtremeIndex<T, true> {};
template <class T> struct red_argmin : ExtremeIndex<T, false> {};
template <class T> struct red_max_index : ExtremeBoth<T, true> {};
template <class T> struct red_min_index : ExtremeBoth<T, false> {};

// Variance in one pass: Welford's update, and the combination of Chan, Golub and LeVeque (1979).
template <class T>
struct Moments {
  T mean, squares, count;   // squares: sum of squared distances from the mean
};
template <class T>
struct VarianceBase {
  using Input = T;
  using Acc = Moments<T>;
  static __device__ __forceinline__ Acc start() { return {T(0), T(0), T(0)}; }
  static __device__ __forceinline__ Acc step(Acc a, T v, uint32_t, const uint64_t*) {
    const T count = a.count + T(1), distance = v - a.mean, mean = a.mean + distance / count;
    return {mean, a.squares + distance * (v - mean), count};
  }
  static __device__ __forceinline__ Acc combine(Acc a, Acc b) {
    if (a.count == T(0)) return b;
    if (b.count == T(0)) return a;
    const T count = a.count + b.count, distance = b.mean - a.mean, share = b.count / count;
    return {a.mean + distance * share, a.squares + b.squares + distance * distance * a.count * share, count};
  }
  // p[0]: correction, p[1]: take the root
  static __device__ __forceinline__ T finish(Acc a, uint32_t, const uint64_t* p) {
    const T freedom = a.count - from_bits<T>(p[0]);
    const T variance = a.squares / (freedom > T(0) ? freedom : T(0));
    return from_bits<T>(p[1]) != T(0) ? ::sqrt(variance) : variance;
  }
};
template <class T> struct red_var : VarianceBase<T> { static constexpr bool two_outputs = false; };
template <class T> struct red_var_mean : VarianceBase<T> {
  static constexpr bool two_outputs = true;
  static __device__ __forceinline__ T finish_second(Moments<T> a, uint32_t, const uint64_t*) { return a.mean; }
};

}  // namespace usbgpu::kernels
