// The SDMA packet parser: any dwords in the copy ring, and an indirect buffer they may point to.
#include "fuzz/board.h"

using namespace usbgpu::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static std::unique_ptr<Bench> bench;
  static unsigned used = 0;
  if (!bench || ++used == 256) {
    bench = std::make_unique<Bench>();
    used = 0;
    if (!bench->boot()) __builtin_trap();
  }
  Input input(bytes, size);
  const unsigned ring = input.take();
  bench->fresh_sdma_queue();
  const auto packets = input.dwords(ring ? ring : 256);
  bench->poke(data_paddr, input.dwords(1024));
  bench->submit_sdma(packets);
  bench->settle(3);
  return 0;
}
