// An image of the vendor-class firmware, run on an MCS-51 against the chip's registers.
//
// The chip around it is the rest of the model (xdata.h and behind). What is added here is the USB controller's half that
// only a firmware sees: setup packets, phases of EP0, the buffers of the bulk endpoints, interrupts.
// Sources: asm2464pd-firmware src/include/registers.h and handmade/src/{main.c,usb.h} for registers 0x9000..0x93FF, 0xC802,
// 0xCC10..0xCC13. How the phases follow each other is inferred from what that handler expects.
#pragma once

#include <string>

#include "emulator/adapter/custom_firmware.h"
#include "emulator/adapter/descriptors.h"
#include "emulator/adapter/events.h"
#include "emulator/adapter/observer.h"
#include "emulator/adapter/sram_engine.h"
#include "emulator/adapter/xdata.h"
#include "emulator/mcs51/cpu.h"

namespace usbgpu::emulator {

class ImageFirmware final : public CustomFirmware {
 public:
  // `image`: the body, or a wrapped image (docs/emulator-adapter.md, flash). Throws std::invalid_argument.
  ImageFirmware(std::span<const uint8_t> image, const UsbProfile& profile, Observer& observer, Events& events,
                Xdata& xdata, SramEngine& sram);
  static std::vector<uint8_t> read(const std::string& path);  // throws std::invalid_argument

  Identity identify();  // what its descriptors say

  void reset() override;
  Reply control_out(const Setup& setup, std::span<const uint8_t> data) override;
  Reply control_in(const Setup& setup, std::span<uint8_t> into) override;
  void endpoints_armed(bool in, bool out) override;
  void endpoints_cleared(bool in, bool out) override;
  void cpu_reset() override { restart_ = true; }
  bool out_is_pio() const override { return out_armed_; }
  void out_packet(std::span<const std::byte> packet) override;
  bool take_in_packet(std::vector<uint8_t>& packet) override;
  bool in_waiting() const override { return in_armed_; }
  bool dead() const override { return dead_; }
  uint64_t stream_remaining() const override { return UINT64_MAX; }
  bool bulk_in_may_be_drained() const override { return true; }

 private:
  uint8_t read_register(unsigned bank, uint16_t address);
  void write_register(unsigned bank, uint16_t address, uint8_t value);
  bool pending() const { return phase_ || endpoint_events_ || link_event_; }
  void run();                    // until nothing is pending
  void begin(const Setup& setup);
  void signal(uint8_t phase);    // a phase of EP0 begins
  Reply finish(Answer answer, size_t bytes = 0);
  void start_clock();
  double clock() const;          // microseconds of the firmware since then
  const char* kind() const;

  const UsbProfile& profile_;
  Observer& observer_;
  Events& events_;
  Xdata& xdata_;
  SramEngine& sram_;
  mcs51::Cpu cpu_;

  Setup setup_{};
  uint8_t phase_ = 0, endpoint_events_ = 0, link_event_ = 0;
  bool sent_ = false, status_done_ = false;       // of the request that runs
  bool out_armed_ = false, in_armed_ = false, dead_ = false, restart_ = false;
  size_t reply_bytes_ = 0, in_bytes_ = 0;
  uint64_t cycles_before_ = 0;
  double waited_us_ = 0;
};

}  // namespace usbgpu::emulator
