"""Bad input: a clear typed error each time, and everything else goes on."""
from __future__ import annotations

import pytest
import torch

import torch_usbgpu  # noqa: F401
from torch_usbgpu import errors

from ..chip import CHIP, CHIPS
from .run import run


@pytest.fixture
def bystander():
    """A tensor that must survive whatever the test does."""
    values = torch.arange(1000.)
    on_gpu = values.to("usbgpu")
    yield on_gpu
    torch.testing.assert_close(on_gpu.cpu(), values)
    torch.testing.assert_close((on_gpu + 1).sum().item(), (values + 1).sum().item())


def test_wrong_device(bystander):
    with pytest.raises(RuntimeError, match="same device"):
        bystander + torch.ones(1000)
    with pytest.raises(RuntimeError, match="device"):
        torch.mm(torch.ones(2, 2), torch.ones(2, 2, device="usbgpu"))


def test_wrong_dtype(bystander):
    with pytest.raises(RuntimeError, match="dtype|same type|expected"):
        torch.mm(torch.ones(2, 2, device="usbgpu"), torch.ones(2, 2, dtype=torch.float64, device="usbgpu"))


def test_wrong_shape(bystander):
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        torch.mm(torch.ones(2, 3, device="usbgpu"), torch.ones(2, 3, device="usbgpu"))


@pytest.mark.parametrize("index", [1000, -1001])
def test_index_out_of_bounds(bystander, index):
    with pytest.raises(IndexError, match=f"{index}.*1000"):
        bystander[index]
    with pytest.raises(IndexError, match="out of bounds"):
        bystander[torch.tensor([1, index], device="usbgpu")].cpu()


def test_out_of_memory(bystander):
    with pytest.raises(torch.OutOfMemoryError, match="GiB"):
        torch.empty(1 << 42, dtype=torch.uint8, device="usbgpu")
    torch.empty(1 << 20, device="usbgpu")


def test_source_that_does_not_compile(bystander):
    source = 'extern "C" __global__ void k(float* x) {\n  x[0] = undeclared;\n}\n'
    with pytest.raises(errors.CompileError) as caught:
        torch.usbgpu.compile_kernel(source, "k")
    assert ":2:" in str(caught.value) and "undeclared" in str(caught.value)


def test_kernel_name_that_is_not_there(bystander):
    with pytest.raises(errors.UsbGpuError, match="other"):
        torch.usbgpu.compile_kernel('extern "C" __global__ void k(float* x) { x[0] = 1; }', "other")


def test_unmapped_address(bystander):
    peek = torch.usbgpu.compile_kernel('extern "C" __global__ void peek(const float* from, float* to) { to[0] = from[0]; }', "peek")
    to = torch.zeros(1, device="usbgpu")
    address = 0x2000_0000_0000 + (200 << 30)      # inside the window of virtual addresses, beyond VRAM
    peek(address, to, grid=(1,), block=(1,))
    with pytest.raises(errors.GpuFault) as caught:
        torch.usbgpu.synchronize()
    fault = caught.value
    assert fault.kernel == "peek" and fault.address is not None and fault.address & ~0xFFF == address
    assert fault.pc is not None and "reset()" in fault.action
    with pytest.raises(errors.UsbGpuError, match="reset"):
        to.cpu()
    torch.usbgpu.reset()


def test_endless_kernel(bystander, monkeypatch):
    monkeypatch.setenv("USBGPU_TIMEOUT_S", "1")
    spin = torch.usbgpu.compile_kernel(
        'extern "C" __global__ void spin(volatile int* flag) { while (flag[0] == 0) {} }', "spin")
    spin(torch.zeros(1, dtype=torch.int32, device="usbgpu"), grid=(1,), block=(1,))
    with pytest.raises(errors.GpuHang, match="1 s"):
        torch.usbgpu.synchronize()
    torch.usbgpu.reset()


def test_missing_firmware_names_file_and_places(tmp_path):
    done = run(f"""
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.runtime import Device
Device(EmulatedAdapter({CHIP!r}))
""", USBGPU_FIRMWARE=str(tmp_path))
    assert done.returncode == 1
    assert "USBGPU-201" in done.stderr and CHIPS[CHIP]["firmware"]["sos"] in done.stderr and str(tmp_path) in done.stderr
