#include "emulator/ip/power_model.h"

#include <algorithm>
#include <cmath>

namespace usbgpu::emulator {

namespace {
constexpr double ticks_per_second = 1e8;
constexpr double average_seconds = 0.1, thermal_seconds = 8;
constexpr double cool_celsius = 42, rise_celsius = 40;  // at no power; at the usual limit
double share(double seconds, double constant) { return 1 - std::exp(-seconds / constant); }
}  // namespace

void PowerModel::power_on(uint64_t now, uint64_t busy) {
  *this = PowerModel();
  last_now_ = now;
  last_busy_ = busy;
}

void PowerModel::advance(uint64_t now, uint64_t busy, double clock, double usual_watts, double limit_watts) {
  const double seconds = static_cast<double>(now - last_now_) / ticks_per_second;
  if (seconds <= 0) return;
  const uint64_t run = busy > last_busy_ ? busy - last_busy_ : 0;  // a reader may just miss the end of a run
  const double worked = std::clamp(static_cast<double>(run) / ticks_per_second / seconds, 0.0, 1.0);
  last_now_ = now;
  last_busy_ = busy;
  activity_ += (worked - activity_) * share(seconds, average_seconds);
  const double wanted = std::max(usual_watts - idle_watts, 0.0) * activity_ * clock * clock;
  const double allowed = std::max(limit_watts - idle_watts, 0.0);
  slowed_ = wanted > allowed ? std::sqrt(allowed / wanted) : 1;
  watts_ = idle_watts + std::min(wanted, allowed);
  celsius_ += (cool_celsius + rise_celsius * watts_ / std::max(usual_watts, 1.0) - celsius_) * share(seconds, thermal_seconds);
  joules_ += watts_ * seconds;
}

}  // namespace usbgpu::emulator
