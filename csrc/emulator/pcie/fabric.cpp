#include "emulator/pcie/fabric.h"

#include <algorithm>

namespace usbgpu::emulator {

namespace {
// Ids as a scan of a real dock with an RX 7900 XTX shows them.
BridgeIdentity adapter_port(pci::PortType port, uint32_t lanes) {
  return {0x1B21, 0x2461, 0x00, port, {4, 4, 3, lanes}, 0};
}
BridgeIdentity card_upstream(uint32_t lanes) {
  return {0x1002, 0x1478, 0x10, pci::PortType::upstream, {4, 16, 3, lanes}, 16 * 1024};
}
BridgeIdentity card_downstream() { return {0x1002, 0x1479, 0x10, pci::PortType::downstream, {4, 16, 4, 16}, 0}; }
}  // namespace

Fabric::Fabric(Gpu& gpu, unsigned lanes, const BarOptions& bars)
    : gpu_(gpu),
      bridges_{Bridge(adapter_port(pci::PortType::upstream, lanes)),
               Bridge(adapter_port(pci::PortType::downstream, lanes)), Bridge(card_upstream(lanes)),
               Bridge(card_downstream())},
      gpu_function_(gpu, {4, 16, 4, 16}, bars) {
  gpu_function_.on_command_change = [this] { update_upstream(); };
}

bool Fabric::route(const ConfigAddress& address, Target& target) const {
  if (!address.type1) {
    // Type 0: whatever is on the adapter's own bus. Its port answers for every device number.
    target.bridge = 0;
    return address.function == 0;
  }
  for (unsigned i = 0; i < bridges_there_; ++i) {
    const Bridge& bridge = bridges_[i];
    const unsigned secondary = bridge.secondary_bus();
    // Bus 0 behind a bridge means "not configured".
    if (!secondary || address.bus < secondary || address.bus > bridge.subordinate_bus()) return false;
    if (bridge.in_secondary_reset()) return false;
    if (address.bus != secondary) continue;
    if (address.device != 0) return false;
    if (i + 1 < bridges_there_) {
      target.bridge = static_cast<int>(i + 1);
      return address.function == 0;
    }
    target.function = static_cast<int>(address.function);
    return address.function <= 1;
  }
  return false;
}

Completion Fabric::config_read(const ConfigAddress& address, uint32_t& value) {
  value = 0xFFFFFFFFu;
  if (!link_up_) return Completion::none;
  Target target;
  if (!route(address, target)) return Completion::unsupported_request;
  if (target.function >= 0)
    return gpu_function_.config_read(static_cast<unsigned>(target.function), address.reg, value);
  value = bridges_[static_cast<unsigned>(target.bridge)].config_read(address.reg);
  return Completion::success;
}

Completion Fabric::config_write(const ConfigAddress& address, uint32_t value, unsigned byte_enables) {
  if (!link_up_) return Completion::none;
  Target target;
  if (!route(address, target)) return Completion::unsupported_request;
  if (target.function >= 0)
    return gpu_function_.config_write(static_cast<unsigned>(target.function), address.reg, value, byte_enables);
  const auto index = static_cast<unsigned>(target.bridge);
  const bool reset = bridges_[index].config_write(address.reg, value, byte_enables);
  if (reset) reset_below(index);
  update_upstream();
  return Completion::success;
}

GpuFunction::Region Fabric::find(uint64_t address) const {
  uint64_t until = UINT64_MAX;
  for (const Bridge& bridge : bridges()) {
    if (bridge.in_secondary_reset() || !bridge.forwards(address)) return {};
    until = std::min(until, bridge.forwards_until(address));
  }
  GpuFunction::Region region = gpu_function_.find(address);
  region.bytes = std::min(region.bytes, until - address);
  return region;
}

bool Fabric::claims(uint64_t address) const {
  if (!link_up_) return false;
  for (const Bridge& bridge : bridges())
    if (bridge.claims_for_itself(address)) return true;
  return find(address).aperture != GpuFunction::Aperture::none;
}

Completion Fabric::memory_read(uint64_t address, uint32_t& value) {
  value = 0xFFFFFFFFu;
  if (!link_up_) return Completion::none;
  for (const Bridge& bridge : bridges())
    if (bridge.claims_for_itself(address)) {
      value = 0;
      return Completion::success;
    }
  const GpuFunction::Region region = find(address);
  if (region.aperture == GpuFunction::Aperture::none) return Completion::unsupported_request;
  value = gpu_function_.read(region.aperture, region.offset);
  return Completion::success;
}

Completion Fabric::memory_write(uint64_t address, uint32_t value, unsigned byte_enables) {
  if (!link_up_) return Completion::none;
  for (const Bridge& bridge : bridges())
    if (bridge.claims_for_itself(address)) return Completion::success;
  const GpuFunction::Region region = find(address);
  if (region.aperture == GpuFunction::Aperture::none) return Completion::unsupported_request;
  gpu_function_.write(region.aperture, region.offset, value, byte_enables);
  return Completion::success;
}

void Fabric::reset_below(unsigned bridge) {
  for (unsigned i = bridge + 1; i < bridge_count; ++i) bridges_[i].reset();
  gpu_function_.reset();
}

void Fabric::present(std::optional<CardId> card) {
  constexpr uint16_t amd = 0x1002;
  constexpr unsigned adapter_ports = 2;
  bridges_there_ = !card || card->vendor == amd ? bridge_count : adapter_ports;
  gpu_function_.present(card);
}

void Fabric::set_link(bool up) {
  link_up_ = up;
  for (Bridge& bridge : bridges_) bridge.reset();
  gpu_function_.set_power(up);
  update_upstream();
}

void Fabric::update_upstream() {
  const bool bridges = std::ranges::all_of(this->bridges(), [](const Bridge& b) { return b.bus_master(); });
  const bool enabled = link_up_ && bridges && gpu_function_.bus_master();
  upstream_enabled_.store(enabled, std::memory_order_release);
  gpu_.set_bus_master(enabled);
}

}  // namespace usbgpu::emulator
