// The two USB transports of ASMedia's firmwares: bulk-only (alternate 0) and UAS with streams (alternate 1).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "emulator/adapter/scsi.h"

namespace usbgpu::emulator {

// Bulk-only: command wrapper out, data in or out, status wrapper in. One command at a time.
class BulkOnly {
 public:
  BulkOnly(ScsiTarget& target, const UsbProfile& profile) : target_(target), profile_(profile) {}

  enum class Take { taken, stall, not_now, gone };
  // One packet or less of bulk OUT.
  Take out(std::span<const uint8_t> packet);
  // What bulk IN gets next: at most `room` bytes; `ended`: by a short packet.
  Take in(size_t room, std::vector<uint8_t>& data, bool& ended);
  void clear_halt(uint8_t endpoint);
  void reset();
  double take_microseconds();

 private:
  enum class Phase { command, data_out, data_in, status };
  bool command(std::span<const uint8_t> wrapper);
  Take execute();

  ScsiTarget& target_;
  const UsbProfile& profile_;
  Phase phase_ = Phase::command;
  Cdb cdb_{};
  uint32_t tag_ = 0, length_ = 0, residue_ = 0;
  uint8_t status_ = 0;
  bool halted_in_ = false, halted_out_ = false, broken_ = false;
  std::vector<uint8_t> data_;
  size_t received_ = 0, position_ = 0;
  double microseconds_ = 0;
};

// Of what a host sends, this much is kept: more than anything here can hold.
constexpr size_t most_kept_bytes = 1 << 20;

// UAS: commands queue; status, data in and data out travel on the stream that the command's tag names.
class Uas {
 public:
  struct Transfer {
    uint64_t token;
    uint8_t endpoint;
    uint16_t stream;
    std::vector<uint8_t> data;  // OUT: what is sent. IN: room for what comes
  };
  struct Completion {
    uint64_t token;
    std::vector<uint8_t> data;  // IN
    size_t transferred;
    bool overflow = false;
  };

  Uas(ScsiTarget& target, const UsbProfile& profile) : target_(target), profile_(profile) {}

  void submit(Transfer transfer);
  bool cancel(uint64_t token);
  // Everything that has come to its end. Throws what strict mode found; call again for the rest.
  std::vector<Completion> progress();
  std::vector<uint64_t> reset();  // tokens of what waited
  bool restart() const { return restart_; }
  double take_microseconds();

 private:
  struct Command {
    uint16_t tag;
    Cdb cdb;
    size_t want_out = 0;
    std::vector<uint8_t> data;    // gathered, then the answer
    size_t received = 0, position = 0;
    bool executed = false, good = true, announced = false;
    std::array<uint8_t, 18> sense{};
  };
  struct Response {
    uint16_t tag;
    std::vector<uint8_t> unit;
  };
  static constexpr size_t queue_depth = 32;
  bool take(uint8_t endpoint, uint16_t stream, Transfer& transfer);
  void give_back(Transfer transfer);
  bool accept_command();
  bool advance(Command& command, bool may_execute);
  bool send_status(uint16_t tag, const std::vector<uint8_t>& unit);
  uint16_t stream_of(uint16_t tag) const { return profile_.super_speed ? tag : 0; }

  ScsiTarget& target_;
  const UsbProfile& profile_;
  std::map<std::pair<uint8_t, uint16_t>, std::deque<Transfer>> waiting_;
  std::deque<Command> commands_;
  std::deque<Response> responses_;
  std::vector<Completion> completions_;
  bool restart_ = false;
  double microseconds_ = 0;
};

}  // namespace usbgpu::emulator
