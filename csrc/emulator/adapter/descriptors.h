// USB descriptors and identities of the adapter in its possible states.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace usbgpu::emulator {

enum class FirmwareKind { custom, custom_2026_08, image, unknown, usb4, legacy, stock, rom, bootstub };

constexpr bool is_mass_storage(FirmwareKind kind) {
  return kind == FirmwareKind::legacy || kind == FirmwareKind::stock || kind == FirmwareKind::rom;
}
constexpr bool is_custom(FirmwareKind kind) {
  using enum FirmwareKind;
  return kind == custom || kind == custom_2026_08 || kind == image || kind == unknown || kind == usb4;
}
// The open firmware of April 2026 and ASMedia's power the slot when they start; later ones wait for 0xF3. An image does
// what it does.
constexpr bool powers_slot(FirmwareKind kind) {
  return kind == FirmwareKind::custom || kind == FirmwareKind::legacy || kind == FirmwareKind::stock;
}
constexpr std::string_view image_prefix = "image:";

struct Identity {
  uint16_t vendor, product, release;
  std::string manufacturer, name, serial;
};

struct UsbProfile {
  FirmwareKind firmware;
  bool super_speed;
  bool ten_gigabit;  // SuperSpeedPlus; the descriptors do not tell
  Identity identity;

  uint32_t ep0_packet() const { return super_speed ? 512 : 64; }
  uint32_t bulk_packet() const { return super_speed ? 1024 : 512; }
};

UsbProfile make_profile(const std::string& firmware, const std::string& usb);  // throws std::invalid_argument
std::string usb_link(const UsbProfile& profile);  // the `usb` that makes such a profile
std::vector<uint8_t> device_descriptor(const UsbProfile& profile);
std::vector<uint8_t> configuration_descriptor(const UsbProfile& profile);
// nullopt: this firmware gives no answer to that type.
std::optional<std::vector<uint8_t>> descriptor(const UsbProfile& profile, uint8_t type, uint8_t index);
bool endpoint_exists(const UsbProfile& profile, unsigned alternate, uint8_t endpoint);

}  // namespace usbgpu::emulator
