// The board: IP blocks, engines, and the three apertures in front of them.
#include "emulator/ip/gpu.h"

#include <stdexcept>
#include <string>

#include "emulator/cp/runner.h"
#include "emulator/ip/chip_tables.h"
#include "emulator/ip/gpu_internal.h"

namespace usbgpu::emulator {

namespace {
constexpr uint32_t register_bytes = 1 << 20;   // BAR5
constexpr uint32_t doorbell_bytes = 2 << 20;   // BAR2
}  // namespace

GpuModel::GpuModel(const ChipFacts& chip, const ProductFacts& product, const GpuOptions& options)
    : board_(chip, product, options.vram_bytes ? options.vram_bytes : product.vram_bytes, register_bytes),
      ih_(board_),
      gc_(board_, Hub::Kind::gc),
      mm_(board_, Hub::Kind::mm),
      nbio_(attached()),
      smu_(board_, [this] { reset_asked_.store(true); }),
      gfx_(board_, {.compute = [this] { mec_.soft_reset(); },
                    .sdma = [this](unsigned engine) { sdma(engine).soft_reset(); },
                    .compute_stopped = [this] { mec_.hang.meet(Cure::engine); }}),
      psp_(board_, {.smu_loaded = [this](uint32_t version) { smu_.start(version); }, .autoload = [this] { gfx_.autoload(); }}),
      mec_(board_, gfx_, options),
      sdma0_(board_, gfx_, 0),
      sdma1_(board_, gfx_, 1),
      runner_(board_, options.deterministic) {
  for (Agent* agent : {static_cast<Agent*>(&psp_), static_cast<Agent*>(&mec_), static_cast<Agent*>(&sdma0_), static_cast<Agent*>(&sdma1_)})
    runner_.add(*agent);
  cold_reset();
  runner_.start();
}

GpuModel::~GpuModel() {
  mec_.interrupt_dispatches();
  runner_.stop();
}

Board& GpuModel::attached() {
  board_.ih = &ih_;
  board_.gc = &gc_;
  board_.mm = &mm_;
  return board_;
}

void GpuModel::power_on_blocks() {
  std::lock_guard guard(board_.lock);
  board_.regs.clear();
  ih_.power_on();
  gc_.power_on();
  mm_.power_on();
  nbio_.power_on();
  smu_.power_on();
  psp_.power_on();
  gfx_.power_on();
  mec_.power_on();
  sdma0_.power_on();
  sdma1_.power_on();
  doorbells_.clear();
  // the board's own firmware trains the memory and leaves the discovery table
  const auto binary = discovery_binary(board_.chip, gc_version_);
  board_.vram.write(board_.vram.size() - facts::discovery::OFFSET_FROM_VRAM_END, binary);
}

void GpuModel::cold_reset() {
  mec_.interrupt_dispatches();
  Runner::Pause pause(runner_);
  reset_asked_.store(false);
  board_.vram.discard();
  meet(Cure::power);
  power_on_blocks();
}

// Everything but the memory's content. The SMU asks for it inside a register write, with the board's
// lock held, which an engine in the middle of a step may be waiting for: the host's access that asked
// (or its next one, if an engine's packet asked) does it when the lock is free.
void GpuModel::reset_if_asked() {
  if (!reset_asked_.load() || !reset_asked_.exchange(false)) return;
  mec_.interrupt_dispatches();
  Runner::Pause pause(runner_);
  meet(Cure::reset);
  power_on_blocks();
}

void GpuModel::inject(const GpuFaults& faults) {
  std::lock_guard guard(board_.lock);
  if (faults.psp) psp_.hang = *faults.psp;
  if (faults.smu) smu_.hang = *faults.smu;
  if (faults.mec) mec_.hang = *faults.mec;
  if (faults.sdma) sdma0_.hang = sdma1_.hang = *faults.sdma;
  if (faults.wrong_results) mec_.broken_lane = *faults.wrong_results;
  if (faults.gc_version) {
    gc_version_ = *faults.gc_version == std::array<uint8_t, 3>{} ? std::nullopt : faults.gc_version;
    const auto binary = discovery_binary(board_.chip, gc_version_);
    board_.vram.write(board_.vram.size() - facts::discovery::OFFSET_FROM_VRAM_END, binary);
  }
  board_.wake.ring();
}

void GpuModel::meet(Cure remedy) {
  std::lock_guard guard(board_.lock);
  for (Hang* hang : {&psp_.hang, &smu_.hang, &mec_.hang, &sdma0_.hang, &sdma1_.hang}) hang->meet(remedy);
}

GpuIdentity GpuModel::identity() const {
  const Identity& id = board_.product.identity;
  return {id.vendor, id.device, id.subsystem_vendor, id.subsystem_device, id.revision, board_.vram.size(), doorbell_bytes, register_bytes};
}

void GpuModel::attach(UpstreamPort* port) {
  board_.port = port;
  gc_.invalidate();
  mm_.invalidate();
}

void GpuModel::set_bus_master(bool enabled) {
  if (board_.bus_master.exchange(enabled) == enabled) return;
  gc_.invalidate();  // cached host pointers into the bridge's memory must go
  mm_.invalidate();
  board_.wake.ring();
}

uint32_t GpuModel::vram_read(uint64_t offset) {
  Runner::Access access(runner_);
  return board_.vram.contains(offset, 4) ? board_.vram.read32(offset) : 0xFFFFFFFF;
}

void GpuModel::vram_write(uint64_t offset, uint32_t value, unsigned byte_enables) {
  Runner::Access access(runner_);
  if (!board_.vram.contains(offset, 4)) return;
  if (byte_enables == 0xF) {
    board_.vram.write32(offset, value);
  } else {
    for (unsigned lane = 0; lane < 4; lane++)
      if (byte_enables >> lane & 1) board_.vram.data()[offset + lane] = static_cast<std::byte>(value >> 8 * lane);
  }
  board_.wake.notify();
}

uint32_t GpuModel::register_read(uint32_t offset) {
  Runner::Access access(runner_);
  reset_if_asked();
  if (offset >= register_bytes) return 0xFFFFFFFF;
  return board_.reg_read(offset / 4);
}

void GpuModel::register_write(uint32_t offset, uint32_t value) {
  Runner::Access access(runner_);
  if (offset >= register_bytes) return;
  reset_if_asked();
  board_.reg_write(offset / 4, value);
  reset_if_asked();
}

// The adapter writes single dwords: each half rings with what the other half last was. A host
// that writes the low half only works as long as its pointer stays below 2^32.
void GpuModel::doorbell_write(uint32_t offset, uint32_t value) {
  Runner::Access access(runner_);
  const uint32_t slot = offset & ~7u;
  const auto target = nbio_.route(slot);
  if (!target) return;
  uint64_t pointer;
  {
    std::lock_guard guard(board_.lock);
    uint64_t& latch = doorbells_[slot];
    latch = offset & 4 ? (latch & 0xFFFFFFFF) | uint64_t{value} << 32 : latch >> 32 << 32 | value;
    pointer = latch;
  }
  if (*target == Nbio::Target::mec) {
    mec_.doorbell(slot, pointer);
  } else {
    sdma0_.doorbell(slot, pointer);
    sdma1_.doorbell(slot, pointer);
  }
}

StartState start_state(const std::string& name) {
  constexpr const char* names[] = {"cold", "warm", "dirty", "wedged"};
  for (size_t i = 0; i < std::size(names); i++)
    if (name == names[i]) return static_cast<StartState>(i);
  throw std::invalid_argument("no start state is called " + name);
}

std::span<const ChipFacts* const> emulated_chips() { return chips::all; }

std::unique_ptr<Gpu> Gpu::create(const GpuOptions& options) {
  for (const ChipFacts* chip : emulated_chips())
    if (options.chip == chip->name || options.chip == chip->target) {
      for (const ProductFacts& product : chip->products)
        if (options.board.empty() || options.board == product.name) return std::make_unique<GpuModel>(*chip, product, options);
      throw std::invalid_argument("no emulated board with " + options.chip + " is called " + options.board);
    }
  throw std::invalid_argument("no emulated chip is called " + options.chip);
}

}  // namespace usbgpu::emulator
