// Device: blocks, kernels and the command stream behind the interface of runtime.h.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/blocks.h"
#include "runtime/road.h"
#include "runtime/runtime.h"
#include "runtime/stream.h"

namespace usbgpu::runtime {

struct DeviceConfig {
  std::string name, arch;
  uint32_t compute_units = 0;
  DevicePtr heap_begin = 0, heap_end = 0;
  RoadMap map;
  ScratchMap scratch;
};

struct KernelLaunches {
  std::string symbol;
  DevicePtr entry;       // 0: not compiled yet
  uint64_t launches;
};

class StreamDevice final : public Device {
 public:
  StreamDevice(DeviceConfig config, std::unique_ptr<Road> road);
  ~StreamDevice() override;

  std::string_view name() const override { return config_.name; }
  std::string_view arch() const override { return config_.arch; }
  uint32_t compute_units() const override { return config_.compute_units; }

  DevicePtr allocate(size_t bytes) override;
  void free(DevicePtr address) noexcept override;
  void empty_cache() override;
  MemoryStats memory_stats() const override;
  void reset_peak_memory_stats() override;

  Kernel* kernel(std::string_view family, std::string_view symbol, std::string_view instantiation) override;
  void launch(Kernel* kernel, Dim3 grid, Dim3 block, const void* args, size_t bytes, uint32_t dynamic_lds_bytes) override;

  void copy_in(DevicePtr to, const void* from, size_t bytes) override;
  void copy_out(void* to, DevicePtr from, size_t bytes) override;
  void copy(DevicePtr to, DevicePtr from, size_t bytes) override;
  void fill(DevicePtr to, uint64_t pattern, unsigned pattern_bytes, size_t bytes) override;
  DevicePtr error_block() const override { return config_.map.error_block; }

  void flush() override;
  void synchronize() override;
  uint64_t record() override;
  bool query(uint64_t sequence) override;
  void wait(uint64_t sequence) override;

  uint64_t launches() const override { return launches_; }
  uint64_t submissions() const override { return submissions_; }

  // ---- for torch_usbgpu/runtime, beyond what operators need
  // Uploads a foreign image; its kernels can be launched at once.
  std::vector<Kernel*> load(const LoadedImage& image);
  std::string kernel_at(uint64_t pc) const;    // "" = no kernel of ours
  std::vector<KernelLaunches> kernel_launches() const;  // of every kernel that was launched
  void discard_pending();                      // after a failure: forget what was not submitted
  void clear_error_block();
  MemoryStats fill_allocated(uint64_t pattern);    // every block that is somebody's; what there is of them
  // Runs `work` while nobody else has the stream. `give_up` is asked now and then while somebody has; it may throw.
  // False: it said so, and `work` has not run.
  bool exclusively(const std::function<void()>& work, const std::function<bool()>& give_up);

 private:
  using StreamMutex = std::recursive_timed_mutex;
  // Callers may hold the GIL (torch's bindings of events, streams and storages do), and the thread
  // that has the stream may be waiting for it: so the wait gives it up.
  class Lock {
   public:
    explicit Lock(const StreamDevice& device);

   private:
    std::unique_lock<StreamMutex> held_;
  };
  using MemoryKernels = std::array<Kernel*, 5>;   // by log2 of the item's bytes

  void launch_locked(Kernel* kernel, Dim3 grid, Dim3 block, const void* args, size_t bytes, uint32_t lds);
  Kernel* memory_kernel(MemoryKernels& known, const char* what, unsigned width);
  void append(const Command& command, std::span<const std::byte> payload = {});
  void write(DevicePtr to, std::span<const std::byte> from);          // dword aligned, inline
  void resolve_kernels();                                             // compiles what waits; throws after loading the rest
  void place(const LoadedImage& image, std::vector<Kernel*>& kernels); // allocates, queues the upload in front
  void queue_code(size_t first);                                      // images_[first..], in front of everything
  void submit_all(std::span<std::byte> readback);
  void read_back(std::span<std::byte> into);                          // what read_* commands put at the read-back area
  void check_status(std::span<const std::byte> sector_end);

  DeviceConfig config_;
  std::unique_ptr<Road> road_;
  mutable StreamMutex mutex_;      // the stream; held while Python drives the cable
  mutable std::mutex blocks_mutex_;         // never held while Python runs: tensors die with the GIL taken
  BlockAllocator blocks_;
  BlockAllocator code_blocks_;  // guarded by blocks_mutex_, too; never freed
  struct PlacedImage { DevicePtr base; std::vector<std::byte> data; };
  std::vector<PlacedImage> images_;   // all code ever placed, to be uploaded again after a failure
  size_t images_there_ = 0;           // the first so many are known to have arrived
  CommandStream stream_;
  std::vector<uint32_t> payload_;
  std::unordered_map<std::string, std::unique_ptr<Kernel>> kernels_;   // key: family/symbol
  std::vector<std::unique_ptr<Kernel>> foreign_;
  MemoryKernels copy_kernels_{}, fill_kernels_{};
  mutable std::mutex code_mutex_;
  std::map<DevicePtr, std::pair<DevicePtr, std::string>> code_;        // begin -> end, symbol
  std::atomic<uint64_t> launches_{0}, submissions_{0};
  uint32_t last_submitted_ = 0;     // sequence
  bool unchecked_ = false;          // something was submitted since the last status check
};

}  // namespace usbgpu::runtime
