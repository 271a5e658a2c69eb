// The MCS-51 alone, for tests: code in, one instruction at a time, all of its memory to look at.
#include <pybind11/pybind11.h>

#include <array>
#include <string>

#include "emulator/mcs51/cpu.h"

namespace py = pybind11;

namespace usbgpu::emulator {

namespace {
struct Machine {
  explicit Machine(const std::string& code)
      : cpu([this](unsigned bank, uint16_t address) { return xdata[bank & 1][address]; },
            [this](unsigned bank, uint16_t address, uint8_t value) { xdata[bank & 1][address] = value; }) {
    cpu.load({reinterpret_cast<const uint8_t*>(code.data()), code.size()});
    cpu.reset();
  }
  Machine(const Machine&) = delete;

  std::array<std::array<uint8_t, 65536>, 2> xdata{};
  mcs51::Cpu cpu;
};
}  // namespace

void bind_mcs51(py::module_& module) {
  py::class_<Machine>(module, "Mcs51")
      .def(py::init([](const py::bytes& code) { return std::make_unique<Machine>(code); }))
      .def("step", [](Machine& m) { m.cpu.step(); })
      .def("interrupt", [](Machine& m, unsigned number) { m.cpu.interrupt(number); })
      .def("accepts_interrupt", [](Machine& m, unsigned number) { return m.cpu.accepts_interrupt(number); })
      .def_property("pc", [](Machine& m) { return m.cpu.pc(); }, [](Machine& m, uint16_t pc) { m.cpu.set_pc(pc); })
      .def_property_readonly("cycles", [](Machine& m) { return m.cpu.cycles(); })
      .def("direct", [](Machine& m, uint8_t at) { return m.cpu.direct(at); })
      .def("set_direct", [](Machine& m, uint8_t at, uint8_t value) { m.cpu.set_direct(at, value); })
      .def("indirect", [](Machine& m, uint8_t at) { return m.cpu.indirect(at); })
      .def("set_indirect", [](Machine& m, uint8_t at, uint8_t value) { m.cpu.set_indirect(at, value); })
      .def("xdata", [](Machine& m, unsigned bank, uint16_t at) { return m.xdata[bank & 1][at]; })
      .def("set_xdata", [](Machine& m, unsigned bank, uint16_t at, uint8_t v) { m.xdata[bank & 1][at] = v; });
}

}  // namespace usbgpu::emulator
