// ASMedia's firmwares on USB: standard and class requests on EP0, bulk-only on alternate 0, UAS on alternate 1.
#pragma once

#include <span>

#include "emulator/adapter/firmware.h"
#include "emulator/adapter/mass_storage.h"

namespace usbgpu::emulator {

class StorageFirmware {
 public:
  StorageFirmware(const UsbProfile& profile, Observer& observer, Events& events, Xdata& xdata, Pages& pages,
                  SramEngine& sram, Flash& flash);

  Reply control_out(const Setup& setup, std::span<const uint8_t> data);
  Reply control_in(const Setup& setup, std::span<uint8_t> into);
  void reset();
  BulkOnly& bulk_only() { return bulk_only_; }
  Uas& uas() { return uas_; }
  unsigned alternate() const { return alternate_; }

 private:
  const UsbProfile& profile_;
  Events& events_;
  ScsiTarget target_;
  BulkOnly bulk_only_;
  Uas uas_;
  uint8_t configuration_ = 1, alternate_ = 0;
};

}  // namespace usbgpu::emulator
