#include "emulator/adapter/flash.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace usbgpu::emulator {

namespace {
constexpr uint8_t magic_image = 0xA5, magic_config0 = 0x5A, magic_config1 = 0xA5;
constexpr size_t trailer_bytes = 6;  // magic, sum, CRC-32
// Where the patched stock firmware differs: file offset 0x2A12, 4 bytes of which are the length.
constexpr size_t patched_byte = 0x2A12 - 4;
constexpr uint8_t stock_value = 0x0A, legacy_value = 0x05;
constexpr size_t stock_body_bytes = 98'006;
// Marks by which flashing tools tell images apart, where ASMedia's 240417_85_00_00 and small builds of the open
// firmware have them: the jump at the reset vector, the version in BCD, the device descriptors.
constexpr uint8_t long_jump = 0x02;
constexpr size_t stock_version_at = 0x200, stock_descriptor_at = 0x64F, descriptor_at = 0x100, strings_at = 0x200;
constexpr uint8_t stock_version[6] = {0x24, 0x04, 0x17, 0x85, 0x00, 0x00};
constexpr uint8_t stock_descriptor[18] = {18, 1, 0x10, 2, 0, 0, 0, 64, 0x4C, 0x17, 0x62, 0x24, 1, 0, 2, 3, 1, 1};
constexpr size_t most_body_bytes = 0x2'0000;

// SPI opcodes.
constexpr uint8_t write_status = 0x01, page_program = 0x02, read_data = 0x03, read_status = 0x05, write_enable = 0x06,
                  read_id = 0x9F, enter_otp = 0xB1, exit_otp = 0xC1, erase_block = 0xD8;
constexpr uint8_t protect_bits = 0x1C;
constexpr uint8_t jedec_id[3] = {0xEF, 0x40, 0x13};  // a 4 Mbit part

uint8_t sum(std::span<const uint8_t> data) {
  unsigned total = 0;
  for (const uint8_t byte : data) total += byte;
  return static_cast<uint8_t>(total);
}

uint32_t little32(const uint8_t* b) {
  return static_cast<uint32_t>(b[0]) | static_cast<uint32_t>(b[1]) << 8 | static_cast<uint32_t>(b[2]) << 16 |
         static_cast<uint32_t>(b[3]) << 24;
}

// ASCII fields are padded with 0xFF.
void put(std::span<uint8_t> block, size_t at, size_t width, const std::string& text) {
  std::memcpy(block.data() + at, text.data(), std::min(width, text.size()));
}
std::string field(std::span<const uint8_t> block, size_t at, size_t width) {
  std::string text;
  for (size_t i = at; i < at + width && block[i] >= 0x20 && block[i] < 0x7F; ++i)
    text += static_cast<char>(block[i]);
  return text;
}

size_t find(std::span<const uint8_t> where, std::string_view what) {
  const auto found = std::search(where.begin(), where.end(), what.begin(), what.end());
  return found == where.end() ? SIZE_MAX : static_cast<size_t>(found - where.begin());
}
}  // namespace

uint32_t Flash::crc32(std::span<const uint8_t> data) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const uint8_t byte : data) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

std::vector<uint8_t> Flash::wrap(std::span<const uint8_t> body) {
  std::vector<uint8_t> image;
  const auto append32 = [&image](uint32_t value) {
    for (int i = 0; i < 4; ++i) image.push_back(static_cast<uint8_t>(value >> (8 * i)));
  };
  append32(static_cast<uint32_t>(body.size()));
  image.insert(image.end(), body.begin(), body.end());
  image.push_back(magic_image);
  image.push_back(sum(body));
  append32(crc32(body));
  return image;
}

std::span<const uint8_t> Flash::body() const {
  const uint32_t length = little32(content_.data() + image_offset);
  if (length == 0 || length > most_body_bytes || image_offset + 4 + length + trailer_bytes > bytes) return {};
  const std::span<const uint8_t> body{content_.data() + image_offset + 4, length};
  const uint8_t* trailer = body.data() + length;
  if (trailer[0] != magic_image || trailer[1] != sum(body) || little32(trailer + 2) != crc32(body)) return {};
  return body;
}

bool Flash::image_valid() const { return !body().empty(); }

bool Flash::config_valid(unsigned block) const {
  const auto* b = content_.data() + block * config_bytes;
  return b[0x7E] == (block ? magic_config1 : magic_config0) && b[0x7F] == sum({b + 4, 0x7E - 4 + 1});
}

void Flash::install(const UsbProfile& profile) {
  const Identity& id = profile.identity;
  // The tool that puts the open firmware into a flash writes the patched firmware's blocks in front of it.
  const Identity shown = is_custom(profile.firmware) ? make_profile("legacy", "super").identity : id;
  erase(0, bytes);
  otp_.fill(0xFF);
  status_ = protect_bits;
  modified_ = false;
  if (profile.firmware == FirmwareKind::rom) return;
  std::vector<uint8_t> block(config_bytes, 0xFF);
  put(block, 0x04, 20, shown.serial), put(block, 0x18, 36, shown.manufacturer), put(block, 0x3C, 8, shown.manufacturer);
  put(block, 0x44, 32, shown.name), put(block, 0x64, 16, shown.name);
  const uint16_t words[3] = {shown.vendor, shown.product, shown.release};
  for (size_t i = 0; i < 3; ++i) {
    block[0x74 + 2 * i] = static_cast<uint8_t>(words[i]);
    block[0x75 + 2 * i] = static_cast<uint8_t>(words[i] >> 8);
  }
  block[0x7E] = magic_config0;
  block[0x7F] = sum({block.data() + 4, 0x7E - 4 + 1});
  program(0, block);
  std::fill(block.begin(), block.end(), 0xFF);
  put(block, 0x04, 40, shown.manufacturer), put(block, 0x2C, 40, shown.name);
  block[0x7E] = magic_config1;
  block[0x7F] = sum({block.data() + 4, 0x7E - 4 + 1});
  program(config_bytes, block);

  std::vector<uint8_t> body;
  if (is_mass_storage(profile.firmware)) {
    body.assign(stock_body_bytes, 0);
    std::copy(std::begin(stock_version), std::end(stock_version), body.begin() + stock_version_at);
    std::copy(std::begin(stock_descriptor), std::end(stock_descriptor), body.begin() + stock_descriptor_at);
    body[patched_byte] = profile.firmware == FirmwareKind::legacy ? legacy_value : stock_value;
  } else {
    body.assign(0x3000, 0);
    UsbProfile described{};
    described.firmware = FirmwareKind::custom;
    described.identity = id;
    size_t at = descriptor_at;
    for (const bool super : {false, true}) {
      described.super_speed = super;
      const std::vector<uint8_t> device = device_descriptor(described);
      std::copy(device.begin(), device.end(), body.begin() + static_cast<long>(at));
      at += device.size();
    }
    std::memcpy(body.data() + strings_at, id.name.c_str(), id.name.size() + 1);
  }
  body[0] = long_jump, body[2] = 3;  // to 0x0003
  program(image_offset, wrap(body));
  modified_ = false;
}

UsbProfile Flash::boot(const UsbProfile& strapped) const {
  UsbProfile profile = strapped;
  const auto image = body();
  if (image.empty()) {
    profile = make_profile("rom", usb_link(strapped));
    return profile;
  }
  // The open firmware carries its product string and its high-speed device descriptor in the code.
  if (const size_t name = find(image, "custom"); name != SIZE_MAX && name + 6 < image.size() && image.size() < 0xFF00) {
    profile = make_profile("custom", usb_link(strapped));
    profile.identity.name = field(image, name, std::min<size_t>(32, image.size() - name));
    constexpr std::string_view start("\x12\x01\x00\x02\x00\x00\x00\x40", 8);
    if (const size_t at = find(image, start); at != SIZE_MAX && at + 14 <= image.size()) {
      const uint8_t* d = image.data() + at;
      profile.identity.vendor = static_cast<uint16_t>(d[8] | d[9] << 8);
      profile.identity.product = static_cast<uint16_t>(d[10] | d[11] << 8);
      profile.identity.release = static_cast<uint16_t>(d[12] | d[13] << 8);
    }
    if (profile.identity.vendor == 0x3801) profile.firmware = FirmwareKind::custom_2026_08;
    profile.identity.serial = serial();
    return profile;
  }
  const bool patched = image.size() > patched_byte && image[patched_byte] == legacy_value;
  profile = make_profile(patched ? "legacy" : "stock", usb_link(strapped));
  if (config_valid(0)) {  // else the firmware's own defaults
    const std::span<const uint8_t> block{content_.data(), config_bytes};
    profile.identity = {static_cast<uint16_t>(block[0x74] | block[0x75] << 8),
                        static_cast<uint16_t>(block[0x76] | block[0x77] << 8),
                        static_cast<uint16_t>(block[0x78] | block[0x79] << 8), field(block, 0x18, 36),
                        field(block, 0x44, 32), field(block, 0x04, 20)};
  }
  return profile;
}

void Flash::erase(size_t from, size_t to) {
  modified_ = true;
  from = std::min(from / block_bytes * block_bytes, bytes);
  to = std::min((to + block_bytes - 1) / block_bytes * block_bytes, bytes);
  if (from < to) std::fill(content_.begin() + static_cast<long>(from), content_.begin() + static_cast<long>(to), 0xFF);
}

void Flash::program(size_t at, std::span<const uint8_t> data) {
  modified_ = true;
  for (size_t i = 0; i < data.size() && at + i < bytes; ++i) content_[at + i] &= data[i];
}

// The firmware erases by sectors and keeps the configuration blocks in front of the image.
void Flash::write(size_t at, std::span<const uint8_t> data) {
  modified_ = true;
  std::copy_n(data.begin(), std::min(data.size(), bytes - at), content_.begin() + static_cast<long>(at));
}

std::vector<uint8_t> Flash::read(size_t at, size_t count) const {
  std::vector<uint8_t> data(count, 0xFF);
  if (at < bytes) std::copy_n(content_.begin() + static_cast<long>(at), std::min(count, bytes - at), data.begin());
  return data;
}

void Flash::set_serial(const std::string& hex) {
  if (hex.empty()) return;
  if (hex.size() != 8 || hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
    throw std::invalid_argument("a serial number has eight hex digits, not '" + hex + "'");
  otp_[4] = 0;
  for (size_t i = 0; i < 4; ++i) {
    otp_[i] = static_cast<uint8_t>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
    otp_[4] ^= otp_[i];
  }
}

std::string Flash::serial() const {
  if ((otp_[0] ^ otp_[1] ^ otp_[2] ^ otp_[3]) != otp_[4]) return "ffffffff";
  std::string text;
  for (size_t i = 0; i < 4; ++i)
    for (const unsigned shift : {4u, 0u}) text += "0123456789abcdef"[otp_[i] >> shift & 15];
  return text;
}

void Flash::transaction(uint8_t command, uint32_t address, uint32_t length, bool write, std::span<uint8_t> buffer) {
  const size_t count = std::min<size_t>(length, buffer.size());
  const auto answer = [&](auto byte_at) {
    if (!write)
      for (size_t i = 0; i < count; ++i) buffer[i] = byte_at(i);
  };
  switch (command) {
    case write_enable:
      write_enabled_ = true;
      return;
    case write_status:
      if (write_enabled_ && write && count) status_ = buffer[0] & protect_bits;
      break;
    case read_status:
      return answer([this](size_t) { return static_cast<uint8_t>(status_ | (write_enabled_ ? 2 : 0)); });
    case read_id:
      return answer([](size_t i) { return jedec_id[i % 3]; });
    case read_data:
      if (in_otp_) return answer([&](size_t i) { return address + i < otp_.size() ? otp_[address + i] : uint8_t{0xFF}; });
      return answer([&](size_t i) { return content_[(address + i) % bytes]; });
    case enter_otp:
      in_otp_ = true;
      return;
    case exit_otp:
      in_otp_ = false;
      return;
    case erase_block:
      if (write_enabled_ && !(status_ & protect_bits) && !in_otp_)
        erase(address % bytes, address % bytes / block_bytes * block_bytes + 1);
      break;
    case page_program:
      if (write_enabled_ && write && !(status_ & protect_bits)) {
        modified_ = true;
        for (size_t i = 0; i < count; ++i) {
          if (in_otp_ && address + i < otp_.size()) otp_[address + i] &= buffer[i];
          // Inside a page the address wraps.
          const size_t at = (address / page_bytes * page_bytes + (address + i) % page_bytes) % bytes;
          if (!in_otp_) content_[at] &= buffer[i];
        }
      }
      break;
    default:
      return;  // nothing is driven on the bus
  }
  write_enabled_ = false;
}

}  // namespace usbgpu::emulator
