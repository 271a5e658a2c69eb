// Integer types, limits and CUDA's small vectors. Sizes follow the fixed auxiliary triple of
// toolchain.py (x86_64 Linux), on every host: long has 64 bits.
#pragma once

typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;
typedef __INT8_TYPE__ int8_t;
typedef __INT16_TYPE__ int16_t;
typedef __INT32_TYPE__ int32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT8_TYPE__ uint8_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;
typedef __INTPTR_TYPE__ intptr_t;
typedef __UINTPTR_TYPE__ uintptr_t;
typedef unsigned int uint;
typedef unsigned short ushort;
typedef unsigned char uchar;
typedef unsigned long ulong;

namespace std {
using ::size_t;
using ::ptrdiff_t;
using ::int8_t;
using ::int16_t;
using ::int32_t;
using ::int64_t;
using ::uint8_t;
using ::uint16_t;
using ::uint32_t;
using ::uint64_t;
}  // namespace std

#define CHAR_BIT 8
#define SCHAR_MAX 127
#define UCHAR_MAX 255
#define SHRT_MAX __SHRT_MAX__
#define SHRT_MIN (-__SHRT_MAX__ - 1)
#define INT_MAX __INT_MAX__
#define INT_MIN (-__INT_MAX__ - 1)
#define UINT_MAX (__INT_MAX__ * 2u + 1u)
#define LONG_MAX __LONG_MAX__
#define LONG_MIN (-__LONG_MAX__ - 1L)
#define LLONG_MAX __LONG_LONG_MAX__
#define LLONG_MIN (-__LONG_LONG_MAX__ - 1LL)
#define ULLONG_MAX (__LONG_LONG_MAX__ * 2ull + 1ull)
#define INT8_MAX __INT8_MAX__
#define INT8_MIN (-__INT8_MAX__ - 1)
#define UINT8_MAX __UINT8_MAX__
#define INT16_MAX __INT16_MAX__
#define INT16_MIN (-__INT16_MAX__ - 1)
#define UINT16_MAX __UINT16_MAX__
#define INT32_MAX __INT32_MAX__
#define INT32_MIN (-__INT32_MAX__ - 1)
#define UINT32_MAX __UINT32_MAX__
#define INT64_MAX __INT64_MAX__
#define INT64_MIN (-__INT64_MAX__ - 1)
#define UINT64_MAX __UINT64_MAX__
#define FLT_MAX __FLT_MAX__
#define FLT_MIN __FLT_MIN__
#define FLT_EPSILON __FLT_EPSILON__
#define DBL_MAX __DBL_MAX__
#define DBL_MIN __DBL_MIN__
#define DBL_EPSILON __DBL_EPSILON__
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define HUGE_VALF __builtin_inff()
#define HUGE_VAL __builtin_inf()
#define CUDART_INF_F __builtin_inff()
#define CUDART_NAN_F __builtin_nanf("")
#define CUDART_INF __builtin_inf()
#define M_PI 3.14159265358979323846
#define M_PI_2 1.57079632679489661923
#define M_E 2.71828182845904523536
#define M_LN2 0.69314718055994530942
#define M_LOG2E 1.4426950408889634074
#define M_SQRT2 1.41421356237309504880
#define M_SQRT1_2 0.70710678118654752440
#define M_2_SQRTPI 1.12837916709551257390
#define CUDART_PI_F 3.14159274f

// ---- T1..T4, aligned as in CUDA (three components are not padded)
#define USBGPU_VECTOR(T, name, align2, align4)                                                      \
  struct name##1 { T x; };                                                                          \
  struct __attribute__((aligned(align2))) name##2 { T x, y; };                                      \
  struct name##3 { T x, y, z; };                                                                    \
  struct __attribute__((aligned(align4))) name##4 { T x, y, z, w; };                                \
  USBGPU_FN name##1 make_##name##1(T x) { return {x}; }                                             \
  USBGPU_FN name##2 make_##name##2(T x, T y) { return {x, y}; }                                     \
  USBGPU_FN name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                             \
  USBGPU_FN name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
USBGPU_VECTOR(signed char, char, 2, 4)
USBGPU_VECTOR(unsigned char, uchar, 2, 4)
USBGPU_VECTOR(short, short, 4, 8)
USBGPU_VECTOR(unsigned short, ushort, 4, 8)
USBGPU_VECTOR(int, int, 8, 16)
USBGPU_VECTOR(unsigned int, uint, 8, 16)
USBGPU_VECTOR(long, long, 16, 16)
USBGPU_VECTOR(unsigned long, ulong, 16, 16)
USBGPU_VECTOR(long long, longlong, 16, 16)
USBGPU_VECTOR(unsigned long long, ulonglong, 16, 16)
USBGPU_VECTOR(float, float, 8, 16)
USBGPU_VECTOR(double, double, 16, 16)
#undef USBGPU_VECTOR

struct dim3 {
  unsigned x, y, z;
  __device__ __host__ constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// ---- the few type traits that kernels ask for
namespace usbgpu {
template <bool B, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { using type = T; };
template <bool B, class T = void> using enable_if_t = typename enable_if<B, T>::type;
template <class A, class B> inline constexpr bool is_same_v = false;
template <class A> inline constexpr bool is_same_v<A, A> = true;
template <bool B, class T, class F> struct conditional { using type = T; };
template <class T, class F> struct conditional<false, T, F> { using type = F; };
template <bool B, class T, class F> using conditional_t = typename conditional<B, T, F>::type;
template <class T> inline constexpr bool is_floating_v =
    is_same_v<T, float> || is_same_v<T, double> || is_same_v<T, _Float16> || is_same_v<T, __bf16>;
template <class T> inline constexpr bool is_integral_v =
    is_same_v<T, bool> || is_same_v<T, char> || is_same_v<T, signed char> || is_same_v<T, unsigned char> ||
    is_same_v<T, short> || is_same_v<T, unsigned short> || is_same_v<T, int> || is_same_v<T, unsigned> ||
    is_same_v<T, long> || is_same_v<T, unsigned long> || is_same_v<T, long long> || is_same_v<T, unsigned long long>;
template <class T> inline constexpr bool is_signed_v = T(-1) < T(0);
}  // namespace usbgpu
