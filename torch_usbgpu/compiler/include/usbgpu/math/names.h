// CUDA's names for the functions of usbgpu::math: f(float), f(double), ff(float), and the fast
// __f forms straight from the hardware's approximate units. half and bfloat16 go through float.
#pragma once
#include "exp_log_f32.h"
#include "gamma.h"
#include "hyperbolic.h"
#include "special.h"
#include "trig.h"

namespace usbgpu {
template <class T> inline constexpr bool is_arithmetic_v = is_integral_v<T> || is_floating_v<T>;
// Integers and unlike types are computed in double, as C++ has it.
template <class A, class B> using mixed =
    enable_if_t<is_arithmetic_v<A> && is_arithmetic_v<B> && (!is_same_v<A, B> || is_integral_v<A>)>;
template <class A, class B> using unlike = enable_if_t<is_arithmetic_v<A> && is_arithmetic_v<B> && !is_same_v<A, B>>;
}  // namespace usbgpu

#define USBGPU_UNARY(name)                                                                  \
  USBGPU_FN float name(float x) { return usbgpu::math::name(x); }                           \
  USBGPU_FN double name(double x) { return usbgpu::math::name(x); }                         \
  USBGPU_FN float name##f(float x) { return usbgpu::math::name(x); }                        \
  USBGPU_FN _Float16 name(_Float16 x) { return (_Float16)usbgpu::math::name((float)x); }    \
  USBGPU_FN __bf16 name(__bf16 x) { return (__bf16)usbgpu::math::name((float)x); }          \
  template <class T, class = usbgpu::enable_if_t<usbgpu::is_integral_v<T>>>                 \
  USBGPU_FN double name(T x) { return usbgpu::math::name((double)x); }
USBGPU_UNARY(exp) USBGPU_UNARY(exp2) USBGPU_UNARY(exp10) USBGPU_UNARY(expm1)
USBGPU_UNARY(log) USBGPU_UNARY(log2) USBGPU_UNARY(log10) USBGPU_UNARY(log1p)
USBGPU_UNARY(sin) USBGPU_UNARY(cos) USBGPU_UNARY(tan) USBGPU_UNARY(sinpi) USBGPU_UNARY(cospi)
USBGPU_UNARY(asin) USBGPU_UNARY(acos) USBGPU_UNARY(atan)
USBGPU_UNARY(sinh) USBGPU_UNARY(cosh) USBGPU_UNARY(tanh) USBGPU_UNARY(asinh) USBGPU_UNARY(acosh) USBGPU_UNARY(atanh)
USBGPU_UNARY(erf) USBGPU_UNARY(erfc) USBGPU_UNARY(erfcx) USBGPU_UNARY(erfinv) USBGPU_UNARY(erfcinv)
USBGPU_UNARY(normcdf) USBGPU_UNARY(normcdfinv) USBGPU_UNARY(lgamma) USBGPU_UNARY(tgamma) USBGPU_UNARY(digamma)
USBGPU_UNARY(sqrt) USBGPU_UNARY(rsqrt) USBGPU_UNARY(cbrt) USBGPU_UNARY(rcbrt)
USBGPU_UNARY(fabs) USBGPU_UNARY(floor) USBGPU_UNARY(ceil) USBGPU_UNARY(trunc) USBGPU_UNARY(rint)
USBGPU_UNARY(sigmoid) USBGPU_UNARY(softplus)
#undef USBGPU_UNARY

#define USBGPU_BINARY(name)                                                                 \
  USBGPU_FN float name(float x, float y) { return usbgpu::math::name(x, y); }               \
  USBGPU_FN double name(double x, double y) { return usbgpu::math::name(x, y); }            \
  USBGPU_FN float name##f(float x, float y) { return usbgpu::math::name(x, y); }            \
  template <class A, class B, class = usbgpu::mixed<A, B>>                                  \
  USBGPU_FN double name(A x, B y) { return usbgpu::math::name((double)x, (double)y); }
USBGPU_BINARY(pow) USBGPU_BINARY(atan2) USBGPU_BINARY(hypot) USBGPU_BINARY(fmod) USBGPU_BINARY(remainder)
USBGPU_BINARY(copysign) USBGPU_BINARY(nextafter)
#undef USBGPU_BINARY
USBGPU_FN float pow(float x, int n) { return usbgpu::math::pow(x, (float)n); }

// A number wins over NaN, as in C.
USBGPU_FN float fmaxf(float x, float y) { return __builtin_fmaxf(x, y); }
USBGPU_FN float fminf(float x, float y) { return __builtin_fminf(x, y); }
USBGPU_FN float fmax(float x, float y) { return __builtin_fmaxf(x, y); }
USBGPU_FN float fmin(float x, float y) { return __builtin_fminf(x, y); }
USBGPU_FN double fmax(double x, double y) { return __builtin_fmax(x, y); }
USBGPU_FN double fmin(double x, double y) { return __builtin_fmin(x, y); }
template <class A, class B, class = usbgpu::mixed<A, B>>
USBGPU_FN double fmax(A x, B y) { return __builtin_fmax((double)x, (double)y); }
template <class A, class B, class = usbgpu::mixed<A, B>>
USBGPU_FN double fmin(A x, B y) { return __builtin_fmin((double)x, (double)y); }
USBGPU_FN float fdimf(float x, float y) { return x > y ? x - y : x == x && y == y ? 0.0f : x + y; }
USBGPU_FN double fdim(double x, double y) { return x > y ? x - y : x == x && y == y ? 0.0 : x + y; }
USBGPU_FN float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
USBGPU_FN float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
USBGPU_FN double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
USBGPU_FN float abs(float x) { return __builtin_fabsf(x); }
USBGPU_FN double abs(double x) { return __builtin_fabs(x); }
USBGPU_FN int abs(int x) { return x < 0 ? (int)(0u - (unsigned)x) : x; }
USBGPU_FN long abs(long x) { return x < 0 ? (long)(0ul - (unsigned long)x) : x; }
USBGPU_FN long long abs(long long x) { return x < 0 ? (long long)(0ull - (unsigned long long)x) : x; }
USBGPU_FN long long llabs(long long x) { return abs(x); }

// Away from zero at one half (round), to even (rint, nearbyint).
USBGPU_FN float roundf(float x) { return __builtin_roundf(x); }
USBGPU_FN float round(float x) { return __builtin_roundf(x); }
USBGPU_FN double round(double x) { return __builtin_round(x); }
USBGPU_FN float nearbyintf(float x) { return __builtin_rintf(x); }
USBGPU_FN float nearbyint(float x) { return __builtin_rintf(x); }
USBGPU_FN double nearbyint(double x) { return __builtin_rint(x); }
USBGPU_FN int lrintf(float x) { return (int)__builtin_rintf(x); }
USBGPU_FN long long llrintf(float x) { return (long long)__builtin_rintf(x); }
USBGPU_FN long long llrint(double x) { return (long long)__builtin_rint(x); }

USBGPU_FN bool isnan(float x) { return x != x; }
USBGPU_FN bool isnan(double x) { return x != x; }
USBGPU_FN bool isinf(float x) { return __builtin_fabsf(x) == __builtin_inff(); }
USBGPU_FN bool isinf(double x) { return __builtin_fabs(x) == __builtin_inf(); }
USBGPU_FN bool isfinite(float x) { return __builtin_fabsf(x) < __builtin_inff(); }
USBGPU_FN bool isfinite(double x) { return __builtin_fabs(x) < __builtin_inf(); }
#define USBGPU_CLASSIFY(name)                                          \
  USBGPU_FN bool name(_Float16 x) { return name((float)x); }           \
  USBGPU_FN bool name(__bf16 x) { return name((float)x); }             \
  template <class T, class = usbgpu::enable_if_t<usbgpu::is_integral_v<T>>> \
  USBGPU_FN bool name(T x) { return name((double)x); }
USBGPU_CLASSIFY(isnan) USBGPU_CLASSIFY(isinf) USBGPU_CLASSIFY(isfinite)
#undef USBGPU_CLASSIFY
USBGPU_FN bool signbit(float x) { return usbgpu::math::signbit(x); }
USBGPU_FN bool signbit(double x) { return usbgpu::math::signbit(x); }

USBGPU_FN float ldexpf(float x, int n) { return __builtin_ldexpf(x, n); }
USBGPU_FN float ldexp(float x, int n) { return __builtin_ldexpf(x, n); }
USBGPU_FN double ldexp(double x, int n) { return __builtin_ldexp(x, n); }
USBGPU_FN float scalbnf(float x, int n) { return __builtin_ldexpf(x, n); }
USBGPU_FN double scalbn(double x, int n) { return __builtin_ldexp(x, n); }
USBGPU_FN float frexpf(float x, int* e) { return __builtin_frexpf(x, e); }
USBGPU_FN float frexp(float x, int* e) { return __builtin_frexpf(x, e); }
USBGPU_FN double frexp(double x, int* e) { return __builtin_frexp(x, e); }
USBGPU_FN float modff(float x, float* whole) {
  *whole = __builtin_truncf(x);
  return __builtin_copysignf(isinf(x) ? 0.0f : x - *whole, x);
}
USBGPU_FN double modf(double x, double* whole) {
  *whole = __builtin_trunc(x);
  return __builtin_copysign(isinf(x) ? 0.0 : x - *whole, x);
}
USBGPU_FN void sincosf(float x, float* s, float* c) { usbgpu::math::sincos(x, s, c); }
USBGPU_FN void sincos(float x, float* s, float* c) { usbgpu::math::sincos(x, s, c); }
USBGPU_FN void sincos(double x, double* s, double* c) { usbgpu::math::sincos(x, s, c); }
USBGPU_FN float normf(float x, float y) { return usbgpu::math::hypot(x, y); }

// min and max of like and of mixed arguments, as CUDA has them. For floats a number wins over NaN.
#define USBGPU_MINMAX(T)                                \
  USBGPU_FN T min(T a, T b) { return b < a ? b : a; }   \
  USBGPU_FN T max(T a, T b) { return a < b ? b : a; }
USBGPU_MINMAX(int) USBGPU_MINMAX(unsigned) USBGPU_MINMAX(long) USBGPU_MINMAX(unsigned long)
USBGPU_MINMAX(long long) USBGPU_MINMAX(unsigned long long)
#undef USBGPU_MINMAX
USBGPU_FN float min(float a, float b) { return __builtin_fminf(a, b); }
USBGPU_FN float max(float a, float b) { return __builtin_fmaxf(a, b); }
USBGPU_FN double min(double a, double b) { return __builtin_fmin(a, b); }
USBGPU_FN double max(double a, double b) { return __builtin_fmax(a, b); }
USBGPU_FN __half min(__half a, __half b) { return __hmin(a, b); }
USBGPU_FN __half max(__half a, __half b) { return __hmax(a, b); }
USBGPU_FN __nv_bfloat16 min(__nv_bfloat16 a, __nv_bfloat16 b) { return __hmin(a, b); }
USBGPU_FN __nv_bfloat16 max(__nv_bfloat16 a, __nv_bfloat16 b) { return __hmax(a, b); }
// The type of a + b, which for int and unsigned is unsigned.
template <class A, class B, class = usbgpu::unlike<A, B>> USBGPU_FN auto min(A a, B b) -> decltype(a + b) {
  return min((decltype(a + b))a, (decltype(a + b))b);
}
template <class A, class B, class = usbgpu::unlike<A, B>> USBGPU_FN auto max(A a, B b) -> decltype(a + b) {
  return max((decltype(a + b))a, (decltype(a + b))b);
}

// ---- fast forms: v_exp, v_log, v_sin, v_cos, v_rcp as they are. About 1 ulp for __expf near 0,
// growing with |x|; denormals flushed; __sinf and __cosf good to 2^-20 absolute for |x| < 2 pi.
USBGPU_FN float __expf(float x) { return __builtin_amdgcn_exp2f(x * 0x1.715476p+0f); }
USBGPU_FN float __exp2f(float x) { return __builtin_amdgcn_exp2f(x); }
USBGPU_FN float __exp10f(float x) { return __builtin_amdgcn_exp2f(x * 0x1.a934f0p+1f); }
USBGPU_FN float __log2f(float x) { return __builtin_amdgcn_logf(x); }
USBGPU_FN float __logf(float x) { return __builtin_amdgcn_logf(x) * 0x1.62e430p-1f; }
USBGPU_FN float __log10f(float x) { return __builtin_amdgcn_logf(x) * 0x1.344136p-2f; }
USBGPU_FN float __powf(float x, float y) { return __builtin_amdgcn_exp2f(y * __builtin_amdgcn_logf(x)); }
USBGPU_FN float __sinf(float x) { return __builtin_amdgcn_sinf(x * 0x1.45f306p-3f); }
USBGPU_FN float __cosf(float x) { return __builtin_amdgcn_cosf(x * 0x1.45f306p-3f); }
USBGPU_FN float __tanf(float x) { return __sinf(x) * __builtin_amdgcn_rcpf(__cosf(x)); }
USBGPU_FN void __sincosf(float x, float* s, float* c) { *s = __sinf(x), *c = __cosf(x); }
USBGPU_FN float __fdividef(float x, float y) { return x * __builtin_amdgcn_rcpf(y); }
USBGPU_FN float __frcp_rn(float x) { return 1.0f / x; }
USBGPU_FN float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
USBGPU_FN float __frsqrt_rn(float x) { return usbgpu::math::rsqrt(x); }
USBGPU_FN float __fadd_rn(float x, float y) { return x + y; }
USBGPU_FN float __fsub_rn(float x, float y) { return x - y; }
USBGPU_FN float __fmul_rn(float x, float y) { return x * y; }
USBGPU_FN float __fdiv_rn(float x, float y) { return x / y; }
USBGPU_FN float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
USBGPU_FN double __dadd_rn(double x, double y) { return x + y; }
USBGPU_FN double __dmul_rn(double x, double y) { return x * y; }
USBGPU_FN double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
USBGPU_FN float __saturatef(float x) { return __builtin_fminf(__builtin_fmaxf(x, 0.0f), 1.0f); }

// ---- conversions with a rounding in the name
USBGPU_FN int __float2int_rn(float x) { return (int)__builtin_rintf(x); }
USBGPU_FN int __float2int_rz(float x) { return (int)x; }
USBGPU_FN int __float2int_rd(float x) { return (int)__builtin_floorf(x); }
USBGPU_FN int __float2int_ru(float x) { return (int)__builtin_ceilf(x); }
USBGPU_FN unsigned __float2uint_rn(float x) { return (unsigned)__builtin_rintf(x); }
USBGPU_FN unsigned __float2uint_rz(float x) { return (unsigned)x; }
USBGPU_FN float __int2float_rn(int x) { return (float)x; }
USBGPU_FN float __uint2float_rn(unsigned x) { return (float)x; }
USBGPU_FN int __double2int_rz(double x) { return (int)x; }
USBGPU_FN int __double2int_rn(double x) { return (int)__builtin_rint(x); }
USBGPU_FN float __double2float_rn(double x) { return (float)x; }
USBGPU_FN double __int2double_rn(int x) { return (double)x; }

// ---- CUDA's names of the 16-bit forms
USBGPU_FN __half hexp(__half x) { return exp(x); }
USBGPU_FN __half hlog(__half x) { return log(x); }
USBGPU_FN __half hsqrt(__half x) { return (__half)__builtin_sqrtf((float)x); }
USBGPU_FN __half hrsqrt(__half x) { return rsqrt(x); }
USBGPU_FN __half hsin(__half x) { return sin(x); }
USBGPU_FN __half hcos(__half x) { return cos(x); }
USBGPU_FN __half htanh(__half x) { return tanh(x); }
USBGPU_FN __half hrcp(__half x) { return (__half)(1.0f / (float)x); }
