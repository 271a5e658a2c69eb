// An MCS-51 (8051), as the ASM2464PD has one: the classic instruction set, 256 bytes of internal memory, and a data
// pointer whose bank is chosen by SFR 0x93 (asm2464pd-firmware handmade/src/main.c, DPX).
//
// Instruction set and cycles: Intel, MCS 51 Microcontroller Family User's Manual (1994), chapter 2.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace usbgpu::emulator::mcs51 {

namespace sfr {
constexpr uint8_t sp = 0x81, dpl = 0x82, dph = 0x83, dpx = 0x93, p2 = 0xA0, ie = 0xA8, psw = 0xD0, acc = 0xE0, b = 0xF0;
}

class Cpu {
 public:
  using Read = std::function<uint8_t(unsigned bank, uint16_t address)>;
  using Write = std::function<void(unsigned bank, uint16_t address, uint8_t value)>;

  Cpu(Read read, Write write) : code_(65536, 0xFF), read_(std::move(read)), write_(std::move(write)) {}

  void load(std::span<const uint8_t> code);  // at 0; the rest is 0xFF
  void reset();
  void step();
  void interrupt(unsigned number);  // 0: INT0. Pushes the program counter, jumps to 8 * number + 3

  bool accepts_interrupt(unsigned number) const {
    return !in_interrupt_ && sfr_[sfr::ie] & 0x80 && sfr_[sfr::ie] >> number & 1;
  }
  bool in_interrupt() const { return in_interrupt_; }
  uint64_t cycles() const { return cycles_; }  // machine cycles

  uint16_t pc() const { return pc_; }
  void set_pc(uint16_t pc) { pc_ = pc; }
  uint8_t direct(uint8_t address) const { return address < 128 ? ram_[address] : sfr_[address]; }
  void set_direct(uint8_t address, uint8_t value) { (address < 128 ? ram_[address] : sfr_[address]) = value; }
  uint8_t indirect(uint8_t address) const { return ram_[address]; }
  void set_indirect(uint8_t address, uint8_t value) { ram_[address] = value; }

 private:
  uint8_t fetch() { return code_[pc_++]; }
  uint8_t& acc() { return sfr_[sfr::acc]; }
  uint8_t& reg(unsigned n) { return ram_[(sfr_[sfr::psw] & 0x18) + n]; }
  uint8_t& at(unsigned n) { return ram_[reg(n & 1)]; }  // @R0, @R1
  uint16_t dptr() const { return static_cast<uint16_t>(sfr_[sfr::dph] << 8 | sfr_[sfr::dpl]); }
  bool carry() const { return sfr_[sfr::psw] & 0x80; }
  void set_carry(bool on);
  bool bit(uint8_t address) const;
  void set_bit(uint8_t address, bool on);
  void push(uint8_t value) { ram_[++sfr_[sfr::sp]] = value; }
  uint8_t pop() { return ram_[sfr_[sfr::sp]--]; }
  void push_pc();
  void jump_long();
  void branch(bool taken);
  void compare(uint8_t left, uint8_t right);
  void set_arithmetic(bool carry, bool half, bool overflow);
  void add(uint8_t value, bool carry_in);
  void subtract(uint8_t value);
  void decimal_adjust();
  uint8_t source(unsigned column);  // operand of the columns 4..15: immediate, direct, @Ri, Rn
  void column(uint8_t opcode);
  void accumulate(uint8_t opcode);
  void bits(uint8_t opcode);

  std::vector<uint8_t> code_;
  Read read_;
  Write write_;
  std::array<uint8_t, 256> ram_{}, sfr_{};
  uint16_t pc_ = 0;
  bool in_interrupt_ = false;
  uint64_t cycles_ = 0;
};

}  // namespace usbgpu::emulator::mcs51
