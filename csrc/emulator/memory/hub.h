// A VM hub (GC or MM): the page-table walk for VMID 0, its TLB, its fault registers.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>

#include "emulator/ip/board.h"
#include "emulator/isa/dispatch.h"

namespace usbgpu::emulator {

class Hub {
 public:
  enum class Kind { gc, mm };
  Hub(Board& board, Kind kind);

  // Where an address leads: VRAM (paddr) or the bus, for `bytes` from there on.
  struct Place {
    bool system = false, readable = false, writable = false, executable = false;
    uint64_t physical = 0, bytes = 0;
    bool fallback = false;  // the default page, in place of what failed
  };
  std::optional<Place> resolve(uint64_t va, Access access, uint32_t cid, bool probe = false);
  // One access of client `cid`. See AddressSpace::translate for what comes back.
  std::optional<Translation> translate(uint64_t va, Access access, uint32_t cid, bool probe = false);
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }
  void invalidate();  // drop every cached translation
  void power_on();    // register values at power-on
  void clear_fault();
  Reg reg(std::string_view name) const;      // without the hub's prefix
  Field field(std::string_view name) const;

 private:
  enum FaultKind { range, dummy_page, pde0, valid, read, write, execute, kinds };
  struct Config {
    bool enabled = false, system_aperture = false;
    unsigned depth = 3;
    uint64_t start = 0, end = 0, root = 0, aperture_low = 0, aperture_high = 0, default_page = 0;
    std::array<bool, kinds> to_default{}, interrupt{};
    std::array<bool, 3> directory_default{};  // of the second level, by directory level
    bool context_pde_default = false;
    uint32_t client_interrupts = 0;           // by client id, bit 16 for all higher ones
    bool to_default_directory(unsigned level) const { return context_pde_default && directory_default[level < 3 ? level : 2]; }
  };
  struct Leaf {
    uint64_t bytes = 0, physical = 0;
    bool system = false, readable = false, writable = false, executable = false;
  };
  struct Walk {
    std::optional<Leaf> leaf;
    uint64_t start = 0;          // va of the leaf's run
    FaultKind fault = valid;
    unsigned walker_error = 0;
    bool mapping_error = false;
  };

  void attach_registers();
  void reload();  // registers -> Config
  Walk walk(const Config& config, uint64_t va) const;
  std::optional<Place> fail(const Config& config, uint64_t va, Access access, uint32_t cid, const Walk& why, bool probe);
  void record(uint64_t va, Access access, uint32_t cid, const Walk& why, bool interrupt);

  Board& board_;
  Kind kind_;
  std::string prefix_;
  std::atomic<uint64_t> generation_{1};
  mutable std::shared_mutex mutex_;   // config_ and tlb_
  Config config_;
  std::map<uint64_t, Leaf> tlb_;      // by start of the run
  std::array<uint64_t, 8> reported_{};  // pages lately reported through IH
  unsigned reported_next_ = 0;
  bool semaphore_[18] = {};
};

// The hub as one client sees it.
class ClientSpace final : public AddressSpace {
 public:
  ClientSpace(Board& board, Hub& hub, uint32_t cid) : board_(board), hub_(hub), cid_(cid) {}
  std::optional<Translation> translate(uint64_t va, Access access, bool probe = false) override {
    return hub_.translate(va, access, cid_, probe);
  }
  bool load(uint64_t va, std::span<std::byte> into) override;
  bool store(uint64_t va, std::span<const std::byte> from) override;
  uint64_t generation() const override { return hub_.generation(); }

 private:
  Board& board_;
  Hub& hub_;
  uint32_t cid_;
};

}  // namespace usbgpu::emulator
