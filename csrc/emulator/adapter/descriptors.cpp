#include "emulator/adapter/descriptors.h"

#include <stdexcept>

namespace usbgpu::emulator {

namespace {
using Bytes = std::vector<uint8_t>;
constexpr uint8_t type_device = 1, type_configuration = 2, type_string = 3, type_interface = 4, type_endpoint = 5,
                  type_bos = 15;

void append(Bytes& to, const Bytes& from) { to.insert(to.end(), from.begin(), from.end()); }
uint8_t low(uint16_t v) { return static_cast<uint8_t>(v); }
uint8_t high(uint16_t v) { return static_cast<uint8_t>(v >> 8); }

Bytes string_descriptor(const std::string& text) {
  Bytes bytes{static_cast<uint8_t>(2 + 2 * text.size()), type_string};
  for (char c : text) append(bytes, {static_cast<uint8_t>(c), 0});
  return bytes;
}

Bytes interface_descriptor(const UsbProfile& profile, uint8_t alternate, uint8_t endpoints) {
  if (is_mass_storage(profile.firmware))  // bulk-only transport, or UAS on alternate 1
    return {9, type_interface, 0, alternate, endpoints, 0x08, 0x06, static_cast<uint8_t>(alternate ? 0x62 : 0x50), 0};
  return {9, type_interface, 0, alternate, endpoints, 0xFF, 0xFF, 0xFF, 0};
}

Bytes endpoint(const UsbProfile& profile, uint8_t address, uint8_t burst, uint8_t streams, uint8_t pipe_usage) {
  const auto packet = static_cast<uint16_t>(profile.bulk_packet());
  Bytes bytes{7, type_endpoint, address, 2, low(packet), high(packet), 0};
  if (profile.super_speed) append(bytes, {6, 0x30, burst, streams, 0, 0});
  if (pipe_usage) append(bytes, {4, 0x24, pipe_usage, 0});
  return bytes;
}

Bytes four_uas_endpoints(const UsbProfile& profile) {
  Bytes bytes;
  append(bytes, endpoint(profile, 0x81, 15, 5, 3));  // data-in
  append(bytes, endpoint(profile, 0x02, 15, 5, 4));  // data-out
  append(bytes, endpoint(profile, 0x83, 15, 5, 2));  // status
  append(bytes, endpoint(profile, 0x04, 0, 0, 1));   // command
  return bytes;
}
}  // namespace

UsbProfile make_profile(const std::string& firmware, const std::string& usb) {
  UsbProfile profile{};
  if (usb == "super") profile.super_speed = profile.ten_gigabit = true;
  else if (usb == "super-5g") profile.super_speed = true;
  else if (usb != "high") throw std::invalid_argument("usb must be super, super-5g or high, not '" + usb + "'");
  // "ffffffff": the serial of a board whose OTP area is blank
  if (firmware == "custom") {
    profile.firmware = FirmwareKind::custom;
    profile.identity = {0xADD1, 0x0001, 0x0001, "tiny", "custom v0.1", "ffffffff"};
  } else if (firmware == "custom-2026-08") {
    profile.firmware = FirmwareKind::custom_2026_08;
    profile.identity = {0x3801, 0x0001, 0x0001, "tiny", "custom v0.1", "ffffffff"};
  } else if (firmware == "unknown") {
    // Somebody's own: the ids of the open firmware, a name that no driver knows.
    profile.firmware = FirmwareKind::unknown;
    profile.identity = {0x3801, 0x0001, 0x0100, "somebody", "PCIe experiment", "ffffffff"};
  } else if (firmware.starts_with(image_prefix)) {
    profile.firmware = FirmwareKind::image;  // says itself who it is, once it runs
  } else if (firmware == "usb4") {
    // The PCIe tunnel belongs to the host's USB4 router; what is left of the vendor interface is a USB 2 function.
    profile.firmware = FirmwareKind::usb4;
    profile.super_speed = profile.ten_gigabit = false;
    profile.identity = {0x3801, 0x0001, 0x0001, "tiny", "custom v0.1", "ffffffff"};
  } else if (firmware == "legacy") {
    profile.firmware = FirmwareKind::legacy;
    profile.identity = {0xADD1, 0x0001, 0x0100, "tiny", "USB 3.2 PCIe TinyEnclosure", "000000000001"};
  } else if (firmware == "stock") {
    profile.firmware = FirmwareKind::stock;
    profile.identity = {0x174C, 0x2464, 0x0100, "ASMedia", "ASM246X", "000000000001"};
  } else if (firmware == "rom") {
    profile.firmware = FirmwareKind::rom;
    profile.identity = {0x174C, 0x2463, 0x0001, "ASMedia", "AS2462", std::string(20, '0')};
  } else if (firmware == "bootstub") {
    profile.firmware = FirmwareKind::bootstub;
    profile.super_speed = profile.ten_gigabit = false;
    profile.identity = {0x3801, 0xB007, 0x0001, "", "", ""};
  } else {
    throw std::invalid_argument("firmware must be custom, custom-2026-08, unknown, usb4, legacy, stock, rom, "
                                "bootstub or image:FILE, not '" + firmware + "'");
  }
  return profile;
}

std::string usb_link(const UsbProfile& profile) {
  return profile.ten_gigabit ? "super" : profile.super_speed ? "super-5g" : "high";
}

Bytes device_descriptor(const UsbProfile& p) {
  const Identity& id = p.identity;
  const uint16_t usb = p.super_speed ? 0x0320 : 0x0200;
  const bool named = !id.name.empty();
  const auto index = [&](uint8_t string) { return static_cast<uint8_t>(named ? string : 0); };
  const auto ep0 = static_cast<uint8_t>(p.super_speed ? 9 : 64);  // at SuperSpeed an exponent
  Bytes bytes{18, type_device, low(usb), high(usb), 0, 0, 0, ep0};
  append(bytes, {low(id.vendor), high(id.vendor), low(id.product), high(id.product)});
  append(bytes, {low(id.release), high(id.release)});
  append(bytes, {index(1), index(2), index(3), 1});
  return bytes;
}

Bytes configuration_descriptor(const UsbProfile& p) {
  Bytes body;
  if (p.firmware == FirmwareKind::bootstub) {
    append(body, interface_descriptor(p, 0, 0));
  } else if (p.super_speed || is_mass_storage(p.firmware)) {
    append(body, interface_descriptor(p, 0, 2));
    append(body, endpoint(p, 0x81, 15, 0, 0));
    append(body, endpoint(p, 0x02, 15, 0, 0));
    if (p.firmware != FirmwareKind::rom) {
      append(body, interface_descriptor(p, 1, 4));
      append(body, four_uas_endpoints(p));
    }
  } else {
    append(body, interface_descriptor(p, 0, 4));
    for (uint8_t address : {0x81, 0x02, 0x83, 0x04}) append(body, endpoint(p, address, 0, 0, 0));
  }
  const auto total = static_cast<uint16_t>(9 + body.size());
  Bytes bytes{9, type_configuration, low(total), high(total), 1, 1, 0, 0xC0, 0};
  append(bytes, body);
  return bytes;
}

std::optional<Bytes> descriptor(const UsbProfile& p, uint8_t type, uint8_t index) {
  switch (type) {
    case type_device:
      return device_descriptor(p);
    case type_configuration:
      return configuration_descriptor(p);
    case type_string:
      switch (index) {
        case 0: return Bytes{4, type_string, 0x09, 0x04};
        case 1: return string_descriptor(p.identity.manufacturer);
        case 2: return string_descriptor(p.identity.name);
        case 3: return string_descriptor(p.identity.serial);
        default: return Bytes{2, type_string};
      }
    case type_bos:
      return Bytes{5, type_bos, 22, 0, 2,
                   7, 16, 2, 0x02, 0, 0, 0,                      // USB 2.0 extension: LPM
                   10, 16, 3, 0, 0x0E, 0, 3, 0, 0, 0};           // SuperSpeed: speeds 0x000E, from SuperSpeed
    default:
      return std::nullopt;
  }
}

bool endpoint_exists(const UsbProfile& p, unsigned alternate, uint8_t address) {
  if (p.firmware == FirmwareKind::bootstub) return false;
  if (address == 0x81 || address == 0x02) return true;
  const bool four = alternate == 1 || (!p.super_speed && !is_mass_storage(p.firmware));
  return four && (address == 0x83 || address == 0x04);
}

}  // namespace usbgpu::emulator
