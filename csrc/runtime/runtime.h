// What the operators (csrc/aten) need of a GPU: memory, launches, copies. No torch in here.
//
// Everything is asynchronous and in order on one stream: a call appends to a command stream in
// host memory, and nothing crosses the cable before something must (a read-back, synchronize(),
// a full window). All methods may be called from any thread without the GIL.
//
// Errors: methods throw std::exception-derived errors. A failure of the road over the cable (a
// Python exception of torch_usbgpu.errors) arrives as pybind11::error_already_set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace usbgpu::runtime {

using DevicePtr = uint64_t;  // GPU virtual address

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
};

struct OutOfMemory : std::runtime_error {
  OutOfMemory(size_t requested, size_t free, size_t total, const char* memory = "VRAM",
              const char* next = "free tensors, call torch.usbgpu.empty_cache(), or use a smaller batch.");
  size_t requested, free, total;  // bytes
};

// An instantiation of a kernel template. Interned: one address per (family, symbol) for the
// life of the process. Not compiled before the first flush that launches it, and then together
// with all others that wait.
class Kernel;

struct MemoryStats {
  uint64_t total = 0;             // bytes of VRAM that tensors may use
  uint64_t allocated = 0, allocated_peak = 0;
  uint64_t reserved = 0, reserved_peak = 0;    // taken from the heap, in use or cached
  uint64_t allocations = 0, frees = 0, retries = 0, ooms = 0;
};

// Where kernels report an error of their data (an index out of bounds): 32 bytes of VRAM, zero
// while all is well. A kernel that finds an error stores nothing if code is already set. Checked by
// every blocking call (copy_out, synchronize), which then clears it and throws IndexOutOfBounds or DataError.
struct ErrorBlock {
  uint32_t code;     // 0 none, 1 index out of bounds, 2 another error of the data
  uint32_t detail;   // which dimension, or which error (torch_usbgpu/kernels/error_kinds.h)
  int64_t index;
  int64_t size;
  uint64_t reserved;
};
inline constexpr size_t kErrorBlockBytes = sizeof(ErrorBlock);

struct IndexOutOfBounds : std::out_of_range {
  explicit IndexOutOfBounds(const ErrorBlock& block);
  ErrorBlock block;
};

struct DataError : std::domain_error {
  explicit DataError(const ErrorBlock& block);
  ErrorBlock block;
};

class Device {
 public:
  virtual ~Device() = default;

  virtual std::string_view name() const = 0;   // for people: "AMD Radeon RX 7900 XTX, emulated"
  virtual std::string_view arch() const = 0;   // "gfx1100"
  virtual uint32_t compute_units() const = 0;

  // ---- memory: 512-byte aligned blocks, stream-ordered: a freed block may be handed out at once.
  virtual DevicePtr allocate(size_t bytes) = 0;   // throws OutOfMemory; 0 bytes -> 0
  virtual void free(DevicePtr address) noexcept = 0;
  virtual void empty_cache() = 0;
  virtual MemoryStats memory_stats() const = 0;
  virtual void reset_peak_memory_stats() = 0;

  // ---- kernels
  // family: file torch_usbgpu/kernels/<family>.hip. symbol: unique kernel name (a C identifier).
  // instantiation: the source line that defines `extern "C" __global__ void symbol(...)`, in the
  // file's own macros, e.g. "USBGPU_POINTWISE(add_f32_f32_f32, op_add, float, float, float)".
  virtual Kernel* kernel(std::string_view family, std::string_view symbol, std::string_view instantiation) = 0;
  // args: the kernel's parameters as the compiler lays them out (natural alignment, in order);
  // one struct passed by value is the usual form. Copied. grid counts workgroups.
  virtual void launch(Kernel* kernel, Dim3 grid, Dim3 block, const void* args, size_t bytes,
                      uint32_t dynamic_lds_bytes = 0) = 0;

  // ---- copies
  // The source is captured before the call returns: the caller may change it at once.
  virtual void copy_in(DevicePtr to, const void* from, size_t bytes) = 0;
  virtual void copy_out(void* to, DevicePtr from, size_t bytes) = 0;          // blocks
  virtual void copy(DevicePtr to, DevicePtr from, size_t bytes) = 0;          // no overlap
  // pattern: the lowest `pattern_bytes` (1, 2, 4 or 8) repeated; to and bytes are multiples of it.
  virtual void fill(DevicePtr to, uint64_t pattern, unsigned pattern_bytes, size_t bytes) = 0;

  virtual DevicePtr error_block() const = 0;   // ErrorBlock in VRAM, see above

  // ---- order
  virtual void flush() = 0;             // hand everything over to the GPU, do not wait
  virtual void synchronize() = 0;       // wait; throws GpuFault/GpuHang for anything that went wrong
  virtual uint64_t record() = 0;        // sequence number after everything so far
  virtual bool query(uint64_t sequence) = 0;   // has it been reached (one small transfer)?
  virtual void wait(uint64_t sequence) = 0;

  // ---- counters
  virtual uint64_t launches() const = 0;
  virtual uint64_t submissions() const = 0;
};

// The process's device 0; opens it (boots the GPU) on the first call, with the GIL taken inside.
// `_C` reaches it through the capsule "torch_usbgpu._runtime.api".
struct Api {
  uint32_t version;         // sizeof(Api)
  Device* (*device)();      // never null; throws what the open failed with
  bool (*is_open)();
};
inline constexpr const char* kApiCapsule = "torch_usbgpu._runtime.api";

}  // namespace usbgpu::runtime
