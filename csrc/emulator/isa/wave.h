// State of a wave and of its workgroup. Wave32 only: kernels of this project are compiled so,
// and the dispatcher refuses wave64 (DISPATCH_INITIATOR.cs_w32_en = 0).
//
// Plain data, shared by all ISA levels: no inline functions here (a copy compiled for AVX2 could
// be the one the linker keeps). Accessors for handlers are in handler.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "emulator/isa/inst.h"

namespace usbgpu::emulator::isa {

struct Worker;     // sched.h: one host thread's share of a dispatch
struct Memory;     // vm.h: its TLB

// Scalar register numbers as the instruction encodings have them (RDNA3 ISA, 'Scalar operands').
enum ScalarRegister : unsigned {
  kVcc = 106, kTtmp0 = 108, kNull = 124, kM0 = 125, kExec = 126, kScalarRegisters = 128,
};

// Layout of Wave::constant, 8 bytes each. Integers are sign-extended to 64 bit.
enum Constant : unsigned {
  kConstInteger = 0,         // 0..64, then -1..-16 (codes 128..208)
  kConstF32 = 81,            // +-0.5, +-1, +-2, +-4, 1/2pi (codes 240..248)
  kConstF64 = kConstF32 + 9,
  kConstF16 = kConstF64 + 9, // value in the low half, high half zero
  kConstShared = kConstF16 + 9,        // SHARED_BASE, SHARED_LIMIT, PRIVATE_BASE, PRIVATE_LIMIT (codes 235..238)
  kConstants = kConstShared + 4,
};

enum class WaveState : uint8_t { ready, at_barrier, ended, halted };

// Why the interpreter loop was left (Wave::stop).
enum class Stop : uint8_t { none, quantum, barrier, end, fault, cancelled };

struct Workgroup {
  uint8_t* lds = nullptr;          // 64-byte aligned, lds_bytes long, kLdsGuard bytes behind it
  uint32_t lds_bytes = 0;
  uint32_t id[3]{};
  uint32_t waves = 0, live = 0, arrived = 0;
};
constexpr size_t kLdsGuard = 64;

// Strict mode (ShaderOptions::strict_waits): results of loads wait here, their destination is
// poisoned, until a wait instruction asks for them. Finds waits that are missing.
struct PendingLoad {
  uint32_t dst, dwords;
  uint32_t exec;        // lanes written; unused for scalar loads
  uint32_t mask;        // bits of each dword written (d16 forms write one half)
  bool scalar;          // SMEM: returns out of order
  bool lgkm;            // counted by lgkmcnt (SMEM, LDS), else by vmcnt
  uint32_t data[4 * 32];
};
constexpr unsigned kMaxPending = 64;
struct PendingLoads {
  uint32_t count = 0;
  PendingLoad entries[kMaxPending];  // oldest first
};
constexpr uint32_t kPoison = 0xFFC0DEAD;  // a NaN that is easy to recognise

constexpr unsigned kVgprs = 256;
constexpr unsigned kVgprPad = 16;  // v255 as the first of a 16-register operand stays inside
constexpr unsigned kTemps = 16;    // staging registers of the decoder, see decode.h

struct alignas(128) Wave {
  uint32_t sgpr[kScalarRegisters + 16];  // +16: a s_load_b512 near the end stays inside
  uint64_t constant[kConstants];
  uint64_t scc;                  // 0 or 1; 64 bit so that it can be any source operand
  uint32_t discard[16];          // where results for NULL go; never read

  const Inst* next;              // where to go on after the interpreter loop was left
  Workgroup* group;
  Worker* worker;
  Memory* memory;
  uint32_t counts[16];           // executed instructions by InstClass and what inst.h lists. Added up per block
  uint64_t active_lanes, bytes_loaded, bytes_stored;
  int64_t budget;                // instructions until the quantum ends
  Stop stop;
  WaveState state;
  PendingLoads* pending;         // strict mode only
  uint8_t jitter;                // ShaderOptions::jitter_transcendentals
  uint32_t mode;                 // MODE hardware register (round, denorm, dx10_clamp, ieee)
  uint32_t index;                // wave within the workgroup
  uint32_t slot;                 // scratch slot
  uint32_t staged_exec;          // EXEC while a DPP instruction runs with fewer lanes
  uint64_t scratch;              // FLAT_SCRATCH: base of this wave's private memory
  uint64_t scratch_bytes;        // per lane
  uint32_t apertures[2];         // high dwords of the shared and the private aperture (FLAT)
  // Filled by raise() for Stop::fault. kind: WaveFault::Kind, access: Access.
  struct { uint8_t kind; uint8_t access; uint64_t address; uint64_t pc; } fault;

  alignas(128) uint32_t vgpr[kVgprs + kVgprPad][32];
  uint32_t temp[kTemps][32];     // directly behind the VGPRs
};

constexpr uint32_t sgpr_offset(unsigned n) { return static_cast<uint32_t>(offsetof(Wave, sgpr) + 4 * n); }
constexpr uint32_t vgpr_offset(unsigned n) { return static_cast<uint32_t>(offsetof(Wave, vgpr) + 128 * n); }
constexpr uint32_t temp_offset(unsigned n) { return static_cast<uint32_t>(offsetof(Wave, temp) + 128 * n); }

}  // namespace usbgpu::emulator::isa
