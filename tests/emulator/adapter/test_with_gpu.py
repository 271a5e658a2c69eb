"""The whole driver over the dock with the real GPU model, in every mode: what strict mode refuses, it does not do."""
import numpy as np
import pytest

from torch_usbgpu import runtime
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.errors import DeviceLost, LinkError, UsbGpuError, WrongMode
from torch_usbgpu.usb.emulated import firmware_directory
from torch_usbgpu.usb.transport import OpenedHandle

MODES = [{}, {"strict": True}, {"deterministic": True}, {"strict": True, "deterministic": True}, {"lanes": 4},
         {"strict": 5}, {"firmware": "custom-2026-08", "strict": 6}, {"faults": ["crs:3"]}, {"faults": ["tlp-error:50"]}]


def open_device(monkeypatch, **options):
    adapter = EmulatedAdapter("navi31", vram_bytes=2 << 30, **options)
    opened = OpenedHandle(adapter, "emulated", (firmware_directory("navi31"),))
    monkeypatch.setattr("torch_usbgpu.usb.open_handle", lambda spec: opened)
    return adapter, runtime.Device("emulated")


def round_trip(device, nbytes, seed):
    source = np.random.default_rng(seed).integers(0, 256, nbytes, dtype=np.uint8)
    address = device.alloc(nbytes)
    device.copy_in(address, source)
    result = np.empty_like(source)
    device.copy_out(result, address)
    device.free(address)
    assert np.array_equal(result, source)


@pytest.mark.parametrize("options", MODES, ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items()) or "faithful")
def test_copies_of_every_size(monkeypatch, options):
    adapter, device = open_device(monkeypatch, **options)
    for seed, nbytes in enumerate((4, 1000, 16 * 1024, 256 * 1024 - 4, 256 * 1024, 512 * 1024 + 12, 3 << 20)):
        round_trip(device, nbytes, seed)
    device.close()
    assert adapter.violations == []


@pytest.mark.parametrize("after", [1, 100, 400, 600, 700])
def test_unplugged_at_some_moment(monkeypatch, after):
    """The right error, not a hang, and a new dock works in the same process."""
    with pytest.raises(DeviceLost):
        _, device = open_device(monkeypatch, faults=[f"unplug-after:{after}"])
        for seed in range(50):
            round_trip(device, 256 * 1024, seed)
    _, device = open_device(monkeypatch)
    round_trip(device, 4096, 1)
    device.close()


@pytest.mark.parametrize("options, error", [
    ({"faults": ["no-link"]}, LinkError), ({"faults": ["no-card"]}, LinkError), ({"firmware": "rom"}, WrongMode),
    ({"firmware": "stock"}, WrongMode), ({"firmware": "usb4"}, WrongMode), ({"firmware": "bootstub"}, WrongMode),
    ({"faults": ["stall:E4"]}, LinkError)])
def test_docks_that_cannot_work(monkeypatch, options, error):
    with pytest.raises(error) as caught:
        open_device(monkeypatch, **options)
    assert isinstance(caught.value, UsbGpuError) and caught.value.action
