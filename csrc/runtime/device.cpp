#include "runtime/device.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "kernels/memory_args.h"
#include "runtime/observer.h"
#include "runtime/pm4.h"

namespace usbgpu::runtime {

namespace {

constexpr uint32_t kSectorBytes = 512;           // unit of an F2 transfer
constexpr uint32_t kStatusBytes = 64;            // end of the last sector: fault status, error block
constexpr uint32_t kStatusErrorOffset = 16;
constexpr uint32_t kInlineBytes = 16 * 1024;     // above: a data window and a copy kernel
constexpr uint32_t kSmallReadBytes = 64;         // up to here the command processor copies
constexpr uint32_t kThreads = 256;
// Code pages: the front end prefetches past the last instruction, so images end in padding; see codeobject.py.
constexpr uint32_t kMaxWorkgroup = 1024, kMaxLdsBytes = 64 * 1024;

uint32_t workgroups(uint64_t items) {
  // Grid-stride kernels: enough groups to fill the board, not one per item.
  return static_cast<uint32_t>(std::clamp<uint64_t>((items + kThreads - 1) / kThreads, 1, 4096));
}

std::atomic<Observer*> observer{nullptr};

int64_t clock_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void tell_of_copy(bool to_device, uint64_t bytes) {
  if (Observer* told = observer.load(std::memory_order_acquire)) told->copied(to_device, bytes, clock_ns());
}

// The end of the heap belongs to code. An image is uploaded ahead of everything that waits in the
// stream, so it must not lie in a block that a tensor has just freed: commands that still wait may
// write to that.
uint64_t code_bytes(const DeviceConfig& config) {
  constexpr uint64_t kCodeBytes = 128 << 20;  // some sixty thousand kernels: a notebook that is open for weeks
  const uint64_t part = (config.heap_end - config.heap_begin) / 32;
  return std::min(kCodeBytes, part / BlockAllocator::kGranule * BlockAllocator::kGranule);
}

}  // namespace

void set_observer(Observer* to) { observer.store(to, std::memory_order_release); }

IndexOutOfBounds::IndexOutOfBounds(const ErrorBlock& error)
    : std::out_of_range("index " + std::to_string(error.index) + " is out of bounds for dimension " +
                        std::to_string(error.detail) + " with size " + std::to_string(error.size)),
      block(error) {}

DataError::DataError(const ErrorBlock& error)
    : std::domain_error("a kernel refused its data: kind " + std::to_string(error.detail) + ", value " +
                        std::to_string(error.index)),
      block(error) {}

StreamDevice::StreamDevice(DeviceConfig config, std::unique_ptr<Road> road)
    : config_(std::move(config)), road_(std::move(road)),
      blocks_(config_.heap_begin, config_.heap_end - code_bytes(config_)),
      code_blocks_(config_.heap_end - code_bytes(config_), config_.heap_end),
      stream_(config_.map, config_.scratch), payload_(config_.map.window_bytes / 4) {}

StreamDevice::~StreamDevice() = default;

StreamDevice::Lock::Lock(const StreamDevice& device) : held_(device.mutex_, std::try_to_lock) {
  if (!held_) device.road_->block([this] { held_.lock(); });
}

// ---------------------------------------------------------------- memory

DevicePtr StreamDevice::allocate(size_t bytes) {
  std::lock_guard lock(blocks_mutex_);
  return blocks_.allocate(bytes);
}

void StreamDevice::free(DevicePtr address) noexcept {
  std::lock_guard lock(blocks_mutex_);
  try {
    blocks_.free(address);
  } catch (const std::exception&) {
    // a tensor's deleter must not throw; an unknown address is a bug that tests of the allocator find
  }
}

void StreamDevice::empty_cache() {
  std::lock_guard lock(blocks_mutex_);
  blocks_.empty_cache();
}

MemoryStats StreamDevice::memory_stats() const {
  std::lock_guard lock(blocks_mutex_);
  return blocks_.stats();
}

void StreamDevice::reset_peak_memory_stats() {
  std::lock_guard lock(blocks_mutex_);
  blocks_.reset_peaks();
}

// ---------------------------------------------------------------- kernels

Kernel* StreamDevice::kernel(std::string_view family, std::string_view symbol, std::string_view instantiation) {
  std::string key;
  key.reserve(family.size() + symbol.size() + 1);
  key.append(family).append("/").append(symbol);
  const Lock lock(*this);
  auto& slot = kernels_[key];
  if (!slot) {
    slot = std::make_unique<Kernel>();
    slot->family = family;
    slot->symbol = symbol;
    slot->instantiation = instantiation;
  }
  return slot.get();
}

void StreamDevice::launch(Kernel* kernel, Dim3 grid, Dim3 block, const void* args, size_t bytes, uint32_t lds) {
  const Lock lock(*this);
  launch_locked(kernel, grid, block, args, bytes, lds);
}

void StreamDevice::launch_locked(Kernel* kernel, Dim3 grid, Dim3 block, const void* args, size_t bytes, uint32_t lds) {
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kMaxWorkgroup)
    throw std::invalid_argument("kernel " + kernel->symbol + ": a workgroup of " + std::to_string(threads) +
                                " threads; 1 to 1024 are possible");
  if (lds > kMaxLdsBytes)
    throw std::invalid_argument("kernel " + kernel->symbol + ": " + std::to_string(lds) + " bytes of LDS; 65536 are possible");
  if (uint64_t{grid.x} * grid.y * grid.z == 0) return;
  Command command;
  command.kind = Command::Kind::launch;
  command.grid = grid;
  command.block = block;
  command.kernel = kernel;
  command.lds_bytes = lds;
  append(command, {static_cast<const std::byte*>(args), bytes});
  ++launches_;
  ++kernel->launches;
  if (Observer* told = observer.load(std::memory_order_acquire)) told->launched(kernel->symbol, grid, block, clock_ns());
}

std::vector<KernelLaunches> StreamDevice::kernel_launches() const {
  const Lock lock(*this);
  std::vector<KernelLaunches> all;
  const auto add = [&](const Kernel& kernel) {
    if (kernel.launches) all.push_back({kernel.symbol, kernel.code.entry, kernel.launches});
  };
  for (const auto& [key, kernel] : kernels_) add(*kernel);
  for (const auto& kernel : foreign_) add(*kernel);
  return all;
}

std::string StreamDevice::kernel_at(uint64_t pc) const {
  std::lock_guard lock(code_mutex_);
  auto after = code_.upper_bound(pc);
  if (after == code_.begin()) return {};
  const auto& [end, symbol] = std::prev(after)->second;
  return pc < end ? symbol : std::string{};
}

namespace {

// What a PM4 dispatch can set up: dispatch packet, arguments, wave32 (and stack, which needs nothing).
constexpr uint32_t kPropertiesWeServe = 1u << 1 | 1u << 3 | 1u << 10 | 1u << 11;

}  // namespace

void StreamDevice::place(const LoadedImage& image, std::vector<Kernel*>& kernels) {
  for (const auto& [symbol, code] : image.kernels) {
    if (code.properties & ~kPropertiesWeServe)
      throw std::invalid_argument("kernel " + symbol + " wants user registers that this queue does not set up (properties " +
                                  std::to_string(code.properties) + ")");
  }
  const uint32_t bytes = static_cast<uint32_t>(image.image.size() * 4);
  const DevicePtr base = [&] {
    std::lock_guard lock(blocks_mutex_);
    try {
      return code_blocks_.allocate(bytes);
    } catch (const OutOfMemory& error) {
      throw OutOfMemory(error.requested, error.free, error.total, "VRAM for code",
                        "save what you need (torch.save) and start the process again; code stays until it ends.");
    }
  }();
  std::vector<std::byte> data(bytes);
  std::memcpy(data.data(), image.image.data(), bytes);
  for (const auto& [at, target] : image.pointers) {
    const uint64_t address = base + target;
    std::memcpy(data.data() + at, &address, sizeof address);
  }
  images_.push_back({base, std::move(data)});
  queue_code(images_.size() - 1);
  std::vector<DevicePtr> starts;
  for (size_t i = 0; i < kernels.size(); ++i) {
    kernels[i]->code = image.kernels[i].second;
    kernels[i]->code.entry += base;
    kernels[i]->loaded = true;
    starts.push_back(kernels[i]->code.entry);
  }
  std::sort(starts.begin(), starts.end());
  std::lock_guard lock(code_mutex_);
  for (Kernel* kernel : kernels) {
    auto next = std::upper_bound(starts.begin(), starts.end(), kernel->code.entry);
    code_[kernel->code.entry] = {next == starts.end() ? base + bytes : *next, kernel->symbol};
  }
}

void StreamDevice::queue_code(size_t first) {
  for (size_t i = first; i < images_.size(); ++i) {
    const auto& [base, data] = images_[i];
    const uint32_t bytes = static_cast<uint32_t>(data.size());
    std::vector<Command> commands;
    for (uint32_t at = 0; at < bytes; at += CommandStream::kLargestWrite) {
      Command command;
      command.kind = Command::Kind::write;
      command.code = true;
      command.to = base + at;
      command.offset = at;
      command.bytes = std::min(CommandStream::kLargestWrite, bytes - at);
      commands.push_back(command);
    }
    stream_.append_front(commands, data);
  }
}

std::vector<Kernel*> StreamDevice::load(const LoadedImage& image) {
  const Lock lock(*this);
  std::vector<Kernel*> kernels;
  for (const auto& [symbol, code] : image.kernels) {
    foreign_.push_back(std::make_unique<Kernel>());
    foreign_.back()->symbol = symbol;
    kernels.push_back(foreign_.back().get());
  }
  place(image, kernels);
  return kernels;
}

void StreamDevice::resolve_kernels() {
  const std::vector<Kernel*> waiting = stream_.unresolved();
  if (waiting.empty()) return;
  CompileResult result = road_->compile({waiting.begin(), waiting.end()});
  std::unordered_map<std::string_view, Kernel*> by_symbol;
  for (Kernel* kernel : waiting) by_symbol[kernel->symbol] = kernel;
  for (LoadedImage& image : result.images) {
    std::vector<Kernel*> kernels;
    std::erase_if(image.kernels, [&](const auto& row) { return !by_symbol.contains(row.first); });
    for (const auto& [symbol, code] : image.kernels) kernels.push_back(by_symbol[symbol]);
    try {
      place(image, kernels);
    } catch (...) {
      if (!result.error) result.error = std::current_exception();
    }
  }
  if (!std::ranges::all_of(waiting, &Kernel::loaded)) {
    // The rest of the stream is good: it goes out with the next flush.
    stream_.drop_unresolved();
    if (result.error) std::rethrow_exception(result.error);
    throw std::runtime_error("the compiler returned no code for a kernel");
  }
}

// After a reset that lost VRAM: kernels that still use a lost tensor must not compute on with whatever lies there.
MemoryStats StreamDevice::fill_allocated(uint64_t pattern) {
  const Lock lock(*this);
  std::vector<std::pair<DevicePtr, uint64_t>> blocks;
  MemoryStats lost;
  {
    std::lock_guard blocks_lock(blocks_mutex_);
    blocks = blocks_.live();
  }
  for (const auto& [address, bytes] : blocks) {
    fill(address, pattern, 8, bytes);
    lost.allocated += bytes;
    ++lost.allocations;
  }
  return lost;
}

bool StreamDevice::exclusively(const std::function<void()>& work, const std::function<bool()>& give_up) {
  std::unique_lock held(mutex_, std::defer_lock);
  while (!held.try_lock_for(std::chrono::milliseconds(100)))
    if (give_up()) return false;
  work();
  return true;
}

// ---------------------------------------------------------------- copies

void StreamDevice::append(const Command& command, std::span<const std::byte> payload) {
  stream_.append(command, payload);
  // A window's worth is on its way while the next one is being filled.
  if (stream_.estimated_dwords() + CommandStream::tail_dwords() + kWindowTrailerDwords + 64 > payload_.size()) flush();
}

void StreamDevice::write(DevicePtr to, std::span<const std::byte> from) {
  for (size_t at = 0; at < from.size(); at += CommandStream::kLargestWrite) {
    Command command;
    command.kind = Command::Kind::write;
    command.to = to + at;
    append(command, from.subspan(at, std::min<size_t>(CommandStream::kLargestWrite, from.size() - at)));
  }
}

void StreamDevice::copy_in(DevicePtr to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  const Lock lock(*this);
  tell_of_copy(true, bytes);
  const std::span<const std::byte> source{static_cast<const std::byte*>(from), bytes};
  const bool whole_dwords = to % 4 == 0 && bytes % 4 == 0;
  if (bytes <= kInlineBytes && whole_dwords) {
    write(to, source);
  } else if (bytes <= config_.map.largest_upload) {
    const Upload upload = road_->upload(source);
    Command command;
    command.kind = Command::Kind::wait;
    command.from = upload.sentinel_address;
    command.value = upload.sentinel;
    stream_.append(command);
    copy(to, upload.address, bytes);
    flush();   // the data window is ours only until the next upload
    road_->upload_consumed();
  } else {
    flush();
    road_->bulk_in(to, source);
  }
}

void StreamDevice::copy(DevicePtr to, DevicePtr from, size_t bytes) {
  if (bytes == 0) return;
  const Lock lock(*this);
  const uint64_t low_bits = to | from | bytes;
  const unsigned width = low_bits % 16 == 0 ? 16 : low_bits % 4 == 0 ? 4 : 1;   // bytes an item
  const uint64_t items = bytes / width;
  const kernels::CopyArgs args{to, from, items};
  launch_locked(memory_kernel(copy_kernels_, "COPY", width), {workgroups(items)}, {kThreads}, &args, sizeof args, 0);
}

// Named once per width: a name costs more than a launch.
Kernel* StreamDevice::memory_kernel(MemoryKernels& known, const char* what, unsigned width) {
  Kernel*& slot = known[std::countr_zero(width)];
  if (slot == nullptr) {
    std::string symbol = std::string("memory_") + (what[0] == 'C' ? "copy_" : "fill_") + std::to_string(width);
    slot = kernel("memory", symbol, std::string("USBGPU_MEMORY_") + what + "(" + symbol + ", " + std::to_string(width) + ")");
  }
  return slot;
}

void StreamDevice::fill(DevicePtr to, uint64_t pattern, unsigned pattern_bytes, size_t bytes) {
  if (bytes == 0) return;
  if (!std::has_single_bit(pattern_bytes) || pattern_bytes > 8 || to % pattern_bytes || bytes % pattern_bytes)
    throw std::invalid_argument("fill: address and size must be multiples of a pattern of 1, 2, 4 or 8 bytes");
  if (pattern_bytes < 8) pattern &= (1ull << 8 * pattern_bytes) - 1;
  for (unsigned width = pattern_bytes; width < 8; width *= 2) pattern |= pattern << 8 * width;
  const Lock lock(*this);
  unsigned width = 8;   // the pattern is of 8 bytes by now; not less than its own size, which divides both
  while ((to | bytes) % width) width /= 2;
  const uint64_t items = bytes / width;
  const kernels::FillArgs args{to, pattern, items};
  launch_locked(memory_kernel(fill_kernels_, "FILL", width), {workgroups(items)}, {kThreads}, &args, sizeof args, 0);
}

void StreamDevice::copy_out(void* to, DevicePtr from, size_t bytes) {
  if (bytes == 0) return;
  const Lock lock(*this);
  tell_of_copy(false, bytes);
  // Reading a little before and behind is harmless: blocks are whole granules.
  const uint32_t align = bytes <= kSmallReadBytes ? 8 : 16;
  const uint32_t before = static_cast<uint32_t>(from % align);
  const uint64_t span = (before + bytes + align - 1) / align * align;
  if (span + kStatusBytes + kSectorBytes > config_.map.readback_bytes) {
    synchronize();   // pending faults belong to the work before, not to this copy
    road_->bulk_out({static_cast<std::byte*>(to), bytes}, from);
    return;
  }
  if (bytes <= kSmallReadBytes) {
    Command command;
    command.kind = Command::Kind::read_memory;
    command.to = config_.map.readback;
    command.from = from - before;
    command.bytes = static_cast<uint32_t>(span);
    stream_.append(command);
  } else {
    copy(config_.map.readback, from - before, span);
  }
  std::vector<std::byte> data((span + kStatusBytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes);
  read_back(data);
  std::memcpy(to, data.data() + before, bytes);
}

// ---------------------------------------------------------------- order

void StreamDevice::read_back(std::span<std::byte> into) {
  const DevicePtr status = config_.map.readback + into.size() - kStatusBytes;
  Command fault;
  fault.kind = Command::Kind::read_register;
  fault.to = status;
  fault.value = config_.map.fault_status_register;
  stream_.append(fault);
  Command error;
  error.kind = Command::Kind::read_memory;
  error.to = status + kStatusErrorOffset;
  error.from = config_.map.error_block;
  error.bytes = kErrorBlockBytes;
  stream_.append(error);
  submit_all(into);
  unchecked_ = false;
  check_status(into.last(kStatusBytes));
  images_there_ = images_.size();
}

void StreamDevice::check_status(std::span<const std::byte> status) {
  uint32_t fault;
  ErrorBlock error;
  std::memcpy(&fault, status.data(), sizeof fault);
  std::memcpy(&error, status.data() + kStatusErrorOffset, sizeof error);
  if (fault) road_->raise_fault(fault);
  if (error.code) {
    clear_error_block();
    if (error.code == 1) throw IndexOutOfBounds(error);
    throw DataError(error);
  }
}

void StreamDevice::clear_error_block() {
  const Lock lock(*this);
  Command command;
  command.kind = Command::Kind::clear_error;
  stream_.append(command);
}

void StreamDevice::submit_all(std::span<std::byte> readback) {
  resolve_kernels();
  try {
    size_t next = 0;
    do {
      const Window window = road_->acquire();
      std::fill(payload_.begin(), payload_.end(), 0u);
      next = stream_.encode(next, window, payload_, CommandStream::tail_dwords());
      const bool last = next == stream_.size();
      stream_.finish(window, last && !readback.empty());
      ++submissions_;
      last_submitted_ = window.sequence;
      unchecked_ = true;
      if (last && !readback.empty()) {
        stream_.clear();
        road_->submit_and_read(window, payload_, readback);
        return;
      }
      road_->submit(window, payload_);
    } while (next < stream_.size());
    stream_.clear();
  } catch (...) {
    // What was encoded is gone or failed; the rest would run on half-made inputs. Code is different: its
    // kernels count as loaded and will be launched again, so whatever may not have arrived goes once more.
    stream_.clear();
    queue_code(images_there_);
    throw;
  }
}

void StreamDevice::flush() {
  const Lock lock(*this);
  if (!stream_.empty()) submit_all({});
}

void StreamDevice::synchronize() {
  const Lock lock(*this);
  if (stream_.empty() && !unchecked_) return;
  std::vector<std::byte> status(kSectorBytes);
  read_back(status);
}

uint64_t StreamDevice::record() {
  const Lock lock(*this);
  flush();
  return last_submitted_;
}

bool StreamDevice::query(uint64_t sequence) {
  const Lock lock(*this);
  return sequence == 0 || road_->reached(static_cast<uint32_t>(sequence));
}

void StreamDevice::wait(uint64_t sequence) {
  if (!query(sequence)) synchronize();
}

void StreamDevice::discard_pending() {
  const Lock lock(*this);
  stream_.clear();
  unchecked_ = false;
  // The lost work may have held code that never arrived, and a reset of the whole GPU loses all of it.
  images_there_ = 0;
  queue_code(0);
}

}  // namespace usbgpu::runtime
