// Page-locked ("pinned") host memory, as far as it means anything over USB.
//
// A copy to the device captures its source when it is issued, and one from the device has arrived when it returns: any
// host memory may be changed at once, and none is faster than another. What remains of pinning is the promise that
// programs check: pin_memory() gives memory that is_pinned() knows, ordinary memory is not called pinned.
#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <iterator>
#include <map>
#include <mutex>

#include "aten/backend/pinned.h"

namespace usbgpu::aten {

namespace {

class PinnedAllocator final : public at::HostAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, c10::DeviceType::CPU};
    void* data = c10::alloc_cpu(bytes);
    std::lock_guard lock(mutex_);
    blocks_[reinterpret_cast<uintptr_t>(data)] = bytes;
    stats_.active_requests.increase(1);
    stats_.allocations.increase(1);
    stats_.active_bytes.increase(bytes);
    stats_.allocated_bytes.increase(bytes);
    ++stats_.num_host_alloc;
    return {data, data, &release, c10::DeviceType::CPU};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

  // No copy is under way when its call has returned: a block may be freed at any time, and none is kept.
  bool record_event(void* data, void*, c10::Stream) override { return contains(data); }
  void empty_cache() override {}

  at::HostStats get_stats() override {
    std::lock_guard lock(mutex_);
    return stats_;
  }
  void reset_accumulated_stats() override {
    each_stat([](auto& stat) { stat.reset_accumulated(); });
  }
  void reset_peak_stats() override {
    each_stat([](auto& stat) { stat.reset_peak(); });
  }

  bool contains(const void* data) {
    const auto address = reinterpret_cast<uintptr_t>(data);
    std::lock_guard lock(mutex_);
    auto after = blocks_.upper_bound(address);
    return after != blocks_.begin() && address < std::prev(after)->first + std::prev(after)->second;
  }

 private:
  static void release(void* data);

  template <class Work>
  void each_stat(Work work) {
    std::lock_guard lock(mutex_);
    for (auto* stat : {&stats_.active_requests, &stats_.active_bytes, &stats_.allocations, &stats_.allocated_bytes}) {
      work(*stat);
    }
  }

  void forget(void* data) {
    std::lock_guard lock(mutex_);
    const auto found = blocks_.find(reinterpret_cast<uintptr_t>(data));
    if (found == blocks_.end()) return;
    stats_.active_requests.decrease(1);
    stats_.allocations.decrease(1);
    stats_.active_bytes.decrease(found->second);
    stats_.allocated_bytes.decrease(found->second);
    ++stats_.num_host_free;
    blocks_.erase(found);
  }

  std::mutex mutex_;
  std::map<uintptr_t, size_t> blocks_;
  at::HostStats stats_;
};

// Leaked: pinned tensors may outlive this module's statics.
PinnedAllocator& the_allocator() {
  static auto* allocator = new PinnedAllocator;
  return *allocator;
}

void PinnedAllocator::release(void* data) {
  if (!data) return;
  the_allocator().forget(data);    // first: the address may be handed out again as soon as it is free
  c10::free_cpu(data);
}

const bool registered = [] {
  at::setHostAllocator(c10::DeviceType::PrivateUse1, &the_allocator());
  return true;
}();

}  // namespace

at::Allocator* pinned_allocator() { return &the_allocator(); }
bool is_pinned(const void* data) { return the_allocator().contains(data); }

}  // namespace usbgpu::aten
