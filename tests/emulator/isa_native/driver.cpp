// The shader cores as a process, for hosts that this machine's Python cannot load (aarch64 under qemu-user).
//
// Commands come on stdin and answers go to stdout, little-endian, as twin.py writes and reads them. Each begins with
// u32 operation, u32 object. Objects are memories and cores, numbered by the caller.
//   memory        0: new
//   map           1: u64 va, u64 bytes, u32 write | execute << 1 | bridge << 2
//   unmap         2: u64 va
//   write         3: u64 va, u64 bytes, the bytes
//   read          4: u64 va, u64 bytes                 -> the bytes
//   cores         5: u32 threads, strict_waits, poison, jitter, counters, u64 shuffle_seed
//   run           6: Launch                            -> u32 length, the result as text
//   invalidate    7
//   forget        8
//   level         9                                    -> u32 length, name of the handlers' copy and of the architecture
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "emulator/isa/dispatch.h"
#include "emulator/isa/flat_memory.h"
#include "emulator/isa/handlers.h"

namespace {

using namespace usbgpu::emulator;

#if defined(__aarch64__)
constexpr const char* kArchitecture = "aarch64";
#elif defined(__x86_64__)
constexpr const char* kArchitecture = "x86_64";
#else
constexpr const char* kArchitecture = "other";
#endif

struct Launch {
  uint64_t entry, scratch_base;
  uint32_t memory, gfx12, rsrc1, rsrc2, tmpring_size, sh_mem_bases, initiator, user_count;
  uint32_t groups[3], threads[3], user_data[16];
};
struct Options { uint32_t threads, strict_waits, poison, jitter, counters, shuffle_low, shuffle_high; };
struct Range { uint64_t va, bytes; };

bool take(void* into, size_t bytes) { return std::fread(into, 1, bytes, stdin) == bytes; }
template <class T> T take() {
  T value;
  if (!take(&value, sizeof value)) throw std::runtime_error("the command is cut off");
  return value;
}
void put(const void* from, size_t bytes) { std::fwrite(from, 1, bytes, stdout); }
void put_text(const std::string& text) {
  const auto length = static_cast<uint32_t>(text.size());
  put(&length, sizeof length);
  put(text.data(), text.size());
}

std::string text_of(const DispatchResult& r, const std::vector<uint32_t>& messages) {
  std::string out = "end " + std::to_string(static_cast<unsigned>(r.end));
  for (const uint32_t m : messages) out += "\ninterrupt " + std::to_string(m);
  const auto count = [&](const char* name, uint64_t DispatchCounters::*member) { out += "\n" + std::string(name) + " " + std::to_string(r.counters.*member); };
  for_each_counter(count);
  if (r.counters.detailed) for_each_detailed_counter(count);
  if (!r.fault) return out;
  const WaveFault& f = *r.fault;
  for (const uint64_t value : {uint64_t(f.kind), f.pc, f.address, uint64_t(f.access), uint64_t{f.group[0]}, uint64_t{f.group[1]},
                               uint64_t{f.group[2]}, uint64_t{f.wave_in_group}, f.exec})
    out += "\nfault " + std::to_string(value);
  return out + "\n" + f.text;
}

class Driver {
 public:
  void run() {
    for (uint32_t head[2]; take(head, sizeof head);) {
      command(head[0], head[1]);
      std::fflush(stdout);
    }
  }

 private:
  void command(uint32_t operation, uint32_t object) {
    switch (operation) {
      case 0: memories_[object]; break;
      case 1: {
        const auto [va, bytes] = take<Range>();
        const auto flags = take<uint32_t>();
        memories_.at(object).map(va, bytes, flags & 1, flags & 2, flags & 4);
        break;
      }
      case 2: memories_.at(object).unmap(take<uint64_t>()); break;
      case 3: {
        const auto [va, bytes] = take<Range>();
        if (!take(memories_.at(object).at(va, bytes).data(), bytes)) throw std::runtime_error("data are cut off");
        break;
      }
      case 4: {
        const auto [va, bytes] = take<Range>();
        put(memories_.at(object).at(va, bytes).data(), bytes);
        break;
      }
      case 5: {
        const auto o = take<Options>();
        ShaderOptions options;
        options.threads = o.threads, options.strict_waits = o.strict_waits, options.poison = o.poison;
        options.jitter_transcendentals = o.jitter, options.counters = o.counters;
        options.shuffle_seed = uint64_t{o.shuffle_high} << 32 | o.shuffle_low;
        cores_[object] = ShaderArray::create(options);
        break;
      }
      case 6: launch(*cores_.at(object), take<Launch>()); break;
      case 7: cores_.at(object)->invalidate_code(); break;
      case 8:
        cores_.erase(object);
        memories_.erase(object);
        break;
      case 9: put_text(std::string(isa::isa_level()) + " " + kArchitecture); break;
      default: throw std::runtime_error("unknown operation " + std::to_string(operation));
    }
  }

  void launch(ShaderArray& cores, const Launch& l) {
    DispatchState s;
    s.arch = l.gfx12 ? Arch::gfx12 : Arch::gfx11;
    s.pgm_address = l.entry;
    s.pgm_rsrc1 = l.rsrc1, s.pgm_rsrc2 = l.rsrc2;
    std::copy(std::begin(l.user_data), std::end(l.user_data), s.user_data.begin());
    std::copy(std::begin(l.groups), std::end(l.groups), s.groups.begin());
    std::copy(std::begin(l.threads), std::end(l.threads), s.threads.begin());
    s.scratch_base = l.scratch_base;
    s.tmpring_size = l.tmpring_size, s.sh_mem_bases = l.sh_mem_bases, s.initiator = l.initiator;
    std::mutex mutex;
    std::vector<uint32_t> messages;
    s.interrupt = [&](const WaveMessage& m) {
      const std::lock_guard lock(mutex);
      messages.push_back(m.data);
    };
    const std::atomic<bool> never{false};
    const DispatchResult result = cores.run(s, memories_.at(l.memory), never);
    put_text(text_of(result, messages));
  }

  std::map<uint32_t, FlatMemory> memories_;
  std::map<uint32_t, std::unique_ptr<ShaderArray>> cores_;
};

}  // namespace

int main() {
  try {
    Driver().run();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "isa driver: %s\n", e.what());
    return 1;
  }
}
