// What the model notices about its user: counters, warnings and, in strict mode, violations.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace usbgpu::emulator {

// Something that hardware would answer with silence, garbage or a hang. Strict mode turns it into this.
class Violation : public std::runtime_error {
 public:
  Violation(std::string name, const std::string& text) : std::runtime_error(text), name_(std::move(name)) {}
  const std::string& name() const { return name_; }

 private:
  std::string name_;
};

// What a kind of transfer has cost so far, on the model's clock.
struct Timing {
  uint64_t count = 0;
  double bus_microseconds = 0;       // host and wire
  double firmware_microseconds = 0;  // the 8051 was busy
  double waiting_microseconds = 0;   // time-outs that nothing could end
};

class Observer {
 public:
  explicit Observer(bool strict) : strict_(strict) {}
  bool strict() const { return strict_; }

  // Called on the host's own thread: throws in strict mode.
  void violation(const char* name, const std::string& text) {
    record(name, text);
    if (strict_) throw Violation(name, text);
  }

  // Called from anywhere: strict mode throws it at the host's next request.
  void violation_elsewhere(const char* name, const std::string& text) {
    record(name, text);
    if (strict_) keep(Violation(name, text));
  }
  void keep(const Violation& violation) {
    std::lock_guard lock(mutex_);
    if (pending_.size() < 16) pending_.push_back(violation);
    has_pending_.store(true, std::memory_order_release);
  }

  void throw_pending() {
    if (!has_pending_.load(std::memory_order_acquire)) return;
    std::lock_guard lock(mutex_);
    if (pending_.empty()) return;
    Violation first = pending_.front();
    pending_.pop_front();
    has_pending_.store(!pending_.empty(), std::memory_order_release);
    throw first;
  }

  void count(const std::string& name, uint64_t n = 1) {
    std::lock_guard lock(mutex_);
    counts_[name] += n;
  }
  // Time that the model's hardware would have spent. Never slept. `times`: transfers of that kind, 0 = more of the same.
  void spend(const char* kind, double bus, double firmware, uint64_t times = 1) {
    std::lock_guard lock(mutex_);
    Timing& timing = timings_[kind];
    timing.count += times;
    timing.bus_microseconds += bus;
    timing.firmware_microseconds += firmware;
    microseconds_ += bus + firmware;
  }
  void spend_waiting(const char* kind, double microseconds) {
    std::lock_guard lock(mutex_);
    timings_[kind].waiting_microseconds += microseconds;
    microseconds_ += microseconds;
  }
  std::map<std::string, Timing> timings() const {
    std::lock_guard lock(mutex_);
    return timings_;
  }
  double microseconds() const {
    std::lock_guard lock(mutex_);
    return microseconds_;
  }
  // Forgets everything that was counted and noticed.
  void reset() {
    std::lock_guard lock(mutex_);
    counts_.clear();
    timings_.clear();
    log_.clear();
    pending_.clear();
    has_pending_.store(false, std::memory_order_release);
    microseconds_ = 0;
  }
  std::map<std::string, uint64_t> counts() const {
    std::lock_guard lock(mutex_);
    return counts_;
  }
  std::vector<std::pair<std::string, std::string>> log() const {
    std::lock_guard lock(mutex_);
    return {log_.begin(), log_.end()};
  }

 private:
  void record(const char* name, const std::string& text) {
    std::lock_guard lock(mutex_);
    ++counts_[std::string("violation:") + name];
    log_.emplace_back(name, text);
    if (log_.size() > 256) log_.pop_front();
  }

  const bool strict_;
  mutable std::mutex mutex_;
  std::map<std::string, uint64_t> counts_;
  std::map<std::string, Timing> timings_;
  std::deque<std::pair<std::string, std::string>> log_;
  std::deque<Violation> pending_;
  std::atomic<bool> has_pending_{false};
  double microseconds_ = 0;
};

}  // namespace usbgpu::emulator
