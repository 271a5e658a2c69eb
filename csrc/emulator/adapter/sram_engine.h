// The bulk DMA engine behind request 0xF2: USB bulk data to and from the 512 KiB SRAM.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "emulator/adapter/events.h"
#include "emulator/adapter/observer.h"
#include "emulator/adapter/pages.h"

namespace usbgpu::emulator {

class SramEngine {
 public:
  static constexpr uint32_t slot_bytes = 16 * 1024, slots = 32, sector_bytes = 512;

  // `delayed`: data lands some time after the bulk transfer has completed, in ascending order.
  // `threaded`: on a thread of its own; otherwise at settle().
  SramEngine(Pages& pages, Observer& observer, Events& events, bool delayed, bool threaded);
  ~SramEngine() { stop(); }
  void stop();  // ends the landing thread; nothing calls on_landed afterwards

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
  void settle();                            // lands what waits when there is no thread
  bool streaming() const { return streaming_.load(std::memory_order_acquire); }

  std::function<void()> on_landed;          // the GPU should look at memory again
  bool drop_release = false;                // fault: the completion queue write is not noticed

 private:
  struct Descriptor {
    uint32_t slot, count;
    size_t bytes, position = 0;
    bool released = false;
    uint32_t start = 0;  // byte offset of delivery
    size_t offset(size_t at) const { return (start + at % (size_t{count} * slot_bytes)) % sram_bytes; }
  };
  struct Landing {
    size_t offset;
    std::vector<std::byte> data;
  };
  void arm();
  void land(size_t offset, std::span<const std::byte> data, bool slowly);
  void run_landing();
  void update_streaming();

  Pages& pages_;
  Observer& observer_;
  Events& events_;
  const bool delayed_, threaded_;
  std::array<uint8_t, 256> registers_{};
  mutable std::mutex mutex_;
  std::deque<Descriptor> out_;
  std::optional<Descriptor> in_;
  std::deque<Landing> landings_;
  bool landing_now_ = false;
  std::atomic<bool> streaming_{false};
  std::condition_variable landing_changed_;
  std::minstd_rand random_{0x2464};
  bool stop_ = false;
  std::thread lander_;
};

}  // namespace usbgpu::emulator
