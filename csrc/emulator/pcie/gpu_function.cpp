#include "emulator/pcie/gpu_function.h"

#include <algorithm>
#include <bit>

namespace usbgpu::emulator {

namespace {
// Where AMD puts its capabilities (public lspci dumps of Navi boards).
constexpr unsigned vendor_capability = 0x48, power_capability = 0x50, express_capability = 0x64, msi_capability = 0xA0;
constexpr unsigned ext_vendor = 0x100, ext_aer = 0x150, ext_rebar = 0x200, ext_power_budget = 0x240;
constexpr unsigned ext_secondary_pcie = 0x270, ext_acs = 0x2A0, ext_ltr = 0x320;

constexpr unsigned bar0_reset_index = 8;   // 256 MiB
constexpr unsigned bar2_reset_index = 1;   // 2 MiB
constexpr unsigned bar2_max_index = 8;     // 256 MiB
constexpr uint32_t io_bar_bytes = 256;
constexpr uint32_t rom_bytes = 128 * 1024;
constexpr uint32_t audio_bar_bytes = 16 * 1024;

constexpr uint32_t ext_header(uint32_t id, uint32_t next) { return id | 1u << 16 | next << 20; }
}  // namespace

GpuFunction::GpuFunction(Gpu& gpu, pci::Link link, const BarOptions& bars)
    : gpu_(gpu), identity_(gpu.identity()), resizable_(bars.resizable) {
  uint64_t mebibytes = std::bit_ceil(std::max<uint64_t>(identity_.vram_bytes >> 20, 256));
  if (!resizable_) mebibytes = 256;
  if (bars.largest) mebibytes = std::min(mebibytes, bars.largest >> 20);
  bar0_max_index_ = static_cast<uint32_t>(std::countr_zero(mebibytes));
  define_graphics(link);
  define_audio(link);
  apply_resize();
}

void GpuFunction::define_graphics(pci::Link link) {
  ConfigSpace& s = graphics_;
  s.define(pci::id, identity_.vendor | static_cast<uint32_t>(identity_.device) << 16);
  s.define(pci::command, pci::status_has_capabilities, pci::command_writable, pci::status_errors);
  s.define(pci::class_revision, 0x03000000u | identity_.revision);
  s.define(pci::header, 0x00800000u, 0x000000FFu);  // multi-function
  s.define(0x10, 0x0000000Cu);                      // BAR0, 64-bit prefetchable: VRAM; masks by apply_resize()
  s.define(0x14, 0, 0xFFFFFFFFu);
  s.define(0x18, 0x0000000Cu);                      // BAR2, 64-bit prefetchable: doorbells
  s.define(0x1C, 0, 0xFFFFFFFFu);
  s.define(0x20, 0x00000001u, ~(io_bar_bytes - 1)); // BAR4, I/O
  s.define(0x24, 0, ~(identity_.register_bytes - 1));
  s.define(pci::subsystem, identity_.subsystem_vendor | static_cast<uint32_t>(identity_.subsystem_device) << 16);
  s.define(pci::expansion_rom, 0, ~(rom_bytes - 1) | 1u);
  s.define(pci::capabilities, vendor_capability);
  s.define(pci::interrupt, 0x00000100u, 0x000000FFu);  // INTA#

  s.define(vendor_capability, 0x09u | power_capability << 8 | 0x08u << 16);
  s.define(vendor_capability + 4, identity_.subsystem_vendor | static_cast<uint32_t>(identity_.subsystem_device) << 16);
  pci::add_power_capability(s, power_capability, express_capability);
  pci::add_express_capability(s, express_capability, msi_capability, pci::PortType::legacy_endpoint, link, true);
  s.define(msi_capability, 0x05u | 0x0080u << 16, 0x00710000u);  // 64-bit addresses
  s.define(msi_capability + 4, 0, 0xFFFFFFFCu);
  s.define(msi_capability + 8, 0, 0xFFFFFFFFu);
  s.define(msi_capability + 12, 0, 0x0000FFFFu);

  s.define(ext_vendor, ext_header(0x000B, ext_aer));
  s.define(ext_vendor + 4, 0x01010001u);
  s.define(ext_aer, ext_header(0x0001, resizable_ ? ext_rebar : ext_power_budget));
  s.define(ext_aer + 4, 0, 0, 0xFFFFFFFFu);
  s.define(ext_aer + 8, 0, 0xFFFFFFFFu);
  s.define(ext_aer + 12, 0x00462030u, 0xFFFFFFFFu);
  s.define(ext_aer + 16, 0, 0, 0xFFFFFFFFu);
  s.define(ext_aer + 20, 0x00002000u, 0xFFFFFFFFu);
  if (resizable_) define_resizable_bars();
  s.define(ext_power_budget, ext_header(0x0004, ext_secondary_pcie));
  s.define(ext_secondary_pcie, ext_header(0x0019, ext_acs));
  s.define(ext_acs, ext_header(0x000D, ext_ltr));
  s.define(ext_ltr, ext_header(0x0018, 0));
  s.define(ext_ltr + 4, 0, 0x1FFF1FFFu);
}

void GpuFunction::define_resizable_bars() {
  // Bit n+4 of an entry's first dword = 1 MiB << n supported. Two entries: BAR0 and BAR2.
  ConfigSpace& s = graphics_;
  s.define(ext_rebar, ext_header(0x0015, ext_power_budget));
  uint32_t sizes = 0;
  for (unsigned index = bar0_reset_index; index <= bar0_max_index_; ++index) sizes |= 1u << (index + 4);
  s.define(ext_rebar + 4, sizes);
  s.define(ext_rebar + 8, 0u | 2u << 5 | bar0_reset_index << 8, 0x3Fu << 8);
  sizes = 0;
  for (unsigned index = bar2_reset_index; index <= bar2_max_index; ++index) sizes |= 1u << (index + 4);
  s.define(ext_rebar + 12, sizes);
  s.define(ext_rebar + 16, 2u | bar2_reset_index << 8, 0x3Fu << 8);
}

void GpuFunction::define_audio(pci::Link link) {
  ConfigSpace& s = audio_;
  s.define(pci::id, 0xAB301002u);
  s.define(pci::command, pci::status_has_capabilities, pci::command_writable, pci::status_errors);
  s.define(pci::class_revision, 0x04030000u);
  s.define(pci::header, 0x00800000u, 0x000000FFu);
  s.define(0x10, 0, ~(audio_bar_bytes - 1));
  s.define(pci::subsystem, 0xAB301002u);
  s.define(pci::capabilities, vendor_capability);
  s.define(pci::interrupt, 0x00000200u, 0x000000FFu);  // INTB#
  s.define(vendor_capability, 0x09u | power_capability << 8 | 0x08u << 16);
  pci::add_power_capability(s, power_capability, express_capability);
  pci::add_express_capability(s, express_capability, 0, pci::PortType::legacy_endpoint, link, false);
}

void GpuFunction::apply_resize() {
  auto size = [this](unsigned control, unsigned lowest, unsigned highest) {
    if (!resizable_) return uint64_t{1} << (20 + lowest);
    // An unsupported index is not taken over by hardware; the nearest supported one stands in.
    const unsigned index = std::clamp(graphics_.read(control) >> 8 & 0x3F, lowest, highest);
    graphics_.set(control, (graphics_.read(control) & ~(0x3Fu << 8)) | index << 8);
    return uint64_t{1} << (20 + index);
  };
  bar0_bytes_ = size(ext_rebar + 8, bar0_reset_index, bar0_max_index_);
  bar2_bytes_ = size(ext_rebar + 16, bar2_reset_index, bar2_max_index);
  for (auto [reg, bytes] : {std::pair{0x10u, bar0_bytes_}, std::pair{0x18u, bar2_bytes_}}) {
    const uint64_t mask = ~(bytes - 1);
    graphics_.set_writable(reg, static_cast<uint32_t>(mask));
    graphics_.set_writable(reg + 4, static_cast<uint32_t>(mask >> 32));
    graphics_.set(reg, (graphics_.read(reg) & static_cast<uint32_t>(mask)) | 0xCu);
    graphics_.set(reg + 4, graphics_.read(reg + 4) & static_cast<uint32_t>(mask >> 32));
  }
}

Completion GpuFunction::config_read(unsigned function, unsigned reg, uint32_t& value) {
  value = 0xFFFFFFFFu;
  if (function > 1) return Completion::unsupported_request;
  if (crs_left_) {
    --crs_left_;
    return Completion::retry;
  }
  value = (function ? audio_ : graphics_).read(reg);
  return Completion::success;
}

Completion GpuFunction::config_write(unsigned function, unsigned reg, uint32_t value, unsigned byte_enables) {
  if (function > 1) return Completion::unsupported_request;
  if (function == 1) {
    audio_.write(reg, value, byte_enables);
    return Completion::success;
  }
  graphics_.write(reg, value, byte_enables);
  if (resizable_ && (reg == ext_rebar + 8 || reg == ext_rebar + 16)) apply_resize();
  if (reg == express_capability + 8 && graphics_.read(reg) & pci::device_control_flr) {
    reset();  // the bit itself reads 0 again, as reset() restores it
  }
  if (reg == pci::command && on_command_change) on_command_change();
  return Completion::success;
}

uint64_t GpuFunction::bar_base(unsigned reg) const {
  return static_cast<uint64_t>(graphics_.read(reg + 4)) << 32 | (graphics_.read(reg) & ~15u);
}

GpuFunction::Region GpuFunction::find(uint64_t address) const {
  const auto inside = [address](uint64_t base, uint64_t bytes) { return address >= base && address - base < bytes; };
  if (graphics_.read(pci::command) & pci::command_memory) {
    if (const uint64_t base = bar_base(0x10); inside(base, bar0_bytes_))
      return {Aperture::vram, address - base, bar0_bytes_ - (address - base)};
    if (const uint64_t base = bar_base(0x18); inside(base, bar2_bytes_))
      return {Aperture::doorbell, address - base, bar2_bytes_ - (address - base)};
    if (const uint64_t base = graphics_.read(0x24) & ~15u; inside(base, identity_.register_bytes))
      return {Aperture::registers, address - base, identity_.register_bytes - (address - base)};
  }
  if (audio_.read(pci::command) & pci::command_memory)
    if (const uint64_t base = audio_.read(0x10) & ~15u; inside(base, audio_bar_bytes))
      return {Aperture::audio, address - base, audio_bar_bytes - (address - base)};
  return {};
}

uint32_t GpuFunction::read(Aperture aperture, uint64_t offset) {
  switch (aperture) {
    case Aperture::vram:
      // The aperture is a power of two and may be larger than the memory behind it.
      return offset < identity_.vram_bytes ? gpu_.vram_read(offset) : 0xFFFFFFFFu;
    case Aperture::registers:
      return gpu_.register_read(static_cast<uint32_t>(offset));
    case Aperture::doorbell:  // write only
    case Aperture::audio:
    case Aperture::io:
      return 0;
    case Aperture::none:
      break;
  }
  return 0xFFFFFFFFu;
}

void GpuFunction::write(Aperture aperture, uint64_t offset, uint32_t value, unsigned byte_enables) {
  switch (aperture) {
    case Aperture::vram:
      if (offset < identity_.vram_bytes && byte_enables) gpu_.vram_write(offset, value, byte_enables);
      return;
    case Aperture::registers:
      if (byte_enables == 0xF) {
        gpu_.register_write(static_cast<uint32_t>(offset), value);
      } else if (byte_enables) {
        // Registers take dwords; narrower writes merge with what is there.
        const uint32_t lanes = ConfigSpace::lane_mask(byte_enables);
        const uint32_t merged = (gpu_.register_read(static_cast<uint32_t>(offset)) & ~lanes) | (value & lanes);
        gpu_.register_write(static_cast<uint32_t>(offset), merged);
      }
      return;
    case Aperture::doorbell:
      if (offset < identity_.doorbell_bytes && byte_enables) gpu_.doorbell_write(static_cast<uint32_t>(offset), value);
      return;
    case Aperture::audio:
    case Aperture::io:
    case Aperture::none:
      return;
  }
}

Completion GpuFunction::memory_read(uint64_t address, uint32_t& value) {
  const Region region = find(address);
  value = read(region.aperture, region.offset);
  return region.aperture == Aperture::none ? Completion::unsupported_request : Completion::success;
}

Completion GpuFunction::memory_write(uint64_t address, uint32_t value, unsigned byte_enables) {
  const Region region = find(address);
  write(region.aperture, region.offset, value, byte_enables);
  return region.aperture == Aperture::none ? Completion::unsupported_request : Completion::success;
}

void GpuFunction::present(std::optional<CardId> card) {
  const CardId id = card.value_or(CardId{identity_.vendor, identity_.device});
  graphics_.set_reset_value(pci::id, id.vendor | static_cast<uint32_t>(id.device) << 16);
}

void GpuFunction::leave_enumerated() {
  constexpr uint64_t prefetchable = 0x60'0000'0000, registers = 0xFCA0'0000;
  if (resizable_) graphics_.set(ext_rebar + 8, (graphics_.read(ext_rebar + 8) & ~(0x3Fu << 8)) | bar0_max_index_ << 8);
  apply_resize();
  const uint64_t doorbells = prefetchable + bar0_bytes_;
  graphics_.write(0x10, static_cast<uint32_t>(prefetchable), 0xF);
  graphics_.write(0x14, static_cast<uint32_t>(prefetchable >> 32), 0xF);
  graphics_.write(0x18, static_cast<uint32_t>(doorbells), 0xF);
  graphics_.write(0x1C, static_cast<uint32_t>(doorbells >> 32), 0xF);
  graphics_.write(0x24, static_cast<uint32_t>(registers), 0xF);
  graphics_.write(pci::command, pci::command_memory | pci::command_bus_master, 0x3);
  if (on_command_change) on_command_change();
}

void GpuFunction::reset() {
  graphics_.reset();
  audio_.reset();
  apply_resize();
  crs_left_ = crs_after_reset;
  if (on_command_change) on_command_change();  // bus master off before the engines stop
  gpu_.cold_reset();
}

void GpuFunction::set_power(bool on) {
  // Both edges lose everything. Doing it on the falling edge as well stops the engines at once.
  reset();
  if (!on) crs_left_ = 0;
}

}  // namespace usbgpu::emulator
