"""torch.accelerator and torch.usbgpu as programs written for any accelerator use them."""
from __future__ import annotations

import importlib

import pytest
import torch
from torch import accelerator

DEVICE = "usbgpu"


def test_which_and_how_many():
    assert accelerator.is_available() and accelerator.device_count() == 1
    assert accelerator.current_accelerator() == torch.device(DEVICE) and accelerator.current_device_index() == 0
    accelerator.set_device_index(0)
    with accelerator.device_index(0):
        assert torch.ones(1, device=accelerator.current_accelerator()).is_usbgpu
    with pytest.raises(RuntimeError, match="usbgpu:1 does not exist"):
        accelerator.set_device_index(1)
    assert torch.get_device_module() is torch.get_device_module(DEVICE) is torch.usbgpu
    assert importlib.import_module("torch.usbgpu") is torch.usbgpu
    assert torch.float32 in accelerator.get_device_capability()["supported_dtypes"]


def test_memory():
    accelerator.synchronize()
    accelerator.reset_peak_memory_stats()
    accelerator.reset_accumulated_memory_stats()
    before = accelerator.memory_allocated()
    x = torch.empty(1 << 20, device=DEVICE)
    assert accelerator.memory_allocated() == torch.usbgpu.memory_allocated() >= before + (4 << 20)
    del x
    assert accelerator.memory_allocated() == before and accelerator.max_memory_allocated() >= before + (4 << 20)
    assert accelerator.memory_stats()["allocated_bytes.all.allocated"] >= 4 << 20
    assert accelerator.max_memory_reserved() >= accelerator.memory_reserved() >= before
    accelerator.empty_cache()
    accelerator.empty_host_cache()
    free, total = accelerator.get_memory_info()
    assert 0 < free <= total
    summary = torch.usbgpu.memory_summary()
    assert "in tensors, peak" in summary and "MiB" in summary


def test_streams_and_events():
    stream, event = torch.Stream(device=DEVICE), torch.Event(device=DEVICE, enable_timing=True)
    with stream:
        assert accelerator.current_stream() == stream
        x = torch.ones(8, device=DEVICE) * 2
        event.record()
    assert accelerator.current_stream() != stream
    event.synchronize()
    accelerator.synchronize()
    assert event.query() and x.sum().item() == 16
    with torch.usbgpu.StreamContext(stream):
        assert torch.usbgpu.current_stream() == stream
    assert not torch.usbgpu.is_current_stream_capturing()


def test_names_of_torch_cuda():
    assert all(hasattr(torch.usbgpu, name) for name in torch.usbgpu.__all__)
    assert torch.usbgpu.get_device_index("usbgpu:0") == torch.usbgpu.get_device_index() == 0
    assert torch.usbgpu.get_device_index("cpu", allow_cpu=True) == -1
    with pytest.raises(ValueError, match="cpu"):
        torch.usbgpu.get_device_index("cpu")
    assert not torch.usbgpu.can_device_access_peer(0, 0)
    assert torch.usbgpu.get_arch_list() == [torch.usbgpu.get_device_properties().arch]
    assert torch.usbgpu.OutOfMemoryError is torch.OutOfMemoryError
    with pytest.raises(AttributeError, match="torch.usbgpu"):
        torch.usbgpu.no_such_name


def test_tensors_say_where_they_are():
    x = torch.ones(2, 3, device=DEVICE)
    assert x.device == torch.device("usbgpu:0") and x.get_device() == 0 and x.is_usbgpu and not x.is_cuda
    assert x.type() == "torch.usbgpu.FloatTensor" and x.cpu().usbgpu(0).is_usbgpu
    assert repr(x).endswith("device='usbgpu:0')") and repr(x.untyped_storage().device) == repr(x.device)
    for tensor in (x.half(), x > 0, x[:0], torch.full((2000,), 1e9, device=DEVICE), torch.tensor([float("nan")], device=DEVICE)):
        text = repr(tensor)
        assert text.replace(", device='usbgpu:0'", "") == repr(tensor.cpu()) or "device='usbgpu:0'" in text
    number = torch.tensor(2, device=DEVICE)
    assert [1, 2, 3][number] == 3 and list(range(number)) == [0, 1] and f"{x[0, 0]:.2f}" == "1.00"
    assert x.untyped_storage().cpu().device.type == "cpu" and torch.ones(3).untyped_storage().usbgpu().is_usbgpu


def test_the_whole_module_moves():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    for move in (lambda: model.usbgpu(), lambda: model.usbgpu(0), lambda: model.to(DEVICE, torch.float64), lambda: model.to("usbgpu:0"),
                 lambda: model.to(torch.ones(1, device=DEVICE))):
        model.cpu()
        move()
        assert all(tensor.is_usbgpu for tensor in model.state_dict().values())


def test_a_mixture_of_devices_is_refused():
    here, there = torch.ones(2, 2, device=DEVICE), torch.ones(2, 2)
    for mixed in (lambda: here + there, lambda: here @ there, lambda: torch.cat([here, there]), lambda: torch.where(here > 0, here, there)):
        with pytest.raises(RuntimeError, match="(?i)same device|two devices|expected.*usbgpu"):
            mixed()
