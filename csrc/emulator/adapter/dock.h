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
#include "emulator/adapter/firmware.h"

namespace usbgpu::emulator {

struct DockOptions {
  std::string firmware = "custom", usb = "super";
  bool strict = false, deterministic = false;
  unsigned lanes = 2;  // of the PCIe link: what the firmware of April 2026 trains
  std::vector<std::string> faults;
};

enum class Status { ok, timeout, stall, no_device, overflow, not_found, cancelled };

struct Outcome {
  Status status = Status::ok;
  size_t transferred = 0;
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

  Outcome control_out(const Setup& setup, std::span<const uint8_t> data, const Patience& patience);
  Outcome control_in(const Setup& setup, std::span<uint8_t> into, const Patience& patience);
  Outcome bulk_out(uint8_t endpoint, std::span<const uint8_t> data, const Patience& patience);
  Outcome bulk_in(uint8_t endpoint, std::span<uint8_t> into, const Patience& patience);

  void set_alternate(unsigned alternate) { alternate_ = alternate; }
  void unplug();
  void replug();  // cold: everything is lost
  const UsbProfile& profile() const { return profile_; }
  std::map<std::string, uint64_t> counts() const;
  double modelled_seconds() const { return observer_.microseconds() / 1e6; }
  std::vector<std::pair<std::string, std::string>> violations() const { return observer_.log(); }
  Gpu& gpu() { return *gpu_; }

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
  Outcome never(const Patience& patience, size_t transferred = 0);
  void check_bulk_out(std::span<const uint8_t> data);
  void check_bulk_in(size_t length);
  void cpu_restart();
  void apply_faults();
  bool speaks_custom() const;

  const DockOptions options_;
  const UsbProfile profile_;
  Faults faults_;
  Observer observer_;
  Events events_;
  Pages pages_;
  std::unique_ptr<Gpu> gpu_;
  Fabric fabric_;
  TlpEngine tlp_;
  SramEngine sram_;
  Xdata xdata_;
  Firmware firmware_;

  std::mutex firmware_mutex_;              // one thing at a time in the 8051
  std::timed_mutex out_mutex_, in_mutex_;  // transfers of one endpoint do not overtake each other
  std::mutex faults_mutex_;
  std::atomic<bool> gone_{false};
  std::atomic<unsigned> alternate_{0};
  std::atomic<uint64_t> transfers_{0}, control_out_{0}, control_in_{0}, bulk_out_{0}, bulk_in_{0}, bytes_out_{0},
      bytes_in_{0};
  std::array<std::atomic<uint64_t>, 256> requests_{};
};

}  // namespace usbgpu::emulator
