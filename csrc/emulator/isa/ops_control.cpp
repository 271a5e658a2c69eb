// Control flow, waits, barriers, messages, hardware registers, and the decoder's own
// pseudo-instructions (.block, .goto, .illegal, .fetch_fault).
#include "emulator/isa/dispatch.h"
#include "emulator/isa/handler.h"
#include "emulator/isa/handlers.h"
#include "emulator/isa/host.h"
#include "emulator/isa/vm.h"

namespace usbgpu::emulator::isa::ISA_LEVEL {
namespace {

using Kind = WaveFault::Kind;
constexpr uint8_t kind(Kind k) { return static_cast<uint8_t>(k); }

const Inst* leave(Wave& w, const Inst* next, Stop why) {
  w.next = next;
  w.stop = why;
  return nullptr;
}

// What depends on the number of active lanes, for the code up to the next change of EXEC.
USBGPU_INLINE const Inst* lanes(Wave& w, const Inst* i) {
  uint64_t active = static_cast<uint64_t>(__builtin_popcount(w.sgpr[kExec]));
  if (w.lanes == 64) active += static_cast<uint64_t>(__builtin_popcount(w.sgpr[kExec + 1]));
  w.active_lanes += active * static_cast<uint32_t>(i->imm);
  w.bytes_loaded += active * i->loaded;
  w.bytes_stored += active * i->stored;
  return i + 1;
}
const Inst* lane_sums(Wave& w, const Inst* i) { return lanes(w, i); }
const Inst* access(Wave& w, const Inst* i) { count_access(w, i); return i + 1; }

// Head of a block: the quantum, and the counters of the whole block at once.
const Inst* block(Wave& w, const Inst* i) {
  if (__builtin_expect(w.budget <= 0, 0)) return leave(w, i, Stop::quantum);
  using N16 = uint16_t __attribute__((vector_size(32)));
  using N32 = uint32_t __attribute__((vector_size(64)));
  N16 n;
  N32 sum;
  __builtin_memcpy(&n, reinterpret_cast<const char*>(i) + kBlockCounts, sizeof n);
  __builtin_memcpy(&sum, w.counts, sizeof sum);
  sum += __builtin_convertvector(n, N32);
  __builtin_memcpy(w.counts, &sum, sizeof sum);
  w.budget -= n[kBlockTotal];
  return lanes(w, i);
}

const Inst* take(Wave& w, const Inst* i) {
  const Inst* target = __atomic_load_n(&i->target, __ATOMIC_ACQUIRE);
  return __builtin_expect(target != nullptr, 1) ? target : resolve(w, i, i->literal);
}
const Inst* illegal(Wave& w, const Inst* i) { return raise(w, i, kind(Kind::illegal_instruction), i->pc, static_cast<uint8_t>(Access::execute)); }
const Inst* fetch_fault(Wave& w, const Inst* i) {
  uint32_t word;
  // translate() without probe records the fault in the hub, as the instruction fetch would
  if (fetch_allowed(w, i->pc, word)) return jump(w, i->pc);  // mapped meanwhile (default page)
  return raise(w, i, kind(Kind::memory_violation), i->pc, static_cast<uint8_t>(Access::execute));
}

const Inst* observed(Wave& w, const Inst* i) { return watch(w, i); }

const Inst* nop(Wave&, const Inst* i) { return i + 1; }
const Inst* endpgm(Wave& w, const Inst* i) { return leave(w, i, Stop::end); }
const Inst* barrier(Wave& w, const Inst* i) { return leave(w, i + 1, Stop::barrier); }
// Split barriers. The number is an inline constant (imm) or comes from M0[4:0] (aux = 1). RDNA4 ISA, S_BARRIER_*:
// -1 is the workgroup's, -2 the trap handler's (signals from a program are ignored), 0 does nothing.
int32_t barrier_number(const Wave& w, const Inst* i) { return i->aux ? static_cast<int32_t>(w.sgpr[kM0] & 31) : i->imm; }
const Inst* barrier_signal(Wave& w, const Inst* i) {
  signal_barrier(w, barrier_number(w, i), i->aux ? w.sgpr[kM0] >> 16 & 127 : 0);
  return i + 1;
}
const Inst* barrier_signal_isfirst(Wave& w, const Inst* i) {
  w.scc = signal_barrier(w, barrier_number(w, i), i->aux ? w.sgpr[kM0] >> 16 & 127 : 0);
  return i + 1;
}
const Inst* barrier_wait(Wave& w, const Inst* i) {
  uint8_t* complete = i->imm == -1 ? &w.barrier_complete : &w.named_complete;
  if (i->imm == -1 ? w.group->waves == 1 : i->imm >= 0 && w.named_barrier == 0) return i + 1;  // nobody to wait for
  if (i->imm < -1) return raise(w, i, kind(Kind::illegal_instruction), i->pc, static_cast<uint8_t>(Access::execute));  // could never end
  if (!*complete) return leave(w, i, Stop::split_barrier);
  *complete = 0;
  return i + 1;
}
const Inst* barrier_state_of(Wave& w, const Inst* i) {
  set_scalar<uint32_t>(w, i->dst, barrier_state(w, barrier_number(w, i)));
  return i + 1;
}
const Inst* barrier_init(Wave& w, const Inst* i) {
  init_barrier(w, barrier_number(w, i), i->aux ? w.sgpr[kM0] >> 16 & 127 : 0);
  return i + 1;
}
const Inst* barrier_join(Wave& w, const Inst* i) {
  w.named_barrier = static_cast<uint8_t>(barrier_number(w, i) & 31);
  w.named_complete = 0;
  return i + 1;
}
const Inst* barrier_leave(Wave& w, const Inst* i) {
  w.scc = leave_barrier(w);
  return i + 1;
}
// Every wave has all 256 registers here, so a request for more or fewer always succeeds.
const Inst* alloc_vgpr(Wave& w, const Inst* i) { w.scc = 1; return i + 1; }
const Inst* yield(Wave& w, const Inst* i) { return leave(w, i + 1, Stop::quantum); }
// s_trap 2 is an abort: clang's sequence behind it would spin for ever without a trap handler, so
// the wave halts here. s_sethalt likewise (nobody could resume it).
const Inst* trap(Wave& w, const Inst* i) {
  if (i->imm == 0) return i + 1;
  return raise(w, i, kind(Kind::trap), static_cast<uint64_t>(i->imm), static_cast<uint8_t>(Access::execute));
}
const Inst* sethalt(Wave& w, const Inst* i) {
  return (i->imm & 1) ? raise(w, i, kind(Kind::trap), 0, static_cast<uint8_t>(Access::execute)) : i + 1;
}

const Inst* sendmsg(Wave& w, const Inst* i) {
  send_message(w, static_cast<unsigned>(i->imm));
  return i + 1;
}
// s_sendmsghalt
const Inst* halt(Wave& w, const Inst* i) {
  send_message(w, static_cast<unsigned>(i->imm));
  return raise(w, i, kind(Kind::trap), 0, static_cast<uint8_t>(Access::execute));
}
const Inst* setkill(Wave& w, const Inst* i) { return (i->imm & 1) ? leave(w, i, Stop::end) : i + 1; }

const Inst* branch(Wave& w, const Inst* i) { return take(w, i); }
template <bool value> const Inst* branch_scc(Wave& w, const Inst* i) { return (w.scc != 0) == value ? take(w, i) : i + 1; }
// VCC or EXEC: one dword in wave32, two in wave64
template <unsigned reg, bool zero> const Inst* branch_mask(Wave& w, const Inst* i) {
  return (w.sgpr[reg] == 0) == zero ? take(w, i) : i + 1;
}
template <unsigned reg, bool zero> const Inst* branch_mask64(Wave& w, const Inst* i) {
  return ((w.sgpr[reg] | w.sgpr[reg + 1]) == 0) == zero ? take(w, i) : i + 1;
}
template <unsigned reg, bool zero> Handler select_branch_mask(const Shape& s) { return s.wave64 ? branch_mask64<reg, zero> : branch_mask<reg, zero>; }
// s_subvector_loop_*: in wave64, a loop runs once for each half of EXEC that has lanes. RDNA ISA. src[0] = the SGPR.
const Inst* subvector_begin(Wave& w, const Inst* i) {
  const uint32_t low = w.sgpr[kExec], high = w.sgpr[kExec + 1];
  if (!low && !high) return take(w, i);
  set_scalar<uint32_t>(w, i->dst, low ? high : low);
  if (low) w.sgpr[kExec + 1] = 0;
  return i + 1;
}
const Inst* subvector_end(Wave& w, const Inst* i) {
  const uint32_t saved = scalar<uint32_t>(w, i, i->src[0]);
  if (w.sgpr[kExec + 1]) {
    w.sgpr[kExec] = saved;
  } else if (saved) {
    w.sgpr[kExec + 1] = saved;
    set_scalar<uint32_t>(w, i->dst, w.sgpr[kExec]);
    w.sgpr[kExec] = 0;
    return take(w, i);
  }
  return i + 1;
}

// gfx12 delivers a 48-bit address without sign: compilers sign-extend it. RDNA4 ISA.
constexpr uint64_t kPcMask = (uint64_t{1} << 48) - 1;
const Inst* getpc(Wave& w, const Inst* i) {
  set_scalar<uint64_t>(w, i->dst, w.gfx12 ? (i->pc + 4) & kPcMask : i->pc + 4);
  return i + 1;
}
const Inst* setpc(Wave& w, const Inst* i) { return jump(w, scalar<uint64_t>(w, i, i->src[0]) & ~uint64_t{3}); }
const Inst* swappc(Wave& w, const Inst* i) {
  const uint64_t to = scalar<uint64_t>(w, i, i->src[0]);
  set_scalar<uint64_t>(w, i->dst, i->pc + 4);
  return jump(w, to & ~uint64_t{3});
}
const Inst* call(Wave& w, const Inst* i) {
  set_scalar<uint64_t>(w, i->dst, i->pc + 4);
  return take(w, i);
}

// Hardware register access: id [5:0], offset [10:6], size-1 [15:11].
struct Field { uint32_t id, offset, mask; };
Field field_of(int32_t imm) {
  const uint32_t n = static_cast<uint32_t>(imm) & 0xFFFF;
  return {n & 63, n >> 6 & 31, static_cast<uint32_t>((uint64_t{1} << ((n >> 11) + 1)) - 1)};
}
const Inst* getreg(Wave& w, const Inst* i) {
  const Field f = field_of(i->imm);
  set_scalar<uint32_t>(w, i->dst, read_hwreg(w, f.id) >> f.offset & f.mask);
  return i + 1;
}
void write_field(Wave& w, int32_t imm, uint32_t value) {
  const Field f = field_of(imm);
  const uint32_t old = read_hwreg(w, f.id), mask = f.mask << f.offset;
  write_hwreg(w, f.id, (old & ~mask) | (value << f.offset & mask));
}
// A new MODE may need another variant of the code behind; these instructions end their block.
template <unsigned bytes, class Change> USBGPU_INLINE const Inst* with_mode(Wave& w, const Inst* i, Change change) {
  const uint8_t before = w.variant;
  change();
  return __builtin_expect(w.variant == before, 1) ? i + 1 : jump(w, i->pc + bytes);
}
const Inst* setreg(Wave& w, const Inst* i) {
  return with_mode<4>(w, i, [&] { write_field(w, i->imm, scalar<uint32_t>(w, i, i->src[0])); });
}
const Inst* setreg_imm32(Wave& w, const Inst* i) {
  return with_mode<8>(w, i, [&] { write_field(w, i->imm, static_cast<uint32_t>(i->literal)); });
}
const Inst* round_mode(Wave& w, const Inst* i) {
  return with_mode<4>(w, i, [&] { write_hwreg(w, 1, (w.mode & ~0xFu) | (static_cast<uint32_t>(i->imm) & 0xF)); });
}
const Inst* denorm_mode(Wave& w, const Inst* i) {
  return with_mode<4>(w, i, [&] { write_hwreg(w, 1, (w.mode & ~0xF0u) | (static_cast<uint32_t>(i->imm) & 0xF) << 4); });
}
const Inst* sendmsg_rtn32(Wave& w, const Inst* i) { set_scalar<uint32_t>(w, i->dst, static_cast<uint32_t>(message_result(w, static_cast<uint32_t>(i->imm)))); return i + 1; }
const Inst* sendmsg_rtn64(Wave& w, const Inst* i) { set_scalar<uint64_t>(w, i->dst, message_result(w, static_cast<uint32_t>(i->imm))); return i + 1; }

// ---- strict mode: results are delivered by waits (PendingLoads in wave.h) ---------------------
void deliver(Wave& w, unsigned index) {
  PendingLoads& all = *w.pending;
  const PendingLoad& p = all.entries[index];
  uint32_t* to = reinterpret_cast<uint32_t*>(reinterpret_cast<char*>(&w) + p.dst);
  if (p.scalar) {
    __builtin_memcpy(to, p.data, 4 * p.dwords);
  } else {
    for (unsigned n = 0; n < p.dwords * kLanes; ++n)
      if (p.exec >> (n % kLanes) & 1) to[n] = (to[n] & ~p.mask) | (p.data[n] & p.mask);
  }
  --all.count;
  __builtin_memmove(&all.entries[index], &all.entries[index + 1], (all.count - index) * sizeof(PendingLoad));
}
// Takes the result just written by the load before away. imm: dwords, aux bit 0: scalar, bits 1-2: WaitCounter.
const Inst* pending(Wave& w, const Inst* i) {
  PendingLoads& all = *w.pending;
  if (all.count == kMaxPending) deliver(w, 0);
  PendingLoad& p = all.entries[all.count++];
  p.dst = i->dst;
  p.dwords = static_cast<uint32_t>(i->imm);
  p.exec = exec_of(w);
  p.mask = static_cast<uint32_t>(i->literal);
  p.scalar = i->aux & 1;
  p.counter = static_cast<uint8_t>(i->aux >> 1 & 3);
  uint32_t* from = reinterpret_cast<uint32_t*>(reinterpret_cast<char*>(&w) + p.dst);
  const unsigned count = p.scalar ? p.dwords : p.dwords * kLanes;
  __builtin_memcpy(p.data, from, 4 * count);
  for (unsigned n = 0; n < count; ++n)
    if (p.scalar || (p.exec >> (n % kLanes) & 1)) from[n] = (from[n] & ~p.mask) | (kPoison & p.mask);
  return i + 1;
}
// Oldest first until not more than `limit` of a counter are outstanding. SMEM returns in any order:
// while a scalar load is outstanding only a wait for 0 promises anything about its counter.
void wait_for(Wave& w, uint8_t counter, unsigned limit) {
  PendingLoads& all = *w.pending;
  unsigned outstanding = 0;
  bool scalar = false;
  for (unsigned n = 0; n < all.count; ++n)
    if (all.entries[n].counter == counter) ++outstanding, scalar |= all.entries[n].scalar;
  if (scalar && limit) return;
  for (unsigned n = 0; n < all.count && outstanding > limit;) {
    if (all.entries[n].counter != counter) { ++n; continue; }
    deliver(w, n);
    --outstanding;
  }
}
// literal: the limit of each counter, a byte each (lower.cpp works it out of the mnemonic)
const Inst* wait(Wave& w, const Inst* i) {
  for (uint8_t counter = 0; counter < kWaitCounters; ++counter) wait_for(w, counter, i->literal >> (8 * counter) & 0xFF);
  return i + 1;
}

constexpr HandlerRow rows[] = {
    {".pending", always<pending>}, {".wait", always<wait>},
    {".block", always<block>}, {".goto", always<branch>}, {".illegal", always<illegal>}, {".fetch_fault", always<fetch_fault>},
    {".watch", always<observed>}, {".lanes", always<lane_sums>}, {".access", always<access>},
    // scheduling only
    {"s_nop", always<nop>}, {"s_clause", always<nop>}, {"s_delay_alu", always<nop>}, {"s_set_inst_prefetch_distance", always<nop>},
    {"s_waitcnt", always<nop>}, {"s_waitcnt_depctr", always<nop>}, {"s_waitcnt_vscnt", always<nop>}, {"s_waitcnt_vmcnt", always<nop>},
    {"s_waitcnt_expcnt", always<nop>}, {"s_waitcnt_lgkmcnt", always<nop>}, {"s_wait_idle", always<nop>}, {"s_setprio", always<nop>},
    {"s_icache_inv", always<nop>}, {"s_incperflevel", always<nop>}, {"s_decperflevel", always<nop>}, {"s_ttracedata", always<nop>},
    {"s_ttracedata_imm", always<nop>}, {"s_wakeup", always<nop>}, {"s_wait_event", always<nop>}, {"s_version", always<nop>},
    {"s_dcache_inv", always<nop>}, {"s_gl1_inv", always<nop>}, {"buffer_gl0_inv", always<nop>}, {"buffer_gl1_inv", always<nop>},
    {"s_wait_alu", always<nop>}, {"s_wait_loadcnt", always<nop>}, {"s_wait_storecnt", always<nop>}, {"s_wait_samplecnt", always<nop>},
    {"s_wait_bvhcnt", always<nop>}, {"s_wait_expcnt", always<nop>}, {"s_wait_dscnt", always<nop>}, {"s_wait_kmcnt", always<nop>},
    {"s_wait_loadcnt_dscnt", always<nop>}, {"s_wait_storecnt_dscnt", always<nop>},
    {"global_inv", always<nop>}, {"global_wb", always<nop>}, {"global_wbinv", always<nop>},
    {"s_sendmsg", always<sendmsg>},
    {"s_sendmsghalt", always<halt>}, {"s_setkill", always<setkill>},
    // STATUS.COND_DBG_USER and COND_DBG_SYS are 0: no debugger sets them
    {"s_cbranch_cdbgsys", always<nop>}, {"s_cbranch_cdbguser", always<nop>}, {"s_cbranch_cdbgsys_or_user", always<nop>},
    {"s_cbranch_cdbgsys_and_user", always<nop>},
    {"s_subvector_loop_begin", always<subvector_begin>}, {"s_subvector_loop_end", always<subvector_end>},
    {"s_barrier_signal", always<barrier_signal>}, {"s_barrier_signal_isfirst", always<barrier_signal_isfirst>},
    {"s_barrier_wait", always<barrier_wait>}, {"s_get_barrier_state", always<barrier_state_of>},
    {"s_barrier_init", always<barrier_init>}, {"s_barrier_join", always<barrier_join>}, {"s_barrier_leave", always<barrier_leave>},
    {"s_alloc_vgpr", always<alloc_vgpr>}, {"s_endpgm_saved", always<endpgm>}, {"s_endpgm_ordered_ps_done", always<endpgm>},
    {"s_sleep", always<yield>}, {"s_sleep_var", always<yield>},
    {"s_barrier", always<barrier>}, {"s_endpgm", always<endpgm>}, {"s_trap", always<trap>}, {"s_sethalt", always<sethalt>},
    {"s_branch", always<branch>}, {"s_cbranch_scc0", always<branch_scc<false>>}, {"s_cbranch_scc1", always<branch_scc<true>>},
    {"s_cbranch_vccz", select_branch_mask<kVcc, true>}, {"s_cbranch_vccnz", select_branch_mask<kVcc, false>},
    {"s_cbranch_execz", select_branch_mask<kExec, true>}, {"s_cbranch_execnz", select_branch_mask<kExec, false>},
    {"s_getpc_b64", always<getpc>}, {"s_setpc_b64", always<setpc>}, {"s_swappc_b64", always<swappc>}, {"s_call_b64", always<call>},
    {"s_getreg_b32", always<getreg>}, {"s_setreg_b32", always<setreg>}, {"s_setreg_imm32_b32", always<setreg_imm32>},
    {"s_round_mode", always<round_mode>}, {"s_denorm_mode", always<denorm_mode>},
    {"s_sendmsg_rtn_b32", always<sendmsg_rtn32>}, {"s_sendmsg_rtn_b64", always<sendmsg_rtn64>},
};

}  // namespace

const HandlerGroup group_control{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
