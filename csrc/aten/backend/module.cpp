// The extension module torch_usbgpu._C. Importing it registers operators, guard, hooks and allocator;
// it does not open the device.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/pybind.h>

#include "aten/backend/backend.h"
#include "aten/backend/fallback.h"
#include "aten/backend/fallback_listener.h"
#include "aten/launch.h"
#include "kernel_arguments.h"

namespace py = pybind11;
using namespace usbgpu;
using namespace usbgpu::aten;

namespace {

py::dict memory_stats() {
  runtime::MemoryStats stats;
  if (device_is_open()) stats = device().memory_stats();
  py::dict out;
  out["total"] = stats.total;
  out["allocated"] = stats.allocated;
  out["allocated_peak"] = stats.allocated_peak;
  out["reserved"] = stats.reserved;
  out["reserved_peak"] = stats.reserved_peak;
  out["allocations"] = stats.allocations;
  out["frees"] = stats.frees;
  out["retries"] = stats.retries;
  out["ooms"] = stats.ooms;
  return out;
}

py::dict properties() {
  auto& gpu = device();
  py::dict out;
  out["name"] = std::string(gpu.name());
  out["arch"] = std::string(gpu.arch());
  out["compute_units"] = gpu.compute_units();
  out["total_memory"] = gpu.memory_stats().total;
  return out;
}

FallbackMode mode_from(const std::string& name) {
  if (name == "warn") return FallbackMode::warn;
  if (name == "silent") return FallbackMode::silent;
  if (name == "error") return FallbackMode::error;
  throw py::value_error("fallback mode '" + name + "': expected warn, silent or error");
}

// Who asked for the operator is known to Python alone. Never destroyed: the last fallback may come after Python's end.
void listen_to_fallbacks(const py::function& listener) {
  set_fallback_listener([kept = listener.inc_ref().ptr()](const std::string& name) {
    if (!Py_IsInitialized()) return;
    py::gil_scoped_acquire gil;
    py::reinterpret_borrow<py::function>(kept)(name);
  });
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Operators of the usbgpu device for torch (C++ part of torch_usbgpu)";
  const auto no_gil = py::call_guard<py::gil_scoped_release>();

  m.attr("kernel_arguments") = USBGPU_KERNEL_ARGUMENTS;   // torch_usbgpu/kernels/arguments.py
  m.def("is_open", &device_is_open, no_gil);
  m.def("open", [] { device(); }, "Boots the device if it is not open yet.", no_gil);
  m.def("properties", &properties);
  m.def("synchronize", &aten::synchronize, no_gil);
  m.def("mark_bad_fork", &mark_bad_fork, "From now on every use of the device is refused.");
  m.def("flush", [] { if (device_is_open()) device().flush(); }, no_gil);

  m.def("empty_cache", [] { if (device_is_open()) device().empty_cache(); }, no_gil);
  m.def("memory_stats", &memory_stats);
  m.def("reset_peak_memory_stats", [] { if (device_is_open()) device().reset_peak_memory_stats(); }, no_gil);
  m.def("launches", [] { return device_is_open() ? device().launches() : uint64_t{0}; });
  m.def("submissions", [] { return device_is_open() ? device().submissions() : uint64_t{0}; });

  m.def("default_generator", [] { return default_generator(); });

  m.def("fallback_counts", &fallback_counts);
  m.def("listen_to_fallbacks", &listen_to_fallbacks, "Calls it with the name of every operator that runs on the CPU.");
  m.def("reset_fallback_counts", &reset_fallback_counts);
  m.def("set_fallback_mode", [](const std::string& name) { set_fallback_mode(mode_from(name)); });
  m.def("fallback_mode", [] {
    switch (fallback_mode()) {
      case FallbackMode::warn: return "warn";
      case FallbackMode::silent: return "silent";
      default: return "error";
    }
  });
}
