// The compute micro engine (MEC): hardware queue descriptors and their PM4 streams.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "emulator/ip/board.h"
#include "emulator/ip/gfx.h"
#include "emulator/isa/counters.h"
#include "emulator/isa/dispatch.h"
#include "emulator/memory/accessor.h"

namespace usbgpu::emulator {

class Mec final : public Agent {
 public:
  Mec(Board& board, Gfx& gfx, const GpuOptions& options);
  void power_on();
  void soft_reset();

  void doorbell(uint32_t offset, uint64_t wptr);
  bool step() override;
  bool idle() override;
  std::chrono::microseconds patience() override;
  // Ends what runs and starts nothing more before the next power-on, so that whoever waits for the
  // engine's thread need not wait for a long kernel.
  void interrupt_dispatches();

  struct Totals {
    uint64_t packets = 0, dispatches = 0;
    DispatchCounters shader;
  };
  Totals totals();
  std::map<uint64_t, LaunchStatistics> launches();  // by the kernel's entry address, since the model was made
  void watch(WaveObserver* observer) { shaders_->watch(observer); }
  std::string last_stop();  // why a queue last stood still for good
  // fault switches, guarded by board.lock
  Hang hang;
  bool broken_lane = false;

 private:
  static constexpr unsigned queue_count = 8;
  static constexpr unsigned hqd_registers = 0x40;  // CP_MQD_BASE_ADDR ..
  static constexpr unsigned sh_registers = 0x400;  // the SET_SH_REG window

  enum class Outcome { done, wait, stop };
  struct Buffer {
    uint64_t va = 0;
    uint32_t left = 0;
  };
  struct Queue {
    unsigned index = 0;
    // guarded by board.lock
    std::array<uint32_t, hqd_registers> regs{};
    bool active = false, restart = false, reset = false, stuck = false, waiting = false;
    uint64_t rptr = 0, wptr = 0;
    std::atomic<bool> cancel{false};
    // the engine's own
    std::vector<Buffer> buffers;
    std::atomic<bool> nested{false};  // inside an indirect buffer, for others to see
    std::array<uint32_t, sh_registers> sh{};
    bool request_written = false;  // first half of a write-then-wait
    uint64_t fetched_rptr = 0;     // rptr of the packet in work
    uint32_t skip = 0;             // dwords after it that are not executed
    bool announced = false;        // the observer has been told of it
  };
  struct Packet {
    uint32_t header = 0, opcode = 0, dwords = 0;
    std::span<const uint32_t> body;
  };

  // registers (mec.cpp)
  void attach_registers();
  uint32_t read_hqd(uint32_t address);
  void write_hqd(uint32_t address, uint32_t value);
  Queue* selected();
  uint32_t& hqd(Queue& queue, Reg reg) { return queue.regs[board_.regs.address(reg) - first_hqd_]; }
  uint32_t hqd(Queue& queue, Field field) { return board_.regs.decode(field, hqd(queue, field_registers[static_cast<size_t>(field)])); }
  uint64_t hqd64(Queue& queue, Reg low, Reg high) { return uint64_t{hqd(queue, high)} << 32 | hqd(queue, low); }
  void begin(Queue& queue);
  bool polls_pointer(Queue& queue);  // the lock is held
  void poll_pointer(Queue& queue);   // it is not
  bool dequeue(Queue& queue);
  bool busy();
  void stop(Queue& queue, std::string why);
  void stop_on_fault(Queue& queue, Field error, std::string why);

  // packets (pm4.cpp)
  Outcome run_packet(Queue& queue, uint64_t wptr);
  Outcome execute(Queue& queue, const Packet& packet);
  Outcome bad_opcode(Queue& queue, const Packet& packet);
  Outcome set_registers(Queue& queue, const Packet& packet, uint32_t window);
  Outcome write_data(Queue& queue, const Packet& packet);
  Outcome copy_data(Queue& queue, const Packet& packet);
  Outcome wait_reg_mem(Queue& queue, const Packet& packet);
  Outcome release_mem(Queue& queue, const Packet& packet);
  Outcome indirect_buffer(Queue& queue, const Packet& packet);
  Outcome dma_data(Queue& queue, const Packet& packet);
  Outcome dispatch(Queue& queue, const Packet& packet);
  Outcome atomic_mem(Queue& queue, const Packet& packet);
  Outcome wait_reg_mem64(Queue& queue, const Packet& packet);
  Outcome cond_exec(Queue& queue, const Packet& packet);
  Outcome pred_exec(Queue& queue, const Packet& packet);
  Outcome reg_rmw(Queue& queue, const Packet& packet);
  Outcome invalidate_tlbs(Queue& queue, const Packet& packet);
  Outcome dispatch_indirect(Queue& queue, const Packet& packet);
  bool privileged(const Queue& queue);
  Outcome forbidden(Queue& queue, const Packet& packet, uint8_t source, const char* what);
  Outcome memory_fault(Queue& queue, const char* what);
  uint32_t sh(const Queue& queue, Reg reg, uint32_t offset = 0) const { return queue.sh[board_.regs.address(reg) + offset - 0x2C00]; }
  void report_rptr(Queue& queue);
  void announce(Queue& queue, const Packet& packet, uint64_t va);

  Board& board_;
  Gfx& gfx_;
  Accessor fetch_, data_;
  ClientSpace shader_space_;
  std::unique_ptr<ShaderArray> shaders_;
  const uint32_t first_hqd_;
  std::array<Queue, queue_count> queues_;
  std::array<uint32_t, hqd_registers> unserved_{};  // other MEs and pipes: registers without an engine behind them
  std::vector<uint32_t> words_;
  unsigned turn_ = 0;
  bool interrupted_ = false;  // guarded by board.lock
  Totals totals_;
  std::map<uint64_t, LaunchStatistics> launches_;
  const ChipRates* const rates_;
  std::string last_stop_;
};

}  // namespace usbgpu::emulator
