// Dense linear algebra: what linalg_*.cpp share. Everything works on batches of matrices in any
// strides: a matrix from the right, transposed or upper instead of lower is a view.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "../../torch_usbgpu/kernels/linalg_args.h"
#include "aten/launch.h"

namespace usbgpu::aten::linalg {

using at::Tensor;
using usbgpu_family::kLinalgThreads;
using usbgpu_family::MatrixArg;

inline constexpr runtime::Dim3 kGroup{kLinalgThreads, 1, 1};
inline constexpr int64_t kWaves = kLinalgThreads / 32;

// "<op>_cpu" not implemented for 'Half': the error of the CPU's own kernels.
void check_dtype(const char* op, const Tensor& tensor);

// (..., rows, columns) -> (batch, rows, columns). `writable` never copies; `readable` may, and first
// broadcasts to the batch dimensions of `like`. A lazily conjugated matrix stays one.
Tensor writable(const Tensor& matrices);
Tensor readable(const Tensor& matrices, const Tensor& like);
// The same for one vector per matrix: (..., n) -> (batch, n), whose rows are dense.
Tensor readable_vectors(const Tensor& vectors, const Tensor& like);

// Of a 3-dimensional tensor.
MatrixArg matrix_arg(const Tensor& matrices);
uint32_t size_arg(const Tensor& matrices, int64_t dim);

// Does a matrix, does a column fit the LDS of a workgroup?
inline bool matrix_fits(int64_t rows, int64_t columns, at::ScalarType type) {
  return (rows | 1) * columns <= usbgpu_family::linalg_tile(static_cast<uint32_t>(c10::elementSize(type)));
}
inline bool column_fits(int64_t rows, at::ScalarType type) {
  return rows <= usbgpu_family::linalg_column(static_cast<uint32_t>(c10::elementSize(type)));
}

// symbol "<form>_f32_lds", instantiation "<macro>(symbol<arguments>, float, true)"
Kernel* kernel_for(KernelCache& cache, uint64_t form, const char* family, const char* macro, const char* name,
                   const char* arguments, at::ScalarType type, bool staged);

// A X = B in place of b; a triangular, maybe lazily conjugated. Both (batch, n, ...). Large ones are cut into blocks.
void solve_triangular(const Tensor& a, const Tensor& b, bool upper, bool unit);
// The exchanges of rows that `pivots` (batch, k; absolute, 1-based) record, from row `first` on.
void exchange_rows(const Tensor& b, const Tensor& pivots, int64_t first, bool backward);

// info (int32, one per matrix): the first zero of the diagonal, counted from 1; or 0.
void check_diagonal(const Tensor& a, const Tensor& info);

// Householder QR of (batch, rows, columns) in place; tau: (batch, min(rows, columns)), dense.
void geqrf(const Tensor& a, const Tensor& tau);
// c = Q c, Q^H c (adjoint), or the same of conj(Q); with `identity`, c starts as the identity whatever it holds.
void reflect(const Tensor& v, const Tensor& tau, const Tensor& c, bool adjoint, bool identity, bool conjugate = false);

// New memory for matrices whose columns are dense, as LAPACK lays them out.
Tensor empty_columns(int64_t batch, int64_t rows, int64_t columns, at::ScalarType type);
Tensor clone_columns(const Tensor& matrices);

}  // namespace usbgpu::aten::linalg
