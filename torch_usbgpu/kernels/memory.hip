// Copies and fills of raw memory, for the runtime itself. Grid-stride: the runtime launches at
// most kGroups workgroups of kThreads.
#pragma once
#include <hip/hip_runtime.h>

#include "memory_args.h"

namespace usbgpu::kernels {

constexpr uint64_t kMemoryStride = 4096ull * 256;   // workgroups at most x threads, see runtime/device.cpp

template <int WIDTH> struct Item;
template <> struct Item<1> { using Type = unsigned char; };
template <> struct Item<2> { using Type = unsigned short; };
template <> struct Item<4> { using Type = unsigned int; };
template <> struct Item<8> { using Type = uint64_t; };
template <> struct Item<16> { using Type = uint4; };

__device__ inline uint64_t memory_item() { return static_cast<uint64_t>(blockIdx.x) * 256 + threadIdx.x; }

}  // namespace usbgpu::kernels

#define USBGPU_MEMORY_COPY(SYMBOL, WIDTH)                                                              \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(usbgpu::kernels::CopyArgs args) {           \
    using Type = usbgpu::kernels::Item<WIDTH>::Type;                                                   \
    auto* to = reinterpret_cast<Type*>(args.to);                                                       \
    auto* from = reinterpret_cast<const Type*>(args.from);                                             \
    for (uint64_t i = usbgpu::kernels::memory_item(); i < args.items; i += usbgpu::kernels::kMemoryStride) \
      to[i] = from[i];                                                                                 \
  }

#define USBGPU_MEMORY_FILL(SYMBOL, WIDTH)                                                              \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(usbgpu::kernels::FillArgs args) {           \
    using Type = usbgpu::kernels::Item<WIDTH>::Type;                                                   \
    auto* to = reinterpret_cast<Type*>(args.to);                                                       \
    for (uint64_t i = usbgpu::kernels::memory_item(); i < args.items; i += usbgpu::kernels::kMemoryStride) \
      to[i] = static_cast<Type>(args.pattern);                                                         \
  }
