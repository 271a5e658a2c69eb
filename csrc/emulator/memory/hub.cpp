#include "emulator/memory/hub.h"

#include <algorithm>
#include <utility>

#include "emulator/ip/interrupts.h"

namespace usbgpu::emulator {

namespace {
namespace pte = facts::pte_bits;
constexpr uint64_t bit(unsigned n) { return uint64_t{1} << n; }
constexpr uint64_t address_mask = 0x0000'FFFF'FFFF'F000;  // bits 12..47
constexpr unsigned engines = 18;
constexpr size_t most_translations = 1 << 16;
}  // namespace

Hub::Hub(Board& board, Kind kind) : board_(board), kind_(kind), prefix_(kind == Kind::gc ? "GC" : "MM") {
  attach_registers();
  power_on();
}

Reg Hub::reg(std::string_view name) const { return RegisterFile::find(prefix_ + std::string(name)).value(); }
Field Hub::field(std::string_view name) const { return RegisterFile::find_field(prefix_ + std::string(name)).value(); }

void Hub::attach_registers() {
  RegisterFile& regs = board_.regs;
  // Any of these changes where addresses lead; the TLB goes with it.
  for (const char* name : {"VM_CONTEXT0_CNTL", "VM_CONTEXT0_PAGE_TABLE_BASE_ADDR_LO32", "VM_CONTEXT0_PAGE_TABLE_BASE_ADDR_HI32",
                           "VM_CONTEXT0_PAGE_TABLE_START_ADDR_LO32", "VM_CONTEXT0_PAGE_TABLE_START_ADDR_HI32",
                           "VM_CONTEXT0_PAGE_TABLE_END_ADDR_LO32", "VM_CONTEXT0_PAGE_TABLE_END_ADDR_HI32",
                           "MC_VM_SYSTEM_APERTURE_LOW_ADDR", "MC_VM_SYSTEM_APERTURE_HIGH_ADDR", "MC_VM_MX_L1_TLB_CNTL",
                           "VM_L2_PROTECTION_FAULT_DEFAULT_ADDR_LO32", "VM_L2_PROTECTION_FAULT_DEFAULT_ADDR_HI32"})
    regs.on_write(regs.address(reg(name)), [this](uint32_t address, uint32_t value) {
      board_.regs.set_raw(address, value);
      reload();
    });
  regs.on_write(reg("VM_L2_CNTL2"), [this](uint32_t value) {
    board_.regs.set(reg("VM_L2_CNTL2"), value & ~3u);  // invalidate_all_l1_tlbs, invalidate_l2_cache: pulses
    if (value & 3) invalidate();
  });
  regs.on_write(reg("VM_L2_PROTECTION_FAULT_CNTL"), [this](uint32_t value) {
    if (value & 1) clear_fault();  // clear_protection_fault_status_addr
    board_.regs.set(reg("VM_L2_PROTECTION_FAULT_CNTL"), value & ~1u);
    reload();
  });
  const uint32_t sem = regs.address(reg("VM_INVALIDATE_ENG0_SEM")), req = regs.address(reg("VM_INVALIDATE_ENG0_REQ")),
                 ack = regs.address(reg("VM_INVALIDATE_ENG0_ACK"));
  for (unsigned engine = 0; engine < engines; engine++) {
    // Reading the semaphore acquires it: 1 = it is yours now, 0 = somebody has it.
    regs.on_read(sem + engine, [this, engine](uint32_t) { return std::exchange(semaphore_[engine], true) ? 0u : 1u; });
    regs.on_write(sem + engine, [this, engine](uint32_t, uint32_t value) { semaphore_[engine] = value & 1; });
    regs.on_write(req + engine, [this, engine, req, ack](uint32_t, uint32_t value) {
      board_.regs.set_raw(req + engine, value);
      // only what the request names is dropped: vmid 0, and first level or second level entries
      if ((value & 1) && (value >> 19 & 0x1F)) invalidate();
      board_.regs.set_raw(ack + engine, value & 0xFFFF);
    });
    regs.on_write(ack + engine, [](uint32_t, uint32_t) {});
  }
}

void Hub::clear_fault() {
  std::lock_guard guard(board_.lock);
  for (const char* name : {"VM_L2_PROTECTION_FAULT_STATUS", "VM_L2_PROTECTION_FAULT_ADDR_LO32", "VM_L2_PROTECTION_FAULT_ADDR_HI32"})
    board_.regs.set(reg(name), 0);
  reported_.fill(0);
}

void Hub::power_on() {
  RegisterFile& regs = board_.regs;
  regs.set(reg("MC_VM_FB_LOCATION_BASE"), Board::fb_base >> 24);
  regs.set(reg("MC_VM_FB_LOCATION_TOP"), (Board::fb_base + board_.vram.size() - 1) >> 24);
  regs.set(reg("MC_VM_FB_OFFSET"), 0);
  regs.set(reg("VM_L2_PROTECTION_FAULT_CNTL"), 0x3FFFFFFC);  // every default and every client's interrupt on (Linux *_default.h)
  std::fill(std::begin(semaphore_), std::end(semaphore_), false);
  reported_.fill(0);
  reload();
}

void Hub::reload() {
  RegisterFile& regs = board_.regs;
  auto wide = [&](const char* low, const char* high) { return regs.get64(reg(low), reg(high)); };
  Config config;
  const uint32_t cntl = regs.get(reg("VM_CONTEXT0_CNTL"));
  config.enabled = cntl & 1;
  config.depth = regs.get(field("VM_CONTEXT0_CNTL__page_table_depth"));
  const char* names[kinds] = {"range", "dummy_page", "pde0", "valid", "read", "write", "execute"};
  for (int k = 0; k < kinds; k++) {
    const std::string stem = std::string("VM_CONTEXT0_CNTL__") + names[k] + "_protection_fault_enable_";
    config.interrupt[k] = regs.get(field(stem + "interrupt"));
    config.to_default[k] = regs.get(field(stem + "default"));
  }
  config.context_pde_default = config.to_default[pde0];
  // The second level has a say of its own: the kinds it lets on to the default page, the directories
  // by level, and the clients whose faults interrupt. Its two crash bits end all forgiving.
  const auto second = [&](const std::string& name) { return regs.get(field("VM_L2_PROTECTION_FAULT_CNTL__" + name)) != 0; };
  const bool crash = second("crash_on_no_retry_fault");
  for (int k = 0; k < kinds; k++)
    config.to_default[k] = config.to_default[k] && !crash && second(std::string(names[k]) + "_protection_fault_enable_default");
  for (unsigned level = 0; level < 3; level++) config.directory_default[level] = !crash && second("pde" + std::to_string(level) + "_protection_fault_enable_default");
  config.client_interrupts = regs.get(field("VM_L2_PROTECTION_FAULT_CNTL__client_id_no_retry_fault_interrupt")) |
                             (second("other_client_id_no_retry_fault_interrupt") ? 0xFFFF0000u : 0);
  config.start = wide("VM_CONTEXT0_PAGE_TABLE_START_ADDR_LO32", "VM_CONTEXT0_PAGE_TABLE_START_ADDR_HI32") << 12;
  config.end = wide("VM_CONTEXT0_PAGE_TABLE_END_ADDR_LO32", "VM_CONTEXT0_PAGE_TABLE_END_ADDR_HI32") << 12 | 0xFFF;
  config.root = wide("VM_CONTEXT0_PAGE_TABLE_BASE_ADDR_LO32", "VM_CONTEXT0_PAGE_TABLE_BASE_ADDR_HI32");
  config.default_page = wide("VM_L2_PROTECTION_FAULT_DEFAULT_ADDR_LO32", "VM_L2_PROTECTION_FAULT_DEFAULT_ADDR_HI32") << 12;
  config.aperture_low = uint64_t{regs.get(reg("MC_VM_SYSTEM_APERTURE_LOW_ADDR"))} << 18;
  config.aperture_high = (uint64_t{regs.get(reg("MC_VM_SYSTEM_APERTURE_HIGH_ADDR"))} << 18) | 0x3FFFF;
  config.system_aperture = regs.get(field("MC_VM_MX_L1_TLB_CNTL__enable_l1_tlb")) &&
                           regs.get(field("MC_VM_MX_L1_TLB_CNTL__system_access_mode")) == 3;
  std::unique_lock guard(mutex_);
  config_ = config;
  tlb_.clear();
  generation_.fetch_add(1);
}

void Hub::invalidate() {
  std::unique_lock guard(mutex_);
  tlb_.clear();
  generation_.fetch_add(1);
}

// Bringup sheet, section 6.2: four levels of 512 entries below the START address.
Hub::Walk Hub::walk(const Config& config, uint64_t va) const {
  Walk result;
  if (!config.enabled || va < config.start || va > config.end) {
    result.fault = range;
    result.walker_error = 1;
    result.mapping_error = true;
    return result;
  }
  const PteFacts& facts = board_.chip.pte;
  const uint64_t offset = va - config.start;
  uint64_t table = config.root;
  for (unsigned level = 3 - config.depth; level <= 3; level++) {
    const unsigned shift = 12 + 9 * (3 - level);
    const uint64_t slot = (table & address_mask) + (offset >> shift & 511) * 8;
    if (!(table & bit(pte::VALID)) || !board_.vram.contains(slot, 8)) {
      // pde0 is the level next to the PTEs, the others count upwards from it
      result.fault = pde0;
      result.walker_error = level <= 3 ? 2 + (3 - level) : 2;
      result.mapping_error = true;
      return result;
    }
    const uint64_t entry = board_.vram.read64(slot);
    const bool marked = entry & bit(facts.huge), leaf = level == 3 ? marked || !facts.leaf_is_marked : marked;
    if (!leaf && level < 3 && (entry & bit(pte::VALID))) {
      table = entry;
      continue;
    }
    // gfx12: an entry of the last level that is not marked as one is no translation
    if (!(entry & bit(pte::VALID)) || !leaf) {
      result.fault = level == 3 ? valid : pde0;
      result.walker_error = level == 3 ? 0 : 2 + (2 - level);
      result.mapping_error = level != 3;
      return result;
    }
    // FRAGMENT lets the TLB keep a whole run, naturally aligned in virtual addresses, by this one entry,
    // so a wrong hint leads where it says. The run is contiguous in memory from wherever this entry's
    // page lies in it: drivers align virtual addresses only (Linux: amdgpu_vm_pte_fragment looks at
    // the virtual start alone). A run never reaches past what one entry of the level above covers.
    const uint64_t page = bit(shift), run = bit(std::min(std::max(shift, 12 + unsigned(entry >> 7 & 0x1F)), shift + 9));
    const uint64_t physical = entry & address_mask & ~(page - 1), before = (offset & (run - 1)) & ~(page - 1);
    Leaf& made = result.leaf.emplace(Leaf{});
    made.system = entry & bit(pte::SYSTEM);
    made.readable = entry & bit(pte::READABLE);
    made.writable = entry & bit(pte::WRITEABLE);
    made.executable = entry & bit(pte::EXECUTABLE);
    const bool whole = made.system || (physical >= before && board_.vram.contains(physical - before, run));
    made.bytes = whole ? run : page;
    made.physical = whole ? physical - before : physical;
    result.start = va - (offset & (made.bytes - 1));
    if (!made.system && !board_.vram.contains(made.physical + (va - result.start), 1)) {
      result.leaf.reset();
      result.fault = valid;
      result.mapping_error = true;
    } else if (!made.system && !board_.vram.contains(made.physical, made.bytes)) {
      made.bytes = board_.vram.size() - made.physical;
    }
    return result;
  }
  return result;
}

std::optional<Hub::Place> Hub::resolve(uint64_t va, Access access, uint32_t cid, bool probe) {
  va &= bit(48) - 1;  // canonical addresses: bits above 47 repeat bit 47
  Config config;
  std::optional<Leaf> leaf;
  uint64_t start = 0, seen = 0;
  {
    std::shared_lock guard(mutex_);
    config = config_;
    seen = generation();
    if (auto next = tlb_.upper_bound(va); next != tlb_.begin()) {
      auto& [run, found] = *std::prev(next);
      if (va - run < found.bytes) leaf = found, start = run;
    }
  }
  if (!leaf) {
    // With SYSTEM_ACCESS_MODE 3 the frame buffer window is reached without page tables. The
    // memory hub knows the window from power-on, the PSP's own traffic depends on it.
    const bool window = kind_ == Kind::mm || (config.system_aperture && va >= config.aperture_low && va <= config.aperture_high);
    if (window && board_.in_frame_buffer(va)) {
      const uint64_t paddr = va - Board::fb_base;
      return Place{false, true, true, true, paddr, board_.vram.size() - paddr};
    }
    const Walk walked = walk(config, va);
    if (!walked.leaf) return fail(config, va, access, cid, walked, probe);
    leaf = walked.leaf;
    start = walked.start;
    std::unique_lock guard(mutex_);
    if (tlb_.size() >= most_translations) tlb_.clear();  // scattered pages without end must not take memory without end
    if (generation() == seen) tlb_[start] = *leaf;  // else flushed meanwhile: do not keep what was walked before
  }
  const bool allowed = access == Access::read      ? leaf->readable
                       : access == Access::write   ? leaf->writable
                       : access == Access::execute ? leaf->executable
                                                   : leaf->readable && leaf->writable;
  if (!allowed) {
    Walk denied;
    denied.fault = access == Access::read ? read : access == Access::execute ? execute : write;
    denied.leaf = leaf;
    return fail(config, va, access, cid, denied, probe);
  }
  const uint64_t inside = va - start;
  return Place{leaf->system, leaf->readable, leaf->writable, leaf->executable, leaf->physical + inside, leaf->bytes - inside};
}

std::optional<Translation> Hub::translate(uint64_t va, Access access, uint32_t cid, bool probe) {
  const auto place = resolve(va, access, cid, probe);
  if (!place) return std::nullopt;
  Translation out{nullptr, place->bytes, place->readable, place->writable, place->executable, !place->system};
  if (!place->system) {
    out.host = board_.vram.data() + place->physical;
  } else {
    out.bytes = std::min<uint64_t>(out.bytes, 4096 - (place->physical & 4095));
    if (board_.port && board_.bus_master.load())
      out.host = const_cast<std::byte*>(board_.port->readable_memory(place->physical, out.bytes));
  }
  return out;
}

std::optional<Hub::Place> Hub::fail(const Config& config, uint64_t va, Access access, uint32_t cid, const Walk& why, bool probe) {
  if (probe) return std::nullopt;  // a probe finds what is mapped and nothing else
  record(va, access, cid, why, config.interrupt[why.fault] && (config.client_interrupts >> std::min(cid, 16u) & 1));
  // walker_error counts directories from 2 = the one next to the page tables
  const bool directory = why.fault == pde0 && why.walker_error > 2;
  if (!config.enabled || !(directory ? config.to_default_directory(why.walker_error - 2) : config.to_default[why.fault])) return std::nullopt;
  const uint64_t page = config.default_page & (bit(44) - 1);
  if (!board_.vram.contains(page, 4096)) return std::nullopt;
  return Place{false, true, true, true, page + (va & 4095), 4096 - (va & 4095), true};
}

void Hub::record(uint64_t va, Access access, uint32_t cid, const Walk& why, bool interrupt) {
  std::lock_guard guard(board_.lock);
  RegisterFile& regs = board_.regs;
  const bool writes = access == Access::write || access == Access::atomic;
  const Reg status = reg("VM_L2_PROTECTION_FAULT_STATUS");
  if (regs.get(status) == 0 || (regs.get(reg("VM_L2_PROTECTION_FAULT_CNTL")) & 2)) {
    // bit 0 valid, 1 read, 2 write, 3 execute; as kernel logs of these parts show them
    uint32_t permission = access == Access::execute ? 8 : writes ? 4 : 2;
    if (!why.leaf) permission |= 1;
    uint32_t word = 0;
    auto put = [&](const char* name, uint32_t value) {
      word = regs.insert(field(std::string("VM_L2_PROTECTION_FAULT_STATUS__") + name), word, value);
    };
    put("walker_error", why.walker_error);
    put("permission_faults", permission);
    put("mapping_error", why.mapping_error);
    put("cid", cid);
    put("rw", writes);
    put("atomic", access == Access::atomic);
    regs.set(status, word);
    regs.set(reg("VM_L2_PROTECTION_FAULT_ADDR_LO32"), static_cast<uint32_t>(va >> 12));
    regs.set(reg("VM_L2_PROTECTION_FAULT_ADDR_HI32"), static_cast<uint32_t>(va >> 44) & 0xF);
  } else {
    regs.set(status, regs.get(status) | 1);  // more_faults
  }
  // One interrupt per page until cleared: thousands of lanes fault at the same place.
  const uint64_t page = va >> 12 | bit(63);
  if (!interrupt || std::find(reported_.begin(), reported_.end(), page) != reported_.end()) return;
  reported_[reported_next_++ % reported_.size()] = page;
  const uint8_t flags = (why.leaf ? 0 : 0x08) | (writes ? 0x20 : 0x10);
  board_.ih->post({.client = static_cast<uint8_t>(kind_ == Kind::gc ? facts::ih_client::GFX : facts::ih_client::VMC),
                   .source = 0,
                   .ring = flags,
                   .context = {static_cast<uint32_t>(va >> 12), static_cast<uint32_t>(va >> 44 & 0xF) | (flags & 0x30u)}});
}

bool ClientSpace::load(uint64_t va, std::span<std::byte> into) {
  while (!into.empty()) {
    const auto place = hub_.resolve(va, Access::read, cid_);
    if (!place) return false;
    const size_t bytes = std::min<uint64_t>(into.size(), place->bytes);
    if (!place->system) {
      std::memcpy(into.data(), board_.vram.data() + place->physical, bytes);
    } else if (!board_.port || !board_.bus_master.load() || !board_.port->dma_read(place->physical, into.first(bytes))) {
      std::memset(into.data(), 0xFF, bytes);  // nobody answers: all ones
    }
    into = into.subspan(bytes);
    va += bytes;
  }
  return true;
}

bool ClientSpace::store(uint64_t va, std::span<const std::byte> from) {
  while (!from.empty()) {
    const auto place = hub_.resolve(va, Access::write, cid_);
    if (!place) return false;
    const size_t bytes = std::min<uint64_t>(from.size(), place->bytes);
    if (!place->system) board_.vram.write(place->physical, from.first(bytes));
    else if (board_.port && board_.bus_master.load()) board_.port->dma_write(place->physical, from.first(bytes));
    from = from.subspan(bytes);
    va += bytes;
  }
  board_.wake.notify();
  return true;
}

}  // namespace usbgpu::emulator
