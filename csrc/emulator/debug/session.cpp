#include "emulator/debug/session.h"

#include <chrono>
#include <utility>

namespace usbgpu::emulator::debug {

namespace {
constexpr std::chrono::milliseconds slice{20};  // a parked wave looks for a cancelled dispatch this often

WaveId identify(const isa::Wave& w) { return {{w.group->id[0], w.group->id[1], w.group->id[2]}, w.index}; }
}  // namespace

Session::Why Session::wait(unsigned milliseconds) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(milliseconds), [this] { return why_ != Why::running; });
  return why_;
}

Session::Why Session::why() {
  const std::lock_guard lock(mutex_);
  return why_;
}

void Session::resume(uint64_t steps) {
  const std::lock_guard lock(mutex_);
  steps_ = steps;
  if (!wave_) return;
  why_ = Why::running;
  changed_.notify_all();
}

void Session::pause() {
  const std::lock_guard lock(mutex_);
  pause_ = true;
}

void Session::detach() {
  const std::lock_guard lock(mutex_);
  attached_ = false;
  if (wave_) why_ = Why::running;
  changed_.notify_all();
}

void Session::attach() {
  const std::lock_guard lock(mutex_);
  attached_ = true;
  if (!wave_) why_ = Why::running, result_.reset();
}

void Session::set_breakpoints(std::set<uint64_t> addresses) {
  const std::lock_guard lock(mutex_);
  breakpoints_ = std::move(addresses);
}

void Session::select(std::optional<WaveId> only) {
  const std::lock_guard lock(mutex_);
  only_ = only;
}

void Session::only_kernel(std::optional<uint64_t> entry) {
  const std::lock_guard lock(mutex_);
  kernel_ = entry;
}

void Session::move_to(uint64_t pc) {
  const std::lock_guard lock(mutex_);
  next_ = pc_ = pc;
}

void Session::refetch() {
  const std::lock_guard lock(mutex_);
  refetch_ = true;
}

isa::Wave* Session::wave() {
  const std::lock_guard lock(mutex_);
  return wave_;
}
WaveId Session::id() {
  const std::lock_guard lock(mutex_);
  return id_;
}
uint64_t Session::pc() {
  const std::lock_guard lock(mutex_);
  return pc_;
}
std::optional<DispatchState> Session::state() {
  const std::lock_guard lock(mutex_);
  return state_;
}
AddressSpace* Session::memory() {
  const std::lock_guard lock(mutex_);
  return memory_;
}
std::optional<DispatchResult> Session::result() {
  const std::lock_guard lock(mutex_);
  return result_;
}

bool Session::wants(const DispatchState& state, AddressSpace& memory, const std::atomic<bool>& cancel) {
  const std::lock_guard lock(mutex_);
  if (!attached_ || (kernel_ && *kernel_ != state.pgm_address)) return false;
  state_ = state;
  memory_ = &memory;
  cancel_ = &cancel;
  result_.reset();
  why_ = Why::running;
  entry_ = true;
  moved_ = false;
  return true;
}

void Session::park(std::unique_lock<std::mutex>& lock, isa::Wave& wave, uint64_t pc, Why why) {
  wave_ = &wave;
  id_ = identify(wave);
  pc_ = next_ = pc;
  why_ = why;
  pause_ = false;
  changed_.notify_all();
  while (why_ != Why::running && attached_ && !*cancel_) changed_.wait_for(lock, slice);
  why_ = Why::running;
  wave_ = nullptr;
}

uint64_t Session::before(isa::Wave& wave, uint64_t pc) {
  std::unique_lock lock(mutex_);
  if (*cancel_) return kLeave;
  if (!attached_) return pc;
  const WaveId id = identify(wave);
  if (moved_ && id == id_) {  // the controller sent it here and has seen this address already
    moved_ = false;
    return pc;
  }
  if (only_ && *only_ != id) return pc;
  Why why = Why::running;
  if (id == id_) pc_ = pc;
  if (entry_) entry_ = false, why = Why::entry;
  else if (steps_ && id == id_ && --steps_ == 0) why = Why::step;
  if (why == Why::running && breakpoints_.contains(pc)) why = Why::breakpoint;
  if (why == Why::running && pause_) why = Why::paused;
  if (why == Why::running) return pc;
  park(lock, wave, pc, why);
  if (*cancel_) return kLeave;
  moved_ = std::exchange(refetch_, false) || next_ != pc;
  return moved_ ? next_ | kJump : next_;
}

void Session::after(isa::Wave& wave) {
  std::unique_lock lock(mutex_);
  const bool fault = wave.stop == isa::Stop::fault;
  if (!attached_ || *cancel_ || (only_ && *only_ != identify(wave))) return;
  if (!fault && !(steps_ && identify(wave) == id_)) return;
  steps_ = 0;
  park(lock, wave, fault ? wave.fault.pc : pc_, fault ? Why::fault : Why::wave_end);
}

void Session::finished(const DispatchResult& result) {
  const std::lock_guard lock(mutex_);
  result_ = result;
  why_ = Why::finished;
  memory_ = nullptr;
  changed_.notify_all();
}

}  // namespace usbgpu::emulator::debug
