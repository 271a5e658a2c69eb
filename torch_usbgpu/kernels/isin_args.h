// Arguments of isin.hip: contiguous elements and test elements of one type.
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct IsinArgs {
  uint64_t elements, tests, output;
  uint64_t count;
  uint32_t test_count;
  uint32_t sorted;   // the test elements ascend (NaN last): search, else look at each
  uint32_t invert;
};

constexpr uint32_t kIsinLookAtEach = 24;   // test elements: below, sorting costs more than it saves

}  // namespace usbgpu_family
