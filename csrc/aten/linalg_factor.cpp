// Cholesky, LU and LDL factorisations. Kernels: torch_usbgpu/kernels/linalg_factor.hip.
//
// ATen's own functions check arguments and allocate column-major outputs; these are the kernels behind
// them. A matrix beyond one workgroup is cut into block columns: factor one, solve for the rest of its
// rows, update what is right of it with the matrix product.
#include "aten/linalg.h"

#include <ATen/native/BatchLinearAlgebra.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/baddbmm.h>

namespace usbgpu::aten {
namespace linalg {

using usbgpu_family::FactorArgs;

void check_dtype(const char* op, const Tensor& tensor) {
  const at::ScalarType type = c10::toRealValueType(tensor.scalar_type());
  TORCH_CHECK_NOT_IMPLEMENTED(type == at::kFloat || type == at::kDouble, '"', op, "\" not implemented for '",
                              c10::toString(tensor.scalar_type()), "'");
}

static int64_t batch_of(const Tensor& tensor, int64_t inner) {
  int64_t batch = 1;
  for (int64_t dim = 0; dim < tensor.dim() - inner; ++dim) batch *= tensor.size(dim);
  return batch;
}

Tensor writable(const Tensor& matrices) {
  return matrices.view({batch_of(matrices, 2), matrices.size(-2), matrices.size(-1)});
}

Tensor readable(const Tensor& matrices, const Tensor& like) {
  at::DimVector sizes(like.sizes().begin(), like.sizes().end() - 2);
  sizes.append({matrices.size(-2), matrices.size(-1)});
  return matrices.resolve_neg().expand(sizes).reshape({batch_of(like, 2), matrices.size(-2), matrices.size(-1)});
}

Tensor readable_vectors(const Tensor& vectors, const Tensor& like) {
  at::DimVector sizes(like.sizes().begin(), like.sizes().end() - 2);
  sizes.push_back(vectors.size(-1));
  const Tensor flat = vectors.resolve_conj().resolve_neg().expand(sizes).reshape({batch_of(like, 2), vectors.size(-1)});
  return flat.size(1) < 2 || flat.stride(1) == 1 ? flat : flat.contiguous();
}

MatrixArg matrix_arg(const Tensor& matrices) {
  return {address(matrices), matrices.stride(1), matrices.stride(2), matrices.stride(0)};
}

uint32_t size_arg(const Tensor& matrices, int64_t dim) {
  TORCH_CHECK(matrices.size(dim) < (int64_t{1} << 31), "linalg: a dimension of ", matrices.size(dim),
              " is more than usbgpu's kernels can index");
  return static_cast<uint32_t>(matrices.size(dim));
}

Kernel* kernel_for(KernelCache& cache, uint64_t form, const char* family, const char* macro, const char* name,
                   const char* arguments, at::ScalarType type, bool staged) {
  return cache.get(key(form, type, staged), [&]() -> KernelSource {
    const std::string symbol = std::string(name) + "_" + dtype_name(type) + (staged ? "_lds" : "");
    return {family, symbol, std::string(macro) + "(" + symbol + arguments + ", " + dtype_c_type(type) + (staged ? ", true)" : ", false)")};
  });
}

Tensor empty_columns(int64_t batch, int64_t rows, int64_t columns, at::ScalarType type) {
  return empty({batch, columns, rows}, type).transpose(1, 2);
}

Tensor clone_columns(const Tensor& matrices) {
  const Tensor copy = empty_columns(matrices.size(0), matrices.size(1), matrices.size(2), matrices.scalar_type());
  copy.copy_(matrices);
  return copy;
}

namespace {

constexpr int64_t kBlock = 64;
enum class Form { cholesky, lu, ldl };

void factor(Form form, const Tensor& a, FactorArgs args) {
  static KernelCache cache;
  args.a = matrix_arg(a);
  args.rows = size_arg(a, 1), args.columns = size_arg(a, 2);
  const char* name = form == Form::cholesky ? "cholesky" : form == Form::lu ? "lu" : "ldl";
  const std::string symbol = std::string("linalg_") + name, arguments = std::string(", ") + name;
  launch(kernel_for(cache, static_cast<uint64_t>(form), "linalg_factor", "USBGPU_LINALG_FACTOR", symbol.c_str(),
                    arguments.c_str(), a.scalar_type(), matrix_fits(a.size(1), a.size(2), a.scalar_type())),
         {size_arg(a, 0), 1, 1}, kGroup, args);
}

Tensor part(const Tensor& a, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  return a.narrow(1, row, rows).narrow(2, column, columns);
}

void subtract_product(const Tensor& from, const Tensor& left, const Tensor& right) {
  from.baddbmm_(left, right, 1, -1);
}

// L L^H = a, in its lower triangle.
void cholesky(const Tensor& a, const Tensor& info) {
  const int64_t n = a.size(1), block = n <= 2 * kBlock ? n : kBlock;
  FactorArgs args{};
  args.info = address(info);
  for (int64_t k = 0; k < n; k += block) {
    const int64_t width = std::min(block, n - k), below = k + width, rest = n - below;
    const Tensor diagonal = part(a, k, width, k, width);
    args.first = static_cast<uint32_t>(k);
    factor(Form::cholesky, diagonal, args);
    if (!rest) break;
    const Tensor panel = part(a, below, rest, k, width);
    solve_triangular(diagonal.conj(), panel.transpose(1, 2), false, false);   // panel := panel L^-H
    subtract_product(part(a, below, rest, below, rest), panel, panel.mH());
  }
}

void lu(const Tensor& a, const Tensor& pivots, const Tensor& info, bool pivoting) {
  const int64_t rows = a.size(1), columns = a.size(2), steps = std::min(rows, columns);
  const int64_t block = columns <= 2 * kBlock ? steps : kBlock;
  FactorArgs args{};
  args.info = address(info), args.pivoting = pivoting;
  args.pivots_batch = pivots.stride(0);
  for (int64_t k = 0; k < steps; k += block) {
    const int64_t width = std::min(block, steps - k), right = k + width;
    args.first = static_cast<uint32_t>(k);
    args.pivots = address(pivots) + k * sizeof(int32_t);
    if (block == steps) return factor(Form::lu, a, args);
    factor(Form::lu, part(a, k, rows - k, k, width), args);
    const Tensor done = pivots.narrow(1, k, width);
    if (pivoting && k) exchange_rows(a.narrow(2, 0, k), done, k, false);
    if (right == columns) continue;
    const int64_t rest = columns - right;
    if (pivoting) exchange_rows(a.narrow(2, right, rest), done, k, false);
    const Tensor top = part(a, k, width, right, rest);
    solve_triangular(part(a, k, width, k, width), top, false, true);
    if (right < rows)
      subtract_product(part(a, right, rows - right, right, rest), part(a, right, rows - right, k, width), top);
  }
}

void cholesky_kernel(const Tensor& input, const Tensor& info, bool upper) {
  check_dtype("cholesky_cpu", input);
  if (input.numel() == 0) {
    info.zero_();
    return;
  }
  const Tensor a = writable(input);
  cholesky(upper ? a.transpose(1, 2) : a, info);
}

void lu_factor_kernel(const Tensor& input, const Tensor& pivots, const Tensor& info, bool compute_pivots) {
  check_dtype("lu_factor", input);
  if (input.numel() == 0) {
    info.zero_();
    return;
  }
  const Tensor a = writable(input);
  lu(a, pivots.view({a.size(0), pivots.size(-1)}), info, compute_pivots);
}

void ldl_factor_kernel(const Tensor& matrices, const Tensor& pivots, const Tensor& info, bool upper, bool hermitian) {
  check_dtype("ldl_factor_kernel_cpu", matrices);
  TORCH_INTERNAL_ASSERT(!upper, "ATen asks for lower triangles only");
  if (matrices.numel() == 0) {
    info.zero_();
    return;
  }
  FactorArgs args{};
  args.pivots = address(pivots), args.pivots_batch = pivots.size(-1);
  args.info = address(info), args.hermitian = hermitian;
  factor(Form::ldl, writable(matrices), args);
}

}  // namespace
}  // namespace linalg
}  // namespace usbgpu::aten

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(cholesky_stub, &usbgpu::aten::linalg::cholesky_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(lu_factor_stub, &usbgpu::aten::linalg::lu_factor_kernel)
REGISTER_PRIVATEUSE1_DISPATCH(ldl_factor_stub, &usbgpu::aten::linalg::ldl_factor_kernel)
}  // namespace at::native
