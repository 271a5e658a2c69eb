// Records what the engines fetch and the shader cores execute, for traces. Bounded; drained by whoever writes it down.
#pragma once

#include <deque>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "emulator/debug/results.h"
#include "emulator/ip/observer.h"
#include "emulator/isa/dispatch.h"

namespace usbgpu::emulator::debug {

struct PacketRecord {
  std::string engine;
  unsigned instance, queue, depth;
  uint64_t va;
  std::vector<uint32_t> words;
};
struct LaunchRecord {
  uint64_t launch;       // counts the dispatches
  DispatchState state;
};
struct RegisterValue {
  RegisterRange range;
  std::vector<uint32_t> values;  // vector: register by register, all lanes of each
};
struct InstructionRecord {
  uint64_t launch, pc, exec;  // exec: before
  std::array<uint32_t, 3> group;
  uint32_t wave, bytes;
  std::string text;
  bool scc;                   // after
  std::vector<RegisterValue> results;
};
struct EndRecord {
  uint64_t launch;
  DispatchResult result;
};
using Record = std::variant<PacketRecord, LaunchRecord, InstructionRecord, EndRecord>;

class Log final : public EngineObserver, public WaveObserver {
 public:
  // limit: instructions per launch, 0 = none at all; capacity: records kept until the next drain
  Log(bool packets, uint64_t limit, size_t capacity) : packets_(packets), limit_(limit), capacity_(capacity) {}
  void only_kernels(std::optional<std::set<uint64_t>> entries);
  std::vector<Record> drain();
  uint64_t lost();

  void packet(const Packet& packet) override;
  bool wants(const DispatchState& state, AddressSpace& memory, const std::atomic<bool>& cancel) override;
  uint64_t before(isa::Wave& wave, uint64_t pc) override;
  void after(isa::Wave& wave) override;
  void finished(const DispatchResult& result) override;

 private:
  struct Known {
    std::string text;
    uint32_t bytes = 4;
    std::vector<RegisterRange> results;
  };
  void push(Record record);
  void complete(const isa::Wave& wave);

  const bool packets_;
  const uint64_t limit_;
  const size_t capacity_;
  std::mutex mutex_;  // guards what follows, up to the blank line
  std::deque<Record> records_;
  uint64_t lost_ = 0;
  std::optional<std::set<uint64_t>> kernels_;

  // of the launch that runs, on its thread
  uint64_t launch_ = 0, left_ = 0;
  DispatchState state_;
  AddressSpace* memory_ = nullptr;
  const std::atomic<bool>* cancel_ = nullptr;
  std::unordered_map<uint64_t, Known> known_;
  std::unordered_map<uint32_t, InstructionRecord> open_;  // by wave: its last instruction, results to come
};

}  // namespace usbgpu::emulator::debug
