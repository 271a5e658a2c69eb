#include "runtime/blocks.h"

#include <algorithm>
#include <string>

namespace usbgpu::runtime {

namespace {

// Blocks above this go straight back to the heap: an exact-size hit is unlikely, a hole is precious.
constexpr uint64_t kLargestCached = 64ull << 20;

std::string gib(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GiB", static_cast<double>(bytes) / (1ull << 30));
  return text;
}

}  // namespace

OutOfMemory::OutOfMemory(size_t requested_bytes, size_t free_bytes, size_t total_bytes, const char* memory, const char* next)
    : std::runtime_error("usbgpu out of memory: tried to allocate " + gib(requested_bytes) + " (" +
                         std::to_string(requested_bytes) + " bytes), " + gib(free_bytes) + " of " + gib(total_bytes) +
                         " of " + memory + " are free. Next: " + next),
      requested(requested_bytes), free(free_bytes), total(total_bytes) {}

BlockAllocator::BlockAllocator(DevicePtr begin, DevicePtr end) {
  begin = (begin + kGranule - 1) / kGranule * kGranule;
  end = end / kGranule * kGranule;
  if (end <= begin) throw std::invalid_argument("empty VRAM heap");
  stats_.total = end - begin;
  give_to_heap(begin, end - begin);
}

std::vector<std::pair<DevicePtr, uint64_t>> BlockAllocator::live() const { return {live_.begin(), live_.end()}; }

DevicePtr BlockAllocator::allocate(uint64_t bytes) {
  if (bytes == 0) return 0;
  if (bytes > stats_.total) {
    ++stats_.ooms;
    throw OutOfMemory(bytes, stats_.total - stats_.allocated, stats_.total);
  }
  const uint64_t size = (bytes + kGranule - 1) / kGranule * kGranule;
  DevicePtr address = 0;
  if (auto cached = cache_.find(size); cached != cache_.end() && !cached->second.empty()) {
    address = cached->second.back();
    cached->second.pop_back();
  } else {
    address = take_from_heap(size);
    if (address == 0) {
      ++stats_.retries;
      empty_cache();
      address = take_from_heap(size);
    }
    if (address == 0) {
      ++stats_.ooms;
      throw OutOfMemory(bytes, stats_.total - stats_.allocated, stats_.total);
    }
    stats_.reserved += size;
    stats_.reserved_peak = std::max(stats_.reserved_peak, stats_.reserved);
  }
  live_.emplace(address, size);
  ++stats_.allocations;
  stats_.allocated += size;
  stats_.allocated_peak = std::max(stats_.allocated_peak, stats_.allocated);
  return address;
}

void BlockAllocator::free(DevicePtr address) {
  if (address == 0) return;
  auto block = live_.find(address);
  if (block == live_.end()) throw std::invalid_argument("free of a GPU address that is not allocated");
  const uint64_t size = block->second;
  live_.erase(block);
  ++stats_.frees;
  stats_.allocated -= size;
  if (size <= kLargestCached) {
    cache_[size].push_back(address);
  } else {
    stats_.reserved -= size;
    give_to_heap(address, size);
  }
}

void BlockAllocator::empty_cache() {
  for (auto& [size, blocks] : cache_) {
    for (DevicePtr address : blocks) {
      stats_.reserved -= size;
      give_to_heap(address, size);
    }
  }
  cache_.clear();
}

uint64_t BlockAllocator::size_of(DevicePtr address) const {
  auto block = live_.find(address);
  return block == live_.end() ? 0 : block->second;
}

void BlockAllocator::reset_peaks() {
  stats_.allocated_peak = stats_.allocated;
  stats_.reserved_peak = stats_.reserved;
}

DevicePtr BlockAllocator::take_from_heap(uint64_t bytes) {
  auto best = holes_by_size_.lower_bound({bytes, 0});
  if (best == holes_by_size_.end()) return 0;
  const auto [size, address] = *best;
  holes_by_size_.erase(best);
  holes_.erase(address);
  if (size > bytes) {
    holes_.emplace(address + bytes, size - bytes);
    holes_by_size_.emplace(size - bytes, address + bytes);
  }
  return address;
}

void BlockAllocator::give_to_heap(DevicePtr address, uint64_t bytes) {
  auto after = holes_.lower_bound(address);
  if (after != holes_.end() && address + bytes == after->first) {
    bytes += after->second;
    holes_by_size_.erase({after->second, after->first});
    after = holes_.erase(after);
  }
  if (after != holes_.begin()) {
    auto before = std::prev(after);
    if (before->first + before->second == address) {
      address = before->first;
      bytes += before->second;
      holes_by_size_.erase({before->second, before->first});
      holes_.erase(before);
    }
  }
  holes_.emplace(address, bytes);
  holes_by_size_.emplace(bytes, address);
}

}  // namespace usbgpu::runtime
