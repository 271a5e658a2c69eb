// Wakes engines that wait for memory or registers to change.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>

#include "emulator/pcie/ports.h"

namespace usbgpu::emulator {

// Two kinds of news: memory changed (only engines that poll memory care), and a doorbell or a
// register that starts something (all care). An engine without work so sleeps through the host's
// thousands of single-dword writes.
class Wake final : public WakeSource {
 public:
  void notify() override {
    memory_.fetch_add(1);
    if (pollers_.load() > 0) announce();
    if (stepper_) stepper_();
  }
  void ring() {
    bells_.fetch_add(1);
    announce();
    if (stepper_) stepper_();
  }

  struct Seen {
    uint64_t memory, bells;
  };
  Seen seen() const { return {memory_.load(), bells_.load()}; }
  bool news(const Seen& since, bool polling) const {
    return bells_.load() != since.bells || (polling && memory_.load() != since.memory);
  }
  // Returns when there is news since `since`, at the latest after `timeout`.
  void wait(const Seen& since, bool polling, std::chrono::microseconds timeout) {
    std::unique_lock guard(mutex_);
    if (polling) pollers_.fetch_add(1);
    changed_.wait_for(guard, timeout, [&] { return news(since, polling); });
    if (polling) pollers_.fetch_sub(1);
  }
  // Deterministic mode: engines run inside the access that woke them.
  void set_stepper(std::function<void()> stepper) { stepper_ = std::move(stepper); }

 private:
  void announce() {
    std::lock_guard guard(mutex_);
    changed_.notify_all();
  }
  std::atomic<uint64_t> memory_{0}, bells_{0};
  std::atomic<int> pollers_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> stepper_;
};

}  // namespace usbgpu::emulator
