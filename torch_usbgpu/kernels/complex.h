// Complex numbers: real part first, as torch lays them out. Functions of them: complex_math.h.
#pragma once
#include <hip/hip_runtime.h>

namespace usbgpu::kernels {

template <class R>
struct Complex {
  using Real = R;
  R re, im;
  Complex() = default;
  __device__ __forceinline__ constexpr Complex(R re, R im) : re(re), im(im) {}
  template <class S>
  __device__ __forceinline__ explicit constexpr Complex(S real) : re(static_cast<R>(real)), im(R(0)) {}
  __device__ __forceinline__ constexpr Complex(const Complex&) = default;
  __device__ __forceinline__ constexpr Complex& operator=(const Complex&) = default;

  __device__ __forceinline__ friend Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
  __device__ __forceinline__ friend Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
  __device__ __forceinline__ friend Complex operator-(Complex a) { return {-a.re, -a.im}; }
  __device__ __forceinline__ friend Complex operator*(Complex a, Complex b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
  }
  __device__ __forceinline__ friend Complex operator*(Complex a, R b) { return {a.re * b, a.im * b}; }
  // Divided by the larger part first, so that squares neither overflow nor vanish: R. L. Smith,
  // "Algorithm 116: Complex division", CACM 5 (1962).
  __device__ __forceinline__ friend Complex operator/(Complex a, Complex b) {
    const R c = ::fabs(b.re), d = ::fabs(b.im);
    if (c == R(0) && d == R(0)) return {a.re / c, a.im / d};
    if (c >= d) {
      const R ratio = b.im / b.re, scale = R(1) / (b.re + b.im * ratio);
      return {(a.re + a.im * ratio) * scale, (a.im - a.re * ratio) * scale};
    }
    const R ratio = b.re / b.im, scale = R(1) / (b.re * ratio + b.im);
    return {(a.re * ratio + a.im) * scale, (a.im * ratio - a.re) * scale};
  }
  __device__ __forceinline__ friend bool operator==(Complex a, Complex b) { return a.re == b.re && a.im == b.im; }
  __device__ __forceinline__ friend bool operator!=(Complex a, Complex b) { return !(a == b); }
};

template <class T> struct complex_part { using Type = T; static constexpr bool value = false; };
template <class R> struct complex_part<Complex<R>> { using Type = R; static constexpr bool value = true; };
template <class T> constexpr bool is_complex = complex_part<T>::value;
template <class T> using Real = typename complex_part<T>::Type;

// What a complex number of so many bytes is in memory.
template <int BYTES> struct ComplexWord;
template <> struct ComplexWord<4> { using Type = unsigned; };
template <> struct ComplexWord<8> { typedef unsigned Type __attribute__((ext_vector_type(2))); };
template <> struct ComplexWord<16> { typedef unsigned Type __attribute__((ext_vector_type(4))); };

template <class R> __device__ __forceinline__ Complex<R> conjugate(Complex<R> a) { return {a.re, -a.im}; }

}  // namespace usbgpu::kernels
