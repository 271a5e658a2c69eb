#include "emulator/adapter/mass_storage.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace usbgpu::emulator {

namespace {
constexpr size_t command_wrapper_bytes = 31, status_wrapper_bytes = 13;
constexpr uint32_t command_signature = 0x43425355, status_signature = 0x53425355;  // "USBC", "USBS"
constexpr uint8_t status_good = 0, status_failed = 1, status_phase_error = 2;

// Information units of UAS.
constexpr uint8_t unit_command = 1, unit_sense = 3, unit_response = 4, unit_task = 5, unit_read_ready = 6,
                  unit_write_ready = 7;
constexpr size_t command_unit_bytes = 32, sense_unit_bytes = 16;
constexpr uint8_t response_complete = 0, response_invalid = 2, response_overlapped = 0x0A;
constexpr uint8_t scsi_check_condition = 2, scsi_task_set_full = 0x28;
constexpr uint8_t data_in = 0x81, data_out = 0x02, status_in = 0x83, command_out = 0x04;

uint32_t little32(const uint8_t* b) {
  return static_cast<uint32_t>(b[0]) | static_cast<uint32_t>(b[1]) << 8 | static_cast<uint32_t>(b[2]) << 16 |
         static_cast<uint32_t>(b[3]) << 24;
}
void put_little32(std::vector<uint8_t>& to, uint32_t value) {
  for (int i = 0; i < 4; ++i) to.push_back(static_cast<uint8_t>(value >> (8 * i)));
}
}  // namespace

void BulkOnly::reset() {
  phase_ = Phase::command;
  halted_in_ = halted_out_ = broken_ = false;
  data_.clear();
  received_ = position_ = 0;
}

void BulkOnly::clear_halt(uint8_t endpoint) {
  if (broken_) return;  // only the class reset ends that
  (endpoint & 0x80 ? halted_in_ : halted_out_) = false;
}

double BulkOnly::take_microseconds() { return std::exchange(microseconds_, 0); }

bool BulkOnly::command(std::span<const uint8_t> w) {
  if (w.size() != command_wrapper_bytes || little32(w.data()) != command_signature) return false;
  if (w[13] > 15 || w[14] == 0 || w[14] > 16) return false;
  tag_ = little32(&w[4]);
  length_ = little32(&w[8]);
  const bool to_host = w[12] & 0x80;
  cdb_.fill(0);
  std::copy_n(&w[15], w[14], cdb_.begin());
  residue_ = length_;
  status_ = status_good;
  data_.clear();
  received_ = position_ = 0;
  phase_ = length_ == 0 ? Phase::status : to_host ? Phase::data_in : Phase::data_out;
  return true;
}

// What the command says it moves is compared with what the host announced, as the bulk-only specification's
// thirteen cases have it.
BulkOnly::Take BulkOnly::execute() {
  const size_t wanted = target_.data_out_bytes(cdb_);
  const bool host_out = phase_ == Phase::data_out;
  const size_t sent = host_out ? received_ : 0;
  if (wanted > sent) {
    status_ = status_phase_error;
    phase_ = Phase::status;
    return Take::taken;
  }
  ScsiResult result;
  try {
    result = target_.execute(cdb_, std::span(data_).first(host_out ? std::min(wanted, data_.size()) : 0));
  } catch (...) {  // strict mode has something to say; for the wire the command is over
    phase_ = Phase::status;
    data_.clear();
    throw;
  }
  microseconds_ += result.microseconds;
  if (result.restart) return Take::gone;
  status_ = result.good ? status_good : status_failed;
  if (host_out) {
    residue_ = static_cast<uint32_t>(length_ - (result.good ? wanted : 0));
    phase_ = Phase::status;
    return Take::taken;
  }
  if (phase_ == Phase::data_in) {
    if (result.data.size() > length_) status_ = status_phase_error;
    data_ = std::move(result.data);
    data_.resize(std::min<size_t>(data_.size(), length_));
    residue_ = static_cast<uint32_t>(length_ - data_.size());
    if (data_.empty()) {
      halted_in_ = true;
      phase_ = Phase::status;
    }
    return Take::taken;
  }
  if (!result.data.empty()) status_ = status_phase_error;
  return Take::taken;
}

BulkOnly::Take BulkOnly::out(std::span<const uint8_t> packet) {
  if (halted_out_) return Take::stall;
  if (phase_ == Phase::data_out) {
    const size_t run = std::min<size_t>(packet.size(), length_ - received_);
    received_ += run;
    const size_t kept = std::min(run, most_kept_bytes - data_.size());
    data_.insert(data_.end(), packet.begin(), packet.begin() + static_cast<long>(kept));
    const bool whole = received_ >= length_ || packet.size() < profile_.bulk_packet();
    return whole ? execute() : Take::taken;
  }
  // An empty data phase is sent by the flashing tool, and it works.
  if (phase_ == Phase::status && packet.empty()) return Take::taken;
  if (phase_ != Phase::command) return Take::not_now;
  if (!command(packet)) {
    broken_ = halted_in_ = halted_out_ = true;
    return Take::stall;
  }
  return phase_ == Phase::data_out ? Take::taken : execute();
}

BulkOnly::Take BulkOnly::in(size_t room, std::vector<uint8_t>& data, bool& ended) {
  if (halted_in_) return Take::stall;
  ended = false;
  if (phase_ == Phase::data_in) {
    const size_t run = std::min(room, data_.size() - position_);
    data.assign(data_.begin() + static_cast<long>(position_), data_.begin() + static_cast<long>(position_ + run));
    position_ += run;
    if (position_ == data_.size()) {
      phase_ = Phase::status;
      // Fewer bytes than announced: a short packet ends the transfer, or else a halt does.
      if (residue_) (position_ % profile_.bulk_packet() ? ended : halted_in_) = true;
    }
    return Take::taken;
  }
  if (phase_ != Phase::status) return Take::not_now;
  data.clear();
  put_little32(data, status_signature);
  put_little32(data, tag_);
  put_little32(data, residue_);
  data.push_back(status_);
  ended = true;
  phase_ = Phase::command;
  return Take::taken;
}

double Uas::take_microseconds() { return std::exchange(microseconds_, 0); }

void Uas::submit(Transfer transfer) {
  waiting_[{transfer.endpoint, transfer.stream}].push_back(std::move(transfer));
}

bool Uas::cancel(uint64_t token) {
  for (auto& [key, queue] : waiting_)
    for (auto at = queue.begin(); at != queue.end(); ++at)
      if (at->token == token) {
        queue.erase(at);
        return true;
      }
  return false;
}

std::vector<uint64_t> Uas::reset() {
  std::vector<uint64_t> tokens;
  for (auto& [key, queue] : waiting_)
    for (const Transfer& transfer : queue) tokens.push_back(transfer.token);
  waiting_.clear();
  commands_.clear();
  responses_.clear();
  completions_.clear();
  restart_ = false;
  return tokens;
}

bool Uas::take(uint8_t endpoint, uint16_t stream, Transfer& transfer) {
  const auto found = waiting_.find({endpoint, stream});
  if (found == waiting_.end() || found->second.empty()) return false;
  transfer = std::move(found->second.front());
  found->second.pop_front();
  if (found->second.empty()) waiting_.erase(found);
  return true;
}

void Uas::give_back(Transfer transfer) {
  const std::pair key{transfer.endpoint, transfer.stream};
  waiting_[key].push_front(std::move(transfer));
}

bool Uas::send_status(uint16_t tag, const std::vector<uint8_t>& unit) {
  Transfer transfer;
  if (!take(status_in, stream_of(tag), transfer)) return false;
  const bool overflow = unit.size() > transfer.data.size();
  std::vector<uint8_t> data(unit.begin(), unit.begin() + static_cast<long>(std::min(unit.size(), transfer.data.size())));
  const size_t count = data.size();
  completions_.push_back({transfer.token, std::move(data), count, overflow});
  return true;
}

bool Uas::accept_command() {
  Transfer transfer;
  if (!take(command_out, 0, transfer)) return false;
  const std::vector<uint8_t>& unit = transfer.data;
  completions_.push_back({transfer.token, {}, unit.size()});
  if (unit.size() < 4) return true;
  const auto tag = static_cast<uint16_t>(unit[2] << 8 | unit[3]);
  const auto respond = [&](uint8_t code) {
    if (responses_.size() < queue_depth)
      responses_.push_back({tag, {unit_response, 0, unit[2], unit[3], 0, 0, 0, code}});
  };
  const auto same = [tag](const Command& command) { return command.tag == tag; };
  if (unit[0] == unit_task) {
    if (unit.size() >= 8) std::erase_if(commands_, [&](const Command& c) { return c.tag == (unit[6] << 8 | unit[7]); });
    respond(response_complete);
  } else if (unit[0] != unit_command || unit.size() < command_unit_bytes || tag == 0) {
    respond(response_invalid);
  } else if (std::any_of(commands_.begin(), commands_.end(), same)) {
    std::erase_if(commands_, same);
    respond(response_overlapped);
  } else if (commands_.size() == queue_depth) {
    std::vector<uint8_t> full(sense_unit_bytes, 0);
    full[0] = unit_sense, full[2] = unit[2], full[3] = unit[3], full[6] = scsi_task_set_full;
    if (responses_.size() < queue_depth) responses_.push_back({tag, full});
  } else {
    Command command{};
    command.tag = tag;
    std::copy_n(unit.begin() + 16, command.cdb.size(), command.cdb.begin());
    command.want_out = target_.data_out_bytes(command.cdb);
    commands_.push_back(std::move(command));
  }
  return true;
}

// One step of a command. False: it waits for the host.
bool Uas::advance(Command& command, bool may_execute) {
  const uint16_t stream = stream_of(command.tag);
  const bool moves = command.executed ? command.position < command.data.size() : command.want_out > 0;
  // Without streams the device says on the status pipe whose data comes next.
  if (!profile_.super_speed && moves && !command.announced) {
    if (!may_execute && !command.executed) return false;
    const uint8_t unit = command.executed ? unit_read_ready : unit_write_ready;
    return command.announced = send_status(command.tag, {unit, 0, static_cast<uint8_t>(command.tag >> 8),
                                                         static_cast<uint8_t>(command.tag)});
  }
  if (!command.executed) {
    if (!may_execute) return false;
    if (command.received < command.want_out) {
      Transfer transfer;
      if (!take(data_out, stream, transfer)) return false;
      const size_t run = std::min(transfer.data.size(), command.want_out - command.received);
      command.received += run;
      const size_t kept = std::min(run, most_kept_bytes - command.data.size());
      command.data.insert(command.data.end(), transfer.data.begin(), transfer.data.begin() + static_cast<long>(kept));
      completions_.push_back({transfer.token, {}, run});
      return true;
    }
    command.executed = true;
    command.announced = false;
    const std::vector<uint8_t> sent = std::exchange(command.data, {});
    const ScsiResult result = target_.execute(command.cdb, sent);
    microseconds_ += result.microseconds;
    restart_ = restart_ || result.restart;
    command.good = result.good;
    if (result.good) command.data = result.data;
    else command.sense = target_.sense_data();
    return true;
  }
  if (command.position < command.data.size()) {
    Transfer transfer;
    if (!take(data_in, stream, transfer)) return false;
    const size_t run = std::min(transfer.data.size(), command.data.size() - command.position);
    const auto from = command.data.begin() + static_cast<long>(command.position);
    completions_.push_back({transfer.token, {from, from + static_cast<long>(run)}, run});
    command.position += run;
    return true;
  }
  std::vector<uint8_t> unit(sense_unit_bytes, 0);
  unit[0] = unit_sense;
  unit[2] = static_cast<uint8_t>(command.tag >> 8);
  unit[3] = static_cast<uint8_t>(command.tag);
  if (!command.good) {
    unit[6] = scsi_check_condition;
    unit[15] = static_cast<uint8_t>(command.sense.size());
    unit.insert(unit.end(), command.sense.begin(), command.sense.end());
  }
  if (!send_status(command.tag, unit)) return false;
  command.tag = 0;  // done
  return true;
}

std::vector<Uas::Completion> Uas::progress() {
  for (bool moved = true; moved && !restart_;) {
    moved = false;
    while (accept_command()) moved = true;
    while (!responses_.empty() && send_status(responses_.front().tag, responses_.front().unit)) {
      responses_.pop_front();
      moved = true;
    }
    bool oldest = true;  // of those that have not been executed: they run in the order of their arrival
    for (Command& command : commands_) {
      const bool turn = oldest;
      if (!command.executed) oldest = false;
      while (command.tag && advance(command, turn) && !restart_) moved = true;
      if (command.executed && turn) oldest = true;
    }
    std::erase_if(commands_, [](const Command& command) { return command.tag == 0; });
  }
  return std::exchange(completions_, {});
}

}  // namespace usbgpu::emulator
