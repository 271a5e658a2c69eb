// Counters as Python dictionaries, for the bindings of isa/ and adapter/.
#pragma once

#include <pybind11/pybind11.h>

#include "emulator/isa/counters.h"

namespace usbgpu::emulator {

inline pybind11::dict counters_of(const DispatchCounters& c) {
  pybind11::dict out;
  const auto put = [&](const char* name, uint64_t DispatchCounters::*member) { out[name] = c.*member; };
  for_each_counter(put);
  if (c.detailed) for_each_detailed_counter(put);
  return out;
}

inline void put_model(pybind11::dict& out, const LaunchModel& m, double seconds) {
  out["waves_per_simd"] = m.waves_per_simd;
  out["issue_seconds"] = m.issue, out["lds_seconds"] = m.lds, out["l0_seconds"] = m.l0, out["vram_seconds"] = m.vram;
  out["modelled_seconds"] = seconds;
}

inline pybind11::dict figures(const LaunchStatistics& s) {
  pybind11::dict out = counters_of(s.counters);
  out["launches"] = s.launches;
  put_model(out, s.model, s.seconds);
  return out;
}

}  // namespace usbgpu::emulator
