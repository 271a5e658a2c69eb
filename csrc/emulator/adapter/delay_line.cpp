#include "emulator/adapter/delay_line.h"

#include <algorithm>

namespace usbgpu::emulator {

namespace {
constexpr uint64_t held_one_in[DelayLine::channel_count] = {8, 3, 4};
constexpr uint64_t most_transfers = 12;  // as many as a copy and a look at its result may take
constexpr auto longest_hold = std::chrono::milliseconds(2);
}  // namespace

DelayLine::DelayLine(uint64_t seed, bool threaded) : seed_(seed), threaded_(threaded), generator_(seed) {
  if (seed_ && threaded_) thread_ = std::thread([this] { run(); });
}

void DelayLine::stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    for (auto& queue : items_) queue.clear();
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void DelayLine::reset() {
  for (unsigned channel = 0; channel < channel_count; ++channel) clear(static_cast<Channel>(channel));
  std::lock_guard lock(mutex_);
  generator_.seed(seed_);
}

uint32_t DelayLine::random(uint32_t limit) {
  std::lock_guard lock(mutex_);
  return static_cast<uint32_t>(generator_() % limit);
}

void DelayLine::transfer_began() {
  if (!seed_) return;
  {
    std::lock_guard lock(mutex_);
    ++transfers_;
  }
  changed_.notify_all();
}

void DelayLine::push(Channel channel, std::function<void()> action) {
  {
    std::lock_guard lock(mutex_);
    if (seed_ && !stop_) {
      // Most go on at once; what is held back holds back what comes behind it.
      const bool held = generator_() % held_one_in[channel] == 0;
      const uint64_t transfers = held ? 1 + generator_() % most_transfers : 0;
      items_[channel].push_back({transfers_ + transfers, Clock::now() + longest_hold, std::move(action)});
      action = nullptr;
    }
  }
  if (action) action();
  else changed_.notify_all();
}

// Takes the oldest item of a channel and acts without the lock. Channels are idle while one of their items runs.
void DelayLine::run_head(std::unique_lock<std::mutex>& lock, unsigned channel) {
  Item item = std::move(items_[channel].front());
  items_[channel].pop_front();
  running_[channel] = true;
  lock.unlock();
  item.action();
  lock.lock();
  running_[channel] = false;
  changed_.notify_all();
}

void DelayLine::flush(Channel channel) {
  if (!seed_) return;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return !running_[channel]; });
    if (items_[channel].empty()) return;
    run_head(lock, channel);
  }
}

void DelayLine::clear(Channel channel) {
  std::unique_lock lock(mutex_);
  items_[channel].clear();
  changed_.wait(lock, [&] { return !running_[channel]; });
}

void DelayLine::settle() {
  if (!seed_ || threaded_) return;
  std::unique_lock lock(mutex_);
  for (;;) {
    unsigned ready[channel_count], count = 0;
    for (unsigned channel = 0; channel < channel_count; ++channel)
      if (!items_[channel].empty() && !running_[channel]) ready[count++] = channel;
    if (!count) return;
    run_head(lock, ready[generator_() % count]);
  }
}

bool DelayLine::busy(Channel channel) const {
  std::lock_guard lock(mutex_);
  return running_[channel] || !items_[channel].empty();
}

size_t DelayLine::waiting(Channel channel) const {
  std::lock_guard lock(mutex_);
  return items_[channel].size() + running_[channel];
}

void DelayLine::run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    unsigned heads[channel_count], count = 0;
    auto soonest = Clock::time_point::max();
    for (unsigned channel = 0; channel < channel_count; ++channel) {
      if (items_[channel].empty() || running_[channel]) continue;
      const Item& head = items_[channel].front();
      if (ready(head)) heads[count++] = channel;
      else soonest = std::min(soonest, head.due);
    }
    if (count) run_head(lock, heads[generator_() % count]);
    else if (soonest == Clock::time_point::max()) changed_.wait(lock);
    else changed_.wait_until(lock, soonest);
  }
}

}  // namespace usbgpu::emulator
