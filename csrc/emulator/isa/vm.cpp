#include "emulator/isa/vm.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "emulator/isa/dispatch.h"

namespace usbgpu::emulator::isa {
namespace {

constexpr uint64_t kLargePage = uint64_t{1} << 21, kSmallPage = uint64_t{1} << 12;

TlbEntry entry_of(uint64_t va, const Translation& t) {
  TlbEntry e;
  e.lo = va;
  e.hi = va + std::min(t.bytes, kTlbMaxRun);
  e.delta = reinterpret_cast<uintptr_t>(t.host) - va;
  e.read = t.readable;
  e.write = t.writable && t.writable_directly;
  return e;
}

std::mutex atomic_mutex;

}  // namespace

void memory_attach(Memory& memory, AddressSpace& space) {
  if (memory.space != &space || memory.generation != space.generation()) {
    std::fill(std::begin(memory.large), std::end(memory.large), TlbEntry{});
    std::fill(std::begin(memory.small), std::end(memory.small), TlbEntry{});
  }
  memory.space = &space;
  memory.generation = space.generation();
}

void memory_refresh(Memory& memory) { memory_attach(memory, *memory.space); }

const TlbEntry* memory_fill(Memory& memory, uint64_t va, uint32_t bytes, bool write) {
  TlbEntry& small = memory.small[va / kSmallPage % std::size(memory.small)];
  const auto covers = [&](const TlbEntry& e) { return va >= e.lo && va + bytes <= e.hi && (write ? e.write : e.read); };
  if (covers(small)) return &small;
  const Access access = write ? Access::write : Access::read;
  // Begin at the page's start, so that the entry also serves lower addresses.
  for (const uint64_t page : {kLargePage, kSmallPage}) {
    const uint64_t start = va & ~(page - 1);
    const auto t = memory.space->translate(start, access, true);
    if (!t || !t->host || t->bytes <= va - start) continue;
    const TlbEntry e = entry_of(start, *t);
    if (!covers(e)) continue;
    small = e;
    TlbEntry& large = memory.large[va / kLargePage % std::size(memory.large)];
    if (page == kLargePage) large = e;
    return &small;
  }
  return nullptr;
}

namespace {

// The part of an access that lies in one page, directly.
std::byte* direct(Memory& memory, uint64_t va, uint32_t bytes, bool write) {
  const TlbEntry* e = memory_fill(memory, va, bytes, write);
  return e ? reinterpret_cast<std::byte*>(va + e->delta) : nullptr;
}

}  // namespace

bool memory_read(Memory& memory, uint64_t va, void* into, uint32_t bytes) {
  if (const std::byte* host = direct(memory, va, bytes, false)) {
    std::memcpy(into, host, bytes);
    return true;
  }
  return memory.space->load(va, {static_cast<std::byte*>(into), bytes});
}

bool memory_write(Memory& memory, uint64_t va, const void* from, uint32_t bytes) {
  if (std::byte* host = direct(memory, va, bytes, true)) {
    std::memcpy(host, from, bytes);
    return true;
  }
  return memory.space->store(va, {static_cast<const std::byte*>(from), bytes});
}

AtomicPlace memory_atomic_walk(Memory& memory, uint64_t va, uint32_t bytes) {
  const auto t = memory.space->translate(va, Access::atomic);
  if (!t) return {false, nullptr};
  return {true, t->host && t->writable_directly && t->bytes >= bytes ? t->host : nullptr};
}

void* memory_atomic(Memory& memory, uint64_t va, uint32_t bytes) { return direct(memory, va, bytes, true); }
void memory_atomic_lock() { atomic_mutex.lock(); }
void memory_atomic_unlock() { atomic_mutex.unlock(); }

const Inst* raise(Wave& wave, const Inst* i, uint8_t kind, uint64_t address, uint8_t access) {
  wave.fault.kind = kind;
  wave.fault.access = access;
  wave.fault.address = address;
  wave.fault.pc = i->pc;
  wave.stop = Stop::fault;
  wave.next = i;
  return nullptr;
}

}  // namespace usbgpu::emulator::isa
