// Decoded code: blocks of Insts by address, decoded on first execution and kept across dispatches
// as long as the bytes are the same.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "emulator/isa/dispatch.h"
#include "emulator/isa/inst.h"

namespace usbgpu::emulator::isa {

// Code reachable from one kernel entry. Several workers run it; decoding is under a lock, running
// is not (an Inst changes only in `target`, atomically).
class Program {
 public:
  Program(Arch arch, bool wave64, AddressSpace& memory, bool strict, bool watched = false)
      : arch_(arch), wave64_(wave64), memory_(&memory), strict_(strict), watched_(watched) {}

  const Inst* at(uint64_t pc, uint8_t variant);  // first Inst of the block that begins at pc. variant: FloatVariant
  // False when bytes in memory differ from what was decoded.
  bool still_valid(AddressSpace& memory);
  Arch arch() const { return arch_; }
  bool wave64() const { return wave64_; }
  AddressSpace& memory() { return *memory_; }

 private:
  struct Chunk {
    uint64_t va = 0;
    std::vector<uint32_t> words;
    std::unique_ptr<Inst[]> insts;
  };
  const Inst* decode_from(uint64_t pc, uint8_t variant);

  Arch arch_;
  bool wave64_;
  AddressSpace* memory_;
  bool strict_;
  bool watched_;  // a ".watch" before each instruction
  std::mutex mutex_;
  std::unordered_map<uint64_t, const Inst*> blocks_;  // by address | variant (addresses are multiples of 4)
  std::vector<Chunk> chunks_;
};

// Programs by entry address.
class ProgramCache {
 public:
  explicit ProgramCache(bool strict, bool watched = false) : strict_(strict), watched_(watched) {}
  std::shared_ptr<Program> get(Arch arch, bool wave64, uint64_t entry, AddressSpace& memory);
  void invalidate() { ++epoch_; }

 private:
  struct Cached {
    std::shared_ptr<Program> program;
    uint64_t epoch, generation;
  };
  const bool strict_, watched_;
  std::mutex mutex_;
  std::unordered_map<uint64_t, Cached> programs_;  // by entry | wave64
  std::atomic<uint64_t> epoch_{1};
};

// Text of the instructions around `pc`, the faulting one marked, for fault records.
std::string disassembly_around(Arch arch, AddressSpace& memory, uint64_t pc, uint64_t lowest);

}  // namespace usbgpu::emulator::isa
