// torch.profiler's ProfilerActivity.PrivateUse1: kernels by name with their modelled times, and copies.
//
// The host only queues launches, so their times are not the host's. The emulated device models what its kernels would
// take on the card and adds it up by kernel; a launch gets its part of that sum by its number of workgroups. A copy
// takes what the link model says of its size. On the trace everything starts when it was queued, or when what was queued
// before it ends. A real card measures nothing yet: its kernels appear with their names and without a duration.
#include <ATen/core/TensorBody.h>
#include <IActivityProfiler.h>
#include <libkineto.h>
#include <output_base.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/csrc/profiler/standalone/privateuse1_profiler.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "aten/launch.h"
#include "runtime/observer.h"

namespace usbgpu::aten {

namespace py = pybind11;
using libkineto::ActivityType;

namespace {

constexpr int32_t kKernels = 0, kCable = 1;      // the device's two rows of the trace

thread_local std::vector<uint64_t> operators;    // of this thread, the innermost last

int32_t innermost() { return operators.empty() ? 0 : static_cast<int32_t>(operators.back()); }

// A launch or a copy, in the order in which they were queued.
struct Event {
  std::string_view symbol{};        // of a kernel; empty: a copy
  runtime::Dim3 grid{}, block{};
  uint64_t bytes = 0;               // of a copy
  bool to_device = false;
  int64_t when = 0;
  int32_t operation = 0;

  bool is_copy() const { return symbol.empty(); }
  uint64_t workgroups() const { return uint64_t{grid.x} * grid.y * grid.z; }
};

class Recorder final : public runtime::Observer {
 public:
  void launched(std::string_view symbol, runtime::Dim3 grid, runtime::Dim3 block, int64_t when) noexcept override {
    note({.symbol = symbol, .grid = grid, .block = block, .when = when, .operation = innermost()});
  }
  void copied(bool to_device, uint64_t bytes, int64_t when) noexcept override {
    note({.bytes = bytes, .to_device = to_device, .when = when, .operation = innermost()});
  }

  std::vector<Event> take() {
    std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }

 private:
  void note(const Event& event) noexcept try {
    std::lock_guard lock(mutex_);
    events_.push_back(event);
  } catch (const std::bad_alloc&) {
  }

  std::mutex mutex_;
  std::vector<Event> events_;
};

// Leaked: a launch of another thread may just be telling it something when a session ends.
Recorder& recorder() {
  static auto* the_recorder = new Recorder;
  return *the_recorder;
}

void observe(runtime::Observer* observer) {
  py::gil_scoped_acquire gil;
  auto capsule = py::object(py::module_::import("torch_usbgpu._runtime").attr("observer"));
  auto* api = static_cast<const runtime::ObserverApi*>(PyCapsule_GetPointer(capsule.ptr(), runtime::kObserverCapsule));
  if (!api) throw py::error_already_set();
  api->set(observer);
}

class Session final : public libkineto::IActivityProfilerSession {
 public:
  explicit Session(std::set<ActivityType> wanted) : wanted_(std::move(wanted)) {}
  ~Session() override {
    if (recording()) observe(nullptr);
  }

  void start() override {
    guarded([&] {
      py::gil_scoped_acquire gil;
      before_ = py::module_::import("torch_usbgpu.profiling").attr("begin")().release().ptr();
      recorder().take();
      observe(&recorder());
      status_ = libkineto::TraceStatus::RECORDING;
    });
  }

  void stop() override {
    if (!recording()) return;
    status_ = libkineto::TraceStatus::PROCESSING;
    guarded([&] {
      py::gil_scoped_acquire gil;
      observe(nullptr);
      events_ = recorder().take();
      const auto before = py::reinterpret_steal<py::object>(std::exchange(before_, nullptr));
      const auto profiling = py::module_::import("torch_usbgpu.profiling");
      seconds_ = profiling.attr("modelled_seconds")(before).cast<std::map<std::string, double, std::less<>>>();
      for (auto& event : events_) {
        if (!event.is_copy() || copy_seconds_.count(event.bytes)) continue;
        copy_seconds_[event.bytes] = profiling.attr("copy_seconds")(event.bytes).cast<double>();
      }
    });
  }

  std::vector<std::string> errors() override { return errors_; }

  void processTrace(libkineto::ActivityLogger& logger) override { process(logger, nullptr); }
  void processTrace(libkineto::ActivityLogger& logger, libkineto::getLinkedActivityCallback linked, int64_t,
                    int64_t) override {
    process(logger, std::move(linked));
  }

  std::unique_ptr<libkineto::DeviceInfo> getDeviceInfo() override {
    return std::make_unique<libkineto::DeviceInfo>(libkineto::DeviceInfo{0, 1000000, "usbgpu", "usbgpu:0"});
  }
  std::vector<libkineto::ResourceInfo> getResourceInfos() override {
    return {{kKernels, 0, 0, "kernels (modelled times)"}, {kCable, 1, 0, "copies over the cable"}};
  }
  std::unique_ptr<libkineto::CpuTraceBuffer> getTraceBuffer() override { return std::move(buffer_); }

  void pushCorrelationId(uint64_t id) override { operators.push_back(id); }
  void popCorrelationId() override {
    if (!operators.empty()) operators.pop_back();
  }

 private:
  bool recording() const { return status_ == libkineto::TraceStatus::RECORDING; }

  // An exception here would end the program: Kineto expects none.
  template <class Work>
  void guarded(Work work) {
    try {
      work();
    } catch (const std::exception& error) {
      errors_.emplace_back(error.what());
      status_ = libkineto::TraceStatus::ERROR;
    }
  }

  void process(libkineto::ActivityLogger& logger, libkineto::getLinkedActivityCallback linked) {
    buffer_ = std::make_unique<libkineto::CpuTraceBuffer>();
    buffer_->span = libkineto::TraceSpan(0, 0, "usbgpu");
    buffer_->gpuOpCount = 0;
    std::map<std::string_view, uint64_t> workgroups;
    for (const auto& event : events_) workgroups[event.symbol] += event.workgroups();
    int64_t free_at = 0;   // when the card is done with what came before
    for (const auto& event : events_) {
      const auto known = seconds_.find(event.symbol);
      const bool measured = event.is_copy() || known != seconds_.end();
      int64_t duration = 0;
      if (event.is_copy()) {
        duration = std::llround(copy_seconds_.at(event.bytes) * 1e9);
      } else if (measured) {
        const double part = static_cast<double>(event.workgroups()) / static_cast<double>(workgroups[event.symbol]);
        duration = std::max<int64_t>(1, std::llround(known->second * part * 1e9));
      }
      const int64_t start = std::max(event.when, free_at);
      free_at = start + duration;
      const auto type = event.is_copy() ? ActivityType::GPU_MEMCPY : ActivityType::CONCURRENT_KERNEL;
      if (!wanted_.count(type)) continue;
      auto& activity = add(type, name_of(event), event.is_copy() ? kCable : kKernels, start, free_at, event.operation, linked);
      if (event.is_copy()) {
        activity.addMetadata("bytes", event.bytes);
      } else {
        activity.addMetadata("grid", dimensions(event.grid));
        activity.addMetadata("block", dimensions(event.block));
      }
      activity.addMetadataQuoted("time", measured ? "modelled" : "not measured");
      ++buffer_->gpuOpCount;
    }
    for (const auto& activity : buffer_->activities) activity->log(logger);
  }

  static std::string name_of(const Event& event) {
    return event.is_copy() ? event.to_device ? "Memcpy HtoD" : "Memcpy DtoH" : std::string(event.symbol);
  }

  libkineto::GenericTraceActivity& add(ActivityType type, const std::string& name, int32_t row, int64_t start, int64_t end,
                                       int32_t operation, const libkineto::getLinkedActivityCallback& linked) {
    buffer_->emplace_activity(buffer_->span, type, name);
    auto& activity = *buffer_->activities.back();
    activity.device = 0;
    activity.resource = row;
    activity.threadId = 0;
    activity.startTime = start;
    activity.endTime = end;
    activity.id = operation;
    if (linked && operation) activity.linked = linked(operation);
    activity.flow.id = static_cast<uint32_t>(operation);
    activity.flow.type = libkineto::kLinkAsyncCpuGpu;
    activity.flow.start = 0;
    return activity;
  }

  static std::string dimensions(runtime::Dim3 of) {
    return "[" + std::to_string(of.x) + ", " + std::to_string(of.y) + ", " + std::to_string(of.z) + "]";
  }

  std::set<ActivityType> wanted_;
  std::vector<Event> events_;
  std::map<std::string, double, std::less<>> seconds_;   // by kernel, all its launches
  std::map<uint64_t, double> copy_seconds_;              // by size
  PyObject* before_ = nullptr;     // owned; a bare pointer, as sessions may die without the GIL
  std::vector<std::string> errors_;
  std::unique_ptr<libkineto::CpuTraceBuffer> buffer_;
};

class Profiler final : public libkineto::IActivityProfiler {
 public:
  const std::string& name() const override { return name_; }
  const std::set<ActivityType>& availableActivities() const override { return activities_; }
  std::unique_ptr<libkineto::IActivityProfilerSession> configure(const std::set<ActivityType>& wanted,
                                                                 const libkineto::Config&) override {
    const bool ours = std::any_of(wanted.begin(), wanted.end(), [&](ActivityType type) { return activities_.count(type); });
    return ours ? std::make_unique<Session>(wanted) : nullptr;
  }
  std::unique_ptr<libkineto::IActivityProfilerSession> configure(int64_t, int64_t, const std::set<ActivityType>& wanted,
                                                                 const libkineto::Config& config) override {
    return configure(wanted, config);
  }

 private:
  std::string name_ = "usbgpu";
  std::set<ActivityType> activities_ = {ActivityType::CONCURRENT_KERNEL, ActivityType::GPU_MEMCPY};
};

torch::profiler::impl::RegisterPrivateUse1Profiler<Profiler> registered;

}  // namespace
}  // namespace usbgpu::aten
