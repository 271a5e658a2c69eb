// PM4 packets of the compute ring (packets sheet, sections 1 and 2).
#include <algorithm>
#include <utility>
#include <utility>

#include "emulator/cp/compare.h"
#include "emulator/cp/mec.h"
#include "emulator/ip/interrupts.h"

namespace usbgpu::emulator {

namespace {
namespace op = facts::pm4_op;
constexpr uint32_t single_dword_nop = 0xFFFF1000;
constexpr uint32_t config_window = 0x2000, sh_window = 0x2C00, uconfig_window = 0xC000;

uint64_t wide(uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; }
}  // namespace

Mec::Outcome Mec::memory_fault(Queue& queue, const char* what) {
  stop_on_fault(queue, Field::CP_HQD_ERROR__tc_utcl1_error, std::string("memory fault in ") + what);
  return Outcome::stop;
}

Mec::Outcome Mec::run_packet(Queue& queue, uint64_t wptr) {
  const bool in_ring = queue.buffers.empty();
  uint64_t ring = 0, ring_dwords = 0;
  if (in_ring) {
    std::lock_guard guard(board_.lock);
    ring = hqd64(queue, Reg::CP_HQD_PQ_BASE, Reg::CP_HQD_PQ_BASE_HI) << 8;
    ring_dwords = uint64_t{2} << (hqd(queue, Field::CP_HQD_PQ_CONTROL__queue_size) & 31);
  }
  const uint64_t available = in_ring ? wptr - queue.fetched_rptr : queue.buffers.back().left;
  const auto fetch = [&](uint64_t first, std::span<uint32_t> into) {
    if (!in_ring) return fetch_.fetch(queue.buffers.back().va + 4 * first, into);
    const uint64_t at = (queue.fetched_rptr + first) % ring_dwords;
    const uint64_t run = std::min<uint64_t>(into.size(), ring_dwords - at);  // packets may wrap
    return fetch_.fetch(ring + 4 * at, into.first(run)) && (run == into.size() || fetch_.fetch(ring, into.subspan(run)));
  };
  Packet packet;
  if (!fetch(0, {&packet.header, 1})) {
    stop_on_fault(queue, in_ring ? Field::CP_HQD_ERROR__pq_utcl1_error : Field::CP_HQD_ERROR__ib_utcl1_error, "memory fault fetching packets");
    return Outcome::stop;
  }
  packet.opcode = packet.header >> 8 & 0xFF;
  packet.dwords = packet.header == single_dword_nop ? 1 : 2 + (packet.header >> 16 & 0x3FFF);
  if (packet.header >> 30 != 3) return bad_opcode(queue, packet);
  if (packet.dwords > available) {
    if (in_ring) return Outcome::wait;  // the rest of the packet is not published yet
    return bad_opcode(queue, packet);
  }
  if (packet.opcode != op::NOP) {
    words_.resize(packet.dwords - 1);
    if (!fetch(1, words_)) {
      stop_on_fault(queue, in_ring ? Field::CP_HQD_ERROR__pq_utcl1_error : Field::CP_HQD_ERROR__ib_utcl1_error, "memory fault fetching packets");
      return Outcome::stop;
    }
    packet.body = words_;
  }
  const size_t depth = queue.buffers.size();
  announce(queue, packet, in_ring ? ring + 4 * (queue.fetched_rptr % ring_dwords) : queue.buffers.back().va);
  const Outcome outcome = execute(queue, packet);
  if (outcome != Outcome::done) return outcome;
  queue.announced = false;
  queue.nested.store(!queue.buffers.empty());
  queue.request_written = false;
  if (in_ring) {
    std::lock_guard guard(board_.lock);
    if (queue.restart || !queue.active) return Outcome::stop;  // reset meanwhile
    queue.rptr += packet.dwords + std::exchange(queue.skip, 0);
  } else if (depth) {
    Buffer& buffer = queue.buffers[depth - 1];  // a chain packet has replaced it already
    if (packet.opcode != op::INDIRECT_BUFFER || !(packet.body[2] >> 20 & 1)) {
      const uint32_t passed = std::min(buffer.left, packet.dwords + std::exchange(queue.skip, 0));
      buffer.va += 4ull * passed;
      buffer.left -= passed;
    }
  }
  while (!queue.buffers.empty() && queue.buffers.back().left == 0) queue.buffers.pop_back();
  queue.nested.store(!queue.buffers.empty());
  if (queue.buffers.empty()) report_rptr(queue);
  return Outcome::done;
}

void Mec::announce(Queue& queue, const Packet& packet, uint64_t va) {
  EngineObserver* observer = board_.observer.load(std::memory_order_relaxed);
  if (!observer || std::exchange(queue.announced, true)) return;
  std::vector<uint32_t> words{packet.header};
  words.insert(words.end(), packet.body.begin(), packet.body.end());
  observer->packet({"compute", 0, queue.index, static_cast<unsigned>(queue.buffers.size()), va, words});
}

void Mec::report_rptr(Queue& queue) {
  uint64_t at;
  uint32_t rptr;
  {
    std::lock_guard guard(board_.lock);
    at = hqd64(queue, Reg::CP_HQD_PQ_RPTR_REPORT_ADDR, Reg::CP_HQD_PQ_RPTR_REPORT_ADDR_HI) & ~3ull;
    rptr = static_cast<uint32_t>(queue.rptr);
  }
  if (at) data_.write32(at, rptr);
}

Mec::Outcome Mec::execute(Queue& queue, const Packet& packet) {
  const auto needs = [&](uint32_t dwords) { return packet.body.size() >= dwords; };
  switch (packet.opcode) {
    case op::NOP: return Outcome::done;
    case op::SET_SH_REG: return needs(2) ? set_registers(queue, packet, sh_window) : bad_opcode(queue, packet);
    case op::SET_UCONFIG_REG: return needs(2) ? set_registers(queue, packet, uconfig_window) : bad_opcode(queue, packet);
    case op::DISPATCH_DIRECT: return needs(4) ? dispatch(queue, packet) : bad_opcode(queue, packet);
    case op::ACQUIRE_MEM:
      if (!needs(7)) return bad_opcode(queue, packet);
      // memory has no caches here but the shader cores' decoded code
      if (packet.body[6] & 3) shaders_->invalidate_code();
      std::atomic_thread_fence(std::memory_order_seq_cst);
      return Outcome::done;
    case op::RELEASE_MEM: return needs(7) ? release_mem(queue, packet) : bad_opcode(queue, packet);
    case op::WAIT_REG_MEM: return needs(6) ? wait_reg_mem(queue, packet) : bad_opcode(queue, packet);
    case op::WRITE_DATA: return needs(4) ? write_data(queue, packet) : bad_opcode(queue, packet);
    case op::INDIRECT_BUFFER: return needs(3) ? indirect_buffer(queue, packet) : bad_opcode(queue, packet);
    case op::COPY_DATA: return needs(5) ? copy_data(queue, packet) : bad_opcode(queue, packet);
    case op::DMA_DATA: return needs(6) ? dma_data(queue, packet) : bad_opcode(queue, packet);
    case op::ATOMIC_MEM: return needs(8) ? atomic_mem(queue, packet) : bad_opcode(queue, packet);
    case op::WAIT_REG_MEM64: return needs(8) ? wait_reg_mem64(queue, packet) : bad_opcode(queue, packet);
    case op::COND_EXEC: return needs(4) ? cond_exec(queue, packet) : bad_opcode(queue, packet);
    case op::PRED_EXEC: return pred_exec(queue, packet);
    case op::REG_RMW: return needs(3) ? reg_rmw(queue, packet) : bad_opcode(queue, packet);
    case op::INVALIDATE_TLBS: return invalidate_tlbs(queue, packet);
    case op::DISPATCH_INDIRECT: return needs(3) ? dispatch_indirect(queue, packet) : bad_opcode(queue, packet);
    case op::SET_SH_REG_INDEX: return needs(2) ? set_registers(queue, packet, sh_window) : bad_opcode(queue, packet);
    case op::SET_UCONFIG_REG_INDEX: return needs(2) ? set_registers(queue, packet, uconfig_window) : bad_opcode(queue, packet);
    case op::SET_CONFIG_REG: return needs(2) ? set_registers(queue, packet, config_window) : bad_opcode(queue, packet);
    case op::HDP_FLUSH: return Outcome::done;  // the host's writes land at once here
    case op::EVENT_WRITE: return Outcome::done;  // dispatches end before the next packet starts: all is drained
    default: return bad_opcode(queue, packet);
  }
}

// The MEC reports and stops this queue; others go on.
Mec::Outcome Mec::bad_opcode(Queue& queue, const Packet& packet) {
  uint32_t doorbell;
  {
    std::lock_guard guard(board_.lock);
    doorbell = hqd(queue, Field::CP_HQD_PQ_DOORBELL_CONTROL__doorbell_offset);
  }
  board_.ih->post({.client = facts::ih_client::GRBM_CP,
                   .source = facts::ih_source_gfx11::CP_BAD_OPCODE_ERROR,
                   .ring = static_cast<uint8_t>(1 << 2 | queue.index << 4),
                   .context = {(doorbell & 0x3FF) | (packet.opcode & 0xFF) << 10}});
  stop(queue, "packet " + std::to_string(packet.header) + " is not understood");
  return Outcome::stop;
}

Mec::Outcome Mec::set_registers(Queue& queue, const Packet& packet, uint32_t window) {
  const uint32_t first = packet.body[0] & 0xFFFF;
  const auto values = packet.body.subspan(1);
  if (window == sh_window) {
    if (first + values.size() > sh_registers) return bad_opcode(queue, packet);
    std::copy(values.begin(), values.end(), queue.sh.begin() + first);
    return Outcome::done;
  }
  if (window == config_window && !privileged(queue)) return forbidden(queue, packet, facts::ih_source_gfx11::CP_PRIV_REG_FAULT, "SET_CONFIG_REG");
  for (size_t i = 0; i < values.size(); i++) board_.reg_write(static_cast<uint32_t>(window + first + i), values[i]);
  return Outcome::done;
}

Mec::Outcome Mec::write_data(Queue& queue, const Packet& packet) {
  const uint32_t control = packet.body[0], to = control >> 8 & 0xF;
  const bool same_address = control >> 16 & 1;
  const auto values = packet.body.subspan(3);
  if (to == 0) {
    if (!privileged(queue)) return forbidden(queue, packet, facts::ih_source_gfx11::CP_PRIV_REG_FAULT, "WRITE_DATA to a register");
    for (size_t i = 0; i < values.size(); i++) board_.reg_write(static_cast<uint32_t>((packet.body[1] & 0x3FFFF) + (same_address ? 0 : i)), values[i]);
    return Outcome::done;
  }
  if (to != 2 && to != 5) return bad_opcode(queue, packet);
  const uint64_t va = wide(packet.body[1], packet.body[2]) & ~3ull;
  if (same_address) {
    for (uint32_t value : values)
      if (!data_.write32(va, value)) return memory_fault(queue, "WRITE_DATA");
    return Outcome::done;
  }
  // word by word only when there is one word: a reader may wait for it
  const bool good = values.size() == 1 ? data_.write32(va, values[0]) : data_.write(va, std::as_bytes(values));
  return good ? Outcome::done : memory_fault(queue, "WRITE_DATA");
}

Mec::Outcome Mec::copy_data(Queue& queue, const Packet& packet) {
  const uint32_t control = packet.body[0], from = control & 0xF, to = control >> 8 & 0xF;
  const bool both = control >> 16 & 1;
  const uint64_t source = wide(packet.body[1], packet.body[2]), target = wide(packet.body[3], packet.body[4]);
  uint64_t value = 0;
  switch (from) {
    case 0:
    case 4:
      value = board_.reg_read(packet.body[1] & 0x3FFFF);
      if (both) value |= uint64_t{board_.reg_read((packet.body[1] & 0x3FFFF) + 1)} << 32;
      break;
    case 1:
    case 2: {
      uint32_t words[2] = {};
      if (!data_.fetch(source & ~3ull, std::span(words, both ? 2 : 1))) return memory_fault(queue, "COPY_DATA");
      value = wide(words[0], words[1]);
      break;
    }
    case 5: value = source; break;
    case 9: value = board_.clock(); break;
    default: return bad_opcode(queue, packet);
  }
  switch (to) {
    case 0:
    case 4:
      if (!privileged(queue)) return forbidden(queue, packet, facts::ih_source_gfx11::CP_PRIV_REG_FAULT, "COPY_DATA to a register");
      board_.reg_write(packet.body[3] & 0x3FFFF, static_cast<uint32_t>(value));
      if (both) board_.reg_write((packet.body[3] & 0x3FFFF) + 1, static_cast<uint32_t>(value >> 32));
      return Outcome::done;
    case 1:
    case 2:
    case 5: {
      const bool good = both ? data_.write64(target & ~3ull, value) : data_.write32(target & ~3ull, static_cast<uint32_t>(value));
      return good ? Outcome::done : memory_fault(queue, "COPY_DATA");
    }
    default: return bad_opcode(queue, packet);
  }
}

Mec::Outcome Mec::wait_reg_mem(Queue& queue, const Packet& packet) {
  const uint32_t info = packet.body[0], reference = packet.body[3], mask = packet.body[4];
  const bool memory = (info >> 4 & 3) == 1;
  uint32_t value;
  switch (info >> 6 & 3) {
    case 0:
      if (memory) {
        const auto word = data_.read32(wide(packet.body[1], packet.body[2]) & ~3ull);
        if (!word) return memory_fault(queue, "WAIT_REG_MEM");
        value = *word;
      } else {
        value = board_.reg_read(packet.body[1] & 0x3FFFF);
      }
      break;
    case 1:  // write the reference to the request register, then poll the done register
      if (!queue.request_written) board_.reg_write(packet.body[1] & 0x3FFFF, reference);
      queue.request_written = true;
      value = board_.reg_read(packet.body[2] & 0x3FFFF);
      break;
    default: return bad_opcode(queue, packet);
  }
  return compare(info & 7, value & mask, reference) ? Outcome::done : Outcome::wait;
}

Mec::Outcome Mec::release_mem(Queue& queue, const Packet& packet) {
  // The end-of-pipe event travels through the queue's EOP buffer; without one the MEC writes to
  // address zero.
  bool eop;
  {
    std::lock_guard guard(board_.lock);
    eop = hqd64(queue, Reg::CP_HQD_EOP_BASE_ADDR, Reg::CP_HQD_EOP_BASE_ADDR_HI) != 0;
  }
  if (!eop) {
    data_.write32(0, 0);
    stop_on_fault(queue, Field::CP_HQD_ERROR__eop_utcl1_error, "RELEASE_MEM without an EOP buffer");
    return Outcome::stop;
  }
  const uint32_t selectors = packet.body[1], interrupt = selectors >> 24 & 7;
  const uint64_t va = wide(packet.body[2], packet.body[3]) & ~3ull;
  bool good = true;
  switch (selectors >> 29) {
    case 0: break;
    case 1: good = data_.write32(va, packet.body[4]); break;
    case 2: good = data_.write64(va & ~7ull, wide(packet.body[4], packet.body[5])); break;
    case 3:
    case 4: good = data_.write64(va & ~7ull, board_.clock()); break;
    default: return bad_opcode(queue, packet);
  }
  if (!good) return memory_fault(queue, "RELEASE_MEM");
  if (interrupt == 1 || interrupt == 2)
    board_.ih->post({.client = facts::ih_client::GRBM_CP,
                     .source = facts::ih_source_gfx11::CP_EOP_INTERRUPT,
                     .ring = static_cast<uint8_t>(1 << 2 | queue.index << 4),
                     .context = {packet.body[6]}});
  return Outcome::done;
}

Mec::Outcome Mec::indirect_buffer(Queue& queue, const Packet& packet) {
  constexpr size_t levels = 2;  // IB1 and IB2
  const uint32_t size = packet.body[2] & 0xFFFFF;
  const bool chain = packet.body[2] >> 20 & 1;
  const Buffer next{wide(packet.body[0] & ~3u, packet.body[1] & 0xFFFF), size};
  if (chain && !queue.buffers.empty()) {
    queue.buffers.back() = next;
    return Outcome::done;
  }
  if (queue.buffers.size() >= levels) return bad_opcode(queue, packet);
  queue.buffers.push_back(next);
  return Outcome::done;
}

Mec::Outcome Mec::dma_data(Queue& queue, const Packet& packet) {
  const uint32_t control = packet.body[0], from = control >> 29 & 3, to = control >> 20 & 3, bytes = packet.body[5] & 0x3FFFFFF;
  if (to != 0 && to != 3) return bad_opcode(queue, packet);
  const uint64_t target = wide(packet.body[3], packet.body[4]);
  bool good;
  if (from == 2) good = data_.fill(target, packet.body[1], bytes);
  else if (from == 0 || from == 3) good = data_.copy(target, wide(packet.body[1], packet.body[2]), bytes);
  else return bad_opcode(queue, packet);
  return good ? Outcome::done : memory_fault(queue, "DMA_DATA");
}

Mec::Outcome Mec::dispatch(Queue& queue, const Packet& packet) {
  const uint32_t initiator = packet.body[3];
  DispatchState state;
  state.groups = {packet.body[0], packet.body[1], packet.body[2]};
  state.initiator = initiator;
  state.arch = board_.chip.gfx == 12 ? Arch::gfx12 : Arch::gfx11;
  if (!(initiator & 1)) return Outcome::done;  // compute_shader_en
  static constexpr Reg thread_masks[] = {
      Reg::COMPUTE_STATIC_THREAD_MGMT_SE0, Reg::COMPUTE_STATIC_THREAD_MGMT_SE1, Reg::COMPUTE_STATIC_THREAD_MGMT_SE2,
      Reg::COMPUTE_STATIC_THREAD_MGMT_SE3, Reg::COMPUTE_STATIC_THREAD_MGMT_SE4, Reg::COMPUTE_STATIC_THREAD_MGMT_SE5};
  uint32_t masks = 0;  // of the shader engines that this chip has
  for (uint32_t se = 0; se < std::min<size_t>(board_.chip.geometry.num_se, std::size(thread_masks)); se++) masks |= sh(queue, thread_masks[se]);
  if (!masks) {
    stop(queue, "no compute unit is enabled for the queue: its descriptor's thread masks are zero");
    return Outcome::stop;
  }
  for (uint32_t axis = 0; axis < 3; axis++) {
    state.start[axis] = sh(queue, Reg::COMPUTE_START_X, axis);
    state.threads[axis] = std::max(1u, sh(queue, Reg::COMPUTE_NUM_THREAD_X, axis) & 0xFFFF);
    if (initiator >> 5 & 1) state.groups[axis] = (state.groups[axis] + state.threads[axis] - 1) / state.threads[axis];
  }
  if (state.groups[0] == 0 || state.groups[1] == 0 || state.groups[2] == 0) return Outcome::done;
  state.pgm_address = wide(sh(queue, Reg::COMPUTE_PGM_LO), sh(queue, Reg::COMPUTE_PGM_HI) & 0xFF) << 8;
  state.pgm_rsrc1 = sh(queue, Reg::COMPUTE_PGM_RSRC1);
  state.pgm_rsrc2 = sh(queue, Reg::COMPUTE_PGM_RSRC2);
  state.pgm_rsrc3 = sh(queue, Reg::COMPUTE_PGM_RSRC3);
  for (uint32_t i = 0; i < 16; i++) state.user_data[i] = sh(queue, Reg::COMPUTE_USER_DATA_0, i);
  state.tmpring_size = sh(queue, Reg::COMPUTE_TMPRING_SIZE);
  state.scratch_base = wide(sh(queue, Reg::COMPUTE_DISPATCH_SCRATCH_BASE_LO), sh(queue, Reg::COMPUTE_DISPATCH_SCRATCH_BASE_HI) & 0xFF) << 8;
  {
    std::lock_guard guard(board_.lock);
    state.sh_mem_config = gfx_.sh_mem_config(0);
    state.sh_mem_bases = gfx_.sh_mem_bases(0);
    state.broken_lane = broken_lane;
  }
  const Geometry& geometry = board_.chip.geometry;
  state.num_se = geometry.num_se;
  state.num_sa_per_se = geometry.num_sa_per_se;
  state.num_wgp_per_sa = geometry.num_wgp_per_sa;
  state.interrupt = [this, &queue](const WaveMessage& message) { gfx_.wave_interrupt(message, queue.index); };
  board_.shaders.begin(board_.clock());
  const DispatchResult result = shaders_->run(state, shader_space_, queue.cancel);
  board_.shaders.end(board_.clock());
  {
    std::lock_guard guard(board_.lock);
    totals_.dispatches++;
    totals_.shader += result.counters;
    launches_[state.pgm_address].add(result, rates_);
  }
  board_.wake.notify();  // kernels store without a notice
  if (result.end == DispatchResult::End::complete) return Outcome::done;
  if (result.end == DispatchResult::End::fault && result.fault) {
    std::lock_guard guard(board_.lock);
    if (!queue.restart) gfx_.halt_wave(*result.fault, queue.index);  // a reset meanwhile has killed it
    stop(queue, "a wave halted: " + result.fault->text);
  } else {
    stop(queue, "the dispatch was cancelled");
  }
  return Outcome::stop;
}

}  // namespace usbgpu::emulator
