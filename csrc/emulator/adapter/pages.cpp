#include "emulator/adapter/pages.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

namespace usbgpu::emulator {

namespace {
// Reset values under the custom firmware: the completion page is known to be 0x822, the rest follows.
constexpr uint16_t reset_numbers[page_count] = {0x800, 0x802, 0x820, 0x822};

std::byte* allocate(size_t bytes) {
  auto* memory = static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{page_bytes}));
  std::memset(memory, 0, bytes);
  return memory;
}

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}
}  // namespace

void Pages::Free::operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{page_bytes}); }

Pages::Pages(Observer& observer) : observer_(observer), sram_(allocate(sram_bytes)) {
  for (unsigned i = 0; i < page_count; ++i) {
    pages_[i].reset(allocate(page_bytes));
    numbers_[i] = reset_numbers[i];
  }
}

void Pages::clear() {
  std::memset(sram_.get(), 0, sram_bytes);
  for (unsigned i = 0; i < page_count; ++i) {
    std::memset(pages_[i].get(), 0, page_bytes);
    numbers_[i] = reset_numbers[i];
  }
  tick();
}

void store_ascending(std::byte* to, const std::byte* from, size_t bytes) {
  constexpr size_t block = 512;  // the sentinel of a window is the last dword of a sector
  while (bytes >= block) {
    std::memcpy(to, from, block - 4);
    uint32_t last;
    std::memcpy(&last, from + block - 4, 4);
    __atomic_store_n(reinterpret_cast<uint32_t*>(to + block - 4), last, __ATOMIC_RELEASE);
    to += block, from += block, bytes -= block;
  }
  while (bytes && (reinterpret_cast<uintptr_t>(to) & 3 || bytes < 4)) {
    __atomic_store_n(reinterpret_cast<uint8_t*>(to++), static_cast<uint8_t>(*from++), __ATOMIC_RELEASE);
    --bytes;
  }
  for (; bytes >= 8 && !(reinterpret_cast<uintptr_t>(to) & 7); to += 8, from += 8, bytes -= 8) {
    uint64_t value;
    std::memcpy(&value, from, 8);
    __atomic_store_n(reinterpret_cast<uint64_t*>(to), value, __ATOMIC_RELEASE);
  }
  for (; bytes >= 4; to += 4, from += 4, bytes -= 4) {
    uint32_t value;
    std::memcpy(&value, from, 4);
    __atomic_store_n(reinterpret_cast<uint32_t*>(to), value, __ATOMIC_RELEASE);
  }
  for (; bytes; --bytes)
    __atomic_store_n(reinterpret_cast<uint8_t*>(to++), static_cast<uint8_t>(*from++), __ATOMIC_RELEASE);
}

Pages::Place Pages::locate(uint64_t address, size_t bytes) {
  if (address >= sram_bus_address && address < sram_bus_address + sram_bytes) {
    const auto offset = static_cast<uint32_t>(address - sram_bus_address);
    return {sram_.get() + offset, std::min<size_t>(bytes, sram_bytes - offset), -1, offset};
  }
  const auto in_page = static_cast<uint32_t>(address % page_bytes);
  const size_t length = std::min<size_t>(bytes, page_bytes - in_page);
  for (unsigned i = 0; i < page_count; ++i)
    if (address / page_bytes == numbers_[i].load(std::memory_order_acquire))
      return {pages_[i].get() + in_page, length, static_cast<int>(i), in_page};
  return {nullptr, length, -1, 0};
}

bool Pages::allowed(const char* what, uint64_t address) {
  if (!upstream_enabled || upstream_enabled()) return true;
  observer_.violation_elsewhere("dma-without-bus-master",
                                std::string("the GPU ") + what + " " + hex(address) +
                                    " while bus mastering is off on the way up or the link is down");
  return false;
}

bool Pages::dma_read(uint64_t address, std::span<std::byte> into) {
  if (!allowed("read", address)) {
    std::memset(into.data(), 0xFF, into.size());
    return false;
  }
  bool claimed = true;
  for (size_t done = 0; done < into.size();) {
    const Place place = locate(address + done, into.size() - done);
    if (place.memory) {
      std::atomic_thread_fence(std::memory_order_acquire);
      store_ascending(into.data() + done, place.memory, place.bytes);
    } else {
      observer_.violation_elsewhere("dma-unclaimed", "the GPU read " + hex(address + done) + ", which nobody claims");
      std::memset(into.data() + done, 0xFF, place.bytes);
      claimed = false;
    }
    done += place.bytes;
  }
  return claimed;
}

bool Pages::dma_write(uint64_t address, std::span<const std::byte> from) {
  if (!allowed("wrote", address)) return false;
  bool claimed = true;
  for (size_t done = 0; done < from.size();) {
    const Place place = locate(address + done, from.size() - done);
    if (place.memory) {
      if (tearing && (place.page >= 0 || place.offset < page_bytes)) remember(place.page >= 0 ? place.page : sram_window);
      store_ascending(place.memory, from.data() + done, place.bytes);
      if (place.page >= 0) wrote_page(static_cast<PageIndex>(place.page), place.offset, place.bytes);
    } else {
      observer_.violation_elsewhere("dma-unclaimed", "the GPU wrote " + hex(address + done) + ", which nobody claims");
      claimed = false;
    }
    done += place.bytes;
  }
  return claimed;
}

void Pages::remember(int window) {
  const uint64_t now = epoch_.load(std::memory_order_acquire);
  std::lock_guard lock(shadow_mutex_);
  Shadow& shadow = shadows_[static_cast<unsigned>(window)];
  if (shadow.epoch == now) return;
  shadow.epoch = now;
  std::memcpy(shadow.before.data(), window == sram_window ? sram_.get() : pages_[window].get(), page_bytes);
}

bool Pages::torn_byte(int window, uint32_t offset, uint32_t position, uint8_t& value) {
  if (position >= torn_split_) return false;
  std::lock_guard lock(shadow_mutex_);
  const Shadow& shadow = shadows_[static_cast<unsigned>(window)];
  if (shadow.epoch != epoch_.load(std::memory_order_acquire)) return false;
  value = static_cast<uint8_t>(shadow.before[offset]);
  return true;
}

void Pages::wrote_page(PageIndex page, uint32_t offset, size_t bytes) {
  if (page == io_completion && offset <= 15 && offset + bytes > 12) {
    uint32_t value = __atomic_load_n(reinterpret_cast<const uint32_t*>(pages_[page].get() + 12), __ATOMIC_ACQUIRE);
    if (on_release) on_release(value);
  }
  // The engine builds its own 64-byte submission entries in the lower half while data streams in.
  if (page == io_submission && offset < 0x800 && sram_engine_streaming && sram_engine_streaming())
    observer_.violation_elsewhere("submission-page-collision",
                                  "the GPU wrote to offset " + hex(offset) +
                                      " of the submission page while bulk data streams into the SRAM");
}

const std::byte* Pages::readable_memory(uint64_t address, size_t bytes) {
  if (address < sram_bus_address || address >= sram_bus_address + sram_bytes) return nullptr;
  const uint64_t offset = address - sram_bus_address;
  return bytes <= sram_bytes - offset ? sram_.get() + offset : nullptr;
}

uint8_t Pages::page_byte(PageIndex page, uint32_t offset) const {
  return __atomic_load_n(reinterpret_cast<const uint8_t*>(pages_[page].get() + offset), __ATOMIC_ACQUIRE);
}

void Pages::set_page_byte(PageIndex page, uint32_t offset, uint8_t value) {
  __atomic_store_n(reinterpret_cast<uint8_t*>(pages_[page].get() + offset), value, __ATOMIC_RELEASE);
  if (!tearing) return;
  std::lock_guard lock(shadow_mutex_);  // the host's own write is no surprise to it
  shadows_[page].before[offset] = static_cast<std::byte>(value);
}

}  // namespace usbgpu::emulator
