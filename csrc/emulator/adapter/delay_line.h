// Strict mode's disorder: what real hardware does some time later happens some time later, from a seed.
//
// Each channel keeps its own order; between channels nothing is promised. With threads it happens on a thread of its
// own, some of it only after the host has begun a few more transfers (so that a fast and a slow host see the same
// disorder); without, everything that waits happens at settle(), channels mixed by the seed.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

namespace usbgpu::emulator {

class DelayLine {
 public:
  enum Channel : unsigned {
    landing,  // bulk OUT data on its way into the SRAM
    release,  // the engine's notice of a written completion queue
    posted,   // memory writes of the host on their way down
    channel_count
  };

  // seed 0: nothing is delayed, push() acts at once.
  DelayLine(uint64_t seed, bool threaded);
  ~DelayLine() { stop(); }
  void stop();  // forgets what waits; afterwards push() acts at once

  bool delays() const { return seed_ != 0; }
  void push(Channel channel, std::function<void()> action);
  void flush(Channel channel);  // everything that waits in the channel happens now
  void clear(Channel channel);  // and this is how it never happens
  void settle();                // without a thread: everything happens now
  void transfer_began();        // the host goes on
  bool busy(Channel channel) const;
  size_t waiting(Channel channel) const;
  // A number below `limit`, from the seed.
  uint32_t random(uint32_t limit);
  void reset();  // as new: nothing waits, the seed starts over

 private:
  using Clock = std::chrono::steady_clock;
  // Happens when the host has begun so many more transfers, or, if it waits, after a while.
  struct Item {
    uint64_t after;  // transfers, counted from the start
    Clock::time_point due;
    std::function<void()> action;
  };
  void run();
  void run_head(std::unique_lock<std::mutex>& lock, unsigned channel);
  bool ready(const Item& item) const { return transfers_ >= item.after || Clock::now() >= item.due; }

  const uint64_t seed_;
  const bool threaded_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::array<std::deque<Item>, channel_count> items_;
  std::array<bool, channel_count> running_{};
  std::mt19937_64 generator_;
  uint64_t transfers_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace usbgpu::emulator
