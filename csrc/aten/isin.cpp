// isin. Kernel: torch_usbgpu/kernels/isin.hip.
#include <ATen/ScalarOps.h>
#include <ATen/native/TypeProperties.h>
#include <ATen/ops/isin_meta.h>
#include <ATen/ops/isin_ops.h>
#include <ATen/ops/sort.h>
#include <torch/library.h>

#include "../../torch_usbgpu/kernels/isin_args.h"
#include "aten/backend/fallback.h"
#include "aten/structured.h"
#include "aten/walk.h"

namespace usbgpu::aten {
namespace {

using at::Tensor;

void isin(const Tensor& elements, const Tensor& tests, bool invert, const Tensor& out) {
  static KernelCache cache;
  if (elements.numel() == 0) return;
  if (tests.numel() == 0) {
    out.fill_(invert);
    return;
  }
  TORCH_CHECK(tests.numel() < (int64_t{1} << 31), "isin: ", tests.sizes(), " is more than usbgpu's kernels can index");
  const at::ScalarType type = at::native::result_type(elements, tests);
  const Tensor values = elements.to(type).contiguous();
  Tensor set = tests.to(type).contiguous().view(-1);
  const bool sorted = set.numel() > usbgpu_family::kIsinLookAtEach;
  if (sorted) set = std::get<0>(at::sort(set));
  const Tensor target = out.is_contiguous() ? out : dense_like(out);
  Kernel* kernel = cache.get(key(type), [&]() -> KernelSource {
    const std::string symbol = std::string("isin_") + dtype_name(type);
    return {"isin", symbol, "USBGPU_ISIN(" + symbol + ", " + (type == at::kBool ? "uint8_t" : dtype_c_type(type)) + ")"};
  });
  const usbgpu_family::IsinArgs args{address(values), address(set), address(target), static_cast<uint64_t>(values.numel()),
                                     static_cast<uint32_t>(set.numel()), sorted, invert};
  launch(kernel, grid_for(args.count), kGroup256, args);
  if (!target.is_same(out)) out.copy_(target);
}

Tensor& isin_tensors_out(const Tensor& elements, const Tensor& tests, bool assume_unique, bool invert, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::isin_Tensor_Tensor_out, elements, tests, assume_unique, invert, out);
  check_same_device("isin", {{"elements", &elements}, {"test_elements", &tests}, {"out", &out}});
  OutputOf<at::meta::structured_isin_Tensor_Tensor> op(out);
  op.meta(elements, tests, assume_unique, invert);
  isin(elements, tests, invert, out);
  return out;
}
Tensor& isin_scalar_test_out(const Tensor& elements, const at::Scalar& test, bool assume_unique, bool invert, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::isin_Tensor_Scalar_out, elements, test, assume_unique, invert, out);
  check_same_device("isin", {{"elements", &elements}, {"out", &out}});
  OutputOf<at::meta::structured_isin_Tensor_Scalar> op(out);
  op.meta(elements, test, assume_unique, invert);
  isin(elements, at::native::wrapped_scalar_tensor(test, elements.device()), invert, out);
  return out;
}
Tensor& isin_scalar_element_out(const at::Scalar& element, const Tensor& tests, bool assume_unique, bool invert, Tensor& out) {
  FALLBACK_UNLESS_SUPPORTED(at::_ops::isin_Scalar_Tensor_out, element, tests, assume_unique, invert, out);
  return isin_tensors_out(at::native::wrapped_scalar_tensor(element, tests.device()), tests, assume_unique, invert, out);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("isin.Tensor_Tensor_out", &isin_tensors_out);
  m.impl("isin.Tensor_Scalar_out", &isin_scalar_test_out);
  m.impl("isin.Scalar_Tensor_out", &isin_scalar_element_out);
}

}  // namespace
}  // namespace usbgpu::aten
