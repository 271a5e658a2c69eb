// The VRAM block allocator: a coalescing best-fit heap with exact-size caches in front.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/runtime.h"

namespace usbgpu::runtime {

// Addresses are GPU virtual addresses of the flat VRAM mapping. Not thread-safe: the device locks.
// A block may be handed out again at once, because there is one in-order stream.
class BlockAllocator {
 public:
  static constexpr uint64_t kGranule = 512;  // bytes; what torch's alignment checks and our 16-byte loads like

  BlockAllocator(DevicePtr begin, DevicePtr end);

  DevicePtr allocate(uint64_t bytes);  // throws OutOfMemory after giving the caches back and trying again
  void free(DevicePtr address);        // throws std::invalid_argument for an address that is not allocated
  void empty_cache();
  uint64_t size_of(DevicePtr address) const;  // rounded bytes, 0 if not allocated
  const MemoryStats& stats() const { return stats_; }
  void reset_peaks();
  std::vector<std::pair<DevicePtr, uint64_t>> live() const;  // address, rounded bytes

 private:
  DevicePtr take_from_heap(uint64_t bytes);  // 0 = no hole is large enough
  void give_to_heap(DevicePtr address, uint64_t bytes);

  std::map<DevicePtr, uint64_t> holes_;                    // by address
  std::set<std::pair<uint64_t, DevicePtr>> holes_by_size_;
  std::unordered_map<uint64_t, std::vector<DevicePtr>> cache_;  // rounded size -> free blocks
  std::unordered_map<DevicePtr, uint64_t> live_;
  MemoryStats stats_;
};

}  // namespace usbgpu::runtime
