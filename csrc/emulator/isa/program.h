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

struct ProgramOptions {
  bool strict = false;    // loads deliver with the wait that covers them
  bool counting = false;  // an ".access" before each access to memory and LDS
  bool watched = false;   // a ".watch" before each instruction
};

// Code reachable from one kernel entry. Several workers run it; decoding is under a lock, running
// is not (an Inst changes only in `target`, atomically).
class Program {
 public:
  Program(Arch arch, bool wave64, AddressSpace& memory, ProgramOptions options)
      : arch_(arch), wave64_(wave64), memory_(&memory), options_(options) {}

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
  const ProgramOptions options_;
  std::mutex mutex_;
  std::unordered_map<uint64_t, const Inst*> blocks_;  // by address | variant (addresses are multiples of 4)
  std::vector<Chunk> chunks_;
};

// Programs by entry address.
class ProgramCache {
 public:
  explicit ProgramCache(ProgramOptions options) : options_(options) {}
  std::shared_ptr<Program> get(Arch arch, bool wave64, uint64_t entry, AddressSpace& memory);
  void invalidate() { ++epoch_; }

 private:
  struct Cached {
    std::shared_ptr<Program> program;
    uint64_t epoch, generation;
  };
  const ProgramOptions options_;
  std::mutex mutex_;
  std::unordered_map<uint64_t, Cached> programs_;  // by entry | wave64
  std::atomic<uint64_t> epoch_{1};
};

// Text of the instructions around `pc`, the faulting one marked, for fault records.
std::string disassembly_around(Arch arch, AddressSpace& memory, uint64_t pc, uint64_t lowest);

}  // namespace usbgpu::emulator::isa
