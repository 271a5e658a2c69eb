// Products of complex matrices, any strides, either factor conjugated on the way into LDS.
// A workgroup of 16 x 16 threads computes a tile of 32 x 32, two by two per thread.
#pragma once
#include <hip/hip_runtime.h>

#include "complex_matmul_args.h"
#include "convert.h"

namespace usbgpu::kernels {

template <class T>
__device__ __forceinline__ T element(uint64_t base, int64_t index) {
  return read_global<T>(base + static_cast<uint64_t>(index) * sizeof(T), 0);
}

template <class R>
__device__ __forceinline__ void complex_matmul(const ComplexMatmulArgs& args) {
  using T = Complex<R>;
  constexpr int tile = kComplexTile, depth = kComplexDepth;
  // parts apart, and one element of padding: neighbouring lanes then read neighbouring banks
  __shared__ R a_re[depth][tile + 1], a_im[depth][tile + 1], b_re[depth][tile + 1], b_im[depth][tile + 1];
  const uint32_t thread = threadIdx.x, x = thread % 16, y = thread / 16;
  const uint32_t row = blockIdx.y * tile, column = blockIdx.x * tile;
  const uint64_t a = args.a + static_cast<uint64_t>(blockIdx.z * args.a_batch) * sizeof(T);
  const uint64_t b = args.b + static_cast<uint64_t>(blockIdx.z * args.b_batch) * sizeof(T);
  const R sign_a = args.conjugate_a ? R(-1) : R(1), sign_b = args.conjugate_b ? R(-1) : R(1);
  const bool a_rows = args.a_m == 1, b_depth = args.b_k == 1 && args.b_n != 1;   // what neighbours in memory are
  R re[2][2] = {}, im[2][2] = {};
  for (uint32_t k0 = 0; k0 < args.k; k0 += depth) {
#pragma unroll
    for (int part = 0; part < tile * depth / 256; ++part) {
      const uint32_t i = thread + part * 256;
      const uint32_t am = a_rows ? i % tile : i / depth, ak = a_rows ? i / tile : i % depth;
      T value(R(0), R(0));
      if (row + am < args.m && k0 + ak < args.k) value = element<T>(a, (row + am) * args.a_m + (k0 + ak) * args.a_k);
      a_re[ak][am] = value.re, a_im[ak][am] = value.im * sign_a;
      const uint32_t bn = b_depth ? i / depth : i % tile, bk = b_depth ? i % depth : i / tile;
      value = T(R(0), R(0));
      if (column + bn < args.n && k0 + bk < args.k) value = element<T>(b, (k0 + bk) * args.b_k + (column + bn) * args.b_n);
      b_re[bk][bn] = value.re, b_im[bk][bn] = value.im * sign_b;
    }
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < depth; ++k) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const R p = a_re[k][y + 16 * i], q = a_im[k][y + 16 * i], r = b_re[k][x + 16 * j], s = b_im[k][x + 16 * j];
          re[i][j] = ::fma(p, r, ::fma(-q, s, re[i][j]));
          im[i][j] = ::fma(p, s, ::fma(q, r, im[i][j]));
        }
      }
    }
    __syncthreads();
  }
  const T alpha(R(args.alpha[0]), R(args.alpha[1])), beta(R(args.beta[0]), R(args.beta[1]));
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const uint32_t m = row + y + 16 * i, n = column + x + 16 * j;
      if (m >= args.m || n >= args.n) continue;
      T value = alpha * T(re[i][j], im[i][j]);
      if (args.c) value = value + beta * element<T>(args.c, blockIdx.z * args.c_batch + m * args.c_m + n * args.c_n);
      const int64_t at = blockIdx.z * args.d_batch + m * args.d_m + n * args.d_n;
      write_global<T>(args.d + static_cast<uint64_t>(at) * sizeof(T), 0, value);
    }
  }
}

}  // namespace usbgpu::kernels

#define USBGPU_COMPLEX_MATMUL(SYMBOL, R)                                                                        \
  extern "C" __global__ __launch_bounds__(256) void SYMBOL(usbgpu::kernels::ComplexMatmulArgs args) {           \
    usbgpu::kernels::complex_matmul<R>(args);                                                                   \
  }
