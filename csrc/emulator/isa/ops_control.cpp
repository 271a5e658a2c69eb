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
  const uint64_t active = static_cast<uint64_t>(__builtin_popcount(exec_of(w)));
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

const Inst* branch(Wave& w, const Inst* i) { return take(w, i); }
template <bool value> const Inst* branch_scc(Wave& w, const Inst* i) { return (w.scc != 0) == value ? take(w, i) : i + 1; }
template <unsigned reg, bool zero> const Inst* branch_mask(Wave& w, const Inst* i) {
  return (w.sgpr[reg] == 0) == zero ? take(w, i) : i + 1;
}
const Inst* getpc(Wave& w, const Inst* i) { set_scalar<uint64_t>(w, i->dst, i->pc + 4); return i + 1; }
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
const Inst* setreg(Wave& w, const Inst* i) { write_field(w, i->imm, scalar<uint32_t>(w, i, i->src[0])); return i + 1; }
const Inst* setreg_imm32(Wave& w, const Inst* i) { write_field(w, i->imm, static_cast<uint32_t>(i->literal)); return i + 1; }
const Inst* round_mode(Wave& w, const Inst* i) { write_hwreg(w, 1, (w.mode & ~0xFu) | (static_cast<uint32_t>(i->imm) & 0xF)); return i + 1; }
const Inst* denorm_mode(Wave& w, const Inst* i) { write_hwreg(w, 1, (w.mode & ~0xF0u) | (static_cast<uint32_t>(i->imm) & 0xF) << 4); return i + 1; }
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
// Takes the result just written by the load before away. imm: dwords, aux bit 0: scalar, bit 1: lgkmcnt.
const Inst* pending(Wave& w, const Inst* i) {
  PendingLoads& all = *w.pending;
  if (all.count == kMaxPending) deliver(w, 0);
  PendingLoad& p = all.entries[all.count++];
  p.dst = i->dst;
  p.dwords = static_cast<uint32_t>(i->imm);
  p.exec = exec_of(w);
  p.mask = static_cast<uint32_t>(i->literal);
  p.scalar = i->aux & 1;
  p.lgkm = i->aux >> 1 & 1;
  uint32_t* from = reinterpret_cast<uint32_t*>(reinterpret_cast<char*>(&w) + p.dst);
  const unsigned count = p.scalar ? p.dwords : p.dwords * kLanes;
  __builtin_memcpy(p.data, from, 4 * count);
  for (unsigned n = 0; n < count; ++n)
    if (p.scalar || (p.exec >> (n % kLanes) & 1)) from[n] = (from[n] & ~p.mask) | (kPoison & p.mask);
  return i + 1;
}
// Oldest first until not more than `limit` of a counter are outstanding. SMEM returns in any order:
// while a scalar load is outstanding only a wait for 0 promises anything about lgkmcnt.
void wait_for(Wave& w, bool lgkm, unsigned limit) {
  PendingLoads& all = *w.pending;
  unsigned outstanding = 0;
  bool scalar = false;
  for (unsigned n = 0; n < all.count; ++n)
    if (all.entries[n].lgkm == lgkm) ++outstanding, scalar |= all.entries[n].scalar;
  if (scalar && limit) return;
  for (unsigned n = 0; n < all.count && outstanding > limit;) {
    if (all.entries[n].lgkm != lgkm) { ++n; continue; }
    deliver(w, n);
    --outstanding;
  }
}
const Inst* wait(Wave& w, const Inst* i) {
  const uint32_t imm = static_cast<uint32_t>(i->imm) & 0xFFFF;
  wait_for(w, false, imm >> 10 & 63);
  wait_for(w, true, imm >> 4 & 63);
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
    {"s_sendmsg", always<nop>},  // INTERRUPT and DEALLOC_VGPRS have no effect a wave could see
    {"s_sleep", always<yield>},
    {"s_barrier", always<barrier>}, {"s_endpgm", always<endpgm>}, {"s_trap", always<trap>}, {"s_sethalt", always<sethalt>},
    {"s_branch", always<branch>}, {"s_cbranch_scc0", always<branch_scc<false>>}, {"s_cbranch_scc1", always<branch_scc<true>>},
    {"s_cbranch_vccz", always<branch_mask<kVcc, true>>}, {"s_cbranch_vccnz", always<branch_mask<kVcc, false>>},
    {"s_cbranch_execz", always<branch_mask<kExec, true>>}, {"s_cbranch_execnz", always<branch_mask<kExec, false>>},
    {"s_getpc_b64", always<getpc>}, {"s_setpc_b64", always<setpc>}, {"s_swappc_b64", always<swappc>}, {"s_call_b64", always<call>},
    {"s_getreg_b32", always<getreg>}, {"s_setreg_b32", always<setreg>}, {"s_setreg_imm32_b32", always<setreg_imm32>},
    {"s_round_mode", always<round_mode>}, {"s_denorm_mode", always<denorm_mode>},
    {"s_sendmsg_rtn_b32", always<sendmsg_rtn32>}, {"s_sendmsg_rtn_b64", always<sendmsg_rtn64>},
};

}  // namespace

const HandlerGroup group_control{rows, sizeof rows / sizeof *rows};

}  // namespace usbgpu::emulator::isa::ISA_LEVEL
