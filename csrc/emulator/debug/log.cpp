#include "emulator/debug/log.h"

#include "emulator/debug/code.h"
#include "emulator/debug/lanes.h"
#include "emulator/isa/wave.h"

namespace usbgpu::emulator::debug {

void Log::only_kernels(std::optional<std::set<uint64_t>> entries) {
  const std::lock_guard lock(mutex_);
  kernels_ = std::move(entries);
}

std::vector<Record> Log::drain() {
  const std::lock_guard lock(mutex_);
  std::vector<Record> out(std::make_move_iterator(records_.begin()), std::make_move_iterator(records_.end()));
  records_.clear();
  return out;
}

uint64_t Log::lost() {
  const std::lock_guard lock(mutex_);
  return lost_;
}

void Log::push(Record record) {
  const std::lock_guard lock(mutex_);
  if (records_.size() >= capacity_) {
    ++lost_;
    return;
  }
  records_.push_back(std::move(record));
}

void Log::packet(const Packet& p) {
  if (packets_) push(PacketRecord{p.engine, p.instance, p.queue, p.depth, p.va, {p.words.begin(), p.words.end()}});
}

bool Log::wants(const DispatchState& state, AddressSpace& memory, const std::atomic<bool>& cancel) {
  ++launch_;
  if (packets_) push(LaunchRecord{launch_, state});
  if (!limit_) return false;
  {
    const std::lock_guard lock(mutex_);
    if (kernels_ && !kernels_->contains(state.pgm_address)) return false;
  }
  state_ = state;
  memory_ = &memory;
  cancel_ = &cancel;
  left_ = limit_;
  known_.clear();
  open_.clear();
  return true;
}

// Fills in what the wave's last instruction has written, and hands it over.
void Log::complete(const isa::Wave& wave) {
  const auto found = open_.find(wave.index);
  if (found == open_.end()) return;
  InstructionRecord record = std::move(found->second);
  open_.erase(found);
  record.scc = wave.scc != 0;
  for (RegisterValue& value : record.results) value.values = read_registers(wave, value.range);
  push(std::move(record));
}

uint64_t Log::before(isa::Wave& wave, uint64_t pc) {
  complete(wave);
  if (*cancel_) return kLeave;
  if (left_ == 0) return pc;
  --left_;
  auto known = known_.find(pc);
  if (known == known_.end()) {
    Known k;
    if (const auto i = instruction_at(*memory_, state_.arch, pc)) k = {i->text, i->decoded.bytes, results_of(i->decoded, lanes_of(wave))};
    known = known_.emplace(pc, std::move(k)).first;
  }
  const Known& k = known->second;
  InstructionRecord record{launch_, pc, exec_of_wave(wave), {wave.group->id[0], wave.group->id[1], wave.group->id[2]}, wave.index, k.bytes, k.text, false, {}};
  for (const RegisterRange& range : k.results) record.results.push_back({range, {}});
  open_.emplace(wave.index, std::move(record));
  return pc;
}

void Log::after(isa::Wave& wave) { complete(wave); }

void Log::finished(const DispatchResult& result) { push(EndRecord{launch_, result}); }

}  // namespace usbgpu::emulator::debug
