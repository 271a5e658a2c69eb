// Split barriers of gfx12. RDNA4 ISA, S_BARRIER_SIGNAL, S_BARRIER_WAIT, S_GET_BARRIER_STATE. What the public text leaves
// out of named barriers (init, join, leave) is inferred: LLVM's description of the intrinsics.
#include "emulator/isa/barrier.h"

#include "emulator/isa/host.h"

namespace usbgpu::emulator::isa {
namespace {

constexpr int32_t kWorkgroupBarrier = -1;

Workgroup::NamedBarrier* named(const Wave& w, int32_t number) {
  return number > 0 && number < static_cast<int32_t>(kNamedBarriers) ? &w.group->named[number] : nullptr;
}

// Wave number n of a workgroup: a wave64 takes two Wave objects.
Wave& wave(Worker& worker, unsigned n) { return worker.waves[n * (worker.waves[0].lanes / 32)]; }

void wake(Wave& w) {
  if (w.state == WaveState::at_barrier) w.state = WaveState::ready;
}

void complete_named(const Wave& any, int32_t number) {
  Workgroup::NamedBarrier& b = *named(any, number);
  if (!b.valid || b.signals < b.members) return;
  b.signals = 0;
  for (unsigned n = 0; n < any.group->waves; ++n) {
    Wave& w = wave(*any.worker, n);
    if (w.state == WaveState::ended || w.named_barrier != number) continue;
    w.named_complete = 1;
    wake(w);
  }
}

}  // namespace

void complete_barrier(Workgroup& group, Worker& worker) {
  if (group.live == 0 || group.arrived < group.live) return;
  group.arrived = 0;
  for (unsigned n = 0; n < group.waves; ++n) {
    Wave& w = wave(worker, n);
    w.signals = 0;
    if (w.state == WaveState::ended) continue;
    w.barrier_complete = 1;
    wake(w);
  }
}

bool signal_barrier(Wave& w, int32_t number, uint32_t members) {
  Workgroup& group = *w.group;
  if (group.waves == 1) return false;  // a workgroup of one wave has no barriers
  if (number == kWorkgroupBarrier) {
    const bool first = group.arrived == 0;
    ++w.signals;
    ++group.arrived;
    complete_barrier(group, *w.worker);
    return first;
  }
  Workgroup::NamedBarrier* b = named(w, number);
  if (!b) return false;
  if (members) b->members = static_cast<uint8_t>(members), b->valid = true;
  const bool first = b->signals == 0;
  ++b->signals;
  complete_named(w, number);
  return first;
}

void init_barrier(Wave& w, int32_t number, uint32_t members) {
  if (Workgroup::NamedBarrier* b = named(w, number)) *b = {0, static_cast<uint8_t>(members), true};
}

bool leave_barrier(Wave& w) {
  const int32_t number = w.named_barrier;
  w.named_barrier = 0;
  Workgroup::NamedBarrier* b = named(w, number);
  if (!b || !b->valid) return false;
  if (b->members) --b->members;
  if (b->members && b->signals) complete_named(w, number);
  return true;
}

uint32_t barrier_state(const Wave& w, int32_t number) {
  const auto state = [](uint32_t signals, uint32_t members, bool valid) { return (signals & 127) << 16 | (members & 127) << 4 | uint32_t{valid}; };
  if (number == kWorkgroupBarrier) return state(w.group->arrived, w.group->live, w.group->waves > 1);
  const Workgroup::NamedBarrier* b = named(w, number);
  return b ? state(b->signals, b->members, b->valid) : 0;
}

}  // namespace usbgpu::emulator::isa
