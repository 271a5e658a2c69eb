// What the dock asks of a vendor-class ("custom") firmware: its answers to requests, and PIO packets on bulk.
//
// Two implementations: firmware.h knows what the open firmware does; image_firmware.h runs an image of it.
// One request at a time; the caller (Dock) serialises. Nothing here waits: a request that would never be answered
// comes back as Answer::never.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace usbgpu::emulator {

struct Setup {
  uint8_t request_type, request;
  uint16_t value, index, length;
};

enum class Answer { done, never, overflow, gone, stall };

struct Reply {
  Answer answer = Answer::done;
  size_t bytes = 0;
  double microseconds = 0;  // of the firmware's own time
  const char* kind = "other";  // for the statistics
};

class CustomFirmware {
 public:
  virtual ~CustomFirmware() = default;
  virtual void reset() = 0;  // CPU reset or power-on

  virtual Reply control_out(const Setup& setup, std::span<const uint8_t> data) = 0;
  virtual Reply control_in(const Setup& setup, std::span<uint8_t> into) = 0;

  // PIO streams. Packets are at most one bulk packet long.
  virtual void endpoints_armed(bool in, bool out) = 0;  // register 0x9094: the next packets land at 0x7000, leave 0x8000
  virtual void endpoints_cleared(bool, bool) {}
  virtual void cpu_reset() {}                    // register 0xCC31
  virtual bool out_is_pio() const = 0;           // who gets the next bulk OUT packet: PIO, or the SRAM engine
  virtual void out_packet(std::span<const std::byte> packet) = 0;
  // The next packet for bulk IN, or nothing. Taking one makes the firmware fetch the next.
  virtual bool take_in_packet(std::vector<uint8_t>& packet) = 0;
  virtual bool in_waiting() const = 0;

  virtual bool dead() const = 0;                 // spins in its interrupt handler for ever
  virtual uint64_t stream_remaining() const = 0; // dwords; UINT64_MAX: only the firmware knows
  virtual bool bulk_in_may_be_drained() const = 0;
};

}  // namespace usbgpu::emulator
