#include "emulator/isa/program.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "emulator/isa/counters.h"
#include "emulator/isa/decode.h"
#include "emulator/isa/handlers.h"
#include "emulator/isa/lower.h"
#include "emulator/isa/sched.h"
#include "emulator/isa/vm.h"

namespace usbgpu::emulator::isa {
namespace {

constexpr size_t kMaxChunk = 16384;  // Insts decoded in one go: garbage memory is not decoded without end
constexpr unsigned kMaxBlock = 2048;
constexpr size_t kMaxPrograms = 4096;

// Reads code without side effects: what is not executable ends the words.
class CodeReader {
 public:
  explicit CodeReader(AddressSpace& memory) : memory_(memory) {}

  size_t read(uint64_t pc, std::array<uint32_t, kMaxDwords>& words) {
    size_t n = 0;
    for (; n < words.size(); ++n)
      if (!dword(pc + 4 * n, words[n])) break;
    return n;
  }

 private:
  bool dword(uint64_t va, uint32_t& value) {
    if (va < lo_ || va >= hi_ || hi_ - va < 4) {  // (the last dword of all: va + 4 is 0)
      const auto t = memory_.translate(va, Access::execute, true);
      if (!t || !t->executable) return false;
      if (!t->host) return memory_.load(va, {reinterpret_cast<std::byte*>(&value), 4});
      lo_ = va, hi_ = va + t->bytes, host_ = t->host;
      if (hi_ - va < 4) return false;
    }
    std::memcpy(&value, host_ + (va - lo_), 4);
    return true;
  }
  AddressSpace& memory_;
  uint64_t lo_ = 1, hi_ = 0;
  const std::byte* host_ = nullptr;
};

Inst pseudo(const char* name, uint64_t pc) {
  Inst i{};
  i.fn = find_handler(name)->select(Shape{});
  i.pc = pc;
  i.cls = InstClass::other;
  return i;
}

bool is_vector(InstClass cls) {
  switch (cls) {
    case InstClass::valu: case InstClass::vopd: case InstClass::wmma: case InstClass::trans: case InstClass::vmem_load: case InstClass::vmem_store:
    case InstClass::lds: return true;
    default: return false;
  }
}

// May EXEC differ behind the instruction that was lowered to out[first...]?
bool changes_exec(const Decoded& d, const std::vector<Inst>& out, size_t first) {
  if (!d.row) return false;
  if (d.row->writes_exec || std::strstr(d.row->name, "subvector")) return true;
  const auto is_exec = [](uint32_t offset) { return offset == sgpr_offset(kExec) || offset == sgpr_offset(kExec + 1); };
  for (size_t n = first; n < out.size(); ++n)
    if (is_exec(out[n].dst) || is_exec(out[n].dst2)) return true;
  return false;
}

// Adds up what depends on the number of active lanes over a stretch of code in which EXEC stays as it
// is. The sums stand in the block's head, or in a ".lanes" behind the instruction that changed EXEC.
class LaneSums {
 public:
  void begin_block(size_t head) { holder_ = head; }
  void exec_changed() { holder_ = kNone; }
  void count(const Decoded& d, const Transfer& t, uint64_t pc, std::vector<Inst>& out) {
    if (!d.row || !is_vector(d.row->cls)) return;
    if (holder_ == kNone) {
      holder_ = out.size();
      out.push_back(pseudo(".lanes", pc));
    }
    Inst& sums = out[holder_];
    ++sums.imm;
    sums.loaded += t.loaded;
    sums.stored += t.stored;
  }

 private:
  static constexpr size_t kNone = ~size_t{0};
  size_t holder_ = kNone;
};

}  // namespace

const Inst* Program::at(uint64_t pc, uint8_t variant) {
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.find(pc | variant);
  return found != blocks_.end() ? found->second : decode_from(pc, variant);
}

// Decodes from pc up to an instruction that control cannot pass, in blocks: each begins with a
// ".block" that counts it and checks the quantum, and ends at a branch or barrier.
const Inst* Program::decode_from(uint64_t pc, uint8_t variant) {
  Chunk chunk;
  chunk.va = pc;
  std::vector<Inst> out;
  std::vector<std::pair<uint64_t, size_t>> heads;
  CodeReader reader(*memory_);
  std::array<uint32_t, kMaxDwords> words;
  std::array<uint16_t, 16> counts{};
  const auto close = [&] {
    // Called again after a .goto: the block's counts are written already then.
    if (!heads.empty() && counts[kBlockTotal]) std::memcpy(reinterpret_cast<char*>(&out[heads.back().second]) + kBlockCounts, counts.data(), sizeof counts);
    counts = {};
  };
  const Handler nop = find_handler("s_nop")->select(Shape{});
  LaneSums lanes;
  const LowerOptions options{
      .wave64 = wave64_, .any_mode = (variant & kAnyMode) != 0, .ieee = !(variant & kNoIeee), .strict = options_.strict};
  bool at_head = true;
  for (uint64_t at = pc;;) {
    if (at_head) {
      close();
      if (at != pc && (blocks_.contains(at | variant) || out.size() > kMaxChunk)) {
        Inst go = pseudo(".goto", at);
        go.literal = at;
        out.push_back(go);
        break;
      }
      heads.emplace_back(at, out.size());
      lanes.begin_block(out.size());
      out.push_back(pseudo(".block", at));
      at_head = false;
    }
    const size_t available = reader.read(at, words);
    if (available == 0) {
      out.push_back(pseudo(".fetch_fault", at));
      break;
    }
    const Decoded d = decode(arch_, {words.data(), available});
    if (d.bytes > 4 * available) {
      out.push_back(pseudo(".fetch_fault", at));
      break;
    }
    if (options_.watched) out.push_back(pseudo(".watch", at));
    const Transfer transfer = transfer_of(d);
    lanes.count(d, transfer, at, out);
    if (options_.counting) {
      Inst access = pseudo(".access", at);
      if (access_counter(d, access)) out.push_back(access);
    }
    const size_t before = out.size();
    lower(d, at, out, options);
    if (changes_exec(d, out, before)) lanes.exec_changed();
    if (out.size() == before + 1 && out.back().fn == nop) out.pop_back();  // counted by the block's head, not executed
    const InstClass cls = d.row ? d.row->cls : InstClass::other;
    ++counts[static_cast<size_t>(cls)];
    ++counts[kBlockTotal];
    counts[kBlockLdsPasses] += static_cast<uint16_t>(transfer.lds_passes);
    counts[kBlockScalarDwords] += static_cast<uint16_t>(transfer.scalar_dwords);
    if (d.row) {
      counts[kBlockF64] += cls == InstClass::valu && std::strstr(d.row->name, "_f64");
      counts[kBlockBarriers] += !std::strcmp(d.row->name, "s_barrier") || !std::strcmp(d.row->name, "s_barrier_wait");
    }
    chunk.words.insert(chunk.words.end(), words.begin(), words.begin() + d.bytes / 4);
    at += d.bytes;
    if (ends_block(d) && !falls_through(d)) break;
    at_head = ends_block(d) || counts[kBlockTotal] >= kMaxBlock;
  }
  close();
  chunk.insts = std::make_unique<Inst[]>(out.size());
  std::copy(out.begin(), out.end(), chunk.insts.get());
  for (const auto& [va, index] : heads) blocks_.emplace(va | variant, &chunk.insts[index]);
  const Inst* first = chunk.insts.get();
  chunks_.push_back(std::move(chunk));
  return first;
}

bool Program::still_valid(AddressSpace& memory) {
  const std::lock_guard lock(mutex_);
  for (const Chunk& chunk : chunks_) {
    uint64_t va = chunk.va;
    const auto* bytes = reinterpret_cast<const std::byte*>(chunk.words.data());
    size_t left = chunk.words.size() * 4;
    if (left == 0) return false;
    while (left) {
      const auto t = memory.translate(va, Access::execute, true);
      if (!t || !t->host || !t->executable) return false;
      const size_t n = static_cast<size_t>(std::min<uint64_t>(left, t->bytes));
      if (std::memcmp(bytes, t->host, n) != 0) return false;
      va += n, bytes += n, left -= n;
    }
  }
  memory_ = &memory;
  return true;
}

std::shared_ptr<Program> ProgramCache::get(Arch arch, bool wave64, uint64_t entry, AddressSpace& memory) {
  const std::lock_guard lock(mutex_);
  const uint64_t epoch = epoch_, generation = memory.generation();
  Cached& cached = programs_[entry | (wave64 ? 1 : 0)];
  const bool good = cached.program && cached.program->arch() == arch &&
                    ((cached.epoch == epoch && cached.generation == generation && &cached.program->memory() == &memory) ||
                     cached.program->still_valid(memory));
  if (!good) cached.program = std::make_shared<Program>(arch, wave64, memory, options_);
  cached.epoch = epoch;
  cached.generation = generation;
  auto result = cached.program;
  if (programs_.size() > kMaxPrograms) programs_.clear();
  return result;
}

const Inst* resolve(Wave& wave, const Inst* i, uint64_t pc) {
  const Inst* target = jump(wave, pc);
  __atomic_store_n(&const_cast<Inst*>(i)->target, target, __ATOMIC_RELEASE);
  return target;
}

const Inst* watch(Wave& wave, const Inst* i) {
  const uint64_t to = wave.worker->observer->before(wave, i->pc);
  if (to == i->pc) return i + 1;
  if (to != WaveObserver::kLeave) return jump(wave, to & ~WaveObserver::kJump);
  wave.next = i;
  wave.stop = Stop::quantum;
  return nullptr;
}

const Inst* jump(Wave& wave, uint64_t pc) { return wave.worker->program->at(pc, wave.variant); }

std::string disassembly_around(Arch arch, AddressSpace& memory, uint64_t pc, uint64_t lowest) {
  CodeReader reader(memory);
  std::array<uint32_t, kMaxDwords> words;
  // Instruction lengths are only known forwards: start a little before and keep the walk that meets pc.
  std::vector<uint64_t> starts;
  for (uint64_t back = std::min<uint64_t>(64, pc - std::min(pc, lowest)); starts.empty(); back -= 4) {
    std::vector<uint64_t> walk;
    uint64_t at = pc - back;
    while (at < pc) {
      const size_t n = reader.read(at, words);
      walk.push_back(at);
      at += n ? decode(arch, {words.data(), n}).bytes : 4;
    }
    walk.push_back(pc);
    if (at == pc) starts = walk;
  }
  if (starts.size() > 5) starts.erase(starts.begin(), starts.end() - 5);
  for (int after = 0; after < 4; ++after) {
    const size_t n = reader.read(starts.back(), words);
    if (!n) break;
    starts.push_back(starts.back() + decode(arch, {words.data(), n}).bytes);
  }
  std::string text;
  for (const uint64_t at : starts) {
    const size_t n = reader.read(at, words);
    char head[32];
    std::snprintf(head, sizeof head, "%s %012llx: ", at == pc ? "=>" : "  ", static_cast<unsigned long long>(at));
    text += head;
    text += n ? disassemble(decode(arch, {words.data(), n}), {words.data(), n}, at) : std::string("(unreadable)");
    text += '\n';
  }
  return text;
}

}  // namespace usbgpu::emulator::isa
