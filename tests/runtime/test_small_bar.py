"""The runtime on a card that shows 256 MiB of its memory: kernels, copies and faults far beyond. And on one that has
no more."""
from __future__ import annotations

import numpy as np
import pytest

from torch_usbgpu.compiler import compile
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.errors import GpuFault, OutOfMemory, UnsupportedChip
from torch_usbgpu.runtime import Device
from torch_usbgpu.usb import open_handle

from ..chip import CHIP

SOURCE = """
#include <hip/hip_runtime.h>
extern "C" __global__ void doubled(unsigned* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= 2;
}
"""
MIB = 1 << 20


@pytest.fixture(scope="module", params=["small", 1 << 30], ids=["no ReBAR", "1 GiB at most"])
def gpu(request):
    with Device(EmulatedAdapter(CHIP, bar=request.param), open_handle(f"emulated:{CHIP}").firmware_dirs) as device:
        yield device


def test_kernels_and_copies_beyond_the_bar(gpu):
    filler = gpu.alloc(2048 * MIB)
    far = gpu.alloc(4 * MIB)
    assert far - gpu.gpu.memory.vram_va(0) > gpu.gpu.pci.bars[0].size
    kernels = gpu.load(compile(SOURCE, gpu.arch))          # the code is there too
    values = np.arange(MIB, dtype=np.uint32)
    gpu.copy_in(far, values)
    gpu.launch(kernels["doubled"], grid=MIB // 256, block=256, args=[far, np.int32(values.size)])
    result = np.empty_like(values)
    gpu.copy_out(result, far)
    assert np.array_equal(result, 2 * values)
    # what the host sees of it by itself, dword by dword
    assert gpu.gpu.vram_read(far - gpu.gpu.memory.vram_va(0), 16) == result[:4].tobytes()
    gpu.free(far)
    gpu.free(filler)


def test_a_fault_is_explained_with_code_beyond_the_bar(gpu):
    filler = gpu.alloc(2048 * MIB)
    kernels = gpu.load(compile(SOURCE.replace("doubled", "astray"), gpu.arch))
    gpu.launch(kernels["astray"], grid=1, block=32, args=[0xDEAD_0000_0000, np.int32(32)])
    with pytest.raises(GpuFault, match="astray") as caught:
        gpu.synchronize()
    assert caught.value.address == 0xDEAD_0000_0000 and "code" in caught.value.state
    gpu.reset()
    gpu.free(filler)


def with_memory(mebibytes: int) -> Device:
    return Device(EmulatedAdapter(CHIP, vram_bytes=mebibytes * MIB), open_handle(f"emulated:{CHIP}").firmware_dirs)


def test_the_least_memory():
    with with_memory(256) as gpu:
        values, there = np.arange(1000, dtype=np.uint32), gpu.alloc(4000)
        gpu.copy_in(there, values)
        gpu.launch(gpu.load(compile(SOURCE, gpu.arch))["doubled"], grid=4, block=256, args=[there, np.int32(1000)])
        result = np.empty_like(values)
        gpu.copy_out(result, there)
        assert np.array_equal(result, 2 * values)
        with pytest.raises(OutOfMemory, match="134217728 bytes"):
            gpu.alloc(128 * MIB)


@pytest.mark.parametrize("mebibytes", [1, 64, 128, 255])
def test_less_is_refused_with_the_numbers(mebibytes):
    with pytest.raises(UnsupportedChip, match=f"has {mebibytes} MiB of memory; 256 MiB"):
        with_memory(mebibytes)
