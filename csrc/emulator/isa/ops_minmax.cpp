// Minimum, maximum and what is built of them, on floats. Two rules for NaN:
//   v_min_num_f32 (gfx12), v_min_f32 (gfx11, MODE.IEEE = 0)   the number wins
//   v_min_f32 (gfx11, MODE.IEEE = 1)                          the same, but a signalling NaN gives a quiet NaN
// -0 is below +0. Sources: RDNA3 and RDNA4 ISA, pseudo-code of V_MIN_F32 and V_MIN_NUM_F32. The gfx12 names with
// _num are aliases (aliases.h) of the rows here; v_minimum and v_maximum are in ops_valu_gfx12.cpp.
#include "emulator/isa/valu.h"
#include "emulator/isa/valu_hot.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

// How the composed operations are made of a minimum and a maximum (v_min3_f32 = min(min(a, b), c) ...).
template <auto min, auto max, class T> struct Composed {
  static constexpr auto min3 = [](T a, T b, T c) { return min(min(a, b), c); };
  static constexpr auto max3 = [](T a, T b, T c) { return max(max(a, b), c); };
  static constexpr auto minmax = [](T a, T b, T c) { return max(min(a, b), c); };
  static constexpr auto maxmin = [](T a, T b, T c) { return min(max(a, b), c); };
  static constexpr auto med3 = [](T a, T b, T c) {  // with a NaN: the minimum of the three
    const bool nan = sem::is_nan(a) | sem::is_nan(b) | sem::is_nan(c);
    return nan ? min(min(a, b), c) : sem::med3(a, b, c);
  };
};
template <class T> constexpr auto num_min = [](T a, T b) { return sem::min(a, b); };
template <class T> constexpr auto num_max = [](T a, T b) { return sem::max(a, b); };
template <class T> constexpr auto ieee_min = [](T a, T b) { return sem::min_ieee(a, b); };
template <class T> constexpr auto ieee_max = [](T a, T b) { return sem::max_ieee(a, b); };
template <class T> using Num = Composed<num_min<T>, num_max<T>, T>;
template <class T> using Ieee = Composed<ieee_min<T>, ieee_max<T>, T>;

#define COMPOSED(TYPE, T)                                                             \
  {"v_min3_" TYPE, by_ieee<lane<Num<T>::min3>, lane<Ieee<T>::min3>>, own_all},         \
  {"v_max3_" TYPE, by_ieee<lane<Num<T>::max3>, lane<Ieee<T>::max3>>, own_all},         \
  {"v_med3_" TYPE, by_ieee<lane<Num<T>::med3>, lane<Ieee<T>::med3>>, own_all},         \
  {"v_minmax_" TYPE, by_ieee<lane<Num<T>::minmax>, lane<Ieee<T>::minmax>>, own_all},   \
  {"v_maxmin_" TYPE, by_ieee<lane<Num<T>::maxmin>, lane<Ieee<T>::maxmin>>, own_all},
#define PAIR(TYPE, T)                                                                 \
  {"v_min_" TYPE, by_ieee<lane<num_min<T>>, lane<ieee_min<T>>>, own_all},              \
  {"v_max_" TYPE, by_ieee<lane<num_max<T>>, lane<ieee_max<T>>>, own_all},

constexpr HandlerRow rows[] = {
    {"v_min_f32", by_ieee<hot::binary<hot::Min<false>, num_min<float>>, hot::binary<hot::Min<true>, ieee_min<float>>>, own_all},
    {"v_max_f32", by_ieee<hot::binary<hot::Max<false>, num_max<float>>, hot::binary<hot::Max<true>, ieee_max<float>>>, own_all},
    PAIR("f16", half) PAIR("f64", double) COMPOSED("f16", half) COMPOSED("f32", float)
};

}  // namespace

const HandlerGroup group_minmax{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
