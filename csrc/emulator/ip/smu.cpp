#include "emulator/ip/smu.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace usbgpu::emulator {

namespace {
namespace msg = facts::smu_msg::v13_0_x;  // 14.0.x numbers them alike
namespace result = facts::smu_result;
constexpr uint32_t usual_intake_celsius = 25, hotspot_rise_celsius = 12;
constexpr uint32_t lowest_millivolts = 700, highest_millivolts = 1100, soc_millivolts = 900;
constexpr uint32_t fan_start_celsius = 50, fan_full_celsius = 95, fan_full_rpm = 3300;
constexpr double joules_per_unit = 1.0 / 65536;
constexpr uint8_t card_pcie_generation = 4, card_pcie_lanes = 16;  // between the GPU and the card's own switch
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
  power_.power_on(board_.clock(), board_.shaders.ticks(board_.clock()));
  if (std::exchange(answer_survives_, false)) board_.regs.set(Reg::MP1_SMN_C2PMSG_54, result::OK);
}

void Smu::start(uint32_t version) {
  power_on();
  version_ = version ? version : 1;
}

uint32_t Smu::current_mhz(uint32_t clock) const {
  // Under load as fast as it may, otherwise as slow as it may.
  const auto list = facts_.levels[clock];
  const uint32_t top = std::max(list.front(), std::min(list.back(), clocks_[clock].maximum));
  return power_.loaded() ? top : std::clamp(clocks_[clock].minimum, list.front(), top);
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
    case msg::SetPptLimit:  // bits 31:16 choose which limit; there is one
      if (!features_) return result::CmdRejectedPrereq;
      return set_power_limit(low) ? result::OK : result::Failed;
    case msg::GetPptLimit: argument = ppt_watts_; return result::OK;
    case msg::TransferTableSmu2Dram: return transfer_table(argument) ? result::OK : result::Failed;
    case msg::PrepareMp1ForUnload: version_ = 0; return result::OK;
    default:
      if (message != 0 && message == facts_.mode1_message) return mode1_reset_(), result::OK;
      return std::find(facts_.acknowledged.begin(), facts_.acknowledged.end(), message) != facts_.acknowledged.end() ? result::OK : result::UnknownCmd;
  }
}

// Messages cannot raise the limit above what the powerplay table allows them (that it is refused
// rather than cut is inferred).
bool Smu::set_power_limit(uint32_t watts) {
  if (watts == 0 || watts > board_.product.ppt_watts) return false;
  ppt_watts_ = watts;
  return true;
}

bool Smu::transfer_table(uint32_t table) {
  namespace tables = facts::smu_table::v13_0_x;  // 14.0.x numbers them alike
  const uint32_t size = table == tables::SMU_METRICS ? facts_.metrics.bytes : table == tables::COMBO_PPTABLE ? facts_.powerplay.bytes : 0;
  if (!size || !board_.in_frame_buffer(table_) || !board_.in_frame_buffer(table_ + size)) return false;
  std::vector<std::byte> bytes(size);
  if (table == tables::SMU_METRICS)
    fill_metrics(bytes);
  else
    fill_powerplay(bytes);
  board_.vram.write(table_ - Board::fb_base, bytes);
  return true;
}

void Smu::fill_metrics(std::span<std::byte> bytes) {
  using namespace facts::smu_clk;
  const MetricsFacts& at = facts_.metrics;
  const auto put = [&]<typename T>(uint32_t offset, T value) { std::memcpy(bytes.data() + offset, &value, sizeof value); };
  const auto put16 = [&](uint32_t offset, double value) { put(offset, static_cast<uint16_t>(std::lround(value))); };
  const double top = facts_.levels[GFXCLK].back();
  const uint64_t now = board_.clock();
  power_.advance(now, board_.shaders.ticks(now), current_mhz(GFXCLK) / top, board_.product.ppt_watts, ppt_watts_);

  const uint32_t graphics = static_cast<uint32_t>(std::lround(current_mhz(GFXCLK) * power_.slowed()));
  for (uint32_t clock = 0; clock < std::size(facts_.levels); clock++) put(4 * clock, clock == GFXCLK ? graphics : current_mhz(clock));
  for (uint32_t offset : {at.gfxclk_before_sleep, at.gfxclk_average, at.gfxclk_target}) put16(offset, graphics);
  for (uint32_t offset : {at.fclk_before_sleep, at.fclk_average}) put16(offset, current_mhz(FCLK));
  for (uint32_t offset : {at.memclk_before_sleep, at.memclk_average}) put16(offset, current_mhz(UCLK));
  put(at.counter, ++transfers_);
  put16(at.gfx_millivolts, lowest_millivolts + (highest_millivolts - lowest_millivolts) * graphics / top);
  put16(at.soc_millivolts, soc_millivolts);
  put16(at.gfx_activity, 100 * power_.activity());
  put16(at.memory_activity, 50 * power_.activity());
  put(at.energy, static_cast<uint32_t>(static_cast<uint64_t>(power_.joules() / joules_per_unit)));
  put16(at.socket_power, power_.watts());
  put16(at.board_power, power_.watts() * 1.1);
  for (uint32_t i = 0; i < at.temperatures; i++) put16(at.temperature + 2 * i, power_.celsius());
  put16(at.hotspot, power_.celsius() + hotspot_rise_celsius * power_.activity());
  put16(at.intake, usual_intake_celsius);
  put(at.pcie_rate, card_pcie_generation);
  put(at.pcie_width, card_pcie_lanes);
  const double fan = std::clamp((power_.celsius() - fan_start_celsius) / (fan_full_celsius - fan_start_celsius), 0.0, 1.0);
  put(at.fan_percent, static_cast<uint8_t>(std::lround(100 * fan)));
  put16(at.fan_rpm, fan_full_rpm * fan);
  put(at.ppt_throttling, static_cast<uint8_t>(power_.slowed() < 1 ? 100 : 0));
}

void Smu::fill_powerplay(std::span<std::byte> bytes) const {
  const PowerplayFacts& at = facts_.powerplay;
  const auto put = [&]<typename T>(uint32_t offset, T value) { std::memcpy(bytes.data() + offset, &value, sizeof value); };
  put(0, static_cast<uint16_t>(at.bytes));  // the VBIOS's common header: size, format 15, content
  put(2, uint8_t{15});
  put(at.start_field, static_cast<uint16_t>(at.start));
  put(at.default_watts, static_cast<uint16_t>(board_.product.ppt_watts));
  put(at.message_watts, static_cast<uint16_t>(board_.product.ppt_watts));
  put(at.features, uint32_t{1} << at.feature_bit);
  std::memcpy(bytes.data() + at.lower_percent, &at.lower, at.lower_bytes);  // little-endian: the low bytes
}

}  // namespace usbgpu::emulator
