#include "emulator/adapter/sram_engine.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace usbgpu::emulator {

namespace {
constexpr uint8_t reg_direction = 0x12, reg_first = 0x14, reg_end = 0x15, reg_sectors = 0x26, reg_arm = 0x29;
constexpr uint8_t direction_out = 0x03, direction_in = 0x02;
}  // namespace

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
  bool replaced = false, deep = false;
  {
    std::lock_guard lock(mutex_);
    descriptor.number = ++arms_;
    if (registers_[reg_direction] == direction_out) {
      descriptor.lost = lost_landing_.strikes();
      deep = out_.size() >= known_out_depth;
      if (out_.size() < most_out_descriptors) out_.push_back(descriptor);
    } else if (registers_[reg_direction] == direction_in) {
      replaced = in_.has_value();
      in_ = descriptor;
    }
  }
  events_.notify();
  if (deep)
    observer_.violation("sram-out-depth", "0xF2 OUT while two others are armed: only two are known to wait");
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
  std::unique_lock lock(mutex_);
  while (done < data.size() && !out_.empty() && landing_bytes_ < most_landing_bytes) {
    Descriptor& d = out_.front();
    const size_t room = size_t{d.count} * slot_bytes - d.position % (size_t{d.count} * slot_bytes);
    const size_t offset = d.offset(d.position);
    size_t run = std::min({data.size() - done, d.bytes - d.position, room, sram_bytes - offset});
    const auto* from = data.data() + done;
    if (d.lost) {
      // accepted, and on its way to nowhere
    } else if (delay_.delays()) {
      // In ascending pieces of one to eight pages: a reader that does not wait for its sentinel finds some of them.
      run = std::min<size_t>(run, size_t{page_bytes} * (1 + delay_.random(8)));
      landing_bytes_ += run;
      delay_.push(DelayLine::landing, [this, offset, piece = std::vector<std::byte>(from, from + run)] {
        land(offset, piece);
      });
    } else {
      store_ascending(pages_.sram() + offset, from, run);
    }
    d.position += run;
    done += run;
    if (d.position == d.bytes) out_.pop_front();
  }
  update_streaming();
  lock.unlock();
  if (!delay_.delays() && done && on_landed) on_landed();
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
  if (in_ && !in_->noticed) ++disarmed_;
  in_.reset();
}

void SramEngine::release(uint32_t completion_dword) {
  uint64_t number = 0;
  {
    std::lock_guard lock(mutex_);
    if (drop_release) return;
    if (in_ && !in_->noticed) {
      in_->noticed = true;
      number = in_->number;
    } else if (disarmed_) {
      --disarmed_;
      observer_.count("warning:release-after-disarm");
      return;
    }
  }
  if (!number) {
    observer_.violation_elsewhere("release-without-arm",
                                  "the GPU wrote the completion queue while no bulk IN was armed: lost");
    return;
  }
  delay_.push(DelayLine::release, [this, number, completion_dword] { release_now(number, completion_dword); });
}

void SramEngine::release_now(uint64_t number, uint32_t completion_dword) {
  {
    std::lock_guard lock(mutex_);
    if (!in_ || in_->number != number) return;  // disarmed meanwhile
    in_->released = true;
    // Delivery starts at the slot that the completion's command id names; every known driver writes 0,
    // and with 0 it was seen to start at slot 0 whatever slot had been armed.
    in_->start = (completion_dword & (slots - 1)) * slot_bytes;
  }
  events_.notify();
}

void SramEngine::reset() {
  delay_.clear(DelayLine::landing);
  delay_.clear(DelayLine::release);
  std::lock_guard lock(mutex_);
  landing_bytes_ = 0;
  disarmed_ = 0;
  out_.clear();
  in_.reset();
  registers_.fill(0);
  update_streaming();
}

void SramEngine::update_streaming() {
  const bool partial = !out_.empty() && out_.front().position > 0;
  streaming_.store(partial || landing_bytes_, std::memory_order_release);
}

void SramEngine::land(size_t offset, std::span<const std::byte> data) {
  store_ascending(pages_.sram() + offset, data.data(), data.size());
  {
    std::lock_guard lock(mutex_);
    landing_bytes_ -= data.size();
    update_streaming();
  }
  events_.notify();  // there may be room for more
  if (on_landed) on_landed();
}

}  // namespace usbgpu::emulator
