// Modelled time of a launch: a roofline. docs/emulator-isa.md, 'Modelled time', has the formulas.
#include <algorithm>
#include <cmath>

#include "emulator/isa/counters.h"

namespace usbgpu::emulator {

const ChipRates* rates_of(std::string_view chip) {
  for (unsigned n = 0; n < chip_rate_count; ++n)
    if (chip == chip_rates[n].chip) return &chip_rates[n];
  return nullptr;
}

double LaunchModel::seconds() const { return std::max({issue, lds, l0, vram}); }

LaunchModel model_launch(const ChipRates& r, const LaunchShape& s, const DispatchCounters& c) {
  LaunchModel m{};
  if (c.waves == 0 || s.waves_per_group == 0) return m;
  const unsigned passes = s.wave_size / 32;
  // Occupancy. A workgroup lives in a WGP (two compute units) or, in CU mode, in one of them.
  const unsigned cus = s.wgp_mode ? 2 : 1, simds = cus * r.simds_per_cu;
  const unsigned granule = r.vgpr_granule / passes, encoding = r.vgpr_encoding_granule / passes, file = r.vgprs_per_simd / passes;
  const unsigned vgprs = ((s.vgpr_blocks + 1) * encoding + granule - 1) / granule * granule;
  const unsigned by_vgpr = std::min(r.max_waves_per_simd, std::max(1u, file / vgprs));
  unsigned groups = std::max(1u, by_vgpr * simds / s.waves_per_group);
  if (s.lds_bytes) groups = std::min(groups, std::max(1u, r.lds_bytes_per_wgp / 2 * cus / s.lds_bytes));
  groups = std::min(groups, r.max_workgroups);
  m.waves_per_simd = std::min(double(r.max_waves_per_simd), double(groups) * s.waves_per_group / simds);

  // Units that have work.
  const double cus_used = std::min<double>(r.compute_units, double(c.workgroups) * cus);
  const double simds_used = std::min<double>(cus_used * r.simds_per_cu, double(c.waves));
  const double resident = std::min(std::max(1.0, m.waves_per_simd), std::ceil(double(c.waves) / simds_used));

  // Issue: each SIMD feeds one vector and one scalar unit; a wave issues one instruction at a time.
  const double vector = passes * (r.valu_cycles * double(c.valu - c.valu_f64) + r.f64_cycles * double(c.valu_f64) + r.vopd_cycles * double(c.vopd) +
                                  r.trans_cycles * double(c.trans)) + r.wmma_cycles * double(c.wmma);
  const double scalar = double(c.salu);
  const double rest = double(c.vmem_load + c.vmem_store + c.smem + c.lds + c.branch + c.other);
  const double cycle = 1 / (r.clock_mhz * 1e6);
  m.issue = cycle * std::max({vector, scalar, (vector + scalar + rest) / resident}) / simds_used;

  const double bytes = double(c.bytes_loaded + c.bytes_stored);
  const double lds_cycles = c.detailed ? double(c.lds_cycles) : double(passes * c.lds_passes);
  m.lds = cycle * lds_cycles * (128 / r.lds_bytes_per_cycle) / cus_used;
  m.l0 = cycle * (c.detailed ? 64 * double(c.segments_64) : bytes) / r.l0_bytes_per_cycle / cus_used;
  m.vram = (c.detailed ? r.line_bytes * double(c.lines_touched) : bytes) / r.vram_bytes_per_second;
  return m;
}

void LaunchStatistics::add(const DispatchResult& result, const ChipRates* rates) {
  ++launches;
  counters += result.counters;
  if (!rates) return;
  const LaunchModel m = model_launch(*rates, result.shape, result.counters);
  seconds += m.seconds();
  model = {m.waves_per_simd, model.issue + m.issue, model.lds + m.lds, model.l0 + m.l0, model.vram + m.vram};
}

}  // namespace usbgpu::emulator
