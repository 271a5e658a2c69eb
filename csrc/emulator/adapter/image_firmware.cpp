#include "emulator/adapter/image_firmware.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "emulator/adapter/flash.h"

namespace usbgpu::emulator {

namespace {
// Registers of the USB controller, the interrupt controller and timer 0.
constexpr uint16_t in_length_high = 0x9007, in_length_low = 0x9008, reply_length_high = 0x9003, reply_length_low = 0x9004;
constexpr uint16_t phase_register = 0x9091, trigger = 0x9092, endpoint_register = 0x9093, cause = 0x9101;
constexpr uint16_t setup_packet = 0x9104, out_count_high = 0x910D, out_count_low = 0x910E, link_register = 0x9300;
constexpr uint16_t interrupt_gate = 0xC802, uart_data = 0xC001, timer_control = 0xCC11, timer_threshold = 0xCC12;

constexpr uint8_t phase_setup = 0x01, phase_status_out = 0x02, phase_data_out = 0x04, phase_data_in = 0x08,
                  phase_status_in = 0x10;
constexpr uint8_t trigger_receive = 0x02, trigger_send = 0x04, trigger_status = 0x08;
constexpr uint8_t out_complete = 0x02, in_complete = 0x08;
constexpr uint8_t cause_control = 0x02, cause_bulk = 0x04, cause_link = 0x10;
constexpr uint8_t super_speed_failed = 0x04, timer_enable = 0x01, timer_expired = 0x02;

constexpr double us_per_cycle = 0.0157;      // calibrated to the rates that the firmware's README states
constexpr double us_per_timer_tick = 500;    // mode 4
constexpr double us_bus_packet = 3;          // a bulk OUT packet on the wire
constexpr double us_round_trip = 1.4;        // of a TLP that is answered; the handler polls for it
constexpr uint16_t tlp_launch = 0xB254, tlp_format = 0xB210;
constexpr double us_restart = 320e3;
constexpr uint64_t most_boot_cycles = 200'000'000, most_handler_cycles = 400'000'000;
constexpr size_t most_code = 0x10000;
}  // namespace

std::vector<uint8_t> ImageFirmware::read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::invalid_argument("the firmware image '" + path + "' cannot be read");
  std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
  if (bytes.size() > 10 && Flash::wrap(std::span(bytes).subspan(4, bytes.size() - 10)) == bytes)
    bytes = {bytes.begin() + 4, bytes.end() - 6};
  if (bytes.empty() || bytes.size() > most_code)
    throw std::invalid_argument("'" + path + "' is no image of 1 to 65536 bytes of 8051 code, nor a wrapped one");
  return bytes;
}

ImageFirmware::ImageFirmware(std::span<const uint8_t> image, const UsbProfile& profile, Observer& observer,
                             Events& events, Xdata& xdata, SramEngine& sram)
    : profile_(profile), observer_(observer), events_(events), xdata_(xdata), sram_(sram),
      cpu_([this](unsigned bank, uint16_t address) { return read_register(bank, address); },
           [this](unsigned bank, uint16_t address, uint8_t value) { write_register(bank, address, value); }) {
  cpu_.load(image);
}

void ImageFirmware::endpoints_armed(bool in, bool out) {
  if (out) out_armed_ = true;
  if (in) {
    in_armed_ = true;
    in_bytes_ = size_t{*xdata_.ram(in_length_high)} << 8 | *xdata_.ram(in_length_low);
  }
  events_.notify();
}

void ImageFirmware::endpoints_cleared(bool in, bool out) {
  if (out) out_armed_ = false, sram_.clear_out();
  if (in) in_armed_ = false, sram_.clear_in();
}

void ImageFirmware::reset() {
  phase_ = endpoint_events_ = link_event_ = 0;
  out_armed_ = in_armed_ = dead_ = restart_ = false;
  cpu_.reset();
  const uint64_t limit = cpu_.cycles() + most_boot_cycles;
  while (!cpu_.accepts_interrupt(0)) {  // main() ends by enabling interrupts
    cpu_.step();
    if (cpu_.cycles() > limit || restart_) {
      dead_ = true;
      observer_.violation_elsewhere("firmware-hang", "the firmware image does not get to the point of enabling interrupts");
      return;
    }
  }
  if (!profile_.super_speed) {
    link_event_ = super_speed_failed;
    run();
  }
}

uint8_t ImageFirmware::read_register(unsigned bank, uint16_t address) {
  if (bank == 0) switch (address) {
      case interrupt_gate: return pending();
      case cause:
        return static_cast<uint8_t>((phase_ ? cause_control : 0) | (endpoint_events_ ? cause_bulk : 0) |
                                    (link_event_ ? cause_link : 0));
      case phase_register: return phase_;
      case endpoint_register: return endpoint_events_;
      case link_register: return link_event_;
      case timer_control: return timer_expired;  // time is virtual
      case setup_packet: return setup_.request_type;
      case setup_packet + 1: return setup_.request;
      case setup_packet + 2: return static_cast<uint8_t>(setup_.value);
      case setup_packet + 3: return static_cast<uint8_t>(setup_.value >> 8);
      case setup_packet + 4: return static_cast<uint8_t>(setup_.index);
      case setup_packet + 5: return static_cast<uint8_t>(setup_.index >> 8);
      case setup_packet + 6: return static_cast<uint8_t>(setup_.length);
      case setup_packet + 7: return static_cast<uint8_t>(setup_.length >> 8);
    }
  return xdata_.read(bank, address);
}

void ImageFirmware::write_register(unsigned bank, uint16_t address, uint8_t value) {
  if (bank == 0) switch (address) {
      case uart_data: return;
      case phase_register: phase_ &= static_cast<uint8_t>(~value); return;  // write 1 to clear
      case endpoint_register: endpoint_events_ &= static_cast<uint8_t>(~value); return;
      case link_register: link_event_ &= static_cast<uint8_t>(~value); return;
      case trigger:
        if (value & trigger_send) {
          sent_ = true;
          reply_bytes_ = size_t{*xdata_.ram(reply_length_high)} << 8 | *xdata_.ram(reply_length_low);
        }
        if (value & (trigger_receive | trigger_status)) status_done_ = true;
        return;
      case timer_control:
        if (value & timer_enable)
          waited_us_ += us_per_timer_tick * (*xdata_.ram(timer_threshold) << 8 | *xdata_.ram(timer_threshold + 1));
        return;
      case tlp_launch:
        if (!TlpEngine::is_posted(xdata_.read(0, tlp_format))) waited_us_ += us_round_trip;
        break;
    }
  xdata_.write(bank, address, value);
}

void ImageFirmware::run() {
  const uint64_t limit = cpu_.cycles() + most_handler_cycles;
  while ((pending() || cpu_.in_interrupt()) && !restart_) {
    if (pending() && cpu_.accepts_interrupt(0)) cpu_.interrupt(0);
    cpu_.step();
    if (cpu_.cycles() < limit) continue;
    dead_ = true;
    observer_.violation_elsewhere("firmware-hang", "the firmware image spins in its interrupt handler");
    return;
  }
}

void ImageFirmware::start_clock() {
  cycles_before_ = cpu_.cycles();
  waited_us_ = 0;
}

double ImageFirmware::clock() const {
  return static_cast<double>(cpu_.cycles() - cycles_before_) * us_per_cycle + waited_us_;
}

void ImageFirmware::begin(const Setup& setup) {
  setup_ = setup;
  sent_ = status_done_ = false;
  reply_bytes_ = 0;
  start_clock();
  signal(phase_setup);
}

void ImageFirmware::signal(uint8_t phase) {
  if (dead_ || restart_) return;
  phase_ |= phase;
  run();
}

const char* ImageFirmware::kind() const {
  switch (setup_.request_type & 0x60 ? setup_.request : 0) {
    case 0: return "standard";
    case 0xE4: return "E4";
    case 0xE5: return "E5";
    case 0xF0: return setup_.request_type & 0x80 ? "F0:reply" : (setup_.index & 3) == 0 ? "F0:single"
                      : (setup_.index & 3) == 1 ? "F0:write" : "F0:read";
    case 0xF2: return setup_.value & 0x8000 ? "F2:in" : "F2:out";
    case 0xF3: return "F3";
    default: return "other";
  }
}

Reply ImageFirmware::finish(Answer answer, size_t bytes) {
  if (restart_) return {Answer::gone, 0, us_restart, kind()};  // the caller resets us
  events_.notify();
  return {dead_ ? Answer::never : answer, bytes, clock(), kind()};
}

Reply ImageFirmware::control_out(const Setup& setup, std::span<const uint8_t> data) {
  begin(setup);
  const size_t packet = profile_.ep0_packet();
  for (size_t at = 0; at < data.size(); at += packet) {
    std::memcpy(xdata_.ram(xdata::ep0_buffer), data.data() + at, std::min(packet, data.size() - at));
    signal(phase_data_out);
  }
  // At SuperSpeed the handler completes the status stage; at High Speed it sends the empty packet itself.
  if (profile_.super_speed) signal(phase_status_in);
  else if (!data.empty()) signal(phase_data_in);
  return finish((profile_.super_speed ? status_done_ : sent_) ? Answer::done : Answer::never, data.size());
}

Reply ImageFirmware::control_in(const Setup& setup, std::span<uint8_t> into) {
  begin(setup);
  if (setup.length == 0) {  // no data stage: as a request OUT
    if (profile_.super_speed) signal(phase_status_in);
    return finish((profile_.super_speed ? status_done_ : sent_) ? Answer::done : Answer::never);
  }
  if (!sent_) return finish(Answer::never);
  if (reply_bytes_ > into.size()) return finish(Answer::overflow);
  std::copy_n(xdata_.ram(xdata::ep0_buffer), reply_bytes_, into.begin());
  signal(phase_status_out);
  return finish(Answer::done, reply_bytes_);
}

void ImageFirmware::out_packet(std::span<const std::byte> packet) {
  out_armed_ = false;
  if (!packet.empty()) std::memcpy(xdata_.ram(xdata::bulk_out_landing), packet.data(), packet.size());
  *xdata_.ram(out_count_high) = static_cast<uint8_t>(packet.size() >> 8);
  *xdata_.ram(out_count_low) = static_cast<uint8_t>(packet.size());
  start_clock();
  endpoint_events_ |= out_complete;
  run();
  observer_.spend("bulk-out:pio", us_bus_packet, clock(), 0);
}

bool ImageFirmware::take_in_packet(std::vector<uint8_t>& packet) {
  if (!in_armed_) return false;
  const uint8_t* staged = xdata_.ram(xdata::bulk_in_staging);
  packet.assign(staged, staged + in_bytes_);
  in_armed_ = false;
  start_clock();
  endpoint_events_ |= in_complete;
  run();
  observer_.spend("bulk-in:pio", 0, clock(), 0);
  return true;
}

Identity ImageFirmware::identify() {
  const auto descriptor = [this](uint16_t value) {
    std::vector<uint8_t> bytes(255);
    const Reply reply = control_in({0x80, 6, value, 0x0409, 255}, bytes);
    bytes.resize(reply.answer == Answer::done ? reply.bytes : 0);
    return bytes;
  };
  const auto text = [&](uint8_t index) {
    const auto bytes = descriptor(static_cast<uint16_t>(0x0300 | index));
    std::string ascii;
    for (size_t i = 2; index && i + 1 < bytes.size(); i += 2) ascii.push_back(static_cast<char>(bytes[i] & 0x7F));
    return ascii;
  };
  const auto device = descriptor(0x0100);
  if (device.size() < 18) throw std::invalid_argument("the firmware image gives no device descriptor");
  const auto word = [&](size_t at) { return static_cast<uint16_t>(device[at] | device[at + 1] << 8); };
  return {word(8), word(10), word(12), text(device[14]), text(device[15]), text(device[16])};
}

}  // namespace usbgpu::emulator
