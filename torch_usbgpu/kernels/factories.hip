// Ranges and triangles, over contiguous memory.
#pragma once
#include <hip/hip_runtime.h>

#include "convert.h"
#include "factories_args.h"

namespace usbgpu::kernels {

// f64 for the floating types, as ATen's CPU kernel accumulates; exact integers else.
template <class T> struct RangeType { using Type = int64_t; };
template <> struct RangeType<float> { using Type = double; };
template <> struct RangeType<double> { using Type = double; };
template <> struct RangeType<_Float16> { using Type = double; };
template <> struct RangeType<__bf16> { using Type = double; };

template <class T> struct LinspaceType { using Type = double; };
template <> struct LinspaceType<float> { using Type = float; };
template <> struct LinspaceType<_Float16> { using Type = float; };
template <> struct LinspaceType<__bf16> { using Type = float; };

typedef uint32_t Bits128 __attribute__((ext_vector_type(4)));   // what complex128 is moved as

__device__ __forceinline__ uint64_t factory_item() { return uint64_t(blockIdx.x) * kFactoryThreads + threadIdx.x; }

template <class T>
__device__ __forceinline__ void arange(const RangeArgs& args) {
  using R = typename RangeType<T>::Type;
  const uint64_t i = factory_item();
  if (i >= args.count) return;
  reinterpret_cast<Global<T>>(args.out)[i] = convert<T>(from_bits<R>(args.start) + R(i) * from_bits<R>(args.step));
}

// From the nearer end, so that the last element is exactly `end`.
template <class T, bool powers>
__device__ __forceinline__ void linspace(const RangeArgs& args) {
  using R = typename LinspaceType<T>::Type;
  const uint64_t i = factory_item();
  if (i >= args.count) return;
  const R step = from_bits<R>(args.step);
  const R value = i < args.count / 2 ? from_bits<R>(args.start) + step * R(i)
                                     : from_bits<R>(args.end) - step * R(args.count - 1 - i);
  reinterpret_cast<Global<T>>(args.out)[i] = convert<T>(powers ? ::pow(from_bits<R>(args.base), value) : value);
}

template <class T, bool lower>
__device__ __forceinline__ void triangle(const TriangleArgs& args) {
  const uint64_t i = factory_item();
  if (i >= args.count) return;
  const int64_t column = i % args.columns, row = i / args.columns % args.rows;
  const bool keep = lower ? column - row <= args.diagonal : column - row >= args.diagonal;
  reinterpret_cast<Global<T>>(args.out)[i] = keep ? reinterpret_cast<Global<const T>>(args.in)[i] : T(0);
}

}  // namespace usbgpu::kernels

#define USBGPU_ARANGE(SYMBOL, T) \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(usbgpu::kernels::RangeArgs args) { usbgpu::kernels::arange<T>(args); }
#define USBGPU_LINSPACE(SYMBOL, T) \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(usbgpu::kernels::RangeArgs args) { usbgpu::kernels::linspace<T, false>(args); }
#define USBGPU_LOGSPACE(SYMBOL, T) \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(usbgpu::kernels::RangeArgs args) { usbgpu::kernels::linspace<T, true>(args); }
#define USBGPU_TRIANGLE(SYMBOL, T, LOWER) \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(usbgpu::kernels::TriangleArgs args) { usbgpu::kernels::triangle<T, LOWER>(args); }
