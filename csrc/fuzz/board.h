// A GPU on a bench: brought up by register writes as a driver does it, with synthetic firmware and
// three windows of plain memory on the bus where the adapter's SRAM and queue pages would be.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "emulator/ip/gpu_internal.h"
#include "fuzz/target.h"

namespace usbgpu::fuzz {

using emulator::GpuModel;

class BusWindows final : public emulator::UpstreamPort {
 public:
  BusWindows();
  bool dma_read(uint64_t address, std::span<std::byte> into) override;
  bool dma_write(uint64_t address, std::span<const std::byte> from) override;
  const std::byte* readable_memory(uint64_t address, size_t bytes) override;

 private:
  std::byte* find(uint64_t address, size_t bytes);
  std::map<uint64_t, std::vector<std::byte>> windows_;
  std::mutex mutex_;
};

// Where things are on the bench: paddrs, and the flat mapping of VRAM they are seen through.
constexpr uint64_t fb = 0x80'0000'0000, va_base = 0x2000'0000'0000, sram_bus = 0x200000;
constexpr uint64_t sram_va = va_base + 0x1000'0000, vram_va = va_base + 0x4000'0000;
constexpr uint64_t vram_bytes = 256 << 20;
constexpr uint64_t root_paddr = 0x100000, psp_ring = 0x200000, psp_command = 0x210000, psp_fence = 0x211000;
constexpr uint64_t ring_paddr = 0x400000, pointers_paddr = 0x403000, eop_paddr = 0x404000, sdma_ring_paddr = 0x500000, sdma_pointers_paddr = 0x520000;
constexpr uint64_t data_paddr = 0x600000;
constexpr uint32_t ring_dwords = 2048, sdma_ring_bytes = 0x20000;

class Bench {
 public:
  explicit Bench(const char* chip = "navi31");
  ~Bench();
  Bench(const Bench&) = delete;

  void write(std::string_view reg, uint32_t value);
  uint32_t read(std::string_view reg);
  void update(std::string_view reg_field, uint32_t value);  // "REGISTER__field"
  void poke(uint64_t paddr, std::span<const uint32_t> words);
  uint32_t peek(uint64_t paddr) { return gpu_->vram_read(paddr); }
  void stage(std::span<const uint8_t> bytes);               // into the SRAM window

  bool boot();                                              // up to running engines
  uint32_t bootloader(uint32_t command, std::span<const uint8_t> image);
  std::optional<uint32_t> ring_command(uint32_t command, std::initializer_list<uint32_t> parameters);
  std::optional<uint32_t> load(std::span<const uint8_t> image, uint32_t type);
  void open_ring();
  void memory_hub(const char* prefix);

  void fresh_compute_queue();
  void fresh_sdma_queue();
  void submit(std::span<const uint32_t> packets);
  void submit_sdma(std::span<const uint32_t> packets);
  bool settle(unsigned milliseconds);  // true: every engine waits

  GpuModel& model() { return *model_; }
  bool gfx12() { return model_->board().chip.gfx >= 12; }

 private:
  bool until(auto condition);
  BusWindows bus_;
  std::unique_ptr<emulator::Gpu> gpu_;
  GpuModel* model_;
  uint32_t wptr_ = 0, sdma_wptr_ = 0;
};

// One running board of each generation for many inputs: booting costs more than running. Renewed, so that state
// cannot pile up. Traps when the board does not come up.
Bench& running_bench(bool gfx12);
void renew_bench(bool gfx12);  // the next input gets a new one

// A well-formed image: header, body, signature.
std::vector<uint8_t> image(uint32_t kind, size_t body_bytes = 64);

}  // namespace usbgpu::fuzz
