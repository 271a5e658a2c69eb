// The register-driven TLP engine of the ASM2464PD (XDATA 0xB200..0xB2FF): one dword per launch.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "emulator/adapter/delay_line.h"
#include "emulator/adapter/faults.h"
#include "emulator/adapter/observer.h"
#include "emulator/pcie/fabric.h"

namespace usbgpu::emulator {

class TlpEngine {
 public:
  TlpEngine(Fabric& fabric, Observer& observer, DelayLine& delay);

  // Register file access as XDATA sees it; offset 0..0xFF. Writing 0x54 launches.
  uint8_t read(uint8_t offset) const { return registers_[offset]; }
  void write(uint8_t offset, uint8_t value);
  void reset();

  void load(uint8_t format_type, uint8_t byte_enables, uint64_t address);
  void load_data(uint32_t value);
  uint32_t data() const;
  uint64_t address() const;
  uint8_t format_type() const { return registers_[0x10]; }

  // Strict mode lets posted writes linger on their way. Everything that is not posted pushes them out.
  void flush_posted() { delay_.flush(DelayLine::posted); }

  void clear_error() { registers_[0x96] &= ~flag_error; }
  void clear_flags() { registers_[0x96] &= ~(flag_error | flag_done); }
  bool error() const { return registers_[0x96] & flag_error; }
  bool done() const { return registers_[0x96] & flag_done; }

  // Executes the TLP that the registers describe. `stream`: part of a PIO stream (nobody looks at completions).
  void launch(bool stream = false);

  // Streams: consecutive dwords, the address registers end behind the last one.
  void stream_write(std::span<const std::byte> dwords);
  // False: a completion never came; the firmware waits for ever.
  bool stream_read(std::span<std::byte> dwords);

  static bool is_posted(uint8_t fmt) { return (fmt & 0xDF) == 0x40 || (fmt & 0xB8) == 0x30; }
  static bool is_memory(uint8_t fmt) { return (fmt & 0x9F) == 0x00; }
  static bool is_config(uint8_t fmt) { return (fmt & 0xBE) == 0x04; }
  static bool carries_data(uint8_t fmt) { return fmt & 0x40; }

  bool routing = true;           // bank 1 0x6025 bit 7: without it no TLP leaves the chip
  unsigned glitch_every = 0;     // fault: every n-th single TLP ends with the error flag
  Trigger unsupported;           // fault: memory packets to the card that nobody answers for
  bool link_lost = false;        // fault: the link went down by itself, which is no mistake of the driver
  uint64_t launches() const { return launches_; }
  void forget_launches() { launches_ = 0; }

 private:
  static constexpr uint8_t flag_error = 1, flag_done = 2, flag_sent = 4;

  void set_address(uint64_t address);
  void posted_write(uint64_t where, uint32_t value, unsigned enables);
  bool nobody_answers(uint64_t where);
  void complete(Completion status, bool with_data, unsigned byte_count, uint16_t completer);
  uint64_t memory_address() const;
  void set_big_endian(uint8_t offset, uint32_t value);
  uint32_t big_endian(uint8_t offset) const;

  Fabric& fabric_;
  Observer& observer_;
  DelayLine& delay_;
  std::array<uint8_t, 256> registers_{};
  std::atomic<uint64_t> launches_{0};
};

}  // namespace usbgpu::emulator
