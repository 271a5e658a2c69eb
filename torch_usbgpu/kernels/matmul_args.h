// Arguments of matmul.hip: D = alpha * A @ B + beta * C, all strides in elements, any sign of
// transposition by strides alone (0 for a broadcast C).
#pragma once
#include "portable.h"

namespace usbgpu_family {

struct GemmArgs {
  uint64_t a, b, c, d;  // addresses; c == 0: no C
  int64_t a_m, a_k, a_batch;
  int64_t b_k, b_n, b_batch;
  int64_t c_m, c_n, c_batch;
  int64_t d_m, d_n, d_batch;
  uint32_t m, n, k;
  uint32_t splits, split_k;      // k is cut into so many pieces of split_k, the last one shorter; 1: not at all
  uint32_t batches;
  uint64_t partial;              // float[splits][batches][m][n], if splits > 1
  double alpha, beta;            // floating dtypes
  int64_t alpha_int, beta_int;   // integer dtypes
};

// D[row] = alpha * sum_k A[row, k] x[k] + beta * C[row]
struct GemvArgs {
  uint64_t a, x, c, d;
  int64_t a_m, a_k, x_k, c_m, d_m;
  uint32_t m, k;
  uint32_t splits, split_k;      // gemv_group only: as of GemmArgs
  uint64_t partial;              // accumulators[splits][m], if splits > 1
  double alpha, beta;
  int64_t alpha_int, beta_int;
};

}  // namespace usbgpu_family
