// The graphics core around its command processor: autoload, register banking, RS64 start,
// resets, read-back of halted waves.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "emulator/ip/board.h"
#include "emulator/isa/dispatch.h"

namespace usbgpu::emulator {

class Gfx {
 public:
  struct Resets {
    std::function<void()> compute;              // CP and CPC: all hardware queues
    std::function<void(unsigned engine)> sdma;
    std::function<void()> compute_stopped;      // the MEC's pipe is halted or held in reset, its queues stay
  };
  Gfx(Board& board, Resets resets);
  void power_on();

  void autoload();  // the RLC brought the firmware of all engines in
  bool autoloaded() const { return autoloaded_; }

  // May the MEC's pipe 0 execute? Its start address was latched by a reset pulse, it is active
  // and not halted.
  bool mec_runs() const;

  // GRBM_GFX_CNTL
  unsigned selected_me() const { return board_.regs.get(Field::GRBM_GFX_CNTL__meid); }
  unsigned selected_pipe() const { return board_.regs.get(Field::GRBM_GFX_CNTL__pipeid); }
  unsigned selected_queue() const { return board_.regs.get(Field::GRBM_GFX_CNTL__queueid); }
  uint32_t sh_mem_config(unsigned vmid) const { return sh_mem_[vmid][0]; }
  uint32_t sh_mem_bases(unsigned vmid) const { return sh_mem_[vmid][1]; }

  // Waves that stopped by a fault stay halted until their queue is reset.
  void halt_wave(const WaveFault& wave, unsigned queue);
  // A running wave asked for an interrupt (s_sendmsg).
  void wave_interrupt(const WaveMessage& message, unsigned queue);
  void kill_waves() { halted_.clear(); }
  bool waves_halted() const { return !halted_.empty(); }

 private:
  struct Halted {
    WaveFault wave;
    unsigned queue;
  };
  void bank_registers();
  uint32_t read_wave();
  uint32_t fused_off();
  uint32_t wave_register(const Halted& halted, uint32_t index) const;

  Board& board_;
  Resets resets_;
  bool autoloaded_ = false;
  std::array<std::array<uint32_t, 2>, 16> sh_mem_{};
  std::array<uint64_t, 16> start_{}, latched_{};   // PRGRM_CNTR_START by me * 4 + pipe
  std::vector<Halted> halted_;
};

}  // namespace usbgpu::emulator
