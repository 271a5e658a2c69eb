// The extension torch_usbgpu._runtime: command streams, kernels and blocks for Python and, through
// the capsule `api`, for the operators in _C. Knows no torch.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>

#include "runtime/device.h"
#include "runtime/pm4.h"

namespace py = pybind11;

namespace usbgpu::runtime {
namespace {

std::vector<uint32_t> whole_dwords(const py::bytes& bytes) {
  const std::string_view view = bytes;
  std::vector<uint32_t> dwords((view.size() + 3) / 4);
  std::memcpy(dwords.data(), view.data(), view.size());
  return dwords;
}

// A torch_usbgpu.runtime.codeobject.CodeImage.
LoadedImage image_of(const py::handle& object) {
  LoadedImage loaded;
  loaded.image = whole_dwords(object.attr("image").cast<py::bytes>());
  for (auto row : object.attr("kernels").cast<py::dict>()) {
    const py::handle descriptor = row.second;
    auto number = [&](const char* name) { return descriptor.attr(name).cast<uint32_t>(); };
    KernelCode code;
    code.entry = number("entry_offset");
    code.rsrc1 = number("rsrc1");
    code.rsrc2 = number("rsrc2");
    code.rsrc3 = number("rsrc3");
    code.lds_bytes = number("lds_bytes");
    code.scratch_bytes = number("scratch_bytes");
    code.kernarg_bytes = number("kernarg_bytes");
    code.properties = number("properties");
    loaded.kernels.emplace_back(row.first.cast<std::string>(), code);
  }
  loaded.pointers = object.attr("absolute").cast<std::vector<std::pair<uint32_t, uint32_t>>>();
  return loaded;
}

// The road in Python: an object with the methods of torch_usbgpu.runtime.queue.Road.
class PythonRoad final : public Road {
 public:
  explicit PythonRoad(py::object road) : road_(std::move(road)) {}
  ~PythonRoad() override {
    if (!Py_IsInitialized()) {
      road_.release();
      return;
    }
    py::gil_scoped_acquire gil;
    road_ = py::object();
  }

  void block(const std::function<void()>& waiting) override {
    if (!Py_IsInitialized() || !PyGILState_Check()) return waiting();
    py::gil_scoped_release release;
    waiting();
  }

  Window acquire() override {
    py::gil_scoped_acquire gil;
    auto [index, address, bytes, sentinel, sequence] =
        road_.attr("acquire")().cast<std::tuple<uint32_t, uint64_t, uint32_t, uint32_t, uint32_t>>();
    return {index, address, bytes, sentinel, sequence};
  }

  void submit(const Window& window, std::span<const uint32_t> payload) override {
    py::gil_scoped_acquire gil;
    road_.attr("submit")(window.index, bytes(std::as_bytes(payload)));
  }

  void submit_and_read(const Window& window, std::span<const uint32_t> payload, std::span<std::byte> into) override {
    py::gil_scoped_acquire gil;
    receive(road_.attr("submit_and_read")(window.index, bytes(std::as_bytes(payload)), into.size()), into);
  }

  Upload upload(std::span<const std::byte> data) override {
    py::gil_scoped_acquire gil;
    auto [address, sentinel_address, sentinel] =
        road_.attr("upload")(view(data)).cast<std::tuple<uint64_t, uint64_t, uint32_t>>();
    return {address, sentinel_address, sentinel};
  }

  void upload_consumed() override {
    py::gil_scoped_acquire gil;
    road_.attr("upload_consumed")();
  }

  void bulk_in(DevicePtr to, std::span<const std::byte> from) override {
    py::gil_scoped_acquire gil;
    road_.attr("bulk_in")(to, view(from));
  }

  void bulk_out(std::span<std::byte> to, DevicePtr from) override {
    py::gil_scoped_acquire gil;
    road_.attr("bulk_out")(py::memoryview::from_memory(to.data(), static_cast<py::ssize_t>(to.size())), from);
  }

  bool reached(uint32_t sequence) override {
    py::gil_scoped_acquire gil;
    return road_.attr("reached")(sequence).cast<bool>();
  }

  CompileResult compile(const std::vector<const Kernel*>& kernels) override {
    py::gil_scoped_acquire gil;
    py::list specs;
    for (const Kernel* kernel : kernels)
      specs.append(py::make_tuple(kernel->family, kernel->symbol, kernel->instantiation));
    auto [images, failures] = road_.attr("compile")(specs).cast<std::pair<py::list, py::dict>>();
    CompileResult result;
    for (auto image : images) result.images.push_back(image_of(image));
    for (auto row : failures) {
      result.failed.push_back(row.first.cast<std::string>());
      if (!result.error) {
        PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(row.second.ptr())), row.second.ptr());
        result.error = std::make_exception_ptr(py::error_already_set());
      }
    }
    return result;
  }

  void raise_fault(uint32_t fault_status) override {
    py::gil_scoped_acquire gil;
    road_.attr("raise_fault")(fault_status);
  }

 private:
  static py::bytes bytes(std::span<const std::byte> data) {
    return {reinterpret_cast<const char*>(data.data()), data.size()};
  }
  static py::memoryview view(std::span<const std::byte> data) {
    return py::memoryview::from_memory(data.data(), static_cast<py::ssize_t>(data.size()));
  }
  static void receive(const py::object& received, std::span<std::byte> into) {
    const std::string_view view = received.cast<std::string_view>();
    if (view.size() != into.size()) throw std::runtime_error("a read-back came short");
    std::memcpy(into.data(), view.data(), into.size());
  }

  py::object road_;
};

// The device that operators use. Python owns it (torch_usbgpu.runtime.device()); it stays until
// the process ends, because tensors may outlive everything else.
Device* current = nullptr;

Device* open_device() {
  if (current == nullptr) {
    py::gil_scoped_acquire gil;
    py::module_::import("torch_usbgpu.runtime").attr("device")();
    if (current == nullptr) throw std::runtime_error("torch_usbgpu.runtime.device() did not set the device");
  }
  return current;
}

const Api api{sizeof(Api), &open_device, [] { return current != nullptr; }};

Dim3 dim3(const std::array<uint32_t, 3>& v) { return {v[0], v[1], v[2]}; }

// The constant content of the compute ring: for each entry, wait for the window's sentinel, then
// run the window as an indirect buffer.
py::bytes ring_image(const std::vector<std::tuple<uint64_t, uint32_t>>& entries, uint32_t window_bytes, uint32_t entry_dwords) {
  std::vector<uint32_t> ring(entries.size() * entry_dwords);
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto [address, sentinel] = entries[i];
    pm4::Writer out(std::span<uint32_t>(ring).subspan(i * entry_dwords, entry_dwords));
    out.wait_memory(pm4::COMPARE_EQ, address + window_bytes - 4, sentinel);
    out.indirect(address, window_bytes / 4 - kWindowTrailerDwords);
    out.skip(out.room() - 1);
  }
  return {reinterpret_cast<const char*>(ring.data()), ring.size() * 4};
}

// A window's payload, with the packet that lets go a read-back replaced by nothing: to be sent again when none is armed.
py::bytes without_release(const py::bytes& payload) {
  std::vector<uint32_t> window = whole_dwords(payload);
  constexpr uint32_t tail = kWindowTrailerDwords + pm4::kReleaseDwords;
  if (window.size() < tail) throw std::invalid_argument("this is no window");
  const auto release = std::span<uint32_t>(window).subspan(window.size() - tail, pm4::kReleaseDwords);
  if (release[0] != pm4::header(pm4::OP_RELEASE_MEM, pm4::kReleaseDwords - 1)) throw std::invalid_argument("no packet releases anything");
  std::fill(release.begin(), release.end(), 0u);
  pm4::Writer(release).skip(pm4::kReleaseDwords - 1);
  return {reinterpret_cast<const char*>(window.data()), window.size() * 4};
}

}  // namespace
}  // namespace usbgpu::runtime

PYBIND11_MODULE(_runtime, module) {
  using namespace usbgpu::runtime;
  using Release = py::call_guard<py::gil_scoped_release>;
  module.doc() = "Command streams, kernels and VRAM blocks. Use torch_usbgpu.runtime.";

  py::register_exception<OutOfMemory>(module, "OutOfMemory", PyExc_MemoryError);
  py::class_<Kernel>(module, "Kernel")
      .def_readonly("symbol", &Kernel::symbol)
      .def_property_readonly("entry", [](const Kernel& kernel) { return kernel.code.entry; })
      .def_property_readonly("kernarg_bytes", [](const Kernel& kernel) { return kernel.code.kernarg_bytes; });

  py::class_<StreamDevice>(module, "StreamDevice")
      .def(py::init([](py::object road, const py::dict& config) {
             auto number = [&](const char* name) { return config[name].cast<uint64_t>(); };
             auto small = [&](const char* name) { return config[name].cast<uint32_t>(); };
             DeviceConfig device;
             device.name = config["name"].cast<std::string>();
             device.arch = config["arch"].cast<std::string>();
             device.compute_units = small("compute_units");
             device.heap_begin = number("heap_begin");
             device.heap_end = number("heap_end");
             device.map = {number("fence"), number("release"), number("readback"), small("readback_bytes"),
                           small("window_bytes"), small("largest_upload"), small("fault_status_register"),
                           number("error_block"), small("rsrc1_set"), config.contains("progress") ? number("progress") : 0};
             device.scratch = {number("scratch"), number("scratch_bytes"), small("shader_engines"),
                               small("scratch_waves"), small("wavesize_field_bits")};
             return std::make_unique<StreamDevice>(std::move(device), std::make_unique<PythonRoad>(std::move(road)));
           }))
      .def("allocate", &StreamDevice::allocate, Release())
      .def("free", &StreamDevice::free, Release())
      .def("empty_cache", &StreamDevice::empty_cache, Release())
      .def("reset_peak_memory_stats", &StreamDevice::reset_peak_memory_stats, Release())
      .def("memory_stats", [](const StreamDevice& device) {
        const MemoryStats s = device.memory_stats();
        return std::map<std::string, uint64_t>{{"total", s.total}, {"allocated", s.allocated}, {"allocated_peak", s.allocated_peak},
            {"reserved", s.reserved}, {"reserved_peak", s.reserved_peak}, {"allocations", s.allocations}, {"frees", s.frees},
            {"retries", s.retries}, {"ooms", s.ooms}};
      })
      .def("kernel", &StreamDevice::kernel, py::return_value_policy::reference)
      .def("load", [](StreamDevice& device, const py::object& image) {
        LoadedImage loaded = image_of(image);
        std::vector<Kernel*> kernels;
        {
          py::gil_scoped_release release;
          kernels = device.load(loaded);
        }
        py::dict table;
        for (Kernel* kernel : kernels) table[py::str(kernel->symbol)] = py::cast(kernel, py::return_value_policy::reference);
        return table;
      })
      .def("launch", [](StreamDevice& device, Kernel* kernel, std::array<uint32_t, 3> grid, std::array<uint32_t, 3> block,
                        std::string args, uint32_t lds) {
        py::gil_scoped_release release;
        device.launch(kernel, dim3(grid), dim3(block), args.data(), args.size(), lds);
      }, py::arg("kernel"), py::arg("grid"), py::arg("block"), py::arg("args"), py::arg("dynamic_lds_bytes") = 0)
      .def("copy_in", [](StreamDevice& device, uint64_t to, py::buffer from) {
        const py::buffer_info info = from.request();
        py::gil_scoped_release release;
        device.copy_in(to, info.ptr, static_cast<size_t>(info.size * info.itemsize));
      })
      .def("copy_out", [](StreamDevice& device, py::buffer to, uint64_t from) {
        const py::buffer_info info = to.request(true);
        py::gil_scoped_release release;
        device.copy_out(info.ptr, from, static_cast<size_t>(info.size * info.itemsize));
      })
      .def("copy", &StreamDevice::copy, Release())
      .def("fill", &StreamDevice::fill, Release())
      .def("flush", &StreamDevice::flush, Release())
      .def("synchronize", &StreamDevice::synchronize, Release())
      .def("record", &StreamDevice::record, Release())
      .def("query", &StreamDevice::query, Release())
      .def("wait", &StreamDevice::wait, Release())
      .def("kernel_at", &StreamDevice::kernel_at)
      .def("kernel_launches", [](const StreamDevice& device) {
        std::vector<KernelLaunches> all;
        {
          py::gil_scoped_release release;
          all = device.kernel_launches();
        }
        py::list rows;
        for (const KernelLaunches& k : all) rows.append(py::make_tuple(k.symbol, k.entry, k.launches));
        return rows;
      })
      .def("discard_pending", &StreamDevice::discard_pending, Release())
      .def("clear_error_block", &StreamDevice::clear_error_block, Release())
      .def("fill_allocated", [](StreamDevice& device, uint64_t pattern) {
        py::gil_scoped_release release;
        const MemoryStats lost = device.fill_allocated(pattern);
        return std::pair{lost.allocations, lost.allocated};
      })
      .def("exclusively", [](StreamDevice& device, const py::function& work, double seconds) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
        py::gil_scoped_release release;
        return device.exclusively(
            [&] {
              py::gil_scoped_acquire gil;
              work();
            },
            [&] {
              py::gil_scoped_acquire gil;
              if (PyErr_CheckSignals() != 0) throw py::error_already_set();
              return std::chrono::steady_clock::now() > until;
            });
      }, py::arg("work"), py::arg("seconds"))
      .def_property_readonly("error_block", &StreamDevice::error_block)
      .def_property_readonly("launches", &StreamDevice::launches)
      .def_property_readonly("submissions", &StreamDevice::submissions);

  module.def("ring_image", &ring_image, py::arg("entries"), py::arg("window_bytes"), py::arg("entry_dwords"));
  // Never let go: tensors may die after the modules whose globals kept the device, and give their blocks back to it.
  module.def("without_release", &without_release, py::arg("payload"));
  module.def("set_current", [](py::object device) {
    current = device.cast<StreamDevice*>();
    device.release();
  });
  module.attr("api") = py::capsule(&api, kApiCapsule);
}
