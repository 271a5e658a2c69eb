#include "emulator/ip/nbio.h"

namespace usbgpu::emulator {

namespace {
constexpr uint32_t hdp_flush_default = 0x7F000;  // byte offset; what Linux programs, and most boards power on with (inferred)
}

Nbio::Nbio(Board& board) : board_(board) {
  RegisterFile& regs = board_.regs;

  // MM_INDEX/MM_DATA: bit 31 selects VRAM, else the register space (byte addresses).
  auto target = [this] {
    const uint32_t low = board_.regs.get(Reg::BIF_BX_PF0_MM_INDEX);
    return std::pair(low >> 31, uint64_t{board_.regs.get(Reg::BIF_BX_PF0_MM_INDEX_HI)} << 31 | (low & 0x7FFFFFFC));
  };
  // one window does not lead into another, nor into itself
  const uint32_t windows[] = {regs.address(Reg::BIF_BX_PF0_MM_DATA), regs.address(Reg::BIF_BX_PF0_RSMU_DATA)};
  auto through_read = [this, windows](uint32_t address) {
    return address == windows[0] || address == windows[1] ? 0 : board_.regs.read(address);
  };
  auto through_write = [this, windows](uint32_t address, uint32_t value) {
    if (address != windows[0] && address != windows[1]) board_.regs.write(address, value);
  };
  regs.on_read(Reg::BIF_BX_PF0_MM_DATA, [this, target, through_read]() -> uint32_t {
    const auto [vram, at] = target();
    if (!vram) return through_read(static_cast<uint32_t>(at / 4));
    return board_.vram.contains(at, 4) ? board_.vram.read32(at) : 0xFFFFFFFF;
  });
  regs.on_write(Reg::BIF_BX_PF0_MM_DATA, [this, target, through_write](uint32_t value) {
    const auto [vram, at] = target();
    if (!vram) through_write(static_cast<uint32_t>(at / 4), value);
    else if (board_.vram.contains(at, 4)) board_.vram.write32(at, value), board_.wake.notify();
  });

  // RSMU_INDEX/DATA: registers anywhere, also beyond BAR5 (byte addresses).
  auto far = [this] {
    return static_cast<uint32_t>(
        (uint64_t{board_.regs.get(Reg::BIF_BX_PF0_RSMU_INDEX_HI) & 0xFF} << 32 | board_.regs.get(Reg::BIF_BX_PF0_RSMU_INDEX)) / 4);
  };
  regs.on_read(Reg::BIF_BX_PF0_RSMU_DATA, [far, through_read] { return through_read(far()); });
  regs.on_write(Reg::BIF_BX_PF0_RSMU_DATA, [far, through_write](uint32_t value) { through_write(far(), value); });

  // VRAM writes land at once here, so a flush has nothing left to do but answer.
  regs.on_write(Reg::BIF_BX_PF0_GPU_HDP_FLUSH_REQ, [this](uint32_t value) {
    board_.regs.set(Reg::BIF_BX_PF0_GPU_HDP_FLUSH_REQ, value);
    board_.regs.set(Reg::BIF_BX_PF0_GPU_HDP_FLUSH_DONE, value);
  });
  for (uint32_t at : {hdp_flush_default, hdp_flush_default + 4}) regs.on_write(at / 4, [](uint32_t, uint32_t) {});
  regs.on_write(Reg::BIF_BX_PF0_GPU_HDP_FLUSH_DONE, [](uint32_t) {});
  for (Reg read_only : {Reg::RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE, Reg::RCC_STRAP0_RCC_DEV0_EPF0_STRAP0})
    regs.on_write(read_only, [](uint32_t) {});

  // Fatal error status bits are cleared through their *_clear twins.
  regs.on_write(Reg::BIF_BX0_BIF_DOORBELL_INT_CNTL, [this](uint32_t value) {
    const uint32_t status = board_.regs.get(Reg::BIF_BX0_BIF_DOORBELL_INT_CNTL) & 7;
    board_.regs.set(Reg::BIF_BX0_BIF_DOORBELL_INT_CNTL, (value & 0xFF000000 & ~0x70007u) | (status & ~(value >> 16 & 7)));
  });
}

void Nbio::power_on() {
  RegisterFile& regs = board_.regs;
  regs.set(Reg::RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE, static_cast<uint32_t>(board_.vram.size() >> 20));
  regs.set(Reg::BIF_BX0_REMAP_HDP_MEM_FLUSH_CNTL, hdp_flush_default);
  regs.set(Reg::BIF_BX0_REMAP_HDP_REG_FLUSH_CNTL, hdp_flush_default + 4);
  regs.set(Field::RCC_DEV0_EPF2_STRAP2__strap_no_soft_reset_dev0_f2, 1);
}

std::optional<Nbio::Target> Nbio::route(uint32_t offset) {
  std::lock_guard guard(board_.lock);
  RegisterFile& regs = board_.regs;
  if (!regs.get(Field::RCC_DEV0_EPF0_RCC_DOORBELL_APER_EN__bif_doorbell_aper_en)) return std::nullopt;
  const uint32_t slot = offset / 4;  // range fields count 32-bit slots
  const uint32_t sdma_first = regs.get(Field::S2A_DOORBELL_ENTRY_2_CTRL__s2a_doorbell_port2_range_offset);
  const uint32_t sdma_slots = regs.get(Field::S2A_DOORBELL_ENTRY_2_CTRL__s2a_doorbell_port2_range_size);
  if (regs.get(Field::S2A_DOORBELL_ENTRY_2_CTRL__s2a_doorbell_port2_enable) && slot >= sdma_first && slot < sdma_first + sdma_slots)
    return Target::sdma;
  // Entry 0 is the graphics port and has no range of its own; the CP applies its own below it.
  if (!regs.get(Field::S2A_DOORBELL_ENTRY_0_CTRL__s2a_doorbell_port0_enable)) return std::nullopt;
  if (offset < (regs.get(Reg::CP_MEC_DOORBELL_RANGE_LOWER) & 0xFFC) || offset > (regs.get(Reg::CP_MEC_DOORBELL_RANGE_UPPER) & 0xFFC))
    return std::nullopt;
  return Target::mec;
}

}  // namespace usbgpu::emulator
