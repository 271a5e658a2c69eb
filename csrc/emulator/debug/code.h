// Instructions in a GPU's memory, read without side effects.
#pragma once

#include <cstring>
#include <optional>
#include <vector>

#include "emulator/isa/decode.h"

namespace usbgpu::emulator::debug {

// Bytes that can be read at `va`, at most `bytes`, without recording a fault.
inline std::vector<std::byte> peek(AddressSpace& memory, uint64_t va, size_t bytes) {
  std::vector<std::byte> out(bytes);
  size_t done = 0;
  while (done < bytes) {
    const auto t = memory.translate(va + done, Access::read, true);
    if (!t || !t->readable || t->bytes == 0) break;
    const size_t n = static_cast<size_t>(std::min<uint64_t>(bytes - done, t->bytes));
    if (t->host) std::memcpy(out.data() + done, t->host, n);
    else if (!memory.load(va + done, std::span(out).subspan(done, n))) break;
    done += n;
  }
  out.resize(done);
  return out;
}

struct Instruction {
  isa::Decoded decoded;
  std::string text;
};

inline std::optional<Instruction> instruction_at(AddressSpace& memory, Arch arch, uint64_t pc) {
  const std::vector<std::byte> bytes = peek(memory, pc, 4 * isa::kMaxDwords);
  std::vector<uint32_t> words(bytes.size() / 4);
  if (words.empty()) return std::nullopt;
  std::memcpy(words.data(), bytes.data(), words.size() * 4);
  Instruction i;
  i.decoded = isa::decode(arch, words);
  i.text = isa::disassemble(i.decoded, words, pc);
  return i;
}

}  // namespace usbgpu::emulator::debug
