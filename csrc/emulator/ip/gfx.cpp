#include "emulator/ip/gfx.h"

#include "emulator/ip/interrupts.h"

namespace usbgpu::emulator {

namespace {
constexpr unsigned mec_pipe0 = 1 * 4 + 0;  // me 1, pipe 0
}

Gfx::Gfx(Board& board, Resets resets) : board_(board), resets_(std::move(resets)) {
  RegisterFile& regs = board_.regs;
  bank_registers();

  for (Reg read_only : {Reg::RLC_RLCS_BOOTLOAD_STATUS, Reg::CP_STAT, Reg::GRBM_STATUS, Reg::GRBM_STATUS2, Reg::CC_GC_SHADER_ARRAY_CONFIG,
                        Reg::CP_CPC_STATUS})
    regs.on_write(read_only, [](uint32_t) {});

  regs.on_write(Reg::CP_MEC_RS64_CNTL, [this](uint32_t value) {
    RegisterFile& regs = board_.regs;
    const bool was_reset = regs.get(Field::CP_MEC_RS64_CNTL__mec_pipe0_reset);
    regs.set(Reg::CP_MEC_RS64_CNTL, value);
    const bool reset = regs.get(Field::CP_MEC_RS64_CNTL__mec_pipe0_reset);
    if (reset) latched_[mec_pipe0] = 0;  // (whether the pipe's queues go with it: unknown; drivers dequeue them before)
    else if (was_reset) latched_[mec_pipe0] = start_[mec_pipe0];  // leaving reset fetches the start address
    if (!mec_runs()) resets_.compute_stopped();
    board_.wake.ring();
  });
  regs.on_read(Reg::CP_MEC_RS64_INSTR_PNTR, [this] { return mec_runs() ? static_cast<uint32_t>(latched_[mec_pipe0]) & 0xFFFFF : 0u; });

  regs.on_write(Reg::GRBM_SOFT_RESET, [this](uint32_t value) {
    RegisterFile& regs = board_.regs;
    regs.set(Reg::GRBM_SOFT_RESET, value);
    if (regs.get(Field::GRBM_SOFT_RESET__soft_reset_cpc) || regs.get(Field::GRBM_SOFT_RESET__soft_reset_gfx)) {
      latched_.fill(0);
      kill_waves();
      resets_.compute();
    }
    if (regs.get(Field::GRBM_SOFT_RESET__soft_reset_sdma0)) resets_.sdma(0);
    if (regs.get(Field::GRBM_SOFT_RESET__soft_reset_sdma1)) resets_.sdma(1);
  });

  // The RLC takes the command and clears its bit; it cannot before it was loaded.
  regs.on_write(Reg::RLC_SAFE_MODE, [this](uint32_t value) { board_.regs.set(Reg::RLC_SAFE_MODE, autoloaded_ ? value & ~1u : value); });

  regs.on_read(Reg::SQ_IND_DATA, [this] { return read_wave(); });
  regs.on_read(Reg::CC_GC_SHADER_ARRAY_CONFIG, [this] { return fused_off(); });
  regs.on_read(Reg::CC_GC_SA_UNIT_DISABLE, [] { return 0u; });  // whole arrays: none on these boards
  regs.on_write(Reg::CC_GC_SA_UNIT_DISABLE, [](uint32_t) {});

  auto clock_pair = [&](Reg low, Reg high) {
    regs.on_read(low, [this] { return static_cast<uint32_t>(board_.clock()); });
    regs.on_read(high, [this] { return static_cast<uint32_t>(board_.clock() >> 32); });
  };
  clock_pair(Reg::CP_MES_MTIME_LO, Reg::CP_MES_MTIME_HI);
  clock_pair(Reg::SDMA0_GLOBAL_TIMESTAMP_LO, Reg::SDMA0_GLOBAL_TIMESTAMP_HI);
  clock_pair(Reg::SDMA1_GLOBAL_TIMESTAMP_LO, Reg::SDMA1_GLOBAL_TIMESTAMP_HI);
  clock_pair(Reg::RLC_GPU_CLOCK_COUNT_LSB, Reg::RLC_GPU_CLOCK_COUNT_MSB);
  clock_pair(Reg::RLC_REFCLOCK_TIMESTAMP_LSB, Reg::RLC_REFCLOCK_TIMESTAMP_MSB);
}

void Gfx::bank_registers() {
  RegisterFile& regs = board_.regs;
  auto banked = [&](Reg reg, auto&& slot) {
    regs.on_read(reg, [slot] { return slot(); });
    regs.on_write(reg, [slot](uint32_t value) { slot() = value; });
  };
  auto vmid = [this] { return board_.regs.get(Field::GRBM_GFX_CNTL__vmid); };
  banked(Reg::SH_MEM_CONFIG, [this, vmid]() -> uint32_t& { return sh_mem_[vmid()][0]; });
  banked(Reg::SH_MEM_BASES, [this, vmid]() -> uint32_t& { return sh_mem_[vmid()][1]; });

  auto pipe = [this]() -> uint64_t& { return start_[selected_me() * 4 + selected_pipe()]; };
  regs.on_read(Reg::CP_MEC_RS64_PRGRM_CNTR_START, [pipe] { return static_cast<uint32_t>(pipe()); });
  regs.on_write(Reg::CP_MEC_RS64_PRGRM_CNTR_START, [pipe](uint32_t value) { pipe() = pipe() >> 32 << 32 | value; });
  regs.on_read(Reg::CP_MEC_RS64_PRGRM_CNTR_START_HI, [pipe] { return static_cast<uint32_t>(pipe() >> 32); });
  regs.on_write(Reg::CP_MEC_RS64_PRGRM_CNTR_START_HI, [pipe](uint32_t value) { pipe() = (pipe() & 0xFFFFFFFF) | uint64_t{value} << 32; });
}

void Gfx::power_on() {
  RegisterFile& regs = board_.regs;
  autoloaded_ = false;
  sh_mem_ = {};
  start_.fill(0);
  latched_.fill(0);
  kill_waves();
  // engines are held until a driver lets them go
  regs.set(Field::CP_MEC_RS64_CNTL__mec_halt, 1);
  regs.set(Reg::GRBM_GFX_INDEX, 0xE0000000);  // writes go everywhere
  regs.set(Field::CP_MEC_RS64_CNTL__mec_pipe0_reset, 1);
}

void Gfx::autoload() {
  RegisterFile& regs = board_.regs;
  autoloaded_ = true;
  regs.set(Field::RLC_RLCS_BOOTLOAD_STATUS__gfx_init_done, 1);
  regs.set(Field::RLC_RLCS_BOOTLOAD_STATUS__rlc_gpm_iram_loaded, 1);
  regs.set(Field::RLC_RLCS_BOOTLOAD_STATUS__rlc_gpm_iram_done, 1);
  regs.set(Field::RLC_RLCS_BOOTLOAD_STATUS__bootload_complete, 1);
}

bool Gfx::mec_runs() const {
  const RegisterFile& regs = board_.regs;
  return autoloaded_ && latched_[mec_pipe0] != 0 && regs.get(Field::CP_MEC_RS64_CNTL__mec_pipe0_active) &&
         !regs.get(Field::CP_MEC_RS64_CNTL__mec_halt) && !regs.get(Field::CP_MEC_RS64_CNTL__mec_pipe0_reset);
}

void Gfx::halt_wave(const WaveFault& wave, unsigned queue) {
  std::lock_guard guard(board_.lock);
  halted_.push_back({wave, queue});
  namespace sq = facts::sq_interrupt;
  const bool memory = wave.kind == WaveFault::Kind::memory_violation || wave.kind == WaveFault::Kind::misaligned_atomic ||
                      wave.kind == WaveFault::Kind::lds_address;
  const uint32_t type = memory ? sq::error_type::MEMVIOL : sq::error_type::ILLEGAL_INST;
  board_.ih->post({.client = facts::ih_client::GRBM_CP,
                   .source = facts::ih_source_gfx11::SQ_INTERRUPT_ID,
                   .ring = static_cast<uint8_t>(1 << 2 | queue << 4),
                   .context = {type << 21 | (wave.sa & 1) << 25 | (wave.wave_slot & 31) << 27,
                               (wave.simd & 3) | (wave.wgp & 15) << 2 | sq::encoding::error << 6}});
}

void Gfx::wave_interrupt(const WaveMessage& message, unsigned queue) {
  std::lock_guard guard(board_.lock);
  namespace sq = facts::sq_interrupt;
  board_.ih->post({.client = facts::ih_client::GRBM_CP,
                   .source = facts::ih_source_gfx11::SQ_INTERRUPT_ID,
                   .ring = static_cast<uint8_t>(1 << 2 | queue << 4),
                   .context = {message.data | (message.sa & 1) << 25 | (message.wave_slot & 31) << 27,
                               (message.simd & 3) | (message.wgp & 15) << 2 | sq::encoding::wave << 6}});
}

// Workgroup processors of the selected array that the factory switched off, or that the die has not got (inferred for these).
uint32_t Gfx::fused_off() {
  const RegisterFile& regs = board_.regs;
  const Geometry& die = board_.chip.geometry;
  const uint32_t se = regs.get(Field::GRBM_GFX_INDEX__se_index), sa = regs.get(Field::GRBM_GFX_INDEX__sa_index);
  uint32_t off = 0xFFFF;
  if (se < die.num_se && sa < die.num_sa_per_se) {
    const auto masks = board_.product.inactive_wgps;
    const uint32_t array = se * die.num_sa_per_se + sa;
    off = (0xFFFFu << die.num_wgp_per_sa & 0xFFFF) | (array < masks.size() ? masks[array] : 0);
  }
  return regs.insert(Field::CC_GC_SHADER_ARRAY_CONFIG__inactive_wgps, 0, off);
}

// GRBM_GFX_INDEX picks shader engine, array and SIMD (instance = wgp << 2 | simd), SQ_IND_INDEX
// the wave slot and the register.
uint32_t Gfx::read_wave() {
  RegisterFile& regs = board_.regs;
  const uint32_t se = regs.get(Field::GRBM_GFX_INDEX__se_index), sa = regs.get(Field::GRBM_GFX_INDEX__sa_index),
                 instance = regs.get(Field::GRBM_GFX_INDEX__instance_index), slot = regs.get(Field::SQ_IND_INDEX__wave_id),
                 index = regs.get(Field::SQ_IND_INDEX__index);
  if (regs.get(Field::SQ_IND_INDEX__auto_incr)) regs.set(Field::SQ_IND_INDEX__index, index + 1);
  for (const Halted& halted : halted_) {
    const WaveFault& wave = halted.wave;
    if (wave.se == se && wave.sa == sa && (wave.wgp << 2 | wave.simd) == instance && wave.wave_slot == slot) return wave_register(halted, index);
  }
  return index == board_.chip.waves.status || index == board_.chip.waves.state || index == board_.chip.waves.valid_and_idle ? 0 : 0xBEBEBEEF;  // no such wave
}

uint32_t Gfx::wave_register(const Halted& halted, uint32_t index) const {
  const WaveFacts& at = board_.chip.waves;
  const WaveFault& wave = halted.wave;
  uint32_t word = 0;
  // on gfx11 the halt bit is in the status register, later in one of its own
  if (index == at.status) word |= (wave.exec == 0 ? 1u << at.execz : 0) | at.valid | 1u << at.fatal;
  if (index == at.valid_and_idle) word = 1;
  if (index == at.state) word |= 1u << at.halt;
  if (index == at.exceptions) word = wave.kind == WaveFault::Kind::illegal_instruction || wave.kind == WaveFault::Kind::wmma_exec ? 1u << at.illegal : 1u << at.mem_viol;
  if (index == at.pc_lo) word = static_cast<uint32_t>(wave.pc);
  if (index == at.pc_hi) word = static_cast<uint32_t>(wave.pc >> 32);
  if (index == at.exec_lo) word = static_cast<uint32_t>(wave.exec);
  if (index == at.exec_hi) word = static_cast<uint32_t>(wave.exec >> 32);
  if (index == at.hw_id1) word = wave.wave_slot | wave.simd << 8 | wave.wgp << 10 | wave.sa << 16 | wave.se << 18;
  return word;
}

}  // namespace usbgpu::emulator
