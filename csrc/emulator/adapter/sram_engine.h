// The bulk DMA engine behind request 0xF2: USB bulk data to and from the 512 KiB SRAM.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "emulator/adapter/delay_line.h"
#include "emulator/adapter/events.h"
#include "emulator/adapter/faults.h"
#include "emulator/adapter/observer.h"
#include "emulator/adapter/pages.h"

namespace usbgpu::emulator {

class SramEngine {
 public:
  static constexpr uint32_t slot_bytes = 16 * 1024, slots = 32, sector_bytes = 512;

  // How many armed bulk OUTs may wait is unknown; two are seen to work. More than this are not kept.
  static constexpr size_t known_out_depth = 2, most_out_descriptors = 32;
  static constexpr size_t most_landing_bytes = 1 << 20;  // that the delay line may hold back

  SramEngine(Pages& pages, Observer& observer, Events& events, DelayLine& delay)
      : pages_(pages), observer_(observer), events_(events), delay_(delay) {}

  // Registers 0xC400..0xC4FF; writing 0xC429 arms.
  uint8_t read(uint8_t offset) const { return registers_[offset]; }
  void write(uint8_t offset, uint8_t value);

  // Bulk OUT.
  bool out_armed() const;
  size_t out_remaining() const;            // of the oldest descriptor
  size_t accept(std::span<const std::byte> data);
  void clear_out();

  // Bulk IN.
  bool in_armed() const;
  bool in_released() const;
  size_t in_remaining() const;
  size_t deliver(std::span<std::byte> into);
  void clear_in();
  void release(uint32_t completion_dword);  // from the GPU's threads

  void reset();
  bool streaming() const { return streaming_.load(std::memory_order_acquire); }

  std::function<void()> on_landed;          // the GPU should look at memory again
  // Fault: what an armed write brings is accepted and never lands.
  void lose_landing(const Trigger& trigger) {
    std::lock_guard lock(mutex_);
    lost_landing_ = trigger;
  }
  Trigger lost_landing() const {
    std::lock_guard lock(mutex_);
    return lost_landing_;
  }
  bool drop_release = false;                // fault: the completion queue write is not noticed

 private:
  struct Descriptor {
    uint32_t slot, count;
    size_t bytes, position = 0;
    uint64_t number = 0;
    bool noticed = false;   // the completion queue was written
    bool released = false;  // and the engine has seen it
    bool lost = false;      // a fault switch: its data goes nowhere
    uint32_t start = 0;  // byte offset of delivery
    size_t offset(size_t at) const { return (start + at % (size_t{count} * slot_bytes)) % sram_bytes; }
  };
  void arm();
  void land(size_t offset, std::span<const std::byte> data);
  void release_now(uint64_t number, uint32_t completion_dword);
  void update_streaming();

  Pages& pages_;
  Observer& observer_;
  Events& events_;
  DelayLine& delay_;
  std::array<uint8_t, 256> registers_{};
  mutable std::mutex mutex_;
  std::deque<Descriptor> out_;
  std::optional<Descriptor> in_;
  uint64_t arms_ = 0;
  Trigger lost_landing_;
  unsigned disarmed_ = 0;  // INs that were taken back before the GPU released them: it may still do so
  size_t landing_bytes_ = 0;
  std::atomic<bool> streaming_{false};
};

}  // namespace usbgpu::emulator
