// A wave under a debugger: the thread that runs it parks between two instructions until told to go on.
//
// Nothing here interprets code: the wave runs on the same interpreter, under the same scheduler, as without a
// debugger. All calls but the WaveObserver's are the controller's, from another thread.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>

#include "emulator/isa/dispatch.h"
#include "emulator/isa/wave.h"

namespace usbgpu::emulator::debug {

struct WaveId {
  std::array<uint32_t, 3> group{};
  uint32_t index = 0;
  bool operator==(const WaveId&) const = default;
};

class Session final : public WaveObserver {
 public:
  // What the controller waits for.
  enum class Why : uint8_t { running, entry, step, breakpoint, paused, wave_end, fault, finished };

  // ---- the controller's side
  // Waits until the wave is parked or the dispatch is over; `running` after the time-out.
  Why wait(unsigned milliseconds);
  Why why();
  // Goes on. `steps`: 0 = until a breakpoint, else that many instructions of the wave at hand.
  void resume(uint64_t steps);
  void pause();                                      // at the next instruction
  void detach();                                     // lets everything run on, unwatched
  void attach();                                     // the next dispatch is watched, and parked at its first instruction
  void set_breakpoints(std::set<uint64_t> addresses);
  void select(std::optional<WaveId> only);           // stops of other waves are passed over
  void only_kernel(std::optional<uint64_t> entry);   // other dispatches run unwatched
  void move_to(uint64_t pc);
  void refetch();                                    // the code to come depends on state that was changed

  // Valid while parked (else nullptr).
  isa::Wave* wave();
  WaveId id();
  uint64_t pc();
  std::optional<DispatchState> state();
  AddressSpace* memory();
  std::optional<DispatchResult> result();

  // ---- the wave's side
  bool wants(const DispatchState& state, AddressSpace& memory, const std::atomic<bool>& cancel) override;
  uint64_t before(isa::Wave& wave, uint64_t pc) override;
  void after(isa::Wave& wave) override;
  void finished(const DispatchResult& result) override;

 private:
  void park(std::unique_lock<std::mutex>& lock, isa::Wave& wave, uint64_t pc, Why why);

  std::mutex mutex_;
  std::condition_variable changed_;
  Why why_ = Why::running;
  bool attached_ = true, entry_ = true, pause_ = false, moved_ = false, refetch_ = false;
  uint64_t steps_ = 0;
  std::set<uint64_t> breakpoints_;
  std::optional<WaveId> only_;
  std::optional<uint64_t> kernel_;
  isa::Wave* wave_ = nullptr;
  WaveId id_;                       // of the wave that is parked, or was last: steps follow it
  uint64_t pc_ = 0, next_ = 0;
  std::optional<DispatchState> state_;
  AddressSpace* memory_ = nullptr;
  const std::atomic<bool>* cancel_ = nullptr;
  std::optional<DispatchResult> result_;
};

}  // namespace usbgpu::emulator::debug
