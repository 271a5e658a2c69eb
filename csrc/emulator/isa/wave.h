// State of a wave and of its workgroup.
//
// A wave64 (DISPATCH_INITIATOR.cs_w32_en = 0) is two Wave objects side by side: the first has all
// of its state and lanes 0..31 of the VGPRs, the second lends its VGPR file to lanes 32..63. So a
// VGPR of the upper half is at the operand's offset + kUpperHalf. Per-lane instructions run once for
// each half (ops_wave64.cpp); while the upper half runs, sgpr[kExec] holds EXEC_HI.
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
// TTMP7-9 hold the workgroup's place on gfx12 (LLVM, 'AMDGPU usage': TTMP9 = x, TTMP7 = y | z << 16, TTMP8[29:25] = wave).
enum ScalarRegister : unsigned {
  kVcc = 106, kTtmp0 = 108, kTtmp7 = 115, kTtmp8 = 116, kTtmp9 = 117, kNull = 124, kM0 = 125, kExec = 126, kScalarRegisters = 128,
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

// Round to nearest even, all denormals kept: FLOAT_MODE of compiled kernels.
constexpr uint32_t kUsualFloatMode = 0xF0;
// Code is decoded once for the usual float mode, and for others when a wave needs them.
enum FloatVariant : uint8_t { kUsualMode = 0, kAnyMode = 1, kNoIeee = 2 };

enum class WaveState : uint8_t { ready, at_barrier, ended, halted };

// Why the interpreter loop was left (Wave::stop).
// `split_barrier`: a gfx12 s_barrier_wait that is not complete yet; it runs again when it is.
enum class Stop : uint8_t { none, quantum, barrier, end, fault, cancelled, split_barrier };

constexpr unsigned kNamedBarriers = 32;  // M0[4:0] selects

struct Workgroup {
  uint8_t* lds = nullptr;          // 64-byte aligned, lds_bytes long, kLdsGuard bytes behind it
  uint32_t lds_bytes = 0;
  uint32_t id[3]{};
  uint32_t waves = 0, live = 0, arrived = 0;
  uint32_t se = 0, sa = 0, wgp = 0;  // where it is said to run
  struct NamedBarrier { uint8_t signals = 0, members = 0; bool valid = false; } named[kNamedBarriers];  // gfx12
};
constexpr size_t kLdsGuard = 64;

// Strict mode (ShaderOptions::strict_waits): results of loads wait here, their destination is
// poisoned, until a wait instruction asks for them. Finds waits that are missing.
// gfx11 counts LDS and scalar loads together (lgkmcnt): both are `lds` there.
enum WaitCounter : uint8_t { kWaitVector, kWaitLds, kWaitScalar, kWaitCounters };
struct PendingLoad {
  uint32_t dst, dwords;
  uint32_t exec;        // lanes written; unused for scalar loads
  uint32_t mask;        // bits of each dword written (d16 forms write one half)
  bool scalar;          // SMEM: returns out of order
  uint8_t counter;      // WaitCounter
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
constexpr unsigned kTemps = 24;    // staging registers of the decoder, see decode.h

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
  bool gfx12;
  uint8_t vgpr_blocks;           // RSRC1.VGPRS, for HW_REG_GPR_ALLOC
  // Split barriers (gfx12): signals given in the running phase, and what s_barrier_wait clears
  uint8_t signals, barrier_complete, named_barrier, named_complete;
  uint8_t variant;               // of the decoded code, by MODE: FloatVariant
  uint32_t mode;                 // MODE hardware register (round, denorm, dx10_clamp, ieee)
  uint32_t index;                // wave within the workgroup
  uint32_t slot;                 // scratch slot
  uint32_t staged_exec;          // EXEC while a DPP instruction runs with fewer lanes
  uint32_t lanes;                // 32 or 64
  uint32_t first_lane;           // 0; 32 while the upper half of a wave64 runs
  uint32_t half_mask[2];         // lane mask results of the two halves until both have run
  uint32_t exec_operand[2];      // EXEC as an operand of the upper half
  uint32_t nan_clamps_to_zero;   // MODE.DX10_CLAMP; always on gfx12, which has no such bit
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

constexpr uint32_t kUpperHalf = sizeof(Wave);  // offset of an upper half's VGPRs from the lower's

}  // namespace usbgpu::emulator::isa
