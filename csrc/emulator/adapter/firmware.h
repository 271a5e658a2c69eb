// The open firmware as it is known: what its interrupt handler does with requests on EP0 and with PIO stream packets.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <vector>

#include "emulator/adapter/custom_firmware.h"
#include "emulator/adapter/descriptors.h"
#include "emulator/adapter/events.h"
#include "emulator/adapter/observer.h"
#include "emulator/adapter/sram_engine.h"
#include "emulator/adapter/tlp_engine.h"
#include "emulator/adapter/xdata.h"

namespace usbgpu::emulator {

class Firmware final : public CustomFirmware {
 public:
  Firmware(const UsbProfile& profile, Observer& observer, Events& events, Xdata& xdata, TlpEngine& tlp,
           SramEngine& sram);

  void reset() override;
  Reply control_out(const Setup& setup, std::span<const uint8_t> data) override;
  Reply control_in(const Setup& setup, std::span<uint8_t> into) override;
  void endpoints_armed(bool in, bool out) override;
  bool out_is_pio() const override;
  void out_packet(std::span<const std::byte> packet) override;
  bool take_in_packet(std::vector<uint8_t>& packet) override;
  bool in_waiting() const override { return !in_fifo_.empty(); }
  bool dead() const override { return dead_; }
  uint64_t stream_remaining() const override { return remaining_; }
  bool bulk_in_may_be_drained() const override { return drain_allowed_; }

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
