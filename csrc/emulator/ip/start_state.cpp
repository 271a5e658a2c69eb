// Boards that are not cold: as some other driver left them. Everything is done by the registers and
// memory that such a driver would have used, save the firmware itself, which is simply there.
#include <array>

#include "emulator/ip/gpu_internal.h"

namespace usbgpu::emulator {

namespace {

// Its own idea of where things are in VRAM and in virtual addresses.
constexpr uint64_t root = 0x300'0000, leaf_table = root + 0x3000, interrupts = 0x340'0000, psp_ring = 0x350'0000, tables = 0x358'0000;
constexpr uint64_t window = 0x1000'0000'0000, queue_ring = window + 0x20'0000;  // the ring is not mapped
constexpr uint32_t scratch_version = 0x0FD0'0017;  // of nobody's layout

}  // namespace

void GpuModel::leave(StartState state) {
  if (state == StartState::cold) return;
  Runner::Pause pause(runner_);
  std::lock_guard guard(board_.lock);
  RegisterFile& regs = board_.regs;
  const auto w = [&](Reg reg, uint64_t value) {
    if (regs.has(reg)) regs.write(regs.address(reg), static_cast<uint32_t>(value));
  };
  const auto pair = [&](Reg low, Reg high, uint64_t value) { w(low, value), w(high, value >> 32); };
  const auto update = [&](Field field, uint32_t value) {
    const Reg reg = field_registers[static_cast<size_t>(field)];
    if (regs.has(reg)) regs.write(regs.address(reg), regs.insert(field, regs.read(regs.address(reg)), value));
  };

  // memory that was in use: what is not cleared by the next driver shows
  for (uint64_t at = 0; at < std::min<uint64_t>(board_.vram.size() / 2, 64 << 20); at += 64 << 10)
    for (uint64_t i = 0; i < 64; i += 8) board_.vram.write64(at + i, 0xDEAD'BEEF'0BAD'F00Dull + at);
  // four levels of page tables with one page at the window's start
  for (uint64_t at = root; at < leaf_table + 0x1000; at += 8) board_.vram.write64(at, 0);
  for (uint64_t level = 0; level < 3; level++) board_.vram.write64(root + 0x1000 * level, (root + 0x1000 * (level + 1)) | 1);
  board_.vram.write64(leaf_table, 0x380'0000 | 0x71 | (board_.chip.pte.leaf_is_marked ? uint64_t{1} << board_.chip.pte.huge : 0));

  psp_.left_running(Board::fb_base + psp_ring);
  if (state != StartState::wedged) {
    smu_.start(board_.chip.smu.version);
    pair(Reg::MP1_SMN_C2PMSG_82, Reg::MP1_SMN_C2PMSG_90, 0);
    for (const auto& [message, argument] : {std::pair<uint32_t, uint64_t>{0xE, (Board::fb_base + tables) >> 32}, {0xF, tables}, {6, 0}}) {
      w(Reg::MP1_SMN_C2PMSG_82, argument);
      w(Reg::MP1_SMN_C2PMSG_66, message);
    }
  }
  gfx_.autoload();

  w(Reg::RCC_DEV0_EPF0_RCC_DOORBELL_APER_EN, 1);
  hub_left_running(mm_);
  hub_left_running(gc_);
  pair(Reg::IH_RB_BASE, Reg::IH_RB_BASE_HI, (Board::fb_base + interrupts) >> 8);
  w(Reg::IH_RB_CNTL, 0xC0310020);
  update(Field::IH_RB_CNTL__rb_enable, 1);
  w(Reg::IH_RB_WPTR, 0x260);
  w(Reg::IH_RB_RPTR, 0x260);

  w(Reg::GRBM_GFX_CNTL, 4);
  pair(Reg::CP_MEC_RS64_PRGRM_CNTR_START, Reg::CP_MEC_RS64_PRGRM_CNTR_START_HI, 0x1C00000000C00);
  update(Field::CP_MEC_RS64_CNTL__mec_pipe0_reset, 1);
  update(Field::CP_MEC_RS64_CNTL__mec_pipe0_reset, 0);
  update(Field::CP_MEC_RS64_CNTL__mec_pipe0_active, 1);
  update(Field::CP_MEC_RS64_CNTL__mec_halt, 0);
  w(Reg::S2A_DOORBELL_ENTRY_0_CTRL, 0x30000007);
  w(Reg::S2A_DOORBELL_ENTRY_2_CTRL, 0x3009001D);
  w(Reg::S2A_DOORBELL_ENTRY_3_CTRL, 0x3000000D);
  w(Reg::CP_MEC_DOORBELL_RANGE_UPPER, 0xF8);
  for (Field held : {Field::SDMA0_F32_CNTL__halt, Field::SDMA0_F32_CNTL__th1_reset, Field::SDMA0_F32_CNTL__reset}) update(held, 0);
  if (state == StartState::dirty) {
    // in the middle of work: a queue that will fault at its next packet, an SDMA ring switched on
    pair(Reg::CP_HQD_PQ_BASE, Reg::CP_HQD_PQ_BASE_HI, queue_ring >> 8);
    w(Reg::CP_HQD_PQ_CONTROL, 0x50A);
    w(Reg::CP_HQD_PQ_DOORBELL_CONTROL, 0x40000018);
    w(Reg::CP_HQD_PQ_RPTR, 0x1230);
    w(Reg::CP_HQD_PQ_WPTR_LO, 0x1260);
    w(Reg::CP_HQD_ACTIVE, 1);
    pair(Reg::SDMA0_QUEUE0_RB_BASE, Reg::SDMA0_QUEUE0_RB_BASE_HI, queue_ring >> 8);
    w(Reg::SDMA0_QUEUE0_DOORBELL_OFFSET, 0x800);
    w(Reg::SDMA0_QUEUE0_DOORBELL, 1 << 28);
    w(Reg::SDMA0_QUEUE0_RB_CNTL, 0x00841025);
  }
  w(Reg::GRBM_GFX_CNTL, 0);
  w(Reg::SCRATCH_REG7, scratch_version);
  w(Reg::SCRATCH_REG6, state == StartState::dirty ? 1 : 0);
}

void GpuModel::hub_left_running(Hub& hub) {
  RegisterFile& regs = board_.regs;
  const auto w = [&](const char* name, uint64_t value) { regs.write(regs.address(hub.reg(name)), static_cast<uint32_t>(value)); };
  const auto pair = [&](const std::string& name, uint64_t value) {
    w((name + "_LO32").c_str(), value);
    w((name + "_HI32").c_str(), value >> 32);
  };
  w("MC_VM_SYSTEM_APERTURE_LOW_ADDR", Board::fb_base >> 18);
  w("MC_VM_SYSTEM_APERTURE_HIGH_ADDR", (Board::fb_base + board_.vram.size() - 1) >> 18);
  w("MC_VM_MX_L1_TLB_CNTL", 0x1859);
  pair("VM_CONTEXT0_PAGE_TABLE_START_ADDR", window >> 12);
  pair("VM_CONTEXT0_PAGE_TABLE_END_ADDR", (window + (uint64_t{1} << 40) - 1) >> 12);
  pair("VM_CONTEXT0_PAGE_TABLE_BASE_ADDR", root | 1);
  uint32_t control = 1;
  control = regs.insert(hub.field("VM_CONTEXT0_CNTL__page_table_depth"), control, 3);
  control = regs.insert(hub.field("VM_CONTEXT0_CNTL__pde0_protection_fault_enable_interrupt"), control, 1);
  control = regs.insert(hub.field("VM_CONTEXT0_CNTL__valid_protection_fault_enable_interrupt"), control, 1);
  w("VM_CONTEXT0_CNTL", control);
}

}  // namespace usbgpu::emulator
