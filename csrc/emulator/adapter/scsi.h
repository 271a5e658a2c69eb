// The SCSI commands of ASMedia's own firmwares: stock, the one-byte patch of it ("legacy"), and the mask ROM.
//
// Sources of the vendor commands: tinygrad extra/usbgpu/patch.py and runtime/support/usb.py (May 2025, July 2026),
// usb-to-pcie-re doc/Notes.md. No drive is attached: what needs one reports "medium not present".
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "emulator/adapter/descriptors.h"
#include "emulator/adapter/flash.h"
#include "emulator/adapter/observer.h"
#include "emulator/adapter/pages.h"
#include "emulator/adapter/sram_engine.h"
#include "emulator/adapter/xdata.h"

namespace usbgpu::emulator {

using Cdb = std::array<uint8_t, 16>;

struct Sense {
  uint8_t key = 0, code = 0, qualifier = 0;
};

struct ScsiResult {
  bool good = true;
  std::vector<uint8_t> data;  // to the host
  bool restart = false;       // the CPU was reset under way: the device goes away
  double microseconds = 0;
};

class ScsiTarget {
 public:
  ScsiTarget(const UsbProfile& profile, Observer& observer, Xdata& xdata, Pages& pages, SramEngine& sram, Flash& flash);

  // Bytes that the command wants from the host, by what it says itself; 0: none.
  size_t data_out_bytes(const Cdb& cdb) const;
  ScsiResult execute(const Cdb& cdb, std::span<const uint8_t> data_out);
  std::array<uint8_t, 18> sense_data() const;
  void reset();

 private:
  ScsiResult fail(Sense sense);
  ScsiResult inquiry(const Cdb& cdb) const;
  ScsiResult read_xdata(const Cdb& cdb);
  ScsiResult write_xdata(const Cdb& cdb);
  ScsiResult write_blocks(std::span<const uint8_t> data);
  ScsiResult flash_command(const Cdb& cdb, std::span<const uint8_t> data);
  bool believes_in_a_drive();

  const UsbProfile& profile_;
  Observer& observer_;
  Xdata& xdata_;
  Pages& pages_;
  SramEngine& sram_;
  Flash& flash_;
  Sense sense_;
  uint32_t next_slot_ = 0;  // where the next WRITE lands
  bool written_ = false;    // since the allocator's state was looked at last
};

}  // namespace usbgpu::emulator
