#include "emulator/adapter/sram_engine.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>

namespace usbgpu::emulator {

namespace {
constexpr uint8_t reg_direction = 0x12, reg_first = 0x14, reg_end = 0x15, reg_sectors = 0x26, reg_arm = 0x29;
constexpr uint8_t direction_out = 0x03, direction_in = 0x02;
}  // namespace

SramEngine::SramEngine(Pages& pages, Observer& observer, Events& events, bool delayed, bool threaded)
    : pages_(pages), observer_(observer), events_(events), delayed_(delayed), threaded_(threaded) {
  if (delayed_ && threaded_) lander_ = std::thread([this] { run_landing(); });
}

void SramEngine::stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  landing_changed_.notify_all();
  if (lander_.joinable()) lander_.join();
}

void SramEngine::write(uint8_t offset, uint8_t value) {
  registers_[offset] = value;
  if (offset == reg_arm) arm();
}

void SramEngine::arm() {
  const uint32_t slot = registers_[reg_first] & (slots - 1);
  // The end register is exclusive; 0 slots count as one.
  const uint32_t count = std::max<uint32_t>(1, static_cast<uint8_t>(registers_[reg_end] - slot));
  const size_t bytes = (size_t{registers_[reg_sectors]} << 8 | registers_[reg_sectors + 1]) * sector_bytes;
  if (bytes == 0) {
    observer_.violation("sram-zero-sectors", "0xF2 with 0 sectors arms nothing");
    return;
  }
  Descriptor descriptor{slot, count, bytes};
  descriptor.start = slot * slot_bytes;
  bool replaced = false;
  {
    std::lock_guard lock(mutex_);
    if (registers_[reg_direction] == direction_out) {
      out_.push_back(descriptor);
    } else if (registers_[reg_direction] == direction_in) {
      replaced = in_.has_value();
      in_ = descriptor;
    }
  }
  events_.notify();
  if (replaced)
    observer_.violation("sram-in-rearmed", "0xF2 IN while another IN is armed: whether two can wait is unknown");
}

bool SramEngine::out_armed() const {
  std::lock_guard lock(mutex_);
  return !out_.empty();
}

size_t SramEngine::out_remaining() const {
  std::lock_guard lock(mutex_);
  return out_.empty() ? 0 : out_.front().bytes - out_.front().position;
}

size_t SramEngine::accept(std::span<const std::byte> data) {
  size_t done = 0;
  {
    std::lock_guard lock(mutex_);
    while (done < data.size() && !out_.empty()) {
      Descriptor& d = out_.front();
      const size_t room = size_t{d.count} * slot_bytes - d.position % (size_t{d.count} * slot_bytes);
      const size_t offset = d.offset(d.position);
      const size_t run = std::min({data.size() - done, d.bytes - d.position, room, sram_bytes - offset});
      if (delayed_) {
        const auto part = data.subspan(done, run);
        landings_.push_back({offset, {part.begin(), part.end()}});
      } else {
        store_ascending(pages_.sram() + offset, data.data() + done, run);
      }
      d.position += run;
      done += run;
      if (d.position == d.bytes) out_.pop_front();
    }
    update_streaming();
  }
  if (delayed_ && threaded_) landing_changed_.notify_all();
  if (!delayed_ && done && on_landed) on_landed();
  return done;
}

void SramEngine::clear_out() {
  std::lock_guard lock(mutex_);
  out_.clear();
  update_streaming();
}

bool SramEngine::in_armed() const {
  std::lock_guard lock(mutex_);
  return in_.has_value();
}

bool SramEngine::in_released() const {
  std::lock_guard lock(mutex_);
  return in_ && in_->released;
}

size_t SramEngine::in_remaining() const {
  std::lock_guard lock(mutex_);
  return in_ ? in_->bytes - in_->position : 0;
}

size_t SramEngine::deliver(std::span<std::byte> into) {
  std::lock_guard lock(mutex_);
  size_t done = 0;
  while (in_ && in_->released && done < into.size()) {
    Descriptor& d = *in_;
    const size_t room = size_t{d.count} * slot_bytes - d.position % (size_t{d.count} * slot_bytes);
    const size_t offset = d.offset(d.position);
    const size_t run = std::min({into.size() - done, d.bytes - d.position, room, sram_bytes - offset});
    std::atomic_thread_fence(std::memory_order_acquire);
    std::memcpy(into.data() + done, pages_.sram() + offset, run);
    d.position += run;
    done += run;
    if (d.position == d.bytes) in_.reset();
  }
  return done;
}

void SramEngine::clear_in() {
  std::lock_guard lock(mutex_);
  in_.reset();
}

void SramEngine::release(uint32_t completion_dword) {
  bool lost = false;
  {
    std::lock_guard lock(mutex_);
    if (drop_release) return;
    if (!in_ || in_->released) {
      lost = true;
    } else {
      in_->released = true;
      // Delivery starts at the slot that the completion's command id names; every known driver writes 0,
      // and with 0 it was seen to start at slot 0 whatever slot had been armed.
      in_->start = (completion_dword & (slots - 1)) * slot_bytes;
    }
  }
  if (lost) {
    observer_.violation_elsewhere("release-without-arm",
                                  "the GPU wrote the completion queue while no bulk IN was armed: lost");
    return;
  }
  events_.notify();
}

void SramEngine::reset() {
  std::lock_guard lock(mutex_);
  out_.clear();
  in_.reset();
  registers_.fill(0);
  update_streaming();
}

void SramEngine::update_streaming() {
  const bool partial = !out_.empty() && out_.front().position > 0;
  streaming_.store(partial || !landings_.empty() || landing_now_, std::memory_order_release);
}

void SramEngine::land(size_t offset, std::span<const std::byte> data, bool slowly) {
  constexpr size_t burst = 4096;
  for (size_t done = 0; done < data.size(); done += burst) {
    const size_t run = std::min(burst, data.size() - done);
    store_ascending(pages_.sram() + offset + done, data.data() + done, run);
    // Now and then a pause, so that a reader that does not wait for its sentinel finds half of the data.
    if (slowly && random_() % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

void SramEngine::run_landing() {
  std::unique_lock lock(mutex_);
  for (;;) {
    landing_changed_.wait(lock, [this] { return stop_ || !landings_.empty(); });
    if (stop_) return;
    Landing next = std::move(landings_.front());
    landings_.pop_front();
    landing_now_ = true;
    const auto delay = std::chrono::microseconds(20 + random_() % 300);
    lock.unlock();
    std::this_thread::sleep_for(delay);
    land(next.offset, next.data, true);
    lock.lock();
    landing_now_ = false;
    update_streaming();
    lock.unlock();
    if (on_landed) on_landed();
    lock.lock();
  }
}

void SramEngine::settle() {
  if (!delayed_ || threaded_) return;
  std::deque<Landing> waiting;
  {
    std::lock_guard lock(mutex_);
    waiting.swap(landings_);
    update_streaming();
  }
  for (const Landing& landing : waiting) land(landing.offset, landing.data, false);
  if (!waiting.empty() && on_landed) on_landed();
}

}  // namespace usbgpu::emulator
