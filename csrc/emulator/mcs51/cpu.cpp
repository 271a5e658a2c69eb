#include "emulator/mcs51/cpu.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace usbgpu::emulator::mcs51 {

namespace {
constexpr uint8_t flag_half = 0x40, flag_overflow = 0x04, flag_carry = 0x80;

// Machine cycles by opcode, from the manual's table: one row per high nibble.
constexpr std::array<uint8_t, 256> cycle_table = [] {
  std::array<uint8_t, 256> cycles{};
  cycles.fill(1);
  for (unsigned row = 0; row < 16; ++row) {
    cycles[row << 4 | 1] = 2;                                     // AJMP, ACALL
    if (row < 9) cycles[row << 4] = row == 0 ? 1 : 2;             // JBC .. SJMP
    if (row == 8 || row == 10 || row == 11 || row == 13)          // MOV dir,Rn; MOV Rn,dir; CJNE; DJNZ
      for (unsigned n = 8; n < 16; ++n) cycles[row << 4 | n] = 2;
    if (row == 8 || row == 10 || row == 11)                       // MOV dir,@Ri; MOV @Ri,dir; CJNE @Ri
      for (unsigned n = 6; n < 8; ++n) cycles[row << 4 | n] = 2;
  }
  for (unsigned opcode : {0x02, 0x12, 0x22, 0x32, 0x43, 0x53, 0x63, 0x72, 0x73, 0x75, 0x82, 0x83, 0x85, 0x90, 0x92,
                          0x93, 0xA0, 0xA3, 0xB0, 0xB4, 0xB5, 0xC0, 0xD0, 0xD5, 0xE0, 0xE2, 0xE3, 0xF0, 0xF2, 0xF3})
    cycles[opcode] = 2;
  cycles[0x84] = cycles[0xA4] = 4;                                // DIV, MUL
  return cycles;
}();
}  // namespace

void Cpu::load(std::span<const uint8_t> code) {
  std::fill(code_.begin(), code_.end(), uint8_t{0xFF});
  std::copy_n(code.begin(), std::min(code.size(), code_.size()), code_.begin());
}

void Cpu::reset() {
  ram_.fill(0);
  sfr_.fill(0);
  sfr_[sfr::sp] = 7;
  pc_ = 0;
  in_interrupt_ = false;
}

void Cpu::interrupt(unsigned number) {
  push_pc();
  pc_ = static_cast<uint16_t>(8 * number + 3);
  in_interrupt_ = true;
  cycles_ += 2;
}

void Cpu::set_carry(bool on) {
  sfr_[sfr::psw] = static_cast<uint8_t>(on ? sfr_[sfr::psw] | flag_carry : sfr_[sfr::psw] & ~flag_carry);
}

bool Cpu::bit(uint8_t address) const {
  const uint8_t byte = address < 128 ? ram_[0x20 + address / 8] : sfr_[address & 0xF8];
  return byte >> (address & 7) & 1;
}

void Cpu::set_bit(uint8_t address, bool on) {
  uint8_t& byte = address < 128 ? ram_[0x20 + address / 8] : sfr_[address & 0xF8];
  const unsigned mask = 1u << (address & 7);
  byte = static_cast<uint8_t>(on ? byte | mask : byte & ~mask);
}

void Cpu::push_pc() {
  push(static_cast<uint8_t>(pc_));
  push(static_cast<uint8_t>(pc_ >> 8));
}

void Cpu::jump_long() {
  const uint8_t high = fetch(), low = fetch();
  pc_ = static_cast<uint16_t>(high << 8 | low);
}

void Cpu::branch(bool taken) {
  const auto distance = static_cast<int8_t>(fetch());
  if (taken) pc_ = static_cast<uint16_t>(pc_ + distance);
}

void Cpu::compare(uint8_t left, uint8_t right) {
  set_carry(left < right);
  branch(left != right);
}

void Cpu::set_arithmetic(bool carry, bool half, bool overflow) {
  const unsigned kept = sfr_[sfr::psw] & ~(flag_carry | flag_half | flag_overflow);
  sfr_[sfr::psw] =
      static_cast<uint8_t>(kept | (carry ? flag_carry : 0) | (half ? flag_half : 0) | (overflow ? flag_overflow : 0));
}

void Cpu::add(uint8_t value, bool carry_in) {
  const unsigned a = acc(), sum = a + value + carry_in;
  set_arithmetic(sum > 0xFF, (a & 15) + (value & 15u) + carry_in > 15, ~(a ^ value) & (a ^ sum) & 0x80);
  acc() = static_cast<uint8_t>(sum);
}

void Cpu::subtract(uint8_t value) {
  const int a = acc(), borrow = carry(), difference = a - value - borrow;
  set_arithmetic(difference < 0, (a & 15) - (value & 15) - borrow < 0, (a ^ value) & (a ^ difference) & 0x80);
  acc() = static_cast<uint8_t>(difference);
}

void Cpu::decimal_adjust() {
  unsigned a = acc();
  if ((a & 15) > 9 || sfr_[sfr::psw] & flag_half) a += 6;
  if (a > 0xFF) set_carry(true);  // DA sets the carry and never clears it
  if ((a >> 4 & 0xF) > 9 || carry()) a += 0x60;
  if (a > 0xFF) set_carry(true);
  acc() = static_cast<uint8_t>(a);
}

uint8_t Cpu::source(unsigned column) {
  if (column == 4) return fetch();
  if (column == 5) return direct(fetch());
  return column < 8 ? at(column) : reg(column & 7);
}

void Cpu::step() {
  const uint8_t opcode = fetch();
  cycles_ += cycle_table[opcode];
  const unsigned low = opcode & 15;
  if (low == 1) {  // AJMP, ACALL: within 2 KiB
    const uint8_t page_offset = fetch();
    const auto target = static_cast<uint16_t>((pc_ & 0xF800) | (opcode >> 5) << 8 | page_offset);
    if (opcode & 0x10) push_pc();
    pc_ = target;
  } else if (low >= 6) {
    column(opcode);
  } else if (low == 0 || low == 2 || low == 3) {
    bits(opcode);
  } else {
    accumulate(opcode);
  }
  // PSW.0 is the parity of the accumulator, whatever was written there.
  sfr_[sfr::psw] = static_cast<uint8_t>((sfr_[sfr::psw] & ~1) | (std::popcount(acc()) & 1));
}

// Columns 6..15: @R0, @R1, R0..R7.
void Cpu::column(uint8_t opcode) {
  const unsigned low = opcode & 15;
  uint8_t& operand = low < 8 ? at(low) : reg(low & 7);
  switch (opcode >> 4) {
    case 0x0: ++operand; return;                                         // INC
    case 0x1: --operand; return;                                         // DEC
    case 0x2: return add(operand, false);                                // ADD
    case 0x3: return add(operand, carry());                              // ADDC
    case 0x4: acc() |= operand; return;                                  // ORL
    case 0x5: acc() &= operand; return;                                  // ANL
    case 0x6: acc() ^= operand; return;                                  // XRL
    case 0x7: operand = fetch(); return;                                 // MOV ,#
    case 0x8: set_direct(fetch(), operand); return;                      // MOV direct,
    case 0x9: return subtract(operand);                                  // SUBB
    case 0xA: operand = direct(fetch()); return;                         // MOV ,direct
    case 0xB: { const uint8_t value = fetch(); return compare(operand, value); }  // CJNE
    case 0xC: std::swap(acc(), operand); return;                         // XCH
    case 0xD:
      if (low < 8) {                                                     // XCHD
        const auto digit = static_cast<uint8_t>(operand & 15);
        operand = static_cast<uint8_t>((operand & 0xF0) | (acc() & 15));
        acc() = static_cast<uint8_t>((acc() & 0xF0) | digit);
        return;
      }
      --operand;                                                         // DJNZ
      return branch(operand != 0);
    case 0xE: acc() = operand; return;                                   // MOV A,
    case 0xF: operand = acc(); return;                                   // MOV ,A
  }
}

// Columns 4 and 5: mostly "A with an immediate or a direct byte".
void Cpu::accumulate(uint8_t opcode) {
  switch (opcode) {
    case 0x04: ++acc(); return;
    case 0x14: --acc(); return;
    case 0x05: { const uint8_t a = fetch(); return set_direct(a, static_cast<uint8_t>(direct(a) + 1)); }
    case 0x15: { const uint8_t a = fetch(); return set_direct(a, static_cast<uint8_t>(direct(a) - 1)); }
    case 0x74: acc() = fetch(); return;                                  // MOV A,#
    case 0x75: { const uint8_t a = fetch(); return set_direct(a, fetch()); }
    case 0x84: {                                                         // DIV AB
      const unsigned dividend = acc(), divisor = sfr_[sfr::b];
      set_arithmetic(false, sfr_[sfr::psw] & flag_half, divisor == 0);
      if (divisor == 0) return;
      acc() = static_cast<uint8_t>(dividend / divisor);
      sfr_[sfr::b] = static_cast<uint8_t>(dividend % divisor);
      return;
    }
    case 0x85: { const uint8_t from = fetch(); return set_direct(fetch(), direct(from)); }  // MOV direct,direct
    case 0xA4: {                                                         // MUL AB
      const unsigned product = unsigned{acc()} * sfr_[sfr::b];
      acc() = static_cast<uint8_t>(product);
      sfr_[sfr::b] = static_cast<uint8_t>(product >> 8);
      return set_arithmetic(false, sfr_[sfr::psw] & flag_half, product > 0xFF);
    }
    case 0xA5: return;                                                   // reserved
    case 0xB4: { const uint8_t value = fetch(); return compare(acc(), value); }
    case 0xB5: { const uint8_t value = direct(fetch()); return compare(acc(), value); }
    case 0xC4: acc() = static_cast<uint8_t>(acc() << 4 | acc() >> 4); return;  // SWAP
    case 0xC5: {                                                         // XCH A,direct
      const uint8_t a = fetch(), value = direct(a);
      set_direct(a, acc());
      acc() = value;
      return;
    }
    case 0xD4: return decimal_adjust();
    case 0xD5: {                                                         // DJNZ direct
      const uint8_t a = fetch();
      set_direct(a, static_cast<uint8_t>(direct(a) - 1));
      return branch(direct(a) != 0);
    }
    case 0xE4: acc() = 0; return;
    case 0xE5: acc() = direct(fetch()); return;
    case 0xF4: acc() = static_cast<uint8_t>(~acc()); return;
    case 0xF5: return set_direct(fetch(), acc());
  }
  const uint8_t value = source(opcode & 15);
  switch (opcode >> 4) {
    case 0x2: return add(value, false);
    case 0x3: return add(value, carry());
    case 0x4: acc() |= value; return;
    case 0x5: acc() &= value; return;
    case 0x6: acc() ^= value; return;
    case 0x9: return subtract(value);
  }
}

// Columns 0, 2 and 3: jumps, bits, rotations, external memory.
void Cpu::bits(uint8_t opcode) {
  const auto paged = [this](uint8_t code) { return static_cast<uint16_t>(sfr_[sfr::p2] << 8 | reg(code & 1)); };
  const auto merge = [this](unsigned operation, uint8_t address, uint8_t value) {
    const uint8_t old = direct(address);
    set_direct(address, operation == 4 ? old | value : operation == 5 ? old & value : old ^ value);
  };
  switch (opcode) {
    case 0x00: return;                                                   // NOP
    case 0x10: {                                                         // JBC
      const uint8_t b = fetch();
      const bool on = bit(b);
      if (on) set_bit(b, false);
      return branch(on);
    }
    case 0x20: { const bool on = bit(fetch()); return branch(on); }      // JB
    case 0x30: { const bool on = bit(fetch()); return branch(!on); }     // JNB
    case 0x40: return branch(carry());
    case 0x50: return branch(!carry());
    case 0x60: return branch(acc() == 0);
    case 0x70: return branch(acc() != 0);
    case 0x80: return branch(true);                                      // SJMP
    case 0x90: sfr_[sfr::dph] = fetch(); sfr_[sfr::dpl] = fetch(); return;
    case 0xA0: set_carry(!bit(fetch()) || carry()); return;              // ORL C,/bit
    case 0xB0: set_carry(!bit(fetch()) && carry()); return;              // ANL C,/bit
    case 0xC0: return push(direct(fetch()));
    case 0xD0: { const uint8_t value = pop(); return set_direct(fetch(), value); }
    case 0xE0: acc() = read_(sfr_[sfr::dpx], dptr()); return;            // MOVX A,@DPTR
    case 0xF0: return write_(sfr_[sfr::dpx], dptr(), acc());

    case 0x02: return jump_long();
    case 0x12: {                                                         // LCALL
      const uint8_t high = fetch(), low = fetch();
      push_pc();
      pc_ = static_cast<uint16_t>(high << 8 | low);
      return;
    }
    case 0x22: case 0x32: {                                              // RET, RETI
      const uint8_t high = pop(), low = pop();
      pc_ = static_cast<uint16_t>(high << 8 | low);
      if (opcode == 0x32) in_interrupt_ = false;
      return;
    }
    case 0x42: case 0x52: case 0x62: { const uint8_t a = fetch(); return merge(opcode >> 4, a, acc()); }
    case 0x43: case 0x53: case 0x63: { const uint8_t a = fetch(); return merge(opcode >> 4, a, fetch()); }
    case 0x72: set_carry(bit(fetch()) || carry()); return;               // ORL C,bit
    case 0x82: set_carry(bit(fetch()) && carry()); return;               // ANL C,bit
    case 0x92: return set_bit(fetch(), carry());
    case 0xA2: set_carry(bit(fetch())); return;
    case 0xB2: { const uint8_t b = fetch(); return set_bit(b, !bit(b)); }
    case 0xC2: return set_bit(fetch(), false);
    case 0xD2: return set_bit(fetch(), true);
    case 0xE2: case 0xE3: acc() = read_(sfr_[sfr::dpx], paged(opcode)); return;  // MOVX A,@Ri
    case 0xF2: case 0xF3: return write_(sfr_[sfr::dpx], paged(opcode), acc());

    case 0x03: acc() = static_cast<uint8_t>(acc() >> 1 | acc() << 7); return;  // RR
    case 0x13: {                                                         // RRC
      const bool out = acc() & 1;
      acc() = static_cast<uint8_t>(acc() >> 1 | (carry() ? 0x80 : 0));
      return set_carry(out);
    }
    case 0x23: acc() = static_cast<uint8_t>(acc() << 1 | acc() >> 7); return;  // RL
    case 0x33: {                                                         // RLC
      const bool out = acc() & 0x80;
      acc() = static_cast<uint8_t>(acc() << 1 | carry());
      return set_carry(out);
    }
    case 0x73: pc_ = static_cast<uint16_t>(acc() + dptr()); return;
    case 0x83: acc() = code_[static_cast<uint16_t>(pc_ + acc())]; return;  // MOVC A,@A+PC
    case 0x93: acc() = code_[static_cast<uint16_t>(dptr() + acc())]; return;
    case 0xA3: {
      const auto next = static_cast<uint16_t>(dptr() + 1);
      sfr_[sfr::dph] = static_cast<uint8_t>(next >> 8);
      sfr_[sfr::dpl] = static_cast<uint8_t>(next);
      return;
    }
    case 0xB3: return set_carry(!carry());
    case 0xC3: return set_carry(false);
    case 0xD3: return set_carry(true);
  }
}

}  // namespace usbgpu::emulator::mcs51
