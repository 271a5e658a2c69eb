// v_cmp and v_cmpx. Both encodings write the whole mask, 0 in inactive lanes; v_cmpx has EXEC as
// its destination and nothing else.
#include "emulator/isa/valu.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

using sem::f32;
template <class T> USBGPU_INLINE T value(T v) { return v; }
USBGPU_INLINE float value(half v) { return sem::f32(v); }

// 32-bit lanes without modifiers compare as vectors and need no staging.
template <class T> struct vector_of { using type = void; };
template <> struct vector_of<float> { using type = F32; };
template <> struct vector_of<int32_t> { using type = I32; };
template <> struct vector_of<uint32_t> { using type = U32; };
template <class T, class Op, auto scalar_form> Handler select_cmp(const Shape& s) {
  if constexpr (sizeof(T) == 4) {
    if (unmodified(s)) return select_compare<Op, typename vector_of<T>::type>(s);
  }
  return lanewise<scalar_form, Dest::compare>;
}

// name, condition; both on values a and b
#define USBGPU_CONDITION(NAME, CONDITION)                                                        \
  struct NAME {                                                                                  \
    template <class V> USBGPU_INLINE static I32 apply(V a, V b) { return bits<I32>(CONDITION); } \
  };
USBGPU_CONDITION(Lt, a < b) USBGPU_CONDITION(Eq, a == b) USBGPU_CONDITION(Le, a <= b) USBGPU_CONDITION(Gt, a > b)
USBGPU_CONDITION(Ne, a != b) USBGPU_CONDITION(Ge, a >= b)
USBGPU_CONDITION(Lg, (a < b) | (a > b)) USBGPU_CONDITION(O, (a == a) & (b == b)) USBGPU_CONDITION(Un, (a != a) | (b != b))
USBGPU_CONDITION(Nge, ~(a >= b)) USBGPU_CONDITION(Nlg, ~((a < b) | (a > b))) USBGPU_CONDITION(Ngt, ~(a > b))
USBGPU_CONDITION(Nle, ~(a <= b)) USBGPU_CONDITION(Nlt, ~(a < b))
struct Never { template <class V> USBGPU_INLINE static I32 apply(V, V) { return I32{}; } };
struct Always { template <class V> USBGPU_INLINE static I32 apply(V, V) { return I32{} - 1; } };
#undef USBGPU_CONDITION

#define ROW(COND, TYPE, T, OP, CONDITION)                                                                                       \
  {"v_cmp_" COND "_" TYPE, select_cmp<T, OP, [](T x, T y) { [[maybe_unused]] const auto a = value(x), b = value(y); return CONDITION; }>, own_all}, \
  {"v_cmpx_" COND "_" TYPE, select_cmp<T, OP, [](T x, T y) { [[maybe_unused]] const auto a = value(x), b = value(y); return CONDITION; }>, own_all},
#define COMMON(TYPE, T)                                                                                       \
  ROW("f", TYPE, T, Never, false) ROW("lt", TYPE, T, Lt, a < b) ROW("eq", TYPE, T, Eq, a == b)                 \
  ROW("le", TYPE, T, Le, a <= b) ROW("gt", TYPE, T, Gt, a > b) ROW("ge", TYPE, T, Ge, a >= b) ROW("t", TYPE, T, Always, true)
#define FLOATS(TYPE, T)                                                                                       \
  COMMON(TYPE, T) ROW("lg", TYPE, T, Lg, a < b || a > b) ROW("o", TYPE, T, O, a == a && b == b)                \
  ROW("u", TYPE, T, Un, a != a || b != b) ROW("nge", TYPE, T, Nge, !(a >= b)) ROW("nlg", TYPE, T, Nlg, !(a < b || a > b)) \
  ROW("ngt", TYPE, T, Ngt, !(a > b)) ROW("nle", TYPE, T, Nle, !(a <= b)) ROW("neq", TYPE, T, Ne, !(a == b)) ROW("nlt", TYPE, T, Nlt, !(a < b))
#define INTEGERS(TYPE, T) COMMON(TYPE, T) ROW("ne", TYPE, T, Ne, a != b)
#define CLASS(TYPE, T, M)                                                                            \
  {"v_cmp_class_" TYPE, lane_compare<[](T a, M m) { return sem::cmp_class(a, m); }>, own_all},         \
  {"v_cmpx_class_" TYPE, lane_compare<[](T a, M m) { return sem::cmp_class(a, m); }>, own_all},

constexpr HandlerRow rows[] = {
    FLOATS("f16", half) FLOATS("f32", float) FLOATS("f64", double)
    INTEGERS("i16", int16_t) INTEGERS("u16", uint16_t) INTEGERS("i32", int32_t) INTEGERS("u32", uint32_t)
    INTEGERS("i64", int64_t) INTEGERS("u64", uint64_t)
    CLASS("f16", half, uint16_t) CLASS("f32", float, uint32_t) CLASS("f64", double, uint32_t)
};

}  // namespace

const HandlerGroup group_compare{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
