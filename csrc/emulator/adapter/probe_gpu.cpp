#include "emulator/adapter/probe_gpu.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

namespace usbgpu::emulator {

namespace {
constexpr uint32_t address_low = 0x00, address_high = 0x04, vram_offset = 0x08, length = 0x0C, command = 0x10;
constexpr uint32_t dma_value = 0x14, delay = 0x18, result = 0x1C, resets = 0x20, wakes = 0x24, doorbell = 0x28;
constexpr uint32_t to_bus = 1, from_bus = 2, value_to_bus = 3, threaded = 0x100;

class ProbeGpu final : public Gpu, WakeSource {
 public:
  explicit ProbeGpu(uint64_t vram_bytes) : vram_(vram_bytes), registers_(256 * 1024) {}
  ~ProbeGpu() override {
    for (std::thread& thread : threads_) thread.join();
  }

  GpuIdentity identity() const override {
    return {0x1002, 0x744C, 0x1002, 0x0E3B, 0xC8, vram_.size(), 2u << 20, 1u << 20};
  }
  void attach(UpstreamPort* port) override { port_ = port; }
  void set_bus_master(bool enabled) override { bus_master_ = enabled; }
  void cold_reset() override {
    std::memset(vram_.data(), 0, vram_.size());
    ++cold_resets_;
  }
  uint32_t vram_read(uint64_t offset) override {
    uint32_t value;
    std::memcpy(&value, vram_.data() + offset, 4);
    return value;
  }
  void vram_write(uint64_t offset, uint32_t value, unsigned byte_enables) override {
    for (unsigned lane = 0; lane < 4; ++lane)
      if (byte_enables >> lane & 1) vram_[offset + lane] = static_cast<std::byte>(value >> (8 * lane));
  }
  void doorbell_write(uint32_t offset, uint32_t value) override { registers_[doorbell / 4] = offset ^ value; }
  uint32_t register_read(uint32_t offset) override {
    if (offset == resets) return cold_resets_;
    if (offset == wakes) return wake_ups_;
    return registers_[offset / 4];
  }
  void register_write(uint32_t offset, uint32_t value) override {
    registers_[offset / 4] = value;
    if (offset != command) return;
    if (value & threaded) {
      threads_.emplace_back([this, value, registers = described(), pause = registers_[delay / 4]] {
        std::this_thread::sleep_for(std::chrono::microseconds(std::min(pause, 1'000'000u)));
        run(value & 0xFF, registers);
      });
    } else {
      registers_[result / 4] = run(value, described());
    }
  }
  WakeSource& wake() override { return *this; }
  void notify() override { ++wake_ups_; }

 private:
  // What the registers ask for, taken when the command is written.
  struct Described {
    uint64_t bus;
    size_t offset, bytes;
    uint32_t value;
  };
  Described described() const {
    const uint64_t bus = static_cast<uint64_t>(registers_[address_high / 4]) << 32 | registers_[address_low / 4];
    const size_t offset = std::min<size_t>(registers_[vram_offset / 4], vram_.size());
    return {bus, offset, std::min<size_t>(registers_[length / 4], vram_.size() - offset), registers_[dma_value / 4]};
  }

  uint32_t run(uint32_t what, const Described& d) {
    if (!bus_master_) return 3;
    const std::span memory(vram_.data() + d.offset, d.bytes);
    bool claimed = true;
    if (what == to_bus) claimed = port_->dma_write(d.bus, memory);
    if (what == from_bus) claimed = port_->dma_read(d.bus, memory);
    if (what == value_to_bus) claimed = port_->dma_write(d.bus, std::as_bytes(std::span(&d.value, 1)));
    return claimed ? 1 : 2;
  }

  std::vector<std::byte> vram_;
  std::vector<uint32_t> registers_;
  UpstreamPort* port_ = nullptr;
  std::atomic<bool> bus_master_{false};
  std::atomic<uint32_t> wake_ups_{0};
  uint32_t cold_resets_ = 0;
  std::vector<std::thread> threads_;
};
}  // namespace

std::unique_ptr<Gpu> make_probe_gpu(uint64_t vram_bytes) {
  return std::make_unique<ProbeGpu>(vram_bytes ? vram_bytes : 64u << 20);
}

}  // namespace usbgpu::emulator
