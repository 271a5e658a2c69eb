// Fault switches: states and moments that a driver must survive, provoked on purpose.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace usbgpu::emulator {

struct Faults {
  uint64_t unplug_after = UINT64_MAX;        // transfers
  std::map<std::string, uint64_t> timeouts;  // request ("F2") or endpoint ("bulk-in") -> how many transfers it hits
  std::map<std::string, uint64_t> stalls;
  uint64_t short_bulk = 0;                   // bulk INs that end after their first packet
  bool no_link = false, no_card = false, no_release = false;
  unsigned crs = 0;                          // config reads answered "retry" after each reset of the GPU
  unsigned tlp_error_every = 0;

  static constexpr const char* names =
      "unplug-after:N timeout:WHAT[:N] stall:WHAT[:N] short-bulk[:N] no-link no-card no-release crs:N tlp-error:N "
      "(WHAT = E4 E5 F0 F2 F3 bulk-in bulk-out)";

  static Faults parse(const std::vector<std::string>& switches) {
    Faults faults;
    for (const std::string& text : switches) {
      std::vector<std::string> parts;
      for (size_t at = 0; at <= text.size();) {
        const size_t end = std::min(text.find(':', at), text.size());
        parts.push_back(text.substr(at, end - at));
        at = end + 1;
      }
      const auto number = [&](size_t index, uint64_t otherwise) -> uint64_t {
        if (index >= parts.size()) {
          if (otherwise == required)
            throw std::invalid_argument("fault '" + text + "' needs a number; known: " + names);
          return otherwise;
        }
        try {
          return std::stoull(parts[index]);
        } catch (const std::exception&) {
          throw std::invalid_argument("fault '" + text + "': '" + parts[index] + "' is no number");
        }
      };
      const std::string& kind = parts[0];
      if (kind == "unplug-after") faults.unplug_after = number(1, required);
      else if ((kind == "timeout" || kind == "stall") && parts.size() >= 2 && known(parts[1]))
        (kind == "timeout" ? faults.timeouts : faults.stalls)[parts[1]] = number(2, UINT64_MAX - 1);
      else if (kind == "short-bulk") faults.short_bulk = number(1, UINT64_MAX - 1);
      else if (kind == "no-link") faults.no_link = true;
      else if (kind == "no-card") faults.no_card = true;
      else if (kind == "no-release") faults.no_release = true;
      else if (kind == "crs") faults.crs = static_cast<unsigned>(number(1, required));
      else if (kind == "tlp-error") faults.tlp_error_every = static_cast<unsigned>(number(1, required));
      else throw std::invalid_argument("unknown fault '" + text + "'; known: " + names);
    }
    return faults;
  }

  // Does this transfer fall to the switch? Uses up one of its hits.
  static bool hits(std::map<std::string, uint64_t>& table, const std::string& what) {
    const auto found = table.find(what);
    if (found == table.end() || found->second == 0) return false;
    --found->second;
    return true;
  }

 private:
  static constexpr uint64_t required = UINT64_MAX;
  static bool known(const std::string& what) {
    for (const char* name : {"E4", "E5", "F0", "F2", "F3", "bulk-in", "bulk-out"})
      if (what == name) return true;
    return false;
  }
};

}  // namespace usbgpu::emulator
