// Tensors without arithmetic: allocation, resize, storage exchange. Views proper are ATen's own
// functions (shared_ops/views.txt), because our tensors have ordinary storages.
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/Resize.h>
#include <c10/core/Allocator.h>
#include <torch/library.h>

#include "aten/backend/backend.h"
#include "aten/launch.h"

namespace usbgpu::aten {

namespace {

using at::IntArrayRef;
using at::Tensor;

void check_options(std::optional<at::Layout> layout, std::optional<at::Device> on, std::optional<bool> pin_memory) {
  TORCH_CHECK_NOT_IMPLEMENTED(!layout || *layout == at::kStrided, "usbgpu has strided tensors only, not ", *layout);
  TORCH_CHECK(!pin_memory.value_or(false), "Only dense CPU tensors can be pinned");
  if (on) check_device_index(on->index());
}

Tensor empty_memory_format(IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout> layout,
                           std::optional<at::Device> on, std::optional<bool> pin_memory,
                           std::optional<at::MemoryFormat> format) {
  check_options(layout, on, pin_memory);
  return empty(size, c10::dtype_or_default(dtype), format);
}

Tensor empty_strided_options(IntArrayRef size, IntArrayRef stride, std::optional<at::ScalarType> dtype,
                             std::optional<at::Layout> layout, std::optional<at::Device> on, std::optional<bool> pin_memory) {
  check_options(layout, on, pin_memory);
  return empty_strided(size, stride, c10::dtype_or_default(dtype));
}

// Grows the storage if the new shape reaches beyond its end; never shrinks it.
void set_shape(at::TensorImpl* self, IntArrayRef size, at::OptionalIntArrayRef stride) {
  size_t bytes;
  const size_t item = self->dtype().itemsize();
  if (stride) {
    self->set_sizes_and_strides(size, *stride);
    bytes = at::detail::computeStorageNbytes(size, *stride, item, static_cast<size_t>(self->storage_offset()));
  } else {
    self->set_sizes_contiguous(size);
    bytes = at::detail::computeStorageNbytesContiguous(size, item, static_cast<size_t>(self->storage_offset()));
  }
  if (self->numel() == 0) return;
  const c10::Storage& storage = self->unsafe_storage();
  TORCH_CHECK(storage, "Tensor: invalid null storage");
  if (bytes > storage.nbytes()) at::detail::getPrivateUse1Hooks().resizePrivateUse1Bytes(storage, bytes);
}

const Tensor& resize_(const Tensor& self, IntArrayRef size, std::optional<at::MemoryFormat> format) {
  if (self.sizes() != size) set_shape(self.unsafeGetTensorImpl(), size, std::nullopt);
  if (format) {
    TORCH_CHECK(*format != at::MemoryFormat::Preserve, "Unsupported memory format ", *format);
    self.unsafeGetTensorImpl()->empty_tensor_restride(*format);
  }
  return self;
}

Tensor& set_storage_offset(Tensor& self, at::Storage storage, int64_t offset, IntArrayRef size, IntArrayRef stride) {
  at::native::checkSetStorage(self, std::move(storage), offset, size, stride);
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_offset(offset);
  set_shape(impl, size, stride.data() != nullptr ? at::OptionalIntArrayRef(stride) : std::nullopt);
  return self;
}

Tensor& set_empty(Tensor& self) {
  at::Storage storage(at::Storage::use_byte_size_t(), 0, c10::GetAllocator(c10::DeviceType::PrivateUse1), true);
  return set_storage_offset(self, std::move(storage), 0, {0}, {1});
}

// One in-order stream: nothing to wait for.
void record_stream(Tensor&, at::Stream) {}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty_memory_format);
  m.impl("empty_strided", &empty_strided_options);
  m.impl("resize_", &resize_);
  m.impl("set_.source_Storage_storage_offset", &set_storage_offset);
  m.impl("set_", &set_empty);
  m.impl("record_stream", &record_stream);
}

}  // namespace
}  // namespace usbgpu::aten
