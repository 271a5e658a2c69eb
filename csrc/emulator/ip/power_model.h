// What the emulated board draws and how warm it gets: a plausible board, not a measured one.
#pragma once

#include <cstdint>

namespace usbgpu::emulator {

class PowerModel {
 public:
  static constexpr double idle_watts = 20;

  void power_on(uint64_t now, uint64_t busy);
  // Since the last call: `now` and `busy` count 100 MHz ticks, `busy` only while waves ran.
  // `clock` is the graphics clock over its highest.
  void advance(uint64_t now, uint64_t busy, double clock, double usual_watts, double limit_watts);

  bool loaded() const { return activity_ > 0.1; }
  double activity() const { return activity_; }    // 0..1, a moving average
  double watts() const { return watts_; }
  double slowed() const { return slowed_; }        // the power limit leaves this much of the clock, 0..1
  double celsius() const { return celsius_; }
  double joules() const { return joules_; }

 private:
  uint64_t last_now_ = 0, last_busy_ = 0;
  double activity_ = 0, watts_ = idle_watts, slowed_ = 1, celsius_ = 45, joules_ = 0;
};

}  // namespace usbgpu::emulator
