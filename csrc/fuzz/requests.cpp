// The adapter's request parser: any sequence of transfers to a dock with a GPU (or a bare endpoint) in it.
#include "emulator/adapter/dock.h"
#include "fuzz/target.h"

using namespace usbgpu::emulator;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  usbgpu::fuzz::Input input(bytes, size);
  const uint8_t options = input.take();
  DockOptions dock_options;
  dock_options.firmware = "custom";
  dock_options.usb = options & 1 ? "high" : "super";
  Dock dock(Gpu::create({.chip = "navi31", .vram_bytes = 64 << 20, .threads = 1}), dock_options);
  const Patience patience{.timeout_ms = 1, .poll = {}};
  while (!input.empty()) {
    const uint8_t kind = input.take();
    const auto setup = [&] { return Setup{input.take(), input.take(), input.take<uint16_t>(), input.take<uint16_t>(), 0}; };
    switch (kind & 7) {
      case 0: case 1: case 2: {
        Setup s = setup();
        const auto data = input.bytes(kind >> 3);
        s.length = static_cast<uint16_t>(data.size());
        s.request_type &= 0x7F;
        dock.control_out(s, data, patience);
        break;
      }
      case 3: case 4: {
        Setup s = setup();
        std::vector<uint8_t> into((kind >> 3) * 33u);
        s.length = static_cast<uint16_t>(into.size());
        s.request_type |= 0x80;
        dock.control_in(s, into, patience);
        break;
      }
      case 5: {
        const uint8_t endpoint = input.take();
        std::vector<uint8_t> data(input.take<uint16_t>() & 0x1FFF);
        const auto some = input.bytes(std::min<size_t>(data.size(), kind));
        std::copy(some.begin(), some.end(), data.begin());
        dock.bulk_out(endpoint & 0x80 ? 2 : endpoint, data, patience);
        break;
      }
      case 6: {
        const uint8_t endpoint = input.take();
        std::vector<uint8_t> into(input.take<uint16_t>() & 0x1FFF);
        dock.bulk_in(endpoint & 0x40 ? 0x81 : endpoint | 0x80, into, patience);
        break;
      }
      default:
        dock.set_alternate(kind >> 3 & 3);
        if (kind == 0xFF) dock.unplug();
        if (kind == 0xF7) dock.replug();
    }
  }
  return 0;
}
