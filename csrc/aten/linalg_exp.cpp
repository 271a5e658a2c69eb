// The matrix exponential by scaling and squaring of a Taylor polynomial (degree 16 for float, 25
// for double: the remainder is below the rounding error for norms up to kExpNorm). Kernels:
// torch_usbgpu/kernels/linalg_exp.hip; the products are matmul's.
#include "aten/linalg.h"

#include <ATen/native/LinearAlgebraUtils.h>
#include <ATen/ops/baddbmm_ops.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/linalg_matrix_exp_ops.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/linalg_exp_args.h"
#include "aten/backend/complex.h"

namespace usbgpu::aten {
namespace linalg {
namespace {

using at::ScalarType;
using usbgpu_family::ExpBlocksArgs;
using usbgpu_family::ExpKeepArgs;
using usbgpu_family::ExpScaleArgs;

enum class Form { scale, blocks, keep };

bool single(ScalarType type) { return c10::toRealValueType(type) == at::kFloat; }

Kernel* exp_kernel(Form form, ScalarType type) {
  static KernelCache cache;
  return cache.get(key(form, type), [&]() -> KernelSource {
    const char* name = form == Form::scale ? "scale" : form == Form::blocks ? "blocks" : "keep";
    const char* args = form == Form::scale ? "ExpScaleArgs" : form == Form::blocks ? "ExpBlocksArgs" : "ExpKeepArgs";
    const std::string symbol = std::string("linalg_exp_") + name + "_" + dtype_name(type);
    const char* degree = form != Form::blocks ? "" : single(type) ? ", 4, 4" : ", 5, 5";
    return {"linalg_exp", symbol,
            "USBGPU_LINALG_EXP(" + symbol + ", exp_" + name + ", " + args + ", " + dtype_c_type(type) + degree + ")"};
  });
}

// (batch, n, n), dense
Tensor exp_of_batch(const Tensor& a) {
  const ScalarType type = a.scalar_type();
  const int64_t batch = a.size(0), n = a.size(1);
  const uint32_t n32 = size_arg(a, 1);
  const uint64_t count = static_cast<uint64_t>(a.numel());
  const Tensor halvings = empty({batch}, at::kInt);
  std::vector<Tensor> powers{empty_like(a)};
  ExpScaleArgs scale{};
  scale.a = address(a), scale.scaled = address(powers[0]), scale.halvings = address(halvings), scale.n = n32;
  launch(exp_kernel(Form::scale, type), {size_arg(a, 0), 1, 1}, kGroup, scale);

  const int64_t width = single(type) ? 4 : 5, number = width;
  while (static_cast<int64_t>(powers.size()) < width)
    powers.push_back(at::bmm(powers[powers.size() / 2 - (powers.size() % 2 == 0)], powers[powers.size() / 2]));
  const Tensor blocks = empty({number, batch, n, n}, type);
  ExpBlocksArgs cut{};
  for (int64_t i = 0; i < width; ++i) cut.power[i] = address(powers[i]);
  cut.blocks = address(blocks), cut.count = count, cut.n = n32;
  launch(exp_kernel(Form::blocks, type), {ceil_div(count, kLinalgThreads), 1, 1}, kGroup, cut);
  Tensor result = blocks.select(0, number - 1);
  for (int64_t b = number - 2; b >= 0; --b) result = blocks.select(0, b).baddbmm_(result, powers.back());

  const int32_t most = halvings.max().item<int32_t>();
  for (int32_t step = 0; step < most; ++step) {
    const Tensor square = at::bmm(result, result);
    ExpKeepArgs keep{};
    keep.p = address(result), keep.square = address(square), keep.halvings = address(halvings);
    keep.count = count, keep.n = n32, keep.step = static_cast<uint32_t>(step);
    launch(exp_kernel(Form::keep, type), {ceil_div(count, kLinalgThreads), 1, 1}, kGroup, keep);
  }
  return result;
}

Tensor matrix_exp(const Tensor& self) {
  FALLBACK_UNLESS_COMPLEX_SUPPORTED(at::_ops::linalg_matrix_exp, self);
  at::native::squareCheckInputs(self, "linalg.matrix_exp");
  at::native::checkFloatingOrComplex(self, "linalg.matrix_exp");
  const int64_t n = self.size(-1);
  if (self.numel() == 0) return empty(self.sizes(), self.scalar_type());
  if (n == 1) return self.exp();
  const ScalarType type = compute_dtype(self.scalar_type());
  const Tensor a = self.to(type).resolve_conj().resolve_neg().contiguous().view({-1, n, n});
  return exp_of_batch(a).view(self.sizes()).to(self.scalar_type());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) { m.impl("linalg_matrix_exp", &matrix_exp); }

}  // namespace
}  // namespace linalg
}  // namespace usbgpu::aten
