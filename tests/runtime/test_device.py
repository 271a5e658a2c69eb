"""A GPU without torch: load, launch, copy, on the emulated device in faithful and in strict mode."""
from __future__ import annotations

import numpy as np
import pytest

from torch_usbgpu import compiler, errors
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.runtime import Device
from torch_usbgpu.runtime.device import pack_arguments
from torch_usbgpu.usb import open_handle

from ..chip import CHIP

SOURCE = r"""
#include <hip/hip_runtime.h>

extern "C" __global__ void axpy(float a, const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;     // block and grid sizes come as hidden arguments
  if (i < n) y[i] = a * x[i] + y[i];
}

extern "C" __global__ void shape(int* out) {
  out[0] = gridDim.x; out[1] = gridDim.y; out[2] = gridDim.z;
  out[3] = blockDim.x; out[4] = blockDim.y; out[5] = blockDim.z;
}

extern "C" __global__ void reverse(int* data) {
  extern __shared__ int staged[];
  staged[threadIdx.x] = data[threadIdx.x];
  __syncthreads();
  data[threadIdx.x] = staged[blockDim.x - 1 - threadIdx.x];
}

__constant__ int table[4] = {10, 20, 30, 40};
__device__ __attribute__((noinline)) int deep(int n) { volatile int local[64]; for (int i = 0; i < 64; ++i) local[i] = i * n; return local[n & 63]; }
extern "C" __global__ void scratch(int* out) { out[threadIdx.x] = deep(threadIdx.x) + table[threadIdx.x & 3]; }
"""


@pytest.fixture(scope="module", params=[False, True], ids=["faithful", "strict"])
def device(request):
    firmware = open_handle(f"emulated:{CHIP}").firmware_dirs
    with Device(EmulatedAdapter(CHIP, strict=request.param), firmware_dirs=firmware) as opened:
        yield opened


@pytest.fixture(scope="module")
def kernels(device):
    return device.load(compiler.compile(SOURCE, device.arch))


def read(device, address, count, dtype):
    array = np.empty(count, dtype)
    device.copy_out(array, address)
    return array


@pytest.mark.parametrize("n", [1, 31, 256, 1000, 100_000])
def test_launch(device, kernels, n):
    random = np.random.default_rng(n)
    x, y = random.standard_normal(n, np.float32), random.standard_normal(n, np.float32)
    guard = np.full(16, 7, np.float32)
    dx, dy = device.alloc(x.nbytes), device.alloc(y.nbytes + 64)
    device.copy_in(dx, x)
    device.copy_in(dy, np.concatenate([y, guard]))
    device.launch(kernels["axpy"], (-(-n // 256),), (256,), [np.float32(3), dx, dy, np.int32(n)])
    result = read(device, dy, n + 16, np.float32)
    np.testing.assert_allclose(result[:n], 3 * x + y, rtol=1e-6)
    np.testing.assert_array_equal(result[n:], guard)
    device.free(dx)
    device.free(dy)


@pytest.mark.parametrize("grid, block", [((1,), (32,)), ((2, 3), (8, 4)), ((2, 1, 5), (4, 2, 8))])
def test_block_and_grid_sizes(device, kernels, grid, block):
    out = device.alloc(24)
    device.launch(kernels["shape"], grid, block, [out])
    assert list(read(device, out, 6, np.int32)) == [*grid, *(1,) * (3 - len(grid)), *block, *(1,) * (3 - len(block))]


def test_dynamic_lds(device, kernels):
    data = np.arange(256, dtype=np.int32)
    block = device.alloc(1024)
    device.copy_in(block, data)
    device.launch(kernels["reverse"], 1, 256, [block], dynamic_lds_bytes=1024)
    np.testing.assert_array_equal(read(device, block, 256, np.int32), data[::-1])


def test_private_memory_and_constants(device, kernels):
    assert kernels["scratch"].descriptor.scratch_bytes > 0
    out = device.alloc(1024)
    device.launch(kernels["scratch"], 1, 256, [out])
    i = np.arange(256)
    np.testing.assert_array_equal(read(device, out, 256, np.int32), (i & 63) * i + np.array([10, 20, 30, 40])[i & 3])


@pytest.mark.parametrize("args, block, problem", [
    ([1, 2], 256, "takes 4 arguments"),
    ([np.float32(1), 0, 0, 5], 256, "takes 4 arguments of 28 bytes"),
    ([1.5, 0, 0, np.int32(1)], 256, "is a float"),
    ([np.float32(1), 0, 0, np.int32(1)], 2048, "threads"),
])
def test_arguments_that_do_not_fit(device, kernels, args, block, problem):
    with pytest.raises(errors.LaunchError, match=problem):
        device.launch(kernels["axpy"], 1, block, args)


def test_arguments_lie_at_their_natural_alignment():
    packed = pack_arguments([np.int8(1), np.float32(2), np.int16(3), 4, np.float64(5)])
    assert packed.hex() == "01000000" + "00000040" + "0300" + "00" * 6 + "04" + "00" * 7 + np.float64(5).tobytes().hex()


def test_many_submissions_reuse_windows(device, kernels):
    """More launches than the ring has entries times windows: laps, sentinels and fences."""
    x = device.alloc(4)
    y = device.alloc(4)
    device.copy_in(x, np.ones(1, np.float32))
    device.copy_in(y, np.zeros(1, np.float32))
    device.reset_link_stats()
    for _ in range(300):
        device.launch(kernels["axpy"], 1, 32, [np.float32(1), x, y, np.int32(1)])
        device.stream.flush()
    assert read(device, y, 1, np.float32)[0] == 300
    assert device.link_stats()["submissions"] == 301


def test_bulk_copy_that_leaves_the_next_sentinel_in_the_sram(device, kernels):
    """What lies in a window must not pass for a submission, even if a user copied just those values."""
    from torch_usbgpu.runtime.queue import COMMAND_SENTINEL

    scrap = device.alloc(24)
    device.launch(kernels["shape"], 1, 32, [scrap])
    device.synchronize()
    while device.road.entry % 8 == 7:       # that window ends where the copy's own sentinel lies
        device.launch(kernels["shape"], 1, 32, [scrap])
        device.synchronize()
    entry = device.road.entry % device.road.entries
    n = 1 << 18
    poison = np.full(n, COMMAND_SENTINEL | entry, np.uint32)
    block, y = device.alloc(poison.nbytes), device.alloc(4)
    device.copy_in(block, poison)
    assert device.road.entry % device.road.entries == entry, "the copy itself took no window"
    device.copy_in(y, np.zeros(1, np.float32))
    device.reset_link_stats()
    device.launch(kernels["axpy"], 1, 32, [np.float32(0), y, y, np.int32(1)])
    assert read(device, y, 1, np.float32)[0] == 0
    assert device.link_stats()["by_request"]["sram_arm_out"] == 3, "wiped, seen to be so by a marker, then filled"
    np.testing.assert_array_equal(read(device, block, n, np.uint32), poison)
    device.free(block)


def test_out_of_memory_is_typed(device):
    with pytest.raises(errors.OutOfMemory, match="GiB"):
        device.alloc(1 << 45)


def test_close_twice_and_reopen_warm():
    firmware = open_handle(f"emulated:{CHIP}").firmware_dirs
    adapter = EmulatedAdapter(CHIP)
    adapter_close, adapter.close = adapter.close, lambda: None      # the dock stays plugged in between
    try:
        for expected in ("cold", "warm"):
            device = Device(adapter, firmware_dirs=firmware)
            steps = " ".join(str(step) for step in device.gpu.boot_log)
            assert f"{expected} start" in steps
            kernel = device.load(compiler.compile(SOURCE, device.arch))["shape"]
            out = device.alloc(24)
            device.launch(kernel, 1, 32, [out])
            assert list(read(device, out, 6, np.int32)) == [1, 1, 1, 32, 1, 1]
            device.close()
            device.close()
    finally:
        adapter_close()


@pytest.mark.parametrize("text", ("soon", "-1", "0", "nan"))
def test_time_out_that_is_none(monkeypatch, text):
    from torch_usbgpu.errors import ConfigError
    from torch_usbgpu.runtime.queue import timeout_seconds

    monkeypatch.setenv("USBGPU_TIMEOUT_S", text)
    with pytest.raises(ConfigError, match="USBGPU_TIMEOUT_S"):
        timeout_seconds()


@pytest.mark.parametrize("chip", ["navi33", "gfx1201"])
def test_a_handle_is_enough(chip):
    """Any object with libusb1's methods can be driven; the emulated dock brings the images its GPU accepts."""
    with Device(EmulatedAdapter(chip, vram_bytes=256 << 20)) as device:
        at = device.alloc(16)
        device.copy_in(at, np.arange(4, dtype=np.float32))
        back = np.zeros(4, np.float32)
        device.copy_out(back, at)
        assert back.tolist() == [0, 1, 2, 3]


class FourMethods:
    """A handle with nothing but what the seam promises."""

    def __init__(self, adapter):
        for name in ("controlWrite", "controlRead", "bulkWrite", "bulkRead"):
            setattr(self, name, getattr(adapter, name))


def test_four_methods_are_enough():
    adapter = EmulatedAdapter("navi31", strict=True)
    data = np.arange(3000, dtype=np.float32)
    back = np.zeros_like(data)
    with Device(FourMethods(adapter), firmware_dirs=adapter.firmware_directories()) as gpu:
        at = gpu.alloc(data.nbytes)
        gpu.copy_in(at, data)
        gpu.copy_out(back, at)
        gpu.adapter.recover()           # the standard requests once more, in the middle of a session
        gpu.copy_out(back, at)
    assert np.array_equal(data, back)
