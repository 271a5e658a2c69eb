// The helpers of launch.h.
#include "aten/bits.h"
#include "aten/launch.h"

#include <ATen/EmptyTensor.h>
#include <ATen/native/Resize.h>
#include <c10/core/Allocator.h>
#include <pybind11/pybind11.h>

#include <atomic>

#include "../../../torch_usbgpu/kernels/error_kinds.h"

namespace usbgpu::aten {

namespace {

// The runtime is another extension module: it hands over its table in a capsule. Importing it
// does not open the device.
const runtime::Api* runtime_api() {
  static std::atomic<const runtime::Api*> cached{nullptr};
  if (const auto* api = cached.load(std::memory_order_acquire)) return api;
  pybind11::gil_scoped_acquire gil;
  auto module = pybind11::module_::import("torch_usbgpu._runtime");
  auto capsule = pybind11::object(module.attr("api"));
  auto* api = static_cast<const runtime::Api*>(PyCapsule_GetPointer(capsule.ptr(), runtime::kApiCapsule));
  if (!api) throw pybind11::error_already_set();
  TORCH_CHECK(api->version == sizeof(runtime::Api), "torch_usbgpu._runtime and torch_usbgpu._C were not built "
              "together (interface of ", api->version, " and ", sizeof(runtime::Api), " bytes): build them again.");
  cached.store(api, std::memory_order_release);
  return api;
}

}  // namespace

static std::atomic<bool> bad_fork{false};

// Asked anew at every use: the runtime replaces its device when one was closed or reset.
runtime::Device& device() {
  TORCH_CHECK(!bad_fork.load(std::memory_order_relaxed), "Cannot use usbgpu in a forked subprocess of a process that "
              "opened it. To use usbgpu with multiprocessing, you must use the 'spawn' start method");
  return *runtime_api()->device();
}

bool device_is_open() { return !bad_fork.load(std::memory_order_relaxed) && runtime_api()->is_open(); }

void mark_bad_fork() { bad_fork = true; }

// Torch's words for what a kernel found.
[[noreturn]] static void raise_data_error(const runtime::DataError& error) {
  using namespace usbgpu_family;
  const runtime::ErrorBlock& block = error.block;
  switch (block.detail) {
    case kInputNotProbability: TORCH_CHECK(false, "all elements of input should be between 0 and 1");
    case kTargetNotProbability: TORCH_CHECK(false, "all elements of target should be between 0 and 1");
    case kMarginTargetOutOfRange: TORCH_CHECK(false, "target out of range");
    case kMultilabelTargetOutOfRange: TORCH_CHECK(false, "argument #2 'target' is out of range");
    case kDivisionByZero: TORCH_CHECK(false, "ZeroDivisionError");
    case kBagsStart:
      TORCH_CHECK(false, "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
                  "However, got ", block.index);
    case kBagsEnd:
      TORCH_CHECK(false, "offsets[-1] can not be greater than input's length ", block.size, " but got offsets[-1] of ",
                  block.index);
    default: TORCH_CHECK(false, error.what());
  }
}

template <class Blocking>
static void with_torch_errors(Blocking&& blocking) {
  try {
    blocking();
  } catch (const runtime::IndexOutOfBounds& error) {
    TORCH_CHECK_INDEX(false, error.what());
  } catch (const runtime::DataError& error) {
    raise_data_error(error);
  }
}

void synchronize() {
  if (!device_is_open()) return;
  with_torch_errors([] { device().synchronize(); });
}

void read_back(void* to, uint64_t from, size_t bytes) {
  with_torch_errors([&] { device().copy_out(to, from, bytes); });
}

const char* dtype_name(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return "f32";
    case at::kDouble: return "f64";
    case at::kHalf: return "f16";
    case at::kBFloat16: return "bf16";
    case at::kChar: return "i8";
    case at::kByte: return "u8";
    case at::kShort: return "i16";
    case at::kInt: return "i32";
    case at::kLong: return "i64";
    case at::kBool: return "b8";
    case at::kComplexFloat: return "c64";
    case at::kComplexDouble: return "c128";
    case at::kComplexHalf: return "c32";
    case at::kUInt16: return "u16";
    case at::kUInt32: return "u32";
    case at::kUInt64: return "u64";
    case at::kFloat8_e4m3fn: return "f8e4m3fn";
    case at::kFloat8_e5m2: return "f8e5m2";
    case at::kFloat8_e4m3fnuz: return "f8e4m3fnuz";
    case at::kFloat8_e5m2fnuz: return "f8e5m2fnuz";
    case at::kFloat8_e8m0fnu: return "f8e8m0fnu";
    default: TORCH_CHECK_NOT_IMPLEMENTED(false, "dtype ", type, " has no kernels on usbgpu");
  }
}

const char* dtype_c_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return "float";
    case at::kDouble: return "double";
    case at::kHalf: return "_Float16";
    case at::kBFloat16: return "__bf16";
    case at::kChar: return "int8_t";
    case at::kByte: return "uint8_t";
    case at::kShort: return "int16_t";
    case at::kInt: return "int32_t";
    case at::kLong: return "int64_t";
    case at::kBool: return "bool";
    case at::kComplexFloat: return "usbgpu::kernels::Complex<float>";
    case at::kComplexDouble: return "usbgpu::kernels::Complex<double>";
    case at::kComplexHalf: return "usbgpu::kernels::Complex<_Float16>";
    case at::kUInt16: return "uint16_t";
    case at::kUInt32: return "uint32_t";
    case at::kUInt64: return "uint64_t";
    case at::kFloat8_e4m3fn: return "usbgpu::kernels::float8_e4m3fn";
    case at::kFloat8_e5m2: return "usbgpu::kernels::float8_e5m2";
    case at::kFloat8_e4m3fnuz: return "usbgpu::kernels::float8_e4m3fnuz";
    case at::kFloat8_e5m2fnuz: return "usbgpu::kernels::float8_e5m2fnuz";
    case at::kFloat8_e8m0fnu: return "usbgpu::kernels::float8_e8m0fnu";
    default: TORCH_CHECK_NOT_IMPLEMENTED(false, "dtype ", type, " has no kernels on usbgpu");
  }
}

bool dtype_supported(at::ScalarType type) {
  switch (type) {
    case at::kFloat: case at::kDouble: case at::kHalf: case at::kBFloat16: case at::kChar: case at::kByte:
    case at::kShort: case at::kInt: case at::kLong: case at::kBool: return true;
    default: return false;
  }
}

bool dtype_convertible(at::ScalarType type) {
  switch (type) {
    case at::kUInt16: case at::kUInt32: case at::kUInt64: case at::kFloat8_e4m3fn: case at::kFloat8_e5m2:
    case at::kFloat8_e4m3fnuz: case at::kFloat8_e5m2fnuz: case at::kFloat8_e8m0fnu: return true;
    default: return dtype_supported(type);
  }
}

at::ScalarType bits_type(at::ScalarType type) {
  switch (c10::elementSize(type)) {
    case 1: return at::kByte;
    case 2: return at::kShort;
    case 4: return at::kInt;
    default: return at::kLong;
  }
}

at::Tensor reinterpret(const at::Tensor& tensor, at::ScalarType type) {
  auto storage = tensor.storage();
  at::Tensor alias = at::detail::make_tensor<at::TensorImpl>(std::move(storage), tensor.key_set(), c10::scalarTypeToTypeMeta(type));
  alias.unsafeGetTensorImpl()->set_storage_offset(tensor.storage_offset());
  alias.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides());
  return alias;
}

at::Tensor empty(at::IntArrayRef sizes, at::ScalarType type, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(sizes, c10::GetAllocator(c10::DeviceType::PrivateUse1),
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), type, format);
}

at::Tensor empty_strided(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType type) {
  return at::detail::empty_strided_generic(sizes, strides, c10::GetAllocator(c10::DeviceType::PrivateUse1),
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), type);
}

void resize_out(const at::Tensor& out, at::IntArrayRef sizes) { at::native::resize_output(out, sizes); }

void check_on_device(const char* op, const char* argument, const at::TensorBase& tensor) {
  TORCH_CHECK(tensor.is_privateuseone(), op, ": expected ", argument, " on usbgpu:0, but it is on ", tensor.device());
}

void check_dtype_supported(const char* op, const char* argument, const at::TensorBase& tensor) {
  TORCH_CHECK_NOT_IMPLEMENTED(dtype_supported(tensor.scalar_type()), op, ": ", argument, " has dtype ",
                              tensor.scalar_type(), ", which has no kernels on usbgpu");
}

}  // namespace usbgpu::aten
