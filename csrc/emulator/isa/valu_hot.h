// The f32 operations that fill matrix and pointwise kernels, on whole lane vectors. They work on
// the bits (U32), so that a -0.0 or a NaN from a scalar operand arrives as it is.
#pragma once

#include "emulator/isa/valu.h"

namespace usbgpu::emulator::isa::ISA_LEVEL::hot {

// One NaN for all hosts. Looking for a NaN in pairs of registers is cheaper than selecting always.
USBGPU_INLINE U32 canonical(F32 v) {
#if defined(__AVX__)
  using F8 = float __attribute__((vector_size(32)));
  F8 part[4];
  __builtin_memcpy(part, &v, sizeof part);
  constexpr int kUnordered = 3;
  const F8 low = __builtin_ia32_cmpps256(part[0], part[1], kUnordered), high = __builtin_ia32_cmpps256(part[2], part[3], kUnordered);
  using I8 = int32_t __attribute__((vector_size(32)));
  const F8 any = bits<F8>(bits<I8>(low) | bits<I8>(high));
  if (__builtin_expect(__builtin_ia32_movmskps256(any) == 0, 1)) return bits<U32>(v);
#endif
  const U32 ordered = bits<U32>(v == v);
  return (bits<U32>(v) & ordered) | (~ordered & sem::kNanF32);
}
USBGPU_INLINE F32 fused(F32 a, F32 b, F32 c) {
#if defined(__has_builtin) && __has_builtin(__builtin_elementwise_fma)
  return __builtin_elementwise_fma(a, b, c);
#else
  F32 r;
  for (unsigned lane = 0; lane < kLanes; ++lane) r[lane] = __builtin_fmaf(a[lane], b[lane], c[lane]);
  return r;
#endif
}

struct Move { USBGPU_INLINE static U32 apply(U32 a) { return a; } };
struct Add { USBGPU_INLINE static U32 apply(U32 a, U32 b) { return canonical(bits<F32>(a) + bits<F32>(b)); } };
struct Sub { USBGPU_INLINE static U32 apply(U32 a, U32 b) { return canonical(bits<F32>(a) - bits<F32>(b)); } };
struct SubRev { USBGPU_INLINE static U32 apply(U32 a, U32 b) { return canonical(bits<F32>(b) - bits<F32>(a)); } };
struct Mul { USBGPU_INLINE static U32 apply(U32 a, U32 b) { return canonical(bits<F32>(a) * bits<F32>(b)); } };
struct Fma { USBGPU_INLINE static U32 apply(U32 a, U32 b, U32 c) { return canonical(fused(bits<F32>(a), bits<F32>(b), bits<F32>(c))); } };

// One look for a NaN anywhere; without one the order is all there is to do. Loops over lanes: clang
// turns whole-vector selects on several conditions into packed masks and back.
template <auto ordered, auto general> USBGPU_INLINE U32 choose(U32 x, U32 y) {
  alignas(128) uint32_t a[kLanes], b[kLanes], r[kLanes];
  __builtin_memcpy(a, &x, sizeof a);
  __builtin_memcpy(b, &y, sizeof b);
  if (__builtin_expect(mask_of(bits<I32>(bits<F32>(x) != bits<F32>(x)) | bits<I32>(bits<F32>(y) != bits<F32>(y))) == 0, 1)) {
    for (unsigned lane = 0; lane < kLanes; ++lane) r[lane] = ordered(a[lane], b[lane]);
  } else {
    for (unsigned lane = 0; lane < kLanes; ++lane) r[lane] = sem::as<uint32_t>(general(sem::as<float>(a[lane]), sem::as<float>(b[lane])));
  }
  return lanes_of(r);
}
template <bool ieee> struct Max {
  USBGPU_INLINE static U32 apply(U32 x, U32 y) {
    return choose<[](uint32_t a, uint32_t b) {
      const float p = sem::as<float>(a), q = sem::as<float>(b);
      return p > q ? a : p < q ? b : a & b;
    }, [](float a, float b) { return ieee ? sem::max_ieee(a, b) : sem::max(a, b); }>(x, y);
  }
};
template <bool ieee> struct Min {
  USBGPU_INLINE static U32 apply(U32 x, U32 y) {
    return choose<[](uint32_t a, uint32_t b) {
      const float p = sem::as<float>(a), q = sem::as<float>(b);
      return p < q ? a : p > q ? b : a | b;
    }, [](float a, float b) { return ieee ? sem::min_ieee(a, b) : sem::min(a, b); }>(x, y);
  }
};

template <class Op, auto general> Handler binary(const Shape& s) {
  return unmodified(s) ? select_binary<Op, U32>(s) : lanewise<general>;
}
template <class Op, auto general> Handler ternary(const Shape& s) {
  return unmodified(s) ? select_ternary<Op, U32>(s) : lanewise<general>;
}
template <class Op, auto general> Handler accumulate(const Shape& s) {
  return unmodified(s) ? select_accumulate<Op, U32>(s) : lanewise<general, Dest::accumulate>;
}

}  // namespace usbgpu::emulator::isa::ISA_LEVEL::hot
