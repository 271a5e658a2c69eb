// PM4 packets that compute streams need rarely: atomics, conditional execution, wide waits,
// registers by other routes.
#include "emulator/cp/atomic_unit.h"
#include "emulator/cp/compare.h"
#include "emulator/cp/mec.h"
#include "emulator/ip/interrupts.h"

namespace usbgpu::emulator {

namespace {
uint64_t wide(uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; }
}  // namespace

// Kernel queues are privileged; what a user's queue may not do ends it with an interrupt.
bool Mec::privileged(const Queue& queue) {
  std::lock_guard guard(board_.lock);
  Queue& mine = const_cast<Queue&>(queue);
  return hqd(mine, Field::CP_MQD_CONTROL__priv_state) || hqd(mine, Field::CP_HQD_PQ_CONTROL__priv_state);
}

Mec::Outcome Mec::forbidden(Queue& queue, const Packet& packet, uint8_t source, const char* what) {
  board_.ih->post({.client = facts::ih_client::GRBM_CP,
                   .source = source,
                   .ring = static_cast<uint8_t>(1 << 2 | queue.index << 4),
                   .context = {(packet.opcode & 0xFF) << 10}});
  stop(queue, std::string(what) + " from a queue without privilege");
  return Outcome::stop;
}

Mec::Outcome Mec::atomic_mem(Queue& queue, const Packet& packet) {
  const auto& p = packet.body;
  uint32_t operation = p[0] & 0x7F;
  const bool loop = (p[0] >> 8 & 0xF) == 1;
  if (operation >= atomic_unit::silent_offset) operation -= atomic_unit::silent_offset;
  const bool is_wide = operation >= atomic_unit::wide_offset;
  if (is_wide) operation -= atomic_unit::wide_offset;
  if (!atomic_unit::known(operation)) return bad_opcode(queue, packet);
  const auto matched = atomic_unit::run(data_, wide(p[1], p[2]), operation, is_wide, wide(p[3], p[4]), wide(p[5], p[6]));
  if (!matched) return memory_fault(queue, "ATOMIC_MEM");
  // "loop until compare satisfied" repeats a compare-and-swap that found something else
  return loop && operation == atomic_unit::compare_swap && !*matched ? Outcome::wait : Outcome::done;
}

Mec::Outcome Mec::wait_reg_mem64(Queue& queue, const Packet& packet) {
  const auto& p = packet.body;
  const uint32_t info = p[0];
  uint64_t value;
  if ((info >> 4 & 3) == 1) {
    const auto word = data_.read64(wide(p[1], p[2]) & ~7ull);
    if (!word) return memory_fault(queue, "WAIT_REG_MEM64");
    value = *word;
  } else {
    value = wide(board_.reg_read(p[1] & 0x3FFFF), board_.reg_read((p[1] & 0x3FFFF) + 1));
  }
  return compare<uint64_t>(info & 7, value & wide(p[5], p[6]), wide(p[3], p[4])) ? Outcome::done : Outcome::wait;
}

// The dwords after the packet are skipped when the word in memory is zero.
Mec::Outcome Mec::cond_exec(Queue& queue, const Packet& packet) {
  const auto word = data_.read32(wide(packet.body[0], packet.body[1]) & ~3ull);
  if (!word) return memory_fault(queue, "COND_EXEC");
  if (*word == 0) queue.skip = packet.body[3] & 0x3FFF;
  return Outcome::done;
}

// One device here: it is device 0.
Mec::Outcome Mec::pred_exec(Queue& queue, const Packet& packet) {
  if (!(packet.body[0] >> 24 & 1)) queue.skip = packet.body[0] & 0x3FFF;
  return Outcome::done;
}

Mec::Outcome Mec::reg_rmw(Queue& queue, const Packet& packet) {
  if (!privileged(queue)) return forbidden(queue, packet, facts::ih_source_gfx11::CP_PRIV_REG_FAULT, "REG_RMW");
  std::lock_guard guard(board_.lock);
  const uint32_t address = packet.body[0] & 0x3FFFF;
  board_.regs.write(address, (board_.regs.read(address) & packet.body[1]) | packet.body[2]);
  return Outcome::done;
}

// Address spaces by PASID do not exist here: what belongs to VMID 0 is dropped.
Mec::Outcome Mec::invalidate_tlbs(Queue& queue, const Packet& packet) {
  if (!privileged(queue)) return forbidden(queue, packet, facts::ih_source_gfx11::CP_PRIV_INSTR_FAULT, "INVALIDATE_TLBS");
  board_.gc->invalidate();
  if (packet.body[0] >> 4 & 1) board_.mm->invalidate();  // all_hub
  return Outcome::done;
}

Mec::Outcome Mec::dispatch_indirect(Queue& queue, const Packet& packet) {
  uint32_t words[4] = {0, 0, 0, packet.body[2]};
  if (!data_.fetch(wide(packet.body[0], packet.body[1]) & ~3ull, std::span(words, 3))) return memory_fault(queue, "DISPATCH_INDIRECT");
  Packet direct = packet;
  direct.body = words;
  return dispatch(queue, direct);
}

}  // namespace usbgpu::emulator
