// Dtypes that are stored, filled, copied and converted, but not computed with; moving elements as bits.
#pragma once

#include <ATen/core/Tensor.h>

namespace usbgpu::aten {

// The supported dtypes, uint16/32/64 and the 8-bit floats.
bool dtype_convertible(at::ScalarType type);

// Moving bits needs no kernels of a dtype's own: a supported type of the same size (up to 8 bytes), and the
// same elements under such a type.
at::ScalarType bits_type(at::ScalarType type);
at::Tensor reinterpret(const at::Tensor& tensor, at::ScalarType type);

}  // namespace usbgpu::aten
