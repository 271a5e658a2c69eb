// Dispatches: workgroups over host threads, the waves of a workgroup in turn on one thread.
#include "emulator/isa/sched.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "emulator/isa/barrier.h"
#include "emulator/isa/host.h"

namespace usbgpu::emulator::isa {
namespace {

void fill_constants(Wave& w) {
  for (unsigned n = 0; n <= 64; ++n) w.constant[kConstInteger + n] = n;
  for (unsigned n = 1; n <= 16; ++n) w.constant[kConstInteger + 64 + n] = 0 - uint64_t{n};
  // 0.5, -0.5, 1, -1, 2, -2, 4, -4, 1/(2 pi): RDNA3 ISA, 'Inline constants'
  constexpr uint32_t f32[] = {0x3F000000, 0xBF000000, 0x3F800000, 0xBF800000, 0x40000000, 0xC0000000, 0x40800000, 0xC0800000, 0x3E22F983};
  constexpr uint64_t f64[] = {0x3FE0000000000000, 0xBFE0000000000000, 0x3FF0000000000000, 0xBFF0000000000000, 0x4000000000000000,
                              0xC000000000000000, 0x4010000000000000, 0xC010000000000000, 0x3FC45F306DC9C882};
  constexpr uint16_t f16[] = {0x3800, 0xB800, 0x3C00, 0xBC00, 0x4000, 0xC000, 0x4400, 0xC400, 0x3118};
  for (unsigned n = 0; n < 9; ++n) {
    w.constant[kConstF32 + n] = f32[n];
    w.constant[kConstF64 + n] = f64[n];
    w.constant[kConstF16 + n] = f16[n];
  }
}

constexpr size_t kCacheLine = 128;  // Apple's; others have 64, and fetch pairs of lines
constexpr uint64_t kLargestClaim = 64;  // workgroups: of 256 threads, 64 KiB of an array of floats

constexpr unsigned kBrokenLane = 5;  // of DispatchState::broken_lane: odd, so that the bit was set

// What all workers of a dispatch share.
struct Job {
  const DispatchState* state;
  const ShaderOptions* options;
  AddressSpace* memory;
  const std::atomic<bool>* cancel;
  Program* program;
  uint32_t extent[3];              // workgroups in each direction
  uint64_t groups;
  uint32_t lanes;                  // of a wave: 32 or 64
  uint32_t waves_per_group, threads_per_group, lds_bytes, wave_bytes;
  WaveObserver* observer = nullptr;
  unsigned helpers = 0;            // threads that may join the caller's
  std::vector<uint32_t> order;     // empty: ascending
  // written for each claim, next to nothing that workers read all the time
  alignas(kCacheLine) std::atomic<uint64_t> next{0};
  alignas(kCacheLine) std::atomic<bool> stop{false};
  std::mutex mutex;                // guards what follows
  DispatchResult result;
  Footprint footprint;
};

// Runs workgroups of a job until none is left.
class Runner {
 public:
  Runner(Worker& worker, Job& job, unsigned index) : worker_(worker), job_(job), index_(index) {}
  // `summon` is called once, when there is enough work for the job's helpers.
  Runner(Worker& worker, Job& job, std::function<void()> summon) : Runner(worker, job, 0) {
    if (job.helpers) summon_ = std::move(summon);
  }

  void run() {
    const HostFloatEnvironment environment;
    worker_.program = job_.program;
    worker_.state = job_.state;
    worker_.observer = job_.observer;
    if (job_.options->strict_waits && !worker_.pending) worker_.pending = std::make_unique<PendingLoads[]>(kMaxWaves);
    memory_attach(worker_.memory, *job_.memory);
    if (job_.options->counters) worker_.access = {};
    prepare();
    for (uint64_t n = 0, end = 0; !job_.stop; ++n) {
      if (n == end && !claim(n, end)) break;
      if (*job_.cancel) {
        finish(DispatchResult::End::cancelled);
        break;
      }
      if (!workgroup(job_.order.empty() ? n : job_.order[n])) break;
      ++done_;
    }
    collect();
  }

 private:
  // The next workgroups for this worker. Several while many are left: workers then seldom fight for the counter, and
  // each goes through memory in runs that the host's prefetchers see.
  bool claim(uint64_t& first, uint64_t& end) {
    const uint64_t claimed = job_.next.load(std::memory_order_relaxed);
    if (claimed >= job_.groups) return false;
    const uint64_t count = std::clamp<uint64_t>((job_.groups - claimed) / (8 * (job_.helpers + 1)), 1, kLargestClaim);
    first = job_.next.fetch_add(count);
    end = std::min(first + count, job_.groups);
    return first < job_.groups;
  }
  // What is the same for all workgroups of the dispatch.
  void prepare() {
    const DispatchState& s = *job_.state;
    const uint32_t shared = s.sh_mem_bases & 0xFFFF0000u, priv = s.sh_mem_bases << 16;
    for (unsigned n = 0; n < job_.waves_per_group; ++n) {
      Wave& w = wave(n);
      w.lanes = job_.lanes;
      w.first_lane = 0;
      w.worker = &worker_;
      w.memory = &worker_.memory;
      w.group = &group_;
      w.index = n;
      w.slot = index_ * job_.waves_per_group + n;
      w.scratch = s.scratch_base + uint64_t{w.slot} * job_.wave_bytes;
      w.scratch_bytes = job_.wave_bytes / job_.lanes;
      w.pending = worker_.pending ? &worker_.pending[n] : nullptr;
      w.jitter = job_.options->jitter_transcendentals;
      // an aperture that is not set up matches no address
      w.apertures[0] = shared ? shared : ~0u;
      w.apertures[1] = priv ? priv : ~0u;
      const uint64_t bases[] = {uint64_t{shared} << 32, uint64_t{priv} << 32};
      for (unsigned k = 0; k < 2; ++k) {
        w.constant[kConstShared + 2 * k] = bases[k];
        w.constant[kConstShared + 2 * k + 1] = bases[k] | 0xFFFFFFFFu;
      }
      std::memset(w.counts, 0, sizeof w.counts);
      w.active_lanes = w.bytes_loaded = w.bytes_stored = 0;
      // FLOAT_MODE of RSRC1 becomes MODE[7:0]; gfx11: DX10_CLAMP and IEEE MODE[8] and [9]
      initial_mode_ = s.pgm_rsrc1 >> 12 & 0xFF;
      if (s.arch == Arch::gfx11) initial_mode_ |= (s.pgm_rsrc1 >> 21 & 1) << 8 | (s.pgm_rsrc1 >> 23 & 1) << 9;
    }
    set_mode(wave(0), initial_mode_);
    entry_ = job_.program->at(s.pgm_address, wave(0).variant);
    item_ids();
    group_.lds = worker_.lds;
    group_.lds_bytes = job_.lds_bytes;
    group_.waves = job_.waves_per_group;
  }

  // Wave n of the workgroup; a wave64 takes two Waves
  Wave& wave(unsigned n) { return worker_.waves[n * (job_.lanes / 32)]; }

  // v0 = x | y << 10 | z << 20, the same in every workgroup; kept from one dispatch to the next.
  void item_ids() {
    const uint32_t nx = job_.state->threads[0], ny = job_.state->threads[1];
    Worker::ItemIds& ids = worker_.item_ids;
    const uint32_t waves = job_.waves_per_group * job_.lanes / 32;
    if (ids.nx == nx && ids.ny == ny && ids.waves >= waves) return;
    ids.nx = nx, ids.ny = ny, ids.waves = waves;
    uint32_t x = 0, y = 0, z = 0;
    for (uint32_t n = 0; n < 32 * ids.waves; ++n) {
      ids.at[n / 32][n % 32] = x | y << 10 | z << 20;
      if (++x == nx) x = 0, ++y == ny ? (y = 0, ++z) : y;
    }
  }

  void start_wave(Wave& w) {
    const DispatchState& s = *job_.state;
    const unsigned user = s.pgm_rsrc2 >> 1 & 31;
    std::memset(w.sgpr, 0, sizeof w.sgpr);
    std::memcpy(w.sgpr, s.user_data.data(), std::min<size_t>(user, s.user_data.size()) * 4);
    const auto enabled = [&](unsigned k) { return s.pgm_rsrc2 >> (7 + k) & 1; };
    w.gfx12 = gfx12();
    w.vgpr_blocks = s.pgm_rsrc1 & 63;
    if (w.gfx12) {  // an id that is not enabled is zero: LLVM relies on it for z
      w.sgpr[kTtmp9] = enabled(0) ? group_.id[0] : 0;
      w.sgpr[kTtmp7] = (enabled(1) ? group_.id[1] & 0xFFFF : 0) | (enabled(2) ? group_.id[2] << 16 : 0);
      w.sgpr[kTtmp8] = (w.index & 31) << 25;
    } else {
      unsigned at = user;
      for (unsigned k = 0; k < 3; ++k)
        if (enabled(k)) w.sgpr[at++] = group_.id[k];
    }
    w.signals = w.barrier_complete = w.named_barrier = w.named_complete = 0;
    const uint32_t first = w.index * job_.lanes, live = std::min(job_.lanes, job_.threads_per_group - first);
    w.sgpr[kExec] = live >= 32 ? ~0u : (1u << live) - 1;
    if (live > 32) w.sgpr[kExec + 1] = live == 64 ? ~0u : (1u << (live - 32)) - 1;
    w.scc = 0;
    set_mode(w, initial_mode_);
    const unsigned halves = job_.lanes / 32;
    for (unsigned half = 0; half < halves; ++half) {
      Wave& owner = (&w)[half];
      if (job_.options->poison) std::fill(&owner.vgpr[0][0], &owner.vgpr[0][0] + sizeof owner.vgpr / 4, kPoison);
      std::memcpy(owner.vgpr[0], worker_.item_ids.at[w.index * halves + half], sizeof owner.vgpr[0]);
    }
    if (s.broken_lane) w.vgpr[0][kBrokenLane] &= ~1u;
    if (w.pending) w.pending->count = 0;
    w.next = entry_;
    w.state = WaveState::ready;
  }

  // Workgroups go round the shader engines, then their arrays and WGPs.
  void place(uint64_t linear) {
    const DispatchState& s = *job_.state;
    const uint64_t se = std::max(1u, s.num_se), sa = std::max(1u, s.num_sa_per_se), wgp = std::max(1u, s.num_wgp_per_sa);
    group_.se = static_cast<uint32_t>(linear % se);
    group_.sa = static_cast<uint32_t>(linear / se % sa);
    group_.wgp = static_cast<uint32_t>(linear / (se * sa) % wgp);
  }

  bool workgroup(uint64_t linear) {
    const DispatchState& s = *job_.state;
    const uint64_t plane = linear / job_.extent[0];
    group_.id[0] = s.start[0] + static_cast<uint32_t>(linear % job_.extent[0]);
    group_.id[1] = s.start[1] + static_cast<uint32_t>(plane % job_.extent[1]);
    group_.id[2] = s.start[2] + static_cast<uint32_t>(plane / job_.extent[1]);
    place(linear);
    group_.live = group_.waves;
    group_.arrived = 0;
    for (auto& b : group_.named) b = {};
    if (job_.options->poison) std::fill_n(reinterpret_cast<uint32_t*>(group_.lds), group_.lds_bytes / 4, kPoison);
    for (unsigned n = 0; n < group_.waves; ++n) start_wave(wave(n));
    while (group_.live) {
      if (interrupted()) return false;  // here too: waves that meet at barriers may never use up a quantum
      bool ran = false;
      for (unsigned n = 0; n < group_.waves; ++n) {
        Wave& w = wave(n);
        if (w.state != WaveState::ready) continue;
        ran = true;
        if (!turn(w)) return false;
      }
      if (!ran && !idle()) return false;
    }
    return true;
  }

  // Every wave waits for a barrier that nobody will signal: it hangs as it does on hardware, until cancelled.
  bool idle() {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return !interrupted();
  }
  bool interrupted() {
    if (job_.stop) return true;
    if (!job_.cancel->load(std::memory_order_relaxed)) return false;
    finish(DispatchResult::End::cancelled);
    return true;
  }

  // Runs a wave until it stops for a reason. False: the dispatch is over.
  bool turn(Wave& w) {
    w.budget = kQuantum;
    w.stop = Stop::none;
    for (const Inst* p = w.next; p;) p = p->fn(w, p);
    if (job_.observer && (w.stop == Stop::end || w.stop == Stop::fault)) job_.observer->after(w);
    executed_ += kQuantum - w.budget;
    if (summon_ && job_.next < job_.groups && executed_ + executed_ * static_cast<int64_t>(job_.groups - job_.next) / (done_ + 1) > kWorthHelp)
      std::exchange(summon_, nullptr)();
    switch (w.stop) {
      case Stop::barrier:
        w.state = WaveState::at_barrier;
        ++group_.arrived;
        break;
      case Stop::split_barrier:
        w.state = WaveState::at_barrier;
        break;
      case Stop::end:
        w.state = WaveState::ended;
        --group_.live;
        if (gfx12()) {
          leave_barrier(w);
          group_.arrived -= w.signals;  // those who stay wait for each other only
          complete_barrier(group_, worker_);
        }
        break;
      case Stop::fault:
        w.state = WaveState::halted;
        report(w);
        return false;
      default:  // quantum
        memory_refresh(worker_.memory);
        if (interrupted()) return false;
        break;
    }
    if (!gfx12() && group_.arrived && group_.arrived == group_.live) {
      group_.arrived = 0;
      for (unsigned n = 0; n < group_.waves; ++n)
        if (wave(n).state == WaveState::at_barrier) wave(n).state = WaveState::ready;
    }
    return true;
  }

  bool gfx12() const { return job_.state->arch == Arch::gfx12; }

  void finish(DispatchResult::End end) {
    const std::lock_guard lock(job_.mutex);
    job_.stop = true;
    if (job_.result.end == DispatchResult::End::complete) job_.result.end = end;
  }

  void report(const Wave& w) {
    const DispatchState& s = *job_.state;
    WaveFault f{};
    f.kind = static_cast<WaveFault::Kind>(w.fault.kind);
    f.pc = w.fault.pc;
    f.address = w.fault.address;
    f.access = static_cast<Access>(w.fault.access);
    f.group = {group_.id[0], group_.id[1], group_.id[2]};
    f.wave_in_group = w.index;
    f.exec = w.sgpr[kExec];
    if (job_.lanes == 64) f.exec |= uint64_t{w.sgpr[kExec + 1]} << 32;
    f.text = disassembly_around(s.arch, *job_.memory, f.pc, s.pgm_address);
    f.se = group_.se, f.sa = group_.sa, f.wgp = group_.wgp;
    f.simd = w.index % 4;
    f.wave_slot = w.index / 4;
    const std::lock_guard lock(job_.mutex);
    job_.stop = true;
    if (job_.result.end == DispatchResult::End::fault) return;  // the first one is reported
    job_.result.end = DispatchResult::End::fault;
    job_.result.fault = std::move(f);
  }

  void collect() {
    const std::lock_guard lock(job_.mutex);
    DispatchCounters& c = job_.result.counters;
    for (unsigned n = 0; n < job_.waves_per_group; ++n) {
      const uint32_t* k = wave(n).counts;
      const auto of = [&](InstClass cls) { return k[static_cast<size_t>(cls)]; };
      c.salu += of(InstClass::salu), c.valu += of(InstClass::valu), c.vopd += of(InstClass::vopd), c.wmma += of(InstClass::wmma);
      c.trans += of(InstClass::trans), c.vmem_load += of(InstClass::vmem_load), c.vmem_store += of(InstClass::vmem_store);
      c.smem += of(InstClass::smem), c.lds += of(InstClass::lds), c.branch += of(InstClass::branch), c.other += of(InstClass::other);
      c.instructions += k[kBlockTotal];
      c.barriers += k[kBlockBarriers], c.valu_f64 += k[kBlockF64], c.lds_passes += k[kBlockLdsPasses], c.scalar_bytes += 4 * uint64_t{k[kBlockScalarDwords]};
      const Wave& w = wave(n);
      c.active_lanes += w.active_lanes, c.bytes_loaded += w.bytes_loaded, c.bytes_stored += w.bytes_stored;
    }
    if (!c.detailed) return;
    const AccessCounters& a = worker_.access;
    c.segments_32 += a.segments[0], c.segments_64 += a.segments[1], c.segments_128 += a.segments[2];
    c.lds_cycles += a.lds_cycles, c.lds_conflicts += a.lds_conflicts;
    job_.footprint.add(a.footprint);
  }

  Worker& worker_;
  Job& job_;
  unsigned index_;
  Workgroup group_;
  uint32_t initial_mode_ = 0;
  const Inst* entry_ = nullptr;
  std::function<void()> summon_;
  int64_t executed_ = 0, done_ = 0;  // instructions, workgroups
};

class Array final : public ShaderArray {
 public:
  explicit Array(const ShaderOptions& options)
      : options_(options),
        programs_({.strict = options.strict_waits, .counting = options.counters}),
        watched_({.strict = options.strict_waits, .counting = options.counters, .watched = true}) {
    unsigned n = options.threads ? options.threads : std::max(1u, std::thread::hardware_concurrency());
    for (unsigned k = 0; k < n; ++k) workers_.emplace_back();
    for (unsigned k = 1; k < n; ++k) threads_.emplace_back([this, k] { serve(k); });
  }
  ~Array() override {
    {
      const std::lock_guard lock(mutex_);
      quit_ = true;
    }
    wake_.notify_all();
    for (std::thread& t : threads_) t.join();
  }

  void invalidate_code() override {
    programs_.invalidate();
    watched_.invalidate();
  }
  void watch(WaveObserver* observer) override {
    const std::lock_guard lock(run_mutex_);
    observer_ = observer;
  }

  DispatchResult run(const DispatchState& s, AddressSpace& memory, const std::atomic<bool>& cancel) override {
    const std::lock_guard one_at_a_time(run_mutex_);
    Job job;
    if (const char* why = describe(job, s)) return refused(s, why);
    job.memory = &memory;
    job.cancel = &cancel;
    if (job.groups == 0) return std::move(job.result);
    job.observer = observer_ && observer_->wants(s, memory, cancel) ? observer_ : nullptr;
    const std::shared_ptr<Program> program = (job.observer ? watched_ : programs_).get(s.arch, job.lanes == 64, s.pgm_address, memory);
    job.program = program.get();
    job.result.counters.waves = job.groups * job.waves_per_group;
    job.result.counters.workgroups = job.groups;
    job.result.counters.detailed = options_.counters;
    job.result.shape = {job.waves_per_group, job.lanes, job.lds_bytes, s.pgm_rsrc1 & 63, (s.pgm_rsrc1 >> 29 & 1) != 0};
    job.helpers = static_cast<unsigned>(std::min<uint64_t>(threads_.size(), job.groups - 1));
    if (job.observer) job.helpers = 0;
    if (job.wave_bytes) {  // not more waves at once than the scratch ring has room for
      const uint64_t slots = uint64_t{s.tmpring_size & 0xFFF} * std::max(1u, s.num_se);
      job.helpers = static_cast<unsigned>(std::min<uint64_t>(job.helpers, slots / job.waves_per_group ? slots / job.waves_per_group - 1 : 0));
    }
    Runner(workers_[0], job, [&] {
      const std::lock_guard lock(mutex_);
      job_ = &job;
      wanted_ = running_ = job.helpers;
      wake_.notify_all();
    }).run();
    if (job.helpers) {
      std::unique_lock lock(mutex_);
      running_ -= wanted_;  // helpers that had not woken up yet need not start
      wanted_ = 0;
      done_.wait(lock, [this] { return running_ == 0; });
      job_ = nullptr;
    }
    job.result.counters.lines_touched = job.footprint.lines();
    if (job.observer) job.observer->finished(job.result);
    return std::move(job.result);
  }

 private:
  // Derived values; nullptr, or why such a dispatch is not run.
  const char* describe(Job& job, const DispatchState& s) {
    job.state = &s;
    job.lanes = s.initiator >> 15 & 1 ? 32 : 64;  // COMPUTE_DISPATCH_INITIATOR.CS_W32_EN
    job.options = &options_;
    const bool thread_dimensions = s.initiator >> 5 & 1;
    job.groups = 1;
    job.threads_per_group = 1;
    for (unsigned k = 0; k < 3; ++k) {
      if (s.threads[k] == 0) return "empty workgroup";
      job.threads_per_group *= s.threads[k];
      uint32_t n = s.groups[k];
      if (thread_dimensions) {
        if (n % s.threads[k]) return "partial workgroups are not supported";
        n /= s.threads[k];
      }
      job.extent[k] = n > s.start[k] ? n - s.start[k] : 0;
      job.groups *= job.extent[k];
    }
    if (job.threads_per_group > kMaxWaves * 32) return "workgroup of more than 1024 threads";
    job.waves_per_group = (job.threads_per_group + job.lanes - 1) / job.lanes;
    job.lds_bytes = (s.pgm_rsrc2 >> 15 & 0x1FF) * 512;
    if (job.lds_bytes > kMaxLds) return "more than 64 KiB of LDS";
    job.wave_bytes = (s.pgm_rsrc2 & 1) ? (s.tmpring_size >> 12 & (s.arch == Arch::gfx12 ? 0x3FFFF : 0x7FFF)) * 256 : 0;
    if (options_.shuffle_seed && job.groups <= ~0u) {
      job.order.resize(job.groups);
      for (uint32_t n = 0; n < job.order.size(); ++n) job.order[n] = n;
      std::mt19937_64 random(options_.shuffle_seed);
      std::shuffle(job.order.begin(), job.order.end(), random);
    }
    return nullptr;
  }

  static DispatchResult refused(const DispatchState& s, const char* why) {
    DispatchResult r;
    r.end = DispatchResult::End::fault;
    r.fault.emplace();
    r.fault->kind = WaveFault::Kind::illegal_instruction;
    r.fault->pc = s.pgm_address;
    r.fault->text = why;
    return r;
  }

  void serve(unsigned index) {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return quit_ || wanted_ > 0; });
      if (quit_) return;
      --wanted_;
      Job& job = *job_;
      lock.unlock();
      Runner(workers_[index], job, index).run();
      lock.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  ShaderOptions options_;
  ProgramCache programs_, watched_;
  WaveObserver* observer_ = nullptr;  // guarded by run_mutex_
  std::deque<Worker> workers_;
  std::vector<std::thread> threads_;
  std::mutex run_mutex_;
  std::mutex mutex_;               // guards what follows
  std::condition_variable wake_, done_;
  Job* job_ = nullptr;
  unsigned wanted_ = 0, running_ = 0;
  bool quit_ = false;
};

}  // namespace

Worker::Worker()
    : waves(new Wave[kMaxWaves]()), lds_storage(new std::byte[kMaxLds + 2 * kLdsGuard]()) {
  for (unsigned n = 0; n < kMaxWaves; ++n) fill_constants(waves[n]);
  const auto address = reinterpret_cast<uintptr_t>(lds_storage.get());
  lds = reinterpret_cast<uint8_t*>((address + kLdsGuard - 1) / kLdsGuard * kLdsGuard);
}

}  // namespace usbgpu::emulator::isa

namespace usbgpu::emulator {

std::unique_ptr<ShaderArray> ShaderArray::create(const ShaderOptions& options) { return std::make_unique<isa::Array>(options); }

}  // namespace usbgpu::emulator
