// The PM4 parser: any dwords in the compute ring, and an indirect buffer and kernel they may point to.
#include "fuzz/board.h"

using namespace usbgpu::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  // one board for many inputs: booting costs more than running. Renewed, so that state cannot pile up.
  static std::unique_ptr<Bench> bench;
  static unsigned used = 0;
  if (!bench || ++used == 256) {
    bench = std::make_unique<Bench>();
    used = 0;
    if (!bench->boot()) __builtin_trap();
  }
  Input input(bytes, size);
  const unsigned ring = input.take();
  bench->fresh_compute_queue();
  const auto packets = input.dwords(ring ? ring : 256);
  bench->poke(data_paddr, input.dwords(1024));  // what an INDIRECT_BUFFER or a dispatch at VA vram + data finds
  bench->submit(packets);
  bench->settle(3);
  return 0;
}
