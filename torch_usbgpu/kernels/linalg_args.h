// Arguments of linalg_factor.hip, linalg_solve.hip, linalg_qr.hip and linalg_spectral.hip.
// Matrices come as they lie in memory, any strides (in elements): a transposed one costs no copy.
#pragma once
#include "portable.h"

namespace usbgpu_family {

inline constexpr uint32_t kLinalgThreads = 256;
// What a workgroup keeps in LDS: a matrix of so many elements (64 x 64 with its padding;
// complex128 45 x 45), or a column per wave. Larger ones are worked on in memory.
constexpr uint32_t linalg_tile(uint32_t element_bytes) { return element_bytes > 8 ? 45 * 45 : 64 * 65; }
constexpr uint32_t linalg_column(uint32_t element_bytes) { return element_bytes > 8 ? 256 : 512; }

struct MatrixArg {
  uint64_t data;
  int64_t row, column, batch;
};

// Cholesky, LU, LDL, QR: one workgroup factors the matrix of one batch element in place.
struct FactorArgs {
  MatrixArg a;
  uint64_t pivots;        // int32, 1-based; LU and LDL
  uint64_t info;          // int32 per batch element
  uint64_t tau;           // QR
  int64_t pivots_batch, tau_batch;
  uint32_t rows, columns;
  uint32_t first;         // this block's place in a larger matrix: what pivots and info count from
  uint32_t pivoting;      // LU: 0 takes the diagonal as it comes
  uint32_t hermitian;     // LDL: of complex matrices, L D L^H and not L D L^T
};

// op(A) X = B in place of B, A triangular or factored: one wave per column of B.
struct SolveArgs {
  MatrixArg a, b;
  uint64_t pivots;
  int64_t pivots_batch;
  uint32_t n, columns;    // of B
  uint32_t upper, unit;   // triangular
  uint32_t backward;      // row exchanges: undo them
  uint32_t first, rows;   // row exchanges
  uint32_t conjugate;     // triangular: of A's elements
  uint32_t hermitian;     // LDL
};

// C = Q C or Q^H C with Q = H0 H1 ... of `reflectors` columns of V: one wave per column of C.
struct ReflectArgs {
  MatrixArg v, c;
  uint64_t tau;
  int64_t tau_batch;
  uint32_t rows, columns, reflectors;
  uint32_t adjoint;
  uint32_t identity;      // C is not read: it starts as the identity
  uint32_t conjugate;     // of V and tau: Q is its conjugate
};

struct EighArgs {
  MatrixArg a;            // in: one triangle. out: the eigenvectors
  MatrixArg work, v;      // n x n each
  uint64_t rotations;     // 2 x T per pair of columns and batch element (complex: cosine and sine, phase)
  uint64_t values, info;
  int64_t values_batch, rotations_batch;
  uint32_t n, upper, vectors;
};

// A one-sided Jacobi SVD of W (rows >= columns), which is overwritten.
struct SvdArgs {
  MatrixArg w, v;         // v: columns x columns, for the rotations
  MatrixArg u_out, v_out; // sorted vectors; u_out's null columns are zero
  uint64_t lengths;       // real, `columns` per batch element: the values before they are sorted
  uint64_t values, rank, info;   // rank: int32, columns of u_out that are not null
  int64_t values_batch;
  uint32_t rows, columns, vectors;
  uint32_t conjugate_u, conjugate_v;   // of what is delivered
};

// The columns of U from rank on, out of an orthonormal Q.
struct CompleteArgs {
  MatrixArg u, q;
  uint64_t rank;
  uint32_t rows, columns;
};

}  // namespace usbgpu_family
