#include "emulator/ip/smu.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace usbgpu::emulator {

namespace {
namespace msg = facts::smu_msg::v13_0_x;  // 14.0.x numbers them alike
namespace result = facts::smu_result;
constexpr uint32_t idle_celsius = 45, idle_watts = 20;
}  // namespace

Smu::Smu(Board& board, std::function<void()> mode1_reset) : board_(board), facts_(board.chip.smu), mode1_reset_(std::move(mode1_reset)) {
  // Writing the message register sends; the response register was cleared by the sender before.
  // A dead SMU leaves it at zero: busy for ever.
  board_.regs.on_write(Reg::MP1_SMN_C2PMSG_66, [this](uint32_t message) {
    board_.regs.set(Reg::MP1_SMN_C2PMSG_66, message);
    if (!alive() || hang.stands()) return;
    hang.count();
    uint32_t argument = board_.regs.get(Reg::MP1_SMN_C2PMSG_82);
    const uint32_t response = handle(message, argument);
    board_.regs.set(Reg::MP1_SMN_C2PMSG_82, argument);
    board_.regs.set(Reg::MP1_SMN_C2PMSG_90, response);
  });
  board_.regs.on_write(Reg::MP1_SMN_C2PMSG_75, [this](uint32_t message) {  // debug mailbox
    board_.regs.set(Reg::MP1_SMN_C2PMSG_75, message);
    if (!alive() || hang.stands()) return;
    hang.count();
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
  ppt_watts_ = board_.product.ppt_watts;
  transfers_ = 0;
  if (std::exchange(answer_survives_, false)) board_.regs.set(Reg::MP1_SMN_C2PMSG_54, result::OK);
}

void Smu::start(uint32_t version) {
  power_on();
  version_ = version ? version : 1;
}

uint32_t Smu::current_mhz(uint32_t clock) const {
  const auto list = facts_.levels[clock];
  return std::clamp(std::max(list.front(), clocks_[clock].minimum), list.front(), std::max(list.front(), std::min(list.back(), clocks_[clock].maximum)));
}

uint32_t Smu::handle(uint32_t message, uint32_t& argument) {
  const uint32_t clock = argument >> 16, low = argument & 0xFFFF;
  auto of_clock = [&](auto&& action) -> uint32_t {
    if (clock >= std::size(facts_.levels)) return result::Failed;
    return action();
  };
  switch (message) {
    case msg::TestMessage: argument++; return result::OK;
    case msg::GetSmuVersion: argument = version_; return result::OK;
    case msg::GetDriverIfVersion: argument = facts_.driver_interface; return result::OK;
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
        const auto list = facts_.levels[clock];
        if (low == 0xFF) argument = static_cast<uint32_t>(list.size()) | (clock == facts::smu_clk::GFXCLK ? 1u << 31 : 0);  // bit 31: finely tunable
        else if (low < list.size()) argument = list[low];
        else return result::Failed;
        return result::OK;
      });
    case msg::GetMinDpmFreq: return of_clock([&]() -> uint32_t { argument = facts_.levels[clock].front(); return result::OK; });
    case msg::GetMaxDpmFreq: return of_clock([&]() -> uint32_t { argument = facts_.levels[clock].back(); return result::OK; });
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
    case msg::SetPptLimit: ppt_watts_ = low; return result::OK;  // bits 31:16 choose which limit; there is one
    case msg::GetPptLimit: argument = ppt_watts_; return result::OK;
    case msg::TransferTableSmu2Dram: return transfer_table(argument) ? result::OK : result::Failed;
    case msg::PrepareMp1ForUnload: version_ = 0; return result::OK;
    default:
      if (message != 0 && message == facts_.mode1_message) return mode1_reset_(), result::OK;
      return std::find(facts_.acknowledged.begin(), facts_.acknowledged.end(), message) != facts_.acknowledged.end() ? result::OK : result::UnknownCmd;
  }
}

// The current clock of each domain comes first; the rest is what a board at rest would say.
bool Smu::transfer_table(uint32_t table) {
  const MetricsFacts& at = facts_.metrics;
  if (table != facts::smu_table::v13_0_x::SMU_METRICS || !board_.in_frame_buffer(table_) || !board_.in_frame_buffer(table_ + at.bytes))
    return false;
  std::vector<std::byte> bytes(at.bytes);
  const auto put = [&]<typename T>(uint32_t offset, T value) { std::memcpy(bytes.data() + offset, &value, sizeof value); };
  for (uint32_t clock = 0; clock < 4; clock++) put(4 * clock, current_mhz(clock));
  put(at.gfxclk_average, static_cast<uint16_t>(current_mhz(facts::smu_clk::GFXCLK)));
  put(at.memclk_average, static_cast<uint16_t>(current_mhz(facts::smu_clk::UCLK)));
  put(at.counter, ++transfers_);
  put(at.socket_power, static_cast<uint16_t>(idle_watts));
  for (uint32_t i = 0; i < at.temperatures; i++) put(at.temperature + 2 * i, static_cast<uint16_t>(idle_celsius));
  board_.vram.write(table_ - Board::fb_base, bytes);
  return true;
}

}  // namespace usbgpu::emulator
