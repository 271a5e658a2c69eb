#include "emulator/adapter/storage_firmware.h"

#include <algorithm>

namespace usbgpu::emulator {

namespace {
constexpr uint8_t get_status = 0, clear_feature = 1, set_feature = 3, get_descriptor = 6, get_configuration = 8,
                  set_configuration = 9, get_interface = 10, set_interface = 11, set_sel = 48, set_isoch_delay = 49;
constexpr uint8_t class_out = 0x21, class_in = 0xA1, bulk_only_reset = 0xFF, get_max_lun = 0xFE;
constexpr double us_request = 15;
}  // namespace

StorageFirmware::StorageFirmware(const UsbProfile& profile, Observer& observer, Events& events, Xdata& xdata,
                                 Pages& pages, SramEngine& sram, Flash& flash)
    : profile_(profile),
      events_(events),
      target_(profile, observer, xdata, pages, sram, flash),
      bulk_only_(target_, profile),
      uas_(target_, profile) {}

void StorageFirmware::reset() {
  target_.reset();
  bulk_only_.reset();
  uas_.reset();
  configuration_ = 1;
  alternate_ = 0;
}

Reply StorageFirmware::control_out(const Setup& setup, std::span<const uint8_t> data) {
  const Reply done{Answer::done, data.size(), us_request, "standard"};
  if (setup.request_type == class_out && setup.request == bulk_only_reset && alternate_ == 0) {
    bulk_only_.reset();
    events_.notify();
    return done;
  }
  if ((setup.request_type & 0x60) != 0) return {Answer::stall, 0, us_request};
  switch (setup.request) {
    case clear_feature:
      if ((setup.request_type & 0x1F) == 2 && setup.value == 0)
        bulk_only_.clear_halt(static_cast<uint8_t>(setup.index));
      events_.notify();
      return done;
    case set_configuration:
      configuration_ = static_cast<uint8_t>(setup.value);
      alternate_ = 0;
      bulk_only_.reset();
      uas_.reset();
      events_.notify();
      return done;
    case set_interface:
      if (setup.value > 1) return {Answer::stall, 0, us_request};
      alternate_ = static_cast<uint8_t>(setup.value);
      bulk_only_.reset();
      uas_.reset();
      events_.notify();
      return done;
    case set_feature:
    case set_sel:
    case set_isoch_delay:
      return done;
    default:
      return {Answer::stall, 0, us_request};
  }
}

Reply StorageFirmware::control_in(const Setup& setup, std::span<uint8_t> into) {
  std::vector<uint8_t> answer;
  if (setup.request_type == class_in && setup.request == get_max_lun) {
    answer = {0};
  } else if ((setup.request_type & 0x60) != 0) {
    return {Answer::stall, 0, us_request};
  } else if (setup.request == get_descriptor) {
    const auto found = descriptor(profile_, static_cast<uint8_t>(setup.value >> 8), static_cast<uint8_t>(setup.value));
    if (!found) return {Answer::stall, 0, us_request};
    answer = *found;
  } else if (setup.request == get_status) {
    answer = {static_cast<uint8_t>((setup.request_type & 0x1F) == 0), 0};  // self powered
  } else if (setup.request == get_configuration) {
    answer = {configuration_};
  } else if (setup.request == get_interface) {
    answer = {alternate_};
  } else {
    return {Answer::stall, 0, us_request};
  }
  const size_t run = std::min(answer.size(), into.size());
  std::copy_n(answer.begin(), run, into.begin());
  return {Answer::done, run, us_request, "standard"};
}

}  // namespace usbgpu::emulator
