#include "emulator/ip/smu.h"

#include <algorithm>
#include <span>
#include <utility>

namespace usbgpu::emulator {

namespace {
namespace msg = facts::smu_msg::v13_0_x;
namespace result = facts::smu_result;

// MHz by level, slowest first; order GFXCLK, SOCCLK, UCLK, FCLK (plausible for the chip, not measured).
constexpr uint32_t gfxclk[] = {500, 2500}, socclk[] = {417, 800, 1200}, uclk[] = {96, 456, 772, 1249}, fclk[] = {506, 1010, 1531, 2000};
constexpr std::span<const uint32_t> levels[] = {gfxclk, socclk, uclk, fclk};
constexpr uint32_t driver_interface = 0x40;
}  // namespace

Smu::Smu(Board& board, std::function<void()> mode1_reset) : board_(board), mode1_reset_(std::move(mode1_reset)) {
  // Writing the message register sends; the response register was cleared by the sender before.
  // A dead SMU leaves it at zero: busy for ever.
  board_.regs.on_write(Reg::MP1_SMN_C2PMSG_66, [this](uint32_t message) {
    board_.regs.set(Reg::MP1_SMN_C2PMSG_66, message);
    if (!alive()) return;
    uint32_t argument = board_.regs.get(Reg::MP1_SMN_C2PMSG_82);
    const uint32_t response = handle(message, argument);
    board_.regs.set(Reg::MP1_SMN_C2PMSG_82, argument);
    board_.regs.set(Reg::MP1_SMN_C2PMSG_90, response);
  });
  board_.regs.on_write(Reg::MP1_SMN_C2PMSG_75, [this](uint32_t message) {  // debug mailbox
    board_.regs.set(Reg::MP1_SMN_C2PMSG_75, message);
    if (!alive()) return;
    const bool reset = message == facts::smu_debug_msg::Mode1Reset;
    if (reset) mode1_reset_();
    answer_survives_ = reset;
    board_.regs.set(Reg::MP1_SMN_C2PMSG_54, reset ? result::OK : result::UnknownCmd);
  });
}

void Smu::power_on() {
  version_ = 0;
  table_ = 0;
  features_ = false;
  clocks_ = {};
  if (std::exchange(answer_survives_, false)) board_.regs.set(Reg::MP1_SMN_C2PMSG_54, result::OK);
}

void Smu::start(uint32_t version) {
  power_on();
  version_ = version ? version : 1;
}

uint32_t Smu::current_mhz(uint32_t clock) const {
  const auto& list = levels[clock];
  return std::clamp(std::max(list.front(), clocks_[clock].minimum), list.front(), std::max(list.front(), std::min(list.back(), clocks_[clock].maximum)));
}

uint32_t Smu::handle(uint32_t message, uint32_t& argument) {
  const uint32_t clock = argument >> 16, low = argument & 0xFFFF;
  auto of_clock = [&](auto&& action) -> uint32_t {
    if (clock >= std::size(levels)) return result::Failed;
    return action();
  };
  switch (message) {
    case msg::TestMessage: argument++; return result::OK;
    case msg::GetSmuVersion: argument = version_; return result::OK;
    case msg::GetDriverIfVersion: argument = driver_interface; return result::OK;
    case msg::SetDriverDramAddrHigh: table_ = (table_ & 0xFFFFFFFF) | uint64_t{argument} << 32; return result::OK;
    case msg::SetDriverDramAddrLow: table_ = (table_ >> 32 << 32) | argument; return result::OK;
    case msg::SetAllowedFeaturesMaskLow:
    case msg::SetAllowedFeaturesMaskHigh:
    case msg::SetWorkloadMask:
    case msg::DisallowGfxOff: return result::OK;
    case msg::AllowGfxOff: return result::CmdRejectedPrereq;  // no RLC handshake was set up
    case msg::EnableAllSmuFeatures: features_ = true; return result::OK;
    case msg::DisableAllSmuFeatures: features_ = false; return result::OK;
    case msg::GetRunningSmuFeaturesLow:
    case msg::GetRunningSmuFeaturesHigh: argument = features_ ? 0xFFFFFFFF : 0; return result::OK;
    case msg::GetDpmFreqByIndex:
      return of_clock([&]() -> uint32_t {
        const auto& list = levels[clock];
        if (low == 0xFF) argument = static_cast<uint32_t>(list.size()) | (clock == facts::smu_clk::GFXCLK ? 1u << 31 : 0);  // bit 31: finely tunable
        else if (low < list.size()) argument = list[low];
        else return result::Failed;
        return result::OK;
      });
    case msg::GetMinDpmFreq: return of_clock([&]() -> uint32_t { argument = levels[clock].front(); return result::OK; });
    case msg::GetMaxDpmFreq: return of_clock([&]() -> uint32_t { argument = levels[clock].back(); return result::OK; });
    case msg::SetSoftMinByFreq:
    case msg::SetHardMinByFreq:
    case msg::SetSoftMaxByFreq:
    case msg::SetHardMaxByFreq:
      if (!features_) return result::CmdRejectedPrereq;
      return of_clock([&]() -> uint32_t {
        const bool minimum = message == msg::SetSoftMinByFreq || message == msg::SetHardMinByFreq;
        (minimum ? clocks_[clock].minimum : clocks_[clock].maximum) = low;
        return result::OK;
      });
    case msg::SetPptLimit: return result::OK;
    case msg::GetPptLimit: argument = 339; return result::OK;
    case msg::TransferTableSmu2Dram: return transfer_table(argument) ? result::OK : result::Failed;
    case msg::PrepareMp1ForUnload: version_ = 0; return result::OK;
    case msg::Mode1Reset: mode1_reset_(); return result::OK;
    default: return result::UnknownCmd;
  }
}

// The table begins with the current clock of each domain; the rest of its layout belongs to the
// driver interface version and reads as zero here.
bool Smu::transfer_table(uint32_t table) {
  constexpr uint32_t table_bytes = 256;
  if (table != facts::smu_table::v13_0_x::SMU_METRICS || !board_.in_frame_buffer(table_) || !board_.in_frame_buffer(table_ + table_bytes))
    return false;
  const uint64_t at = table_ - Board::fb_base;
  for (uint32_t i = 0; i < table_bytes; i += 4) board_.vram.write32(at + i, i / 4 < 4 ? current_mhz(i / 4) : 0);
  return true;
}

}  // namespace usbgpu::emulator
