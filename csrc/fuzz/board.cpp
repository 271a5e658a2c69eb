#include "fuzz/board.h"

#include <chrono>
#include <thread>

namespace usbgpu::fuzz {

using namespace emulator;

BusWindows::BusWindows() {
  windows_[sram_bus].resize(512 << 10);
  windows_[0x820000].resize(4096);
  windows_[0x822000].resize(4096);
}
std::byte* BusWindows::find(uint64_t address, size_t bytes) {
  auto next = windows_.upper_bound(address);
  if (next == windows_.begin()) return nullptr;
  auto& [base, memory] = *std::prev(next);
  return address - base < memory.size() && bytes <= memory.size() - (address - base) ? memory.data() + (address - base) : nullptr;
}
bool BusWindows::dma_read(uint64_t address, std::span<std::byte> into) {
  std::lock_guard guard(mutex_);
  const std::byte* at = find(address, into.size());
  if (at) std::memcpy(into.data(), at, into.size());
  return at;
}
bool BusWindows::dma_write(uint64_t address, std::span<const std::byte> from) {
  std::lock_guard guard(mutex_);
  std::byte* at = find(address, from.size());
  if (at) std::memcpy(at, from.data(), from.size());
  return at;
}
const std::byte* BusWindows::readable_memory(uint64_t address, size_t bytes) { return find(address, bytes); }

std::vector<uint8_t> image(uint32_t kind, size_t body_bytes) {
  std::vector<uint8_t> out(psp_image::header_bytes + body_bytes + psp_image::signature_bytes, 0x5A);
  std::fill_n(out.begin(), psp_image::header_bytes, uint8_t{0});
  const auto put = [&](size_t at, uint32_t value) { std::memcpy(out.data() + at, &value, 4); };
  namespace at = psp_image::offsets;
  std::memcpy(out.data() + at::magic, "$PS1", 4);
  put(at::body_bytes, static_cast<uint32_t>(body_bytes));
  put(at::version_class, 1);
  put(at::kind, kind);
  put(at::version, 0x00310000);
  put(at::image_bytes, static_cast<uint32_t>(out.size()));
  return out;
}

Bench::Bench(const char* chip) : gpu_(Gpu::create({.chip = chip, .vram_bytes = vram_bytes, .threads = 1})), model_(static_cast<GpuModel*>(gpu_.get())) {
  gpu_->attach(&bus_);
}
Bench::~Bench() { gpu_.reset(); }

bool Bench::until(auto condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  return true;
}

void Bench::write(std::string_view name, uint32_t value) {
  const auto reg = RegisterFile::find(name);
  if (reg && model_->board().regs.has(*reg)) model_->board().reg_write(model_->board().regs.address(*reg), value);
}
uint32_t Bench::read(std::string_view name) {
  const auto reg = RegisterFile::find(name);
  return reg && model_->board().regs.has(*reg) ? model_->board().reg_read(model_->board().regs.address(*reg)) : 0;
}
void Bench::update(std::string_view name, uint32_t value) {
  const auto field = RegisterFile::find_field(name);
  const auto reg = name.substr(0, name.find("__"));
  if (field) write(reg, model_->board().regs.insert(*field, read(reg), value));
}
void Bench::poke(uint64_t paddr, std::span<const uint32_t> words) {
  for (size_t i = 0; i < words.size(); i++) gpu_->vram_write(paddr + 4 * i, words[i], 0xF);
}
void Bench::stage(std::span<const uint8_t> bytes) {
  bus_.dma_write(sram_bus, std::as_bytes(bytes.first(std::min<size_t>(bytes.size(), 512 << 10))));
  gpu_->wake().notify();
}

void Bench::memory_hub(const char* prefix) {
  const std::string p = prefix;
  const auto w = [&](const char* reg, uint64_t value) { write(p + reg, static_cast<uint32_t>(value)); };
  w("MC_VM_SYSTEM_APERTURE_LOW_ADDR", fb >> 18);
  w("MC_VM_SYSTEM_APERTURE_HIGH_ADDR", (fb + vram_bytes - 1) >> 18);
  for (const char* field : {"enable_l1_tlb", "enable_advanced_driver_model"}) update(p + "MC_VM_MX_L1_TLB_CNTL__" + field, 1);
  update(p + "MC_VM_MX_L1_TLB_CNTL__system_access_mode", 3);
  w("VM_CONTEXT0_PAGE_TABLE_START_ADDR_LO32", va_base >> 12);
  w("VM_CONTEXT0_PAGE_TABLE_START_ADDR_HI32", va_base >> 44);
  w("VM_CONTEXT0_PAGE_TABLE_END_ADDR_LO32", (va_base + (1ull << 40) - 1) >> 12);
  w("VM_CONTEXT0_PAGE_TABLE_END_ADDR_HI32", (va_base + (1ull << 40) - 1) >> 44);
  w("VM_CONTEXT0_PAGE_TABLE_BASE_ADDR_LO32", root_paddr | 1);
  w("VM_CONTEXT0_CNTL", gfx12() ? 0x01FFFC07 : 0x01FFFE07);
}

uint32_t Bench::bootloader(uint32_t command, std::span<const uint8_t> bytes) {
  stage(bytes);
  write("MP0_SMN_C2PMSG_36", sram_va >> 20);
  write("MP0_SMN_C2PMSG_35", command);
  until([&] { return read("MP0_SMN_C2PMSG_35") >> 31; });
  return read("MP0_SMN_C2PMSG_35");
}
void Bench::open_ring() {
  write("MP0_SMN_C2PMSG_69", static_cast<uint32_t>(fb + psp_ring));
  write("MP0_SMN_C2PMSG_70", (fb + psp_ring) >> 32);
  write("MP0_SMN_C2PMSG_71", 0x10000);
  write("MP0_SMN_C2PMSG_64", facts::psp_ctrl_cmd_id::INIT_GPCOM_RING);
}
std::optional<uint32_t> Bench::ring_command(uint32_t command, std::initializer_list<uint32_t> parameters) {
  const uint32_t wptr = read("MP0_SMN_C2PMSG_67");
  std::vector<uint32_t> block(256);
  block[2] = command;
  std::copy(parameters.begin(), parameters.end(), block.begin() + 7);
  poke(psp_command, block);
  poke(psp_fence, std::array{0u});
  const uint64_t at = fb + psp_command, fence = fb + psp_fence;
  poke(psp_ring + 4 * (wptr % 0x4000), std::array<uint32_t, 6>{static_cast<uint32_t>(at), uint32_t(at >> 32), 0, static_cast<uint32_t>(fence), uint32_t(fence >> 32), wptr + 1});
  write("MP0_SMN_C2PMSG_67", (wptr + 16) % 0x4000);
  if (!until([&] { return peek(psp_fence) == wptr + 1; })) return std::nullopt;
  return peek(psp_command + 864);
}
std::optional<uint32_t> Bench::load(std::span<const uint8_t> bytes, uint32_t type) {
  stage(bytes);
  return ring_command(facts::psp_gfx_cmd_id::LOAD_IP_FW, {static_cast<uint32_t>(sram_va), sram_va >> 32, static_cast<uint32_t>(bytes.size()), type});
}

// Bringup sheet's order: memory hub, PSP boot loader and ring, firmware, autoload, GC hub, MEC, SDMA.
bool Bench::boot() {
  // PDB2 -> PDB1 -> PDB0: all VRAM by 2 MiB leaves; SRAM by 4 KiB pages
  const uint64_t pdb1 = root_paddr + 0x1000, pdb0 = pdb1 + 0x1000, ptb = pdb0 + 0x1000, pdb0_vram = ptb + 0x1000;
  const auto entry = [&](uint64_t table, uint64_t slot, uint64_t value) { poke(table + 8 * slot, std::array{static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32)}); };
  entry(root_paddr, 0, pdb1 | 1);
  entry(pdb1, 0, pdb0 | 1);
  entry(pdb0, (sram_va - va_base) >> 21, ptb | 1);
  const PteFacts& pte = model_->board().chip.pte;
  const uint64_t leaf = pte.leaf_is_marked ? 1ull << pte.huge : 0, uncached = 3ull << (gfx12() ? 54 : 48);
  for (uint64_t i = 0; i < 128; i++) entry(ptb, i, (sram_bus + (i << 12)) | 0x73 | uncached | leaf);
  entry(pdb1, (vram_va - va_base) >> 30, pdb0_vram | 1);
  for (uint64_t i = 0; i < vram_bytes >> 21; i++) entry(pdb0_vram, i, i << 21 | 0x71 | 1ull << pte.huge);

  gpu_->set_bus_master(true);
  write("RCC_DEV0_EPF0_RCC_DOORBELL_APER_EN", 1);
  memory_hub("MM");
  namespace kinds = psp_image::bootloader_kinds;
  for (const BootFact& component : model_->board().chip.psp.boot) bootloader(component.command, image(component.kind));
  if (!until([&] { return read("MP0_SMN_C2PMSG_81") != 0; })) return false;
  open_ring();
  const auto toc = image(kinds::TOC);
  stage(toc);
  ring_command(facts::psp_gfx_cmd_id::LOAD_TOC, {static_cast<uint32_t>(sram_va), sram_va >> 32, static_cast<uint32_t>(toc.size())});
  const uint64_t tmr = 64 << 20;
  const auto load_fact = [&](const FirmwareFact& fact) { load(image(fact.kind), fact.type); };
  for (const FirmwareFact& fact : model_->board().chip.firmware)
    if (std::string_view(fact.name) == "SMU") load_fact(fact);
  if (!model_->board().chip.psp.tmr_at_boot)
    ring_command(facts::psp_gfx_cmd_id::SETUP_TMR, {static_cast<uint32_t>(fb + tmr), (fb + tmr) >> 32, 0x1300000, 2, static_cast<uint32_t>(tmr), 0});
  for (const FirmwareFact& fact : model_->board().chip.firmware)
    if (fact.required && std::string_view(fact.name) != "SMU") load_fact(fact);
  if (ring_command(facts::psp_gfx_cmd_id::AUTOLOAD_RLC, {}) != 0u) return false;
  memory_hub("GC");
  if (gfx12())
    for (const std::string engine : {"PFP", "ME"}) {
      write("CP_" + engine + "_PRGRM_CNTR_START", 0xC00);
      write("CP_" + engine + "_PRGRM_CNTR_START_HI", 0x1C000);
      for (uint32_t held : {1u, 0u}) update(engine == "ME" ? "CP_ME_CNTL__me_pipe0_reset" : "CP_ME_CNTL__pfp_pipe0_reset", held);
    }
  write("GRBM_GFX_CNTL", 4);
  write("CP_MEC_RS64_PRGRM_CNTR_START", 0xC00);
  write("CP_MEC_RS64_PRGRM_CNTR_START_HI", 0x1C000);
  write("GRBM_GFX_CNTL", 0);
  update("CP_MEC_RS64_CNTL__mec_pipe0_reset", 1);
  update("CP_MEC_RS64_CNTL__mec_pipe0_reset", 0);
  write("S2A_DOORBELL_ENTRY_0_CTRL", 0x30000007);
  write("S2A_DOORBELL_ENTRY_3_CTRL", 0x3000000D);
  write("S2A_DOORBELL_ENTRY_2_CTRL", 0x3009001D);
  write("CP_MEC_DOORBELL_RANGE_LOWER", 0);
  write("CP_MEC_DOORBELL_RANGE_UPPER", 0xF8);
  write("SH_MEM_CONFIG", 0xC00C);
  write("SH_MEM_BASES", 0x10002);
  update("CP_MEC_RS64_CNTL__mec_pipe0_active", 1);
  update("CP_MEC_RS64_CNTL__mec_halt", 0);
  for (const char* hold : {"SDMA0_F32_CNTL__halt", "SDMA0_F32_CNTL__th1_reset", "SDMA0_MCU_CNTL__halt", "SDMA0_MCU_CNTL__reset"})
    update(hold, 0);  // each generation has its own
  update("SDMA0_CNTL__trap_enable", 1);
  return true;
}

void Bench::fresh_compute_queue() {
  write("GRBM_GFX_CNTL", 4);
  if (read("CP_HQD_ACTIVE") & 1) {
    write("CP_HQD_DEQUEUE_REQUEST", 2);
    until([&] { return !(read("CP_HQD_ACTIVE") & 1); });
  }
  const uint64_t ring = vram_va + ring_paddr, rptr = vram_va + pointers_paddr + 0x80, poll = vram_va + pointers_paddr + 0x38, eop = vram_va + eop_paddr;
  const auto pair = [&](const char* low, const char* high, uint64_t value) { write(low, static_cast<uint32_t>(value)), write(high, static_cast<uint32_t>(value >> 32)); };
  pair("CP_MQD_BASE_ADDR", "CP_MQD_BASE_ADDR_HI", fb + 0x405000);
  write("CP_HQD_VMID", 0);
  write("CP_HQD_PERSISTENT_STATE", 0x5501);
  pair("CP_HQD_PQ_BASE", "CP_HQD_PQ_BASE_HI", ring >> 8);
  pair("CP_HQD_PQ_RPTR_REPORT_ADDR", "CP_HQD_PQ_RPTR_REPORT_ADDR_HI", rptr);
  pair("CP_HQD_PQ_WPTR_POLL_ADDR", "CP_HQD_PQ_WPTR_POLL_ADDR_HI", poll);
  write("CP_HQD_PQ_DOORBELL_CONTROL", 0x40000018);
  write("CP_HQD_PQ_CONTROL", 0x50A);
  write("CP_HQD_IB_CONTROL", 0x300000);
  pair("CP_HQD_EOP_BASE_ADDR", "CP_HQD_EOP_BASE_ADDR_HI", eop >> 8);
  write("CP_HQD_EOP_CONTROL", 9);
  write("CP_HQD_PQ_RPTR", 0);
  pair("CP_HQD_PQ_WPTR_LO", "CP_HQD_PQ_WPTR_HI", 0);
  write("CP_HQD_ACTIVE", 1);
  write("GRBM_GFX_CNTL", 0);
  wptr_ = 0;
}

void Bench::fresh_sdma_queue() {
  update("GRBM_SOFT_RESET__soft_reset_sdma0", 1);
  update("GRBM_SOFT_RESET__soft_reset_sdma0", 0);
  const uint64_t ring = vram_va + sdma_ring_paddr, rptr = vram_va + sdma_pointers_paddr + 0x80;
  const auto w = [&](const char* reg, uint64_t value) { write(std::string("SDMA0_QUEUE0_") + reg, static_cast<uint32_t>(value)); };
  w("MINOR_PTR_UPDATE", 1);
  for (const char* reg : {"RB_RPTR", "RB_RPTR_HI", "RB_WPTR", "RB_WPTR_HI"}) w(reg, 0);
  w("RB_BASE", ring >> 8);
  w("RB_BASE_HI", ring >> 40);
  w("RB_RPTR_ADDR_LO", rptr);
  w("RB_RPTR_ADDR_HI", rptr >> 32);
  w("DOORBELL_OFFSET", 0x800);
  w("DOORBELL", 1u << 28);
  w("MINOR_PTR_UPDATE", 0);
  w("IB_CNTL", 1);
  w("RB_CNTL", 0x00841801 | 15 << 1);
  sdma_wptr_ = 0;
}

void Bench::submit(std::span<const uint32_t> packets) {
  for (uint32_t word : packets) poke(ring_paddr + 4 * (wptr_++ % ring_dwords), std::array{word});
  gpu_->doorbell_write(0x18, wptr_);
}
void Bench::submit_sdma(std::span<const uint32_t> packets) {
  for (uint32_t word : packets) poke(sdma_ring_paddr + sdma_wptr_ % sdma_ring_bytes, std::array{word}), sdma_wptr_ += 4;
  gpu_->doorbell_write(0x800, sdma_wptr_);
}
bool Bench::settle(unsigned milliseconds) { return model_->runner().wait_idle(std::chrono::milliseconds(milliseconds)); }

namespace {
std::unique_ptr<Bench> benches[2];
unsigned inputs_seen[2];
}  // namespace

Bench& running_bench(bool gfx12) {
  constexpr unsigned inputs_per_board = 256;
  if (++inputs_seen[gfx12] == inputs_per_board) renew_bench(gfx12);
  auto& bench = benches[gfx12];
  if (!bench) {
    bench = std::make_unique<Bench>(gfx12 ? "navi48" : "navi31");
    if (!bench->boot()) __builtin_trap();
  }
  return *bench;
}
void renew_bench(bool gfx12) {
  benches[gfx12].reset();
  inputs_seen[gfx12] = 0;
}

}  // namespace usbgpu::fuzz
