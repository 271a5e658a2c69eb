// The instruction decoder, disassembler and executor: any bytes as a kernel of either generation.
//
// Input: options (generation, wave64, wave count, RSRC1 mode ...), then code.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "emulator/isa/decode.h"
#include "emulator/isa/dispatch.h"
#include "fuzz/target.h"

using namespace usbgpu::emulator;

namespace {

constexpr uint64_t code_va = 0x1'0000'0000, data_va = 0x2'0000'0000;
constexpr size_t code_bytes = 16384, data_bytes = 1 << 16;

// A page of code that may be executed and some memory that may be written; the rest faults.
class Memory final : public AddressSpace {
 public:
  Memory() : code_(code_bytes), data_(data_bytes) {}
  void load_code(std::span<const uint8_t> bytes) {
    std::fill(code_.begin(), code_.end(), std::byte{});
    std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()), std::min(bytes.size(), code_.size()), code_.begin());
    generation_++;
  }
  std::optional<Translation> translate(uint64_t va, Access access, bool) override {
    Translation t;
    t.readable = true;
    if (va >= code_va && va < code_va + code_bytes && access != Access::write && access != Access::atomic) {
      t.host = code_.data() + (va - code_va);
      t.bytes = code_va + code_bytes - va;
      t.executable = true;
      return t;
    }
    if (va < data_va || va >= data_va + data_bytes || access == Access::execute) return std::nullopt;
    t.host = data_.data() + (va - data_va);
    t.bytes = data_va + data_bytes - va;
    t.writable = t.writable_directly = true;
    return t;
  }
  bool load(uint64_t va, std::span<std::byte> into) override {
    for (size_t i = 0; i < into.size(); i++) {
      const auto t = translate(va + i, Access::read, true);
      if (!t) return false;
      into[i] = *t->host;
    }
    return true;
  }
  bool store(uint64_t va, std::span<const std::byte> from) override {
    for (size_t i = 0; i < from.size(); i++) {
      const auto t = translate(va + i, Access::write, true);
      if (!t) return false;
      *t->host = from[i];
    }
    return true;
  }
  uint64_t generation() const override { return generation_; }

 private:
  std::vector<std::byte> code_, data_;
  uint64_t generation_ = 1;
};

// Cancels a kernel that runs on: as the host does with a queue reset.
class Watchdog {
 public:
  Watchdog() : thread_([this] { work(); }) {}
  ~Watchdog() {
    {
      std::lock_guard guard(mutex_);
      leaving_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  const std::atomic<bool>& start() {
    std::lock_guard guard(mutex_);
    cancel = false;
    armed_ = true;
    round_++;
    changed_.notify_all();
    return cancel;
  }
  void stop() {
    std::lock_guard guard(mutex_);
    armed_ = false;
    changed_.notify_all();
  }

 private:
  void work() {
    std::unique_lock guard(mutex_);
    while (!leaving_) {
      changed_.wait(guard, [&] { return armed_ || leaving_; });
      const uint64_t round = round_;
      if (!changed_.wait_for(guard, std::chrono::milliseconds(5), [&] { return !armed_ || leaving_ || round != round_; })) cancel = true, armed_ = false;
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool armed_ = false, leaving_ = false;
  uint64_t round_ = 0;
  std::atomic<bool> cancel{false};
  std::thread thread_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  usbgpu::fuzz::Input input(bytes, size);
  const uint8_t options = input.take(), shape = input.take();
  DispatchState state;
  state.arch = options & 1 ? Arch::gfx12 : Arch::gfx11;
  const bool wave64 = options & 2;
  state.initiator = wave64 ? 0 : 1u << 15;  // COMPUTE_DISPATCH_INITIATOR.cs_w32_en
  state.pgm_address = code_va;
  state.pgm_rsrc1 = uint32_t{input.take()} << 12 | (options & 4 ? 3u << 21 : 0) | 1u << 23;
  state.pgm_rsrc2 = 8u << 1 | 7u << 7 | uint32_t(shape & 3) << 15 | (options & 8 ? 1 : 0);
  for (unsigned i = 0; i < 4; i++) {
    state.user_data[2 * i] = static_cast<uint32_t>(data_va) + 4096 * i;
    state.user_data[2 * i + 1] = data_va >> 32;
  }
  state.groups = {1 + (shape >> 2 & 1u), 1, 1};
  state.threads = {1 + (shape >> 3) * 5u, 1, 1};
  state.scratch_base = data_va + 32768;
  state.tmpring_size = 4 | 1 << 12;
  state.sh_mem_config = 0xC00C;
  state.sh_mem_bases = 0x00010002;

  const auto code = input.bytes(code_bytes);
  std::vector<uint32_t> words((code.size() + 3) / 4);
  if (!code.empty()) std::memcpy(words.data(), code.data(), code.size());
  for (size_t at = 0; at < words.size();) {
    const std::span<const uint32_t> rest(words.data() + at, words.size() - at);
    const isa::Decoded decoded = isa::decode(state.arch, rest);
    isa::disassemble(decoded, rest, code_va + 4 * at);
    at += std::max<size_t>(decoded.bytes / 4, 1);
  }

  static Memory memory;
  static Watchdog watchdog;
  static const auto plain = ShaderArray::create({.threads = 1});
  static const auto strict = ShaderArray::create({.threads = 1, .strict_waits = true, .poison = true, .shuffle_seed = 7, .jitter_transcendentals = true});
  memory.load_code(code);
  ShaderArray& cores = options & 16 ? *strict : *plain;
  cores.invalidate_code();
  cores.run(state, memory, watchdog.start());
  watchdog.stop();
  return 0;
}
