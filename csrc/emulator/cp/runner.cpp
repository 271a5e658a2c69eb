#include "emulator/cp/runner.h"

#include <utility>

namespace usbgpu::emulator {

using namespace std::chrono_literals;

void Runner::start() {
  if (deterministic_) {
    board_.wake.set_stepper([this] { advance(); });
    return;
  }
  for (Agent* agent : agents_) threads_.emplace_back([this, agent] { run(*agent); });
}

void Runner::stop() {
  stopping_.store(true);
  board_.wake.set_stepper(nullptr);
  board_.wake.ring();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Runner::run(Agent& agent) {
  // A waiting agent looks again at news, and now and then by itself: what it waits for may
  // change without a notice (the clock, a port that forgot one).
  auto nap = 200us;
  bool worked = false;
  for (;;) {
    // Before the look at stopping_: else the ring of stop() is taken for an old one and slept over.
    const Wake::Seen seen = board_.wake.seen();
    if (stopping_.load()) return;
    bool progressed = false;
    stepping_.fetch_add(1);
    if (pausing_.load() == 0) progressed = agent.step();
    stepping_.fetch_sub(1);
    if (progressed) {
      nap = 200us;
      worked = true;
      continue;
    }
    if (std::exchange(worked, false)) {
      // The next piece of work often follows at once: a thread that sleeps takes longer to wake.
      const auto end = std::chrono::steady_clock::now() + 40us;
      while (!board_.wake.news(seen, true) && std::chrono::steady_clock::now() < end) std::this_thread::yield();
      if (board_.wake.news(seen, true)) continue;
    }
    const bool polling = !agent.idle();
    board_.wake.wait(seen, polling, polling ? nap : agent.patience());
    nap = board_.wake.news(seen, true) ? 200us : std::min(nap * 2, std::chrono::microseconds(50ms));
  }
}

void Runner::advance() {
  if (!deterministic_ || accesses_.load() != 0) return;
  if (advancing_.exchange(true)) {  // an agent's own store woke us: the outer loop goes round again
    again_.store(true);
    return;
  }
  // A stream that never ends (a ring pointer gone wild) must not keep the access for ever: the
  // rest is done in the next one.
  unsigned budget = 5'000;
  bool progressed;
  do {
    progressed = again_.exchange(false);
    for (Agent* agent : agents_)
      while (budget && !stopping_.load() && agent->step()) progressed = true, budget--;
  } while (progressed && budget && !stopping_.load());
  advancing_.store(false);
}

bool Runner::wait_idle(std::chrono::milliseconds timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    advance();
    bool idle = stepping_.load() == 0;
    for (Agent* agent : agents_) idle = idle && agent->idle();
    if (idle) return true;
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(100us);
  }
}

Runner::Pause::Pause(Runner& runner) : runner_(runner) {
  runner_.pausing_.fetch_add(1);
  while (runner_.stepping_.load() != 0) {
    runner_.board_.wake.ring();
    std::this_thread::sleep_for(100us);
  }
}
Runner::Pause::~Pause() {
  runner_.pausing_.fetch_sub(1);
  runner_.board_.wake.ring();
}

}  // namespace usbgpu::emulator
