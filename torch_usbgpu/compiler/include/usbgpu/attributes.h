// CUDA's function and variable attributes, as clang spells them in HIP mode.
#pragma once

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __host__ __attribute__((host))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#ifndef __restrict__
#define __restrict__ __restrict
#endif

// Without bounds the compiler assumes groups of up to 1024 threads and rations registers to suit.
// CUDA's second argument counts blocks per multiprocessor and HIP's waves per SIMD; both are
// hints, and a wrong one costs spills, so only the first counts here.
#define USBGPU_LAUNCH_BOUNDS_1(n) __attribute__((amdgpu_flat_work_group_size(1, n)))
#define USBGPU_LAUNCH_BOUNDS_2(n, blocks) USBGPU_LAUNCH_BOUNDS_1(n)
#define USBGPU_LAUNCH_BOUNDS_3(n, blocks, cluster) USBGPU_LAUNCH_BOUNDS_1(n)
#define USBGPU_LAUNCH_BOUNDS_PICK(a, b, c, name, ...) name
#define __launch_bounds__(...)                                                                      \
  USBGPU_LAUNCH_BOUNDS_PICK(__VA_ARGS__, USBGPU_LAUNCH_BOUNDS_3, USBGPU_LAUNCH_BOUNDS_2,            \
                            USBGPU_LAUNCH_BOUNDS_1, )(__VA_ARGS__)
// For kernels that run with exactly n threads, which is what our own do.
#define USBGPU_BLOCK(n) __attribute__((amdgpu_flat_work_group_size(n, n)))

// A function of the headers: everything is inlined, because a call needs scratch memory.
#define USBGPU_FN static __device__ __forceinline__
