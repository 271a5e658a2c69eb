// PM4 packets that a compute queue takes. Layouts: AMD's public packet headers (Linux nvd.h);
// docs/runtime.md shows a whole submission.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <stdexcept>

#include "runtime/pm4_facts.h"

namespace usbgpu::runtime::pm4 {

constexpr uint32_t header(Opcode opcode, uint32_t body_dwords) {
  return 3u << 30 | (body_dwords - 1) << 16 | static_cast<uint32_t>(opcode) << 8;
}

// Sizes in dwords, for planning what fits a window.
inline constexpr uint32_t kAcquireDwords = 8, kReleaseDwords = 8, kWaitDwords = 7, kIndirectDwords = 4, kCopyDataDwords = 6;
inline constexpr uint32_t kWriteDataHeaderDwords = 4;
inline constexpr uint32_t kLargestNopBody = 0x3FFF;      // dwords
inline constexpr uint32_t kNopOneDword = 0xFFFF1000;     // the count field's all-ones: header only
inline constexpr uint32_t kLargestWriteDataBody = 0x3F00;

// ACQUIRE_MEM GCR_CNTL (bit names in the packet sheet of docs/emulator-gpu.md)
inline constexpr uint32_t kAcquireAll = 0xC3F1;          // + instruction cache, + GL2
inline constexpr uint32_t kAcquireKernel = 0x03F0;       // kernel after kernel on one queue
// RELEASE_MEM dw1: CACHE_FLUSH_AND_INV_TS at end of pipe, write back and invalidate all levels
inline constexpr uint32_t kReleaseFlush = 0x0070F514;

// Appends into a caller's buffer; the caller has checked the size (`room` is a bug check only).
class Writer {
 public:
  explicit Writer(std::span<uint32_t> buffer) : buffer_(buffer) {}

  uint32_t size() const { return size_; }
  uint32_t room() const { return static_cast<uint32_t>(buffer_.size()) - size_; }

  void raw(std::initializer_list<uint32_t> dwords) {
    if (dwords.size() > room()) throw std::logic_error("command stream overruns its window");
    for (uint32_t dword : dwords) buffer_[size_++] = dword;
  }

  void sh_registers(ShRegister first, std::initializer_list<uint32_t> values) {
    raw({header(OP_SET_SH_REG, 1 + static_cast<uint32_t>(values.size())), first});
    raw(values);
  }

  void acquire(uint32_t gcr_cntl) {
    raw({header(OP_ACQUIRE_MEM, 7), 0, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 0, gcr_cntl});
  }

  // After everything before it has finished and its stores are visible: store 32 bits.
  void release(uint64_t address, uint32_t value) {
    raw({header(OP_RELEASE_MEM, 7), kReleaseFlush, 1u << 29, lo(address), hi(address), value, 0, 0});
  }

  // After everything before it: store the 100 MHz counter (64 bits).
  void timestamp(uint64_t address) {
    raw({header(OP_RELEASE_MEM, 7), 0x514, 3u << 29, lo(address), hi(address), 0, 0, 0});
  }

  void wait_memory(Compare function, uint64_t address, uint32_t reference) {
    raw({header(OP_WAIT_REG_MEM, 6), 1u << 4 | function, lo(address), hi(address), reference, 0xFFFFFFFF, 4});
  }

  void drain_compute() { raw({header(OP_EVENT_WRITE, 1), EVENT_CS_PARTIAL_FLUSH | 4u << 8}); }

  // Whole dwords through L2 (so that kernels and this packet see one memory), write confirmed.
  std::span<uint32_t> write_data(uint64_t address, uint32_t dwords) {
    raw({header(OP_WRITE_DATA, 3 + dwords), 2u << 8 | 1u << 20, lo(address), hi(address)});
    return reserve(dwords);
  }

  // The same without waiting for the write: a note for whoever looks at memory later.
  void note(uint64_t address, std::initializer_list<uint32_t> dwords) {
    raw({header(OP_WRITE_DATA, 3 + static_cast<uint32_t>(dwords.size())), 2u << 8, lo(address), hi(address)});
    raw(dwords);
  }

  void copy_memory(uint64_t to, uint64_t from, bool wide) {
    raw({header(OP_COPY_DATA, 5), 2u | 2u << 8 | (wide ? 1u << 16 : 0) | 1u << 20, lo(from), hi(from), lo(to), hi(to)});
  }

  void copy_register(uint64_t to, uint32_t register_dword) {
    raw({header(OP_COPY_DATA, 5), 0u | 2u << 8 | 1u << 20, register_dword, 0, lo(to), hi(to)});
  }

  void dispatch(uint32_t x, uint32_t y, uint32_t z, uint32_t initiator) {
    raw({header(OP_DISPATCH_DIRECT, 4), x, y, z, initiator});
  }

  void indirect(uint64_t address, uint32_t dwords) {
    raw({header(OP_INDIRECT_BUFFER, 3), lo(address), hi(address), dwords | 1u << 23});
  }

  // One NOP packet whose body is the next `dwords` dwords (1..kLargestNopBody).
  std::span<uint32_t> skip(uint32_t dwords) {
    raw({header(OP_NOP, dwords)});
    return reserve(dwords);
  }

 private:
  static constexpr uint32_t lo(uint64_t value) { return static_cast<uint32_t>(value); }
  static constexpr uint32_t hi(uint64_t value) { return static_cast<uint32_t>(value >> 32); }

  std::span<uint32_t> reserve(uint32_t dwords) {
    if (dwords > room()) throw std::logic_error("command stream overruns its window");
    auto body = buffer_.subspan(size_, dwords);
    size_ += dwords;
    return body;
  }

  std::span<uint32_t> buffer_;
  uint32_t size_ = 0;
};

}  // namespace usbgpu::runtime::pm4
