// What every operator file uses to reach the GPU: the runtime, kernels by key, launches, names of
// dtypes, and the checks whose messages users see. Including this must stay cheap: no ATen/ATen.h.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/native/TensorIterator.h>
#include <c10/core/ScalarType.h>
#include <c10/util/SmallVector.h>

#include <array>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <type_traits>
#include <unordered_map>

#include "runtime/runtime.h"

namespace usbgpu::aten {

using runtime::Dim3;
using runtime::Kernel;

// ---- the device

runtime::Device& device();   // boots the GPU on the first call (may take the GIL)
bool device_is_open();       // never boots
void mark_bad_fork();        // this process was forked off one that had the device open

// What blocks. Errors that kernels reported arrive as torch's own (an index out of bounds: IndexError).
void synchronize();
void read_back(void* to, uint64_t from, size_t bytes);

// GPU virtual address of a tensor's first element (storage offset included).
inline uint64_t address(const at::TensorBase& tensor) {
  return reinterpret_cast<uint64_t>(tensor.const_data_ptr());
}

// ---- dtypes

// "f32" "f64" "f16" "bf16" "i8" "u8" "i16" "i32" "i64" "b8": parts of kernel symbols.
const char* dtype_name(at::ScalarType type);
// The C type in kernel source: "float" "double" "_Float16" "__bf16" "int8_t" ... "bool"
const char* dtype_c_type(at::ScalarType type);
// Has kernels (real floating, integers up to 64 bits, bool). Others take the CPU fallback.
bool dtype_supported(at::ScalarType type);

inline bool is_low_precision(at::ScalarType type) { return type == at::kHalf || type == at::kBFloat16; }
// The type arithmetic is done in: f32 for f16 and bf16, else the type itself.
inline at::ScalarType compute_dtype(at::ScalarType type) { return is_low_precision(type) ? at::kFloat : type; }

// ---- kernels

struct KernelSource {
  std::string family;         // file torch_usbgpu/kernels/<family>.hip
  std::string symbol;         // unique name of the instantiation, a C identifier
  std::string instantiation;  // "USBGPU_SOFTMAX(softmax_f32, float, float)"
};

// Kernels by a small integer key, so that the names are put together once and not per launch:
//   static KernelCache cache;
//   Kernel* k = cache.get(key(dtype, wide), [&] { return KernelSource{...}; });
class KernelCache {
 public:
  template <class Make>
  Kernel* get(uint64_t key, Make&& make) {
    {
      std::shared_lock lock(mutex_);
      if (auto found = kernels_.find(key); found != kernels_.end()) return found->second;
    }
    KernelSource source = make();
    Kernel* kernel = device().kernel(source.family, source.symbol, source.instantiation);
    std::unique_lock lock(mutex_);
    return kernels_.emplace(key, kernel).first->second;
  }

 private:
  std::shared_mutex mutex_;
  std::unordered_map<uint64_t, Kernel*> kernels_;
};

// Packs small numbers (dtypes, flags, ranks) into a KernelCache key, 8 bits each.
template <class... Parts>
uint64_t key(Parts... parts) {
  static_assert(sizeof...(parts) <= 8);
  uint64_t result = 0;
  ((result = result << 8 | (static_cast<uint64_t>(parts) & 0xff)), ...);
  return result;
}

// args: one trivially copyable struct, the kernel's only parameter. It is defined in a header
// torch_usbgpu/kernels/<family>_args.h that both sides include ("../../torch_usbgpu/kernels/...").
template <class Args>
void launch(Kernel* kernel, Dim3 grid, Dim3 block, const Args& args, uint32_t dynamic_lds_bytes = 0) {
  static_assert(std::is_trivially_copyable_v<Args> && !std::is_pointer_v<Args>);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  device().launch(kernel, grid, block, &args, sizeof(Args), dynamic_lds_bytes);
}

inline uint32_t ceil_div(uint64_t value, uint64_t by) { return static_cast<uint32_t>((value + by - 1) / by); }

// ---- new tensors on the device (uninitialised)

at::Tensor empty(at::IntArrayRef sizes, at::ScalarType type, std::optional<at::MemoryFormat> format = std::nullopt);
at::Tensor empty_strided(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType type);
// Contiguous. Not named empty_like: for a Tensor, lookup would prefer at::empty_like, which keeps strides.
inline at::Tensor dense_like(const at::TensorBase& of) { return empty(of.sizes(), of.scalar_type()); }

// Resizes an `out=` argument as ATen does (warns when it was not empty), checking nothing else.
void resize_out(const at::Tensor& out, at::IntArrayRef sizes);

// ---- checks

// "<op>: expected <argument> on usbgpu:0, but it is on cpu"
void check_on_device(const char* op, const char* argument, const at::TensorBase& tensor);
// "<op>: <argument> has dtype ComplexFloat, which has no kernels on usbgpu"
void check_dtype_supported(const char* op, const char* argument, const at::TensorBase& tensor);

}  // namespace usbgpu::aten
