// Memory as an engine (MEC, SDMA) reaches it: translated by the GC hub, small accesses through a
// handful of cached pages so that polling costs little.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "emulator/ip/board.h"
#include "emulator/memory/hub.h"

namespace usbgpu::emulator {

class Accessor {
 public:
  Accessor(Board& board, Hub& hub, uint32_t cid) : board_(board), hub_(hub), cid_(cid) {}

  // false: the access faulted (and the hub has recorded it).
  bool read(uint64_t va, std::span<std::byte> into);
  bool write(uint64_t va, std::span<const std::byte> from);
  bool copy(uint64_t to, uint64_t from, uint64_t bytes);
  bool fill(uint64_t to, uint32_t pattern, uint64_t bytes);  // the pattern repeats every four bytes

  // Naturally aligned words are single accesses: never torn.
  std::optional<uint32_t> read32(uint64_t va) { return word<uint32_t>(va); }
  std::optional<uint64_t> read64(uint64_t va) { return word<uint64_t>(va); }
  bool write32(uint64_t va, uint32_t value) { return put(va, value); }
  bool write64(uint64_t va, uint64_t value) { return put(va, value); }
  bool fetch(uint64_t va, std::span<uint32_t> dwords) { return read(va, std::as_writable_bytes(dwords)); }

  // old value; `change` maps old to new. Only on VRAM, as on hardware behind this bridge.
  template <typename T, typename Change>
  std::optional<T> atomic(uint64_t va, Change change) {
    const Page* page = find(va, Access::atomic);
    if (!page || page->system || va % sizeof(T)) return std::nullopt;
    std::atomic_ref<T> cell(*reinterpret_cast<T*>(page->host + (va & 4095)));
    T old = cell.load();
    while (!cell.compare_exchange_weak(old, change(old))) {
    }
    board_.wake.notify();
    return old;
  }

 private:
  struct Page {
    uint64_t va = ~uint64_t{0}, generation = 0, physical = 0;
    std::byte* host = nullptr;  // VRAM, or the bridge's readable memory
    bool system = false, readable = false, writable = false;
  };
  const Page* find(uint64_t va, Access access);
  bool read_page(const Page& page, uint64_t va, std::span<std::byte> into);
  void write_page(const Page& page, uint64_t va, std::span<const std::byte> from);

  template <typename T>
  std::optional<T> word(uint64_t va) {
    T value{};
    if (va % sizeof(T) == 0) {
      const Page* page = find(va, Access::read);
      if (!page) return std::nullopt;
      if (page->host) return std::atomic_ref<T>(*reinterpret_cast<T*>(page->host + (va & 4095))).load(std::memory_order_acquire);
    }
    if (!read(va, std::as_writable_bytes(std::span(&value, 1)))) return std::nullopt;
    return value;
  }
  template <typename T>
  bool put(uint64_t va, T value) {
    if (va % sizeof(T) == 0) {
      const Page* page = find(va, Access::write);
      if (!page) return false;
      if (!page->system) {
        std::atomic_ref<T>(*reinterpret_cast<T*>(page->host + (va & 4095))).store(value, std::memory_order_release);
        board_.wake.notify();
        return true;
      }
    }
    return write(va, std::as_bytes(std::span(&value, 1)));
  }

  Board& board_;
  Hub& hub_;
  const uint32_t cid_;
  std::array<Page, 16> pages_;
  Page spare_;  // the default page is never remembered
};

}  // namespace usbgpu::emulator
