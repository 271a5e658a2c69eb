// c10::DeviceAllocator over the runtime's block allocator, with statistics.
//
// data_ptr is a GPU virtual address: an ordinary StorageImpl then makes views, aliasing, pickling
// and TensorIterator work unchanged, and a host dereference crashes at once, which is wanted.
#include <c10/core/Allocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/Exception.h>

#include <mutex>
#include <unordered_map>

#include "aten/backend/backend.h"
#include "aten/launch.h"

namespace usbgpu::aten {

namespace {

std::string bytes_text(size_t bytes) {
  const char* units[] = {"bytes", "KiB", "MiB", "GiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 3) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit ? "%.2f %s" : "%.0f %s", value, units[unit]);
  return text;
}

class UsbGpuAllocator final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device where(c10::DeviceType::PrivateUse1, 0);
    if (bytes == 0) return {nullptr, nullptr, &release, where};
    void* data = nullptr;
    try {
      data = reinterpret_cast<void*>(device().allocate(bytes));
    } catch (const runtime::OutOfMemory& error) {
      const auto stats = device().memory_stats();
      TORCH_CHECK_WITH(OutOfMemoryError, false, "usbgpu out of memory. Tried to allocate ", bytes_text(bytes),
                       ". GPU 0 has a total capacity of ", bytes_text(error.total), " of which ",
                       bytes_text(error.free), " is free. ", bytes_text(stats.allocated), " is allocated by tensors, and ",
                       bytes_text(stats.reserved - std::min(stats.reserved, stats.allocated)),
                       " is reserved but unallocated. Free tensors, call torch.usbgpu.empty_cache(), or use a smaller "
                       "batch.");
    }
    {
      std::lock_guard lock(mutex_);
      sizes_[data] = bytes;
      requested_.increase(bytes);
      count_.increase(1);
    }
    return {data, data, &release, where};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    device().copy(reinterpret_cast<uint64_t>(to), reinterpret_cast<uint64_t>(from), bytes);
  }

  bool initialized() override { return device_is_open(); }

  void emptyCache(c10::MempoolId_t) override {
    if (device_is_open()) device().empty_cache();
  }

  // One in-order stream: a freed block is reused only by later work.
  void recordStream(const c10::DataPtr&, c10::Stream) override {}

  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex index) override {
    check_device_index(index);
    c10::CachingDeviceAllocator::DeviceStats stats;
    if (!device_is_open()) return stats;
    const auto memory = device().memory_stats();
    std::lock_guard lock(mutex_);
    auto aggregate = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    auto set = [&](auto& array, uint64_t current, uint64_t peak, const c10::CachingAllocator::Stat& flow) {
      array[aggregate].current = static_cast<int64_t>(current);
      array[aggregate].peak = static_cast<int64_t>(peak);
      array[aggregate].allocated = flow.allocated;
      array[aggregate].freed = flow.freed;
    };
    set(stats.allocated_bytes, memory.allocated, memory.allocated_peak, requested_);
    set(stats.active_bytes, memory.allocated, memory.allocated_peak, requested_);
    set(stats.reserved_bytes, memory.reserved, memory.reserved_peak, {});
    set(stats.requested_bytes, requested_.current, requested_.peak, requested_);
    set(stats.allocation, count_.current, count_.peak, count_);
    set(stats.active, count_.current, count_.peak, count_);
    stats.num_alloc_retries = static_cast<int64_t>(memory.retries);
    stats.num_ooms = static_cast<int64_t>(memory.ooms);
    return stats;
  }

  void resetAccumulatedStats(c10::DeviceIndex index) override {
    check_device_index(index);
    std::lock_guard lock(mutex_);
    requested_.reset_accumulated();
    count_.reset_accumulated();
  }

  void resetPeakStats(c10::DeviceIndex index) override {
    check_device_index(index);
    if (device_is_open()) device().reset_peak_memory_stats();
    std::lock_guard lock(mutex_);
    requested_.reset_peak();
    count_.reset_peak();
  }

  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex index) override {
    check_device_index(index);
    const auto memory = device().memory_stats();
    return {memory.total - memory.allocated, memory.total};
  }

 private:
  static void release(void* data);

  std::mutex mutex_;
  std::unordered_map<void*, size_t> sizes_;
  c10::CachingAllocator::Stat requested_, count_;
};

// Leaked: tensors that outlive the module's statics still free through it.
UsbGpuAllocator& the_allocator() {
  static auto* allocator = new UsbGpuAllocator;
  return *allocator;
}

void UsbGpuAllocator::release(void* data) {
  if (!data) return;
  auto& self = the_allocator();
  {
    std::lock_guard lock(self.mutex_);
    if (auto found = self.sizes_.find(data); found != self.sizes_.end()) {
      self.requested_.decrease(found->second);
      self.count_.decrease(1);
      self.sizes_.erase(found);
    }
  }
  // After the device was closed (process exit) there is nothing to give back, and device() must
  // not boot it again.
  if (device_is_open()) device().free(reinterpret_cast<uint64_t>(data));
}

const bool registered = [] {
  c10::SetAllocator(c10::DeviceType::PrivateUse1, &the_allocator());
  return true;
}();

}  // namespace

void check_device_index(c10::DeviceIndex index) {
  TORCH_CHECK(index == 0 || index == -1, "usbgpu:", static_cast<int>(index),
              " does not exist: there is one device, usbgpu:0");
}

}  // namespace usbgpu::aten
