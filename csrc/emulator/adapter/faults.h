// Fault switches: states and moments that a driver must survive, provoked on purpose.
//
// A switch is a word with parts behind colons: KIND[:PART ...][:N][:after=N][:until=CURE]. The first number tells how
// often it strikes, `after` how many events of its kind pass first, `until` what ends it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "emulator/ip/hang.h"
#include "emulator/pcie/ports.h"

namespace usbgpu::emulator {

// Strikes events: none of the first `after`, then `times`.
struct Trigger {
  static constexpr uint64_t for_ever = UINT64_MAX;
  uint64_t after = 0, times = 0;

  bool armed() const { return times != 0; }
  bool due() const { return times != 0 && after == 0; }
  bool strikes() {
    if (!times) return false;
    if (after) return --after, false;
    if (times != for_ever) --times;
    return true;
  }
};

struct Faults {
  Trigger unplug;                            // transfers
  Trigger link_down;                         // transfers
  Trigger adapter_hang;                      // transfers
  Trigger unsupported;                       // memory TLPs; ends with the card's power
  Trigger lost_landing;                      // armed SRAM writes
  Trigger short_bulk;                        // bulk INs that end after their first packet
  std::map<std::string, Trigger> timeouts;   // by request ("F2") or endpoint ("bulk-in")
  std::map<std::string, Trigger> stalls;
  bool no_link = false, no_card = false, no_release = false;
  unsigned crs = 0;                          // config reads answered "retry" after each reset of the GPU
  unsigned tlp_error_every = 0;
  unsigned slow = 1;                         // SRAM transfers take that many times as long
  std::optional<CardId> card;
  GpuFaults gpu;

  static const char* const names;

  // Throws std::invalid_argument, which names the known ones.
  static Faults parse(const std::vector<std::string>& switches);
  // Further switches; of one kind the newer one counts.
  void add(const std::vector<std::string>& switches);

  // Does this transfer fall to the switch?
  static bool hits(std::map<std::string, Trigger>& table, const std::string& what) {
    const auto found = table.find(what);
    return found != table.end() && found->second.strikes();
  }
};

}  // namespace usbgpu::emulator
