// The board's memory: one reservation of address space, backed page by page on first touch.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace usbgpu::emulator {

class Vram {
 public:
  explicit Vram(uint64_t bytes);
  ~Vram();
  Vram(const Vram&) = delete;
  Vram& operator=(const Vram&) = delete;

  uint64_t size() const { return bytes_; }
  std::byte* data() const { return data_; }
  bool contains(uint64_t paddr, uint64_t bytes) const { return paddr <= bytes_ && bytes <= bytes_ - paddr; }

  // Aligned single words as the memory controller does them: never torn.
  uint32_t read32(uint64_t paddr) const { return word<uint32_t>(paddr).load(std::memory_order_acquire); }
  uint64_t read64(uint64_t paddr) const { return word<uint64_t>(paddr).load(std::memory_order_acquire); }
  void write32(uint64_t paddr, uint32_t value) { word<uint32_t>(paddr).store(value, std::memory_order_release); }
  void write64(uint64_t paddr, uint64_t value) { word<uint64_t>(paddr).store(value, std::memory_order_release); }
  void write(uint64_t paddr, std::span<const std::byte> from) { std::memcpy(data_ + paddr, from.data(), from.size()); }

  void discard();  // power lost: all pages read as zero again

 private:
  template <typename T>
  std::atomic_ref<T> word(uint64_t paddr) const {
    return std::atomic_ref<T>(*reinterpret_cast<T*>(data_ + paddr));
  }
  std::byte* data_ = nullptr;
  uint64_t bytes_;
};

}  // namespace usbgpu::emulator
