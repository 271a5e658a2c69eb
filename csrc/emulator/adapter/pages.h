// The memory that both sides see: 512 KiB SRAM and four 4 KiB pages whose PCIe addresses are registers.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>

#include "emulator/adapter/observer.h"
#include "emulator/pcie/ports.h"

namespace usbgpu::emulator {

constexpr uint64_t sram_bus_address = 0x200000;
constexpr uint32_t sram_bytes = 512 * 1024;
constexpr uint32_t page_bytes = 4096;

enum PageIndex : unsigned { admin_submission, admin_completion, io_submission, io_completion, page_count };

class Pages final : public UpstreamPort {
 public:
  explicit Pages(Observer& observer);

  // UpstreamPort: the GPU's own threads.
  bool dma_read(uint64_t bus_address, std::span<std::byte> into) override;
  bool dma_write(uint64_t bus_address, std::span<const std::byte> from) override;
  const std::byte* readable_memory(uint64_t bus_address, size_t bytes) override;

  // The adapter's side.
  std::byte* sram() { return sram_.get(); }
  // What the 8051 reads byte by byte while the GPU writes: content of a window as it may look when the write
  // comes at byte `split` of the read. Only writes that the host cannot know to be complete are taken apart.
  void begin_torn_read(uint32_t split) { torn_split_ = split; }
  void tick() { epoch_.fetch_add(1, std::memory_order_acq_rel); }  // the host has learnt something
  bool torn_byte(int window, uint32_t offset, uint32_t position, uint8_t& value);
  static constexpr int sram_window = page_count;
  bool tearing = false;  // strict mode; set once

  uint8_t page_byte(PageIndex page, uint32_t offset) const;
  void set_page_byte(PageIndex page, uint32_t offset, uint8_t value);
  // The page's PCIe address >> 12: registers 0xB264..0xB26F.
  void set_page_number(PageIndex page, uint16_t number) { numbers_[page].store(number, std::memory_order_release); }
  uint16_t page_number(PageIndex page) const { return numbers_[page].load(std::memory_order_acquire); }
  void clear();

  // Set once, before the GPU's threads run.
  std::function<bool()> upstream_enabled;           // every bridge lets the GPU be bus master
  std::function<void(uint32_t)> on_release;         // dword 3 of the completion page was written
  std::function<bool()> sram_engine_streaming;      // bulk data is on its way into the SRAM

 private:
  struct Place {
    std::byte* memory = nullptr;  // nullptr: unclaimed
    size_t bytes = 0;             // that lie in this piece
    int page = -1;
    uint32_t offset = 0;
  };
  // The content of a window before the first GPU write since the host last learnt something.
  struct Shadow {
    uint64_t epoch = UINT64_MAX;
    std::array<std::byte, page_bytes> before;
  };
  void remember(int window);
  Place locate(uint64_t address, size_t bytes);
  bool allowed(const char* what, uint64_t address);
  void wrote_page(PageIndex page, uint32_t offset, size_t bytes);

  Observer& observer_;
  struct Free { void operator()(std::byte* p) const; };
  std::unique_ptr<std::byte[], Free> sram_;
  std::unique_ptr<std::byte[], Free> pages_[page_count];
  std::array<std::atomic<uint16_t>, page_count> numbers_;
  std::mutex shadow_mutex_;
  std::array<Shadow, page_count + 1> shadows_;
  std::atomic<uint64_t> epoch_{0};
  uint32_t torn_split_ = 0;
};

// Copies in ascending dwords, each stored at once: what a TLP does to memory that others poll.
void store_ascending(std::byte* to, const std::byte* from, size_t bytes);

}  // namespace usbgpu::emulator
