"""The emulator's own record of packets and instructions."""
from __future__ import annotations

import numpy as np
import pytest

from torch_usbgpu import _emulator, compiler
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.runtime import Device
from torch_usbgpu.usb import emulated

SOURCE = """extern "C" __global__ void square(float* x) { x[threadIdx.x] *= x[threadIdx.x]; }"""


@pytest.fixture(scope="module", params=["navi31", "navi48"])
def machine(request):
    adapter = EmulatedAdapter(request.param)
    with Device(adapter, (emulated.firmware_directory(request.param),)) as gpu:
        yield adapter, gpu, gpu.load(compiler.compile(SOURCE, gpu.arch))["square"]


def run(machine, log, block=64):
    adapter, gpu, kernel = machine
    x, result = gpu.alloc(4096), np.empty(block, np.float32)
    gpu.copy_in(x, np.arange(block, dtype=np.float32))
    adapter.observe(log)
    gpu.launch(kernel, 1, block, [x])
    gpu.copy_out(result, x)
    adapter.observe()
    assert (result == np.arange(block) ** 2).all()
    return [row for row in log.drain() if row.get("entry") in (None, kernel.entry)]


def test_instructions_with_what_they_wrote(machine):
    rows = run(machine, _emulator.debug.Log(packets=True, instructions=1000))
    (launch,) = [row["launch"] for row in rows if row["event"] == "launch"]
    executed = [row for row in rows if row["event"] == "instruction" and row["launch"] == launch]
    assert {row["wave"] for row in executed} == {0, 1}
    multiplied = [row for row in executed if row["text"].startswith(("v_mul_f32", "v_dual_mul_f32"))]
    assert [row["wave"] for row in multiplied] == [0, 1]
    values = np.concatenate([np.array(row["results"][-1][3], np.uint32).view(np.float32) for row in multiplied])
    assert (values == np.arange(64) ** 2).all()
    (end,) = [row for row in rows if row["event"] == "launch_end" and row["launch"] == launch]
    assert end["end"] == "complete" and end["instructions"] == len(executed)


def test_limit_counts_per_launch(machine):
    rows = run(machine, _emulator.debug.Log(packets=True, instructions=7))
    launch = next(row["launch"] for row in rows if row["event"] == "launch")
    assert sum(row["event"] == "instruction" and row["launch"] == launch for row in rows) == 7


def test_other_kernels_run_unwatched(machine):
    log = _emulator.debug.Log(packets=True, instructions=1000)
    log.only_kernels({0x1234})
    assert not [row for row in run(machine, log) if row["event"] == "instruction"]


def test_capacity(machine):
    log = _emulator.debug.Log(packets=True, instructions=1000, capacity=5)
    assert len(run(machine, log)) == 5
    assert log.lost > 10


def test_packets_are_in_order_and_told_once(machine):
    """A packet that waits is attempted many times and shown once."""
    rows = [row for row in run(machine, _emulator.debug.Log()) if row["event"] == "packet"]
    ring = [row["address"] for row in rows if row["depth"] == 0]
    assert ring == sorted(set(ring)) and len(ring) >= 2
    assert all(row["engine"] == "compute" for row in rows)
