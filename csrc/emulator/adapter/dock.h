// The plugged-in adapter: transfers in, answers out, with USB's own errors. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "emulator/adapter/faults.h"
#include "emulator/adapter/delay_line.h"
#include "emulator/adapter/firmware.h"
#include "emulator/adapter/image_firmware.h"
#include "emulator/adapter/storage_firmware.h"

namespace usbgpu::emulator {

struct DockOptions {
  std::string firmware = "custom", usb = "super";
  std::string serial;             // eight hex digits in the OTP area; empty: blank
  uint64_t strict = 0;            // the seed; 0: faithful
  bool deterministic = false;
  unsigned lanes = 0;             // of the PCIe link; 0: what the firmware trains
  std::vector<std::string> faults;
  std::span<uint8_t> flash;       // where the flash keeps its content; empty: in memory of its own
  std::shared_ptr<void> flash_owner;
  bool flash_programmed = false;  // there is something in it already: that is what the board starts with
  BarOptions bars = {};           // of the card
};

enum class Status { ok, timeout, stall, no_device, overflow, not_found, cancelled };

struct Outcome {
  Status status = Status::ok;
  size_t transferred = 0;
};

// A transfer on a stream (UAS) that has ended.
struct StreamCompletion {
  uint64_t token;
  Status status;
  std::vector<uint8_t> data;
  size_t transferred;
};

// How a transfer may be waited for. `poll` is called now and then; true cancels, throwing aborts.
struct Patience {
  unsigned timeout_ms = 0;  // 0: for ever
  std::function<bool()> poll;
};

class Dock {
 public:
  Dock(std::unique_ptr<Gpu> gpu, const DockOptions& options);
  ~Dock();

  // `queued`: streams_done() when the host queued the request; UINT64_MAX: it was not queued ahead.
  Outcome control_out(const Setup& setup, std::span<const uint8_t> data, const Patience& patience,
                      uint64_t queued = UINT64_MAX);
  Outcome control_in(const Setup& setup, std::span<uint8_t> into, const Patience& patience);
  Outcome bulk_out(uint8_t endpoint, std::span<const uint8_t> data, const Patience& patience);
  Outcome bulk_in(uint8_t endpoint, std::span<uint8_t> into, const Patience& patience);

  // UAS: transfers of four endpoints and 32 streams that end when their command does. Never waits.
  std::vector<StreamCompletion> stream_submit(Uas::Transfer transfer);
  bool stream_cancel(uint64_t token);
  bool serves_uas() const { return is_mass_storage(profile_.firmware) && storage_.alternate() == 1; }
  uint64_t stream_generation() const { return stream_generation_; }  // changes when what waits on streams is dropped

  // Bulk transfers of a PIO stream that have ended: a request that was queued before the last one came too early.
  uint64_t streams_done() const { return streams_done_; }

  void set_alternate(unsigned alternate) { alternate_ = alternate; }
  void unplug();
  void replug();  // cold: everything is lost, and the flash decides what it enumerates as
  void reset();   // as new: the flash, the statistics and the fault switches too
  // Fault switches at run time, beside those that are on; heal() ends all. A link that is down, and an engine that
  // hangs until something cures it, stay as they are.
  void inject(const std::vector<std::string>& switches);
  void heal();
  void reopen() { stale_ = false; }  // a new handle after the device has enumerated anew
  bool attached() const { return !gone_; }
  const UsbProfile& profile() const { return profile_; }
  std::map<std::string, uint64_t> counts() const;
  std::map<std::string, Timing> timings() const { return observer_.timings(); }
  double modelled_seconds() const { return observer_.microseconds() / 1e6; }
  std::vector<std::pair<std::string, std::string>> violations() const { return observer_.log(); }
  Gpu& gpu() { return *gpu_; }
  // A card that somebody used before, and that kept its power since.
  void leave(StartState state);

 private:
  using Clock = std::chrono::steady_clock;
  struct Deadline {
    Clock::time_point at;
    bool never;
    bool passed() const { return !never && Clock::now() >= at; }
  };
  static Deadline deadline(const Patience& patience);
  // Waits a slice for a change. False: give up with `status`.
  bool wait(uint64_t seen, const Deadline& deadline, const Patience& patience, Status& status);
  bool lock_endpoint(std::unique_lock<std::timed_mutex>& lock, const Deadline& deadline, const Patience& patience,
                     Status& status);
  bool begin(const char* what, Status& status);
  Outcome finish(const Reply& reply, const Patience& patience);
  Outcome never(const char* kind, const Patience& patience, size_t transferred = 0);
  void check_bulk_out(std::span<const uint8_t> data);
  void check_bulk_in(size_t length);
  void cpu_restart();
  void apply_faults();
  void lose_link();
  bool cuts();
  void power_up();  // with the firmware mutex held
  bool speaks_custom() const { return is_custom(profile_.firmware); }
  CustomFirmware& firmware() {
    return profile_.firmware == FirmwareKind::image ? static_cast<CustomFirmware&>(*image_firmware_) : known_firmware_;
  }
  Status storage_out(std::span<const uint8_t> packet, bool& progress);
  Status storage_in(std::span<uint8_t> into, size_t& done, bool& progress, bool& ended);
  void learnt() { pages_.tick(); }  // the host has got an answer

  const DockOptions options_;
  const UsbProfile strapped_;  // what the board was made with
  UsbProfile profile_;         // what runs
  Faults faults_;
  unsigned slow_ = 1;          // of faults_; under firmware_mutex_
  Observer observer_;
  Events events_;
  DelayLine delay_;
  Flash flash_;
  Pages pages_;
  std::unique_ptr<Gpu> gpu_;
  Fabric fabric_;
  TlpEngine tlp_;
  SramEngine sram_;
  Xdata xdata_;
  Firmware known_firmware_;
  std::unique_ptr<ImageFirmware> image_firmware_;  // if the board was made with one
  StorageFirmware storage_;

  std::mutex firmware_mutex_;              // one thing at a time in the 8051
  std::timed_mutex out_mutex_, in_mutex_;  // transfers of one endpoint do not overtake each other
  std::mutex faults_mutex_;
  std::atomic<bool> gone_{false}, stale_{false};
  std::atomic<bool> hung_{false};  // a fault: the 8051 spins for ever, as after a stream read without a completion
  std::atomic<uint64_t> streams_done_{0}, stream_generation_{0};
  std::atomic<unsigned> alternate_{0};
  std::atomic<uint64_t> transfers_{0}, control_out_{0}, control_in_{0}, bulk_out_{0}, bulk_in_{0}, bytes_out_{0},
      bytes_in_{0};
  std::array<std::atomic<uint64_t>, 256> requests_{};
};

}  // namespace usbgpu::emulator
