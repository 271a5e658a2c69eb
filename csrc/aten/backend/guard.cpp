// Device guard: one device, streams that share its one in-order queue, events as sequence numbers.
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include "aten/backend/backend.h"
#include "aten/launch.h"

namespace usbgpu::aten {

namespace {

using Clock = std::chrono::steady_clock;

struct Event {
  uint64_t sequence = 0;
  // The host clock when the event was first seen to have passed; elapsed times need it.
  std::atomic<int64_t> passed_ns{0};
  bool timed = false;

  void saw_it() {
    int64_t none = 0;
    passed_ns.compare_exchange_strong(none, Clock::now().time_since_epoch().count());
  }
};

// Stream ids are distinct names for the same queue, so that code written for several streams is
// right, though nothing overlaps.
thread_local c10::StreamId current_stream = 0;
std::atomic<c10::StreamId> next_stream{1};

class UsbGpuGuard final : public c10::impl::DeviceGuardImplInterface {
 public:
  static constexpr c10::DeviceType static_type = c10::DeviceType::PrivateUse1;

  c10::DeviceType type() const override { return static_type; }
  c10::Device exchangeDevice(c10::Device to) const override {
    setDevice(to);
    return getDevice();
  }
  c10::Device getDevice() const override { return {static_type, 0}; }
  void setDevice(c10::Device to) const override { check_device_index(to.index()); }
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }

  c10::Stream stream(c10::StreamId id) const { return c10::Stream(c10::Stream::UNSAFE, getDevice(), id); }
  c10::Stream getStream(c10::Device) const override { return stream(current_stream); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(0); }
  c10::Stream getNewStream(c10::Device of, int) const override {
    check_device_index(of.index());
    return stream(next_stream.fetch_add(1));
  }
  c10::Stream getStreamFromGlobalPool(c10::Device of, bool) const override { return getNewStream(of, 0); }
  c10::Stream exchangeStream(c10::Stream to) const override {
    const auto before = stream(current_stream);
    current_stream = to.id();
    return before;
  }
  void* getStreamNativeHandle(const c10::Stream of) const override { return reinterpret_cast<void*>(of.id()); }
  bool queryStream(const c10::Stream&) const override { return !device_is_open() || device().query(device().record()); }
  void synchronizeStream(const c10::Stream&) const override { synchronizeDevice(0); }
  void synchronizeDevice(const c10::DeviceIndex index) const override {
    check_device_index(index);
    aten::synchronize();
  }

  void record(void** event, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag flag) const override {
    if (!*event) *event = new Event;
    auto* self = static_cast<Event*>(*event);
    self->sequence = device().record();
    self->passed_ns = 0;
    self->timed = flag == c10::EventFlag::BACKEND_DEFAULT;
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override { delete static_cast<Event*>(event); }
  // Everything is in order: whatever comes later on any stream comes after the event.
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void* event) const override {
    auto* self = static_cast<Event*>(event);
    if (!self) return true;
    if (self->passed_ns == 0 && device().query(self->sequence)) self->saw_it();
    return self->passed_ns != 0;
  }
  void synchronizeEvent(void* event) const override {
    auto* self = static_cast<Event*>(event);
    if (!self || self->passed_ns != 0) return;
    device().wait(self->sequence);
    self->saw_it();
  }
  // Host time between the moments at which the events were seen to have passed.
  double elapsedTime(void* from, void* to, const c10::DeviceIndex) const override {
    TORCH_CHECK(from && to, "Both events must be recorded before calculating elapsed time.");
    synchronizeEvent(from);
    synchronizeEvent(to);
    // the later event may have been looked at first
    const int64_t between = static_cast<Event*>(to)->passed_ns - static_cast<Event*>(from)->passed_ns;
    return static_cast<double>(std::max<int64_t>(between, 0)) * 1e-6;
  }

  c10::DeviceCapability getDeviceCapability(c10::Device) const override {
    c10::DeviceCapability capability;
    capability.capability_data.capability_bits = 0;
    auto& types = capability.capability_data.supported_scalar_types;
    types.has_Float = types.has_Double = types.has_Half = types.has_BFloat16 = 1;
    types.has_Byte = types.has_Char = types.has_Short = types.has_Int = types.has_Long = types.has_Bool = 1;
    return capability;
  }
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, UsbGpuGuard)

}  // namespace
}  // namespace usbgpu::aten
