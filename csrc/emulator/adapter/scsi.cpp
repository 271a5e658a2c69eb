#include "emulator/adapter/scsi.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

namespace usbgpu::emulator {

namespace {
// SPC and SBC.
constexpr uint8_t test_unit_ready = 0x00, request_sense = 0x03, inquiry_command = 0x12, mode_sense6 = 0x1A,
                  start_stop = 0x1B, allow_removal = 0x1E, read_capacity10 = 0x25, read10 = 0x28, write10 = 0x2A,
                  synchronize10 = 0x35, mode_sense10 = 0x5A, read16 = 0x88, write16 = 0x8A, service_in16 = 0x9E,
                  report_luns = 0xA0;
// ASMedia's.
constexpr uint8_t read_config = 0xE0, write_config = 0xE1, read_flash = 0xE2, write_firmware = 0xE3,
                  read_memory = 0xE4, write_memory = 0xE5, nvme_admin = 0xE6, reset_commit = 0xE8;
constexpr uint8_t asm246x = 0x50, second_part = 0x80;
constexpr size_t second_copy = 0x2'0000;

constexpr Sense no_medium{0x02, 0x3A, 0x00}, unknown_command{0x05, 0x20, 0x00}, invalid_field{0x05, 0x24, 0x00};
constexpr uint32_t block_bytes = 512;
// Not measured; of the order of what the notes give for these commands.
constexpr double us_command = 20, us_per_byte = 0.58;

// What a driver pokes so that the firmware believes an NVMe drive to be ready (tinygrad, start-up writes).
struct Belief {
  uint16_t address;
  uint8_t value;
};
constexpr Belief beliefs[] = {{0x054B, 0x20}, {0x054E, 0x04}, {0x05A8, 0x02}, {0x05F8, 0x04}, {0x07EC, 0x01},
                              {0x07ED, 0x00}, {0x07EE, 0x00}, {0x07EF, 0x00}, {0xC422, 0x02}, {0x0000, 0x33}};
// The slot allocator's state as far as drivers reset it between writes.
constexpr uint16_t slot_state = 0x0171, slot_state_bytes = 3, completion_state = 0xCE6E, completion_state_bytes = 2,
                   slot_pointer = 0xCE40, slot_pointer_bytes = 4;

uint32_t big32(const uint8_t* b) {
  return static_cast<uint32_t>(b[0]) << 24 | static_cast<uint32_t>(b[1]) << 16 | static_cast<uint32_t>(b[2]) << 8 | b[3];
}
void pad(std::vector<uint8_t>& to, size_t at, size_t width, const std::string& text) {
  for (size_t i = 0; i < width; ++i) to[at + i] = i < text.size() ? static_cast<uint8_t>(text[i]) : ' ';
}
ScsiResult ended(double microseconds) {
  ScsiResult result;
  result.microseconds = microseconds;
  return result;
}
std::string hex(unsigned value) {
  char text[8];
  std::snprintf(text, sizeof text, "0x%02X", value);
  return text;
}
}  // namespace

ScsiTarget::ScsiTarget(const UsbProfile& profile, Observer& observer, Xdata& xdata, Pages& pages, SramEngine& sram,
                       Flash& flash)
    : profile_(profile), observer_(observer), xdata_(xdata), pages_(pages), sram_(sram), flash_(flash) {}

void ScsiTarget::reset() {
  sense_ = {};
  next_slot_ = 0;
  written_ = false;
}

ScsiResult ScsiTarget::fail(Sense sense) {
  sense_ = sense;
  return {.good = false, .data = {}, .microseconds = us_command};
}

std::array<uint8_t, 18> ScsiTarget::sense_data() const {
  std::array<uint8_t, 18> data{};
  data[0] = 0x70;  // current error, fixed format
  data[2] = sense_.key;
  data[7] = 10;
  data[12] = sense_.code;
  data[13] = sense_.qualifier;
  return data;
}

size_t ScsiTarget::data_out_bytes(const Cdb& cdb) const {
  switch (cdb[0]) {
    case write10: return size_t{cdb[7]} << 8 << 9 | size_t{cdb[8]} << 9;
    case write16: return size_t{big32(&cdb[10])} * block_bytes;
    case write_config: return Flash::config_bytes;
    case write_firmware: return big32(&cdb[2]);
    default: return 0;
  }
}

ScsiResult ScsiTarget::execute(const Cdb& cdb, std::span<const uint8_t> data_out) {
  if (cdb[0] != request_sense) sense_ = {};
  const bool rom = profile_.firmware == FirmwareKind::rom;
  switch (cdb[0]) {
    case test_unit_ready:
      return !rom && believes_in_a_drive() ? ended(us_command) : fail(no_medium);
    case request_sense: {
      const auto sense = sense_data();
      sense_ = {};
      return {.data = {sense.begin(), sense.begin() + std::min<size_t>(cdb[4], sense.size())},
              .microseconds = us_command};
    }
    case inquiry_command:
      return inquiry(cdb);
    case mode_sense6: {
      std::vector<uint8_t> page{3, 0, 0, 0};
      page.resize(std::min<size_t>(cdb[4], page.size()));
      return {.data = page, .microseconds = us_command};
    }
    case mode_sense10: {
      std::vector<uint8_t> page{0, 6, 0, 0, 0, 0, 0, 0};
      page.resize(std::min<size_t>(size_t{cdb[7]} << 8 | cdb[8], page.size()));
      return {.data = page, .microseconds = us_command};
    }
    case report_luns: {
      std::vector<uint8_t> luns(16, 0);
      luns[3] = 8;
      luns.resize(std::min<size_t>(big32(&cdb[6]), luns.size()));
      return {.data = luns, .microseconds = us_command};
    }
    case start_stop:
    case allow_removal:
    case synchronize10:
      return ended(us_command);
    case write10:
    case write16:
      // Stock firmware without a drive ends a write with an error; the patched byte makes it an ordinary end.
      if (profile_.firmware != FirmwareKind::legacy || !believes_in_a_drive()) return fail(no_medium);
      return write_blocks(data_out);
    case read_capacity10:
    case read10:
    case read16:
    case service_in16:
    case nvme_admin:
      return fail(no_medium);
    case read_config:
    case write_config:
    case read_flash:
    case write_firmware:
    case reset_commit:
      return flash_command(cdb, data_out);
    case read_memory:
      return rom ? fail(unknown_command) : read_xdata(cdb);
    case write_memory:
      return rom ? fail(unknown_command) : write_xdata(cdb);
    default:
      observer_.violation("unknown-command", "unknown SCSI command " + hex(cdb[0]));
      return fail(unknown_command);
  }
}

ScsiResult ScsiTarget::inquiry(const Cdb& cdb) const {
  std::vector<uint8_t> data;
  const Identity& id = profile_.identity;
  if (!(cdb[1] & 1)) {
    data.assign(36, 0);
    data[2] = 6;  // SPC-4
    data[3] = 2;
    data[4] = static_cast<uint8_t>(data.size() - 5);
    data[7] = 2;  // command queueing
    pad(data, 8, 8, id.manufacturer);
    pad(data, 16, 16, id.name);
    pad(data, 32, 4, "0");
  } else if (cdb[2] == 0x00) {
    data = {0, 0x00, 0, 2, 0x00, 0x80};
  } else if (cdb[2] == 0x80) {
    data.assign(4 + id.serial.size(), 0);
    data[1] = 0x80;
    data[3] = static_cast<uint8_t>(id.serial.size());
    std::memcpy(data.data() + 4, id.serial.data(), id.serial.size());
  } else {
    const_cast<ScsiTarget*>(this)->sense_ = invalid_field;
    return {.good = false, .data = {}, .microseconds = us_command};
  }
  data.resize(std::min<size_t>(size_t{cdb[3]} << 8 | cdb[4], data.size()));
  return {.data = data, .microseconds = us_command};
}

// a[23:16] = 0x50 on this chip family, bit 16 = the PHY plane.
ScsiResult ScsiTarget::read_xdata(const Cdb& cdb) {
  if ((cdb[2] & 0xFE) != asm246x) {
    observer_.violation("command-prefix", "E4 with address prefix " + hex(cdb[2]) + " instead of 0x50");
    return fail(invalid_field);
  }
  const unsigned bank = cdb[2] & 1;
  const uint16_t address = static_cast<uint16_t>(cdb[3] << 8 | cdb[4]);
  ScsiResult result;
  xdata_.begin_read(cdb[1]);
  for (unsigned i = 0; i < cdb[1]; ++i)
    result.data.push_back(xdata_.read_in_sequence(bank, static_cast<uint16_t>(address + i), i));
  result.microseconds = us_command + us_per_byte * cdb[1];
  return result;
}

ScsiResult ScsiTarget::write_xdata(const Cdb& cdb) {
  if ((cdb[2] & 0xFE) != asm246x) {
    observer_.violation("command-prefix", "E5 with address prefix " + hex(cdb[2]) + " instead of 0x50");
    return fail(invalid_field);
  }
  const unsigned bank = cdb[2] & 1;
  const uint16_t address = static_cast<uint16_t>(cdb[3] << 8 | cdb[4]);
  const bool restart = !bank && address == xdata::cpu_control && cdb[1] & 1;
  xdata_.write(bank, address, cdb[1]);
  // The pointer goes back to the first slot when its registers are cleared.
  if (!bank && address == slot_pointer + slot_pointer_bytes - 1 && cdb[1] == 0) next_slot_ = 0;
  ScsiResult result = ended(us_command);
  result.restart = restart;
  return result;
}

bool ScsiTarget::believes_in_a_drive() {
  return std::all_of(std::begin(beliefs), std::end(beliefs),
                     [this](const Belief& b) { return xdata_.read(0, b.address) == b.value; });
}

// The block address does not decide where data lands: the firmware's slot allocator does. A command of up to one slot
// lands at the pointer and leaves it; a longer one moves it on, until a driver clears 0xCE40..0xCE43. A driver that
// does not clear the allocator's state between two writes finds the second one behind the first.
ScsiResult ScsiTarget::write_blocks(std::span<const uint8_t> data) {
  const auto cleared = [this](uint16_t from, uint16_t count, uint8_t value) {
    for (uint16_t i = 0; i < count; ++i)
      if (xdata_.read(0, static_cast<uint16_t>(from + i)) != value) return false;
    return true;
  };
  if (written_ && (!cleared(slot_state, slot_state_bytes, 0xFF) || !cleared(completion_state, completion_state_bytes, 0))) {
    observer_.violation("write-slots-busy", "WRITE while 0x0171..0x0173 or 0xCE6E..0xCE6F were not reset after the last");
    next_slot_ = (next_slot_ + 1) % SramEngine::slots;
  }
  const auto count = static_cast<uint32_t>((data.size() + SramEngine::slot_bytes - 1) / SramEngine::slot_bytes);
  for (size_t done = 0; done < data.size();) {
    const size_t at = (size_t{next_slot_} * SramEngine::slot_bytes + done) % sram_bytes;
    const size_t run = std::min(data.size() - done, sram_bytes - at);
    store_ascending(pages_.sram() + at, reinterpret_cast<const std::byte*>(data.data()) + done, run);
    done += run;
  }
  if (count > 1) next_slot_ = (next_slot_ + count) % SramEngine::slots;
  written_ = true;
  for (uint16_t i = 0; i < slot_state_bytes; ++i) *xdata_.ram(static_cast<uint16_t>(slot_state + i)) = static_cast<uint8_t>(count);
  for (uint16_t i = 0; i < completion_state_bytes; ++i) *xdata_.ram(static_cast<uint16_t>(completion_state + i)) = 1;
  if (sram_.on_landed) sram_.on_landed();
  return ended(us_command + static_cast<double>(data.size()) / 700);
}

ScsiResult ScsiTarget::flash_command(const Cdb& cdb, std::span<const uint8_t> data) {
  // Bit 0 of the second byte chooses the other half of the flash, a second copy of everything.
  const bool second = cdb[1] & second_part;
  const size_t copy = cdb[1] & 1 ? second_copy : 0;
  ScsiResult result = ended(us_command + static_cast<double>(data.size()) * 3);
  switch (cdb[0]) {
    case read_config:
    case write_config: {
      if ((cdb[1] & 0xFE) != asm246x || cdb[2] > 1) return fail(invalid_field);
      const size_t at = copy + cdb[2] * Flash::config_bytes;
      if (cdb[0] == write_config) flash_.write(at, data.first(std::min(Flash::config_bytes, data.size())));
      else result.data = flash_.read(at, Flash::config_bytes);
      return result;
    }
    case read_flash:
    case write_firmware: {
      if ((cdb[1] & 0x7E) != asm246x) return fail(invalid_field);
      const bool write = cdb[0] == write_firmware;
      const size_t length = big32(&cdb[2]), at = copy + Flash::image_offset + (second ? Flash::part_bytes : 0);
      if (length > (write && !second ? Flash::part_bytes : Flash::command_bytes)) return fail(invalid_field);
      if (write) flash_.write(at, data.first(std::min(length, data.size())));
      else result.data = flash_.read(at, length);
      return result;
    }
    default:  // reset or commit; the new image starts with the next power-up
      return (cdb[1] & 0xFE) == asm246x ? result : fail(invalid_field);
  }
}

}  // namespace usbgpu::emulator
