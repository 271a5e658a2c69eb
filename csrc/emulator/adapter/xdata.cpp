#include "emulator/adapter/xdata.h"

namespace usbgpu::emulator {

namespace {
constexpr uint8_t ltssm_detect_quiet = 0x00, ltssm_polling_stuck = 0x4C;
constexpr uint8_t rail_3v3_on = 0x20, rail_12v_on = 0x01, perst_asserted = 0x01, routing_on = 0x80;
constexpr uint8_t usb_high = 1, usb_super = 2, usb_super_plus = 3;
// Page-number registers: two bytes each, most significant first, and the page that they place.
struct PageRegister {
  uint16_t address;
  PageIndex page;
};
constexpr PageRegister page_registers[] = {
    {0xB264, admin_submission}, {0xB266, admin_completion}, {0xB26C, io_submission}, {0xB26E, io_completion}};
}  // namespace

Xdata::Xdata(Pages& pages, TlpEngine& tlp, SramEngine& sram, Fabric& fabric, Flash& flash, DelayLine& delay,
             unsigned lanes)
    : pages_(pages), tlp_(tlp), sram_(sram), fabric_(fabric), flash_(flash), delay_(delay), lanes_(lanes) {}

void Xdata::power_on_reset(bool super_speed, bool ten_gigabit) {
  super_speed_ = super_speed;
  ten_gigabit_ = ten_gigabit;
  for (auto& bank : banks_) bank.fill(0);
  banks_[0][xdata::chip_revision] = 4;
  // The baseline firmware trains two lanes (0x0C); one lane would be 0x0E.
  banks_[0][xdata::lanes] = lanes_ == 1 ? 0x0E : lanes_ == 2 ? 0x0C : 0x00;
  pages_.clear();
  tlp_.reset();
  sram_.reset();
  flash_.reset_chip();
}

void Xdata::begin_read(size_t count) {
  // The moment at which the GPU's write comes in is the seed's; most reads escape.
  const bool torn = pages_.tearing && count > 1 && delay_.random(2);
  pages_.begin_torn_read(torn ? 1 + delay_.random(static_cast<uint32_t>(count) - 1) : 0);
}

uint8_t Xdata::read_in_sequence(unsigned bank, uint16_t address, uint32_t position) {
  uint8_t value = read(bank, address);
  if (!pages_.tearing || bank) return value;
  if (Window w; window(address, w)) pages_.torn_byte(w.page, w.offset, position, value);
  else if (address >= xdata::sram_window)
    pages_.torn_byte(Pages::sram_window, address - xdata::sram_window, position, value);
  return value;
}

// The SPI controller runs what its registers describe; its buffer is the landing page of bulk OUT.
void Xdata::flash_transaction() {
  const auto& r = banks_[0];
  const uint32_t address = r[0xC8AC] == 0x07 ? r[0xC8A1] | uint32_t{r[0xC8A2]} << 8 | uint32_t{r[0xC8AB]} << 16 : 0;
  const uint32_t length = uint32_t{r[0xC8A3]} << 8 | r[0xC8A4];
  const bool enabled = r[0xCA81] & 1;  // without it the controller does nothing
  if (enabled)
    flash_.transaction(r[0xC8AA], address, length, r[0xC8AD] & 1, {&banks_[0][xdata::bulk_out_landing], 0x1000});
}

bool Xdata::window(uint16_t address, Window& found) {
  if (address >= xdata::submission_window && address < xdata::submission_window + 0x1000)
    found = {io_submission, static_cast<uint32_t>(address - xdata::submission_window)};
  else if (address >= xdata::admin_window && address < xdata::admin_window + 0x100)
    found = {admin_submission, static_cast<uint32_t>(address - xdata::admin_window)};
  else if (address >= xdata::admin_window + 0x100 && address < xdata::admin_window + 0x200)
    found = {admin_completion, static_cast<uint32_t>(address - xdata::admin_window - 0x100)};
  else if (address >= xdata::completion_window && address < xdata::completion_window + 0x800)
    found = {io_completion, static_cast<uint32_t>(address - xdata::completion_window)};
  else
    return false;
  return true;
}

uint8_t Xdata::read(unsigned bank, uint16_t address) {
  if (bank) {
    if (address == xdata::phy_routing)
      return static_cast<uint8_t>((banks_[1][address] & ~routing_on) | (tlp_.routing ? routing_on : 0));
    if (address == xdata::phy_link) return fabric_.link_up() ? static_cast<uint8_t>(lanes_ << 4 | 3) : 0;
    return banks_[1][address];
  }
  if (address >= xdata::sram_window)
    return __atomic_load_n(reinterpret_cast<const uint8_t*>(pages_.sram() + (address - xdata::sram_window)),
                           __ATOMIC_ACQUIRE);
  if (Window w; window(address, w)) return pages_.page_byte(w.page, w.offset);
  for (const PageRegister& r : page_registers) {
    if (address == r.address) return static_cast<uint8_t>(pages_.page_number(r.page) >> 8);
    if (address == r.address + 1) return static_cast<uint8_t>(pages_.page_number(r.page));
  }
  if (address >= xdata::tlp_engine && address < xdata::tlp_engine + 0x100)
    return tlp_.read(static_cast<uint8_t>(address));
  if (address >= xdata::sram_engine && address < xdata::sram_engine + 0x100)
    return sram_.read(static_cast<uint8_t>(address));
  switch (address) {
    case xdata::usb_speed:
      return ten_gigabit_ ? usb_super_plus : super_speed_ ? usb_super : usb_high;
    case xdata::ltssm:
      if (fabric_.link_up()) return link_code;
      if (powered_ && card_present && !link_trains) return ltssm_polling_stuck;
      // Powered and nobody there: Detect.Quiet and Detect.Active take turns.
      return powered_ ? (training_toggle_ ^= 1) : ltssm_detect_quiet;
    case xdata::link_status:
      return static_cast<uint8_t>((banks_[0][address] & ~2) | (fabric_.link_up() ? 2 : 0));
    default:
      return banks_[0][address];
  }
}

void Xdata::write(unsigned bank, uint16_t address, uint8_t value) {
  if (bank) {
    banks_[1][address] = value;
    if (address == xdata::phy_routing) tlp_.routing = value & routing_on;
    return;
  }
  if (address >= xdata::sram_window) {
    __atomic_store_n(reinterpret_cast<uint8_t*>(pages_.sram() + (address - xdata::sram_window)), value,
                     __ATOMIC_RELEASE);
    if (on_page_write) on_page_write();
    return;
  }
  if (Window w; window(address, w)) {
    pages_.set_page_byte(w.page, w.offset, value);
    if (on_page_write) on_page_write();
    return;
  }
  for (const PageRegister& r : page_registers) {
    const uint16_t number = pages_.page_number(r.page);
    if (address == r.address)
      return pages_.set_page_number(r.page, static_cast<uint16_t>(value << 8 | (number & 0xFF)));
    if (address == r.address + 1)
      return pages_.set_page_number(r.page, static_cast<uint16_t>((number & 0xFF00) | value));
  }
  if (address >= xdata::tlp_engine && address < xdata::tlp_engine + 0x100)
    return tlp_.write(static_cast<uint8_t>(address), value);
  if (address >= xdata::sram_engine && address < xdata::sram_engine + 0x100)
    return sram_.write(static_cast<uint8_t>(address), value);
  switch (address) {
    case xdata::usb_speed:
    case xdata::ltssm:
      return;  // read only
    case xdata::cpu_control:
      if (value & 1 && on_cpu_reset) on_cpu_reset();
      return;
    case xdata::flash_control:
      if (value & 1) flash_transaction();
      banks_[0][address] = value & 0xFE;  // never seen busy
      return;
    case xdata::endpoint_arm:
      if (value & 0x08 && on_endpoint_clear_out) on_endpoint_clear_out();
      if (value & 0x01 && on_endpoint_clear_in) on_endpoint_clear_in();
      if (value & 0x12 && on_endpoint_arm) on_endpoint_arm(value & 0x02, value & 0x10);
      return;
    default:
      banks_[0][address] = value;
  }
  if (address == xdata::perst || address == xdata::rail_3v3 || address == xdata::rail_12v) update_power();
}

void Xdata::update_power() {
  powered_ = banks_[0][xdata::rail_3v3] & rail_3v3_on && banks_[0][xdata::rail_12v] & rail_12v_on;
  if (!powered_) {  // by whichever road, 0xF3 or the rails' registers: what broke without power is whole again
    link_lost_ = false;
    tlp_.unsupported = {};
  }
  const bool up = powered_ && !(banks_[0][xdata::perst] & perst_asserted) && card_present && link_trains && !link_lost_;
  tlp_.link_lost = link_lost_ && !up;
  if (up == fabric_.link_up()) return;
  tlp_.flush_posted();
  fabric_.set_link(up);
}

void Xdata::lose_link() {
  link_lost_ = true;
  update_power();
}

bool Xdata::set_power(bool on) {
  auto& ram = banks_[0];
  ram[xdata::perst] |= perst_asserted;
  update_power();
  link_lost_ = false;
  tlp_.unsupported = {};
  if (on) {
    ram[xdata::rail_3v3] |= rail_3v3_on;
    ram[xdata::rail_12v] |= rail_12v_on;
    ram[0xB430] = 0x00, ram[0xB403] = 0x01, ram[0xE764] = 0x1C;
    tlp_.write(0x98, 0x10);
    write(1, xdata::phy_routing, static_cast<uint8_t>(banks_[1][xdata::phy_routing] | routing_on));
    ram[xdata::perst] &= static_cast<uint8_t>(~perst_asserted);
  } else {
    ram[xdata::rail_12v] &= static_cast<uint8_t>(~rail_12v_on);
    ram[xdata::rail_3v3] &= static_cast<uint8_t>(~rail_3v3_on);
    ram[0xB430] = 0x00, ram[0xE764] = 0x00;
  }
  update_power();
  return fabric_.link_up();
}

}  // namespace usbgpu::emulator
