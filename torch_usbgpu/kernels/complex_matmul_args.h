// Arguments of kernels/complex_matmul.hip; compiles as host C++ and as device code.
#pragma once

#if !defined(__HIP__)
#include <cstdint>
#endif

namespace usbgpu::kernels {

struct ComplexMatmulArgs {
  uint64_t a, b, c, d;                          // d = alpha a b + beta c; no c: address 0
  int64_t a_batch, a_m, a_k, b_batch, b_k, b_n, c_batch, c_m, c_n, d_batch, d_m, d_n;   // in elements
  double alpha[2], beta[2];                     // real, imaginary
  uint32_t m, n, k;
  uint32_t conjugate_a, conjugate_b;
  uint32_t unused;
};

constexpr int kComplexTile = 32, kComplexDepth = 16;

}  // namespace usbgpu::kernels
