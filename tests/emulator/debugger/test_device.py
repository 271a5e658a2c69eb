"""The debugger on a driver's own launch, inside the emulated GPU."""
from __future__ import annotations

import numpy as np
import pytest

from torch_usbgpu import compiler
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.emulator.debugger import DeviceDebugger
from torch_usbgpu.runtime import Device
from torch_usbgpu.usb import emulated

SOURCE = """extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2; }
extern "C" __global__ void once(float* x) { x[threadIdx.x] += 1; }"""


@pytest.fixture(scope="module", params=["navi31", "navi48"])
def machine(request):
    adapter = EmulatedAdapter(request.param)
    with Device(adapter, (emulated.firmware_directory(request.param),)) as gpu:
        yield adapter, gpu, gpu.load(compiler.compile(SOURCE, gpu.arch))


def test_a_launch_is_stopped_changed_and_goes_on(machine):
    adapter, gpu, kernels = machine
    x, result = gpu.alloc(4096), np.empty(32, np.float32)
    gpu.copy_in(x, np.arange(32, dtype=np.float32))
    with DeviceDebugger(adapter, kernels["twice"].entry, {"twice": kernels["twice"].entry}, timeout_s=20) as debugger:
        gpu.launch(kernels["once"], 1, 32, [x])
        gpu.launch(kernels["twice"], 1, 32, [x])
        host = debugger.background(gpu.copy_out, result, x)
        stop = debugger.wait()
        assert (stop.reason, stop.where) == ("entry", "twice")
        wave = debugger.wave
        assert (wave.read(x, 32, np.float32) == np.arange(32) + 1).all()      # what `once` has done
        while not wave.instruction.startswith("global_store"):
            wave.step()
        data = int(wave.instruction.split(", v")[1].split(",")[0])
        assert (wave.vgpr_f32[data] == 2 * (np.arange(32) + 1)).all()
        wave.write_vgpr(data, -1.0, lanes=5)
        assert debugger.run().reason == "finished"
        host.join(20)
        assert not host.is_alive()
    expected = 2 * (np.arange(32, dtype=np.float32) + 1)
    expected[5] = -1
    assert (result == expected).all()


def test_closing_lets_a_stopped_wave_run_on(machine):
    adapter, gpu, kernels = machine
    x, result = gpu.alloc(4096), np.empty(32, np.float32)
    gpu.copy_in(x, np.ones(32, np.float32))
    debugger = DeviceDebugger(adapter, timeout_s=20)
    gpu.launch(kernels["twice"], 1, 32, [x])
    host = debugger.background(gpu.copy_out, result, x)
    debugger.wait()
    debugger.close()
    host.join(20)
    assert not host.is_alive() and (result == 2).all()
    gpu.launch(kernels["twice"], 1, 32, [x])
    gpu.copy_out(result, x)
    assert (result == 4).all()


def test_unplugging_a_stopped_gpu_does_not_hang():
    adapter = EmulatedAdapter("navi31")
    gpu = Device(adapter, (emulated.firmware_directory("navi31"),))
    kernel = gpu.load(compiler.compile(SOURCE, gpu.arch))["twice"]
    x = gpu.alloc(4096)
    debugger = DeviceDebugger(adapter, kernel.entry, timeout_s=20)
    gpu.launch(kernel, 1, 32, [x])
    failed = []

    def wait_for_it():
        try:
            gpu.synchronize()
        except Exception as error:      # noqa: BLE001
            failed.append(error)

    host = debugger.background(wait_for_it)
    debugger.wait()
    adapter.unplug()
    host.join(20)
    assert not host.is_alive() and failed
    debugger.close()
