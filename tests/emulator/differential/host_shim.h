// Stands in for the GPU when a kernel is compiled for this machine: the device's builtins as calls to
// host_runtime.c or plain C++, then the project's own headers (all but the math, which is the C library's here).
#pragma once

extern "C" {
unsigned host_thread(int axis);
unsigned host_lane(void);
void host_barrier(void);
void host_yield(void);
// Waits for the wave: what every lane gave, and which lanes took part. Everything around it is inlined: the address of
// the call tells lane operations apart.
const unsigned* host_exchange(unsigned value, unsigned* active);
extern unsigned host_group[3];
extern struct host_hidden_arguments host_hidden;
}

#define __launch_bounds__(...)
#define __global__
#define __device__
#define __host__
#define __shared__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict
#define USBGPU_BLOCK(n)
#define USBGPU_FN static __forceinline__

#define __builtin_amdgcn_workitem_id_x() host_thread(0)
#define __builtin_amdgcn_workitem_id_y() host_thread(1)
#define __builtin_amdgcn_workitem_id_z() host_thread(2)
#define __builtin_amdgcn_workgroup_id_x() host_group[0]
#define __builtin_amdgcn_workgroup_id_y() host_group[1]
#define __builtin_amdgcn_workgroup_id_z() host_group[2]
#define __builtin_amdgcn_implicitarg_ptr() (&host_hidden)
#define __builtin_amdgcn_s_barrier() host_barrier()
#define __builtin_amdgcn_wave_barrier() ((void)0)
#define __builtin_amdgcn_fence(...) ((void)0)
#define __builtin_amdgcn_s_sleep(n) host_yield()
#define __HIP_MEMORY_SCOPE_WORKGROUP 3
#define __HIP_MEMORY_SCOPE_AGENT 4

namespace host {

USBGPU_FN unsigned below() { return (1u << host_lane()) - 1; }

USBGPU_FN unsigned ballot(bool predicate) {
  unsigned active;
  const unsigned* given = host_exchange(predicate, &active);
  unsigned mask = 0;
  for (unsigned n = 0; n < 32; ++n) mask |= (given[n] & active >> n & 1) << n;
  return mask;
}
USBGPU_FN int from_lane(int value, unsigned lane) {
  unsigned active;
  const unsigned* given = host_exchange((unsigned)value, &active);
  return active >> (lane & 31) & 1 ? (int)given[lane & 31] : 0;
}
USBGPU_FN int first_lane(int value) {
  unsigned active;
  const unsigned* given = host_exchange((unsigned)value, &active);
  return (int)given[__builtin_ctz(active)];
}
// RDNA3 ISA, 'DPP16': rows of 16 lanes.
USBGPU_FN int dpp(int old, int value, unsigned control, unsigned row_mask, unsigned bank_mask, bool bound) {
  const unsigned lane = host_lane(), row = lane & 16, at = lane & 15;
  unsigned active;
  const unsigned* given = host_exchange((unsigned)value, &active);
  if (!(row_mask >> (lane >> 4) & 1) || !(bank_mask >> (at >> 2) & 1)) return old;
  int from = -1;
  const unsigned n = control & 15;
  if (control < 0x100) from = (int)((at & 12) | (control >> (2 * (lane & 3)) & 3));
  else if (control <= 0x10F) from = at + n < 16 ? (int)(at + n) : -1;
  else if (control <= 0x11F) from = at >= n ? (int)(at - n) : -1;
  else if (control <= 0x12F) from = (int)((at - n) & 15);
  else if (control == 0x140) from = (int)(15 - at);
  else if (control == 0x141) from = (int)((at & 8) | (7 - (at & 7)));
  else if (control >= 0x160) from = (int)(at ^ n);
  else if (control >= 0x150) from = (int)n;
  if (from < 0 || !(active >> (row | (unsigned)from) & 1)) return bound ? 0 : old;
  return (int)given[row | (unsigned)from];
}
USBGPU_FN int permlane(int old, int value, unsigned low, unsigned high, bool other_row, bool fetch_inactive, bool bound) {
  const unsigned lane = host_lane(), at = lane & 15;
  unsigned active;
  const unsigned* given = host_exchange((unsigned)value, &active);
  const unsigned from = ((lane & 16) ^ (other_row ? 16 : 0)) | ((at < 8 ? low >> (4 * at) : high >> (4 * (at - 8))) & 15);
  if (active >> from & 1) return (int)given[from];
  return fetch_inactive || bound ? 0 : old;
}
USBGPU_FN int swizzle(int value, unsigned offset) {
  const unsigned lane = host_lane();
  const unsigned from = offset & 0x8000 ? (lane & ~3u) | (offset >> (2 * (lane & 3)) & 3)
                                        : ((lane & (offset & 31)) | (offset >> 5 & 31)) ^ (offset >> 10 & 31);
  return from_lane(value, from);
}

template <class T> struct same { using type = T; };
template <class T> using same_t = typename same<T>::type;
#define HOST_FETCH(name, expression)                                \
  template <class T> inline T name(T* at, same_t<T> value) {        \
    const T old = *at;                                              \
    *at = (T)(expression);                                          \
    return old;                                                     \
  }
HOST_FETCH(fetch_add, old + value)
HOST_FETCH(fetch_and, old & value)
HOST_FETCH(fetch_or, old | value)
HOST_FETCH(fetch_xor, old ^ value)
HOST_FETCH(fetch_min, value < old ? value : old)
HOST_FETCH(fetch_max, old < value ? value : old)
HOST_FETCH(exchange, value)
HOST_FETCH(fetch_inc, old >= value ? 0 : old + 1)
HOST_FETCH(fetch_dec, old == 0 || old > value ? value : old - 1)
#undef HOST_FETCH
template <class T> inline bool compare_exchange(T* at, T* expected, same_t<T> desired) {
  if (__builtin_memcmp(at, expected, sizeof(T)) == 0) return *at = desired, true;
  *expected = *at;
  return false;
}

}  // namespace host

#define __builtin_amdgcn_mbcnt_lo(mask, base) (__builtin_popcount((mask) & host::below()) + (base))
#define __builtin_amdgcn_ballot_w32(p) host::ballot(p)
#define __builtin_amdgcn_ds_bpermute(address, value) host::from_lane(value, (unsigned)(address) >> 2)
#define __builtin_amdgcn_readfirstlane(value) host::first_lane(value)
#define __builtin_amdgcn_readlane(value, lane) host::from_lane(value, lane)
#define __builtin_amdgcn_update_dpp(old, value, control, rows, banks, bound) host::dpp(old, value, control, rows, banks, bound)
#define __builtin_amdgcn_permlane16(old, value, low, high, fi, bound) host::permlane(old, value, low, high, false, fi, bound)
#define __builtin_amdgcn_permlanex16(old, value, low, high, fi, bound) host::permlane(old, value, low, high, true, fi, bound)
#define __builtin_amdgcn_ds_swizzle(value, offset) host::swizzle(value, offset)
#define __hip_atomic_load(at, order, scope) (*(at))
#define __hip_atomic_store(at, value, order, scope) ((void)(*(at) = (value)))
#define __hip_atomic_fetch_add(at, value, order, scope) host::fetch_add(at, value)
#define __hip_atomic_fetch_and(at, value, order, scope) host::fetch_and(at, value)
#define __hip_atomic_fetch_or(at, value, order, scope) host::fetch_or(at, value)
#define __hip_atomic_fetch_xor(at, value, order, scope) host::fetch_xor(at, value)
#define __hip_atomic_fetch_min(at, value, order, scope) host::fetch_min(at, value)
#define __hip_atomic_fetch_max(at, value, order, scope) host::fetch_max(at, value)
#define __hip_atomic_exchange(at, value, order, scope) host::exchange(at, value)
#define __hip_atomic_compare_exchange_strong(at, expected, desired, o1, o2, scope) host::compare_exchange(at, expected, desired)
#define __builtin_amdgcn_atomic_inc32(at, limit, order, scope) host::fetch_inc(at, limit)
#define __builtin_amdgcn_atomic_dec32(at, limit, order, scope) host::fetch_dec(at, limit)
#define __builtin_amdgcn_cvt_pkrtz(a, b) host_no_such_builtin

#define __half2float_unused
#include "usbgpu/types.h"
#include "usbgpu/index.h"
#include "usbgpu/sync.h"
#include "usbgpu/memory.h"
#define __float2half_rz host_no_float2half_rz
#undef __builtin_amdgcn_cvt_pkrtz
namespace host { struct pair { _Float16 v; _Float16 operator[](int) const { return v; } }; }
#define __builtin_amdgcn_cvt_pkrtz(a, b) host::pair{(_Float16)(a)}
#include "usbgpu/half.h"
#include "usbgpu/lane.h"
#include "usbgpu/atomics.h"

// Minimum and maximum by the rule of IEEE 754-2008 with -0 below +0, which the C library leaves open.
USBGPU_FN float fminf(float a, float b) {
  if (a != a) return b;
  if (b != b) return a;
  return a < b || (a == b && __builtin_signbit(a)) ? a : b;
}
USBGPU_FN float fmaxf(float a, float b) { return -fminf(-a, -b); }
USBGPU_FN double fmin(double a, double b) {
  if (a != a) return b;
  if (b != b) return a;
  return a < b || (a == b && __builtin_signbit(a)) ? a : b;
}
USBGPU_FN double fmax(double a, double b) { return -fmin(-a, -b); }
#define HOST_UNARY(name)                                                   \
  USBGPU_FN float name##f(float x) { return __builtin_##name##f(x); }      \
  USBGPU_FN double name(double x) { return __builtin_##name(x); }
#define HOST_BINARY(name)                                                                 \
  USBGPU_FN float name##f(float x, float y) { return __builtin_##name##f(x, y); }         \
  USBGPU_FN double name(double x, double y) { return __builtin_##name(x, y); }
HOST_UNARY(sqrt) HOST_UNARY(exp) HOST_UNARY(exp2) HOST_UNARY(expm1) HOST_UNARY(log) HOST_UNARY(log2) HOST_UNARY(log10) HOST_UNARY(log1p)
HOST_UNARY(sin) HOST_UNARY(cos) HOST_UNARY(tan) HOST_UNARY(asin) HOST_UNARY(acos) HOST_UNARY(atan) HOST_UNARY(sinh) HOST_UNARY(cosh)
HOST_UNARY(tanh) HOST_UNARY(asinh) HOST_UNARY(acosh) HOST_UNARY(atanh) HOST_UNARY(erf) HOST_UNARY(erfc) HOST_UNARY(cbrt)
HOST_UNARY(floor) HOST_UNARY(ceil) HOST_UNARY(trunc) HOST_UNARY(rint) HOST_UNARY(round) HOST_UNARY(fabs)
HOST_UNARY(lgamma) HOST_UNARY(tgamma)
HOST_BINARY(pow) HOST_BINARY(atan2) HOST_BINARY(fmod) HOST_BINARY(hypot) HOST_BINARY(copysign)
USBGPU_FN float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
USBGPU_FN double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
USBGPU_FN float ldexpf(float x, int e) { return __builtin_ldexpf(x, e); }
USBGPU_FN double ldexp(double x, int e) { return __builtin_ldexp(x, e); }
USBGPU_FN float rsqrtf(float x) { return (float)(1.0 / __builtin_sqrt((double)x)); }
