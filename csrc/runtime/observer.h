// Who wants to know of every launch and every copy, as it is queued: a profiler. No torch in here.
#pragma once

#include <cstdint>
#include <string_view>

#include "runtime/runtime.h"

namespace usbgpu::runtime {

// Called on the thread that queues, with the stream held: must be quick, must not throw, must not call the device.
// Times are of the system clock, in nanoseconds.
class Observer {
 public:
  virtual ~Observer() = default;
  // symbol lives as long as the process
  virtual void launched(std::string_view symbol, Dim3 grid, Dim3 block, int64_t when_ns) noexcept = 0;
  virtual void copied(bool to_device, uint64_t bytes, int64_t when_ns) noexcept = 0;
};

// One at a time; null: nobody. Whoever takes it away keeps it alive a little longer: a call may be under way.
using SetObserver = void (*)(Observer*);
void set_observer(Observer* observer);

// `_C` reaches set_observer through the capsule "torch_usbgpu._runtime.observer", which holds an ObserverApi.
struct ObserverApi {
  SetObserver set;
};
inline constexpr const char* kObserverCapsule = "torch_usbgpu._runtime.observer";

}  // namespace usbgpu::runtime
