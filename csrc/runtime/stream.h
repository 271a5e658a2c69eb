// Commands that wait in host memory, and their encoding into submission windows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/kernel.h"
#include "runtime/road.h"
#include "runtime/runtime.h"

namespace usbgpu::runtime {

namespace pm4 {
class Writer;
}

// Scratch (private memory) that was allocated at boot for all waves.
struct ScratchMap {
  DevicePtr address = 0;
  uint64_t bytes = 0;
  uint32_t shader_engines = 1;
  uint32_t waves_at_most = 0;       // per shader engine
  uint32_t wavesize_field_bits = 15;
};

struct Command {
  enum class Kind : uint8_t { launch, write, wait, read_memory, read_register, clear_error };
  Kind kind = Kind::launch;
  bool code = false;             // write: instructions, so the instruction cache must forget
  Dim3 grid{}, block{};          // launch
  Kernel* kernel = nullptr;      // launch
  uint32_t lds_bytes = 0;        // launch: dynamic
  DevicePtr to = 0, from = 0;    // write, read_*; wait: from = address
  uint32_t value = 0;            // wait: reference; read_register: dword address
  uint32_t offset = 0;           // payload in `data`
  uint32_t bytes = 0;
};

class CommandStream {
 public:
  // Largest piece of inline data in one command; larger ones are split by the caller.
  static constexpr uint32_t kLargestWrite = 8 * 1024;

  CommandStream(const RoadMap& map, const ScratchMap& scratch) : map_(map), scratch_(scratch) {}

  void append(const Command& command, std::span<const std::byte> payload = {});
  void append_front(const std::vector<Command>& commands, const std::vector<std::byte>& payload);
  bool empty() const { return commands_.empty(); }
  size_t size() const { return commands_.size(); }
  // Upper bound of what the waiting commands occupy, so that the device knows when a window is full.
  uint32_t estimated_dwords() const { return estimate_; }
  void clear();

  std::vector<Kernel*> unresolved() const;   // distinct kernels that must be compiled first
  void drop_unresolved();                        // launches of kernels that did not compile

  // Encodes from `first` on as many commands as fit into the window; returns the index of the
  // first command that did not. `tail_dwords` are kept free for finish().
  size_t encode(size_t first, const Window& window, std::span<uint32_t> payload, uint32_t tail_dwords);
  // Ends the payload: filler, the fence, for a read-back the release, and the sentinel.
  void finish(const Window& window, bool release_readback);
  std::span<uint32_t> payload() const { return payload_; }

  static uint32_t tail_dwords();

 private:
  uint32_t cost(const Command& command) const;   // dwords, upper bound, kernel arguments included
  void encode_launch(const Command& command);
  void encode_write(const Command& command);
  void note_progress(pm4::Writer& out, uint64_t at) const;

  const RoadMap& map_;
  const ScratchMap& scratch_;
  std::vector<Command> commands_;
  std::vector<std::byte> data_;
  uint32_t estimate_ = 0;

  // state of the window that is being encoded
  std::span<uint32_t> payload_;
  uint64_t window_address_ = 0;
  uint32_t used_ = 0;           // packets, from the front
  uint32_t arguments_at_ = 0;   // kernel arguments, from the back (dword index)
  bool memory_changed_ = false, code_changed_ = false;  // since the last acquire
  const Kernel* last_kernel_ = nullptr;
  Dim3 last_block_{0, 0, 0};
  uint32_t last_scratch_ = 0;
};

}  // namespace usbgpu::runtime
