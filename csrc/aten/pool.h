// What the pooling files share: the launch of a kernel of torch_usbgpu/kernels/pool.hip.
#pragma once

#include "../../torch_usbgpu/kernels/pool_args.h"
#include "aten/spatial.h"

namespace usbgpu::aten {

using usbgpu_family::PoolArgs;

enum class PoolForm { max, max_backward, average, average_backward, put, add };
enum class PoolWindows { strided, adaptive, fractional };

// input and output have `axes` spatial dimensions each; indices may be undefined. The backward forms
// write `input`, put and add write into `output` (zeros), the others write `output` and indices.
void launch_pool(PoolForm form, PoolWindows windows, const at::Tensor& input, const at::Tensor& output,
                 const at::Tensor& indices, int axes, PoolArgs args);

inline void check_index_dtype(const at::Tensor& indices) {
  TORCH_CHECK(indices.scalar_type() == at::kLong, "expected scalar type Long but found ", indices.scalar_type());
}

}  // namespace usbgpu::aten
