// From a function of one lane (semantics.h) to an instruction handler.
//
// `lane<f>` is the general form: it takes any operand kinds and applies every modifier itself
// (neg, abs, opsel, clamp, omod), reading a register in place where there is nothing to apply.
// `fast<f>` is the same for frequent operations on 32-bit lanes: without modifiers it picks a copy
// compiled for the operand kinds at hand. Types of the parameters say how a source is read:
// 16-bit types honour opsel, floats honour neg and abs, 64-bit types take two registers.
#pragma once

#include <type_traits>
#include <utility>

#include "emulator/isa/handler.h"
#include "emulator/isa/handlers.h"
#include "emulator/isa/semantics.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {

constexpr uint16_t own_everything = own_all;

// Lanes are kept as unsigned integers of the operand's size; a function's argument is a bit cast away.
template <class T> using stored = std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>;

// A per-lane condition as an operand: a bit of an SGPR mask (carry-in, v_cndmask's selector).
struct lane_bit { uint32_t bits; explicit operator bool() const { return bits; } };

USBGPU_INLINE bool is_vgpr(uint32_t offset) {
  return static_cast<int32_t>(offset) >= static_cast<int32_t>(offsetof(Wave, vgpr));
}
USBGPU_INLINE bool unmodified(const Shape& s) { return !(s.neg | s.abs | s.opsel | s.clamp | s.omod); }

template <class T> USBGPU_INLINE saturating<T> exact(int64_t v) { return {v}; }

// ---- Sources ---------------------------------------------------------------------------------
template <class T> constexpr uint64_t sign_bit = 0;
template <> inline constexpr uint64_t sign_bit<half> = 0x8000;
template <> inline constexpr uint64_t sign_bit<bfloat> = 0x8000;
template <> inline constexpr uint64_t sign_bit<float> = 0x80000000u;
template <> inline constexpr uint64_t sign_bit<double> = 1ull << 63;

// 32 bits that no arithmetic touches but neg and abs do (v_cndmask_b32).
struct raw32 { uint32_t bits; };
template <> inline constexpr uint64_t sign_bit<raw32> = 0x80000000u;
// Two f16 as a result of a lane: clamp acts on each.
struct half_pair { uint32_t bits; };
template <class T> constexpr bool has_output_modifiers = std::is_floating_point_v<T> || std::is_same_v<T, half> || std::is_same_v<T, half_pair>;

using u16 = uint16_t;
using i16 = int16_t;
using u32 = uint32_t;
using i32 = int32_t;
using u64 = uint64_t;
using i64 = int64_t;

template <class B> USBGPU_INLINE B modified(B v, B sign, bool abs, bool neg) {
  if (abs) v = static_cast<B>(v & ~sign);
  if (neg) v = static_cast<B>(v ^ sign);
  return v;
}
// These are written on lane vectors: from a scalar loop clang makes pieces that stall store forwarding.
USBGPU_INLINE U16 halves_of(U32 v, unsigned shift) { return convert<U16>(v >> shift); }
template <class V> USBGPU_INLINE V raw_lanes(Wave& w, const Inst* i, unsigned n) {
  if (is_vgpr(i->src[n])) return load_lanes<V>(w, i->src[n]);
  return V{} + scalar<element_t<V>>(w, i, i->src[n]);
}
template <class T> USBGPU_INLINE const uint16_t* stage16(Wave& w, const Inst* i, unsigned n, uint16_t* out) {
  U16 v = halves_of(raw_lanes<U32>(w, i, n), i->opsel >> n & 1 ? 16 : 0);
  if constexpr (sign_bit<T>) {
    if (i->abs >> n & 1) v &= 0x7FFF;
    if (i->neg >> n & 1) v ^= 0x8000;
  }
  __builtin_memcpy(out, &v, sizeof v);
  return out;
}
template <class T> USBGPU_INLINE const uint32_t* stage32(Wave& w, const Inst* i, unsigned n, uint32_t* out) {
  const bool abs = sign_bit<T> && (i->abs >> n & 1), neg = sign_bit<T> && (i->neg >> n & 1);
  const bool vector = is_vgpr(i->src[n]);
  if (vector && !(abs | neg)) return lanes_at(w, i->src[n]);
  U32 v = raw_lanes<U32>(w, i, n);
  if (abs) v &= 0x7FFFFFFFu;
  if (neg) v ^= 0x80000000u;
  __builtin_memcpy(out, &v, sizeof v);
  return out;
}
template <class T> USBGPU_INLINE const uint64_t* stage64(Wave& w, const Inst* i, unsigned n, uint64_t* out) {
  U64 v = raw_lanes<U64>(w, i, n);
  if constexpr (sign_bit<T>) {
    if (i->abs >> n & 1) v &= ~sign_bit<T>;
    if (i->neg >> n & 1) v ^= sign_bit<T>;
  }
  __builtin_memcpy(out, &v, sizeof v);
  return out;
}
// The values of source n in all lanes: in the register file where possible, else staged in `into`.
template <class T> USBGPU_INLINE const stored<T>* values(Wave& w, const Inst* i, unsigned n, stored<T>* into) {
  if constexpr (sizeof(T) == 2) return stage16<T>(w, i, n, into);
  else if constexpr (sizeof(T) == 8) return stage64<T>(w, i, n, into);
  else return stage32<T>(w, i, n, into);
}
template <> USBGPU_INLINE const uint32_t* values<lane_bit>(Wave& w, const Inst* i, unsigned n, uint32_t* into) {
  const U32 mask = lane_mask(scalar<uint32_t>(w, i, i->src[n]));
  __builtin_memcpy(into, &mask, sizeof mask);
  return into;
}
// The destination as a source (v_fmac): no modifiers but the half that opsel bit 3 selects.
template <class T> USBGPU_INLINE const stored<T>* accumulator(Wave& w, const Inst* i, stored<T>* into) {
  if constexpr (sizeof(T) == 4) {
    return lanes_at(w, i->dst);
  } else {
    static_assert(sizeof(T) == 2);
    const U16 v = halves_of(load_lanes<U32>(w, i->dst), i->opsel & 8 ? 16 : 0);
    __builtin_memcpy(into, &v, sizeof v);
    return into;
  }
}

// ---- Results -----------------------------------------------------------------------------------
// Output modifiers: omod, ignored where output denormals are enabled (hardware-tested) and in IEEE mode
// (LLVM, SIFoldOperands), then clamp to [0, 1]; NaN clamps to 0 with MODE.DX10_CLAMP.
template <class T> USBGPU_INLINE T output(T x, uint8_t omod, bool clamp, bool nan_to_zero) {
  if (omod) x = x * (omod == 1 ? T(2) : omod == 2 ? T(4) : T(0.5));
  if (clamp) {
    if (x != x) return nan_to_zero ? T(0) : x;
    x = x > T(0) ? x : T(0);
    x = x < T(1) ? x : T(1);
  }
  return x;
}
template <class T> [[gnu::noinline]] void finish(const Wave& w, const Inst* i, stored<T>* r) {
  const bool denormals = w.mode >> (sizeof(T) == 4 ? 5 : 7) & 1, ieee = w.mode >> 9 & 1;
  const uint8_t omod = denormals || ieee ? 0 : i->omod;
  const bool nan_to_zero = w.nan_clamps_to_zero;
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const T x = sem::as<T>(r[lane]);
    if constexpr (std::is_same_v<T, half_pair>) {
      const auto one = [&](uint16_t v) { return sem::f16(output(sem::f32(half{v}), 0, i->clamp, nan_to_zero)).bits; };
      r[lane] = sem::pair(one(sem::low16(r[lane])), one(sem::high16(r[lane])));
    } else if constexpr (sizeof(T) == 2) r[lane] = sem::f16(output(sem::f32(x), omod, i->clamp, nan_to_zero)).bits;
    else r[lane] = sem::as<stored<T>>(output(x, omod, i->clamp, nan_to_zero));
  }
}
USBGPU_INLINE U32 lanes_of(const uint32_t* r) {
  U32 v;
  __builtin_memcpy(&v, r, sizeof v);
  return v;
}
// Writes one half of each lane; the other half stays.
USBGPU_INLINE void store_halves(Wave& w, const Inst* i, const uint16_t* r) {
  U16 halves;
  __builtin_memcpy(&halves, r, sizeof halves);
  const U32 value = convert<U32>(halves), old = load_lanes<U32>(w, i->dst);
  store<U32>(w, i->dst, i->opsel & 8 ? (old & 0xFFFFu) | value << 16 : (old & 0xFFFF0000u) | value);
}
template <class T> USBGPU_INLINE void results(Wave& w, const Inst* i, stored<T>* r) {
  if constexpr (has_output_modifiers<T>) {
    if (__builtin_expect(i->clamp | i->omod, 0)) finish<T>(w, i, r);
  }
  if constexpr (sizeof(T) == 2) {
    store_halves(w, i, r);
  } else if constexpr (sizeof(T) == 4) {
    store<U32>(w, i->dst, lanes_of(r));
  } else {
    U64 wide;
    __builtin_memcpy(&wide, r, sizeof wide);
    store<U64>(w, i->dst, wide);
  }
}
template <class T> struct limits;
template <> struct limits<int32_t> { static constexpr int64_t low = INT32_MIN, high = INT32_MAX; };
template <> struct limits<uint32_t> { static constexpr int64_t low = 0, high = UINT32_MAX; };
template <> struct limits<int16_t> { static constexpr int64_t low = INT16_MIN, high = INT16_MAX; };
template <> struct limits<uint16_t> { static constexpr int64_t low = 0, high = UINT16_MAX; };
template <class T> USBGPU_INLINE void saturate(const Inst* i, const int64_t* r, stored<T>* narrow) {
  if (i->clamp) {
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      const int64_t v = r[lane];
      narrow[lane] = static_cast<stored<T>>(v < limits<T>::low ? limits<T>::low : v > limits<T>::high ? limits<T>::high : v);
    }
  } else {
    for (unsigned lane = 0; lane < kLanes; ++lane) narrow[lane] = static_cast<stored<T>>(r[lane]);
  }
}
template <class T> struct is_saturating : std::false_type { using type = T; };
template <class T> struct is_saturating<saturating<T>> : std::true_type { using type = T; };
USBGPU_INLINE uint32_t collect(const int32_t* condition) {
  I32 v;
  __builtin_memcpy(&v, condition, sizeof v);
  return mask_of(v);
}

// ---- Handlers ------------------------------------------------------------------------------------
template <class T> struct signature;
template <class C, class R, class... A> struct signature<R (C::*)(A...) const> {
  using result = R;
  static constexpr size_t arity = sizeof...(A);
  template <template <class, class...> class T> using apply = T<R, A...>;
};
template <auto f> using signature_of = signature<decltype(&decltype(f)::operator())>;

enum class Dest : uint8_t { write, accumulate, compare, jitter };

// Values of one argument; a tuple of these replaces std::tuple (whose inline functions are shared
// between ISA levels).
template <size_t n, class T> struct Argument {
  alignas(128) stored<T> staged[kLanes];
  const stored<T>* at;
  USBGPU_INLINE T operator[](unsigned lane) const { return __builtin_bit_cast(T, at[lane]); }
};
template <class Indices, class... A> struct ArgumentList;
template <size_t... n, class... A> struct ArgumentList<std::index_sequence<n...>, A...> : Argument<n, A>... {};
template <size_t n, class T> USBGPU_INLINE Argument<n, T>& argument(Argument<n, T>& a) { return a; }

template <auto f, Dest dest, class R, class... A> struct Lanewise {
  static const Inst* run(Wave& w, const Inst* i) { return with(w, i, std::index_sequence_for<A...>{}); }

  template <size_t... n> USBGPU_INLINE static const Inst* with(Wave& w, const Inst* i, std::index_sequence<n...>) {
    ArgumentList<std::index_sequence<n...>, A...> in;
    constexpr size_t last = sizeof...(A) - 1;
    ((read<n, dest == Dest::accumulate && n == last>(w, i, argument<n>(in))), ...);
    if constexpr (dest == Dest::compare) {
      alignas(128) int32_t condition[kLanes];
      for (unsigned lane = 0; lane < kLanes; ++lane) condition[lane] = f(argument<n>(in)[lane]...) ? -1 : 0;
      set_scalar<uint32_t>(w, i->dst, collect(condition) & exec_of(w));
    } else if constexpr (is_saturating<R>::value) {
      using T = typename is_saturating<R>::type;
      alignas(128) int64_t exact[kLanes];
      for (unsigned lane = 0; lane < kLanes; ++lane) exact[lane] = f(argument<n>(in)[lane]...).value;
      alignas(128) stored<T> r[kLanes];
      saturate<T>(i, exact, r);
      results<T>(w, i, r);
    } else {
      alignas(128) stored<R> r[kLanes];
      for (unsigned lane = 0; lane < kLanes; ++lane) r[lane] = sem::as<stored<R>>(f(argument<n>(in)[lane]...));
      if constexpr (dest == Dest::jitter) {
        if (__builtin_expect(w.jitter, 0)) perturb(r);
      }
      results<R>(w, i, r);
    }
    return i + 1;
  }
  template <size_t n, bool is_accumulator, class T> USBGPU_INLINE static void read(Wave& w, const Inst* i, Argument<n, T>& a) {
    if constexpr (is_accumulator) a.at = accumulator<T>(w, i, a.staged);
    else a.at = values<T>(w, i, n, a.staged);
  }
  // One unit in the last place away from zero, where the hardware may be off by one.
  template <class B> static void perturb(B* r) {
    constexpr B kInf = sizeof(B) == 2 ? B(0x7C00) : sizeof(B) == 4 ? B(0x7F800000u) : B(0x7FF0000000000000ull);
    for (unsigned lane = 0; lane < kLanes; ++lane)
      if ((r[lane] & kInf) != 0 && (r[lane] & kInf) != kInf) ++r[lane];
  }
};
template <auto f, Dest dest> struct bind_lanewise {
  template <class R, class... A> using type = Lanewise<f, dest, R, A...>;
};
template <auto f, Dest dest = Dest::write>
constexpr Handler lanewise = signature_of<f>::template apply<bind_lanewise<f, dest>::template type>::run;

template <auto f> Handler lane(const Shape&) { return lanewise<f>; }
template <auto f> Handler lane_accumulate(const Shape&) { return lanewise<f, Dest::accumulate>; }
template <auto f> Handler lane_compare(const Shape&) { return lanewise<f, Dest::compare>; }
template <auto f> Handler lane_approximate(const Shape&) { return lanewise<f, Dest::jitter>; }

// 32-bit lanes, no modifiers, operand kinds known: scalars stay in registers.
template <auto f, bool accumulate, class R, class... A> struct Direct {
  template <K... k> struct Kinds {
    static const Inst* run(Wave& w, const Inst* i) { return with(w, i, std::index_sequence_for<A...>{}); }
    template <size_t... n> USBGPU_INLINE static const Inst* with(Wave& w, const Inst* i, std::index_sequence<n...>) {
      return compute(w, i, operand<A, k>(w, i, offset<n>(i))...);
    }
    template <class... P> USBGPU_INLINE static const Inst* compute(Wave& w, const Inst* i, P... p) {
      alignas(128) uint32_t r[kLanes];
      for (unsigned lane = 0; lane < kLanes; ++lane) r[lane] = sem::as<uint32_t>(f(p[lane]...));
      store<U32>(w, i->dst, lanes_of(r));
      return i + 1;
    }
  };
  template <class T> struct Splat {
    T value;
    USBGPU_INLINE T operator[](unsigned) const { return value; }
  };
  template <class T> struct Lanes {
    const uint32_t* at;
    USBGPU_INLINE T operator[](unsigned lane) const { return __builtin_bit_cast(T, at[lane]); }
  };
  template <class T, K k> USBGPU_INLINE static auto operand(Wave& w, const Inst* i, uint32_t at) {
    if constexpr (k == K::V) return Lanes<T>{lanes_at(w, at)};
    else return Splat<T>{scalar<T>(w, i, at)};
  }
  template <size_t n> USBGPU_INLINE static uint32_t offset(const Inst* i) {
    return accumulate && n == sizeof...(A) - 1 ? i->dst : i->src[n];
  }
  static Handler select(unsigned scalars) {
    constexpr size_t sources = sizeof...(A) - (accumulate ? 1 : 0);
    constexpr K V = K::V, S = K::S;
    if constexpr (sizeof...(A) == 1) {
      static constexpr Handler table[] = {Kinds<V>::run, Kinds<S>::run};
      return table[scalars & 1];
    } else if constexpr (sources == 2 && accumulate) {
      static constexpr Handler table[] = {Kinds<V, V, V>::run, Kinds<S, V, V>::run, Kinds<V, S, V>::run, Kinds<S, S, V>::run};
      return table[scalars & 3];
    } else if constexpr (sources == 2) {
      static constexpr Handler table[] = {Kinds<V, V>::run, Kinds<S, V>::run, Kinds<V, S>::run, Kinds<S, S>::run};
      return table[scalars & 3];
    } else {
      static constexpr Handler table[] = {Kinds<V, V, V>::run, Kinds<S, V, V>::run, Kinds<V, S, V>::run, Kinds<S, S, V>::run,
                                          Kinds<V, V, S>::run, Kinds<S, V, S>::run, Kinds<V, S, S>::run, Kinds<S, S, S>::run};
      return table[scalars & 7];
    }
  }
};
template <auto f, bool accumulate> struct bind_direct {
  template <class R, class... A> using type = Direct<f, accumulate, R, A...>;
};
template <auto f> Handler fast(const Shape& s) {
  if (!unmodified(s)) return lanewise<f>;
  return signature_of<f>::template apply<bind_direct<f, false>::template type>::select(s.scalars);
}
template <auto f> Handler fast_accumulate(const Shape& s) {
  if (!unmodified(s)) return lanewise<f, Dest::accumulate>;
  return signature_of<f>::template apply<bind_direct<f, true>::template type>::select(s.scalars);
}

// Minimum and maximum of RDNA3 know about signalling NaNs when MODE.IEEE is set.
template <Select plain, Select ieee> Handler by_ieee(const Shape& s) { return s.ieee ? ieee(s) : plain(s); }

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
