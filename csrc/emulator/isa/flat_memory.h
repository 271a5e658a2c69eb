// An address space without a GPU around it: for tests and benchmarks of the shader cores.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <utility>

#include "emulator/isa/dispatch.h"

namespace usbgpu::emulator {

// Separate regions at chosen addresses; everything else is unmapped.
class FlatMemory final : public AddressSpace {
 public:
  void map(uint64_t va, size_t bytes, bool write, bool execute, bool bridge) {
    Region r;
    r.storage.reset(new std::byte[bytes + kAlign]());
    const auto address = reinterpret_cast<uintptr_t>(r.storage.get());
    r.host = reinterpret_cast<std::byte*>((address + kAlign - 1) / kAlign * kAlign);
    r.bytes = bytes;
    r.write = write, r.execute = execute, r.bridge = bridge;
    const auto after = regions_.lower_bound(va);
    if (after != regions_.end() && after->first < va + bytes) throw std::invalid_argument("regions overlap");
    if (after != regions_.begin() && std::prev(after)->first + std::prev(after)->second.bytes > va) throw std::invalid_argument("regions overlap");
    regions_[va] = std::move(r);
    ++generation_;
  }
  void unmap(uint64_t va) {
    if (!regions_.erase(va)) throw std::invalid_argument("no region begins here");
    ++generation_;
  }
  // Host memory of an address range inside one region, whatever waves may do with it.
  std::span<std::byte> at(uint64_t va, size_t bytes) {
    const Region* r = find(va);
    if (!r || va - base_of(va) + bytes > r->bytes) throw std::out_of_range("not inside one mapped region");
    return {r->host + (va - base_of(va)), bytes};
  }

  std::optional<Translation> translate(uint64_t va, Access access, bool probe) override {
    const Region* r = find(va);
    if (!r || (access == Access::write && !r->write) || (access == Access::atomic && !r->write) || (access == Access::execute && !r->execute)) {
      if (!probe) ++faults_;
      return std::nullopt;
    }
    Translation t;
    const uint64_t offset = va - base_of(va);
    t.host = r->bridge ? nullptr : r->host + offset;
    t.bytes = r->bytes - offset;
    t.readable = true, t.writable = r->write, t.executable = r->execute;
    t.writable_directly = r->write && !r->bridge;
    return t;
  }
  bool load(uint64_t va, std::span<std::byte> into) override {
    for (size_t n = 0; n < into.size(); ++n) {
      const Region* r = find(va + n);
      if (!r) return ++faults_, false;
      into[n] = r->host[va + n - base_of(va + n)];
    }
    return true;
  }
  bool store(uint64_t va, std::span<const std::byte> from) override {
    for (size_t n = 0; n < from.size(); ++n) {
      const Region* r = find(va + n);
      if (!r || !r->write) return ++faults_, false;
      r->host[va + n - base_of(va + n)] = from[n];
    }
    return true;
  }
  uint64_t generation() const override { return generation_; }
  uint64_t faults() const { return faults_; }

 private:
  static constexpr size_t kAlign = 4096;
  struct Region {
    std::unique_ptr<std::byte[]> storage;
    std::byte* host = nullptr;
    size_t bytes = 0;
    bool write = false, execute = false, bridge = false;
  };
  uint64_t base_of(uint64_t va) const { return std::prev(regions_.upper_bound(va))->first; }
  const Region* find(uint64_t va) const {
    auto after = regions_.upper_bound(va);
    if (after == regions_.begin()) return nullptr;
    --after;
    return va - after->first < after->second.bytes ? &after->second : nullptr;
  }

  std::map<uint64_t, Region> regions_;
  uint64_t generation_ = 1;
  std::atomic<uint64_t> faults_{0};
};

}  // namespace usbgpu::emulator
