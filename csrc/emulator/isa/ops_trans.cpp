// Transcendental operations in f32 and the steps of division.
#include "emulator/isa/semantics_trans.h"
#include "emulator/isa/valu.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

// v_div_scale: vdst = scaled src0, dst2 = which lanes v_div_fmas has to scale back.
template <class F> const Inst* div_scale(Wave& w, const Inst* i) {
  alignas(128) stored<F> staged[3][kLanes], r[kLanes];
  const stored<F>* value = values<F>(w, i, 0, staged[0]);
  const stored<F>* denominator = values<F>(w, i, 1, staged[1]);
  const stored<F>* numerator = values<F>(w, i, 2, staged[2]);
  // mostly nothing needs scaling: one look at the exponents of all lanes
  uint32_t special = 0;
  for (unsigned lane = 0; lane < kLanes; ++lane)
    special |= sem::may_scale(sem::as<F>(denominator[lane]), sem::as<F>(numerator[lane])) ? 1u : 0u;
  if (!special) {
    __builtin_memcpy(r, value, sizeof r);
    results<F>(w, i, r);
    set_scalar<uint32_t>(w, i->dst2, 0);
    return i + 1;
  }
  uint32_t mask = 0;
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const sem::DivScale<F> scaled = sem::div_scale(sem::as<F>(value[lane]), sem::as<F>(denominator[lane]), sem::as<F>(numerator[lane]));
    r[lane] = sem::as<stored<F>>(scaled.value);
    mask |= static_cast<uint32_t>(scaled.vcc) << lane;
  }
  results<F>(w, i, r);
  set_scalar<uint32_t>(w, i->dst2, mask & exec_of(w));
  return i + 1;
}
// v_div_fmas reads VCC without naming it: src3.
template <class F> const Inst* div_fmas(Wave& w, const Inst* i) {
  alignas(128) stored<F> staged[3][kLanes], r[kLanes];
  const stored<F>*a = values<F>(w, i, 0, staged[0]), *b = values<F>(w, i, 1, staged[1]), *c = values<F>(w, i, 2, staged[2]);
  const uint32_t vcc = scalar<uint32_t>(w, i, i->src3);
  for (unsigned lane = 0; lane < kLanes; ++lane)
    r[lane] = sem::as<stored<F>>(sem::canon(sem::fma(sem::as<F>(a[lane]), sem::as<F>(b[lane]), sem::as<F>(c[lane]))));
  if (vcc)
    for (unsigned lane = 0; lane < kLanes; ++lane)
      if (vcc >> lane & 1) r[lane] = sem::as<stored<F>>(sem::div_fmas(sem::as<F>(a[lane]), sem::as<F>(b[lane]), sem::as<F>(c[lane]), true));
  results<F>(w, i, r);
  return i + 1;
}

// Rounded to nearest; in the jitter mode to the other neighbour of the exact value, which is still
// within the one ulp that the hardware claims (integer division is built on that bound).
template <auto f, auto exact_value> const Inst* approximate(Wave& w, const Inst* i) {
  if (__builtin_expect(!w.jitter, 1)) return lanewise<f>(w, i);
  alignas(128) uint32_t staged[kLanes], r[kLanes];
  const uint32_t* in = values<float>(w, i, 0, staged);
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const float x = sem::as<float>(in[lane]), nearest = f(x);
    const double exact = exact_value(sem::flush(x));
    uint32_t b = sem::as<uint32_t>(nearest);
    const bool regular = (b & 0x7F800000u) != 0 && (b & 0x7F800000u) != 0x7F800000u;
    if (regular && exact == exact && exact != nearest) b += sem::abs(exact) > sem::abs(static_cast<double>(nearest)) ? 1u : ~0u;
    r[lane] = b;
  }
  results<float>(w, i, r);
  return i + 1;
}

constexpr HandlerRow rows[] = {
    {"v_exp_f32", always<approximate<[](float a) { return sem::exp_f32(a); }, [](float a) { return sem::exp_exact(a); }>>, own_all},
    {"v_log_f32", always<approximate<[](float a) { return sem::log_f32(a); }, [](float a) { return sem::log_exact(a); }>>, own_all},
    {"v_rcp_f32", always<approximate<[](float a) { return sem::rcp_f32(a); }, [](float a) { return sem::rcp_exact(a); }>>, own_all},
    {"v_rcp_iflag_f32", always<approximate<[](float a) { return sem::rcp_f32(a); }, [](float a) { return sem::rcp_exact(a); }>>, own_all},
    {"v_rsq_f32", always<approximate<[](float a) { return sem::rsq_f32(a); }, [](float a) { return sem::rsq_exact(a); }>>, own_all},
    {"v_sqrt_f32", always<approximate<[](float a) { return sem::sqrt_f32(a); }, [](float a) { return sem::sqrt_exact(a); }>>, own_all},
    {"v_sin_f32", always<approximate<[](float a) { return sem::sin_f32(a); }, [](float a) { return sem::sin_exact(a); }>>, own_all},
    {"v_cos_f32", always<approximate<[](float a) { return sem::cos_f32(a); }, [](float a) { return sem::cos_exact(a); }>>, own_all},
    {"v_div_scale_f32", always<div_scale<float>>, own_all},
    {"v_div_scale_f64", always<div_scale<double>>, own_all},
    {"v_div_fmas_f32", always<div_fmas<float>>, own_all},
    {"v_div_fmas_f64", always<div_fmas<double>>, own_all},
    {"v_div_fixup_f32", lane<[](float q, float d, float n) { return sem::div_fixup(q, d, n); }>, own_all},
    {"v_div_fixup_f64", lane<[](double q, double d, double n) { return sem::div_fixup(q, d, n); }>, own_all},
};

}  // namespace

const HandlerGroup group_trans{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
