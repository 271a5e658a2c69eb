#include "emulator/cp/sdma.h"

#include "emulator/ip/interrupts.h"

namespace usbgpu::emulator {

namespace {
constexpr uint32_t cid_sdma0 = 13;  // gfxhub_client
std::string engine_name(unsigned engine, const char* rest) { return "SDMA" + std::to_string(engine) + "_" + rest; }
Reg engine_reg(unsigned engine, const char* rest) { return RegisterFile::find(engine_name(engine, rest)).value(); }
Field engine_field(unsigned engine, const char* rest) { return RegisterFile::find_field(engine_name(engine, rest)).value(); }
bool bit(uint32_t word, unsigned n) { return word >> n & 1; }
}  // namespace

Sdma::Sdma(Board& board, Gfx& gfx, unsigned engine)
    : board_(board),
      gfx_(gfx),
      engine_(engine),
      memory_(board, *board.gc, cid_sdma0 + engine),
      f32_cntl_(engine_reg(engine, "F32_CNTL")),
      cntl_(engine_reg(engine, "CNTL")),
      freeze_(engine_reg(engine, "FREEZE")),
      watchdog_(engine_reg(engine, "WATCHDOG_CNTL")),
      freezing_(engine_field(engine, "FREEZE__freeze")),
      frozen_(engine_field(engine, "FREEZE__frozen")),
      held_{engine_field(engine, "F32_CNTL__halt"), engine_field(engine, "F32_CNTL__th1_reset"), engine_field(engine, "F32_CNTL__reset"),
            engine_field(engine, "F32_CNTL__th0_reset")} {
  for (unsigned i = 0; i < queue_count; i++) queues_[i].index = i;
  attach_registers();
}

uint32_t Sdma::address(const char* name, unsigned queue) const {
  return board_.regs.address(engine_reg(engine_, (std::string("QUEUE0_") + name).c_str())) + queue * queue_stride;
}

void Sdma::attach_registers() {
  RegisterFile& regs = board_.regs;
  regs.on_write(f32_cntl_, [this](uint32_t value) {
    board_.regs.set(f32_cntl_, value);
    board_.wake.ring();
  });
  regs.on_write(freeze_, [this](uint32_t value) {
    // asking for a freeze is granted at once: packets are done or not begun
    board_.regs.set(freeze_, board_.regs.insert(frozen_, value, board_.regs.decode(freezing_, value)));
    board_.wake.ring();
  });
  const Reg status = engine_reg(engine_, "STATUS_REG");
  regs.on_read(status, [this] { return idle() ? 0x46DEE557u | 1u : 0u; });  // every *_idle and rb_empty bit, or none
  for (Queue& queue : queues_) attach_queue(queue);
}

void Sdma::attach_queue(Queue& queue) {
  RegisterFile& regs = board_.regs;
  const auto at = [&](const char* name) { return address(name, queue.index); };
  regs.on_write(at("RB_CNTL"), [this, &queue](uint32_t address, uint32_t value) {
    board_.regs.set_raw(address, value);
    const bool on = bit(value, 0);
    if (on && !queue.enabled) {
      queue.restart = true;
      queue.stuck = false;
      queue.rptr = queue_reg64(queue, "RB_RPTR", "RB_RPTR_HI");
      queue.wptr = queue_reg64(queue, "RB_WPTR", "RB_WPTR_HI");
    }
    if (!on) hang.meet(Cure::queue);
    queue.enabled = on;
    board_.wake.ring();
  });
  const auto pointer = [&](const char* name, bool read, bool high) {
    regs.on_read(at(name), [this, &queue, read, high](uint32_t address) {
      if (!queue.enabled) return board_.regs.raw(address);
      const uint64_t value = read ? queue.rptr : queue.wptr;
      return static_cast<uint32_t>(high ? value >> 32 : value);
    });
  };
  pointer("RB_RPTR", true, false);
  pointer("RB_RPTR_HI", true, true);
  pointer("RB_WPTR", false, false);
  pointer("RB_WPTR_HI", false, true);
  const auto push = [this, &queue](uint32_t address, uint32_t value) {
    board_.regs.set_raw(address, value);
    if (!queue.enabled) return;
    queue.wptr = queue_reg64(queue, "RB_WPTR", "RB_WPTR_HI");
    board_.wake.ring();
  };
  regs.on_write(at("RB_WPTR"), push);
  regs.on_write(at("RB_WPTR_HI"), push);
  regs.on_read(at("CONTEXT_STATUS"), [&queue](uint32_t) {
    const bool empty = queue.rptr >= queue.wptr && !queue.nested.load();
    return uint32_t{queue.enabled} | uint32_t{queue.nested.load()} << 1 | uint32_t{empty} << 2 | uint32_t{queue.stuck} << 4;  // selected, use_ib, idle, exception
  });
}

void Sdma::power_on() {
  soft_reset();
  for (Field field : held_) board_.regs.set(field, 1);  // halted, its threads in reset
}

void Sdma::soft_reset() {
  hang.meet(Cure::engine);
  for (Queue& queue : queues_) {
    queue.enabled = queue.stuck = false;
    queue.restart = true;
    queue.rptr = queue.wptr = 0;
    board_.regs.set_raw(address("RB_CNTL", queue.index), board_.regs.raw(address("RB_CNTL", queue.index)) & ~1u);
  }
}

// Firmware in, not halted, not in reset (gfx11: the context-switch thread; drivers leave the other one), not frozen.
bool Sdma::runs() const {
  const RegisterFile& regs = board_.regs;
  return gfx_.autoloaded() && !regs.get(held_[0]) && !regs.get(held_[1]) && !regs.get(held_[2]) && !regs.get(freezing_);
}

void Sdma::doorbell(uint32_t offset, uint64_t wptr) {
  std::lock_guard guard(board_.lock);
  bool rang = false;
  for (Queue& queue : queues_) {
    if (!queue.enabled || !bit(queue_reg(queue, "DOORBELL"), 28) || (queue_reg(queue, "DOORBELL_OFFSET") & 0x0FFFFFFC) != offset) continue;
    if (bit(queue_reg(queue, "MINOR_PTR_UPDATE"), 0)) continue;  // pointers are being set up
    queue.wptr = wptr;
    rang = true;
  }
  if (rang) board_.wake.ring();
}

void Sdma::post(uint8_t source, const Queue& queue, uint32_t context) {
  board_.ih->post({.client = facts::ih_client::GFX,
                   .source = source,
                   .ring = static_cast<uint8_t>(engine_ | queue.index << 2),
                   .context = {context}});
}

Sdma::Outcome Sdma::stop(Queue& queue, std::string why) {
  bool watched;
  {
    std::lock_guard guard(board_.lock);
    if (queue.restart) return Outcome::stop;  // a packet from before a reset: not this queue's any more
    queue.stuck = true;
    last_stop_ = std::move(why);
    watched = board_.regs.get(watchdog_) & 0xFF;
  }
  // a queue that no longer moves is what the watchdog reports
  if (watched) post(facts::ih_source_gfx11::SDMA_QUEUE_HANG, queue);
  return Outcome::stop;
}

std::string Sdma::last_stop() {
  std::lock_guard guard(board_.lock);
  return last_stop_;
}

bool Sdma::idle() {
  std::lock_guard guard(board_.lock);
  if (!runs()) return true;
  for (const Queue& queue : queues_)
    if (queue.enabled && !queue.stuck && (queue.rptr < queue.wptr || queue.nested.load())) return false;
  return true;
}

// The engine's firmware also finds the write pointer in memory, without a doorbell.
bool Sdma::polls_pointer(const Queue& queue) {
  return queue.enabled && !queue.stuck && bit(queue_reg(queue, "RB_CNTL"), 11) && !bit(queue_reg(queue, "MINOR_PTR_UPDATE"), 0) &&
         queue.rptr >= queue.wptr && queue_reg64(queue, "RB_WPTR_POLL_ADDR_LO", "RB_WPTR_POLL_ADDR_HI") != 0;
}

void Sdma::poll_pointer(Queue& queue) {
  uint64_t at;
  {
    std::lock_guard guard(board_.lock);
    if (!runs() || !polls_pointer(queue)) return;
    at = queue_reg64(queue, "RB_WPTR_POLL_ADDR_LO", "RB_WPTR_POLL_ADDR_HI") & ~7ull;
  }
  if (!board_.gc->resolve(at, Access::read, cid_sdma0 + engine_, true)) return;  // a poll does not fault
  const auto pointer = memory_.read64(at);
  std::lock_guard guard(board_.lock);
  const uint64_t ring_bytes = uint64_t{4} << (queue_reg(queue, "RB_CNTL") >> 1 & 31);
  // never backwards, and not further than the ring reaches: what lies there may be anything
  if (pointer && polls_pointer(queue) && *pointer > queue.wptr && *pointer - queue.rptr <= ring_bytes && *pointer % 4 == 0) queue.wptr = *pointer;
}

std::chrono::microseconds Sdma::patience() {
  std::lock_guard guard(board_.lock);
  for (const Queue& queue : queues_)
    if (runs() && polls_pointer(queue)) return std::chrono::milliseconds(5);
  return Agent::patience();
}

bool Sdma::step() {
  bool progressed = false;
  for (Queue& queue : queues_) {
    poll_pointer(queue);
    std::unique_lock guard(board_.lock);
    if (!runs()) {
      hang.meet(Cure::engine);
      return progressed;
    }
    if (!queue.enabled || hang.stands()) continue;
    if (queue.restart) {
      queue.restart = false;
      queue.buffers.clear();
      queue.nested.store(false);
      queue.polling = queue.announced = false;
    }
    if (queue.stuck || (queue.rptr >= queue.wptr && queue.buffers.empty())) continue;
    const uint64_t wptr = queue.wptr;
    queue.at = queue.rptr;
    guard.unlock();
    if (run_packet(queue, wptr) != Outcome::done) continue;
    progressed = true;
    guard.lock();
    hang.count();
  }
  return progressed;
}

}  // namespace usbgpu::emulator
