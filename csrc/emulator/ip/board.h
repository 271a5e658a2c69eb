// What the IP blocks of one emulated board share.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>

#include "emulator/ip/gpu.h"
#include "emulator/ip/observer.h"
#include "emulator/ip/register_file.h"
#include "emulator/ip/wake.h"
#include "emulator/memory/vram.h"

namespace usbgpu::emulator {

class Hub;
class InterruptRing;

// A part of the board that works by itself: the PSP, the MEC, an SDMA engine. step() does one
// unit of work (a command, a packet) and says whether there may be more.
class Agent {
 public:
  virtual ~Agent() = default;
  virtual bool step() = 0;
  virtual bool idle() = 0;  // nothing to do until somebody rings
  // How long an idle agent may sleep: one that polls a pointer in memory looks now and then.
  virtual std::chrono::microseconds patience() { return std::chrono::seconds(1); }
};

// How long waves have run, in ticks of the reference counter. Written by one engine's thread.
class BusyClock {
 public:
  void begin(uint64_t now) { since_.store(now | running); }
  void end(uint64_t now) {
    const uint64_t since = since_.exchange(0);
    if (since & running) total_ += now - (since & ~running);
  }
  uint64_t ticks(uint64_t now) const {
    const uint64_t since = since_.load();
    return total_ + (since & running ? now - (since & ~running) : 0);
  }

 private:
  static constexpr uint64_t running = uint64_t{1} << 63;
  std::atomic<uint64_t> since_{0}, total_{0};
};

struct Board {
  Board(const ChipFacts& facts, const ProductFacts& shown, uint64_t vram_bytes, uint32_t register_bytes)
      : chip(facts), product(shown), vram(vram_bytes), regs(facts, register_bytes / 4) {}

  const ChipFacts& chip;
  const ProductFacts& product;
  Vram vram;

  // Guards regs and the blocks' plain state. Never held across a DMA: the bridge may be busy
  // delivering an access to us and hold its own lock.
  std::recursive_mutex lock;
  RegisterFile regs;

  Wake wake;
  UpstreamPort* port = nullptr;
  std::atomic<bool> bus_master{false};

  Hub* gc = nullptr;
  Hub* mm = nullptr;
  InterruptRing* ih = nullptr;
  std::atomic<EngineObserver*> observer{nullptr};
  BusyClock shaders;

  // Frame buffer window in the memory controller's address space, set by the board's own firmware.
  static constexpr uint64_t fb_base = 0x80'0000'0000;
  bool in_frame_buffer(uint64_t mc) const { return mc >= fb_base && mc - fb_base < vram.size(); }

  // The 100 MHz reference counter (packets sheet, section 5).
  uint64_t clock() const {
    using namespace std::chrono;
    return duration_cast<nanoseconds>(steady_clock::now() - start).count() / 10;
  }
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();

  uint32_t reg_read(uint32_t address) {
    std::lock_guard guard(lock);
    return regs.read(address);
  }
  void reg_write(uint32_t address, uint32_t value) {
    std::lock_guard guard(lock);
    regs.write(address, value);
  }
};

}  // namespace usbgpu::emulator
