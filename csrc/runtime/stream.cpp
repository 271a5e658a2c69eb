#include "runtime/stream.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <unordered_set>

#include "runtime/pm4.h"

namespace usbgpu::runtime {

namespace {

constexpr uint32_t kArgumentAlignDwords = 16;   // a scalar cache line
constexpr uint32_t kLdsBlockBytes = 512;        // RSRC2.lds_size unit
constexpr uint32_t kScratchUnitBytes = 256;     // TMPRING_SIZE.wavesize unit
constexpr uint32_t kScratchLanes = 64;          // the ring is laid out for wave64
// Worst case of one launch without its arguments: program, resources, scratch, arguments, block,
// dispatch, drain, acquire before and after, a note, and a dispatch packet.
constexpr uint32_t kLaunchDwords = 64 + 16;
// Start of a window: acquire, start, restart, limits.
constexpr uint32_t kNoteDwords = pm4::kWriteDataHeaderDwords + 2;
constexpr uint32_t kPrologueDwords = pm4::kAcquireDwords + 5 + 5 + 3 + kNoteDwords;
constexpr uint32_t kInitiatorWave32 = 0x8005;   // compute_shader_en, force_start_at_000, cs_w32_en
constexpr uint32_t kInitiatorWave64 = 0x0005;
constexpr uint32_t kPropertyWave32 = 1u << 10;  // kernel code properties
constexpr uint32_t kPropertyDispatchPointer = 1u << 1;
constexpr uint32_t kPropertyKernarg = 1u << 3;

// asic/structs.json: hsa_kernel_dispatch_packet
struct DispatchPacket {
  uint16_t header, setup, workgroup[3], reserved0;
  uint32_t grid[3], private_bytes, group_bytes;
  uint64_t object, arguments, reserved1, completion;
};
static_assert(sizeof(DispatchPacket) == 64 && offsetof(DispatchPacket, grid) == 12 && offsetof(DispatchPacket, arguments) == 40);

DispatchPacket dispatch_packet(const Command& command, uint64_t arguments) {
  const Dim3 &block = command.block, &grid = command.grid;
  return {0, 3, {static_cast<uint16_t>(block.x), static_cast<uint16_t>(block.y), static_cast<uint16_t>(block.z)}, 0,
          {grid.x * block.x, grid.y * block.y, grid.z * block.z}, command.kernel->code.scratch_bytes,
          command.kernel->code.lds_bytes + command.lds_bytes, 0, arguments, 0, 0};
}

constexpr uint32_t dwords(uint64_t bytes) { return static_cast<uint32_t>((bytes + 3) / 4); }
constexpr uint32_t round_up(uint32_t value, uint32_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

void CommandStream::append(const Command& command, std::span<const std::byte> payload) {
  Command stored = command;
  stored.offset = static_cast<uint32_t>(data_.size());
  stored.bytes = command.kind == Command::Kind::launch || command.kind == Command::Kind::write
                     ? static_cast<uint32_t>(payload.size()) : command.bytes;
  data_.insert(data_.end(), payload.begin(), payload.end());
  data_.resize((data_.size() + 15) / 16 * 16);
  estimate_ += cost(stored);
  commands_.push_back(stored);
}

void CommandStream::append_front(const std::vector<Command>& commands, const std::vector<std::byte>& payload) {
  const uint32_t base = static_cast<uint32_t>(data_.size());
  data_.insert(data_.end(), payload.begin(), payload.end());
  std::vector<Command> moved = commands;
  for (Command& command : moved) {
    command.offset += base;
    estimate_ += cost(command);
  }
  commands_.insert(commands_.begin(), moved.begin(), moved.end());
}

void CommandStream::clear() {
  commands_.clear();
  data_.clear();
  estimate_ = 0;
}

std::vector<Kernel*> CommandStream::unresolved() const {
  std::vector<Kernel*> kernels;
  std::unordered_set<Kernel*> seen;
  for (const Command& command : commands_) {
    if (command.kind == Command::Kind::launch && !command.kernel->loaded &&
        seen.insert(command.kernel).second) {
      kernels.push_back(command.kernel);
    }
  }
  return kernels;
}

void CommandStream::drop_unresolved() {
  std::erase_if(commands_, [](const Command& command) {
    return command.kind == Command::Kind::launch && !command.kernel->loaded;
  });
}

uint32_t CommandStream::cost(const Command& command) const {
  switch (command.kind) {
    case Command::Kind::launch:
      return kLaunchDwords + round_up(dwords(command.bytes), kArgumentAlignDwords) + kArgumentAlignDwords;
    case Command::Kind::write:
      return pm4::kWriteDataHeaderDwords + dwords(command.bytes) + pm4::kAcquireDwords;
    case Command::Kind::wait:
      return pm4::kWaitDwords + kNoteDwords;
    case Command::Kind::read_memory:
      return (dwords(command.bytes) / 2 + 1) * pm4::kCopyDataDwords;
    case Command::Kind::read_register:
      return pm4::kCopyDataDwords;
    case Command::Kind::clear_error:
      return pm4::kWriteDataHeaderDwords + dwords(kErrorBlockBytes);
  }
  return 0;
}

uint32_t CommandStream::tail_dwords() { return 2 * pm4::kReleaseDwords; }

size_t CommandStream::encode(size_t first, const Window& window, std::span<uint32_t> payload, uint32_t tail) {
  payload_ = payload;
  window_address_ = window.address;
  arguments_at_ = static_cast<uint32_t>(payload.size()) - kWindowTrailerDwords - tail;
  last_kernel_ = nullptr;
  last_block_ = {0, 0, 0};
  last_scratch_ = 0;
  memory_changed_ = code_changed_ = false;
  {
    pm4::Writer out(payload_);
    out.acquire(pm4::kAcquireAll);
    out.sh_registers(pm4::COMPUTE_START_X, {0, 0, 0});
    out.sh_registers(pm4::COMPUTE_RESTART_X, {0, 0, 0});
    out.sh_registers(pm4::COMPUTE_RESOURCE_LIMITS, {0});
    if (map_.progress) out.note(map_.progress + offsetof(Progress, sequence), {window.sequence});
    used_ = out.size();
  }
  size_t next = first;
  for (; next < commands_.size(); ++next) {
    const Command& command = commands_[next];
    if (used_ + cost(command) > arguments_at_) break;
    switch (command.kind) {
      case Command::Kind::launch:
        encode_launch(command);
        continue;
      case Command::Kind::write:
        encode_write(command);
        continue;
      default:
        break;
    }
    pm4::Writer out(payload_.subspan(used_));
    if (command.kind == Command::Kind::wait) {
      note_progress(out, command.from);
      out.wait_memory(pm4::COMPARE_EQ, command.from, command.value);
      memory_changed_ = true;
    } else if (command.kind == Command::Kind::read_memory) {
      uint32_t at = 0;
      for (; at + 8 <= command.bytes && command.from % 8 == 0 && command.to % 8 == 0; at += 8)
        out.copy_memory(command.to + at, command.from + at, true);
      for (; at < command.bytes; at += 4) out.copy_memory(command.to + at, command.from + at, false);
    } else if (command.kind == Command::Kind::read_register) {
      out.copy_register(command.to, command.value);
    } else {
      auto zeros = out.write_data(map_.error_block, dwords(kErrorBlockBytes));
      std::fill(zeros.begin(), zeros.end(), 0u);
      memory_changed_ = true;
    }
    used_ += out.size();
  }
  if (next == first && first < commands_.size()) throw std::logic_error("a command does not fit an empty window");
  return next;
}

void CommandStream::encode_write(const Command& command) {
  pm4::Writer out(payload_.subspan(used_));
  auto body = out.write_data(command.to, dwords(command.bytes));
  std::memcpy(body.data(), data_.data() + command.offset, command.bytes);
  used_ += out.size();
  memory_changed_ = true;
  code_changed_ |= command.code;
}

void CommandStream::encode_launch(const Command& command) {
  const KernelCode& code = command.kernel->code;
  pm4::Writer out(payload_.subspan(used_));
  // L2 already sees what the packets wrote; the caches in front of it do not.
  if (code_changed_) {
    out.acquire(pm4::kAcquireAll);
  } else if (memory_changed_) {
    out.acquire(pm4::kAcquireKernel);
  }
  memory_changed_ = code_changed_ = false;

  arguments_at_ -= dwords(command.bytes);
  arguments_at_ -= static_cast<uint32_t>((window_address_ / 4 + arguments_at_) % kArgumentAlignDwords);
  if (command.bytes) std::memcpy(payload_.data() + arguments_at_, data_.data() + command.offset, command.bytes);
  const uint64_t arguments = window_address_ + 4ull * arguments_at_;

  if (command.kernel != last_kernel_) {
    note_progress(out, code.entry);
    out.sh_registers(pm4::COMPUTE_PGM_LO,
                     {static_cast<uint32_t>(code.entry >> 8), static_cast<uint32_t>(code.entry >> 40)});
    const uint32_t lds_blocks = (code.lds_bytes + command.lds_bytes + kLdsBlockBytes - 1) / kLdsBlockBytes;
    out.sh_registers(pm4::COMPUTE_PGM_RSRC1, {code.rsrc1 | map_.rsrc1_set, (code.rsrc2 & ~(0x1FFu << 15)) | lds_blocks << 15});
    out.sh_registers(pm4::COMPUTE_PGM_RSRC3, {code.rsrc3});
    last_kernel_ = command.lds_bytes ? nullptr : command.kernel;  // the size may differ next time
  }
  if (code.scratch_bytes && code.scratch_bytes != last_scratch_) {
    const uint64_t wave_units = (uint64_t{kScratchLanes} * round_up(code.scratch_bytes, 4) + kScratchUnitBytes - 1) / kScratchUnitBytes;
    const uint64_t waves = std::min<uint64_t>(scratch_.bytes / (wave_units * kScratchUnitBytes) / scratch_.shader_engines,
                                              scratch_.waves_at_most);
    if (waves == 0 || wave_units >> scratch_.wavesize_field_bits)
      throw std::invalid_argument("kernel " + command.kernel->symbol + " needs " + std::to_string(code.scratch_bytes) +
                                  " bytes of scratch per thread, more than the device offers");
    out.sh_registers(pm4::COMPUTE_TMPRING_SIZE, {static_cast<uint32_t>(waves | wave_units << 12)});
    out.sh_registers(pm4::COMPUTE_DISPATCH_SCRATCH_BASE_LO,
                     {static_cast<uint32_t>(scratch_.address >> 8), static_cast<uint32_t>(scratch_.address >> 40)});
    last_scratch_ = code.scratch_bytes;
  }
  if (command.block.x != last_block_.x || command.block.y != last_block_.y || command.block.z != last_block_.z) {
    out.sh_registers(pm4::COMPUTE_NUM_THREAD_X, {command.block.x, command.block.y, command.block.z});
    last_block_ = command.block;
  }
  if (code.properties & kPropertyDispatchPointer) {
    // The dispatch packet of an AQL queue, which code compiled for one reads: it goes first.
    const DispatchPacket packet = dispatch_packet(command, arguments);
    arguments_at_ -= sizeof packet / 4;
    std::memcpy(payload_.data() + arguments_at_, &packet, sizeof packet);
    const uint64_t at = window_address_ + 4ull * arguments_at_;
    out.sh_registers(pm4::COMPUTE_USER_DATA_0, {static_cast<uint32_t>(at), static_cast<uint32_t>(at >> 32),
                                                static_cast<uint32_t>(arguments), static_cast<uint32_t>(arguments >> 32)});
  } else if (code.properties & kPropertyKernarg) {
    out.sh_registers(pm4::COMPUTE_USER_DATA_0, {static_cast<uint32_t>(arguments), static_cast<uint32_t>(arguments >> 32)});
  }
  out.dispatch(command.grid.x, command.grid.y, command.grid.z,
               code.properties & kPropertyWave32 ? kInitiatorWave32 : kInitiatorWave64);
  out.drain_compute();
  out.acquire(pm4::kAcquireKernel);
  used_ += out.size();
}

void CommandStream::note_progress(pm4::Writer& out, uint64_t at) const {
  if (map_.progress) out.note(map_.progress + offsetof(Progress, at), {static_cast<uint32_t>(at), static_cast<uint32_t>(at >> 32)});
}

void CommandStream::finish(const Window& window, bool release_readback) {
  // The store that tells the host is the very last packet: once it is seen, the command processor
  // needs nothing more of this window, and the host may overwrite it. (A filler behind it would
  // still have to be fetched.)
  const uint32_t end = static_cast<uint32_t>(payload_.size()) - kWindowTrailerDwords;
  const uint32_t tail_at = end - (release_readback ? 2 : 1) * pm4::kReleaseDwords;
  pm4::Writer filler(payload_.subspan(used_, tail_at - used_));
  while (const uint32_t left = filler.room()) {   // arguments lie in its body
    if (left == 1) {
      filler.raw({pm4::kNopOneDword});
    } else {
      filler.skip(std::min(left - 1, pm4::kLargestNopBody));
    }
  }
  pm4::Writer tail(payload_.subspan(tail_at, end - tail_at));
  tail.release(map_.fence, window.sequence);
  if (release_readback) tail.release(map_.release, 0);
  payload_.back() = window.sentinel;
}

}  // namespace usbgpu::runtime
