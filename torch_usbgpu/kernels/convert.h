// Conversions between element types, as ATen's casts define them.
#pragma once
#include <hip/hip_runtime.h>

#include "complex.h"
#include "float8.h"

namespace usbgpu::kernels {

template <class T> struct is_floating { static constexpr bool value = false; };
template <> struct is_floating<float> { static constexpr bool value = true; };
template <> struct is_floating<double> { static constexpr bool value = true; };
template <> struct is_floating<_Float16> { static constexpr bool value = true; };
template <> struct is_floating<__bf16> { static constexpr bool value = true; };
template <class T> constexpr bool floating = is_floating<T>::value;

template <class A, class B> struct is_same { static constexpr bool value = false; };
template <class A> struct is_same<A, A> { static constexpr bool value = true; };
template <class A, class B> constexpr bool same = is_same<A, B>::value;

template <class To, class From>
__device__ __forceinline__ To convert(From value) {
  if constexpr (same<To, From>) {
    return value;
  } else if constexpr (is_complex<From>) {
    if constexpr (is_complex<To>) return To(convert<Real<To>>(value.re), convert<Real<To>>(value.im));
    else if constexpr (same<To, bool>) return value.re != Real<From>(0) || value.im != Real<From>(0);
    else return convert<To>(value.re);
  } else if constexpr (is_complex<To>) {
    return To(convert<Real<To>>(value), Real<To>(0));
  } else if constexpr (is_float8<From>) {
    return convert<To>(widen(value));
  } else if constexpr (is_float8<To>) {
    To result;
    narrow(convert<float>(value), result);
    return result;
  } else if constexpr (same<From, __bf16>) {
    return convert<To>(__bfloat162float(value));
  } else if constexpr (same<From, _Float16> && !same<To, float>) {
    return convert<To>(static_cast<float>(value));
  } else if constexpr (same<To, bool>) {
    return value != From(0);
  } else if constexpr ((same<To, __bf16> || same<To, _Float16>) && !same<From, float>) {
    // through f32, as ATen does
    return static_cast<To>(static_cast<float>(value));
  } else if constexpr (floating<From> && !floating<To> && sizeof(To) < 4) {
    // a float beyond a narrow integer wraps instead of saturating
    return static_cast<To>(static_cast<int32_t>(value));
  } else if constexpr (floating<From> && !floating<To> && To(-1) > To(0)) {
    // likewise a negative one
    if constexpr (sizeof(To) < 8) return static_cast<To>(static_cast<int64_t>(value));
    else return value < From(0) ? static_cast<To>(static_cast<int64_t>(value)) : static_cast<To>(value);
  } else {
    return static_cast<To>(value);
  }
}

// Global memory by address: a bare pointer made of an integer would be accessed with FLAT instructions,
// which cost an address pair and wait for LDS too. base is uniform: base + 32-bit offset is one operand.
template <class T>
using Global = __attribute__((address_space(1))) T*;
template <class T>
__device__ __forceinline__ Global<T> global_at(uint64_t base, uint32_t byte_offset) {
  return reinterpret_cast<Global<T>>(reinterpret_cast<Global<char>>(base) + byte_offset);
}

// One element. A struct cannot be assigned across address spaces: a complex number moves as a vector.
template <class T>
__device__ __forceinline__ T read_global(uint64_t base, uint32_t byte_offset) {
  if constexpr (is_complex<T>) {
    return __builtin_bit_cast(T, *global_at<const typename ComplexWord<sizeof(T)>::Type>(base, byte_offset));
  } else {
    return *global_at<const T>(base, byte_offset);
  }
}
template <class T>
__device__ __forceinline__ void write_global(uint64_t base, uint32_t byte_offset, T value) {
  if constexpr (is_complex<T>) {
    using W = typename ComplexWord<sizeof(T)>::Type;
    *global_at<W>(base, byte_offset) = __builtin_bit_cast(W, value);
  } else {
    *global_at<T>(base, byte_offset) = value;
  }
}

// The bits of a T in the low end of a 64-bit word.
template <class T>
__device__ __forceinline__ T from_bits(uint64_t bits) {
  if constexpr (sizeof(T) == 8) {
    return __builtin_bit_cast(T, bits);
  } else if constexpr (sizeof(T) == 4) {
    return __builtin_bit_cast(T, static_cast<uint32_t>(bits));
  } else if constexpr (sizeof(T) == 2) {
    return __builtin_bit_cast(T, static_cast<uint16_t>(bits));
  } else if constexpr (same<T, bool>) {
    return bits != 0;
  } else {
    return static_cast<T>(bits);
  }
}

}  // namespace usbgpu::kernels
