// The seam between the command processor (cp/), virtual memory (memory/) and the shader
// cores (isa/): a dispatch with the register values that describe it, and an address space.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace usbgpu::emulator {

enum class Arch : uint8_t { gfx11, gfx12 };
enum class Access : uint8_t { read = 1, write = 2, execute = 4, atomic = 8 };

// One translated page run. `host` is the memory behind `va`, valid for `bytes` from `va` on.
// Where host is null and the access is permitted, the page is behind the bridge (SYSTEM) and
// goes through load()/store(). `readable` pages that are not `writable_directly` (bridge SRAM)
// are read through host and written through store().
struct Translation {
  std::byte* host = nullptr;
  uint64_t bytes = 0;
  bool readable = false, writable = false, executable = false;
  bool writable_directly = false;
};

struct MemoryFault {
  uint64_t va;
  Access access;
  uint32_t bytes;
};

// VMID 0 as the engines see it: the walk of the driver's own page tables.
class AddressSpace {
 public:
  virtual ~AddressSpace() = default;
  // The longest run from `va` on with one leaf entry. nullopt = the walk failed or the entry
  // lacks the permission; the implementation has then already recorded the fault (hub status
  // registers, IH entry) unless `probe` is true. May return the default page where the hub is set so.
  virtual std::optional<Translation> translate(uint64_t va, Access access, bool probe = false) = 0;
  virtual bool load(uint64_t va, std::span<std::byte> into) = 0;          // slow path, any page mix
  virtual bool store(uint64_t va, std::span<const std::byte> from) = 0;
  // Changes whenever a translation may have changed (TLB flush, hub register write). Cached
  // translations are good while it stays the same.
  virtual uint64_t generation() const = 0;
};

// s_sendmsg MSG_INTERRUPT of a running wave: `data` is M0[23:0].
struct WaveMessage {
  uint32_t data;
  uint32_t se, sa, wgp, simd, wave_slot;
};

// Values of the compute registers at DISPATCH_DIRECT (hw names; see asic/registers/gc_*.json).
struct DispatchState {
  Arch arch = Arch::gfx11;
  uint64_t pgm_address = 0;                  // COMPUTE_PGM_LO/HI << 8
  uint32_t pgm_rsrc1 = 0, pgm_rsrc2 = 0, pgm_rsrc3 = 0;
  std::array<uint32_t, 16> user_data{};
  std::array<uint32_t, 3> groups{};          // workgroup counts
  std::array<uint32_t, 3> start{};           // COMPUTE_START_X/Y/Z
  std::array<uint32_t, 3> threads{1, 1, 1};  // full workgroup size
  uint32_t tmpring_size = 0;
  uint64_t scratch_base = 0;                 // COMPUTE_DISPATCH_SCRATCH_BASE << 8
  uint32_t sh_mem_config = 0, sh_mem_bases = 0;
  uint32_t initiator = 0;                    // cs_w32_en etc.
  uint32_t num_se = 6, num_sa_per_se = 2, num_wgp_per_sa = 4;  // where a wave is said to run
  bool broken_lane = false;                  // a fault switch: v0 of one lane starts with bit 0 stuck at zero
  std::function<void(const WaveMessage&)> interrupt;           // called by worker threads; empty: nobody listens
};

// Where a wave stopped and why: what SQ reports, and what SQ_IND reads back while it stays halted.
struct WaveFault {
  enum class Kind : uint8_t { illegal_instruction, memory_violation, misaligned_atomic, trap, wmma_exec, lds_address } kind;
  uint64_t pc = 0;
  uint64_t address = 0;             // memory faults
  Access access = Access::read;
  std::array<uint32_t, 3> group{};
  uint32_t wave_in_group = 0;
  uint64_t exec = 0;
  std::string text;                 // disassembly around pc, for traces and tests
  uint32_t se = 0, sa = 0, wgp = 0, simd = 0, wave_slot = 0;
};

struct DispatchCounters {
  uint64_t waves = 0, instructions = 0;   // a VOPD pair counts as one
  uint64_t salu = 0, valu = 0, vopd = 0, wmma = 0, trans = 0, vmem_load = 0, vmem_store = 0, smem = 0, lds = 0, branch = 0, other = 0;
  uint64_t workgroups = 0, barriers = 0, valu_f64 = 0;  // barriers: instructions executed; valu_f64: of valu
  uint64_t active_lanes = 0;              // summed over vector instructions (valu, vopd, wmma, trans, vmem, lds)
  uint64_t bytes_loaded = 0, bytes_stored = 0;  // by lanes through GLOBAL, FLAT, SCRATCH, buffers; atomics store, and load if they return
  uint64_t scalar_bytes = 0;              // SMEM loads
  uint64_t lds_passes = 0;                // cycles of LDS accesses of 32 lanes without conflicts
  // Only with ShaderOptions::counters (detailed):
  bool detailed = false;
  uint64_t segments_32 = 0, segments_64 = 0, segments_128 = 0;  // aligned pieces of memory touched, per instruction
  uint64_t lines_touched = 0;             // different 128-byte lines in the whole dispatch
  uint64_t lds_cycles = 0, lds_conflicts = 0;  // with bank conflicts; of them more than one per pass

  DispatchCounters& operator+=(const DispatchCounters& other);
};

// Calls f(name, member) for each figure. One list for sums, bindings and tests.
template <class F> void for_each_counter(F&& f) {
  using C = DispatchCounters;
  f("waves", &C::waves), f("workgroups", &C::workgroups), f("instructions", &C::instructions);
  f("salu", &C::salu), f("valu", &C::valu), f("vopd", &C::vopd), f("wmma", &C::wmma), f("trans", &C::trans);
  f("vmem_load", &C::vmem_load), f("vmem_store", &C::vmem_store), f("smem", &C::smem), f("lds", &C::lds);
  f("branch", &C::branch), f("other", &C::other), f("barriers", &C::barriers), f("valu_f64", &C::valu_f64);
  f("active_lanes", &C::active_lanes), f("bytes_loaded", &C::bytes_loaded), f("bytes_stored", &C::bytes_stored);
  f("scalar_bytes", &C::scalar_bytes), f("lds_passes", &C::lds_passes);
}
template <class F> void for_each_detailed_counter(F&& f) {
  using C = DispatchCounters;
  f("segments_32", &C::segments_32), f("segments_64", &C::segments_64), f("segments_128", &C::segments_128);
  f("lines_touched", &C::lines_touched), f("lds_cycles", &C::lds_cycles), f("lds_conflicts", &C::lds_conflicts);
}

inline DispatchCounters& DispatchCounters::operator+=(const DispatchCounters& other) {
  const auto add = [&](const char*, uint64_t DispatchCounters::*member) { this->*member += other.*member; };
  for_each_counter(add);
  for_each_detailed_counter(add);
  detailed |= other.detailed;
  return *this;
}

// What of a dispatch decides how many of its waves fit on a SIMD.
struct LaunchShape {
  uint32_t waves_per_group = 0, wave_size = 32, lds_bytes = 0;
  uint32_t vgpr_blocks = 0;   // RSRC1.VGPRS
  bool wgp_mode = false;      // RSRC1.WGP_MODE
};

// A dispatch that was run to its end, stopped by a fault (its waves stay halted: the dispatch is
// not complete and nothing after it in the queue may run), or cancelled.
struct DispatchResult {
  enum class End : uint8_t { complete, fault, cancelled } end = End::complete;
  std::optional<WaveFault> fault;
  DispatchCounters counters;
  LaunchShape shape;
};

namespace isa {
struct Wave;
}

// Sees waves between instructions: debugger, instruction traces. Called on the thread that runs the wave;
// a watched dispatch runs on one thread. Unwatched ones cost nothing.
class WaveObserver {
 public:
  static constexpr uint64_t kLeave = ~uint64_t{0};
  static constexpr uint64_t kJump = 1;  // with an address: fetch there, even if it is `pc`
  virtual ~WaveObserver() = default;
  // Before a dispatch; false: it runs unwatched.
  virtual bool wants(const DispatchState& state, AddressSpace& memory, const std::atomic<bool>& cancel) = 0;
  // Before the instruction at `pc`. Returns where to go on: `pc` itself, another address | kJump, or kLeave to end the
  // wave's turn here (for a dispatch that was cancelled meanwhile).
  virtual uint64_t before(isa::Wave& wave, uint64_t pc) = 0;
  // The wave has ended or has halted on a fault (Wave::stop says which).
  virtual void after(isa::Wave& wave) = 0;
  virtual void finished(const DispatchResult& result) = 0;
};

struct ShaderOptions {
  unsigned threads = 0;           // 0: all cores; 1: workgroups in order on the calling thread
  bool strict_waits = false;      // poison load results until the matching wait
  bool poison = false;            // NaN patterns in fresh VGPRs and LDS
  uint64_t shuffle_seed = 0;      // non-zero: workgroups in a seeded random order
  bool jitter_transcendentals = false;
  bool counters = false;          // count segments, bank conflicts and lines touched, too (slower)
};

class ShaderArray {
 public:
  static std::unique_ptr<ShaderArray> create(const ShaderOptions& options);
  virtual ~ShaderArray() = default;
  // Blocks the caller (a command processor thread) until the end. `cancel` is polled.
  virtual DispatchResult run(const DispatchState& state, AddressSpace& memory, const std::atomic<bool>& cancel) = 0;
  virtual void invalidate_code() = 0;   // instruction cache invalidation (ACQUIRE_MEM GLI_INV)
  virtual void watch(WaveObserver* observer) = 0;  // nullptr: no more. Waits for the dispatch that runs
};

}  // namespace usbgpu::emulator
