#include "emulator/ip/interrupts.h"

namespace usbgpu::emulator {

// Faults and interrupts of the engines land in ring 0; ring 1 takes nothing unless the client
// routing registers say so, which no user of this board programs (bringup sheet, section 8).
InterruptRing::InterruptRing(Board& board) : board_(board) {
  RegisterFile& regs = board_.regs;
  for (Reg reg : {Reg::IH_RB_WPTR, Reg::IH_RB_WPTR_RING1})
    regs.on_write(reg, [this, reg](uint32_t value) { board_.regs.set(reg, value & 0x3FFFD); });
  regs.on_write(Reg::IH_RB_CNTL, [this](uint32_t value) {
    RegisterFile& regs = board_.regs;
    const bool was = regs.get(Field::IH_RB_CNTL__wptr_overflow_clear);
    regs.set(Reg::IH_RB_CNTL, value);
    if (!was && regs.get(Field::IH_RB_CNTL__wptr_overflow_clear)) {
      regs.set(Field::IH_RB_WPTR__rb_overflow, 0);
      regs.set(Field::IH_RB_STATUS__rb_overflow, 0);
    }
  });
}

void InterruptRing::post(const Interrupt& interrupt) {
  std::lock_guard guard(board_.lock);
  RegisterFile& regs = board_.regs;
  if (!regs.get(Field::IH_RB_CNTL__rb_enable)) return;
  // base and write-back page are memory-controller addresses (mc_space 4)
  const uint64_t base = uint64_t{regs.get(Field::IH_RB_BASE_HI__addr)} << 40 | uint64_t{regs.get(Reg::IH_RB_BASE)} << 8;
  const uint64_t bytes = uint64_t{4} << regs.get(Field::IH_RB_CNTL__rb_size);
  constexpr uint32_t entry_bytes = layout::ih_ring_entry::total_bytes;
  if (!board_.in_frame_buffer(base) || !board_.in_frame_buffer(base + bytes - 1)) return;
  const uint64_t ring = base - Board::fb_base;
  const uint32_t mask = static_cast<uint32_t>(bytes - 1);
  const uint32_t wptr = regs.get(Reg::IH_RB_WPTR) & 0x3FFFC & mask, rptr = regs.get(Reg::IH_RB_RPTR) & mask;
  const uint32_t next = (wptr + entry_bytes) & mask;
  if (next == (rptr & ~(entry_bytes - 1))) {
    // The ring is full. With overflow enabled the block goes on and says so, else entries drop.
    if (!regs.get(Field::IH_RB_CNTL__wptr_overflow_enable)) {
      regs.set(Field::IH_RB_STATUS__rb_full, 1);
      return;
    }
    regs.set(Field::IH_RB_WPTR__rb_overflow, 1);
    regs.set(Field::IH_RB_STATUS__rb_overflow, 1);
  }
  const uint64_t time = board_.clock();
  const uint32_t words[8] = {uint32_t{interrupt.client} | uint32_t{interrupt.source} << 8 | uint32_t{interrupt.ring} << 16,
                             static_cast<uint32_t>(time),
                             static_cast<uint32_t>(time >> 32) & 0xFFFF,
                             0,
                             interrupt.context[0],
                             interrupt.context[1],
                             interrupt.context[2],
                             interrupt.context[3]};
  for (unsigned i = 0; i < 8; i++) board_.vram.write32(ring + wptr + 4 * i, words[i]);
  const uint32_t flags = regs.get(Reg::IH_RB_WPTR) & 1;
  regs.set(Reg::IH_RB_WPTR, next | flags);
  if (regs.get(Field::IH_RB_CNTL__wptr_writeback_enable)) {
    const uint64_t at = regs.get64(Reg::IH_RB_WPTR_ADDR_LO, Reg::IH_RB_WPTR_ADDR_HI);
    if (board_.in_frame_buffer(at)) board_.vram.write32(at - Board::fb_base, next | flags);
  }
  board_.wake.notify();
}

}  // namespace usbgpu::emulator
