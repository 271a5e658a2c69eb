// The SPI flash of the board: configuration blocks, the wrapped firmware image, the OTP area with the serial.
//
// Layout and wrapper: asm2464pd-firmware flash.py and handmade/src/flash.h, usb-to-pcie-re asm236x_fw.ksy. Where the
// vendor commands read and write, and how much they take: read in the code of ASMedia's firmware 231204_85_00_00.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "emulator/adapter/descriptors.h"

namespace usbgpu::emulator {

class Flash {
 public:
  static constexpr size_t bytes = 512 * 1024, block_bytes = 64 * 1024, page_bytes = 256;
  static constexpr size_t config_bytes = 128, image_offset = 0x100;
  // What the first write command takes; the second part starts behind it. No command takes more than 64 KiB.
  static constexpr size_t part_bytes = 0xFF00, command_bytes = 0x1'0000;

  // `storage`: of `bytes` bytes, kept by the caller, e.g. a mapped file: what is written lasts. Empty: memory of its own.
  explicit Flash(std::span<uint8_t> storage = {}) : own_(storage.empty() ? bytes : 0, 0xFF), content_(storage) {
    if (storage.empty()) content_ = own_;
  }
  Flash(const Flash&) = delete;
  Flash& operator=(const Flash&) = delete;

  // What a board with that firmware carries. The image is a stand-in: same wrapper, same marks, no code.
  void install(const UsbProfile& profile);
  // The content came with the storage: what boots is up to it.
  void keep() { modified_ = true; }
  // What the ROM finds after a reset: the identity that the image gives itself, or the ROM's own when it is not valid.
  UsbProfile boot(const UsbProfile& strapped) const;
  bool image_valid() const;
  bool config_valid(unsigned block) const;

  std::span<const uint8_t> content() const { return content_; }
  void erase(size_t from, size_t to);                             // whole 64 KiB blocks
  void program(size_t at, std::span<const uint8_t> data);         // bits only fall

  // A whole command of the vendor protocol: erases what it covers, then programs.
  void write(size_t at, std::span<const uint8_t> data);
  std::vector<uint8_t> read(size_t at, size_t count) const;

  void set_serial(const std::string& hex);  // eight hex digits into the OTP area
  std::string serial() const;               // "ffffffff" when it is blank or corrupt

  // One transaction of the SPI controller (registers 0xC8A1..0xC8AF). `buffer` is XDATA 0x7000.
  void transaction(uint8_t command, uint32_t address, uint32_t length, bool write, std::span<uint8_t> buffer);
  bool modified() const { return modified_; }  // since install()
  void reset_chip() { write_enabled_ = in_otp_ = false; }

  static std::vector<uint8_t> wrap(std::span<const uint8_t> body);
  static uint32_t crc32(std::span<const uint8_t> data);

 private:
  std::span<const uint8_t> body() const;  // of a valid image, else empty
  std::vector<uint8_t> own_;
  std::span<uint8_t> content_;
  std::array<uint8_t, 5> otp_{0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
  uint8_t status_ = 0x1C;  // blocks are protected until somebody clears the bits
  bool write_enabled_ = false, in_otp_ = false, modified_ = false;
};

}  // namespace usbgpu::emulator
