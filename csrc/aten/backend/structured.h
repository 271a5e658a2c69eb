// Structured kernels of ATen outside its tree: who allocates outputs, and who copies back the
// temporaries ("proxies") that stand in for outputs whose strides the kernel cannot write.
#pragma once

#include <ATen/TensorIterator.h>
#include <ATen/core/Tensor.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/copy_native.h>
#include <c10/core/Device.h>
#include <ATen/core/op_registration/adaption.h>
#include <torch/library.h>

#include <array>
#include <functional>
#include <optional>
#include <type_traits>

#include "aten/backend/fallback.h"
#include "aten/launch.h"

namespace usbgpu::aten {

using at::Device;
using at::IntArrayRef;
using at::TensorOptions;

inline at::Tensor create_output(IntArrayRef sizes, IntArrayRef strides, const TensorOptions& options) {
  const auto type = c10::typeMetaToScalarType(options.dtype());
  return strides.empty() ? empty(sizes, type, options.memory_format_opt()) : empty_strided(sizes, strides, type);
}

// TensorIterator's own set_output must run after ours: it takes the output from maybe_get_output.
template <class Base>
void tell_iterator(Base& op, int64_t index, IntArrayRef sizes, IntArrayRef strides, TensorOptions options) {
  if constexpr (std::is_base_of_v<at::TensorIteratorBase, Base>) op.Base::set_output_raw_strided(index, sizes, strides, options);
}

template <class Base, size_t N>
struct Functional final : Base {
  void set_output_strided(int64_t index, IntArrayRef sizes, IntArrayRef strides, TensorOptions options) override {
    set_output_raw_strided(index, sizes, strides, options);
  }
  void set_output_raw_strided(int64_t index, IntArrayRef sizes, IntArrayRef strides, TensorOptions options) override {
    outputs_[index] = create_output(sizes, strides, options);
    tell_iterator(static_cast<Base&>(*this), index, sizes, strides, options);
  }
  const at::Tensor& maybe_get_output(int64_t index) override { return outputs_[index]; }

  std::array<at::Tensor, N> outputs_;
};

// out= (may be resized) and in-place variants (may not)
template <class Base, size_t N, bool in_place = false>
struct Out final : Base {
  template <class... Tensors>
  explicit Out(Tensors&... outputs) : outputs_{std::ref(outputs)...} {}

  void set_output_strided(int64_t index, IntArrayRef sizes, IntArrayRef strides, TensorOptions options) override {
    resize(index, sizes, strides, options);
    const at::Tensor& out = outputs_[index].get();
    // the kernel demands these strides and the given tensor has others
    if (!strides.empty() && !out.strides().equals(strides) && out.numel() > 0) {
      proxies_[index] = empty_strided(sizes, strides, c10::typeMetaToScalarType(options.dtype()));
    }
    tell_iterator(static_cast<Base&>(*this), index, sizes, strides, options);
  }
  void set_output_raw_strided(int64_t index, IntArrayRef sizes, IntArrayRef strides, TensorOptions options) override {
    resize(index, sizes, strides, options);
    tell_iterator(static_cast<Base&>(*this), index, sizes, strides, options);
  }
  const at::Tensor& maybe_get_output(int64_t index) override {
    return proxies_[index].has_value() ? *proxies_[index] : outputs_[index].get();
  }
  void copy_proxies() {
    for (size_t i = 0; i < N; ++i) {
      if (proxies_[i].has_value()) at::native::copy_(const_cast<at::Tensor&>(outputs_[i].get()), *proxies_[i]);
    }
  }

  std::array<std::reference_wrapper<const at::Tensor>, N> outputs_;
  std::array<std::optional<at::Tensor>, N> proxies_;

 private:
  void resize(int64_t index, IntArrayRef sizes, IntArrayRef strides, const TensorOptions& options) {
    const at::Tensor& out = outputs_[index].get();
    TORCH_CHECK(options.dtype() == out.dtype(), "Expected out tensor to have dtype ", options.dtype(), ", but got ",
                out.dtype(), " instead");
    TORCH_CHECK(options.device() == out.device(), "Expected out tensor to have device ", options.device(), ", but got ",
                out.device(), " instead");
    if constexpr (in_place) {
      TORCH_CHECK(out.sizes() == sizes, "Bad in-place call: input tensor size ", out.sizes(), " and output tensor size ",
                  sizes, " should match");
      return;
    }
    if (!at::native::resize_output(out, sizes)) return;
    if (!strides.empty()) {
      out.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides);
    } else if (auto format = options.memory_format_opt()) {
      out.unsafeGetTensorImpl()->empty_tensor_restride(*format);
    }
  }
};

template <class Base, size_t N>
using InPlace = Out<Base, N, true>;

}  // namespace usbgpu::aten
