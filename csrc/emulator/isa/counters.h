// What a dispatch did and how long hardware would take for it at least. docs/emulator-isa.md, 'Counters'.
//
// Instructions per class, active lanes and bytes are added up by block heads and ".lanes" micro-ops
// (program.cpp) and cost next to nothing. Memory segments, LDS bank conflicts and the memory touched
// need every lane's address: an ".access" micro-op before each access, only in counting programs.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <string_view>
#include <unordered_map>

#include "emulator/isa/dispatch.h"

namespace usbgpu::emulator {

// Peak rates of a chip; a row of the generated table (asic/rates.json says where each is from).
// Cycles are of one SIMD for one instruction of a wave32.
struct ChipRates {
  const char* chip;
  double clock_mhz, vram_bytes_per_second;
  uint32_t compute_units, simds_per_cu, max_waves_per_simd, vgprs_per_simd, vgpr_granule, vgpr_encoding_granule, lds_bytes_per_wgp, max_workgroups;
  double valu_cycles, vopd_cycles, trans_cycles, f64_cycles, wmma_cycles, lds_bytes_per_cycle, l0_bytes_per_cycle, line_bytes;
};
extern const ChipRates chip_rates[];
extern const unsigned chip_rate_count;
const ChipRates* rates_of(std::string_view chip);  // nullptr: not a chip of ours

// A lower bound for the time of a launch: what its busiest unit needs. Seconds.
struct LaunchModel {
  double waves_per_simd;  // occupancy: as many as registers, LDS and wave slots allow
  double issue, lds, l0, vram;
  double seconds() const;
};LaunchModel model_launch(const ChipRates& rates, const LaunchShape& shape, const DispatchCounters& counters);

// Sums over the launches of one kernel.
struct LaunchStatistics {
  uint64_t launches = 0;
  DispatchCounters counters;
  double seconds = 0;         // sum of each launch's seconds()
  LaunchModel model{};        // times summed, occupancy of the latest launch
  void add(const DispatchResult& result, const ChipRates* rates);
};

namespace isa {

struct Decoded;
struct Inst;
struct Wave;

// Bytes that one instruction moves per lane (scalar loads: per wave), and the LDS passes it takes
// without conflicts in a wave32.
struct Transfer {
  uint32_t loaded = 0, stored = 0, scalar_dwords = 0, lds_passes = 0;
};
Transfer transfer_of(const Decoded& instruction);

// Memory touched, as 128-byte lines.
class Footprint {
 public:
  void touch(uint64_t line);
  void add(const Footprint& other);
  uint64_t lines() const;
  void clear() { pages_.clear(); }

 private:
  static constexpr unsigned kLinesPerPage = 16384;  // 2 MiB
  std::unordered_map<uint64_t, std::bitset<kLinesPerPage>> pages_;
};

struct AccessCounters {
  std::array<uint64_t, 3> segments{};  // of 32, 64 and 128 bytes
  uint64_t lds_cycles = 0, lds_conflicts = 0;
  Footprint footprint;
};

// Fills the ".access" micro-op that goes before `instruction`; false: nothing to count.
bool access_counter(const Decoded& instruction, Inst& micro);
void count_access(Wave& wave, const Inst* micro);

}  // namespace isa
}  // namespace usbgpu::emulator
