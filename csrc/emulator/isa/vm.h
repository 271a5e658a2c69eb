// Virtual memory as one worker thread sees it: a TLB before the AddressSpace.
//
// An entry is a range with one translation. It is found by the 2 MiB or by the 4 KiB page of the
// address, so large mappings need one entry and small ones do not evict each other.
#pragma once

#include <cstddef>
#include <cstdint>

#include "emulator/isa/wave.h"

namespace usbgpu::emulator {
class AddressSpace;
}

namespace usbgpu::emulator::isa {

struct TlbEntry {
  uint64_t lo = 1, hi = 0;   // [lo, hi); empty: never hits
  uintptr_t delta = 0;       // host = va + delta
  uint8_t read = 0, write = 0;
};

struct Memory {
  TlbEntry large[256];
  TlbEntry small[256];
  AddressSpace* space = nullptr;
  uint64_t generation = 0;
};

constexpr uint64_t kTlbMaxRun = uint64_t{1} << 31;  // lane offsets inside an entry fit 31 bits

void memory_attach(Memory& memory, AddressSpace& space);
// Drops everything when the address space says that translations may have changed.
void memory_refresh(Memory& memory);

// The entry for an access which the TLB does not have, or nullptr where there is no direct host
// memory (behind the bridge, unmapped, not permitted): then memory_read/memory_write decide.
const TlbEntry* memory_fill(Memory& memory, uint64_t va, uint32_t bytes, bool write);

// Any address, any page mix. False: not mapped or not permitted (the fault is recorded).
bool memory_read(Memory& memory, uint64_t va, void* into, uint32_t bytes);
bool memory_write(Memory& memory, uint64_t va, const void* from, uint32_t bytes);

// Where an atomic that is in no TLB goes: recorded as an atomic access where it faults.
struct AtomicPlace {
  bool good;
  void* host;  // null: behind the bridge
};
AtomicPlace memory_atomic_walk(Memory& memory, uint64_t va, uint32_t bytes);

// Host pointer for an atomic, nullptr where the page has none (then memory_read/memory_write under
// memory_atomic_lock, which makes it atomic against other waves, not against the bridge).
void* memory_atomic(Memory& memory, uint64_t va, uint32_t bytes);
void memory_atomic_lock();
void memory_atomic_unlock();

// Stops the wave at `i`. Returns nullptr for the handler to return. kind: WaveFault::Kind.
const Inst* raise(Wave& wave, const Inst* i, uint8_t kind, uint64_t address, uint8_t access);
// First execution of a branch: finds or decodes the block at `pc`; remembers it in i->target.
const Inst* resolve(Wave& wave, const Inst* i, uint64_t pc);
// ".access": segments and bank conflicts of the access that follows (counters.cpp).
void count_access(Wave& wave, const Inst* i);
// Indirect jumps: nothing is remembered.
const Inst* jump(Wave& wave, uint64_t pc);
// Asks the worker's observer; i + 1, or where it sends the wave.
const Inst* watch(Wave& wave, const Inst* i);

}  // namespace usbgpu::emulator::isa
