// Operations of the cache's atomic unit as the ATOMIC packets number them (TC_OP of the Linux
// headers; 64-bit forms are 32 further, forms without an answer 64 further).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <type_traits>

namespace usbgpu::emulator::atomic_unit {

enum Operation : uint32_t {
  swap = 7, compare_swap = 8, add = 15, subtract = 16, signed_min = 17, unsigned_min = 18, signed_max = 19, unsigned_max = 20,
  bit_and = 21, bit_or = 22, bit_xor = 23, increment = 24, decrement = 25
};
constexpr uint32_t wide_offset = 32, silent_offset = 64;

inline bool known(uint32_t operation) {
  return operation == swap || operation == compare_swap || (operation >= add && operation <= decrement);
}

template <typename T>
T apply(uint32_t operation, T old, T value, T expected) {
  using S = std::make_signed_t<T>;
  switch (operation) {
    case swap: return value;
    case compare_swap: return old == expected ? value : old;
    case add: return old + value;
    case subtract: return old - value;
    case signed_min: return static_cast<T>(std::min<S>(static_cast<S>(old), static_cast<S>(value)));
    case unsigned_min: return std::min(old, value);
    case signed_max: return static_cast<T>(std::max<S>(static_cast<S>(old), static_cast<S>(value)));
    case unsigned_max: return std::max(old, value);
    case bit_and: return old & value;
    case bit_or: return old | value;
    case bit_xor: return old ^ value;
    case increment: return old >= value ? 0 : old + 1;
    default: return old == 0 || old > value ? value : old - 1;  // decrement
  }
}

// One operation as a packet names it. nullopt: the memory faulted; else whether the old value was
// the expected one.
template <typename Memory>
std::optional<bool> run(Memory& memory, uint64_t va, uint32_t operation, bool wide, uint64_t value, uint64_t expected) {
  if (wide) {
    const auto old = memory.template atomic<uint64_t>(va, [&](uint64_t o) { return apply<uint64_t>(operation, o, value, expected); });
    return old ? std::optional(*old == expected) : std::nullopt;
  }
  const auto low = static_cast<uint32_t>(expected);
  const auto old = memory.template atomic<uint32_t>(va, [&](uint32_t o) { return apply<uint32_t>(operation, o, static_cast<uint32_t>(value), low); });
  return old ? std::optional(*old == low) : std::nullopt;
}

}  // namespace usbgpu::emulator::atomic_unit
