// Python entry points of the adapter: raw transfers with a status, wrapped by torch_usbgpu/emulator/.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <memory>
#include <optional>

#include "emulator/adapter/dock.h"
#include "emulator/adapter/probe_gpu.h"
#include "emulator/debug/debug.h"
#include "emulator/isa/counters_binding.h"

namespace py = pybind11;

namespace usbgpu::emulator {

namespace {

struct Cancellation {
  std::atomic<bool> requested{false};
};

// Runs without the GIL; every slice of a wait looks for Ctrl-C and for a cancelled transfer.
Patience patience(unsigned timeout_ms, Cancellation* cancellation) {
  return {timeout_ms, [cancellation] {
            if (cancellation) return cancellation->requested.load();
            py::gil_scoped_acquire gil;
            if (PyErr_CheckSignals() != 0) throw py::error_already_set();
            return false;
          }};
}

std::span<const uint8_t> contiguous(const py::buffer_info& info) {
  py::ssize_t expected = info.itemsize;
  for (py::ssize_t i = info.ndim - 1; i >= 0; --i) {
    if (info.shape[static_cast<size_t>(i)] > 1 && info.strides[static_cast<size_t>(i)] != expected)
      throw py::value_error("the data of a transfer must be contiguous");
    expected *= info.shape[static_cast<size_t>(i)];
  }
  return {static_cast<const uint8_t*>(info.ptr), static_cast<size_t>(info.size * info.itemsize)};
}

// A bytes object that is filled without the GIL and cut to what arrived.
template <typename Transfer>
py::tuple receive(size_t length, Transfer transfer) {
  PyObject* raw = PyBytes_FromStringAndSize(nullptr, static_cast<py::ssize_t>(length));
  if (!raw) throw py::error_already_set();
  py::object owned = py::reinterpret_steal<py::object>(raw);
  Outcome outcome;
  {
    py::gil_scoped_release release;
    outcome = transfer(std::span(reinterpret_cast<uint8_t*>(PyBytes_AS_STRING(raw)), length));
  }
  if (outcome.transferred == length) return py::make_tuple(outcome.status, owned);
  return py::make_tuple(outcome.status, py::bytes(PyBytes_AS_STRING(raw), outcome.transferred));
}

}  // namespace

void bind_adapter(py::module_& module) {
  static py::exception<Violation> violation(module, "Violation");
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Violation& error) {
      py::object value = py::reinterpret_borrow<py::object>(violation)(error.what());
      value.attr("name") = error.name();
      PyErr_SetObject(violation.ptr(), value.ptr());
    }
  });

  py::enum_<Status>(module, "Status")
      .value("ok", Status::ok)
      .value("timeout", Status::timeout)
      .value("stall", Status::stall)
      .value("no_device", Status::no_device)
      .value("overflow", Status::overflow)
      .value("not_found", Status::not_found)
      .value("cancelled", Status::cancelled);

  py::class_<Cancellation>(module, "Cancellation").def(py::init<>()).def("request", [](Cancellation& c) {
    c.requested = true;
  });

  py::class_<Dock>(module, "Dock")
      .def(py::init([](const std::string& chip, uint64_t vram_bytes, const std::string& firmware,
                       const std::string& usb, const std::string& serial, uint64_t strict, bool deterministic,
                       unsigned threads, unsigned lanes, std::vector<std::string> faults, const std::string& state,
                       const std::string& board, bool counters, std::optional<py::buffer> flash,
                       bool flash_programmed, bool resizable_bar, uint64_t largest_bar) {
             DockOptions options{firmware, usb, serial, strict, deterministic, lanes, std::move(faults), {}, nullptr,
                                 false, {resizable_bar, largest_bar}};
             if (flash) {
               auto info = std::make_unique<py::buffer_info>(flash->request(true));
               if (contiguous(*info).size() != Flash::bytes) throw py::value_error("a flash has 512 KiB");
               options.flash = {static_cast<uint8_t*>(info->ptr), Flash::bytes};
               // The buffer stays exported, so its owner cannot give the memory away, until the dock is gone.
               options.flash_owner = std::shared_ptr<void>(info.release(), [](void* held) {
                 py::gil_scoped_acquire gil;
                 delete static_cast<py::buffer_info*>(held);
               });
               options.flash_programmed = flash_programmed;
             }
             py::gil_scoped_release release;
             auto gpu = chip == "probe" ? make_probe_gpu(vram_bytes)
                                        : Gpu::create({chip, vram_bytes, threads, deterministic, board, counters});
             auto dock = std::make_unique<Dock>(std::move(gpu), options);
             dock->leave(start_state(state));
             return dock;
           }),
           py::kw_only(), py::arg("chip") = "navi31", py::arg("vram_bytes") = 0, py::arg("firmware") = "custom",
           py::arg("usb") = "super", py::arg("serial") = "", py::arg("strict") = 0, py::arg("deterministic") = false,
           py::arg("threads") = 0, py::arg("lanes") = 0, py::arg("faults") = std::vector<std::string>{},
           py::arg("state") = "cold", py::arg("board") = "", py::arg("counters") = false,
           py::arg("flash") = py::none(), py::arg("flash_programmed") = false,
           py::arg("resizable_bar") = true, py::arg("largest_bar") = 0)
      .def(
          "control_out",
          [](Dock& dock, uint8_t type, uint8_t request, uint16_t value, uint16_t index, const py::buffer& data,
             unsigned timeout, Cancellation* cancellation, uint64_t queued) {
            const py::buffer_info info = data.request();
            const auto bytes = contiguous(info);
            const Setup setup{type, request, value, index, static_cast<uint16_t>(bytes.size())};
            py::gil_scoped_release release;
            const Outcome outcome = dock.control_out(setup, bytes, patience(timeout, cancellation), queued);
            return std::pair(outcome.status, outcome.transferred);
          },
          py::arg("type"), py::arg("request"), py::arg("value"), py::arg("index"), py::arg("data"), py::arg("timeout"),
          py::arg("cancellation") = nullptr, py::arg("queued") = UINT64_MAX)
      .def(
          "control_in",
          [](Dock& dock, uint8_t type, uint8_t request, uint16_t value, uint16_t index, uint16_t length,
             unsigned timeout, Cancellation* cancellation) {
            return receive(length, [&](std::span<uint8_t> into) {
              return dock.control_in({type, request, value, index, length}, into, patience(timeout, cancellation));
            });
          },
          py::arg("type"), py::arg("request"), py::arg("value"), py::arg("index"), py::arg("length"),
          py::arg("timeout"), py::arg("cancellation") = nullptr)
      .def(
          "bulk_out",
          [](Dock& dock, uint8_t endpoint, const py::buffer& data, unsigned timeout, Cancellation* cancellation) {
            const py::buffer_info info = data.request();
            const auto bytes = contiguous(info);
            py::gil_scoped_release release;
            const Outcome outcome = dock.bulk_out(endpoint, bytes, patience(timeout, cancellation));
            return std::pair(outcome.status, outcome.transferred);
          },
          py::arg("endpoint"), py::arg("data"), py::arg("timeout"), py::arg("cancellation") = nullptr)
      .def(
          "bulk_in",
          [](Dock& dock, uint8_t endpoint, size_t length, unsigned timeout, Cancellation* cancellation) {
            return receive(length, [&](std::span<uint8_t> into) {
              return dock.bulk_in(endpoint, into, patience(timeout, cancellation));
            });
          },
          py::arg("endpoint"), py::arg("length"), py::arg("timeout"), py::arg("cancellation") = nullptr)
      .def(
          "stream_submit",
          [](Dock& dock, uint64_t token, uint8_t endpoint, uint16_t stream, const py::buffer& buffer) {
            const py::buffer_info info = buffer.request();
            const auto bytes = contiguous(info);
            Uas::Transfer transfer{token, endpoint, stream, {bytes.begin(), bytes.end()}};
            std::vector<StreamCompletion> ended;
            {
              py::gil_scoped_release release;
              ended = dock.stream_submit(std::move(transfer));
            }
            py::list list;
            for (const StreamCompletion& c : ended)
              list.append(py::make_tuple(c.token, c.status,
                                         py::bytes(reinterpret_cast<const char*>(c.data.data()), c.data.size()),
                                         c.transferred));
            return list;
          },
          py::arg("token"), py::arg("endpoint"), py::arg("stream"), py::arg("buffer"))
      .def("stream_cancel", &Dock::stream_cancel, py::call_guard<py::gil_scoped_release>())
      .def("stream_generation", &Dock::stream_generation)
      .def("serves_uas", &Dock::serves_uas)
      .def("streams_done", &Dock::streams_done)
      .def("reset", &Dock::reset, py::call_guard<py::gil_scoped_release>())
      .def("inject", &Dock::inject, py::arg("switches"), py::call_guard<py::gil_scoped_release>())
      .def("heal", &Dock::heal, py::call_guard<py::gil_scoped_release>())
      .def("reopen", &Dock::reopen)
      .def("attached", &Dock::attached)
      .def("timings",
           [](const Dock& dock) {
             py::dict all;
             for (const auto& [kind, t] : dock.timings())
               all[py::str(kind)] = py::make_tuple(t.count, t.bus_microseconds, t.firmware_microseconds,
                                                   t.waiting_microseconds);
             return all;
           })
      .def(
          "observe",
          [](Dock& dock, debug::Log* log, debug::Session* session) {
            py::gil_scoped_release release;
            WaveObserver* waves = session ? static_cast<WaveObserver*>(session) : log;
            dock.gpu().observe(log, waves);
          },
          py::arg("log") = nullptr, py::arg("session") = nullptr, py::keep_alive<1, 2>(), py::keep_alive<1, 3>(),
          "Traces and debugger of the GPU; None: no more.")
      .def("set_alternate", &Dock::set_alternate)
      .def("unplug", &Dock::unplug, py::call_guard<py::gil_scoped_release>())
      .def("replug", &Dock::replug, py::call_guard<py::gil_scoped_release>())
      .def("counts", &Dock::counts)
      .def("launches",
           [](Dock& dock) {
             py::dict out;
             for (const auto& [entry, statistics] : dock.gpu().launches()) out[py::int_(entry)] = figures(statistics);
             return out;
           })
      .def("modelled_seconds", &Dock::modelled_seconds)
      .def("violations", &Dock::violations)
      .def("identity",
           [](const Dock& dock) {
             const Identity& id = dock.profile().identity;
             return py::make_tuple(id.vendor, id.product, id.release, id.manufacturer, id.name, id.serial);
           })
      .def("super_speed", [](const Dock& dock) { return dock.profile().super_speed; })
      .def("ten_gigabit", [](const Dock& dock) { return dock.profile().ten_gigabit; })
      .def("device_descriptor",
           [](const Dock& dock) {
             const auto d = device_descriptor(dock.profile());
             return py::bytes(reinterpret_cast<const char*>(d.data()), d.size());
           })
      .def("configuration_descriptor", [](const Dock& dock) {
        const auto d = configuration_descriptor(dock.profile());
        return py::bytes(reinterpret_cast<const char*>(d.data()), d.size());
      });
}

}  // namespace usbgpu::emulator
