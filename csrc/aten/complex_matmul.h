// The complex half of matmul.cpp.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Scalar.h>

namespace usbgpu::aten {

// out = beta * addend + alpha * a @ b. All of rank 3; addend is expanded to out's shape, or undefined.
// a and b may be lazily conjugated.
void complex_product(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, const at::Tensor& addend,
                     const at::Scalar& beta, const at::Scalar& alpha);

}  // namespace usbgpu::aten
