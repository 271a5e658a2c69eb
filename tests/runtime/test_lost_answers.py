"""A handle with nothing but the four transfers, one of which loses what it has read: the data is fetched again."""
from __future__ import annotations

import numpy as np
import pytest
import usb1

from torch_usbgpu.emulated_firmware import firmware_directory
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.runtime import Device

from ..chip import CHIP

SMALL, LARGE = 64, 1 << 20


class FourTransfers:
    """Somebody else's model: no descriptors, no clearHalt, no transfers in flight, no close."""

    def __init__(self, handle) -> None:
        self.controlWrite, self.controlRead, self.bulkWrite = handle.controlWrite, handle.controlRead, handle.bulkWrite
        self._handle, self.loses_read_of = handle, 0

    def bulkRead(self, endpoint, length, timeout=0):
        data = self._handle.bulkRead(endpoint, length, timeout)
        if self.loses_read_of == length:
            self.loses_read_of = 0
            raise usb1.USBErrorTimeout
        return data


@pytest.fixture(scope="module")
def opened():
    handle = FourTransfers(EmulatedAdapter(CHIP, vram_bytes=512 << 20))
    with Device(handle, firmware_dirs=[str(firmware_directory(CHIP))]) as device:
        yield handle, device


@pytest.mark.parametrize("nbytes, read", [(SMALL, 512), (LARGE, 512 << 10)])
def test_what_was_read_and_lost(opened, monkeypatch, nbytes, read):
    monkeypatch.setenv("USBGPU_TIMEOUT_S", "20")
    handle, device = opened
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes, np.uint8)
    block = device.alloc(nbytes)
    device.copy_in(block, data)
    device.synchronize()
    handle.loses_read_of = read
    back = np.zeros_like(data)
    device.copy_out(back, block)
    assert handle.loses_read_of == 0, "no such read"
    assert np.array_equal(back, data)
    device.synchronize()
