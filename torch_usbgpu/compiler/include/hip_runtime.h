// Device-side vocabulary of CUDA and HIP for our compiler runs (compiler/toolchain.py puts it in
// front of every source with -include, so an #include of it or of a vendor's header is harmless).
//
// wave32, CU mode, no contraction, no host code, no printf. What exists:
//
//   types.h     size_t, (u)int8..64_t, limits macros, float2/3/4, int2/3/4, uint.., dim3, vector alignments
//   index.h     threadIdx blockIdx (registers), blockDim gridDim (256 bytes of hidden kernel
//               arguments each launch: our own kernels pass sizes or use constants), warpSize
//   sync.h      __syncthreads, _or/_and/_count forms, __syncwarp, __threadfence*, usbgpu::barrier_lds()
//               (waits for LDS only: use it where threads meet through __shared__ alone)
//   lane.h      __shfl*(_sync), __ballot_sync, __any/__all, __activemask, __popc/__clz/__ffs/__brev..,
//               usbgpu::wave_reduce(v, op), wave_sum/max/min, block_reduce<threads>(v, op, identity)
//   atomics.h   atomicAdd/Sub/Min/Max/And/Or/Xor/Exch/CAS/Inc/Dec for int, unsigned, 64 bit, float, double, half, bf16
//   half.h      __half half __half2, __nv_bfloat16 __hip_bfloat16, conversions, __h* arithmetic
//   assert.h    assert, __trap: end in a typed GPU fault that names kernel and line (printf is refused)
//   math/       CUDA's float and double functions (names.h lists them): expf, exp(float), exp(double), __expf ..
//   memory.h    usbgpu::aligned_vector<T, N>, load_vector/store_vector, __ldg, non-temporal forms, bit_cast
#pragma once

#include "usbgpu/attributes.h"
#include "usbgpu/types.h"
#include "usbgpu/assert.h"
#include "usbgpu/index.h"
#include "usbgpu/sync.h"
#include "usbgpu/memory.h"
#include "usbgpu/half.h"
#include "usbgpu/lane.h"
#include "usbgpu/atomics.h"
#include "usbgpu/math/names.h"
