#include "emulator/adapter/firmware.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

namespace usbgpu::emulator {

namespace {
// Standard requests that the firmware tells apart.
constexpr uint8_t clear_feature = 1, set_address = 5, get_descriptor_request = 6, set_configuration = 9,
                  set_interface = 11;
// Vendor requests.
constexpr uint8_t vendor_out = 0x40, vendor_in = 0xC0;
constexpr uint8_t request_read_xdata = 0xE4, request_write_xdata = 0xE5, request_pcie = 0xF0, request_sram = 0xF2,
                  request_power = 0xF3;

// Execution times of the genuine image at 114 MHz (15.7 ns per machine cycle, calibrated to its README's rates).
constexpr double us_read_first = 6.2, us_read_byte = 0.58, us_write = 6.2, us_single = 10.4, us_single_reply = 6.3;
constexpr double us_arm = 11.0, us_packet = 4.5, us_write_dword = 1.08, us_read_dword = 2.2, us_sram_arm = 7.2,
                 us_clear = 14.3;
constexpr double us_reply_timeout = 189e3, us_power_off = 300e3, us_power_on = 350e3, us_power_no_card = 2.0e6,
                 us_other = 5.0;
constexpr uint64_t dwords_of_empty_packet = 65536;  // a 16-bit loop counter that starts at 0 and is tested at the end

std::string text(const char* format, auto... values) {
  char buffer[200];
  std::snprintf(buffer, sizeof buffer, format, values...);
  return buffer;
}
}  // namespace

Firmware::Firmware(const UsbProfile& profile, Observer& observer, Events& events, Xdata& xdata, TlpEngine& tlp,
                   SramEngine& sram)
    : profile_(profile), observer_(observer), events_(events), xdata_(xdata), tlp_(tlp), sram_(sram) {}

void Firmware::reset() {
  cancel_stream();
  out_armed_ = sram_armed_last_ = single_pending_ = dead_ = false;
  drain_allowed_ = true;
  in_fifo_.clear();
}

void Firmware::cancel_stream() { remaining_ = 0, reading_ = false; }

// The data stage lands in the EP0 buffer packet by packet, each at its beginning.
void Firmware::accept_ep0_data(std::span<const uint8_t> data) {
  const size_t packet = profile_.ep0_packet();
  for (size_t at = 0; at < data.size(); at += packet) {
    const size_t run = std::min(packet, data.size() - at);
    std::memcpy(xdata_.ram(xdata::ep0_buffer), data.data() + at, run);
  }
}

Reply Firmware::answer_from_buffer(size_t available, std::span<uint8_t> into, double microseconds) {
  if (available > into.size() && available <= profile_.ep0_packet()) return {Answer::overflow, 0, microseconds};
  const size_t run = std::min(available, into.size());
  std::memcpy(into.data(), xdata_.ram(xdata::ep0_buffer), run);
  return {Answer::done, run, microseconds};
}

Reply Firmware::control_out(const Setup& setup, std::span<const uint8_t> data) {
  if ((setup.request_type & 0x60) == 0 && setup.length == 0) return standard_out(setup);
  const bool vendor = setup.request_type == vendor_out;
  if (vendor && setup.request == request_pcie) {
    if (setup.length != 12)
      observer_.violation("pcie-length", text("0xF0 OUT with %u bytes instead of 12", setup.length));
    if (setup.length == 0 && !profile_.super_speed) return {Answer::never, 0, 0};
    accept_ep0_data(data);
    return pcie_out(setup);
  }
  const bool dataless = vendor && (setup.request == request_write_xdata || setup.request == request_sram ||
                                   setup.request == request_power);
  if (dataless && setup.length == 0) {
    if (setup.request == request_write_xdata) return write_xdata(setup);
    if (setup.request == request_sram) return arm_sram(setup);
    return power(setup);
  }
  const bool standard = (setup.request_type & 0x60) == 0;  // SET_SEL and the like: a host may send them
  if (!standard)
    observer_.violation("unknown-request",
                        text("unknown OUT request: type 0x%02X request 0x%02X", setup.request_type, setup.request));
  if (!data.empty()) {
    if (!profile_.super_speed) return {Answer::never, 0, 0};
    accept_ep0_data(data);
  }
  return {Answer::done, data.size(), us_other};
}

Reply Firmware::control_in(const Setup& setup, std::span<uint8_t> into) {
  if (setup.request_type == 0x80 && setup.request == get_descriptor_request) return get_descriptor(setup, into);
  if (setup.request_type == vendor_in && setup.request == request_read_xdata) return read_xdata(setup, into);
  if (setup.request_type == vendor_in && setup.request == request_pcie) return pcie_in(setup, into);
  if (setup.length == 0) {  // no data stage: indistinguishable from an OUT request without data
    if ((setup.request_type & 0x60) != 0)
      observer_.violation("unknown-request",
                          text("unknown request: type 0x%02X request 0x%02X", setup.request_type, setup.request));
    return {Answer::done, 0, us_other};
  }
  observer_.violation("unknown-request",
                      text("unknown IN request: type 0x%02X request 0x%02X", setup.request_type, setup.request));
  return {Answer::never, 0, 0};
}

Reply Firmware::standard_out(const Setup& setup) {
  switch (setup.request) {
    case clear_feature: {
      const bool endpoint = (setup.request_type & 0x1F) == 2 && setup.value == 0;
      if (!endpoint) break;
      cancel_stream();
      // Whether this disarms the SRAM engine is unknown; recovery relies on it.
      if ((setup.index & 0xFF) == 0x02) out_armed_ = false, sram_.clear_out();
      if ((setup.index & 0xFF) == 0x81) in_fifo_.clear(), sram_.clear_in();
      drain_allowed_ = true;
      events_.notify();
      return {Answer::done, 0, us_clear};
    }
    case set_configuration:
    case set_interface:
      cancel_stream();
      out_armed_ = false;
      in_fifo_.clear();
      sram_.clear_out();
      sram_.clear_in();
      drain_allowed_ = true;
      events_.notify();
      return {Answer::done, 0, us_clear};
    default:
      break;  // SET_ADDRESS is the host controller's; everything else is acknowledged and ignored
  }
  return {Answer::done, 0, us_other};
}

Reply Firmware::get_descriptor(const Setup& setup, std::span<uint8_t> into) {
  const auto found = descriptor(profile_, static_cast<uint8_t>(setup.value >> 8), static_cast<uint8_t>(setup.value));
  if (!found) return {Answer::never, 0, 0};
  std::memcpy(xdata_.ram(xdata::ep0_buffer), found->data(), found->size());
  const size_t run = std::min(found->size(), into.size());
  std::memcpy(into.data(), found->data(), run);
  return {Answer::done, run, us_clear};
}

Reply Firmware::read_xdata(const Setup& setup, std::span<uint8_t> into) {
  const unsigned bank = setup.index >> 8 & 1;
  const size_t most = profile_.ep0_packet();
  if (setup.length == 0) observer_.violation("read-length", "0xE4 of 0 bytes");
  if (setup.length > most)
    observer_.violation(
        "read-length", text("0xE4 of %u bytes: only %u fit the EP0 buffer", setup.length, static_cast<unsigned>(most)));
  const size_t count = std::min<size_t>(setup.length, most);
  uint8_t* buffer = xdata_.ram(xdata::ep0_buffer);
  // Strict mode makes the time between two bytes long enough for the GPU to write in between.
  const size_t pause_at = observer_.strict() && count > 1 ? 1 + (setup.value * 7 + count) % (count - 1) : count;
  for (size_t i = 0; i < count; ++i) {
    if (i == pause_at) std::this_thread::sleep_for(std::chrono::microseconds(5));
    buffer[i] = xdata_.read(bank, static_cast<uint16_t>(setup.value + i));
  }
  return answer_from_buffer(count, into, us_read_first + us_read_byte * static_cast<double>(count));
}

Reply Firmware::write_xdata(const Setup& setup) {
  const unsigned bank = setup.index >> 8 & 1;
  const uint16_t where = setup.value;
  if (!bank && ((where >= 0xC8A0 && where <= 0xC8AF) || where == 0xCA81))
    observer_.violation("flash-controller", text("0xE5 to the flash controller at 0x%04X", where));
  if (!bank && where == xdata::cpu_control && setup.index & 1) {
    xdata_.write(bank, where, static_cast<uint8_t>(setup.index));
    return {Answer::gone, 0, 320e3};
  }
  xdata_.write(bank, where, static_cast<uint8_t>(setup.index));
  return {Answer::done, 0, us_write};
}

void Firmware::check_stream(unsigned mode, uint8_t fmt, uint64_t address, uint32_t count) {
  if (mode == 3) observer_.violation("pcie-mode-3", "0xF0 mode 3 arms nothing");
  if (count == 0) observer_.violation("stream-empty", "0xF0 stream of 0 dwords");
  if ((mode == 1) != TlpEngine::carries_data(fmt))
    observer_.violation("stream-format", text("0xF0 mode %u with fmt_type 0x%02X", mode, fmt));
  if (address & 3)
    observer_.violation("stream-unaligned", text("0xF0 stream at 0x%llx", static_cast<unsigned long long>(address)));
  if (mode == 2 && sram_.in_armed())
    observer_.violation("stream-read-while-sram-in", "0xF0 mode 2 while an SRAM bulk IN is armed");
  if (sram_.out_armed() && mode == 1)
    observer_.violation("stream-write-while-sram-out", "0xF0 mode 1 while an SRAM bulk OUT is armed");
}

Reply Firmware::pcie_out(const Setup& setup) {
  const auto fmt = static_cast<uint8_t>(setup.value);
  const auto enables = static_cast<uint8_t>(setup.value >> 8);
  const unsigned mode = setup.index & 3;
  if (remaining_)
    observer_.violation("stream-unfinished", text("0xF0 while %llu dwords of a stream are outstanding",
                                                  static_cast<unsigned long long>(remaining_)));
  cancel_stream();
  uint32_t words[3];
  for (unsigned i = 0; i < 3; ++i) {
    const uint8_t* b = xdata_.ram(static_cast<uint16_t>(xdata::ep0_buffer + 4 * i));
    words[i] = static_cast<uint32_t>(b[0]) | static_cast<uint32_t>(b[1]) << 8 | static_cast<uint32_t>(b[2]) << 16 |
               static_cast<uint32_t>(b[3]) << 24;
  }
  const uint64_t address = static_cast<uint64_t>(words[1]) << 32 | words[0];
  tlp_.load(fmt, enables, address);
  single_pending_ = false;
  if (mode == 0) {
    if ((enables & 0xF) == 0) observer_.violation("byte-enables", "0xF0 single TLP without byte enables");
    if (TlpEngine::carries_data(fmt)) tlp_.load_data(words[2]);
    tlp_.clear_flags();
    single_pending_ = !TlpEngine::is_posted(fmt);
    tlp_.launch();
    return {Answer::done, setup.length, us_single};
  }
  const uint32_t count = words[2];
  check_stream(mode, fmt, address, count);
  remaining_ = count;
  double microseconds = us_arm;
  drain_allowed_ = false;
  if (mode == 1 && count) {
    out_armed_ = true;
    sram_armed_last_ = false;
  } else if (mode == 2 && count) {
    reading_ = true;
    microseconds += us_read_dword * static_cast<double>(std::min<uint64_t>(count, profile_.bulk_packet() / 4));
    fetch_packet();
    if (dead_) return {Answer::never, 0, 0};
  }
  events_.notify();
  return {Answer::done, setup.length, microseconds};
}

void Firmware::fetch_packet() {
  const size_t dwords = std::min<uint64_t>(remaining_, profile_.bulk_packet() / 4);
  std::vector<uint8_t> packet(dwords * 4);
  if (!tlp_.stream_read(std::as_writable_bytes(std::span(packet)))) {
    dead_ = true;  // the wait for a completion has no time-out
    observer_.violation_elsewhere("firmware-hang", "a stream read got no completion: the firmware spins for ever");
    return;
  }
  remaining_ -= dwords;
  if (!packet.empty()) std::memcpy(xdata_.ram(xdata::bulk_in_staging), packet.data(), packet.size());
  in_fifo_.push_back(std::move(packet));
}

bool Firmware::take_in_packet(std::vector<uint8_t>& packet) {
  if (in_fifo_.empty()) return false;
  packet = std::move(in_fifo_.front());
  in_fifo_.pop_front();
  observer_.spend(us_read_dword * static_cast<double>(packet.size() / 4));
  if (reading_ && remaining_) fetch_packet();
  return true;
}

bool Firmware::out_is_pio() const {
  if (!out_armed_) return false;
  return !(sram_armed_last_ && sram_.out_armed());
}

void Firmware::out_packet(std::span<const std::byte> packet) {
  out_armed_ = false;
  if (!packet.empty()) std::memcpy(xdata_.ram(xdata::bulk_out_landing), packet.data(), packet.size());
  const uint64_t dwords = packet.size() / 4;
  observer_.spend(us_packet + us_write_dword * static_cast<double>(dwords));
  if (packet.size() % 4)
    observer_.violation("stream-tail", text("bulk OUT packet of %zu bytes: the odd tail is dropped", packet.size()));
  if (dwords > remaining_) {
    observer_.violation(
        "stream-excess",
        text("bulk OUT packet of %zu bytes exceeds the announced stream and is dropped whole", packet.size()));
    return;
  }
  if (dwords == 0) {
    // The loop counts down from 0: 65,536 dwords leave the chip, read from XDATA behind the landing buffer.
    observer_.violation("stream-empty-packet", "bulk OUT packet without a whole dword: 65,536 stray dwords");
    std::vector<std::byte> stray(dwords_of_empty_packet * 4);
    for (size_t i = 0; i < stray.size(); ++i)
      stray[i] = static_cast<std::byte>(*xdata_.ram(static_cast<uint16_t>(xdata::bulk_out_landing + i)));
    tlp_.stream_write(stray);
    observer_.spend(71e3);
    if (remaining_) out_armed_ = true;
    return;
  }
  tlp_.stream_write(packet.first(dwords * 4));
  remaining_ -= dwords;
  if (remaining_) out_armed_ = true;
}

Reply Firmware::pcie_in(const Setup& setup, std::span<uint8_t> into) {
  if (!single_pending_)
    observer_.violation("no-completion", "0xF0 IN without a non-posted single TLP before it");
  single_pending_ = false;
  uint8_t* reply = xdata_.ram(xdata::ep0_buffer);
  std::memset(reply, 0, 8);
  double microseconds = us_single_reply;
  if (tlp_.error()) {
    reply[7] = 1;
  } else if (tlp_.done()) {
    const uint32_t data = tlp_.data();
    for (unsigned i = 0; i < 4; ++i) reply[i] = static_cast<uint8_t>(data >> (8 * i));
    reply[4] = tlp_.read(0x2A);
    reply[5] = tlp_.read(0x2B);
    reply[6] = tlp_.read(0x84);
  } else {
    reply[7] = 0xFF;
    microseconds = us_reply_timeout;
  }
  if (setup.length < 8)
    observer_.violation("reply-length", text("0xF0 IN of %u bytes: the device offers 8", setup.length));
  if (setup.length == 0) return {Answer::done, 0, microseconds};
  return answer_from_buffer(8, into, microseconds);
}

Reply Firmware::arm_sram(const Setup& setup) {
  const uint32_t sectors = setup.value & 0x7FFF;
  const bool in = setup.value & 0x8000;
  const uint32_t slot = setup.index & 0xFF;
  const uint32_t count = std::max(1, setup.index >> 8);
  if (sectors == 0) observer_.violation("sram-zero-sectors", "0xF2 with 0 sectors");
  if (slot + count > SramEngine::slots || sectors > count * (SramEngine::slot_bytes / SramEngine::sector_bytes))
    observer_.violation("sram-range", text("0xF2 of %u sectors in slots %u..%u", sectors, slot, slot + count - 1));
  if (in && slot)
    observer_.violation("sram-in-slot", text("0xF2 IN from slot %u: delivery is only known to work from slot 0", slot));
  if (out_armed_ && !in) observer_.violation("stream-unfinished", "0xF2 OUT while a PIO stream is armed");
  if (in && !in_fifo_.empty())
    observer_.violation("stream-unfinished", "0xF2 IN while a PIO packet waits in the bulk IN FIFO");
  if (!in) sram_armed_last_ = true;
  drain_allowed_ = false;
  // The handler's register writes; the last one arms.
  const auto write = [this](uint8_t offset, uint32_t value) { sram_.write(offset, static_cast<uint8_t>(value)); };
  write(0x2A, 0);
  write(0x22, SramEngine::sector_bytes >> 8), write(0x23, SramEngine::sector_bytes & 0xFF);
  write(0x14, 0x80 | slot), write(0x15, slot + count);
  write(0x26, sectors >> 8), write(0x27, sectors);
  write(0x12, in ? 0x02 : 0x03);
  if (sectors) write(0x29, slot);
  return {Answer::done, 0, us_sram_arm};
}

Reply Firmware::power(const Setup& setup) {
  const bool on = setup.value & 1;
  const bool up = xdata_.set_power(on);
  return {Answer::done, 0, !on ? us_power_off : up ? us_power_on : us_power_no_card};
}

}  // namespace usbgpu::emulator
