// The 8051's 16-bit data space: RAM, controller registers, windows onto the SRAM and the queue pages.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "emulator/adapter/delay_line.h"
#include "emulator/adapter/flash.h"
#include "emulator/adapter/pages.h"
#include "emulator/adapter/sram_engine.h"
#include "emulator/adapter/tlp_engine.h"
#include "emulator/pcie/fabric.h"

namespace usbgpu::emulator {

namespace xdata {
constexpr uint16_t bulk_out_landing = 0x7000, bulk_in_staging = 0x8000, usb_speed = 0x9100, endpoint_arm = 0x9094, ep0_buffer = 0x9E00;
constexpr uint16_t submission_window = 0xA000, admin_window = 0xB000, tlp_engine = 0xB200, page_numbers = 0xB264;
constexpr uint16_t lanes = 0xB431, ltssm = 0xB450, perst = 0xB480, completion_window = 0xB800;
constexpr uint16_t sram_engine = 0xC400, rail_3v3 = 0xC656, rail_12v = 0xC659, chip_revision = 0xC8FF;
constexpr uint16_t flash_control = 0xC8A9;
constexpr uint16_t cpu_control = 0xCC31, link_status = 0xE765, sram_window = 0xF000;
constexpr uint16_t phy_routing = 0x6025, phy_link = 0x4092;  // bank 1
}  // namespace xdata

class Xdata {
 public:
  Xdata(Pages& pages, TlpEngine& tlp, SramEngine& sram, Fabric& fabric, Flash& flash, DelayLine& delay, unsigned lanes);

  uint8_t read(unsigned bank, uint16_t address);
  // A run of bytes as the 8051 copies them. In strict mode a write of the GPU may come in the middle.
  void begin_read(size_t count);
  uint8_t read_in_sequence(unsigned bank, uint16_t address, uint32_t position);
  void write(unsigned bank, uint16_t address, uint8_t value);  // with the side effects of hardware
  uint8_t* ram(uint16_t address) { return &banks_[0][address]; }  // plain memory: buffers of the firmware

  // Request 0xF3. True when the link is up afterwards.
  bool set_power(bool on);
  void power_on_reset(bool super_speed, bool ten_gigabit);
  // Fault: the PCIe link goes down under way. It trains again when the slot gets power anew.
  void lose_link();
  bool powered() const { return powered_; }

  std::function<void(bool in, bool out)> on_endpoint_arm;  // 0x9094
  std::function<void()> on_endpoint_clear_out, on_endpoint_clear_in;
  uint8_t link_code = 0x78;             // what 0xB450 shows when the link is up: depends on the firmware
  bool card_present = true;             // fault: nothing in the slot
  bool link_trains = true;              // fault: training never ends
  std::function<void()> on_cpu_reset;   // 0xCC31 bit 0
  std::function<void()> on_page_write;  // the GPU should look at memory again

 private:
  struct Window {
    PageIndex page;
    uint32_t offset;
  };
  static bool window(uint16_t address, Window& found);
  void update_power();
  void flash_transaction();

  Pages& pages_;
  TlpEngine& tlp_;
  SramEngine& sram_;
  Fabric& fabric_;
  Flash& flash_;
  DelayLine& delay_;
  unsigned lanes_;
  bool powered_ = false, super_speed_ = true, ten_gigabit_ = true, link_lost_ = false;
  uint8_t training_toggle_ = 0;
  std::array<std::array<uint8_t, 65536>, 2> banks_{};
};

}  // namespace usbgpu::emulator
