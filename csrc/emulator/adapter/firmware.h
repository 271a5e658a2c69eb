// The custom firmware: what its interrupt handler does with requests on EP0 and with PIO stream packets.
//
// One request at a time; the caller (Dock) serialises. Nothing here waits: a request that the genuine
// firmware would never answer comes back as Answer::never.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <vector>

#include "emulator/adapter/descriptors.h"
#include "emulator/adapter/events.h"
#include "emulator/adapter/observer.h"
#include "emulator/adapter/sram_engine.h"
#include "emulator/adapter/tlp_engine.h"
#include "emulator/adapter/xdata.h"

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

class Firmware {
 public:
  Firmware(const UsbProfile& profile, Observer& observer, Events& events, Xdata& xdata, TlpEngine& tlp,
           SramEngine& sram);

  Reply control_out(const Setup& setup, std::span<const uint8_t> data);
  Reply control_in(const Setup& setup, std::span<uint8_t> into);

  // PIO streams. Packets are at most one bulk packet long.
  bool out_armed() const { return out_armed_; }
  void arm_out();                                // register 0x9094: the next packet lands at 0x7000
  bool out_is_pio() const;                       // who gets the next bulk OUT packet: PIO, or the SRAM engine
  void out_packet(std::span<const std::byte> packet);
  // The next packet for bulk IN, or nothing. Taking one makes the firmware fetch the next.
  bool take_in_packet(std::vector<uint8_t>& packet);
  bool in_waiting() const { return !in_fifo_.empty(); }

  bool dead() const { return dead_; }            // spins in its interrupt handler for ever
  void reset();                                  // CPU reset or power-on
  uint64_t stream_remaining() const { return remaining_; }
  bool bulk_in_may_be_drained() const { return drain_allowed_; }

 private:
  Reply standard_out(const Setup& setup);
  Reply get_descriptor(const Setup& setup, std::span<uint8_t> into);
  Reply read_xdata(const Setup& setup, std::span<uint8_t> into);
  Reply write_xdata(const Setup& setup);
  Reply pcie_out(const Setup& setup);
  Reply pcie_in(const Setup& setup, std::span<uint8_t> into);
  Reply arm_sram(const Setup& setup);
  Reply power(const Setup& setup);
  Reply answer_from_buffer(size_t available, std::span<uint8_t> into, double microseconds);
  void accept_ep0_data(std::span<const uint8_t> data);
  void check_stream(unsigned mode, uint8_t fmt, uint64_t address, uint32_t count);
  void cancel_stream();
  void fetch_packet();
  Reply power_monitor(std::span<uint8_t> into);

  const UsbProfile& profile_;
  Observer& observer_;
  Events& events_;
  Xdata& xdata_;
  TlpEngine& tlp_;
  SramEngine& sram_;

  uint64_t remaining_ = 0;        // dwords of the running stream
  bool reading_ = false;          // the running stream goes to bulk IN
  bool out_armed_ = false;        // bulk OUT delivers to XDATA 0x7000
  bool sram_armed_last_ = false;  // the last arm of bulk OUT was 0xF2
  bool single_pending_ = false;   // a non-posted single TLP was launched, its reply not yet fetched
  bool dead_ = false;
  static constexpr size_t most_in_packets = 2;  // one in the endpoint's buffer, one staged at 0x8000
  bool drain_allowed_ = false;    // since CLEAR_FEATURE / SET_INTERFACE nothing was armed
  std::deque<std::vector<uint8_t>> in_fifo_;
};

}  // namespace usbgpu::emulator
