// Python entry points of this part of the emulator, for tests and for torch_usbgpu/emulator.py.
#include <pybind11/pybind11.h>

namespace usbgpu::emulator {

void bind_adapter(pybind11::module_& module) {}

}  // namespace usbgpu::emulator
