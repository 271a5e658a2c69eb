// One SDMA engine: its queues' registers and its packets.
#pragma once

#include <array>
#include <atomic>
#include <string>
#include <vector>

#include "emulator/ip/board.h"
#include "emulator/ip/gfx.h"
#include "emulator/memory/accessor.h"

namespace usbgpu::emulator {

class Sdma final : public Agent {
 public:
  Sdma(Board& board, Gfx& gfx, unsigned engine);
  void power_on();
  void soft_reset();
  void doorbell(uint32_t offset, uint64_t wptr);
  bool step() override;
  bool idle() override;
  std::chrono::microseconds patience() override;
  std::string last_stop();
  Hang hang;  // guarded by board.lock

 private:
  static constexpr unsigned queue_count = 8;
  static constexpr uint32_t queue_stride = 88;  // dwords, as in the register file's strides

  enum class Outcome { done, wait, stop };
  struct Buffer {
    uint64_t va = 0;
    uint32_t left = 0;
  };
  struct Queue {
    unsigned index = 0;
    // guarded by board.lock; pointers in bytes, never wrapped
    bool enabled = false, restart = false, stuck = false;
    uint64_t rptr = 0, wptr = 0;
    // the engine's own
    std::vector<Buffer> buffers;
    std::atomic<bool> nested{false};  // inside an indirect buffer, for others to see
    uint64_t at = 0;          // rptr of the packet in work
    uint32_t polls_left = 0;  // POLL_REGMEM with a limit
    bool polling = false;
    bool announced = false;   // the observer has been told of the packet in work
  };

  void attach_registers();
  void attach_queue(Queue& queue);
  uint32_t address(const char* name, unsigned queue = 0) const;  // "RB_CNTL" -> SDMAn_QUEUE0_RB_CNTL + stride
  uint32_t queue_reg(const Queue& queue, const char* name) { return board_.regs.raw(address(name, queue.index)); }
  uint64_t queue_reg64(const Queue& queue, const char* low, const char* high) {
    return uint64_t{queue_reg(queue, high)} << 32 | queue_reg(queue, low);
  }
  bool runs() const;
  bool polls_pointer(const Queue& queue);  // the lock is held
  void poll_pointer(Queue& queue);         // it is not
  void post(uint8_t source, const Queue& queue, uint32_t context = 0);
  Outcome stop(Queue& queue, std::string why);

  // packets
  Outcome run_packet(Queue& queue, uint64_t wptr);
  Outcome execute(Queue& queue, std::span<const uint32_t> packet);
  Outcome poll(Queue& queue, std::span<const uint32_t> packet);
  Outcome atomic(Queue& queue, std::span<const uint32_t> packet);
  static uint32_t packet_dwords(uint32_t header);  // 0: unknown
  Outcome check(Queue& queue, bool good, const char* what);

  Board& board_;
  Gfx& gfx_;
  const unsigned engine_;
  Accessor memory_;
  const Reg f32_cntl_, cntl_, freeze_, watchdog_;
  const Field freezing_, frozen_;
  const std::array<Field, 4> held_;  // of F32_CNTL (MCU_CNTL); what a generation lacks reads 0
  std::array<Queue, queue_count> queues_;
  std::vector<uint32_t> words_;
  std::string last_stop_;
};

}  // namespace usbgpu::emulator
