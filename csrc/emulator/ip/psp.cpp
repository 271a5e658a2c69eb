#include "emulator/ip/psp.h"

#include <algorithm>
#include <cstring>

namespace usbgpu::emulator {

namespace {
namespace boot = facts::psp_bootloader_cmd;
namespace status = facts::psp_status;
namespace kinds = psp_image::bootloader_kinds;
namespace cmd = layout::psp_gfx_cmd_resp;
namespace frame = layout::psp_gfx_rb_frame;

constexpr uint32_t ready = 0x80000000;
constexpr uint32_t staging_bytes = 1 << 20;
constexpr uint32_t tmr_bytes = 0x1200000;  // inferred: real boards stay below the 0x1300000 that is usually reserved
constexpr uint64_t tmr_below_end = 32 << 20;  // where the board's own firmware puts it (inferred), clear of the discovery table
constexpr uint32_t client = 6;             // MP0 in mmhub_client_*

uint32_t word(std::span<const std::byte> bytes, size_t at) {
  uint32_t value;
  std::memcpy(&value, bytes.data() + at, 4);
  return value;
}
uint64_t wide(std::span<const std::byte> bytes, size_t low, size_t high) {
  return uint64_t{word(bytes, high)} << 32 | word(bytes, low);
}
}  // namespace

Psp::Psp(Board& board, Events events) : board_(board), events_(std::move(events)), memory_(board, *board.mm, client) {
  attach_registers();
}

void Psp::attach_registers() {
  RegisterFile& regs = board_.regs;
  regs.on_write(Reg::MP0_SMN_C2PMSG_35, [this](uint32_t value) {
    if (alive_) return;  // the boot loader is gone
    board_.regs.set(Reg::MP0_SMN_C2PMSG_35, value & ~ready);
    boot_command_ = value;
    board_.wake.ring();
  });
  regs.on_write(Reg::MP0_SMN_C2PMSG_64, [this](uint32_t value) {
    if (!alive_) return;
    RegisterFile& regs = board_.regs;
    if (hang.stands()) return regs.set(Reg::MP0_SMN_C2PMSG_64, value & ~ready);
    if (value == facts::psp_ctrl_cmd_id::DESTROY_RINGS) {
      ring_works_ = false;
      regs.set(Reg::MP0_SMN_C2PMSG_71, 0);
      regs.set(Reg::MP0_SMN_C2PMSG_64, ready);
      return;
    }
    if (value != facts::psp_ctrl_cmd_id::INIT_GPCOM_RING && value != facts::psp_ctrl_cmd_id::INIT_RBI_RING) {
      regs.set(Reg::MP0_SMN_C2PMSG_64, ready | 1);
      return;
    }
    ring_base_ = regs.get64(Reg::MP0_SMN_C2PMSG_69, Reg::MP0_SMN_C2PMSG_70);
    ring_bytes_ = regs.get(Reg::MP0_SMN_C2PMSG_71);
    ring_rptr_ = 0;
    regs.set(Reg::MP0_SMN_C2PMSG_67, 0);
    const bool fits = ring_bytes_ >= frame::total_bytes && ring_bytes_ % frame::total_bytes == 0 && board_.in_frame_buffer(ring_base_) &&
                      board_.in_frame_buffer(ring_base_ + ring_bytes_ - 1);
    // A ring of the user-mode type is accepted and then never served.
    ring_works_ = fits && value == facts::psp_ctrl_cmd_id::INIT_GPCOM_RING;
    regs.set(Reg::MP0_SMN_C2PMSG_64, fits ? ready : ready | 1);
  });
  regs.on_write(Reg::MP0_SMN_C2PMSG_67, [this](uint32_t value) {
    board_.regs.set(Reg::MP0_SMN_C2PMSG_67, value);
    board_.wake.ring();
  });
  for (Reg read_only : {Reg::MP0_SMN_C2PMSG_33, Reg::MP0_SMN_C2PMSG_81}) regs.on_write(read_only, [](uint32_t) {});
}

void Psp::power_on() {
  RegisterFile& regs = board_.regs;
  boot_command_.reset();
  boot_stage_ = 0;
  boot_loaded_.clear();
  alive_ = ring_works_ = toc_ = false;
  ring_rptr_ = 0;
  tmr_ = board_.chip.psp.tmr_at_boot ? Board::fb_base + board_.vram.size() - tmr_below_end : 0;
  tmr_used_ = 0;
  sos_version_ = 0;
  loaded_.clear();
  refusal_.clear();
  regs.set(Reg::MP0_SMN_C2PMSG_33, ready);  // the board's own firmware has finished
  regs.set(Reg::MP0_SMN_C2PMSG_35, ready);  // boot loader waits for a command
}

void Psp::left_running(uint64_t ring) {
  RegisterFile& regs = board_.regs;
  constexpr uint32_t ring_bytes = 0x10000, frames = 15;
  alive_ = toc_ = ring_works_ = true;
  sos_version_ = board_.chip.psp.sos_version;
  if (tmr_ == 0) tmr_ = Board::fb_base + board_.vram.size() - tmr_below_end;
  for (const FirmwareFact& fact : board_.chip.firmware)
    if (fact.required) loaded_.insert(fact.type);
  ring_base_ = ring;
  ring_bytes_ = ring_bytes;
  ring_rptr_ = frames * frame::total_bytes / 4;
  regs.set(Reg::MP0_SMN_C2PMSG_81, sos_version_);
  regs.set(Reg::MP0_SMN_C2PMSG_64, ready);
  regs.set(Reg::MP0_SMN_C2PMSG_67, ring_rptr_);
  regs.set(Reg::MP0_SMN_C2PMSG_69, static_cast<uint32_t>(ring));
  regs.set(Reg::MP0_SMN_C2PMSG_70, static_cast<uint32_t>(ring >> 32));
  regs.set(Reg::MP0_SMN_C2PMSG_71, ring_bytes);
}

bool Psp::loaded(std::string_view firmware) const {
  for (const FirmwareFact& fact : board_.chip.firmware)
    if (firmware == fact.name) return loaded_.contains(fact.type);
  return false;
}

bool Psp::idle() {
  std::lock_guard guard(board_.lock);
  return hang.stands() || (!boot_command_ && !(ring_works_ && ring_rptr_ != board_.regs.get(Reg::MP0_SMN_C2PMSG_67)));
}

bool Psp::step() {
  std::unique_lock guard(board_.lock);
  if (hang.stands()) return false;
  if (boot_command_) {
    hang.count();
    const uint32_t command = *boot_command_;
    const uint64_t address = uint64_t{board_.regs.get(Reg::MP0_SMN_C2PMSG_36)} << 20;
    guard.unlock();
    const uint32_t error = load_component(command, address);
    guard.lock();
    boot_command_.reset();
    if (!error && command == boot::LOAD_SOSDRV) {
      alive_ = true;
      board_.regs.set(Reg::MP0_SMN_C2PMSG_81, sos_version_ ? sos_version_ : 1);  // sign of life (what it shows: inferred)
      board_.regs.set(Reg::MP0_SMN_C2PMSG_64, ready);
    }
    board_.regs.set(Reg::MP0_SMN_C2PMSG_35, ready | error);
    return true;
  }
  const uint32_t wptr = board_.regs.get(Reg::MP0_SMN_C2PMSG_67);
  if (!ring_works_ || ring_rptr_ == wptr) return false;
  const uint64_t ring = ring_base_;
  hang.count();
  guard.unlock();
  return run_frame(ring, wptr);
}

bool Psp::refuse(std::string why) {
  std::lock_guard guard(board_.lock);
  refusal_ = std::move(why);
  return false;
}

std::optional<Psp::Blob> Psp::fetch(uint64_t address, uint64_t bytes) {
  Blob blob(bytes);
  // through the memory hub: a frame buffer address, or a VA of its VMID 0
  if (!memory_.load(address, blob)) {
    refuse("no memory behind the staging address");
    return std::nullopt;
  }
  return blob;
}

// The checks that content allows without the vendor's keys: header shape, sizes, and that the
// signature at the end arrived.
std::optional<Psp::Image> Psp::inspect(std::span<const std::byte> blob, bool magic_needed) {
  namespace at = psp_image::offsets;
  constexpr uint64_t frame_bytes = psp_image::header_bytes + psp_image::signature_bytes;
  auto bad = [&](const char* why) {
    refuse(why);
    return std::nullopt;
  };
  if (blob.size() < frame_bytes) return bad("shorter than a header and a signature");
  const bool magic = std::memcmp(blob.data() + at::magic, "$PS1", 4) == 0;
  if (!magic && (magic_needed || word(blob, at::magic) != 0)) return bad("no image magic");
  if (word(blob, at::version_class) != 1) return bad("unknown image class");
  const uint64_t bytes = word(blob, at::body_bytes) + frame_bytes;
  if (bytes == frame_bytes || bytes > blob.size()) return bad("image size does not fit what was sent");
  // of the whole image; or of header and body, before the body was padded; or not told
  const uint64_t told = word(blob, at::image_bytes), unsigned_bytes = bytes - psp_image::signature_bytes;
  if (told != 0 && told != bytes && (told > unsigned_bytes || told + 16 <= unsigned_bytes)) return bad("sizes in the header contradict each other");
  const auto signature = blob.subspan(bytes - psp_image::signature_bytes, psp_image::signature_bytes);
  if (std::all_of(signature.begin(), signature.end(), [](std::byte b) { return b == std::byte{0}; })) return bad("signature is missing");
  return Image{word(blob, at::kind) & 0xFFFF, word(blob, at::version), bytes};
}

uint32_t Psp::load_component(uint32_t command, uint64_t address) {
  constexpr uint32_t bad_order = 0x01, bad_image = 0x02;
  // A component ends the time of those before it in the list.
  const auto list = board_.chip.psp.boot;
  const auto row = std::find_if(list.begin(), list.end(), [&](const BootFact& fact) { return fact.command == command; });
  if (row == list.end()) return refuse("unknown boot loader command"), bad_order;
  const unsigned stage = static_cast<unsigned>(row - list.begin());
  if (stage < boot_stage_) return refuse("boot loader component out of order"), bad_order;
  for (const BootFact& earlier : list.first(stage))
    if (earlier.required && !boot_loaded_.contains(earlier.command)) return refuse(std::string("boot loader: no ") + earlier.name + " yet"), bad_order;
  // The size is in the header, so the header is read first.
  const auto head = fetch(address, psp_image::header_bytes);
  if (!head) return bad_image;
  const uint64_t bytes = std::min<uint64_t>(uint64_t{word(*head, psp_image::offsets::body_bytes)} + 0x200, staging_bytes);
  const auto blob = fetch(address, bytes);
  if (!blob) return bad_image;
  const bool magic_needed = row->kind != kinds::KDB && row->other_kind != kinds::KDB;  // some key databases carry none
  const auto image = inspect(*blob, magic_needed);
  if (!image) return bad_image;
  if (image->kind != row->kind && (row->other_kind == 0 || image->kind != row->other_kind))
    return refuse("boot loader command and image kind differ"), bad_image;
  boot_stage_ = stage;
  boot_loaded_.insert(command);
  if (command == boot::LOAD_SOSDRV) sos_version_ = image->version;
  return 0;
}

bool Psp::run_frame(uint64_t ring, uint32_t wptr) {
  const auto slot = fetch(ring + uint64_t{ring_rptr_} * 4, frame::total_bytes);
  if (!slot) return false;
  const uint64_t command_at = wide(*slot, frame::cmd_buf_addr_lo, frame::cmd_buf_addr_hi);
  const uint64_t fence_at = wide(*slot, frame::fence_addr_lo, frame::fence_addr_hi);
  if (auto command = fetch(command_at, cmd::total_bytes)) {
    constexpr size_t response_bytes = cmd::total_bytes - cmd::resp_status;
    std::array<std::byte, response_bytes> response{};
    const uint32_t code = execute(*command, response);
    std::memcpy(response.data(), &code, 4);
    memory_.store(command_at + cmd::resp_status, response);
  }
  {
    std::lock_guard guard(board_.lock);
    if (!ring_works_) return true;  // destroyed meanwhile, its size may be anything
    ring_rptr_ = (ring_rptr_ + frame::total_bytes / 4) % (ring_bytes_ / 4);
    // a pointer outside the ring, or inside a frame, is never reached: it must not keep us busy for ever
    if (wptr >= ring_bytes_ / 4 || (wptr | ring_rptr_) % (frame::total_bytes / 4)) ring_rptr_ = wptr;
  }
  uint32_t fence = word(*slot, frame::fence_value);
  memory_.store(fence_at, std::as_bytes(std::span(&fence, 1)));
  return true;
}

uint32_t Psp::execute(std::span<const std::byte> command, std::span<std::byte> response) {
  namespace id = facts::psp_gfx_cmd_id;
  switch (word(command, cmd::cmd_id)) {
    case id::LOAD_TOC: {
      const auto blob = fetch(wide(command, cmd::cmd_cmd_load_ip_fw_fw_phy_addr_lo, cmd::cmd_cmd_load_ip_fw_fw_phy_addr_hi),
                              std::min(word(command, cmd::cmd_cmd_load_ip_fw_fw_size), staging_bytes));
      const auto image = blob ? inspect(*blob, true) : std::nullopt;
      if (!image) return status::TEE_ERROR_BAD_PARAMETERS;
      if (image->kind != kinds::TOC) return refuse("not a table of contents"), status::TEE_ERROR_BAD_PARAMETERS;
      toc_ = true;
      std::memcpy(response.data() + (cmd::resp_tmr_size - cmd::resp_status), &tmr_bytes, 4);
      return status::SUCCESS;
    }
    case id::SETUP_TMR: {
      const uint64_t mc = wide(command, cmd::cmd_cmd_setup_tmr_buf_phy_addr_lo, cmd::cmd_cmd_setup_tmr_buf_phy_addr_hi);
      const uint32_t bytes = word(command, cmd::cmd_cmd_setup_tmr_buf_size);
      if (board_.chip.psp.tmr_at_boot) return refuse("the trusted memory region is there since power-on"), status::TEE_ERROR_BAD_PARAMETERS;
      if (!toc_) return refuse("SETUP_TMR before LOAD_TOC"), status::TEE_ERROR_BAD_PARAMETERS;
      if (bytes < tmr_bytes || mc % (1 << 20) || !board_.in_frame_buffer(mc) || !board_.in_frame_buffer(mc + bytes - 1))
        return refuse("TMR too small, not aligned, or outside VRAM"), status::TEE_ERROR_BAD_PARAMETERS;
      const bool both = word(command, cmd::cmd_cmd_setup_tmr_tmr_flags) & 2;
      if (both && wide(command, cmd::cmd_cmd_setup_tmr_system_phy_addr_lo, cmd::cmd_cmd_setup_tmr_system_phy_addr_hi) != mc - Board::fb_base)
        return refuse("TMR addresses disagree"), status::TEE_ERROR_BAD_PARAMETERS;
      tmr_ = mc;
      return status::SUCCESS;
    }
    case id::LOAD_IP_FW:
      return load_firmware(wide(command, cmd::cmd_cmd_load_ip_fw_fw_phy_addr_lo, cmd::cmd_cmd_load_ip_fw_fw_phy_addr_hi),
                           word(command, cmd::cmd_cmd_load_ip_fw_fw_size), word(command, cmd::cmd_cmd_load_ip_fw_fw_type));
    case id::AUTOLOAD_RLC: return autoload();
    default: return refuse("unknown ring command"), status::TEE_ERROR_NOT_SUPPORTED;
  }
}

uint32_t Psp::load_firmware(uint64_t address, uint32_t bytes, uint32_t type) {
  const auto& list = board_.chip.firmware;
  const auto fact = std::find_if(list.begin(), list.end(), [&](const FirmwareFact& f) { return f.type == type; });
  if (fact == list.end()) return refuse("firmware type is not of this chip"), status::TEE_ERROR_NOT_SUPPORTED;
  if (bytes == 0 || bytes > staging_bytes) return refuse("firmware size"), status::TEE_ERROR_BAD_PARAMETERS;
  const bool smu = std::string_view(fact->name) == "SMU";
  if (!toc_ && !board_.chip.psp.tmr_at_boot) return refuse("firmware before the table of contents"), status::TEE_ERROR_BAD_PARAMETERS;
  if (!smu && tmr_ == 0) return refuse("no trusted memory region to load into"), status::TEE_ERROR_BAD_PARAMETERS;
  const auto blob = fetch(address, bytes);
  const auto image = blob ? inspect(*blob, true) : std::nullopt;
  if (!image) return status::TEE_ERROR_BAD_PARAMETERS;
  if (image->kind != fact->kind) return refuse(std::string("image is not ") + fact->name), status::TEE_ERROR_BAD_PARAMETERS;
  if (!smu) {
    const uint64_t at = tmr_ - Board::fb_base + tmr_used_;
    if (tmr_used_ + bytes > tmr_bytes) return refuse("trusted memory region is full"), status::TEE_ERROR_BAD_PARAMETERS;
    board_.vram.write(at, *blob);
    tmr_used_ += (bytes + 0xFFF) & ~0xFFFull;
  }
  std::lock_guard guard(board_.lock);
  loaded_.insert(type);
  if (smu) {
    uint32_t version = image->version;
    if (board_.chip.smu.image_version_swapped) version = (version & 0xFF0000FF) | (version & 0xFF00) << 8 | (version >> 8 & 0xFF00);
    events_.smu_loaded(version);
  }
  return status::SUCCESS;
}

uint32_t Psp::autoload() {
  for (const FirmwareFact& fact : board_.chip.firmware)
    if (fact.required && !loaded_.contains(fact.type))
      return refuse(std::string("autoload without ") + fact.name), status::TEE_ERROR_BAD_PARAMETERS;
  std::lock_guard guard(board_.lock);
  events_.autoload();
  return status::SUCCESS;
}

}  // namespace usbgpu::emulator
