// SDMA packets (packets sheet, section 6).
#include <algorithm>

#include "emulator/cp/atomic_unit.h"
#include "emulator/cp/compare.h"
#include "emulator/cp/sdma.h"
#include "emulator/ip/interrupts.h"

namespace usbgpu::emulator {

namespace {
namespace op = facts::sdma_op;
namespace sub = facts::sdma_subop;

uint64_t wide(uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; }
}  // namespace

uint32_t Sdma::packet_dwords(uint32_t header) {
  const uint32_t code = header & 0xFF, kind = header >> 8 & 0xFF;
  switch (code) {
    case op::NOP: return 1 + (header >> 16 & 0x3FFF);
    case op::COPY: return kind == sub::COPY_LINEAR ? 7 : 0;
    case op::WRITE: return kind == sub::WRITE_LINEAR ? 4 : 0;  // and the data, see run_packet
    case op::INDIRECT: return 6;
    case op::FENCE: return 4;
    case op::TRAP: return 2;
    case op::POLL_REGMEM: return kind == 0 ? 6 : 0;
    case op::COND_EXE: return 5;
    case op::ATOMIC: return 8;
    case op::CONST_FILL: return kind == 0 ? 5 : 0;
    case op::TIMESTAMP: return 3;
    case op::SRBM_WRITE: return 3;
    case op::GCR_REQ: return 5;
    case op::GPUVM_INV: return 4;
    default: return 0;
  }
}

Sdma::Outcome Sdma::check(Queue& queue, bool good, const char* what) {
  return good ? Outcome::done : stop(queue, std::string("memory fault in ") + what);
}

Sdma::Outcome Sdma::run_packet(Queue& queue, uint64_t wptr) {
  const bool in_ring = queue.buffers.empty();
  uint64_t ring = 0, ring_dwords = 0;
  if (in_ring) {
    std::lock_guard guard(board_.lock);
    ring = queue_reg64(queue, "RB_BASE", "RB_BASE_HI") << 8;
    ring_dwords = uint64_t{1} << (queue_reg(queue, "RB_CNTL") >> 1 & 31);
  }
  const uint64_t available = in_ring ? (wptr - queue.at) / 4 : queue.buffers.back().left;
  const auto fetch = [&](uint64_t first, std::span<uint32_t> into) {
    if (!in_ring) return memory_.fetch(queue.buffers.back().va + 4 * first, into);
    const uint64_t at = (queue.at / 4 + first) % ring_dwords;
    const uint64_t run = std::min<uint64_t>(into.size(), ring_dwords - at);
    return memory_.fetch(ring + 4 * at, into.first(run)) && (run == into.size() || memory_.fetch(ring, into.subspan(run)));
  };
  if (available == 0) return Outcome::wait;
  uint32_t header = 0;
  if (!fetch(0, {&header, 1})) return stop(queue, "memory fault fetching packets");
  uint64_t dwords = packet_dwords(header);
  if (dwords == 0) return stop(queue, "packet " + std::to_string(header) + " is not understood");
  if ((header & 0xFF) == op::WRITE && available >= 4) {
    uint32_t count = 0;
    if (!fetch(3, {&count, 1})) return stop(queue, "memory fault fetching packets");
    dwords = 4 + (count & 0xFFFFF) + 1;
  }
  if (dwords > available) {
    if (in_ring && (header & 0xFF) != op::NOP) return Outcome::wait;
    dwords = available;  // padding may reach past what was published
    if ((header & 0xFF) != op::NOP) return stop(queue, "a packet reaches past its indirect buffer");
  }
  words_.resize((header & 0xFF) == op::NOP ? 1 : dwords);
  if (!fetch(0, words_)) return stop(queue, "memory fault fetching packets");
  const size_t depth = queue.buffers.size();
  if (EngineObserver* observer = board_.observer.load(std::memory_order_relaxed); observer && !queue.announced) {
    queue.announced = true;
    const uint64_t va = in_ring ? ring + 4 * (queue.at / 4 % ring_dwords) : queue.buffers.back().va;
    observer->packet({"sdma", engine_, queue.index, static_cast<unsigned>(depth), va, words_});
  }
  uint64_t skip = 0;
  if ((header & 0xFF) == op::COND_EXE) {
    const auto value = memory_.read32(wide(words_[1], words_[2]) & ~3ull);
    if (!value) return stop(queue, "memory fault in COND_EXE");
    if (*value != words_[3]) skip = words_[4] & 0x3FFF;
  } else {
    const Outcome outcome = execute(queue, words_);
    if (outcome != Outcome::done) return outcome;
  }
  queue.announced = false;
  queue.nested.store(!queue.buffers.empty());
  if (in_ring) {
    uint64_t report = 0, rptr;
    {
      std::lock_guard guard(board_.lock);
      if (queue.restart || !queue.enabled) return Outcome::stop;  // reset meanwhile
      queue.rptr += 4 * (dwords + skip);
      rptr = queue.rptr;
      if (queue_reg(queue, "RB_CNTL") >> 12 & 1) report = queue_reg64(queue, "RB_RPTR_ADDR_LO", "RB_RPTR_ADDR_HI") & ~3ull;
    }
    if (report && queue.buffers.empty()) memory_.write64(report, rptr);
    return Outcome::done;
  }
  Buffer& buffer = queue.buffers[depth - 1];
  buffer.va += 4 * (dwords + skip);
  buffer.left -= static_cast<uint32_t>(std::min<uint64_t>(buffer.left, dwords + skip));
  while (!queue.buffers.empty() && queue.buffers.back().left == 0) queue.buffers.pop_back();
  queue.nested.store(!queue.buffers.empty());
  if (queue.buffers.empty()) {
    uint64_t report = 0, rptr;
    {
      std::lock_guard guard(board_.lock);
      rptr = queue.rptr;
      if (queue_reg(queue, "RB_CNTL") >> 12 & 1) report = queue_reg64(queue, "RB_RPTR_ADDR_LO", "RB_RPTR_ADDR_HI") & ~3ull;
    }
    if (report) memory_.write64(report, rptr);
  }
  return Outcome::done;
}

Sdma::Outcome Sdma::execute(Queue& queue, std::span<const uint32_t> p) {
  switch (p[0] & 0xFF) {
    case op::NOP: return Outcome::done;
    case op::COPY: return check(queue, memory_.copy(wide(p[5], p[6]), wide(p[3], p[4]), uint64_t{p[1] & 0x3FFFFFFF} + 1), "COPY");
    case op::WRITE: {
      const auto data = p.subspan(4);
      const uint64_t to = wide(p[1], p[2]) & ~3ull;
      return check(queue, data.size() == 1 ? memory_.write32(to, data[0]) : memory_.write(to, std::as_bytes(data)), "WRITE");
    }
    case op::INDIRECT: {
      bool enabled;
      {
        std::lock_guard guard(board_.lock);
        enabled = queue_reg(queue, "IB_CNTL") & 1;
      }
      if (!enabled) return stop(queue, "an indirect buffer while IB_CNTL.ib_enable is 0");
      if (!queue.buffers.empty()) return stop(queue, "an indirect buffer inside another");
      if (p[1] & 31) return stop(queue, "an indirect buffer that is not 32-byte aligned");
      if (p[3] & 0xFFFFF) queue.buffers.push_back({wide(p[1], p[2]), p[3] & 0xFFFFF});
      return Outcome::done;
    }
    case op::FENCE: return check(queue, memory_.write32(wide(p[1], p[2]) & ~3ull, p[3]), "FENCE");
    case op::TRAP: {
      bool enabled;
      {
        std::lock_guard guard(board_.lock);
        enabled = board_.regs.get(cntl_) & 1;
      }
      if (enabled) post(facts::ih_source_gfx11::SDMA_TRAP, queue, p[1] & 0x0FFFFFFF);
      return Outcome::done;
    }
    case op::POLL_REGMEM: return poll(queue, p);
    case op::ATOMIC: return atomic(queue, p);
    case op::CONST_FILL: {
      // The count is taken as bytes - 1 for every unit (for units above a byte hardware was not asked).
      const uint32_t unit = p[0] >> 30, value = p[3];
      const uint32_t pattern = unit == 1 ? (value & 0xFFFF) * 0x10001u : value;  // Linux: size 0 with a 32-bit pattern
      return check(queue, memory_.fill(wide(p[1], p[2]), pattern, uint64_t{p[4] & 0x3FFFFFFF} + 1), "CONST_FILL");
    }
    case op::TIMESTAMP:
      if ((p[0] >> 8 & 0xFF) == sub::TIMESTAMP_SET) return Outcome::done;
      return check(queue, memory_.write64(wide(p[1], p[2]) & ~7ull, board_.clock()), "TIMESTAMP");
    case op::SRBM_WRITE: board_.reg_write(p[1] & 0x3FFFF, p[2]); return Outcome::done;
    case op::GPUVM_INV: {
      // the request in the layout of VM_INVALIDATE_ENGn_REQ, then the page, which is not looked at: more is dropped
      if ((p[1] & 1) && (p[1] >> 19 & 0x1F)) board_.gc->invalidate();
      if (p[1] >> 24 & 1) board_.gc->clear_fault();
      return Outcome::done;
    }
    case op::GCR_REQ: return Outcome::done;  // no caches between this engine and memory
    default: return stop(queue, "packet is not understood");
  }
}

Sdma::Outcome Sdma::poll(Queue& queue, std::span<const uint32_t> p) {
  const bool memory = p[0] >> 31, flush = p[0] >> 26 & 1;
  const uint32_t retries = p[5] >> 16 & 0xFFF;
  uint32_t value;
  if (flush) {
    // dw1/dw2 are the byte addresses of the done and the request register
    if (!queue.polling) board_.reg_write(p[2] / 4 & 0x3FFFF, p[3]);
    value = board_.reg_read(p[1] / 4 & 0x3FFFF);
  } else if (memory) {
    const auto word = memory_.read32(wide(p[1], p[2]) & ~3ull);
    if (!word) return stop(queue, "memory fault in POLL_REGMEM");
    value = *word;
  } else {
    value = board_.reg_read(p[1] / 4 & 0x3FFFF);
  }
  if (!queue.polling) queue.polls_left = retries;
  queue.polling = true;
  if (compare(p[0] >> 28 & 7, value & p[4], p[3])) {
    queue.polling = false;
    return Outcome::done;
  }
  if (retries != 0xFFF && queue.polls_left-- == 0) {
    queue.polling = false;
    post(facts::ih_source_gfx11::SDMA_POLL_TIMEOUT, queue);
    return Outcome::done;  // the engine goes on with what follows
  }
  return Outcome::wait;
}

Sdma::Outcome Sdma::atomic(Queue& queue, std::span<const uint32_t> p) {
  uint32_t operation = p[0] >> 25;
  const bool loop = p[0] >> 16 & 1;
  if (operation >= atomic_unit::silent_offset) operation -= atomic_unit::silent_offset;
  const bool is_wide = operation >= atomic_unit::wide_offset;
  if (is_wide) operation -= atomic_unit::wide_offset;
  if (!atomic_unit::known(operation)) return stop(queue, "atomic operation is not understood");
  const auto matched = atomic_unit::run(memory_, wide(p[1], p[2]), operation, is_wide, wide(p[3], p[4]), wide(p[5], p[6]));
  if (!matched) return stop(queue, "memory fault in ATOMIC");
  // a compare-and-swap with the loop bit repeats until it succeeds
  return loop && operation == atomic_unit::compare_swap && !*matched ? Outcome::wait : Outcome::done;
}

}  // namespace usbgpu::emulator
