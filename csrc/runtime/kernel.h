// What the runtime knows of a kernel. Interned by (family, symbol); never freed.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/runtime.h"

namespace usbgpu::runtime {

// From the 64-byte kernel descriptor, see torch_usbgpu/runtime/codeobject.py.
struct KernelCode {
  DevicePtr entry = 0;         // 256-byte aligned
  uint32_t rsrc1 = 0, rsrc2 = 0, rsrc3 = 0;
  uint32_t lds_bytes = 0;      // static
  uint32_t scratch_bytes = 0;  // per work-item
  uint32_t kernarg_bytes = 0;
  uint32_t properties = 0;
};

class Kernel {
 public:
  std::string family, symbol, instantiation;
  bool loaded = false;         // one that did not compile is tried again when it is launched again
  KernelCode code;
  uint64_t launches = 0;       // queued so far
};

}  // namespace usbgpu::runtime
