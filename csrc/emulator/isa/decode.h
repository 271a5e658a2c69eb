// Bytes -> one instruction with its fields, by the generated tables.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "emulator/isa/dispatch.h"
#include "emulator/isa/opcode_tables.h"

namespace usbgpu::emulator::isa {

constexpr unsigned kMaxDwords = 4;

struct Decoded {
  Arch arch = Arch::gfx11;
  const OpRow* row = nullptr;      // nullptr: no such instruction
  const OpRow* row_y = nullptr;    // VOPD's second half
  const FormatRow* format = nullptr;
  uint32_t bytes = 4;
  bool has_literal = false;
  uint32_t literal = 0;
  enum class Dpp : uint8_t { none, dpp16, dpp8 } dpp = Dpp::none;
  bool dpp8_fetch_inactive = false;
  uint32_t dpp_word = 0;
  std::array<uint32_t, static_cast<size_t>(Field::count)> fields{};

  uint32_t operator[](Field f) const { return fields[static_cast<size_t>(f)]; }
  // Number of the register or source code of an operand, with the operand's field resolved:
  // src0 of a DPP instruction is the VGPR named in the control dword.
  uint32_t code(const OperandRow& operand) const;
};

const ArchTables& tables_of(Arch arch);

// `words` holds what is readable at the address, at least one dword. A row of nullptr means
// illegal; missing words at the end count as zero.
Decoded decode(Arch arch, std::span<const uint32_t> words);

// LLVM-like text: "v_add_f32_e32 v2, v2, v3". `pc` resolves branch targets; illegal words become
// ".long 0x...".
std::string disassemble(const Decoded& instruction, std::span<const uint32_t> words, uint64_t pc);

// Distance of a relative branch in bytes from its own address, for label operands.
int64_t branch_offset(const Decoded& instruction);

}  // namespace usbgpu::emulator::isa
