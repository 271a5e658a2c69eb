// The road over the cable, as the C++ side sees it. torch_usbgpu/runtime/queue.py and copies.py
// are the implementation; device.cpp calls them with the GIL taken inside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/kernel.h"
#include "runtime/runtime.h"

namespace usbgpu::runtime {

// Dwords at the end of a window that the indirect buffer leaves out: the sentinel is the last one.
// A whole 32 bytes, because indirect buffers are multiples of that (Linux: ib_size_alignment).
inline constexpr uint32_t kWindowTrailerDwords = 8;

// A command window in the adapter's SRAM that is ours until its sequence number is reached.
struct Window {
  uint32_t index = 0;
  DevicePtr address = 0;    // as the GPU sees it
  uint32_t bytes = 0;
  uint32_t sentinel = 0;    // goes into the last dword: the ring waits for it
  uint32_t sequence = 0;    // what the fence must be set to at the end of the stream
};

// Data that is on its way into a data window: valid on the GPU once the dword at
// `sentinel_address` equals `sentinel`, and until the next submission's sequence is reached.
struct Upload {
  DevicePtr address = 0;
  DevicePtr sentinel_address = 0;
  uint32_t sentinel = 0;
};

struct LoadedImage {
  std::vector<uint32_t> image;                            // whole dwords
  std::vector<std::pair<std::string, KernelCode>> kernels;  // entry: offset into the image
  std::vector<std::pair<uint32_t, uint32_t>> pointers;      // 64-bit word at (byte) = image + (byte)
};

struct CompileResult {
  std::vector<LoadedImage> images;
  std::vector<std::string> failed;      // symbols
  std::exception_ptr error;             // the first failure
};

// Places that every stream refers to; fixed at boot.
struct RoadMap {
  DevicePtr fence = 0;              // dword that the host reads at XDATA 0xA800
  DevicePtr release = 0;            // storing here frees the armed bulk IN
  DevicePtr readback = 0;           // SRAM slot 0
  uint32_t readback_bytes = 0;
  uint32_t window_bytes = 0;
  uint32_t largest_upload = 0;
  uint32_t fault_status_register = 0;  // dword address of the GC hub's fault status
  DevicePtr error_block = 0;        // kErrorBlockBytes of VRAM
  uint32_t rsrc1_set = 0;           // bits of PGM_RSRC1 that this chip wants beside the descriptor's
  DevicePtr progress = 0;           // struct Progress in VRAM; 0: no notes are made
};

// What the command processor notes on its way, for a host that wonders why nothing moves: which window it has
// begun, and the kernel that it has started last, or the dword in the dock's SRAM that it waits for.
struct Progress {
  uint64_t at;          // a kernel's entry, or the address of a data window's sentinel
  uint32_t sequence;    // of the window
};

class Road {
 public:
  virtual ~Road() = default;
  // Runs what waits for another thread of this device, without anything that the others may need.
  virtual void block(const std::function<void()>& waiting) { waiting(); }
  virtual Window acquire() = 0;
  virtual void submit(const Window& window, std::span<const uint32_t> payload) = 0;
  // Submits, then blocks until the GPU has released `into.size()` bytes (a multiple of 512).
  virtual void submit_and_read(const Window& window, std::span<const uint32_t> payload, std::span<std::byte> into) = 0;
  virtual Upload upload(std::span<const std::byte> data) = 0;  // at most largest_upload
  // What waits for the last upload has been submitted. It may have been in any of the windows since then.
  virtual void upload_consumed() = 0;
  // Whole copies through SDMA; everything submitted before is finished first. They block.
  virtual void bulk_in(DevicePtr to, std::span<const std::byte> from) = 0;
  virtual void bulk_out(std::span<std::byte> to, DevicePtr from) = 0;
  virtual bool reached(uint32_t sequence) = 0;
  virtual CompileResult compile(const std::vector<const Kernel*>& kernels) = 0;
  // Raises the typed error for a fault that a read-back's status words announced.
  virtual void raise_fault(uint32_t fault_status) = 0;
};

}  // namespace usbgpu::runtime
