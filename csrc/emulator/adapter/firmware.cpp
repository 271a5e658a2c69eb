#include "emulator/adapter/firmware.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

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
constexpr double us_read_first = 5.92, us_read_byte = 0.5803, us_write = 6.2, us_single = 10.4, us_single_reply = 6.3;
constexpr double us_round_trip = 1.4;  // of a read TLP
constexpr double us_arm = 11.0, us_packet = 3.42, us_write_dword = 1.0843, us_bus_packet = 3.0;
constexpr double us_read_packet = 1.6, us_read_dword = 2.2156, us_sram_arm = 7.2, us_clear = 14.3;
constexpr double us_reply_timeout = 189e3, us_power_off = 300e3, us_power_on = 350e3, us_power_no_card = 2.0e6,
                 us_cpu_restart = 320e3, us_other = 5.0, us_stray = 71e3;
constexpr uint8_t request_power_monitor = 0xC0;  // newer firmware only
constexpr uint16_t monitor_millivolts = 12'000, monitor_milliamperes = 1'500;
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
  if (available > into.size() && available <= profile_.ep0_packet()) return {Answer::overflow, 0, microseconds, "F0:reply"};
  const size_t run = std::min(available, into.size());
  std::copy_n(xdata_.ram(xdata::ep0_buffer), run, into.begin());
  return {Answer::done, run, microseconds, "F0:reply"};
}

Reply Firmware::control_out(const Setup& setup, std::span<const uint8_t> data) {
  const bool vendor = setup.request_type == vendor_out;
  const bool standard = (setup.request_type & 0x60) == 0;  // SET_SEL and the like: a host may send them
  if (vendor && setup.request == request_pcie) {
    if (setup.length != 12)
      observer_.violation("pcie-length", text("0xF0 OUT with %u bytes instead of 12", setup.length));
    if (setup.length == 0 && !profile_.super_speed) return {Answer::never, 0, 0};
    accept_ep0_data(data);
    return pcie_out(setup);
  }
  const bool dataless = vendor && (setup.request == request_write_xdata || setup.request == request_sram ||
                                   setup.request == request_power);
  if ((!dataless || setup.length) && !standard)
    observer_.violation("unknown-request",
                        text("unknown OUT request: type 0x%02X request 0x%02X", setup.request_type, setup.request));
  // The handler acts on SETUP; whether a data stage follows does not matter to it.
  Reply reply{Answer::done, 0, us_other};
  if (dataless && setup.request == request_write_xdata) reply = write_xdata(setup);
  else if (dataless && setup.request == request_sram) reply = arm_sram(setup);
  else if (dataless) reply = power(setup);
  else if (standard) reply = standard_out(setup);
  if (setup.length == 0 || reply.answer != Answer::done) return reply;
  if (!profile_.super_speed) return {Answer::never, 0, 0};
  accept_ep0_data(data);
  reply.bytes = data.size();
  return reply;
}

Reply Firmware::control_in(const Setup& setup, std::span<uint8_t> into) {
  if (setup.request_type == 0x80 && setup.request == get_descriptor_request) return get_descriptor(setup, into);
  if (setup.request_type == vendor_in && setup.request == request_read_xdata) return read_xdata(setup, into);
  if (setup.request_type == vendor_in && setup.request == request_pcie) return pcie_in(setup, into);
  if (setup.request_type == vendor_in && setup.request == request_power_monitor && setup.length &&
      profile_.firmware == FirmwareKind::custom_2026_08)
    return power_monitor(into);
  if (setup.length == 0) {  // no data stage: indistinguishable from an OUT request without data
    if ((setup.request_type & 0x60) != 0)
      observer_.violation("unknown-request",
                          text("unknown request: type 0x%02X request 0x%02X", setup.request_type, setup.request));
    return {Answer::done, 0, us_other};
  }
  if ((setup.request_type & 0x60) != 0)  // a host may ask GET_STATUS; it gets no answer
    observer_.violation("unknown-request",
                        text("unknown IN request: type 0x%02X request 0x%02X", setup.request_type, setup.request));
  return {Answer::never, 0, 0};
}

Reply Firmware::power_monitor(std::span<uint8_t> into) {
  uint8_t* reply = xdata_.ram(xdata::ep0_buffer);
  for (unsigned i = 0; i < 4; ++i)
    reply[i] = static_cast<uint8_t>((i < 2 ? monitor_millivolts : monitor_milliamperes) >> (8 * (i & 1)));
  const size_t run = std::min<size_t>(4, into.size());
  std::copy_n(reply, run, into.begin());
  return {Answer::done, run, us_other, "C0"};
}

// The handler compares request type, request and the low byte of wValue; SET_ADDRESS is the host controller's.
Reply Firmware::standard_out(const Setup& setup) {
  const bool clear = setup.request_type == 0x02 && setup.request == clear_feature && (setup.value & 0xFF) == 0;
  const bool configure = (setup.request_type == 0x00 && setup.request == set_configuration) ||
                         (setup.request_type == 0x01 && setup.request == set_interface);
  if (!clear && !configure) return {Answer::done, 0, us_other, "standard"};
  cancel_stream();
  // Whether this disarms the SRAM engine is unknown; recovery relies on it.
  if (configure || (setup.index & 0xFF) == 0x02) out_armed_ = false, sram_.clear_out();
  if (configure || (setup.index & 0xFF) == 0x81) in_fifo_.clear(), sram_.clear_in();
  drain_allowed_ = true;
  events_.notify();
  return {Answer::done, 0, us_clear, clear ? "CLEAR_FEATURE" : "standard"};
}

Reply Firmware::get_descriptor(const Setup& setup, std::span<uint8_t> into) {
  const auto found = descriptor(profile_, static_cast<uint8_t>(setup.value >> 8), static_cast<uint8_t>(setup.value));
  if (!found) return {Answer::never, 0, 0};
  std::copy(found->begin(), found->end(), xdata_.ram(xdata::ep0_buffer));
  const size_t run = std::min(found->size(), into.size());
  std::copy_n(found->begin(), run, into.begin());
  return {Answer::done, run, us_clear, "standard"};
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
  xdata_.begin_read(count);
  for (size_t i = 0; i < count; ++i)
    buffer[i] = xdata_.read_in_sequence(bank, static_cast<uint16_t>(setup.value + i), static_cast<uint32_t>(i));
  Reply reply = answer_from_buffer(count, into, us_read_first + us_read_byte * static_cast<double>(count));
  reply.kind = "E4";
  return reply;
}

Reply Firmware::write_xdata(const Setup& setup) {
  const unsigned bank = setup.index >> 8 & 1;
  const uint16_t where = setup.value;
  if (!bank && ((where >= 0xC8A0 && where <= 0xC8AF) || where == 0xCA81))
    observer_.violation("flash-controller", text("0xE5 to the flash controller at 0x%04X", where));
  if (!bank && where == xdata::cpu_control && setup.index & 1) {
    xdata_.write(bank, where, static_cast<uint8_t>(setup.index));
    return {Answer::gone, 0, us_cpu_restart, "E5"};
  }
  xdata_.write(bank, where, static_cast<uint8_t>(setup.index));
  return {Answer::done, 0, us_write, "E5"};
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
    return {Answer::done, setup.length, us_single, "F0:single"};
  }
  const uint32_t count = words[2];
  check_stream(mode, fmt, address, count);
  remaining_ = count;
  const double microseconds = us_arm;
  drain_allowed_ = false;
  if (mode == 1 && count) {
    out_armed_ = true;
    sram_armed_last_ = false;
  } else if (mode == 2 && count) {
    reading_ = true;
    fetch_packet();
    if (dead_) return {Answer::never, 0, 0};
  }
  events_.notify();
  return {Answer::done, setup.length, microseconds, mode == 1 ? "F0:write" : "F0:read"};
}

void Firmware::fetch_packet() {
  const size_t dwords = std::min<uint64_t>(remaining_, profile_.bulk_packet() / 4);
  std::vector<uint8_t> packet(dwords * 4);
  observer_.spend("bulk-in:pio", 0, us_read_packet + us_read_dword * static_cast<double>(dwords), 0);
  if (!tlp_.stream_read(std::as_writable_bytes(std::span(packet)))) {
    dead_ = true;  // the wait for a completion has no time-out
    if (!tlp_.link_lost)
      observer_.violation_elsewhere("firmware-hang", "a stream read got no completion: the firmware spins for ever");
    return;
  }
  remaining_ -= dwords;
  if (!packet.empty()) std::memcpy(xdata_.ram(xdata::bulk_in_staging), packet.data(), packet.size());
  if (in_fifo_.size() == most_in_packets) in_fifo_.pop_back();  // the staged one is overwritten
  in_fifo_.push_back(std::move(packet));
}

bool Firmware::take_in_packet(std::vector<uint8_t>& packet) {
  if (in_fifo_.empty()) return false;
  packet = std::move(in_fifo_.front());
  in_fifo_.pop_front();
  if (reading_ && remaining_) fetch_packet();
  return true;
}

void Firmware::endpoints_armed(bool, bool out) {
  if (!out) return;
  out_armed_ = true;
  sram_armed_last_ = false;
  drain_allowed_ = false;
  events_.notify();
}

bool Firmware::out_is_pio() const {
  if (!out_armed_) return false;
  return !(sram_armed_last_ && sram_.out_armed());
}

void Firmware::out_packet(std::span<const std::byte> packet) {
  out_armed_ = false;
  if (!packet.empty()) std::memcpy(xdata_.ram(xdata::bulk_out_landing), packet.data(), packet.size());
  const uint64_t dwords = packet.size() / 4;
  observer_.spend("bulk-out:pio", us_bus_packet, us_packet + us_write_dword * static_cast<double>(dwords), 0);
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
    std::byte dword[4];
    for (uint64_t i = 0; i < dwords_of_empty_packet * 4; ++i) {
      dword[i % 4] = static_cast<std::byte>(xdata_.read(0, static_cast<uint16_t>(xdata::bulk_out_landing + i)));
      if (i % 4 == 3) tlp_.stream_write(dword);
    }
    observer_.spend("bulk-out:pio", 0, us_stray, 0);
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
  double microseconds = us_single_reply + us_round_trip;
  if (tlp_.error()) {
    reply[7] = 1;
    tlp_.clear_error();  // unlike the done flag
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
  if (setup.length == 0) return {Answer::done, 0, microseconds, "F0:reply"};
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
  return {Answer::done, 0, us_sram_arm, in ? "F2:in" : "F2:out"};
}

Reply Firmware::power(const Setup& setup) {
  const bool on = setup.value & 1;
  if (profile_.firmware == FirmwareKind::usb4) return {Answer::done, 0, us_other, "F3"};  // the tunnel is the host's
  const bool up = xdata_.set_power(on);
  return {Answer::done, 0, !on ? us_power_off : up ? us_power_on : us_power_no_card, "F3"};
}

}  // namespace usbgpu::emulator
