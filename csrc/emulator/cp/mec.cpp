#include "emulator/cp/mec.h"

#include "emulator/ip/interrupts.h"

namespace usbgpu::emulator {

namespace {
constexpr uint32_t cid_cpf = 4, cid_cpc = 5, cid_tcp = 8;  // gfxhub_client
constexpr uint32_t mqd_header = 0xC0310800;
// MQD bytes of COMPUTE_STATIC_THREAD_MGMT_SE0..8 (the last one is new in v12; earlier ones have other things there)
namespace mqd = layout::v12_compute_mqd;
constexpr struct {
  uint32_t byte;
  Reg reg;
} thread_masks[] = {{mqd::compute_static_thread_mgmt_se0, Reg::COMPUTE_STATIC_THREAD_MGMT_SE0},
                    {mqd::compute_static_thread_mgmt_se1, Reg::COMPUTE_STATIC_THREAD_MGMT_SE1},
                    {mqd::compute_static_thread_mgmt_se2, Reg::COMPUTE_STATIC_THREAD_MGMT_SE2},
                    {mqd::compute_static_thread_mgmt_se3, Reg::COMPUTE_STATIC_THREAD_MGMT_SE3},
                    {mqd::compute_static_thread_mgmt_se4, Reg::COMPUTE_STATIC_THREAD_MGMT_SE4},
                    {mqd::compute_static_thread_mgmt_se5, Reg::COMPUTE_STATIC_THREAD_MGMT_SE5},
                    {mqd::compute_static_thread_mgmt_se6, Reg::COMPUTE_STATIC_THREAD_MGMT_SE6},
                    {mqd::compute_static_thread_mgmt_se7, Reg::COMPUTE_STATIC_THREAD_MGMT_SE7},
                    {mqd::compute_static_thread_mgmt_se8, Reg::COMPUTE_STATIC_THREAD_MGMT_SE8}};
}  // namespace

Mec::Mec(Board& board, Gfx& gfx, const GpuOptions& options)
    : board_(board),
      gfx_(gfx),
      fetch_(board, *board.gc, cid_cpf),
      data_(board, *board.gc, cid_cpc),
      shader_space_(board, *board.gc, cid_tcp),
      shaders_(ShaderArray::create({.threads = options.deterministic ? 1 : options.threads, .counters = options.counters})),
      first_hqd_(board.regs.address(Reg::CP_MQD_BASE_ADDR)),
      rates_(rates_of(board.chip.name)) {
  for (unsigned i = 0; i < queue_count; i++) queues_[i].index = i;
  attach_registers();
}

void Mec::attach_registers() {
  RegisterFile& regs = board_.regs;
  for (uint32_t i = 0; i < hqd_registers; i++) {
    regs.on_read(first_hqd_ + i, [this](uint32_t address) { return read_hqd(address); });
    regs.on_write(first_hqd_ + i, [this](uint32_t address, uint32_t value) { write_hqd(address, value); });
  }
  regs.on_write(Reg::SPI_COMPUTE_QUEUE_RESET, [this](uint32_t value) {
    Queue* queue = selected();
    if (!(value & 1) || !queue) return;
    hang.meet(Cure::queue);
    gfx_.kill_waves();
    if (queue->active) queue->cancel.store(true);
  });
  for (Reg poll : {Reg::CP_PQ_WPTR_POLL_CNTL, Reg::CP_PQ_WPTR_POLL_CNTL1})
    regs.on_write(poll, [this, poll](uint32_t value) {
      board_.regs.set(poll, value);
      board_.wake.ring();  // a sleeping engine begins to look
    });
  regs.on_read(Reg::CP_STAT, [this] { return busy() ? board_.regs.insert(Field::CP_STAT__cp_busy, 0, 1) : 0; });
  regs.on_read(Reg::CP_CPC_STATUS, [this] {
    return busy() ? board_.regs.insert(Field::CP_CPC_STATUS__cpc_busy, board_.regs.insert(Field::CP_CPC_STATUS__mec1_busy, 0, 1), 1) : 0;
  });
  regs.on_read(Reg::GRBM_STATUS, [this] {
    uint32_t word = 0;
    if (busy()) word = board_.regs.insert(Field::GRBM_STATUS__gui_active, board_.regs.insert(Field::GRBM_STATUS__cp_busy, 0, 1), 1);
    if (gfx_.waves_halted()) word = board_.regs.insert(Field::GRBM_STATUS__spi_busy, word, 1);
    return word;
  });
}

Mec::Queue* Mec::selected() {
  return gfx_.selected_me() == 1 && gfx_.selected_pipe() == 0 ? &queues_[gfx_.selected_queue()] : nullptr;
}

uint32_t Mec::read_hqd(uint32_t address) {
  Queue* queue = selected();
  const uint32_t slot = address - first_hqd_;
  if (!queue) return unserved_[slot];
  const auto is = [&](Reg reg) { return address == board_.regs.address(reg); };
  if (is(Reg::CP_HQD_ACTIVE)) return queue->active;
  if (is(Reg::CP_HQD_PQ_RPTR)) return static_cast<uint32_t>(queue->rptr);
  if (is(Reg::CP_HQD_PQ_WPTR_LO)) return static_cast<uint32_t>(queue->wptr);
  if (is(Reg::CP_HQD_PQ_WPTR_HI)) return static_cast<uint32_t>(queue->wptr >> 32);
  return queue->regs[slot];
}

void Mec::write_hqd(uint32_t address, uint32_t value) {
  Queue* queue = selected();
  const uint32_t slot = address - first_hqd_;
  if (!queue) {
    unserved_[slot] = value;
    return;
  }
  const auto is = [&](Reg reg) { return address == board_.regs.address(reg); };
  queue->regs[slot] = value;
  if (is(Reg::CP_HQD_ACTIVE)) {
    const bool on = value & 1;
    if (on && !queue->active) {
      queue->rptr = hqd(*queue, Reg::CP_HQD_PQ_RPTR);
      queue->wptr = hqd64(*queue, Reg::CP_HQD_PQ_WPTR_LO, Reg::CP_HQD_PQ_WPTR_HI);
      queue->restart = true;
      queue->stuck = queue->waiting = false;
    }
    if (!on && queue->active) {
      hang.meet(Cure::queue);
      queue->cancel.store(true);
    }
    queue->active = on;
    board_.wake.ring();
  } else if (is(Reg::CP_HQD_DEQUEUE_REQUEST) && queue->active && (value & 0xF)) {
    if ((value & 0xF) == 2) queue->cancel.store(true);  // reset waves; 1 lets them end
    board_.wake.ring();
  } else if (queue->active && (is(Reg::CP_HQD_PQ_WPTR_LO) || is(Reg::CP_HQD_PQ_WPTR_HI))) {
    queue->wptr = hqd64(*queue, Reg::CP_HQD_PQ_WPTR_LO, Reg::CP_HQD_PQ_WPTR_HI);
    board_.wake.ring();
  }
}

void Mec::power_on() {
  for (Queue& queue : queues_) {
    queue.regs.fill(0);
    queue.cancel.store(true);
    queue.active = queue.stuck = queue.waiting = false;
    queue.restart = true;
    queue.rptr = queue.wptr = 0;
  }
  unserved_.fill(0);
  interrupted_ = false;
}

// CP and CPC: the hardware queues are gone, whatever they were doing.
void Mec::soft_reset() {
  hang.meet(Cure::engine);
  for (Queue& queue : queues_) {
    queue.cancel.store(true);
    queue.active = queue.stuck = queue.waiting = false;
    queue.restart = true;
    queue.regs.fill(0);
  }
}

void Mec::interrupt_dispatches() {
  std::lock_guard guard(board_.lock);
  interrupted_ = true;
  for (Queue& queue : queues_) queue.cancel.store(true);
}

bool Mec::busy() {
  for (const Queue& queue : queues_)
    if (queue.active && (queue.stuck || queue.rptr < queue.wptr)) return true;
  return false;
}

void Mec::doorbell(uint32_t offset, uint64_t wptr) {
  std::lock_guard guard(board_.lock);
  for (Queue& queue : queues_) {
    if (!queue.active || !hqd(queue, Field::CP_HQD_PQ_DOORBELL_CONTROL__doorbell_en)) continue;
    if ((hqd(queue, Reg::CP_HQD_PQ_DOORBELL_CONTROL) & 0x0FFFFFFC) != offset) continue;
    uint32_t& control = hqd(queue, Reg::CP_HQD_PQ_DOORBELL_CONTROL);
    control = board_.regs.insert(Field::CP_HQD_PQ_DOORBELL_CONTROL__doorbell_hit, control, 1);
    queue.wptr = wptr;
  }
  board_.wake.ring();
}

// Engine side of an activation; the lock is held.
void Mec::begin(Queue& queue) {
  queue.restart = false;
  // Not when the queue was switched on: a dispatch from before that may not have seen yet that it
  // is cancelled, and would go on for ever.
  queue.cancel.store(false);
  queue.buffers.clear();
  queue.nested.store(false);
  queue.request_written = queue.announced = false;
  queue.fetched_rptr = queue.rptr;
  queue.sh.fill(0);
  if (!hqd(queue, Field::CP_HQD_PERSISTENT_STATE__preload_req)) return;
  // The queue's saved state comes from its descriptor in memory.
  const uint64_t mqd = hqd64(queue, Reg::CP_MQD_BASE_ADDR, Reg::CP_MQD_BASE_ADDR_HI);
  if (!board_.in_frame_buffer(mqd) || !board_.in_frame_buffer(mqd + 4095)) return;
  const uint64_t at = mqd - Board::fb_base;
  if (board_.vram.read32(at) != mqd_header) return;
  for (const auto& mask : thread_masks)
    if (board_.regs.has(mask.reg)) queue.sh[board_.regs.address(mask.reg) - 0x2C00] = board_.vram.read32(at + mask.byte);
}

// Answers a dequeue request; true if there was one to answer.
bool Mec::dequeue(Queue& queue) {
  const uint32_t request = hqd(queue, Reg::CP_HQD_DEQUEUE_REQUEST) & 0xF;
  if (!request) return false;
  hang.meet(Cure::queue);
  if (hang.stands()) return false;
  if (request == 1 && (gfx_.waves_halted() || !queue.buffers.empty())) return false;  // drains for ever while waves are halted
  if (request == 2) gfx_.kill_waves();
  hqd(queue, Reg::CP_HQD_DEQUEUE_REQUEST) = 0;
  queue.active = queue.stuck = queue.waiting = false;
  queue.restart = true;
  return true;
}

void Mec::stop(Queue& queue, std::string why) {
  std::lock_guard guard(board_.lock);
  if (!queue.restart) queue.stuck = true;  // else the packet is from before a reset: not this queue's any more
  last_stop_ = std::move(why);
}

void Mec::stop_on_fault(Queue& queue, Field error, std::string why) {
  std::lock_guard guard(board_.lock);
  if (!queue.restart) {
    uint32_t& word = hqd(queue, Reg::CP_HQD_ERROR);
    word = board_.regs.insert(error, word, 1);
  }
  stop(queue, std::move(why));
}

bool Mec::idle() {
  std::lock_guard guard(board_.lock);
  if (!gfx_.mec_runs() || hang.stands()) return true;
  for (const Queue& queue : queues_)
    if (queue.active && !queue.stuck && (queue.rptr < queue.wptr || queue.nested.load())) return false;
  return true;
}

// CP_PQ_WPTR_POLL_CNTL: the engine looks for the write pointer in memory, queue by queue.
bool Mec::polls_pointer(Queue& queue) {
  return queue.active && !queue.stuck && board_.regs.get(Field::CP_PQ_WPTR_POLL_CNTL__en) &&
         (board_.regs.get(Reg::CP_PQ_WPTR_POLL_CNTL1) >> queue.index & 1) && queue.rptr >= queue.wptr &&
         hqd64(queue, Reg::CP_HQD_PQ_WPTR_POLL_ADDR, Reg::CP_HQD_PQ_WPTR_POLL_ADDR_HI) != 0;
}

void Mec::poll_pointer(Queue& queue) {
  uint64_t at;
  {
    std::lock_guard guard(board_.lock);
    if (!gfx_.mec_runs() || !polls_pointer(queue)) return;
    at = hqd64(queue, Reg::CP_HQD_PQ_WPTR_POLL_ADDR, Reg::CP_HQD_PQ_WPTR_POLL_ADDR_HI) & ~7ull;
  }
  if (!board_.gc->resolve(at, Access::read, cid_cpf, true)) return;  // a poll does not fault
  const auto pointer = fetch_.read64(at);
  std::lock_guard guard(board_.lock);
  const uint64_t ring_dwords = uint64_t{2} << (hqd(queue, Field::CP_HQD_PQ_CONTROL__queue_size) & 31);
  if (pointer && polls_pointer(queue) && *pointer > queue.wptr && *pointer - queue.rptr <= ring_dwords) queue.wptr = *pointer;
}

std::chrono::microseconds Mec::patience() {
  std::lock_guard guard(board_.lock);
  for (Queue& queue : queues_)
    if (gfx_.mec_runs() && polls_pointer(queue)) return std::chrono::milliseconds(5);
  return Agent::patience();
}

bool Mec::step() {
  bool progressed = false;
  for (unsigned i = 0; i < queue_count; i++) {
    Queue& queue = queues_[(turn_ + i) % queue_count];
    poll_pointer(queue);
    std::unique_lock guard(board_.lock);
    if (interrupted_ || !gfx_.mec_runs()) return progressed;
    if (!queue.active) continue;
    if (queue.restart) begin(queue);
    if (dequeue(queue)) {
      progressed = true;
      continue;
    }
    if (hang.stands() || queue.stuck || (queue.rptr >= queue.wptr && queue.buffers.empty())) continue;
    const uint64_t wptr = queue.wptr;
    queue.fetched_rptr = queue.rptr;
    guard.unlock();
    const Outcome outcome = run_packet(queue, wptr);
    guard.lock();
    if (outcome == Outcome::done) {
      totals_.packets++;
      hang.count();
    }
    progressed |= outcome == Outcome::done;
  }
  turn_ = (turn_ + 1) % queue_count;
  return progressed;
}

Mec::Totals Mec::totals() {
  std::lock_guard guard(board_.lock);
  return totals_;
}

std::map<uint64_t, LaunchStatistics> Mec::launches() {
  std::lock_guard guard(board_.lock);
  return launches_;
}

std::string Mec::last_stop() {
  std::lock_guard guard(board_.lock);
  return last_stop_;
}

}  // namespace usbgpu::emulator
