"""Statistics by kernel: host names joined with what a handle measures, and a handle that measures nothing."""
from __future__ import annotations

import numpy as np
import pytest

from torch_usbgpu import compiler
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.runtime import Device
from torch_usbgpu.runtime.kernelstats import FIGURES, KernelStats
from torch_usbgpu.usb import open_handle

from ..chip import CHIP

SOURCE = r"""
#include <hip/hip_runtime.h>
extern "C" __global__ __launch_bounds__(256) void twice(float* y) { int i = blockIdx.x * 256 + threadIdx.x; y[i] = 2.0f * y[i]; }
extern "C" __global__ __launch_bounds__(32) void columns(float* y, int stride) {
  __shared__ float tile[32 * 32];
  for (int k = 0; k < 32; ++k) tile[k * 32 + threadIdx.x] = y[k];
  __syncthreads();
  float sum = 0;
  for (int k = 0; k < 32; ++k) sum += tile[threadIdx.x * stride + k];   // stride 32: all lanes in one bank
  y[threadIdx.x] = sum;
}
"""


@pytest.fixture(scope="module")
def device():
    firmware = open_handle(f"emulated:{CHIP}").firmware_dirs
    with Device(EmulatedAdapter(CHIP, counters=True), firmware_dirs=firmware) as opened:
        yield opened


@pytest.fixture(scope="module")
def kernels(device):
    return device.load(compiler.compile(SOURCE, device.arch))


def test_launches_and_figures_of_each_kernel(device, kernels):
    address = device.alloc(256 * 16 * 4)
    device.copy_in(address, np.ones(256 * 16, np.float32))
    device.launch(kernels["twice"], 16, 256, (address,))
    device.reset_kernel_stats()
    assert device.kernel_stats() == {}
    device.launch(kernels["twice"], 16, 256, (address,))
    device.launch(kernels["twice"], 4, 256, (address,))
    device.launch(kernels["columns"], 1, 32, (address, np.int32(32)))
    stats = device.kernel_stats()
    assert set(stats) == {"twice", "columns"}
    twice = stats["twice"]
    assert (twice["launches"], twice["workgroups"], twice["waves"]) == (2, 20, 160)
    assert (twice["vmem_load"], twice["vmem_store"]) == (160, 160)
    assert (twice["bytes_loaded"], twice["bytes_stored"]) == (160 * 128, 160 * 128)
    assert (twice["segments_128"], twice["lines_touched"], twice["lds_conflicts"]) == (320, 160, 0)
    assert 0 < twice["modelled_seconds"] < 1e-5 and twice["waves_per_simd"] == 16
    assert stats["columns"]["lds_conflicts"] >= 32 * 3, "32 lanes in one bank, at best four dwords at a time"
    device.free(address)


def test_a_padded_stride_has_no_conflicts(device, kernels):
    address = device.alloc(32 * 4)
    found = {}
    for stride in (32, 31):
        device.reset_kernel_stats()
        device.launch(kernels["columns"], 1, 32, (address, np.int32(stride)))
        found[stride] = device.kernel_stats()["columns"]
    assert found[31]["lds_conflicts"] < found[32]["lds_conflicts"] / 4
    assert found[31]["lds_seconds"] < found[32]["lds_seconds"]


class Stream:
    def __init__(self):
        self.rows = []

    def kernel_launches(self):
        return list(self.rows)


def test_a_handle_that_measures_nothing():
    """What libusb's handle leads to: the host's own counts, and None for the device's figures."""
    stream = Stream()
    stream.rows = [("old", 0x100, 3)]
    stats = KernelStats(stream, object())
    stream.rows = [("old", 0x100, 3), ("add", 0x200, 2), ("add", 0x300, 5)]
    assert stats.snapshot() == {"add": {"launches": 7, **dict.fromkeys(FIGURES)}}


def test_figures_are_differences_since_the_reset():
    class Handle:
        figures = {0x100: {"launches": 9, "waves": 10, "modelled_seconds": 0.5, "waves_per_simd": 16.0}}

        def launch_statistics(self):
            return {entry: dict(row) for entry, row in self.figures.items()}

    stream = Stream()
    stream.rows = [("add", 0x100, 4)]
    stats = KernelStats(stream, Handle())
    stream.rows = [("add", 0x100, 6), ("add", 0x200, 1)]
    Handle.figures = {0x100: {"launches": 11, "waves": 30, "modelled_seconds": 2.0, "waves_per_simd": 4.0},
                      0x200: {"launches": 1, "waves": 7, "modelled_seconds": 1.0, "waves_per_simd": 8.0}}
    row = stats.snapshot()["add"]
    assert (row["launches"], row["waves"], row["modelled_seconds"], row["waves_per_simd"]) == (3, 27, 2.5, 8.0)
    assert row["lds_conflicts"] is None


def test_every_figure_of_the_adapter_is_known(device, kernels):
    address = device.alloc(1024)
    device.launch(kernels["twice"], 1, 256, (address,))
    device.synchronize()
    rows = device.handle.launch_statistics()
    assert rows and all(set(row) == {*FIGURES, "launches"} for row in rows.values())
