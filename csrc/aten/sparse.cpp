// Sparse tensors: stored on the device as their indices and values, which are dense tensors like any other.
// What ATen computes on those alone (structure, copies, functions of the values) is registered with ATen's own functions
// and so runs on the device; every other operator takes the counted road to the CPU.
#include "aten/backend/fallback.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/_coalesced_native.h>
#include <ATen/ops/_dimI_native.h>
#include <ATen/ops/_dimV_native.h>
#include <ATen/ops/_indices_native.h>
#include <ATen/ops/_nnz_native.h>
#include <ATen/ops/_pin_memory_native.h>
#include <ATen/ops/_sparse_coo_tensor_with_dims_and_tensors_native.h>
#include <ATen/ops/_sparse_coo_tensor_with_dims_native.h>
#include <ATen/ops/_values_native.h>
#include <ATen/ops/abs_native.h>
#include <ATen/ops/angle_native.h>
#include <ATen/ops/asin_native.h>
#include <ATen/ops/asinh_native.h>
#include <ATen/ops/atan_native.h>
#include <ATen/ops/atanh_native.h>
#include <ATen/ops/ccol_indices_native.h>
#include <ATen/ops/ceil_native.h>
#include <ATen/ops/clone_native.h>
#include <ATen/ops/col_indices_native.h>
#include <ATen/ops/copy_native.h>
#include <ATen/ops/copy_sparse_to_sparse_native.h>
#include <ATen/ops/crow_indices_native.h>
#include <ATen/ops/deg2rad_native.h>
#include <ATen/ops/dense_dim_native.h>
#include <ATen/ops/empty_like_native.h>
#include <ATen/ops/empty_native.h>
#include <ATen/ops/erf_native.h>
#include <ATen/ops/erfinv_native.h>
#include <ATen/ops/expm1_native.h>
#include <ATen/ops/fill_native.h>
#include <ATen/ops/floor_native.h>
#include <ATen/ops/frac_native.h>
#include <ATen/ops/indices_native.h>
#include <ATen/ops/is_coalesced_native.h>
#include <ATen/ops/is_pinned_native.h>
#include <ATen/ops/isinf_native.h>
#include <ATen/ops/isnan_native.h>
#include <ATen/ops/isneginf_native.h>
#include <ATen/ops/isposinf_native.h>
#include <ATen/ops/log1p_native.h>
#include <ATen/ops/mul_native.h>
#include <ATen/ops/mv_native.h>
#include <ATen/ops/nan_to_num_native.h>
#include <ATen/ops/neg_native.h>
#include <ATen/ops/permute_native.h>
#include <ATen/ops/rad2deg_native.h>
#include <ATen/ops/relu_native.h>
#include <ATen/ops/resize_as_sparse_native.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/round_native.h>
#include <ATen/ops/row_indices_native.h>
#include <ATen/ops/select_native.h>
#include <ATen/ops/sgn_native.h>
#include <ATen/ops/sign_native.h>
#include <ATen/ops/signbit_native.h>
#include <ATen/ops/sin_native.h>
#include <ATen/ops/sinh_native.h>
#include <ATen/ops/sparse_dim_native.h>
#include <ATen/ops/sparse_resize_and_clear_native.h>
#include <ATen/ops/sparse_resize_native.h>
#include <ATen/ops/sqrt_native.h>
#include <ATen/ops/sum_native.h>
#include <ATen/ops/tan_native.h>
#include <ATen/ops/tanh_native.h>
#include <ATen/ops/trunc_native.h>
#include <ATen/ops/unsqueeze_native.h>
#include <ATen/ops/values_native.h>
#include <ATen/ops/zero_native.h>
#include <ATen/ops/zeros_native.h>
#include <torch/library.h>

#include <span>
#include <vector>

namespace usbgpu::aten {

namespace {

// Functions with f(0) = 0: ATen applies them to the values.
#define OF_VALUES(_) \
  _(abs) _(asin) _(asinh) _(atan) _(atanh) _(ceil) _(deg2rad) _(erf) _(erfinv) _(expm1) _(floor) _(frac) _(log1p) \
  _(rad2deg) _(round) _(sgn) _(sign) _(sin) _(sinh) _(sqrt) _(tan) _(tanh) _(trunc)

bool on_device(const at::Tensor& tensor) { return tensor.defined() && tensor.is_privateuseone(); }

// Writes what an operator left in the copy of an argument back into the argument.
at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& dst) {
  at::Tensor target = dst;
  if (target.layout() == at::kStrided) {
    if (target.sizes() != self.sizes()) target.resize_(self.sizes());
  } else {
    target.resize_as_sparse_(self);
  }
  return target.copy_(self);
}

// ATen's cpu_fallback knows the dense CPU kernels only; here the copies' layouts choose the kernel.
void sparse_fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  struct Moved {
    at::Tensor original, copy;
    bool written;
  };
  const c10::FunctionSchema& schema = op.schema();
  count_fallback(c10::toString(op.operator_name()));
  std::vector<Moved> moved;
  auto to_host = [&](const at::Tensor& tensor, bool written) {
    if (!on_device(tensor)) return tensor;
    moved.push_back({tensor, tensor.detach().to(at::kCPU), written});
    // _sparse_mm_reduce_impl keeps what its backward needs only if its operands ask for a gradient.
    if (tensor.requires_grad()) moved.back().copy.requires_grad_();
    return moved.back().copy;
  };
  auto arguments = std::span(*stack).last(schema.arguments().size());
  for (size_t i = 0; i < arguments.size(); ++i) {
    c10::IValue& value = arguments[i];
    const auto* alias = schema.arguments()[i].alias_info();
    const bool written = alias && alias->isWrite();
    if (value.isTensor()) {
      value = to_host(value.toTensor(), written);
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& tensor : value.toTensorVector()) list.push_back(to_host(tensor, written));
      value = std::move(list);
    } else if (value.isDevice() && value.toDevice().is_privateuseone()) {
      value = c10::Device(c10::kCPU);
    }
  }
  {
    at::AutoDispatchBelowADInplaceOrView guard;
    op.callBoxed(stack);
  }
  for (const Moved& argument : moved) {
    if (argument.written) copy_from_and_resize(argument.copy, argument.original);
  }
  auto to_device = [&](const at::Tensor& tensor) {
    for (const Moved& argument : moved) {
      if (argument.copy.is_same(tensor)) return argument.original;
    }
    return tensor.defined() && !moved.empty() ? tensor.to(moved[0].original.device()) : tensor;
  };
  for (c10::IValue& value : std::span(*stack).last(schema.returns().size())) {
    if (value.isTensor()) {
      value = to_device(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& tensor : value.toTensorVector()) list.push_back(to_device(tensor));
      value = std::move(list);
    }
  }
}

TORCH_LIBRARY_IMPL(_, SparsePrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&sparse_fallback>()); }
TORCH_LIBRARY_IMPL(_, SparseCsrPrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&sparse_fallback>()); }

TORCH_LIBRARY_IMPL(aten, SparsePrivateUse1, m) {
  m.impl("empty.memory_format", TORCH_FN(at::native::empty_sparse_symint));
  m.impl("empty_like", TORCH_FN(at::native::empty_like_sparse_coo));
  m.impl("zeros.out", TORCH_FN(at::native::zeros_sparse_out));
  m.impl("zero_", TORCH_FN(at::native::zero_sparse_));
  m.impl("clone", TORCH_FN(at::native::clone_sparse));
  m.impl("copy_", TORCH_FN(at::native::copy_sparse_wrapper_));
  m.impl("copy_sparse_to_sparse_", TORCH_FN(at::native::copy_sparse_));
  m.impl("resize_as_sparse_", TORCH_FN(at::native::resize_as_sparse_));
  m.impl("sparse_resize_", TORCH_FN(at::native::sparse_resize_));
  m.impl("sparse_resize_and_clear_", TORCH_FN(at::native::sparse_resize_and_clear_));
  m.impl("_sparse_coo_tensor_with_dims", TORCH_FN(at::native::new_with_dims_sparse));
  m.impl("_sparse_coo_tensor_with_dims_and_tensors", TORCH_FN(at::native::new_with_dims_and_tensor_sparse_symint));
  m.impl("_dimI", TORCH_FN(at::native::sparse_dim_sparse));
  m.impl("_dimV", TORCH_FN(at::native::dense_dim_sparse));
  m.impl("sparse_dim", TORCH_FN(at::native::sparse_dim_sparse));
  m.impl("dense_dim", TORCH_FN(at::native::dense_dim_sparse));
  m.impl("_nnz", TORCH_FN(at::native::_nnz_sparse));
  m.impl("is_coalesced", TORCH_FN(at::native::is_coalesced_sparse));
  m.impl("_coalesced_", TORCH_FN(at::native::_coalesced_sparse_));
  m.impl("_indices", TORCH_FN(at::native::_indices_sparse));
  m.impl("_values", TORCH_FN(at::native::_values_sparse));
  m.impl("indices", TORCH_FN(at::native::indices_sparse));
  m.impl("values", TORCH_FN(at::native::values_sparse));
  m.impl("is_pinned", TORCH_FN(at::native::is_pinned_sparse_coo));
  m.impl("_pin_memory", TORCH_FN(at::native::_pin_memory_sparse_coo));
  m.impl("permute", TORCH_FN(at::native::permute_sparse_coo));
  m.impl("unsqueeze", TORCH_FN(at::native::unsqueeze_sparse));
  m.impl("nan_to_num", TORCH_FN(at::native::nan_to_num_sparse));
  m.impl("nan_to_num_", TORCH_FN(at::native::nan_to_num_sparse_));
  m.impl("isinf", TORCH_FN(at::native::isinf_sparse));
  m.impl("sum", TORCH_FN(at::native::sum_coo));
  m.impl("mv", TORCH_FN(at::native::mv_sparse));
  m.impl("_copy_from_and_resize", TORCH_FN(copy_from_and_resize));
#define REGISTER(name)                                            \
  m.impl(#name, TORCH_FN(at::native::name##_sparse));              \
  m.impl(#name "_", TORCH_FN(at::native::name##_sparse_));         \
  m.impl(#name ".out", TORCH_FN(at::native::name##_sparse_out));
  OF_VALUES(REGISTER)
#undef REGISTER
}

TORCH_LIBRARY_IMPL(aten, SparseCsrPrivateUse1, m) {
  m.impl("empty.memory_format", TORCH_FN(at::native::empty_sparse_compressed_symint));
  m.impl("empty_like", TORCH_FN(at::native::empty_like_sparse_csr));
  m.impl("clone", TORCH_FN(at::native::clone_sparse_compressed));
  m.impl("copy_", TORCH_FN(at::native::copy_sparse_compressed_));
  m.impl("resize_", TORCH_FN(at::native::resize_sparse_csr_));
  m.impl("resize_as_sparse_", TORCH_FN(at::native::resize_as_sparse_compressed_));
  m.impl("fill_.Scalar", TORCH_FN(at::native::fill_sparse_csr_));
  m.impl("zero_", TORCH_FN(at::native::zero_sparse_csr_));
  m.impl("sparse_dim", TORCH_FN(at::native::sparse_dim_sparse_csr));
  m.impl("dense_dim", TORCH_FN(at::native::dense_dim_sparse_csr));
  m.impl("_nnz", TORCH_FN(at::native::_nnz_sparse_csr));
  m.impl("values", TORCH_FN(at::native::values_sparse_csr));
  m.impl("crow_indices", TORCH_FN(at::native::crow_indices_sparse_csr));
  m.impl("col_indices", TORCH_FN(at::native::col_indices_sparse_csr));
  m.impl("ccol_indices", TORCH_FN(at::native::ccol_indices_sparse_csr));
  m.impl("row_indices", TORCH_FN(at::native::row_indices_sparse_csr));
  m.impl("select.int", TORCH_FN(at::native::select_sparse_csr));
  m.impl("is_pinned", TORCH_FN(at::native::is_pinned_sparse_compressed));
  m.impl("_pin_memory", TORCH_FN(at::native::_pin_memory_sparse_compressed));
  m.impl("mul.Scalar", TORCH_FN(at::native::mul_scalar_sparse_csr));
  m.impl("mul_.Scalar", TORCH_FN(at::native::mul__scalar_sparse_csr));
  m.impl("isinf", TORCH_FN(at::native::isinf_sparse_csr));
  m.impl("sum", TORCH_FN(at::native::sum_csr));
  m.impl("_copy_from_and_resize", TORCH_FN(copy_from_and_resize));
  m.impl("neg", TORCH_FN(at::native::neg_sparse_csr));
  m.impl("neg_", TORCH_FN(at::native::neg_sparse_csr_));
  m.impl("relu", TORCH_FN(at::native::relu_sparse_csr));
  m.impl("relu_", TORCH_FN(at::native::relu_sparse_csr_));
  m.impl("angle", TORCH_FN(at::native::angle_sparse_csr));
  m.impl("isnan", TORCH_FN(at::native::isnan_sparse_csr));
  m.impl("isneginf", TORCH_FN(at::native::isneginf_sparse_csr));
  m.impl("isposinf", TORCH_FN(at::native::isposinf_sparse_csr));
  m.impl("signbit", TORCH_FN(at::native::signbit_sparse_csr));
#define REGISTER(name)                                                \
  m.impl(#name, TORCH_FN(at::native::name##_sparse_csr));              \
  m.impl(#name "_", TORCH_FN(at::native::name##_sparse_csr_));         \
  m.impl(#name ".out", TORCH_FN(at::native::name##_sparse_csr_out));
  OF_VALUES(REGISTER)
#undef REGISTER
  // Structured operators reach this layout by a composite function for dense results, before any fallback.
  for (const char* name : {"mm", "addmm", "add.Tensor", "add_.Tensor", "mul.Tensor", "mul_.Tensor", "sum.dim_IntList",
                           "threshold_backward"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&sparse_fallback>());
}

}  // namespace

}  // namespace usbgpu::aten
