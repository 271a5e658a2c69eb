// Hand-written `.out` kernels of structured operators: ATen's meta function checks shapes and
// dtypes and says what the output must be; only the computation is ours.
#pragma once

#include <ATen/EmptyTensor.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/op_registration/adaption.h>
#include <ATen/native/Resize.h>

#include <initializer_list>
#include <utility>

#include "aten/launch.h"

namespace usbgpu::aten {

// "Expected all tensors to be on the same device, but got mat2 is on cpu, different from other
// tensors on usbgpu:0 (when checking argument in method wrapper_mm)"
inline void check_same_device(const char* op, std::initializer_list<std::pair<const char*, const at::Tensor*>> tensors) {
  std::optional<at::Device> common;
  for (const auto& [name, tensor] : tensors) c10::impl::check_and_update_common_device(common, *tensor, op, name);
}

// Runs the meta function of a structured operator against given outputs, as the generated CPU
// wrappers do: dtype and device of the outputs are checked, they are resized (with the warning if
// they were not empty), and must not overlap themselves.
//   OutputOf<at::meta::structured_mm> op(out);
//   op.meta(self, mat2);
template <class Meta>
class OutputOf final : public Meta {
 public:
  explicit OutputOf(const at::Tensor& output) : outputs_{&output} {}
  explicit OutputOf(std::initializer_list<const at::Tensor*> outputs) : outputs_(outputs) {}

  void set_output_strided(int64_t index, at::IntArrayRef sizes, at::IntArrayRef strides,
                          at::TensorOptions options) override {
    set(index, sizes, strides, options);
  }
  void set_output_raw_strided(int64_t index, at::IntArrayRef sizes, at::IntArrayRef strides,
                              at::TensorOptions options) override {
    set(index, sizes, strides, options);
  }
  const at::Tensor& maybe_get_output(int64_t index) override { return *outputs_[index]; }

 private:
  void set(int64_t index, at::IntArrayRef sizes, at::IntArrayRef strides, const at::TensorOptions& options) {
    const at::Tensor& out = *outputs_[index];
    TORCH_CHECK(options.dtype() == out.dtype(), "Expected out tensor to have dtype ", options.dtype(), ", but got ",
                out.dtype(), " instead");
    TORCH_CHECK(options.device() == out.device(), "Expected out tensor to have device ", options.device(), ", but got ",
                out.device(), " instead");
    if (at::native::resize_output(out, sizes)) {
      if (!strides.empty()) {
        out.as_strided_(sizes, strides);
      } else if (options.memory_format_opt().has_value()) {
        out.unsafeGetTensorImpl()->empty_tensor_restride(*options.memory_format_opt());
      }
    }
    at::assert_no_internal_overlap(out);
  }

  c10::SmallVector<const at::Tensor*, 3> outputs_;
};

}  // namespace usbgpu::aten
