// The page-table walker: any tables, any hub registers, any address.
#include "fuzz/board.h"

using namespace usbgpu::fuzz;
using namespace usbgpu::emulator;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static Bench old_format("navi31"), new_format("navi48");
  Input input(bytes, size);
  const uint8_t options = input.take();
  Bench& bench = options & 4 ? new_format : old_format;
  const bool mm = options & 1;
  bench.memory_hub(mm ? "MM" : "GC");
  const std::string prefix = mm ? "MMVM_" : "GCVM_";
  if (options & 2)
    for (const char* reg : {"CONTEXT0_CNTL", "CONTEXT0_PAGE_TABLE_BASE_ADDR_LO32", "CONTEXT0_PAGE_TABLE_BASE_ADDR_HI32", "CONTEXT0_PAGE_TABLE_START_ADDR_LO32",
                            "CONTEXT0_PAGE_TABLE_END_ADDR_HI32", "L2_PROTECTION_FAULT_DEFAULT_ADDR_LO32", "L2_PROTECTION_FAULT_CNTL"})
      bench.write(prefix + reg, input.take<uint32_t>());
  // tables: four pages at the root, filled in 16-dword pieces
  for (unsigned pieces = input.take() & 31; pieces--;) {
    const uint64_t at = root_paddr + (input.take<uint16_t>() & 0x3FF0);
    bench.poke(at, input.dwords(16));
  }
  Hub& hub = mm ? *bench.model().board().mm : *bench.model().board().gc;
  hub.invalidate();
  while (!input.empty()) {
    const auto access = static_cast<Access>(1u << (input.take() & 3));
    const uint64_t va = input.take<uint64_t>();
    for (const uint64_t where : {va, va_base + (va & 0xFFFFFFFFFF)})
      if (const auto place = hub.translate(where, access, 8); place && place->host && place->bytes) {
        // what it gives must be memory: first and last byte
        volatile std::byte first = place->host[0], last = place->host[place->bytes - 1];
        (void)first, (void)last;
      }
  }
  return 0;
}
