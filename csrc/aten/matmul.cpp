// Matrix products: mm, addmm, bmm, baddbmm, addmv, dot. Kernels: torch_usbgpu/kernels/matmul.hip.
//
// Any pattern of strides goes to the kernels as it is: a transposed operand costs no copy.
#include <ATen/ops/addmm_meta.h>
#include <ATen/ops/addmm_ops.h>
#include <ATen/ops/addmv_meta.h>
#include <ATen/ops/addmv_ops.h>
#include <ATen/ops/baddbmm_meta.h>
#include <ATen/ops/baddbmm_ops.h>
#include <ATen/ops/bmm_meta.h>
#include <ATen/ops/bmm_ops.h>
#include <ATen/ops/dot_ops.h>
#include <ATen/ops/mm_meta.h>
#include <ATen/ops/mm_ops.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/matmul_args.h"
#include "aten/backend/complex.h"
#include "aten/complex_matmul.h"
#include "aten/launch.h"
#include "aten/structured.h"

namespace usbgpu::aten {
namespace {

using at::Scalar;
using at::ScalarType;
using at::Tensor;
using usbgpu_family::GemmArgs;
using usbgpu_family::GemvArgs;

struct Tile {
  uint32_t id, rows, columns, k;
};
constexpr Tile kLargeTile{0, 128, 128, 16}, kMiddleTile{1, 64, 64, 16}, kSmallTile{2, 32, 32, 32};
constexpr Tile kMatrixUnitTile{3, 64, 64, 32}, kLargeMatrixUnitTile{4, 128, 128, 32}, kPlainTile{5, 16, 16, 16};

template <class Args>
void set_scales(Args& args, ScalarType type, const Scalar& alpha, const Scalar& beta, bool has_addend) {
  if (at::isFloatingType(type)) {
    args.alpha = alpha.toDouble(), args.beta = has_addend ? beta.toDouble() : 0.0;
  } else {
    args.alpha_int = alpha.toLong(), args.beta_int = has_addend ? beta.toLong() : 0;
  }
}

bool is_zero(const Scalar& value) { return value.isFloatingPoint() ? value.toDouble() == 0.0 : value.toLong() == 0; }

// Do byte offsets within a rows x k tile fit 32 bits?
bool tile_fits(const Tile& tile, uint32_t rows, int64_t row_stride, int64_t k_stride, int64_t itemsize) {
  return ((rows - 1) * row_stride + (tile.k - 1) * k_stride) * itemsize < (int64_t{1} << 32);
}

Tile choose_tile(const GemmArgs& args, ScalarType type, uint32_t batches) {
  const bool matrix_unit = is_low_precision(type);
  if (type != at::kFloat && !matrix_unit) return kPlainTile;
  auto groups = [&](const Tile& tile) {
    return uint64_t{ceil_div(args.m, tile.rows)} * ceil_div(args.n, tile.columns) * batches;
  };
  Tile tile = matrix_unit ? kMatrixUnitTile : kSmallTile;
  if (matrix_unit) {
    if (groups(kLargeMatrixUnitTile) >= 32 && args.m > 64 && args.n > 64) tile = kLargeMatrixUnitTile;
  } else if (args.m > 64 && args.n > 64 && groups(kLargeTile) >= 32) {
    tile = kLargeTile;
  } else if (args.m > 32 && args.n > 32) {
    tile = kMiddleTile;
  }
  const int64_t itemsize = c10::elementSize(type);
  if (!tile_fits(tile, tile.rows, args.a_m, args.a_k, itemsize) || !tile_fits(tile, tile.columns, args.b_n, args.b_k, itemsize))
    return kPlainTile;
  return tile;
}

KernelSource gemm_source(const Tile& tile, ScalarType type, bool a_rows, bool b_rows) {
  const std::string suffix = std::string(dtype_name(type)) + (a_rows ? "_am" : "_ak") + (b_rows ? "_bn" : "_bk");
  const std::string flags = std::string(a_rows ? ", true" : ", false") + (b_rows ? ", true" : ", false");
  const std::string size = std::to_string(tile.rows);
  if (tile.id == kPlainTile.id) {
    const std::string symbol = std::string("gemm_plain_") + dtype_name(type);
    return {"matmul", symbol, "USBGPU_GEMM_PLAIN(" + symbol + ", " + dtype_c_type(type) + ")"};
  }
  if (type == at::kFloat) {
    const std::string symbol = "gemm" + size + "_" + suffix;
    const char* shape = tile.id == kLargeTile.id    ? "128, 128, 16, 8, 8"
                        : tile.id == kMiddleTile.id ? "64, 64, 16, 4, 4"
                                                    : "32, 32, 32, 2, 2";
    return {"matmul", symbol, "USBGPU_GEMM_F32(" + symbol + ", " + shape + flags + ")"};
  }
  const std::string symbol = "gemm_wmma" + size + "_" + suffix;
  const bool large = tile.id == kLargeMatrixUnitTile.id;
  return {"matmul", symbol,
          "USBGPU_GEMM_WMMA(" + symbol + (large ? ", 256, " : ", 128, ") + dtype_c_type(type) +
              (large ? ", 128, 128, 64, 32" : ", 64, 64, 32, 32") + flags + ")"};
}

// Into how many pieces k is cut, so that few tiles with a long k occupy the device: a workgroup per compute unit,
// but no piece so short that adding up the pieces costs more than they save.
constexpr uint32_t kShortestSplit = 256, kMostSplits = 64;
uint32_t choose_splits(const GemmArgs& args, const Tile& tile) {
  if (tile.id == kPlainTile.id || args.k < 2 * kShortestSplit) return 1;
  const uint64_t groups = uint64_t{ceil_div(args.m, tile.rows)} * ceil_div(args.n, tile.columns) * args.batches;
  const uint64_t wanted = device().compute_units() / groups;
  return static_cast<uint32_t>(std::clamp<uint64_t>(std::min<uint64_t>(wanted, args.k / kShortestSplit), 1, kMostSplits));
}

void sum_splits(const GemmArgs& args, ScalarType type) {
  static KernelCache cache;
  Kernel* kernel = cache.get(key(type), [&]() -> KernelSource {
    const std::string symbol = std::string("gemm_sum_") + dtype_name(type);
    return {"matmul", symbol, "USBGPU_GEMM_SUM(" + symbol + ", " + dtype_c_type(type) + ")"};
  });
  launch(kernel, {ceil_div(uint64_t{args.m} * args.n * args.batches, 256), 1, 1}, {256, 1, 1}, args);
}

void launch_gemm(GemmArgs args, ScalarType type, uint32_t batches) {
  static KernelCache cache;
  const Tile tile = choose_tile(args, type, batches);
  args.batches = batches, args.splits = choose_splits(args, tile), args.split_k = args.k;
  Tensor partial;
  if (args.splits > 1) {
    args.split_k = ceil_div(ceil_div(args.k, args.splits), tile.k) * tile.k;
    args.splits = ceil_div(args.k, args.split_k);
    partial = empty({args.splits, batches, args.m, args.n}, at::kFloat), args.partial = address(partial);
  }
  const bool plain = tile.id == kPlainTile.id;
  // Neighbouring threads should read neighbouring addresses.
  const bool a_rows = !plain && args.a_m == 1 && args.a_k != 1, b_rows = !plain && args.b_n == 1 && args.b_k != 1;
  Kernel* kernel = cache.get(key(tile.id, type, a_rows, b_rows), [&] { return gemm_source(tile, type, a_rows, b_rows); });
  const uint32_t threads = tile.id == kMatrixUnitTile.id ? 128 : 256;
  launch(kernel, {ceil_div(args.n, tile.columns), ceil_div(args.m, tile.rows), batches * args.splits}, {threads, 1, 1}, args);
  if (args.splits > 1) sum_splits(args, type);
}

// ---- matrix times vector

enum class GemvForm { wave, thread, group, sum };

Kernel* gemv_kernel(GemvForm form, ScalarType type) {
  static KernelCache cache;
  return cache.get(key(form, type), [&]() -> KernelSource {
    static constexpr const char* names[] = {"gemv_wave", "gemv_thread", "gemv_group", "gemv_sum"};
    const std::string name = names[static_cast<size_t>(form)], symbol = name + "_" + dtype_name(type);
    return {"matmul", symbol, "USBGPU_GEMV(" + symbol + ", " + name + ", " + dtype_c_type(type) + ")"};
  });
}

constexpr uint32_t kLongRow = 16384, kShortestPiece = 4096;   // elements

void launch_gemv(GemvArgs args, ScalarType type) {
  GemvForm form = GemvForm::wave;
  args.splits = 1, args.split_k = args.k;
  const uint32_t units = device().compute_units();
  if (args.k >= kLongRow && args.m <= units / 2) {
    // Few long rows: as many workgroups as the device has compute units.
    form = GemvForm::group;
    args.splits = std::min(units / args.m, args.k / kShortestPiece);
    args.split_k = ceil_div(args.k, args.splits);
    args.splits = ceil_div(args.k, args.split_k);
    const Tensor partial = empty({args.splits, args.m}, at::isFloatingType(type) ? compute_dtype(type) : at::kLong);
    args.partial = address(partial);
    launch(gemv_kernel(form, type), {args.m, args.splits, 1}, {256, 1, 1}, args);
    return launch(gemv_kernel(GemvForm::sum, type), {ceil_div(args.m, 8), 1, 1}, {256, 1, 1}, args);
  }
  if (args.m <= 4 && args.k >= 1024) form = GemvForm::group;
  else if (args.a_m == 1 && args.a_k != 1 && args.m >= 32) form = GemvForm::thread;
  const uint32_t per_group = form == GemvForm::wave ? 8 : form == GemvForm::thread ? 256 : 1;
  launch(gemv_kernel(form, type), {ceil_div(args.m, per_group), 1, 1}, {256, 1, 1}, args);
}

// ---- operands

uint32_t narrow_size(const char* op, int64_t size) {
  TORCH_CHECK(size < (int64_t{1} << 32), op, ": a dimension of ", size, " is more than usbgpu's kernels can index");
  return static_cast<uint32_t>(size);
}

void check_operands(const char* op, const Tensor& out, std::initializer_list<const Tensor*> inputs) {
  const ScalarType type = out.scalar_type();
  for (const Tensor* input : inputs) {
    TORCH_CHECK(input->scalar_type() == type, op, ": expected all operands to have the same dtype, but got ",
                input->scalar_type(), " and ", type);
  }
  TORCH_CHECK_NOT_IMPLEMENTED(type != at::kBool, '"', op, "\" not implemented for 'Bool'");
}

// out = beta * addend + alpha * a @ b. All of rank 3; addend is expanded to out's shape, or undefined.
void product(const char* op, const Tensor& out, const Tensor& a, const Tensor& b, const Tensor& addend, const Scalar& beta,
             const Scalar& alpha) {
  check_operands(op, out, {&a, &b});
  if (out.numel() == 0) return;
  const ScalarType type = out.scalar_type();
  if (at::isComplexType(type)) return complex_product(out, a, b, addend, beta, alpha);
  const int64_t batches = out.size(0);
  const bool has_addend = addend.defined() && !is_zero(beta);
  if (out.size(2) == 1 && batches == 1) {
    GemvArgs args{};
    args.a = address(a), args.x = address(b), args.d = address(out);
    args.a_m = a.stride(1), args.a_k = a.stride(2), args.x_k = b.stride(1), args.d_m = out.stride(1);
    if (has_addend) args.c = address(addend), args.c_m = addend.stride(1);
    args.m = narrow_size(op, a.size(1)), args.k = narrow_size(op, a.size(2));
    set_scales(args, type, alpha, beta, has_addend);
    return launch_gemv(args, type);
  }
  GemmArgs args{};
  args.a = address(a), args.a_batch = a.stride(0), args.a_m = a.stride(1), args.a_k = a.stride(2);
  args.b = address(b), args.b_batch = b.stride(0), args.b_k = b.stride(1), args.b_n = b.stride(2);
  args.d = address(out), args.d_batch = out.stride(0), args.d_m = out.stride(1), args.d_n = out.stride(2);
  if (has_addend)
    args.c = address(addend), args.c_batch = addend.stride(0), args.c_m = addend.stride(1), args.c_n = addend.stride(2);
  args.m = narrow_size(op, a.size(1)), args.n = narrow_size(op, b.size(2)), args.k = narrow_size(op, a.size(2));
  set_scales(args, type, alpha, beta, has_addend);
  launch_gemm(args, type, narrow_size(op, batches));
}

// An input that shares memory with the output would be overwritten while it is read.
Tensor apart_from(const Tensor& input, const Tensor& out) {
  if (!input.is_alias_of(out)) return input;   // of strided operands the function below cannot tell
  return at::get_overlap_status(input, out) == at::MemOverlapStatus::No ? input : input.clone();
}

// The addend may be the output itself: each thread reads its element before it writes it.
Tensor addend_apart_from(const Tensor& addend, const Tensor& out) {
  if (addend.is_alias_of(out) && addend.data_ptr() == out.data_ptr() && addend.strides() == out.strides()) return addend;
  return apart_from(addend, out);
}

Tensor& mm_out(const Tensor& self, const Tensor& mat2, Tensor& out) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::mm_out, self, mat2, out);
  check_same_device("mm", {{"self", &self}, {"mat2", &mat2}, {"out", &out}});
  OutputOf<at::meta::structured_mm> op(out);
  op.meta(self, mat2);
  product("mm", out.unsqueeze(0), apart_from(self, out).unsqueeze(0), apart_from(mat2, out).unsqueeze(0), Tensor(), 0, 1);
  return out;
}

Tensor& addmm_out(const Tensor& self, const Tensor& mat1, const Tensor& mat2, const Scalar& beta, const Scalar& alpha,
                  Tensor& out) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::addmm_out, self, mat1, mat2, beta, alpha, out);
  check_same_device("addmm", {{"self", &self}, {"mat1", &mat1}, {"mat2", &mat2}, {"out", &out}});
  OutputOf<at::meta::structured_addmm> op(out);
  op.meta(self, mat1, mat2, beta, alpha);
  check_operands("addmm", out, {&self});
  const Tensor addend = addend_apart_from(self, out).expand({mat1.size(0), mat2.size(1)});
  product("addmm", out.unsqueeze(0), apart_from(mat1, out).unsqueeze(0), apart_from(mat2, out).unsqueeze(0),
          addend.unsqueeze(0), beta, alpha);
  return out;
}

Tensor& bmm_out(const Tensor& self, const Tensor& mat2, Tensor& out) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::bmm_out, self, mat2, out);
  check_same_device("bmm", {{"self", &self}, {"mat2", &mat2}, {"out", &out}});
  OutputOf<at::meta::structured_bmm> op(out);
  op.meta(self, mat2);
  product("bmm", out, apart_from(self, out), apart_from(mat2, out), Tensor(), 0, 1);
  return out;
}

Tensor& baddbmm_out(const Tensor& self, const Tensor& batch1, const Tensor& batch2, const Scalar& beta, const Scalar& alpha,
                    Tensor& out) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::baddbmm_out, self, batch1, batch2, beta, alpha, out);
  check_same_device("baddbmm", {{"self", &self}, {"batch1", &batch1}, {"batch2", &batch2}, {"out", &out}});
  const Tensor expanded = self.expand({batch1.size(0), batch1.size(1), batch2.size(2)});
  OutputOf<at::meta::structured_baddbmm> op(out);
  // ATen's meta function would copy the addend into the output first. It does not for beta = 0, and looks at nothing else of it.
  op.meta(expanded, batch1, batch2, 0, alpha);
  check_operands("baddbmm", out, {&self});
  product("baddbmm", out, apart_from(batch1, out), apart_from(batch2, out), addend_apart_from(expanded, out), beta, alpha);
  return out;
}

// The functional form that ATen derives from the one above copies the addend, too.
Tensor baddbmm(const Tensor& self, const Tensor& batch1, const Tensor& batch2, const Scalar& beta, const Scalar& alpha) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::baddbmm, self, batch1, batch2, beta, alpha);
  check_on_device("baddbmm", "batch2", batch2);
  Tensor out = empty({0}, batch2.scalar_type());
  return baddbmm_out(self, batch1, batch2, beta, alpha, out);
}

Tensor& addmv_out(const Tensor& self, const Tensor& mat, const Tensor& vec, const Scalar& beta, const Scalar& alpha,
                  Tensor& out) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::addmv_out, self, mat, vec, beta, alpha, out);
  check_same_device("addmv", {{"self", &self}, {"mat", &mat}, {"vec", &vec}, {"out", &out}});
  OutputOf<at::meta::structured_addmv> op(out);
  op.meta(self, mat, vec, beta, alpha);
  check_operands("addmv", out, {&self});
  const Tensor addend = addend_apart_from(self, out).expand({mat.size(0)});
  product("addmv", out.unsqueeze(0).unsqueeze(2), apart_from(mat, out).unsqueeze(0), apart_from(vec, out).unsqueeze(0).unsqueeze(2),
          addend.unsqueeze(0).unsqueeze(2), beta, alpha);
  return out;
}

Tensor dot(const Tensor& self, const Tensor& tensor) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::dot, self, tensor);
  check_same_device("dot", {{"self", &self}, {"tensor", &tensor}});
  TORCH_CHECK(self.dim() == 1 && tensor.dim() == 1, "1D tensors expected, but got ", self.dim(), "D and ", tensor.dim(),
              "D tensors");
  TORCH_CHECK(self.scalar_type() == tensor.scalar_type(), "dot : expected both vectors to have same dtype, but found ",
              self.scalar_type(), " and ", tensor.scalar_type());
  TORCH_CHECK(self.numel() == tensor.numel(), "inconsistent tensor size, expected tensor [", self.numel(), "] and src [",
              tensor.numel(), "] to have the same number of elements, but got ", self.numel(), " and ", tensor.numel(),
              " elements respectively");
  Tensor out = empty({}, self.scalar_type());
  product("dot", out.view({1, 1, 1}), self.unsqueeze(0).unsqueeze(0), tensor.unsqueeze(0).unsqueeze(2), Tensor(), 0, 1);
  return out;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("mm.out", &mm_out);
  m.impl("addmm.out", &addmm_out);
  m.impl("bmm.out", &bmm_out);
  m.impl("baddbmm", &baddbmm);
  m.impl("baddbmm.out", &baddbmm_out);
  m.impl("addmv.out", &addmv_out);
  m.impl("dot", &dot);
}

}  // namespace
}  // namespace usbgpu::aten
