// The system management unit (MP1): a mailbox of messages, clocks, the metrics table.
#pragma once

#include <array>
#include <functional>
#include <span>

#include "emulator/ip/board.h"
#include "emulator/ip/power_model.h"

namespace usbgpu::emulator {

class Smu {
 public:
  Smu(Board& board, std::function<void()> mode1_reset);
  void power_on();
  void start(uint32_t version);  // the PSP loaded its firmware
  bool alive() const { return version_ != 0; }
  Hang hang;  // guarded by board.lock

 private:
  struct Clock {
    uint32_t minimum = 0, maximum = 0xFFFF;
  };
  uint32_t handle(uint32_t message, uint32_t& argument);  // -> response code
  bool transfer_table(uint32_t table);
  void fill_metrics(std::span<std::byte> bytes);
  void fill_powerplay(std::span<std::byte> bytes) const;
  bool set_power_limit(uint32_t watts);
  uint32_t current_mhz(uint32_t clock) const;

  Board& board_;
  const SmuFacts& facts_;
  std::function<void()> mode1_reset_;
  uint32_t version_ = 0;
  uint64_t table_ = 0;
  uint32_t ppt_watts_ = 0, transfers_ = 0;
  bool features_ = false;
  bool answer_survives_ = false;  // a mode-1 reset was asked for in the debug mailbox, whose answer outlives it
  std::array<Clock, 4> clocks_{};
  PowerModel power_;
};

}  // namespace usbgpu::emulator
