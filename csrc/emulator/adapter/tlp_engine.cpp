#include "emulator/adapter/tlp_engine.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <vector>

namespace usbgpu::emulator {

namespace {
constexpr uint8_t reg_format = 0x10, reg_byte_enables = 0x17, reg_address = 0x18, reg_address_upper = 0x1C,
                  reg_data = 0x20;
constexpr uint8_t reg_completion = 0x24, reg_completion_status = 0x2A, reg_launch = 0x54, reg_had_data = 0x84,
                  reg_status = 0x96;
constexpr uint8_t launch_described = 0x0F;
constexpr uint16_t gpu_completer = 4 << 8;

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}
}  // namespace

TlpEngine::TlpEngine(Fabric& fabric, Observer& observer, DelayLine& delay)
    : fabric_(fabric), observer_(observer), delay_(delay) {
  reset();
}

void TlpEngine::reset() {
  registers_.fill(0);
  registers_[0x13] = 0x01;  // constants that the firmware sets at boot
  registers_[0x16] = 0x20;
}

void TlpEngine::set_big_endian(uint8_t offset, uint32_t value) {
  for (unsigned i = 0; i < 4; ++i) registers_[offset + i] = static_cast<uint8_t>(value >> (24 - 8 * i));
}

uint32_t TlpEngine::big_endian(uint8_t offset) const {
  uint32_t value = 0;
  for (unsigned i = 0; i < 4; ++i) value = value << 8 | registers_[offset + i];
  return value;
}

void TlpEngine::set_address(uint64_t address) {
  set_big_endian(reg_address, static_cast<uint32_t>(address));
  set_big_endian(reg_address_upper, static_cast<uint32_t>(address >> 32));
}

uint64_t TlpEngine::address() const {
  return static_cast<uint64_t>(big_endian(reg_address_upper)) << 32 | big_endian(reg_address);
}

uint32_t TlpEngine::data() const { return big_endian(reg_data); }
void TlpEngine::load_data(uint32_t value) { set_big_endian(reg_data, value); }

void TlpEngine::load(uint8_t format_type, uint8_t byte_enables, uint64_t address) {
  registers_[reg_format] = format_type;
  registers_[reg_byte_enables] = byte_enables;
  set_address(address);
}

uint64_t TlpEngine::memory_address() const {
  // A 3-DW header has no upper half. The two low bits are not address in a dword TLP.
  const uint64_t full = format_type() & 0x20 ? address() : big_endian(reg_address);
  return full & ~uint64_t{3};
}

void TlpEngine::write(uint8_t offset, uint8_t value) {
  if (offset == reg_status) {
    registers_[offset] &= ~value;  // write 1 to clear
    return;
  }
  registers_[offset] = value;
  if (offset == reg_launch && value == launch_described) launch();
  // 0x03 / 0x13 ring NVMe doorbells of a drive that is not there
}

void TlpEngine::complete(Completion status, bool with_data, unsigned byte_count, uint16_t completer) {
  registers_[reg_completion] = with_data ? 0x4A : 0x0A;
  registers_[reg_completion + 1] = registers_[reg_completion + 2] = 0;
  registers_[reg_completion + 3] = with_data ? 1 : 0;
  registers_[reg_completion + 4] = static_cast<uint8_t>(completer >> 8);
  registers_[reg_completion + 5] = static_cast<uint8_t>(completer);
  registers_[reg_completion_status] =
      static_cast<uint8_t>(static_cast<unsigned>(status) << 5 | (byte_count >> 8 & 0xF));
  registers_[reg_completion_status + 1] = static_cast<uint8_t>(byte_count);
  registers_[reg_had_data] = with_data ? 1 : 0;
  registers_[reg_status] |= flag_done;
}

void TlpEngine::launch(bool stream) {
  const uint64_t number = launches_.fetch_add(1, std::memory_order_relaxed) + 1;
  registers_[reg_status] |= flag_sent;
  const uint8_t fmt = format_type();
  const unsigned enables = registers_[reg_byte_enables] & 0xF;
  if (!is_posted(fmt)) flush_posted();
  if (!stream && glitch_every && number % glitch_every == 0 && !is_posted(fmt)) {
    registers_[reg_status] |= flag_error;
    return;
  }
  if (!fabric_.link_up() || !routing) {
    if (link_lost) return observer_.count("fault:link-lost");
    observer_.violation("link-down", "a TLP was launched while the PCIe link is down or routing is off");
    return;  // no completion will ever come
  }
  if (is_memory(fmt)) {
    const uint64_t where = memory_address();
    if (carries_data(fmt)) return posted_write(where, data(), enables);
    uint32_t value = 0xFFFFFFFFu;
    const bool deaf = nobody_answers(where);
    const Completion status = deaf ? Completion::unsupported_request : fabric_.memory_read(where, value);
    if (status != Completion::success) {
      // A completion without data leaves the data registers alone: a stream delivers what they hold,
      // a single read finds the all ones that the root side puts there.
      if (!stream) load_data(0xFFFFFFFFu);
      if (stream && !deaf)
        observer_.violation("stream-read-unclaimed", "stream read of " + hex(where) + ", which nobody claims");
      complete(status, false, 4, 0);
      return;
    }
    load_data(value & ConfigSpace::lane_mask(enables));
    // Byte count of PCIe: from the first to the last enabled lane, 1 when none is.
    const unsigned count = enables ? static_cast<unsigned>(std::bit_width(enables) - std::countr_zero(enables)) : 1u;
    complete(status, true, count, gpu_completer);
    return;
  }
  if (is_config(fmt)) {
    const uint32_t low = big_endian(reg_address);
    const Fabric::ConfigAddress where{low >> 24, low >> 19 & 0x1F, low >> 16 & 7, low & 0xFFC, (fmt & 1) != 0};
    if (!where.type1 && where.device) observer_.count("warning:bus0-device-not-0");
    const uint16_t completer = static_cast<uint16_t>(low >> 16);
    if (carries_data(fmt)) {
      const Completion status = fabric_.config_write(where, data(), enables);
      complete(status, false, 4, completer);
    } else {
      uint32_t value = 0xFFFFFFFFu;
      const Completion status = fabric_.config_read(where, value);
      load_data(status == Completion::success ? value & ConfigSpace::lane_mask(enables) : 0xFFFFFFFFu);
      complete(status, status == Completion::success, 4, completer);
    }
    return;
  }
  if (!is_posted(fmt)) observer_.violation("unknown-tlp", "fmt_type " + hex(fmt) + " is no TLP that this engine sends");
}

// The card has stopped claiming its addresses; the bridges have not.
bool TlpEngine::nobody_answers(uint64_t where) {
  if (!unsupported.armed() || fabric_.find(where).aperture == GpuFunction::Aperture::none || !unsupported.strikes()) return false;
  observer_.count("fault:unsupported-request");
  return true;
}

void TlpEngine::posted_write(uint64_t where, uint32_t value, unsigned enables) {
  if (nobody_answers(where)) return;
  // Whether somebody claims it is settled now: what could change that is not posted and waits for this write.
  if (delay_.delays() && fabric_.claims(where))
    return delay_.push(DelayLine::posted, [this, where, value, enables] { fabric_.memory_write(where, value, enables); });
  if (fabric_.memory_write(where, value, enables) != Completion::success)
    observer_.violation("write-unclaimed", "memory write to " + hex(where) + ", which nobody claims: dropped");
}

void TlpEngine::stream_write(std::span<const std::byte> bytes) {
  const uint8_t fmt = format_type();
  const unsigned enables = registers_[reg_byte_enables] & 0xF;
  uint64_t where = address();
  size_t done = 0;
  const bool plain =
      is_memory(fmt) && carries_data(fmt) && enables == 0xF && fabric_.link_up() && routing && !unsupported.armed() && !(where & 3);
  while (done < bytes.size()) {
    const uint64_t target = fmt & 0x20 ? where : static_cast<uint32_t>(where);
    GpuFunction::Region region;
    if (plain) region = fabric_.find(target);
    if (region.aperture == GpuFunction::Aperture::none) {
      uint32_t value;
      std::memcpy(&value, bytes.data() + done, 4);
      load_data(value);
      set_address(where);
      where += 4;
      done += 4;
      clear_flags();
      launch(true);
      continue;
    }
    const size_t run = std::min<uint64_t>(bytes.size() - done, region.bytes);
    const auto write = [this, region](std::span<const std::byte> dwords) {
      for (size_t i = 0; i < dwords.size(); i += 4) {
        uint32_t value;
        std::memcpy(&value, dwords.data() + i, 4);
        fabric_.gpu().write(region.aperture, region.offset + i, value, 0xF);
      }
    };
    const auto part = bytes.subspan(done, run);
    if (delay_.delays())
      delay_.push(DelayLine::posted, [write, copy = std::vector<std::byte>(part.begin(), part.end())] { write(copy); });
    else
      write(part);
    launches_.fetch_add(run / 4, std::memory_order_relaxed);
    done += run;
    where += run;
    uint32_t last;
    std::memcpy(&last, bytes.data() + done - 4, 4);
    load_data(last);
  }
  set_address(where);
}

bool TlpEngine::stream_read(std::span<std::byte> bytes) {
  const uint8_t fmt = format_type();
  const unsigned enables = registers_[reg_byte_enables] & 0xF;
  uint64_t where = address();
  size_t done = 0;
  flush_posted();
  const bool plain =
      is_memory(fmt) && !carries_data(fmt) && enables == 0xF && fabric_.link_up() && routing && !unsupported.armed() && !(where & 3);
  while (done < bytes.size()) {
    const uint64_t target = fmt & 0x20 ? where : static_cast<uint32_t>(where);
    GpuFunction::Region region;
    if (plain) region = fabric_.find(target);
    if (region.aperture == GpuFunction::Aperture::none) {
      set_address(where);
      clear_flags();
      launch(true);
      if (!error() && !this->done()) return false;
      const uint32_t value = data();
      std::memcpy(bytes.data() + done, &value, 4);
      where += 4;
      done += 4;
      continue;
    }
    const size_t run = std::min<uint64_t>(bytes.size() - done, region.bytes);
    GpuFunction& gpu = fabric_.gpu();
    uint32_t value = 0;
    for (size_t i = 0; i < run; i += 4) {
      value = gpu.read(region.aperture, region.offset + i);
      std::memcpy(bytes.data() + done + i, &value, 4);
    }
    launches_.fetch_add(run / 4, std::memory_order_relaxed);
    load_data(value);
    done += run;
    where += run;
  }
  set_address(where);
  return true;
}

}  // namespace usbgpu::emulator
