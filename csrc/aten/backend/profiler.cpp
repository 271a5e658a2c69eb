// torch.profiler's ProfilerActivity.PrivateUse1: kernels by name with their modelled times, and copies.
//
// The host only queues launches, so their times are not the host's. The emulated device models what its kernels would
// take on the card and adds it up by kernel; a launch gets its part of that sum by its number of workgroups. On the
// trace a kernel starts when it was queued, or when the one before it ends. A real card measures nothing yet: its
// kernels appear with their names and without a duration.
#include <ATen/core/TensorBody.h>
#include <IActivityProfiler.h>
#include <libkineto.h>
#include <output_base.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/csrc/profiler/standalone/privateuse1_profiler.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <string>
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

class Recorder final : public runtime::Observer {
 public:
  struct Launch {
    std::string_view symbol;
    runtime::Dim3 grid, block;
    int64_t when;
    int32_t operation;
    uint64_t workgroups() const { return uint64_t{grid.x} * grid.y * grid.z; }
  };
  struct Copy {
    bool to_device;
    uint64_t bytes;
    int64_t began, ended;
    int32_t operation;
  };

  void launched(std::string_view symbol, runtime::Dim3 grid, runtime::Dim3 block, int64_t when) noexcept override try {
    std::lock_guard lock(mutex_);
    launches_.push_back({symbol, grid, block, when, innermost()});
  } catch (const std::bad_alloc&) {
  }

  void copied(bool to_device, uint64_t bytes, int64_t began, int64_t ended) noexcept override try {
    std::lock_guard lock(mutex_);
    copies_.push_back({to_device, bytes, began, ended, innermost()});
  } catch (const std::bad_alloc&) {
  }

  void clear() {
    std::lock_guard lock(mutex_);
    launches_.clear();
    copies_.clear();
  }

  std::pair<std::vector<Launch>, std::vector<Copy>> take() {
    std::lock_guard lock(mutex_);
    return {std::exchange(launches_, {}), std::exchange(copies_, {})};
  }

 private:
  std::mutex mutex_;
  std::vector<Launch> launches_;
  std::vector<Copy> copies_;
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
      recorder().clear();
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
      std::tie(launches_, copies_) = recorder().take();
      const auto before = py::reinterpret_steal<py::object>(std::exchange(before_, nullptr));
      seconds_ = py::module_::import("torch_usbgpu.profiling").attr("modelled_seconds")(before)
                     .cast<std::map<std::string, double, std::less<>>>();
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
    if (wanted_.count(ActivityType::CONCURRENT_KERNEL)) add_kernels(linked);
    if (wanted_.count(ActivityType::GPU_MEMCPY)) add_copies(linked);
    for (const auto& activity : buffer_->activities) activity->log(logger);
  }

  void add_kernels(const libkineto::getLinkedActivityCallback& linked) {
    std::map<std::string_view, uint64_t> workgroups;
    for (const auto& launch : launches_) workgroups[launch.symbol] += launch.workgroups();
    int64_t free_at = 0;   // when the card is done with what came before
    for (const auto& launch : launches_) {
      const auto known = seconds_.find(launch.symbol);
      const double part = static_cast<double>(launch.workgroups()) / static_cast<double>(workgroups[launch.symbol]);
      // at least 1 ns: readers take an event without duration for one that never ended
      const int64_t duration = known == seconds_.end() ? 0 : std::max<int64_t>(1, std::llround(known->second * part * 1e9));
      const int64_t start = std::max(launch.when, free_at);
      free_at = start + duration;
      auto& activity = add(ActivityType::CONCURRENT_KERNEL, std::string(launch.symbol), kKernels, start, free_at,
                           launch.operation, linked);
      activity.addMetadata("grid", dimensions(launch.grid));
      activity.addMetadata("block", dimensions(launch.block));
      activity.addMetadataQuoted("time", known == seconds_.end() ? "not measured" : "modelled");
      ++buffer_->gpuOpCount;
    }
  }

  void add_copies(const libkineto::getLinkedActivityCallback& linked) {
    for (const auto& copy : copies_) {
      auto& activity = add(ActivityType::GPU_MEMCPY, copy.to_device ? "Memcpy HtoD" : "Memcpy DtoH", kCable, copy.began,
                           copy.ended, copy.operation, linked);
      activity.addMetadata("bytes", copy.bytes);
      activity.addMetadataQuoted("time", "measured on the host");
      ++buffer_->gpuOpCount;
    }
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
  std::vector<Recorder::Launch> launches_;
  std::vector<Recorder::Copy> copies_;
  std::map<std::string, double, std::less<>> seconds_;
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
