#include "emulator/memory/accessor.h"

#include <algorithm>
#include <vector>

namespace usbgpu::emulator {

namespace {
constexpr uint64_t page_bytes = 4096;
}

const Accessor::Page* Accessor::find(uint64_t va, Access access) {
  Page& cached = pages_[va / page_bytes % pages_.size()];
  const uint64_t page = va & ~(page_bytes - 1), generation = hub_.generation();
  const bool writes = access != Access::read;
  if (cached.va == page && cached.generation == generation && (writes ? cached.writable : cached.readable)) return &cached;
  const auto place = hub_.resolve(va, access, cid_);
  if (!place) return nullptr;
  Page& made = place->fallback ? spare_ : cached;
  const uint64_t start = place->physical & ~(page_bytes - 1);
  made = {page, generation, start, nullptr, place->system, place->readable, place->writable};
  if (!place->system) made.host = board_.vram.data() + start;
  else if (board_.port && board_.bus_master.load())
    made.host = const_cast<std::byte*>(board_.port->readable_memory(start, page_bytes));
  return &made;
}

bool Accessor::read_page(const Page& page, uint64_t va, std::span<std::byte> into) {
  if (page.host) {
    std::memcpy(into.data(), page.host + (va & (page_bytes - 1)), into.size());
  } else if (!board_.port || !board_.bus_master.load() ||
             !board_.port->dma_read(page.physical + (va & (page_bytes - 1)), into)) {
    std::memset(into.data(), 0xFF, into.size());  // nobody answers: all ones
  }
  return true;
}

void Accessor::write_page(const Page& page, uint64_t va, std::span<const std::byte> from) {
  if (!page.system) std::memcpy(page.host + (va & (page_bytes - 1)), from.data(), from.size());
  else if (board_.port && board_.bus_master.load()) board_.port->dma_write(page.physical + (va & (page_bytes - 1)), from);
}

bool Accessor::read(uint64_t va, std::span<std::byte> into) {
  while (!into.empty()) {
    const size_t bytes = std::min<uint64_t>(into.size(), page_bytes - (va & (page_bytes - 1)));
    const Page* page = find(va, Access::read);
    if (!page) return false;
    read_page(*page, va, into.first(bytes));
    into = into.subspan(bytes);
    va += bytes;
  }
  return true;
}

bool Accessor::write(uint64_t va, std::span<const std::byte> from) {
  while (!from.empty()) {
    const size_t bytes = std::min<uint64_t>(from.size(), page_bytes - (va & (page_bytes - 1)));
    const Page* page = find(va, Access::write);
    if (!page) return false;
    write_page(*page, va, from.first(bytes));
    from = from.subspan(bytes);
    va += bytes;
  }
  board_.wake.notify();
  return true;
}

// Runs as long as both sides are contiguous; one burst per run on the bus side.
bool Accessor::copy(uint64_t to, uint64_t from, uint64_t bytes) {
  constexpr uint64_t burst = 64 << 10;
  std::vector<std::byte> buffer;
  while (bytes) {
    const auto source = hub_.resolve(from, Access::read, cid_);
    if (!source) return false;
    const auto target = hub_.resolve(to, Access::write, cid_);
    if (!target) return false;
    uint64_t run = std::min({bytes, source->bytes, target->bytes});
    if (source->system || target->system) run = std::min(run, burst);
    const bool bus = board_.port && board_.bus_master.load();
    const std::byte* at = nullptr;
    if (!source->system) {
      at = board_.vram.data() + source->physical;
    } else {
      if (bus) at = board_.port->readable_memory(source->physical, run);
      if (!at) {
        buffer.resize(run);
        if (!bus || !board_.port->dma_read(source->physical, buffer)) std::fill(buffer.begin(), buffer.end(), std::byte{0xFF});
        at = buffer.data();
      }
    }
    if (!target->system) std::memmove(board_.vram.data() + target->physical, at, run);
    else if (bus) board_.port->dma_write(target->physical, {at, run});
    from += run;
    to += run;
    bytes -= run;
  }
  board_.wake.notify();
  return true;
}

bool Accessor::fill(uint64_t to, uint32_t pattern, uint64_t bytes) {
  std::vector<uint32_t> block(std::min<uint64_t>((bytes + 3) / 4, 16 << 10), pattern);
  const uint64_t block_bytes = block.size() * 4;
  for (uint64_t done = 0; done < bytes;) {
    const auto target = hub_.resolve(to + done, Access::write, cid_);
    if (!target) return false;
    // the pattern's phase follows the offset from the start
    const uint64_t phase = done % 4;
    const uint64_t run = std::min({bytes - done, target->bytes, block_bytes - phase});
    const std::span<const std::byte> from(reinterpret_cast<const std::byte*>(block.data()) + phase, run);
    if (!target->system) board_.vram.write(target->physical, from);
    else if (board_.port && board_.bus_master.load()) board_.port->dma_write(target->physical, from);
    done += run;
  }
  board_.wake.notify();
  return true;
}

}  // namespace usbgpu::emulator
