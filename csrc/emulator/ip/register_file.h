// The register space behind BAR5 and behind the indirect index/data pair: one dword per
// address, with the side effects that the IP blocks attach by register name.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "emulator/ip/register_tables.h"

namespace usbgpu::emulator {

// Not locked: the owner (Board) holds its lock around every call.
class RegisterFile {
 public:
  static constexpr uint32_t absent = 0xFFFFFFFF;
  using Read = std::function<uint32_t(uint32_t address)>;
  using Write = std::function<void(uint32_t address, uint32_t value)>;

  RegisterFile(const ChipFacts& chip, uint32_t dwords) : chip_(chip), direct_(dwords) {
    for (uint32_t address : chip.addresses)
      if (address != absent) known_.insert(address);
  }

  const ChipFacts& chip() const { return chip_; }
  uint32_t address(Reg reg) const { return chip_.addresses[static_cast<size_t>(reg)]; }
  static std::optional<Reg> find(std::string_view name);
  static std::optional<Field> find_field(std::string_view name);  // "REGISTER__field"

  // As a bus access or a command processor sees it.
  uint32_t read(uint32_t address) {
    if (auto hook = hooks_.find(address); hook != hooks_.end() && hook->second.read) return hook->second.read(address);
    note(address);
    return raw(address);
  }
  void write(uint32_t address, uint32_t value) {
    if (auto hook = hooks_.find(address); hook != hooks_.end() && hook->second.write) return hook->second.write(address, value);
    note(address);
    set_raw(address, value);
  }

  // The stored value, without side effects.
  uint32_t raw(uint32_t address) const {
    if (address < direct_.size()) return direct_[address];
    auto it = far_.find(address);
    return it == far_.end() ? 0 : it->second;
  }
  void set_raw(uint32_t address, uint32_t value) {
    if (address < direct_.size()) direct_[address] = value;
    else if (far_.size() < most_far || known_.contains(address) || far_.contains(address)) far_[address] = value;
  }
  uint32_t get(Reg reg) const { return raw(address(reg)); }
  void set(Reg reg, uint32_t value) {
    if (has(reg)) set_raw(address(reg), value);
  }
  uint64_t get64(Reg low, Reg high) const { return uint64_t{get(high)} << 32 | get(low); }

  uint32_t get(Field field) const { return decode(field, get(register_of(field))); }
  void set(Field field, uint32_t value) {
    Reg reg = register_of(field);
    set(reg, insert(field, get(reg), value));
  }
  uint32_t decode(Field field, uint32_t word) const { return (word & fact(field).mask()) >> fact(field).lsb; }
  uint32_t insert(Field field, uint32_t word, uint32_t value) const {
    return (word & ~fact(field).mask()) | (value << fact(field).lsb & fact(field).mask());
  }

  void on_read(uint32_t address, Read read) { hooks_[address].read = std::move(read); }
  void on_write(uint32_t address, Write write) { hooks_[address].write = std::move(write); }
  bool has(Reg reg) const { return address(reg) != absent; }
  // A block may attach to a register that this chip has not got.
  void on_read(Reg reg, std::function<uint32_t()> read) {
    if (!has(reg)) return;
    on_read(address(reg), [read = std::move(read)](uint32_t) { return read(); });
  }
  void on_write(Reg reg, std::function<void(uint32_t)> write) {
    if (!has(reg)) return;
    on_write(address(reg), [write = std::move(write)](uint32_t, uint32_t value) { write(value); });
  }

  void clear();  // all stored values to zero; hooks stay

  // Addresses touched that no fact file names: a driver that strays is seen in tests.
  const std::set<uint32_t>& strays() const { return strays_; }

 private:
  struct Hook {
    Read read;
    Write write;
  };
  const FieldFact& fact(Field field) const { return chip_.fields[static_cast<size_t>(field)]; }
  static Reg register_of(Field field) { return field_registers[static_cast<size_t>(field)]; }
  void note(uint32_t address) {
    if (!known_.contains(address) && strays_.size() < most_strays) strays_.insert(address);
  }

  const ChipFacts& chip_;
  std::vector<uint32_t> direct_;
  // What a host may make us keep: it can name 2^30 registers behind the indirect pair.
  static constexpr size_t most_far = 1 << 16, most_strays = 1 << 12;
  std::unordered_map<uint32_t, uint32_t> far_;  // beyond BAR5, reached by RSMU_INDEX/DATA
  std::unordered_map<uint32_t, Hook> hooks_;
  std::set<uint32_t> known_, strays_;
};

}  // namespace usbgpu::emulator
