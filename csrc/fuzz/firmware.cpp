// Firmware containers as the PSP sees them: boot loader components, the command ring, images of any content.
#include "fuzz/board.h"

using namespace usbgpu::fuzz;
using namespace usbgpu::emulator;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  Input input(bytes, size);
  const uint8_t options = input.take();
  // ring commands on a board whose sOS runs; boot loader commands on a fresh one
  if (options & 1) {
    Bench& bench = running_bench(options & 4);
    while (!input.empty()) {
      const auto command = input.take<uint32_t>() & 0x3F;
      const std::array<uint32_t, 4> p{input.take<uint32_t>(), input.take<uint32_t>(), input.take<uint32_t>(), input.take<uint32_t>()};
      bench.stage(input.bytes(512));
      const bool staged = options & 2;
      if (bench.ring_command(command, {staged ? static_cast<uint32_t>(sram_va) : p[0], staged ? uint32_t(sram_va >> 32) : p[1], p[2], p[3]})) continue;
      renew_bench(options & 4);  // trusted memory can be put over the ring or the tables: no answer any more
      break;
    }
    return 0;
  }
  static Bench navi31("navi31"), navi48("navi48");
  Bench& cold = options & 4 ? navi48 : navi31;
  cold.model().cold_reset();
  cold.model().set_bus_master(true);
  cold.memory_hub("MM");
  while (!input.empty()) {
    auto blob = image(input.take<uint16_t>(), 64 + (input.take() & 63) * 4);
    const unsigned changes = input.take() & 7;
    for (unsigned i = 0; i < changes; i++) {
      const size_t at = input.take<uint16_t>() % (blob.size() - 3);
      const uint32_t value = input.take<uint32_t>();
      std::memcpy(blob.data() + at, &value, 4);
    }
    cold.bootloader(input.take<uint32_t>() & 0x101F0000, blob);
  }
  return 0;
}
