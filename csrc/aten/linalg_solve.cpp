// Solving with triangular and factored matrices, inverses of Cholesky factors. Kernels:
// torch_usbgpu/kernels/linalg_solve.hip.
#include "aten/linalg.h"

#include <ATen/TensorIterator.h>
#include <ATen/native/BatchLinearAlgebra.h>
#include <ATen/native/LinearAlgebraUtils.h>
#include <ATen/ops/_cholesky_solve_helper_ops.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/eye.h>
#include <torch/library.h>

#include "aten/backend/complex.h"

namespace usbgpu::aten {
namespace linalg {
namespace {

using usbgpu_family::FactorArgs;
using usbgpu_family::SolveArgs;

constexpr int64_t kSolveBlock = 256;

runtime::Dim3 column_grid(const Tensor& b) { return {ceil_div(b.size(2), kWaves), size_arg(b, 0), 1}; }

void solve_block(const Tensor& a, const Tensor& b, bool upper, bool unit) {
  static KernelCache cache;
  SolveArgs args{};
  args.a = matrix_arg(a), args.b = matrix_arg(b);
  args.n = size_arg(b, 1), args.columns = size_arg(b, 2);
  args.upper = upper, args.unit = unit, args.conjugate = a.is_conj();
  launch(kernel_for(cache, 0, "linalg_solve", "USBGPU_LINALG_SOLVE", "linalg_triangular", ", triangular", b.scalar_type(),
                    column_fits(b.size(1), b.scalar_type())),
         column_grid(b), kGroup, args);
}

}  // namespace

void solve_triangular(const Tensor& a, const Tensor& b, bool upper, bool unit) {
  const int64_t n = b.size(1);
  if (column_fits(n, b.scalar_type())) return solve_block(a, b, upper, unit);
  const int64_t blocks = (n + kSolveBlock - 1) / kSolveBlock;
  for (int64_t step = 0; step < blocks; ++step) {
    const int64_t k = (upper ? blocks - 1 - step : step) * kSolveBlock, width = std::min(kSolveBlock, n - k);
    const Tensor solved = b.narrow(1, k, width), columns = a.narrow(2, k, width);
    solve_block(columns.narrow(1, k, width), solved, upper, unit);
    const int64_t first = upper ? 0 : k + width, rest = upper ? k : n - first;
    if (rest) b.narrow(1, first, rest).baddbmm_(columns.narrow(1, first, rest), solved, 1, -1);
  }
}

void exchange_rows(const Tensor& b, const Tensor& pivots, int64_t first, bool backward) {
  static KernelCache cache;
  SolveArgs args{};
  args.b = matrix_arg(b);
  args.pivots = address(pivots), args.pivots_batch = pivots.stride(0);
  args.n = size_arg(pivots, 1), args.columns = size_arg(b, 2), args.rows = size_arg(b, 1);
  args.first = static_cast<uint32_t>(first), args.backward = backward;
  const at::ScalarType type = b.scalar_type();
  Kernel* kernel = cache.get(key(type), [&]() -> KernelSource {
    const std::string symbol = std::string("linalg_exchange_") + dtype_name(type);
    return {"linalg_solve", symbol, "USBGPU_LINALG_SOLVE(" + symbol + ", exchange_rows, " + dtype_c_type(type) + ")"};
  });
  launch(kernel, {ceil_div(b.size(2), kLinalgThreads), size_arg(b, 0), 1}, kGroup, args);
}

void check_diagonal(const Tensor& a, const Tensor& info) {
  static KernelCache cache;
  FactorArgs args{};
  args.a = matrix_arg(a);
  args.rows = args.columns = static_cast<uint32_t>(std::min(size_arg(a, 1), size_arg(a, 2)));
  args.info = address(info);
  const at::ScalarType type = a.scalar_type();
  Kernel* kernel = cache.get(key(type), [&]() -> KernelSource {
    const std::string symbol = std::string("linalg_check_diagonal_") + dtype_name(type);
    return {"linalg_solve", symbol, "USBGPU_LINALG_CHECK(" + symbol + ", " + dtype_c_type(type) + ")"};
  });
  launch(kernel, {size_arg(a, 0), 1, 1}, kGroup, args);
}

namespace {

using at::native::TransposeType;

// The memory itself, whatever it stands for.
Tensor bare(const Tensor& x) {
  const Tensor plain = x.is_neg() ? x._neg_view() : x;
  return plain.is_conj() ? plain.conj() : plain;
}

void triangular_solve_kernel(const Tensor& a_, const Tensor& b_, bool left, bool upper, TransposeType transpose,
                             bool unitriangular) {
  check_dtype("triangular_solve_cpu", b_);
  if (b_.numel() == 0) return;
  // LAPACK's contract: the memory is column-major whatever the strides say, and the flags speak of that.
  // Lazy conjugation has become a flag, too.
  Tensor b = writable(bare(b_)), a = bare(a_);
  a = readable(a.stride(-2) == 1 ? a : a.mT(), b_);
  if (transpose == TransposeType::ConjTranspose) a = a.conj();
  const bool turn = (transpose != TransposeType::NoTranspose) == left;
  if (turn) a = a.transpose(1, 2), upper = !upper;
  if (!left) b = b.transpose(1, 2);
  solve_triangular(a, b, upper, unitriangular);
}

void lu_solve_kernel(const Tensor& lu_, const Tensor& pivots_, const Tensor& b_, TransposeType transpose) {
  check_dtype("linalg.lu_solve_cpu", b_);
  if (b_.numel() == 0) return;
  const Tensor b = writable(b_), lu = readable(lu_, b_), pivots = readable_vectors(pivots_, b_);
  if (transpose == TransposeType::NoTranspose) {
    exchange_rows(b, pivots, 0, false);
    solve_triangular(lu, b, false, true);
    solve_triangular(lu, b, true, false);
  } else {
    const Tensor turned = transpose == TransposeType::ConjTranspose ? lu.mH() : lu.transpose(1, 2);
    solve_triangular(turned, b, false, false);
    solve_triangular(turned, b, true, true);
    exchange_rows(b, pivots, 0, true);
  }
}

void ldl_solve_kernel(const Tensor& ld_, const Tensor& pivots_, const Tensor& b_, bool upper, bool hermitian) {
  static KernelCache cache;
  check_dtype("ldl_solve_kernel_cpu", b_);
  TORCH_INTERNAL_ASSERT(!upper, "ATen asks for lower triangles only");
  if (b_.numel() == 0) return;
  const Tensor b = writable(b_), ld = readable(ld_, b_).resolve_conj(), pivots = readable_vectors(pivots_, b_);
  SolveArgs args{};
  args.a = matrix_arg(ld), args.b = matrix_arg(b);
  args.pivots = address(pivots), args.pivots_batch = pivots.stride(0);
  args.n = size_arg(b, 1), args.columns = size_arg(b, 2), args.hermitian = hermitian;
  launch(kernel_for(cache, 0, "linalg_solve", "USBGPU_LINALG_SOLVE", "linalg_ldl_solve", ", ldl_solve", b.scalar_type(),
                    column_fits(b.size(1), b.scalar_type())),
         column_grid(b), kGroup, args);
}

void unpack_pivots_kernel(at::TensorIterator& iter, const int64_t dim_size, const int64_t max_pivot) {
  static KernelCache cache;
  if (iter.numel() == 0 || dim_size == 0) return;
  TORCH_INTERNAL_ASSERT(iter.ndim() <= 1, "ATen passes dense permutations and pivots");
  SolveArgs args{};
  args.b.data = reinterpret_cast<uint64_t>(iter.data_ptr(0)), args.pivots = reinterpret_cast<uint64_t>(iter.data_ptr(1));
  if (iter.ndim() == 1) {
    args.b.batch = iter.strides(0)[0] / static_cast<int64_t>(sizeof(int64_t));
    args.pivots_batch = iter.strides(1)[0] / static_cast<int64_t>(sizeof(int32_t));
  }
  args.b.row = 1, args.a.row = 1;
  args.n = static_cast<uint32_t>(dim_size), args.rows = static_cast<uint32_t>(max_pivot);
  args.columns = static_cast<uint32_t>(iter.numel());
  Kernel* kernel = cache.get(0, []() -> KernelSource {
    return {"linalg_solve", "linalg_unpack_pivots", "USBGPU_LINALG_PIVOTS(linalg_unpack_pivots)"};
  });
  launch(kernel, {ceil_div(args.columns, kLinalgThreads), 1, 1}, kGroup, args);
}

// (L L^H)^-1, of the factor that `result` holds
Tensor& cholesky_inverse_kernel(Tensor& result, Tensor& info, bool upper) {
  check_dtype("cholesky_inverse_out_cpu", result);
  if (result.numel() == 0) {
    info.zero_();
    return result;
  }
  const Tensor inverse = writable(result), copy = clone_columns(inverse), lower = upper ? copy.mH() : copy;
  // ATen keeps this operator's info on the CPU, and raises its errors at once.
  const Tensor found = empty({copy.size(0)}, at::kInt);
  check_diagonal(copy, found);
  info.copy_(found.view_as(info));
  inverse.copy_(at::eye(inverse.size(1), inverse.options()).expand_as(inverse));
  solve_triangular(lower, inverse, false, false);
  solve_triangular(lower.mH(), inverse, true, false);
  return result;
}

// self and a have the same batch dimensions.
Tensor cholesky_solve_helper(const Tensor& self, const Tensor& a, bool upper) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::_cholesky_solve_helper, self, a, upper);
  check_dtype("cholesky_solve_cpu", self);
  Tensor result = at::native::cloneBatchedColumnMajor(self);
  if (result.numel() == 0) return result;
  const Tensor b = writable(result), factor = readable(a, result), lower = upper ? factor.mH() : factor;
  solve_triangular(lower, b, false, false);
  solve_triangular(lower.mH(), b, true, false);
  return result;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) { m.impl("_cholesky_solve_helper", &cholesky_solve_helper); }

}  // namespace
}  // namespace linalg
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(triangular_solve_stub, &usbgpu::aten::linalg::triangular_solve_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(lu_solve_stub, &usbgpu::aten::linalg::lu_solve_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(ldl_solve_stub, &usbgpu::aten::linalg::ldl_solve_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(unpack_pivots_stub, &usbgpu::aten::linalg::unpack_pivots_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(cholesky_inverse_stub, &usbgpu::aten::linalg::cholesky_inverse_kernel)
}  // namespace at::native
