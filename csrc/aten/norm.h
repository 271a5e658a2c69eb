// What batch_norm and group_norm share: tensors as [N, C, S] for torch_usbgpu/kernels/norm.hip.
#pragma once

#include <ATen/core/Tensor.h>

#include <initializer_list>

#include "../../torch_usbgpu/kernels/norm_args.h"
#include "aten/arguments.h"
#include "aten/launch.h"

namespace usbgpu::aten {

enum class NormForm : uint8_t { train, eval, statistics, backward_train, backward_eval, group, group_backward, group_weights };

void launch_norm(NormForm form, at::ScalarType type, at::ScalarType parameters, Dim3 grid, const usbgpu_family::NormArgs& args);

// The tensor itself where one stride does for all dimensions after the channels, else a dense copy.
at::Tensor norm_operand(const at::Tensor& tensor);
usbgpu_family::NormView norm_view(const at::Tensor& tensor);   // of what norm_operand returned
bool norm_fits(const at::Tensor& input);                       // elements can be numbered in 31 bits

// The dtype of parameters and saved statistics: the input's or, beside f16 and bf16, f32. Throws on mixtures.
at::ScalarType norm_parameters(const char* op, const at::Tensor& input, std::initializer_list<const at::Tensor*> parameters);

}  // namespace usbgpu::aten

// To the CPU, counted: dtypes without kernels, and tensors beyond 2^31 elements.
#define FALLBACK_IF_NORM(input, Op, ...)                                                                        \
  if (C10_UNLIKELY(::usbgpu::aten::any_unsupported(__VA_ARGS__) || !::usbgpu::aten::norm_fits(input)))          \
  return at::native::call_fallback_fn<&::usbgpu::aten::boxed_fallback, Op>::call(__VA_ARGS__)
