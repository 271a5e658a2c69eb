// What the parts of the disassembler share: disasm.cpp (vector), disasm_scalar.cpp, disasm_memory.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "emulator/isa/decode.h"

namespace usbgpu::emulator::isa::text {

std::string hex(uint64_t value);
// Numbers that have an inline encoding are written in decimal, others in hexadecimal.
std::string number(int64_t value);
std::string range(const char* prefix, unsigned first, unsigned count);
inline std::string vgprs(unsigned first, unsigned count) { return range("v", first, count); }

// Registers an operand covers; a lane mask is one (the text is that of wave32).
inline unsigned dwords(const OperandRow& o) { return o.bits == 0 ? 1 : (o.bits + 31) / 32; }
std::string scalar_register(uint32_t code, unsigned count);
// Any source but a VGPR. `literal`: what the literal dword says.
std::string constant_or_scalar(uint32_t code, const OperandRow& o, uint32_t literal);

const OperandRow* find_operand(const OpRow& op, Field field);

struct List {
  std::string text;
  void add(const std::string& item) { text += (text.empty() ? " " : ", ") + item; }
};

std::string scalar(const Decoded& d, uint64_t pc);
std::string smem(const Decoded& d);
std::string ds(const Decoded& d);
std::string lds_direct(const Decoded& d);
std::string flat(const Decoded& d);
std::string buffer(const Decoded& d);
std::string image(const Decoded& d);
std::string exported(const Decoded& d);

}  // namespace usbgpu::emulator::isa::text
