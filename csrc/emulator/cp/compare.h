#pragma once

#include <cstdint>

#include "emulator/ip/register_tables.h"

namespace usbgpu::emulator {

// The comparison of WAIT_REG_MEM and POLL_REGMEM: unsigned.
template <typename T = uint32_t>
bool compare(uint32_t function, T value, T reference) {
  namespace is = facts::pm4_compare;
  switch (function) {
    case is::LT: return value < reference;
    case is::LE: return value <= reference;
    case is::EQ: return value == reference;
    case is::NE: return value != reference;
    case is::GE: return value >= reference;
    case is::GT: return value > reference;
    default: return true;
  }
}

}  // namespace usbgpu::emulator
