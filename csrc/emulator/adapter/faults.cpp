#include "emulator/adapter/faults.h"

#include <algorithm>
#include <stdexcept>
#include <string_view>

namespace usbgpu::emulator {

namespace {

constexpr const char* transfers[] = {"E4", "E5", "F0", "F2", "F3", "bulk-in", "bulk-out"};
constexpr std::pair<std::string_view, Cure> cures[] = {
    {"never", Cure::never}, {"power", Cure::power}, {"reset", Cure::reset}, {"engine", Cure::engine}, {"queue", Cure::queue}};

[[noreturn]] void refuse(const std::string& text, const std::string& why) {
  throw std::invalid_argument("fault '" + text + "': " + why + "; known: " + Faults::names);
}

uint64_t number(const std::string& text, std::string_view digits, int base = 10) {
  const std::string word(digits);
  try {
    size_t used = 0;
    const uint64_t value = std::stoull(word, &used, base);
    if (used == word.size() && word[0] != '-') return value;
  } catch (const std::exception&) {
  }
  refuse(text, "'" + word + "' is no number");
}

// A switch, taken apart.
struct Switch {
  std::string text;
  std::vector<std::string> words;  // what is neither `after` nor `until`
  std::optional<uint64_t> after;
  std::optional<Cure> until;

  explicit Switch(const std::string& given) : text(given) {
    for (size_t at = 0; at <= text.size();) {
      const size_t end = std::min(text.find(':', at), text.size());
      const std::string part = text.substr(at, end - at);
      at = end + 1;
      if (part.starts_with("after=")) after = number(text, std::string_view(part).substr(6));
      else if (part.starts_with("until=")) until = cure(part.substr(6));
      else words.push_back(part);
    }
  }

  Cure cure(const std::string& name) const {
    for (const auto& [word, value] : cures)
      if (name == word) return value;
    refuse(text, "'" + name + "' cures nothing");
  }
  void at_most(size_t count) const {
    if (words.size() > count) refuse(text, "too many parts");
  }
  uint64_t count(size_t index, std::optional<uint64_t> otherwise) const {
    at_most(index + 1);
    if (index < words.size()) return number(text, words[index]);
    if (!otherwise) refuse(text, "a number is missing");
    return *otherwise;
  }
  void no_options() const {
    if (after || until) refuse(text, "neither after= nor until= here");
  }
  Trigger trigger(size_t index) const {
    if (until) refuse(text, "no until= here");
    return {after.value_or(0), count(index, Trigger::for_ever)};
  }
  Hang hang() const {
    at_most(1);
    return {after.value_or(0), until.value_or(Cure::never)};
  }
};

std::array<uint8_t, 3> version(const std::string& text, const std::string& word) {
  std::array<uint8_t, 3> parts{};
  size_t at = 0;
  for (size_t i = 0; i < 3; i++) {
    const size_t end = i < 2 ? word.find('.', at) : word.size();
    if (end == std::string::npos) refuse(text, "'" + word + "' is no version like 10.3.0");
    parts[i] = static_cast<uint8_t>(number(text, word.substr(at, end - at)));
    at = end + 1;
  }
  return parts;
}

}  // namespace

const char* const Faults::names =
    "unplug-after:N unplug[:after=N] link-down[:after=N] adapter-hang[:after=N] no-link no-card ur[:N][:after=N] lost-landing[:N][:after=N] "
    "short-bulk[:N][:after=N] timeout:WHAT[:N][:after=N] stall:WHAT[:N][:after=N] no-release crs:N tlp-error:N "
    "slow:N "
    "psp-silent smu-silent queue-hang sdma-hang (each [:after=N][:until=CURE]) wrong-result card:VENDOR:DEVICE[:GC] "
    "(WHAT = E4 E5 F0 F2 F3 bulk-in bulk-out; CURE = power reset engine queue never; GC = 10.3.0)";

Faults Faults::parse(const std::vector<std::string>& switches) {
  Faults faults;
  faults.add(switches);
  return faults;
}

void Faults::add(const std::vector<std::string>& switches) {
  for (const std::string& text : switches) {
    const Switch s(text);
    const std::string& kind = s.words.empty() ? text : s.words[0];
    if (kind == "timeout" || kind == "stall") {
      if (s.words.size() < 2 || std::find(std::begin(transfers), std::end(transfers), s.words[1]) == std::end(transfers))
        refuse(text, "of which transfer?");
      (kind == "timeout" ? timeouts : stalls)[s.words[1]] = s.trigger(2);
    } else if (kind == "unplug-after") {
      s.no_options();
      unplug = {s.count(1, {}), 1};
    } else if (kind == "unplug" || kind == "link-down" || kind == "adapter-hang") {
      s.at_most(1);
      Trigger once = s.trigger(1);
      once.times = 1;
      (kind == "unplug" ? unplug : kind == "link-down" ? link_down : adapter_hang) = once;
    } else if (kind == "ur") {
      unsupported = s.trigger(1);
    } else if (kind == "lost-landing") {
      lost_landing = s.trigger(1);
    } else if (kind == "short-bulk") {
      short_bulk = s.trigger(1);
    } else if (kind == "no-link" || kind == "no-card" || kind == "no-release" || kind == "wrong-result") {
      s.no_options();
      s.at_most(1);
      if (kind == "wrong-result") gpu.wrong_results = true;
      else (kind == "no-link" ? no_link : kind == "no-card" ? no_card : no_release) = true;
    } else if (kind == "slow") {
      s.no_options();
      slow = static_cast<unsigned>(std::clamp<uint64_t>(s.count(1, {}), 1, 1'000'000));
    } else if (kind == "crs" || kind == "tlp-error") {
      s.no_options();
      (kind == "crs" ? crs : tlp_error_every) = static_cast<unsigned>(s.count(1, {}));
    } else if (kind == "psp-silent") {
      gpu.psp = s.hang();
    } else if (kind == "smu-silent") {
      gpu.smu = s.hang();
    } else if (kind == "queue-hang") {
      gpu.mec = s.hang();
    } else if (kind == "sdma-hang") {
      gpu.sdma = s.hang();
    } else if (kind == "card") {
      s.no_options();
      s.at_most(4);
      if (s.words.size() < 3) refuse(text, "vendor and device are missing");
      card = {static_cast<uint16_t>(number(text, s.words[1], 16)), static_cast<uint16_t>(number(text, s.words[2], 16))};
      if (s.words.size() == 4) gpu.gc_version = version(text, s.words[3]);
    } else {
      throw std::invalid_argument("unknown fault '" + text + "'; known: " + names);
    }
  }
}

}  // namespace usbgpu::emulator
