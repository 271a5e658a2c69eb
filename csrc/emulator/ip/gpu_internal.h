// The whole board. Tests reach inside through this; everybody else sees class Gpu.
#pragma once

#include <atomic>
#include <unordered_map>

#include "emulator/cp/mec.h"
#include "emulator/cp/runner.h"
#include "emulator/cp/sdma.h"
#include "emulator/ip/board.h"
#include "emulator/ip/discovery.h"
#include "emulator/ip/gfx.h"
#include "emulator/ip/gpu.h"
#include "emulator/ip/interrupts.h"
#include "emulator/ip/nbio.h"
#include "emulator/ip/psp.h"
#include "emulator/ip/smu.h"
#include "emulator/memory/hub.h"

namespace usbgpu::emulator {

class GpuModel final : public Gpu {
 public:
  GpuModel(const ChipFacts& chip, const ProductFacts& product, const GpuOptions& options);
  ~GpuModel() override;

  GpuIdentity identity() const override;
  void attach(UpstreamPort* port) override;
  void set_bus_master(bool enabled) override;
  void cold_reset() override;
  void leave(StartState state) override;
  void inject(const GpuFaults& faults) override;
  uint32_t vram_read(uint64_t offset) override;
  void vram_write(uint64_t offset, uint32_t value, unsigned byte_enables) override;
  void doorbell_write(uint32_t offset, uint32_t value) override;
  uint32_t register_read(uint32_t offset) override;
  void register_write(uint32_t offset, uint32_t value) override;
  WakeSource& wake() override { return board_.wake; }
  std::map<uint64_t, LaunchStatistics> launches() override { return mec_.launches(); }
  void observe(EngineObserver* engines, WaveObserver* waves) override {
    board_.observer.store(engines);
    mec_.watch(waves);
  }

  Board& board() { return board_; }
  Psp& psp() { return psp_; }
  Mec& mec() { return mec_; }
  Sdma& sdma(unsigned engine) { return engine ? sdma1_ : sdma0_; }
  Runner& runner() { return runner_; }

 private:
  Board& attached();
  void power_on_blocks();
  void reset_if_asked();
  void hub_left_running(Hub& hub);
  void meet(Cure remedy);

  Board board_;
  InterruptRing ih_;
  Hub gc_, mm_;
  Nbio nbio_;
  Smu smu_;
  Gfx gfx_;
  Psp psp_;
  Mec mec_;
  Sdma sdma0_, sdma1_;
  Runner runner_;
  std::atomic<bool> reset_asked_{false};  // mode 1
  std::optional<std::array<uint8_t, 3>> gc_version_;
  std::unordered_map<uint32_t, uint64_t> doorbells_;  // 64-bit slots, written by halves
};

}  // namespace usbgpu::emulator
