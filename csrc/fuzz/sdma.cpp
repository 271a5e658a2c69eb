// The SDMA packet parser: any dwords in the copy ring, and an indirect buffer they may point to.
#include "fuzz/board.h"

using namespace usbgpu::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  Input input(bytes, size);
  const uint8_t options = input.take();  // generation and length of what goes into the ring
  Bench& bench = running_bench(options & 0x80);
  const unsigned ring = options & 0x7F;
  bench.fresh_sdma_queue();
  const auto packets = input.dwords(ring ? ring : 256);
  bench.poke(data_paddr, input.dwords(1024));  // what an INDIRECT packet at VA vram + data finds
  bench.submit_sdma(packets);
  bench.settle(3);
  return 0;
}
