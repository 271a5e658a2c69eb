#include "emulator/adapter/dock.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <optional>

namespace usbgpu::emulator {

namespace {
constexpr auto slice = std::chrono::milliseconds(20);
constexpr auto deterministic_slice = std::chrono::microseconds(200);
// What one transfer costs on the wire and in the host, for the model's clock.
constexpr double us_control = 60, us_bulk = 30;

// MB/s of the SRAM engine: measured at 10 Gb/s; below, what the link carries after its coding (inferred).
constexpr double sram_rate(const UsbProfile& profile) {
  return profile.ten_gigabit ? 700 : profile.super_speed ? 400 : 40;
}

unsigned trained_lanes(const DockOptions& options, FirmwareKind firmware) {
  if (options.lanes) return options.lanes;
  if (is_mass_storage(firmware)) return 1;
  return firmware == FirmwareKind::custom || firmware == FirmwareKind::image ? 2 : 4;
}

std::string request_name(uint8_t request) {
  char text[3];
  std::snprintf(text, sizeof text, "%02X", request);
  return text;
}
}  // namespace

Dock::Dock(std::unique_ptr<Gpu> gpu, const DockOptions& options)
    : options_(options),
      strapped_(make_profile(options.firmware, options.usb)),
      profile_(strapped_),
      faults_(Faults::parse(options.faults)),
      observer_(options.strict != 0),
      delay_(options.strict, !options.deterministic),
      flash_(options.flash),
      pages_(observer_),
      gpu_(std::move(gpu)),
      fabric_(*gpu_, trained_lanes(options, strapped_.firmware), options.bars),
      tlp_(fabric_, observer_, delay_),
      sram_(pages_, observer_, events_, delay_),
      xdata_(pages_, tlp_, sram_, fabric_, flash_, delay_, trained_lanes(options, strapped_.firmware)),
      known_firmware_(profile_, observer_, events_, xdata_, tlp_, sram_),
      storage_(profile_, observer_, events_, xdata_, pages_, sram_, flash_) {
  pages_.upstream_enabled = [this] { return fabric_.upstream_enabled(); };
  pages_.on_release = [this](uint32_t value) { sram_.release(value); };
  pages_.sram_engine_streaming = [this] { return sram_.streaming(); };
  pages_.tearing = options.strict != 0;
  sram_.on_landed = [this] { gpu_->wake().notify(); };
  xdata_.on_page_write = [this] { gpu_->wake().notify(); };
  xdata_.on_endpoint_arm = [this](bool in, bool out) {
    if (speaks_custom()) firmware().endpoints_armed(in, out);
  };
  xdata_.on_endpoint_clear_out = [this] { if (speaks_custom()) firmware().endpoints_cleared(false, true); };
  xdata_.on_endpoint_clear_in = [this] { if (speaks_custom()) firmware().endpoints_cleared(true, false); };
  xdata_.on_cpu_reset = [this] { if (speaks_custom()) firmware().cpu_reset(); };
  if (strapped_.firmware == FirmwareKind::image) {
    const auto image = ImageFirmware::read(options.firmware.substr(image_prefix.size()));
    image_firmware_ = std::make_unique<ImageFirmware>(image, profile_, observer_, events_, xdata_, sram_);
  }
  gpu_->attach(&pages_);
  reset();
}

Dock::~Dock() {
  delay_.stop();
  gpu_.reset();  // its threads use everything else
}

void Dock::leave(StartState state) {
  if (state == StartState::cold || !fabric_.link_up()) return;
  gpu_->leave(state);
  fabric_.gpu().leave_enumerated();
}

void Dock::apply_faults() {
  xdata_.link_trains = !faults_.no_link;
  xdata_.card_present = !faults_.no_card;
  sram_.drop_release = faults_.no_release;
  tlp_.glitch_every = faults_.tlp_error_every;
  slow_ = faults_.slow;
  tlp_.unsupported = faults_.unsupported;
  sram_.lose_landing(faults_.lost_landing);
  fabric_.gpu().crs_after_reset = faults_.crs;
  fabric_.present(faults_.card);
  gpu_->inject(faults_.gpu);
  faults_.gpu = {};  // from here on they are the board's
  if (fabric_.link_up() && (faults_.no_link || faults_.no_card)) xdata_.lose_link();
}

void Dock::inject(const std::vector<std::string>& switches) {
  {
    std::lock_guard lock(firmware_mutex_);
    std::lock_guard faults_lock(faults_mutex_);
    // What has struck in part lives elsewhere meanwhile.
    faults_.unsupported = tlp_.unsupported;
    faults_.lost_landing = sram_.lost_landing();
    faults_.add(switches);
    apply_faults();
    // What is due at once does not wait for a transfer: the one that is on its way feels it.
    if (faults_.link_down.due()) faults_.link_down = {}, xdata_.lose_link();
    if (faults_.adapter_hang.due()) faults_.adapter_hang = {}, hung_ = true;
    if (faults_.unplug.due()) faults_.unplug = {}, unplug();
  }
  events_.notify();
}

void Dock::heal() {
  std::lock_guard lock(firmware_mutex_);
  std::lock_guard faults_lock(faults_mutex_);
  faults_ = {};
  faults_.gpu = GpuFaults::none();
  apply_faults();
}

void Dock::lose_link() {
  std::lock_guard lock(firmware_mutex_);
  xdata_.lose_link();
}

void Dock::unplug() {
  gone_ = true;
  ++stream_generation_;
  events_.notify();
}

void Dock::power_up() {
  using enum FirmwareKind;
  xdata_.set_power(false);
  delay_.reset();
  xdata_.power_on_reset(profile_.super_speed, profile_.ten_gigabit);
  firmware().reset();
  storage_.reset();
  const bool stock_code = profile_.firmware == stock || profile_.firmware == legacy;
  xdata_.link_code = stock_code ? 0x48 : 0x78;
  if (stock_code) {  // ASMedia's code moves two of the pages
    pages_.set_page_number(admin_completion, 0x808);
    pages_.set_page_number(io_completion, 0x828);
  }
  if (powers_slot(profile_.firmware)) xdata_.set_power(true);
  if (profile_.firmware == image) profile_.identity = image_firmware_->identify();
  alternate_ = 0;
  ++stream_generation_;
}

void Dock::replug() {
  std::lock_guard lock(firmware_mutex_);
  if (flash_.modified()) profile_ = flash_.boot(strapped_);
  else profile_ = strapped_;
  if (speaks_custom()) profile_.identity.serial = flash_.serial();
  power_up();
  gone_ = stale_ = hung_ = false;
  events_.notify();
}

void Dock::reset() {
  {
    std::lock_guard lock(firmware_mutex_);
    std::lock_guard faults_lock(faults_mutex_);
    faults_ = {};
    faults_.gpu = GpuFaults::none();
    apply_faults();
    faults_ = Faults::parse(options_.faults);
    apply_faults();
    if (options_.flash_programmed) flash_.keep();
    else flash_.install(strapped_);
    flash_.set_serial(options_.serial);
    for (auto* counter : {&transfers_, &control_out_, &control_in_, &bulk_out_, &bulk_in_, &bytes_out_, &bytes_in_,
                          &streams_done_})
      *counter = 0;
    for (auto& counter : requests_) counter = 0;
    tlp_.forget_launches();
  }
  replug();
  tlp_.unsupported = faults_.unsupported;  // which the loss of power has ended
  observer_.reset();
}

// Code and data memory survive; main() starts anew, power-cycles PCIe and enumerates again: the handle is dead.
void Dock::cpu_restart() {
  firmware().reset();
  storage_.reset();
  sram_.reset();
  if (profile_.firmware != FirmwareKind::image) {
    xdata_.set_power(false);
    if (powers_slot(profile_.firmware)) xdata_.set_power(true);
  }
  alternate_ = 0;
  stale_ = true;
  ++stream_generation_;
  events_.notify();
}

Dock::Deadline Dock::deadline(const Patience& patience) {
  return {Clock::now() + std::chrono::milliseconds(patience.timeout_ms), patience.timeout_ms == 0};
}

bool Dock::wait(uint64_t seen, const Deadline& deadline, const Patience& patience, Status& status) {
  if (gone_ || stale_) return status = Status::no_device, false;
  if (deadline.passed()) return status = Status::timeout, false;
  if (patience.poll && patience.poll()) return status = Status::cancelled, false;
  delay_.settle();
  // Without threads of its own the GPU only moves when somebody gives it a push.
  if (options_.deterministic) gpu_->wake().notify();
  Clock::time_point until = Clock::now();
  if (options_.deterministic) until += deterministic_slice;
  else until += slice;
  if (!deadline.never) until = std::min(until, deadline.at);
  events_.wait(seen, until);
  return true;
}

bool Dock::lock_endpoint(std::unique_lock<std::timed_mutex>& lock, const Deadline& deadline, const Patience& patience,
                         Status& status) {
  while (!lock.try_lock_for(slice)) {
    if (gone_ || stale_) return status = Status::no_device, false;
    if (deadline.passed()) return status = Status::timeout, false;
    if (patience.poll && patience.poll()) return status = Status::cancelled, false;
  }
  return true;
}

bool Dock::begin(const char* what, Status& status) {
  observer_.throw_pending();
  transfers_.fetch_add(1);
  {
    std::unique_lock lock(faults_mutex_);
    const bool unplugs = faults_.unplug.strikes(), loses_link = faults_.link_down.strikes();
    if (faults_.adapter_hang.strikes()) hung_ = true;
    lock.unlock();
    if (unplugs) unplug();
    if (loses_link) lose_link();
  }
  if (hung_ && !gone_) return status = Status::timeout, false;
  if (gone_ || stale_) return status = Status::no_device, false;
  delay_.settle();
  delay_.transfer_began();
  {
    std::lock_guard lock(faults_mutex_);
    if (Faults::hits(faults_.timeouts, what)) return status = Status::timeout, false;
    if (Faults::hits(faults_.stalls, what)) return status = Status::stall, false;
  }
  return true;
}

// A wait that nothing can end is not waited out: the time-out is reported at once, on the model's clock.
Outcome Dock::never(const char* kind, const Patience& patience, size_t transferred) {
  observer_.spend_waiting(kind, patience.timeout_ms * 1e3);
  return {Status::timeout, transferred};
}

Outcome Dock::finish(const Reply& reply, const Patience& patience) {
  observer_.spend(reply.kind, us_control, reply.microseconds);
  switch (reply.answer) {
    case Answer::done:
      // The request was executed, but its status stage comes too late for the caller.
      if (patience.timeout_ms && reply.microseconds > patience.timeout_ms * 1e3) return {Status::timeout, 0};
      return {Status::ok, reply.bytes};
    case Answer::never:
      return never(reply.kind, patience);
    case Answer::overflow:
      return {Status::overflow, 0};
    case Answer::gone:
      return {Status::no_device, 0};
    case Answer::stall:
      return {Status::stall, 0};
  }
  return {Status::no_device, 0};
}

Outcome Dock::control_out(const Setup& setup, std::span<const uint8_t> data, const Patience& patience,
                          uint64_t queued) {
  ++control_out_;
  ++requests_[setup.request];
  bytes_out_ += data.size();
  Status status{};
  if (!begin(request_name(setup.request).c_str(), status))
    return status == Status::timeout ? never("control", patience) : Outcome{status, 0};
  std::lock_guard lock(firmware_mutex_);
  if (firmware().dead()) return never("control", patience);
  if (!speaks_custom()) {
    if ((setup.request_type & 0x60) == 0 && (setup.request == 9 || setup.request == 11)) ++stream_generation_;
    const Outcome outcome = finish(storage_.control_out(setup, data), patience);
    alternate_ = storage_.alternate();
    return outcome;
  }
  if (setup.request_type == 0x40 && setup.request == 0xF0 && queued < streams_done_)
    observer_.violation("pcie-request-too-early",
                        "0xF0 was queued before the bulk data of the stream before it was complete: with a gap of "
                        "a few microseconds the firmware drops the last packet");
  if ((setup.request_type & 0x7F) == 1 && setup.request == 11) alternate_ = setup.value;
  const Reply reply = firmware().control_out(setup, data);
  if (reply.answer == Answer::gone) cpu_restart();
  return finish(reply, patience);
}

Outcome Dock::control_in(const Setup& setup, std::span<uint8_t> into, const Patience& patience) {
  ++control_in_;
  ++requests_[setup.request];
  Status status{};
  if (!begin(request_name(setup.request).c_str(), status))
    return status == Status::timeout ? never("control", patience) : Outcome{status, 0};
  std::lock_guard lock(firmware_mutex_);
  if (firmware().dead()) return never("control", patience);
  const Reply reply = speaks_custom() ? firmware().control_in(setup, into) : storage_.control_in(setup, into);
  const Outcome outcome = finish(reply, patience);
  bytes_in_ += outcome.transferred;
  learnt();
  return outcome;
}

Status Dock::storage_out(std::span<const uint8_t> packet, bool& progress) {
  const auto taken = storage_.bulk_only().out(packet);
  observer_.spend("scsi", 0, storage_.bulk_only().take_microseconds(), 0);
  progress = taken == BulkOnly::Take::taken;
  if (progress) events_.notify();
  if (taken == BulkOnly::Take::gone) return cpu_restart(), Status::no_device;
  return taken == BulkOnly::Take::stall ? Status::stall : Status::ok;
}

Status Dock::storage_in(std::span<uint8_t> into, size_t& done, bool& progress, bool& ended) {
  std::vector<uint8_t> data;
  const auto taken = storage_.bulk_only().in(into.size() - done, data, ended);
  progress = taken == BulkOnly::Take::taken;
  if (progress) events_.notify();
  if (taken == BulkOnly::Take::stall) return Status::stall;
  if (data.size() > into.size() - done) return Status::overflow;
  if (!data.empty()) std::memcpy(into.data() + done, data.data(), data.size());
  done += data.size();
  return Status::ok;
}

std::vector<StreamCompletion> Dock::stream_submit(Uas::Transfer transfer) {
  ++(transfer.endpoint & 0x80 ? bulk_in_ : bulk_out_);
  Status status{};
  std::vector<StreamCompletion> ended;
  const uint64_t token = transfer.token;
  if (!begin(transfer.endpoint & 0x80 ? "bulk-in" : "bulk-out", status) || !serves_uas()) {
    ended.push_back({token, serves_uas() ? status : Status::not_found, {}, 0});
    return ended;
  }
  std::lock_guard lock(firmware_mutex_);
  observer_.spend("uas", us_bulk, 0);
  Uas& uas = storage_.uas();
  uas.submit(std::move(transfer));
  std::vector<Uas::Completion> completions;
  for (bool more = true; more;) {
    more = false;
    std::vector<Uas::Completion> next;
    try {
      next = uas.progress();
    } catch (const Violation& violation) {
      observer_.keep(violation);  // raised by the next call: this one has transfers to hand back
      more = true;
    }
    std::move(next.begin(), next.end(), std::back_inserter(completions));
  }
  observer_.spend("scsi", 0, uas.take_microseconds(), 0);
  for (Uas::Completion& c : completions) {
    (c.data.empty() ? bytes_out_ : bytes_in_) += c.transferred;
    ended.push_back({c.token, c.overflow ? Status::overflow : Status::ok, std::move(c.data), c.transferred});
  }
  if (uas.restart()) cpu_restart();
  if (!ended.empty()) learnt();
  return ended;
}

bool Dock::stream_cancel(uint64_t token) {
  std::lock_guard lock(firmware_mutex_);
  return storage_.uas().cancel(token);
}

void Dock::check_bulk_out(std::span<const uint8_t> data) {
  if (!observer_.strict()) return;
  std::lock_guard lock(firmware_mutex_);
  if (firmware().out_is_pio()) {
    if (data.size() / 4 > firmware().stream_remaining())
      observer_.violation("stream-excess",
                          "bulk OUT of " + std::to_string(data.size()) + " bytes exceeds the announced stream");
    return;
  }
  const size_t remaining = sram_.out_remaining();
  if (!remaining) observer_.violation("bulk-out-unarmed", "bulk OUT while nothing is armed");
  if (data.size() != remaining)
    observer_.violation("sram-out-length", "bulk OUT of " + std::to_string(data.size()) + " bytes for an arm of " +
                                               std::to_string(remaining));
}

Outcome Dock::bulk_out(uint8_t endpoint, std::span<const uint8_t> data, const Patience& patience) {
  ++bulk_out_;
  Status status{};
  const Deadline until = deadline(patience);
  if (!begin("bulk-out", status))
    return status == Status::timeout ? never("bulk-out", patience) : Outcome{status, 0};
  if (!endpoint_exists(profile_, alternate_, endpoint)) return {Status::not_found, 0};
  std::unique_lock endpoint_lock(out_mutex_, std::defer_lock);
  if (!lock_endpoint(endpoint_lock, until, patience, status)) return {status, 0};
  if (endpoint == 0x02 && speaks_custom()) check_bulk_out(data);
  const size_t packet = profile_.bulk_packet();
  const auto bytes = std::as_bytes(data);
  size_t done = 0;
  bool pio = false;
  observer_.spend("bulk-out", us_bulk, 0);
  for (;;) {
    const uint64_t seen = events_.now();
    bool progress = false;
    if (endpoint == 0x02 && is_mass_storage(profile_.firmware)) {
      std::lock_guard lock(firmware_mutex_);
      const size_t run = std::min(packet, data.size() - done);
      const Status stored = alternate_ == 0 ? storage_out(data.subspan(done, run), progress) : Status::ok;
      if (stored != Status::ok) return {stored, done};
      if (progress) done += run;
    } else if (endpoint == 0x02) {
      std::unique_lock lock(firmware_mutex_);
      if (firmware().dead()) return never("bulk-out", patience, done);
      if (firmware().out_is_pio()) {
        const size_t run = std::min(packet, bytes.size() - done);
        pio = true;
        firmware().out_packet(bytes.subspan(done, run));
        done += run;
        progress = true;
      } else if (sram_.out_armed()) {
        const double rate = sram_rate(profile_) / slow_;
        lock.unlock();  // the engine needs no firmware
        const size_t run = sram_.accept(bytes.subspan(done));
        observer_.spend("bulk-out:sram", static_cast<double>(run) / rate, 0, 0);
        done += run;
        progress = run || data.empty();
      }
    }
    if (progress && done == bytes.size()) break;
    if (!progress && !wait(seen, until, patience, status)) {
      bytes_out_ += done;
      return {status, done};
    }
  }
  bytes_out_ += done;
  if (pio) ++streams_done_;
  return {Status::ok, done};
}

void Dock::check_bulk_in(size_t length) {
  if (!observer_.strict()) return;
  std::lock_guard lock(firmware_mutex_);
  if (firmware().in_waiting()) return;
  if (sram_.in_armed()) {
    if (length > sram_.in_remaining())
      observer_.violation("sram-in-length", "bulk IN of " + std::to_string(length) + " bytes for an arm of " +
                                                std::to_string(sram_.in_remaining()));
  } else if (!firmware().bulk_in_may_be_drained()) {
    observer_.violation("bulk-in-unarmed", "bulk IN while nothing is armed");
  }
}

// A bulk IN that brings something: does it end early?
bool Dock::cuts() {
  std::lock_guard lock(faults_mutex_);
  return faults_.short_bulk.strikes();
}

Outcome Dock::bulk_in(uint8_t endpoint, std::span<uint8_t> into, const Patience& patience) {
  ++bulk_in_;
  Status status{};
  const Deadline until = deadline(patience);
  if (!begin("bulk-in", status))
    return status == Status::timeout ? never("bulk-in", patience) : Outcome{status, 0};
  if (!endpoint_exists(profile_, alternate_, endpoint)) return {Status::not_found, 0};
  std::unique_lock endpoint_lock(in_mutex_, std::defer_lock);
  if (!lock_endpoint(endpoint_lock, until, patience, status)) return {status, 0};
  if (endpoint == 0x81 && speaks_custom()) check_bulk_in(into.size());
  std::optional<bool> cut;
  const size_t packet_bytes = profile_.bulk_packet();
  size_t done = 0;
  std::vector<uint8_t> packet;
  observer_.spend("bulk-in", us_bulk, 0);
  for (;;) {
    const uint64_t seen = events_.now();
    bool progress = false, ended = false;
    if (endpoint == 0x81 && is_mass_storage(profile_.firmware)) {
      std::lock_guard lock(firmware_mutex_);
      const Status stored = alternate_ == 0 ? storage_in(into, done, progress, ended) : Status::ok;
      // A halt that comes up in the middle ends the transfer with what had arrived.
      if (stored != Status::ok) return {stored, done};
    } else if (endpoint == 0x81) {
      std::unique_lock lock(firmware_mutex_);
      if (firmware().take_in_packet(packet)) {
        lock.unlock();
        if (packet.size() > into.size() - done) return {Status::overflow, done};  // babble: the packet is lost
        std::copy(packet.begin(), packet.end(), into.begin() + static_cast<long>(done));
        done += packet.size();
        ended = packet.size() < packet_bytes;
        progress = true;
      } else if (firmware().dead()) {
        return never("bulk-in", patience, done);
      } else if (sram_.in_released()) {
        const double rate = sram_rate(profile_) / slow_;
        lock.unlock();
        const size_t remaining = sram_.in_remaining(), room = into.size() - done;
        const size_t whole = room / packet_bytes * packet_bytes;
        // The packet that would not fit into the rest of the buffer.
        const bool babble = remaining > room && room != whole;
        const size_t run = sram_.deliver(std::as_writable_bytes(into.subspan(done, babble ? whole : room)));
        observer_.spend("bulk-in:sram", static_cast<double>(run) / rate, 0, 0);
        done += run;
        if (babble) return {Status::overflow, done};
        ended = run == remaining && run % packet_bytes;
        progress = run > 0;
      }
    }
    if (progress && !cut) cut = cuts();
    if (progress && *cut) {
      done = done > packet_bytes / 2 ? packet_bytes / 2 : done / 2;
      break;
    }
    if (progress && (ended || done == into.size())) break;
    if (!progress && !wait(seen, until, patience, status)) {
      bytes_in_ += done;
      return {status, done};
    }
  }
  bytes_in_ += done;
  learnt();
  return {Status::ok, done};
}

std::map<std::string, uint64_t> Dock::counts() const {
  auto counts = observer_.counts();
  counts["transfers"] = transfers_;
  counts["control_out"] = control_out_;
  counts["control_in"] = control_in_;
  counts["bulk_out"] = bulk_out_;
  counts["bulk_in"] = bulk_in_;
  counts["bytes_out"] = bytes_out_;
  counts["bytes_in"] = bytes_in_;
  counts["tlps"] = tlp_.launches();
  for (unsigned request = 0; request < requests_.size(); ++request)
    if (requests_[request]) counts["request:" + request_name(static_cast<uint8_t>(request))] = requests_[request];
  return counts;
}

}  // namespace usbgpu::emulator
