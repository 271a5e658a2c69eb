// The platform security processor (MP0): boot loader, sOS, command ring, firmware loading.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "emulator/ip/board.h"
#include "emulator/memory/hub.h"

namespace usbgpu::emulator {

class Psp final : public Agent {
 public:
  struct Events {
    std::function<void(uint32_t version)> smu_loaded;
    std::function<void()> autoload;   // RLC may fetch the firmware of the engines now
  };
  Psp(Board& board, Events events);
  void power_on();
  void left_running(uint64_t ring);  // as a driver leaves it: all firmware in, a ring at this address
  Hang hang;  // guarded by board.lock

  bool step() override;
  bool idle() override;

  bool loaded(std::string_view firmware) const;  // by name, e.g. "RS64_MEC"
  const std::string& last_refusal() const { return refusal_; }

 private:
  using Blob = std::vector<std::byte>;
  struct Image {
    uint32_t kind = 0, version = 0;
    uint64_t bytes = 0;
  };
  void attach_registers();
  uint32_t load_component(uint32_t command, uint64_t address);       // -> error code, 0 = good
  bool run_frame(uint64_t ring, uint32_t wptr);
  uint32_t execute(std::span<const std::byte> command, std::span<std::byte> response);  // -> psp_status
  uint32_t load_firmware(uint64_t address, uint32_t bytes, uint32_t type);
  uint32_t autoload();
  std::optional<Blob> fetch(uint64_t address, uint64_t bytes);
  std::optional<Image> inspect(std::span<const std::byte> blob, bool magic_needed);
  bool refuse(std::string why);

  Board& board_;
  Events events_;
  ClientSpace memory_;

  // boot loader
  std::optional<uint32_t> boot_command_;
  unsigned boot_stage_ = 0;
  std::set<uint32_t> boot_loaded_;
  uint32_t sos_version_ = 0;
  bool alive_ = false;
  // ring
  bool ring_works_ = false;
  uint64_t ring_base_ = 0;
  uint32_t ring_bytes_ = 0, ring_rptr_ = 0;
  // loading
  bool toc_ = false;
  uint64_t tmr_ = 0, tmr_used_ = 0;
  std::set<uint32_t> loaded_;
  std::string refusal_;
};

}  // namespace usbgpu::emulator
