// What handler files are written with: lane vectors, operand access, EXEC-masked stores and the
// templates that turn an operation on values into handlers. Only ops_*.cpp include this.
//
// Rules for handler files
//  - everything inside `namespace usbgpu::emulator::isa::ISA_LEVEL` (the file is compiled twice);
//  - no std:: functions that are not pure builtins: an inline function compiled for AVX2 must not
//    become the one copy that baseline code calls. No exceptions, no RTTI, no statics with constructors;
//  - read all sources of all 32 lanes before the first store: the destination may overlap;
//  - with EXEC = 0 an instruction still runs and changes nothing (compares write 0).
#pragma once

#include "emulator/isa/inst.h"
#include "emulator/isa/wave.h"

#define USBGPU_INLINE __attribute__((always_inline)) inline  // may follow `static`

namespace usbgpu::emulator::isa::ISA_LEVEL {

// ---- Lane vectors: one value per lane ------------------------------------------------------
constexpr unsigned kLanes = 32;
using U32 = uint32_t __attribute__((vector_size(128)));
using I32 = int32_t __attribute__((vector_size(128)));
using F32 = float __attribute__((vector_size(128)));
using U64 = uint64_t __attribute__((vector_size(256)));
using I64 = int64_t __attribute__((vector_size(256)));
using F64 = double __attribute__((vector_size(256)));
using U16 = uint16_t __attribute__((vector_size(64)));
using I16 = int16_t __attribute__((vector_size(64)));
using U8 = uint8_t __attribute__((vector_size(32)));

template <class V> struct element;
template <> struct element<U32> { using type = uint32_t; };
template <> struct element<I32> { using type = int32_t; };
template <> struct element<F32> { using type = float; };
template <> struct element<U64> { using type = uint64_t; };
template <> struct element<I64> { using type = int64_t; };
template <> struct element<F64> { using type = double; };
template <class V> using element_t = typename element<V>::type;

template <class To, class From> USBGPU_INLINE To bits(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To r;
  __builtin_memcpy(&r, &v, sizeof r);
  return r;
}
template <class To, class From> USBGPU_INLINE To convert(From v) { return __builtin_convertvector(v, To); }

enum class K : uint8_t { V, S };  // kind of a source operand: VGPR or scalar

// ---- Addresses of operands -----------------------------------------------------------------
USBGPU_INLINE uint32_t* lanes_at(Wave& w, uint32_t offset) {
  return reinterpret_cast<uint32_t*>(__builtin_assume_aligned(reinterpret_cast<char*>(&w) + offset, 128));
}
USBGPU_INLINE const char* scalar_at(const Wave& w, const Inst* i, uint32_t offset) {
  const char* base = static_cast<int32_t>(offset) < 0 ? reinterpret_cast<const char*>(i) : reinterpret_cast<const char*>(&w);
  return base + (offset & ~kInInst);
}
// A scalar operand (SGPR, constant, literal) of 4 or 8 bytes.
template <class T> USBGPU_INLINE T scalar(const Wave& w, const Inst* i, uint32_t offset) {
  T value;
  __builtin_memcpy(&value, scalar_at(w, i, offset), sizeof value);
  return value;
}
template <class T> USBGPU_INLINE void set_scalar(Wave& w, uint32_t offset, T value) {
  __builtin_memcpy(reinterpret_cast<char*>(&w) + offset, &value, sizeof value);
}
USBGPU_INLINE uint32_t exec_of(const Wave& w) { return w.sgpr[kExec]; }

// ---- Reading sources -----------------------------------------------------------------------
// 32-bit lanes: one VGPR. 64-bit lanes: low dwords in the first VGPR, high dwords in the next.
template <class V> USBGPU_INLINE V load_lanes(Wave& w, uint32_t offset) {
  const uint32_t* p = lanes_at(w, offset);
  U32 low;
  __builtin_memcpy(&low, p, sizeof low);
  if constexpr (sizeof(V) == sizeof(U32)) {
    return bits<V>(low);
  } else {
    U32 high;
    __builtin_memcpy(&high, p + kLanes, sizeof high);
    return bits<V>(convert<U64>(low) | convert<U64>(high) << 32);
  }
}
template <class V, K kind> USBGPU_INLINE V source(Wave& w, const Inst* i, uint32_t offset) {
  if constexpr (kind == K::V) return load_lanes<V>(w, offset);
  // broadcast as integers: adding a float -0.0 or a signalling NaN to zero would change it
  else if constexpr (sizeof(V) == sizeof(U32)) return bits<V>(U32{} + scalar<uint32_t>(w, i, offset));
  else return bits<V>(U64{} + scalar<uint64_t>(w, i, offset));
}

// ---- Writing results -----------------------------------------------------------------------
// All-ones in the lanes of a 32-bit mask.
USBGPU_INLINE U32 lane_mask(uint32_t mask) {
  constexpr U32 bit = {1u << 0,  1u << 1,  1u << 2,  1u << 3,  1u << 4,  1u << 5,  1u << 6,  1u << 7,
                       1u << 8,  1u << 9,  1u << 10, 1u << 11, 1u << 12, 1u << 13, 1u << 14, 1u << 15,
                       1u << 16, 1u << 17, 1u << 18, 1u << 19, 1u << 20, 1u << 21, 1u << 22, 1u << 23,
                       1u << 24, 1u << 25, 1u << 26, 1u << 27, 1u << 28, 1u << 29, 1u << 30, 1u << 31};
  return bits<U32>(((U32{} + mask) & bit) == bit);
}
USBGPU_INLINE void store_dwords(Wave& w, uint32_t offset, U32 value) {
  uint32_t* p = lanes_at(w, offset);
  const uint32_t exec = exec_of(w);
  if (__builtin_expect(exec != ~0u, 0)) {
    U32 old;
    __builtin_memcpy(&old, p, sizeof old);
    const U32 m = lane_mask(exec);
    value = (value & m) | (old & ~m);
  }
  __builtin_memcpy(p, &value, sizeof value);
}
// Result of 32- or 64-bit lanes under EXEC.
template <class V> USBGPU_INLINE void store(Wave& w, uint32_t offset, V value) {
  if constexpr (sizeof(V) == sizeof(U32)) {
    store_dwords(w, offset, bits<U32>(value));
  } else {
    const U64 wide = bits<U64>(value);
    const U32 low = convert<U32>(wide), high = convert<U32>(wide >> 32);
    store_dwords(w, offset, low);
    store_dwords(w, offset + 128, high);
  }
}
// wave64, for handlers that see the whole wave: 32 dwords of one half (0, 1) under its EXEC.
USBGPU_INLINE void store_in_half(Wave& w, uint32_t offset, unsigned half, U32 value) {
  uint32_t* p = lanes_at(w, offset + (half ? kUpperHalf : 0));
  const U32 m = lane_mask(w.sgpr[kExec + half]);
  U32 old;
  __builtin_memcpy(&old, p, sizeof old);
  value = (value & m) | (old & ~m);
  __builtin_memcpy(p, &value, sizeof value);
}
USBGPU_INLINE uint64_t exec64_of(const Wave& w) { return w.sgpr[kExec] | static_cast<uint64_t>(w.sgpr[kExec + 1]) << 32; }
// One bit per lane from an all-ones/zeros vector (result of a vector comparison).
USBGPU_INLINE uint32_t mask_of(I32 condition) {
#if defined(__AVX2__)
  using F8 = float __attribute__((vector_size(32)));
  F8 part[4];
  __builtin_memcpy(part, &condition, sizeof part);
  return static_cast<uint32_t>(__builtin_ia32_movmskps256(part[0])) | static_cast<uint32_t>(__builtin_ia32_movmskps256(part[1])) << 8 |
         static_cast<uint32_t>(__builtin_ia32_movmskps256(part[2])) << 16 | static_cast<uint32_t>(__builtin_ia32_movmskps256(part[3])) << 24;
#elif defined(__SSE2__)
  using F4 = float __attribute__((vector_size(16)));
  F4 part[8];
  __builtin_memcpy(part, &condition, sizeof part);
  uint32_t mask = 0;
  for (unsigned n = 0; n < 8; ++n) mask |= static_cast<uint32_t>(__builtin_ia32_movmskps(part[n])) << (4 * n);
  return mask;
#else
  uint32_t mask = 0;
  for (unsigned lane = 0; lane < kLanes; ++lane) mask |= (static_cast<uint32_t>(condition[lane]) & 1u) << lane;
  return mask;
#endif
}
USBGPU_INLINE uint32_t mask_of(I64 condition) { return mask_of(convert<I32>(condition)); }

// ---- From an operation on lane vectors to handlers -----------------------------------------
// Op: struct with `static R apply(A a, B b, ...)` on lane vectors. The result type decides the
// store; the argument types decide how sources are read.
template <class Op, class R, class A, K ka> struct Unary {
  static const Inst* run(Wave& w, const Inst* i) {
    store<R>(w, i->dst, Op::apply(source<A, ka>(w, i, i->src[0])));
    return i + 1;
  }
};
template <class Op, class R, class A, class B, K ka, K kb> struct Binary {
  static const Inst* run(Wave& w, const Inst* i) {
    const A a = source<A, ka>(w, i, i->src[0]);
    const B b = source<B, kb>(w, i, i->src[1]);
    store<R>(w, i->dst, Op::apply(a, b));
    return i + 1;
  }
};
template <class Op, class R, class A, class B, class C, K ka, K kb, K kc> struct Ternary {
  static const Inst* run(Wave& w, const Inst* i) {
    const A a = source<A, ka>(w, i, i->src[0]);
    const B b = source<B, kb>(w, i, i->src[1]);
    const C c = source<C, kc>(w, i, i->src[2]);
    store<R>(w, i->dst, Op::apply(a, b, c));
    return i + 1;
  }
};
// dst = op(a, b, dst): v_fmac and friends.
template <class Op, class R, class A, class B, K ka, K kb> struct Accumulate {
  static const Inst* run(Wave& w, const Inst* i) {
    const A a = source<A, ka>(w, i, i->src[0]);
    const B b = source<B, kb>(w, i, i->src[1]);
    const R c = load_lanes<R>(w, i->dst);
    store<R>(w, i->dst, Op::apply(a, b, c));
    return i + 1;
  }
};
// v_cmp: op gives a comparison vector; lanes outside EXEC get 0. The destination is an SGPR (VCC in
// VOPC encoding); v_cmpx has EXEC as its destination. The high half of VCC/EXEC stays as it is.
template <class Op, class A, class B, K ka, K kb> struct Compare {
  static const Inst* run(Wave& w, const Inst* i) {
    const A a = source<A, ka>(w, i, i->src[0]);
    const B b = source<B, kb>(w, i, i->src[1]);
    set_scalar<uint32_t>(w, i->dst, mask_of(Op::apply(a, b)) & exec_of(w));
    return i + 1;
  }
};

// Selectors: pick the instantiation for the operand kinds of the instruction.
constexpr K kind_of(unsigned mask, unsigned n) { return (mask >> n & 1) ? K::S : K::V; }

template <class Op, class R, class A> Handler select_unary(const Shape& s) {
  static constexpr Handler table[] = {Unary<Op, R, A, K::V>::run, Unary<Op, R, A, K::S>::run};
  return table[s.scalars & 1];
}
template <template <K, K> class H> Handler select2(const Shape& s) {
  static constexpr Handler table[] = {H<K::V, K::V>::run, H<K::S, K::V>::run, H<K::V, K::S>::run, H<K::S, K::S>::run};
  return table[s.scalars & 3];
}
template <template <K, K, K> class H> Handler select3(const Shape& s) {
  static constexpr Handler table[] = {H<K::V, K::V, K::V>::run, H<K::S, K::V, K::V>::run, H<K::V, K::S, K::V>::run,
                                      H<K::S, K::S, K::V>::run, H<K::V, K::V, K::S>::run, H<K::S, K::V, K::S>::run,
                                      H<K::V, K::S, K::S>::run, H<K::S, K::S, K::S>::run};
  return table[s.scalars & 7];
}
template <class Op, class R, class A = R, class B = A> struct binary_family {
  template <K ka, K kb> using type = Binary<Op, R, A, B, ka, kb>;
};
template <class Op, class R, class A = R, class B = A> Handler select_binary(const Shape& s) {
  return select2<binary_family<Op, R, A, B>::template type>(s);
}
template <class Op, class R, class A = R, class B = A> struct accumulate_family {
  template <K ka, K kb> using type = Accumulate<Op, R, A, B, ka, kb>;
};
template <class Op, class R, class A = R, class B = A> Handler select_accumulate(const Shape& s) {
  return select2<accumulate_family<Op, R, A, B>::template type>(s);
}
template <class Op, class A, class B = A> struct compare_family {
  template <K ka, K kb> using type = Compare<Op, A, B, ka, kb>;
};
template <class Op, class A, class B = A> Handler select_compare(const Shape& s) {
  return select2<compare_family<Op, A, B>::template type>(s);
}
template <class Op, class R, class A = R, class B = A, class C = B> struct ternary_family {
  template <K ka, K kb, K kc> using type = Ternary<Op, R, A, B, C, ka, kb, kc>;
};
template <class Op, class R, class A = R, class B = A, class C = B> Handler select_ternary(const Shape& s) {
  return select3<ternary_family<Op, R, A, B, C>::template type>(s);
}
// For instructions with one form only (SALU, control, memory).
template <Handler fn> Handler always(const Shape&) { return fn; }

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
