// The extension torch_usbgpu._emulator: the device half. Knows no torch.
#include <pybind11/pybind11.h>

namespace usbgpu::emulator {
void bind_isa(pybind11::module_& module);
void bind_ip(pybind11::module_& module);
void bind_adapter(pybind11::module_& module);
void bind_mcs51(pybind11::module_& module);
void bind_debug(pybind11::module_& module);
}  // namespace usbgpu::emulator

PYBIND11_MODULE(_emulator, module) {
  module.doc() = "An emulated ASM2464PD dock with an AMD GPU. Speaks USB requests; nothing else crosses to the host half.";
  auto isa = module.def_submodule("isa", "Shader cores: decode, disassemble, run code without a GPU around it.");
  auto gpu = module.def_submodule("gpu", "The GPU behind its BARs, without the adapter.");
  auto adapter = module.def_submodule("adapter", "The adapter: requests in, answers out.");
  auto debug = module.def_submodule("debug", "Traces of the engines and shader cores; waves under a debugger.");
  usbgpu::emulator::bind_debug(debug);
  usbgpu::emulator::bind_isa(isa);
  usbgpu::emulator::bind_ip(gpu);
  usbgpu::emulator::bind_adapter(adapter);
  usbgpu::emulator::bind_mcs51(adapter);
}
