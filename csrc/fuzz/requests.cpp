// The adapter's parsers: any sequence of transfers to a dock of any firmware, with a GPU or a bare endpoint in it.
//
// Input: options, then operations. An operation's low three bits say what it is; the seventh kind has
// eight of its own: the storage transports' wrappers, streams, transfers that are cancelled from outside, plugs.
#include <atomic>
#include <thread>

#include "emulator/adapter/dock.h"
#include "emulator/adapter/probe_gpu.h"
#include "fuzz/target.h"

using namespace usbgpu::emulator;
using usbgpu::fuzz::Input;

namespace {

constexpr const char* firmwares[8] = {"custom", "custom-2026-08", "usb4", "legacy", "stock", "rom", "bootstub", "legacy"};
constexpr uint8_t uas_command = 4, uas_status = 0x83, uas_in = 0x81, uas_out = 2;

void put(std::vector<uint8_t>& to, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) to.push_back(static_cast<uint8_t>(value >> 8 * i));
}

// Strict mode's finding is an answer like another.
auto answered(auto call) {
  try {
    call();
  } catch (const Violation&) {
  }
}

// A transfer that waits for ever on a thread of its own, until it is cancelled.
class Waiting {
 public:
  Waiting(Dock& dock, uint8_t endpoint, std::vector<uint8_t> data) : data_(std::move(data)) {
    thread_ = std::thread([this, &dock, endpoint] {
      const Patience patience{.timeout_ms = 0, .poll = [this] { return cancelled_.load(); }};
      answered([&] { endpoint & 0x80 ? dock.bulk_in(endpoint, data_, patience) : dock.bulk_out(endpoint, data_, patience); });
    });
  }
  ~Waiting() {
    cancelled_ = true;
    thread_.join();
  }

 private:
  std::vector<uint8_t> data_;
  std::atomic<bool> cancelled_{false};
  std::thread thread_;
};

class Session {
 public:
  Session(Input input, uint8_t options) : input_(input), dock_(gpu(options), dock_options(options)) {}

  void run() {
    while (!input_.empty()) {
      const uint8_t kind = input_.take();
      answered([&] { operation(kind & 7, kind >> 3); });
    }
    waiting_.clear();
  }

 private:
  static std::unique_ptr<Gpu> gpu(uint8_t options) {
    if (options & 0x40) return make_probe_gpu(1 << 20);
    return Gpu::create({.chip = "navi31", .vram_bytes = 64 << 20, .threads = 1, .deterministic = (options & 0x20) != 0});
  }
  static DockOptions dock_options(uint8_t options) {
    DockOptions out;
    out.firmware = firmwares[options >> 1 & 7];
    out.usb = options & 1 ? "high" : "super";
    out.strict = options & 0x10 ? 7 : 0;
    out.deterministic = options & 0x20;
    if (options & 0x80) out.serial = "01234567";
    return out;
  }

  Setup setup() { return {input_.take(), input_.take(), input_.take<uint16_t>(), input_.take<uint16_t>(), 0}; }

  std::vector<uint8_t> payload(size_t bytes, size_t from_input) {
    std::vector<uint8_t> data(bytes);
    const auto some = input_.bytes(std::min(bytes, from_input));
    std::copy(some.begin(), some.end(), data.begin());
    return data;
  }

  void operation(unsigned what, unsigned how) {
    switch (what) {
      case 0: case 1: case 2: {
        Setup s = setup();
        const auto data = input_.bytes(how);
        s.length = static_cast<uint16_t>(data.size());
        s.request_type &= 0x7F;
        dock_.control_out(s, data, patience_);
        return;
      }
      case 3: case 4: {
        Setup s = setup();
        std::vector<uint8_t> into(how * 33u);
        s.length = static_cast<uint16_t>(into.size());
        s.request_type |= 0x80;
        dock_.control_in(s, into, patience_);
        return;
      }
      case 5: {
        const uint8_t endpoint = input_.take();
        const std::vector<uint8_t> data = payload(input_.take<uint16_t>() & 0x1FFF, how << 3 | what);
        dock_.bulk_out(endpoint & 0x80 ? 2 : endpoint, data, patience_);
        return;
      }
      case 6: {
        const uint8_t endpoint = input_.take();
        std::vector<uint8_t> into(input_.take<uint16_t>() & 0x1FFF);
        dock_.bulk_in(endpoint & 0x40 ? 0x81 : endpoint | 0x80, into, patience_);
        return;
      }
      default: special(how >> 2, how & 3);
    }
  }

  void special(unsigned what, unsigned how) {
    switch (what) {
      case 0: dock_.set_alternate(how); return;
      case 1: bulk_only(how); return;
      case 2: {  // a UAS command unit, or what goes for one
        const auto tag = static_cast<uint16_t>(1 + (input_.take() & 7));
        std::vector<uint8_t> unit{static_cast<uint8_t>(how == 3 ? 5 : 1), 0, 0, static_cast<uint8_t>(tag), 0, 0, 0, static_cast<uint8_t>(input_.take() & 7)};
        unit.resize(16);
        const auto cdb = input_.bytes(16);
        unit.insert(unit.end(), cdb.begin(), cdb.end());
        if (how != 2) unit.resize(32);
        stream(uas_command, 0, std::move(unit));
        if (how == 1) stream(uas_status, tag, std::vector<uint8_t>(64));
        return;
      }
      case 3: {
        const uint8_t endpoint = input_.take();
        const uint16_t id = input_.take() & 31;
        const size_t bytes = how & 1 ? input_.take<uint16_t>() : input_.take();
        stream(how & 2 ? endpoint : std::array{uas_status, uas_in, uas_out, uas_command}[endpoint & 3], id, payload(bytes, input_.take()));
        return;
      }
      case 4: dock_.stream_cancel(how ? input_.take() : token_); return;
      case 5:
        if (waiting_.size() < 4) {
          const size_t bytes = input_.take<uint16_t>() & 0x1FFF;
          waiting_.push_back(std::make_unique<Waiting>(dock_, how & 1 ? 0x81 : 2, payload(how & 2 ? bytes : bytes & 63, 31)));
        }
        return;
      case 6:
        if (!waiting_.empty()) waiting_.erase(waiting_.begin() + how % waiting_.size());
        return;
      default:
        if (how == 0) dock_.reopen();
        else if (how == 1) dock_.reset();
        else if (how == 2) dock_.replug();
        else dock_.unplug();
    }
  }

  // A command as the bulk-only transport carries it, data phase and status.
  void bulk_only(unsigned how) {
    const uint8_t count = input_.take();
    std::vector<uint8_t> data = payload(how & 2 ? size_t{count} * 257 : count, count);
    if (how == 3) data = Flash::wrap(data);  // a flash image with the right sums
    std::vector<uint8_t> wrapper;
    put(wrapper, 0x43425355, 4);
    put(wrapper, ++token_, 4);
    put(wrapper, data.size(), 4);
    wrapper.push_back(how == 1 ? 0x80 : 0);
    wrapper.push_back(0);
    wrapper.push_back(16);
    const auto cdb = input_.bytes(16);
    wrapper.insert(wrapper.end(), cdb.begin(), cdb.end());
    wrapper.resize(31);
    dock_.bulk_out(2, wrapper, patience_);
    if (how == 1) dock_.bulk_in(0x81, data, patience_);
    else if (!data.empty()) dock_.bulk_out(2, data, patience_);
    std::vector<uint8_t> status(13);
    dock_.bulk_in(0x81, status, patience_);
  }

  void stream(uint8_t endpoint, uint16_t id, std::vector<uint8_t> data) {
    dock_.stream_submit({++token_, endpoint, id, std::move(data)});
  }

  Input input_;
  Dock dock_;
  const Patience patience_{.timeout_ms = 1, .poll = {}};
  uint64_t token_ = 0;
  std::vector<std::unique_ptr<Waiting>> waiting_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  Input input(bytes, size);
  const uint8_t options = input.take();
  Session(input, options).run();
  return 0;
}
