// 16-bit floats. __half is the compiler's _Float16 (native arithmetic); bfloat16 is __bf16, which
// the hardware only multiplies in WMMA: arithmetic goes through float.
#pragma once

typedef _Float16 __half;
typedef _Float16 half;
typedef __bf16 __nv_bfloat16;
typedef __bf16 __hip_bfloat16;
typedef __bf16 nv_bfloat16;

struct __attribute__((aligned(4))) __half2 { __half x, y; };
struct __attribute__((aligned(4))) __nv_bfloat162 { __nv_bfloat16 x, y; };
typedef __half2 half2;
typedef __nv_bfloat162 nv_bfloat162;
typedef __nv_bfloat162 __hip_bfloat162;

USBGPU_FN __half __float2half(float x) { return (__half)x; }
USBGPU_FN __half __float2half_rn(float x) { return (__half)x; }
USBGPU_FN __half __float2half_rz(float x) { return __builtin_amdgcn_cvt_pkrtz(x, 0.0f)[0]; }
USBGPU_FN __half __double2half(double x) { return (__half)x; }
USBGPU_FN float __half2float(__half x) { return (float)x; }
USBGPU_FN __half __int2half_rn(int x) { return (__half)(float)x; }
USBGPU_FN int __half2int_rn(__half x) { return (int)__builtin_rintf((float)x); }
USBGPU_FN int __half2int_rz(__half x) { return (int)(float)x; }
USBGPU_FN unsigned short __half_as_ushort(__half x) { return usbgpu::bit_cast<unsigned short>(x); }
USBGPU_FN __half __ushort_as_half(unsigned short x) { return usbgpu::bit_cast<__half>(x); }
USBGPU_FN short __half_as_short(__half x) { return usbgpu::bit_cast<short>(x); }
USBGPU_FN __half __short_as_half(short x) { return usbgpu::bit_cast<__half>(x); }

USBGPU_FN __nv_bfloat16 __float2bfloat16(float x) { return (__nv_bfloat16)x; }
USBGPU_FN __nv_bfloat16 __float2bfloat16_rn(float x) { return (__nv_bfloat16)x; }
USBGPU_FN float __bfloat162float(__nv_bfloat16 x) {
  return usbgpu::bit_cast<float>((unsigned)usbgpu::bit_cast<unsigned short>(x) << 16);
}
USBGPU_FN unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return usbgpu::bit_cast<unsigned short>(x); }
USBGPU_FN __nv_bfloat16 __ushort_as_bfloat16(unsigned short x) { return usbgpu::bit_cast<__nv_bfloat16>(x); }

// One list, two types: h is rounded once from the float result (for half an add, multiply or
// fused multiply-add in float and one rounding gives the same bits as the half instruction or better).
#define USBGPU_H(T, T2, to_float)                                                                    \
  USBGPU_FN T __hadd(T a, T b) { return (T)(a + b); }                                                \
  USBGPU_FN T __hsub(T a, T b) { return (T)(a - b); }                                                \
  USBGPU_FN T __hmul(T a, T b) { return (T)(a * b); }                                                \
  USBGPU_FN T __hdiv(T a, T b) { return (T)(to_float(a) / to_float(b)); }                            \
  USBGPU_FN T __hneg(T a) { return (T)(-a); }                                                        \
  USBGPU_FN T __habs(T a) { return (T)__builtin_fabsf(to_float(a)); }                                \
  USBGPU_FN T __hmax(T a, T b) { return (T)__builtin_fmaxf(to_float(a), to_float(b)); }              \
  USBGPU_FN T __hmin(T a, T b) { return (T)__builtin_fminf(to_float(a), to_float(b)); }              \
  USBGPU_FN bool __heq(T a, T b) { return to_float(a) == to_float(b); }                              \
  USBGPU_FN bool __hne(T a, T b) { return to_float(a) != to_float(b); }                              \
  USBGPU_FN bool __hlt(T a, T b) { return to_float(a) < to_float(b); }                               \
  USBGPU_FN bool __hle(T a, T b) { return to_float(a) <= to_float(b); }                              \
  USBGPU_FN bool __hgt(T a, T b) { return to_float(a) > to_float(b); }                               \
  USBGPU_FN bool __hge(T a, T b) { return to_float(a) >= to_float(b); }                              \
  USBGPU_FN bool __hisnan(T a) { return to_float(a) != to_float(a); }                                \
  USBGPU_FN bool __hisinf(T a) { return __builtin_fabsf(to_float(a)) == __builtin_inff(); }          \
  USBGPU_FN T2 __hadd2(T2 a, T2 b) { return {(T)(a.x + b.x), (T)(a.y + b.y)}; }                      \
  USBGPU_FN T2 __hsub2(T2 a, T2 b) { return {(T)(a.x - b.x), (T)(a.y - b.y)}; }                      \
  USBGPU_FN T2 __hmul2(T2 a, T2 b) { return {(T)(a.x * b.x), (T)(a.y * b.y)}; }                      \
  USBGPU_FN T2 __hneg2(T2 a) { return {(T)(-a.x), (T)(-a.y)}; }
USBGPU_H(__half, __half2, __half2float)
USBGPU_H(__nv_bfloat16, __nv_bfloat162, __bfloat162float)
#undef USBGPU_H

USBGPU_FN __half __hfma(__half a, __half b, __half c) { return __builtin_fmaf16(a, b, c); }
USBGPU_FN __half2 __hfma2(__half2 a, __half2 b, __half2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
USBGPU_FN __nv_bfloat16 __hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) {
  return (__nv_bfloat16)__builtin_fmaf(__bfloat162float(a), __bfloat162float(b), __bfloat162float(c));
}
USBGPU_FN __nv_bfloat162 __hfma2(__nv_bfloat162 a, __nv_bfloat162 b, __nv_bfloat162 c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}

USBGPU_FN __half2 __halves2half2(__half x, __half y) { return {x, y}; }
USBGPU_FN __half2 make_half2(__half x, __half y) { return {x, y}; }
USBGPU_FN __half2 __half2half2(__half x) { return {x, x}; }
USBGPU_FN __half __low2half(__half2 a) { return a.x; }
USBGPU_FN __half __high2half(__half2 a) { return a.y; }
USBGPU_FN float __low2float(__half2 a) { return (float)a.x; }
USBGPU_FN float __high2float(__half2 a) { return (float)a.y; }
USBGPU_FN __half2 __floats2half2_rn(float x, float y) { return {(__half)x, (__half)y}; }
USBGPU_FN __half2 __float2half2_rn(float x) { return {(__half)x, (__half)x}; }
USBGPU_FN __half2 __float22half2_rn(float2 a) { return {(__half)a.x, (__half)a.y}; }
USBGPU_FN float2 __half22float2(__half2 a) { return {(float)a.x, (float)a.y}; }
USBGPU_FN __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
USBGPU_FN __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {(__nv_bfloat16)x, (__nv_bfloat16)y}; }
USBGPU_FN float2 __bfloat1622float2(__nv_bfloat162 a) { return {__bfloat162float(a.x), __bfloat162float(a.y)}; }
