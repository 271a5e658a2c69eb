// Ways for a kernel to say that something is wrong.
#pragma once

namespace usbgpu {
// A store to an address that is never mapped: the wave halts with a GPU fault that names the
// kernel, this address (its low bits say the source line) and the program counter.
// __builtin_trap would leave the wave spinning for ever, for want of a trap handler.
inline constexpr unsigned long long kAssertAddress = 0x00005a5500000000ull;
USBGPU_FN void fail(unsigned line) {
  // Volatile: the compiler waits for the store, by the means of each generation, before the wave may end.
  *(volatile __attribute__((address_space(1))) unsigned*)(kAssertAddress + 4ull * line) = line;
  __builtin_amdgcn_endpgm();
}
}  // namespace usbgpu

#ifdef NDEBUG
#define assert(condition) ((void)0)
#else
#define assert(condition) ((condition) ? (void)0 : usbgpu::fail(__LINE__))
#endif
USBGPU_FN void __trap() { usbgpu::fail(0); }

extern "C" __device__ __attribute__((unavailable(
    "kernels cannot print: write the values to a buffer and print them on the host"))) int printf(const char*, ...);
