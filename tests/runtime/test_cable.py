"""Every byte that reaches the GPU crosses the cable in a counted transfer, and nothing else does."""
from __future__ import annotations

import numpy as np
import pytest

from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.runtime import Device
from torch_usbgpu.usb import open_handle

from ..chip import CHIP


class Meter:
    """Passes everything on and keeps what went out."""

    def __init__(self, handle):
        self._handle = handle
        self.clear()

    def clear(self):
        self.sent, self.control_out, self.control_in, self.bulk_out, self.bulk_in, self.received = [], 0, 0, 0, 0, 0

    def __getattr__(self, name):
        if name == "getTransfer":
            raise AttributeError(name)      # synchronous transfers only: each passes the four methods below
        return getattr(self._handle, name)

    def controlWrite(self, *args, **named):
        self.control_out += 1
        return self._handle.controlWrite(*args, **named)

    def controlRead(self, *args, **named):
        self.control_in += 1
        return self._handle.controlRead(*args, **named)

    def bulkWrite(self, endpoint, data, timeout=0):
        self.bulk_out += 1
        self.sent.append(bytes(data))
        return self._handle.bulkWrite(endpoint, data, timeout)

    def bulkRead(self, endpoint, length, timeout=0):
        data = self._handle.bulkRead(endpoint, length, timeout)
        self.bulk_in += 1
        self.received += len(data)
        return data


@pytest.fixture(scope="module")
def metered():
    firmware = open_handle(f"emulated:{CHIP}").firmware_dirs
    meter = Meter(EmulatedAdapter(CHIP))
    with Device(meter, firmware_dirs=firmware) as device:
        yield device, meter


@pytest.mark.parametrize("nbytes", [4, 1000, 16 * 1024, 16 * 1024 + 1, 100_001, 128 * 1024, 700_001, 3 << 20])
def test_round_trip_over_every_way(metered, nbytes):
    device, meter = metered
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes, np.uint8)
    guard = np.full(64, 0xA5, np.uint8)
    block = device.alloc(nbytes + 128)
    device.copy_in(block, np.concatenate([guard, data, guard]) * 0 + 0xA5)
    device.synchronize()
    device.reset_link_stats()
    meter.clear()
    device.copy_in(block + 64, data)
    device.synchronize()
    stats = device.link_stats()
    for name in ("control_out", "control_in", "bulk_out", "bulk_in"):
        assert stats[name] == getattr(meter, name), name
    # the payload is in what was sent, in order, nothing left out
    wire = b"".join(meter.sent)
    step = 4096
    at = 0
    for start in range(0, nbytes, step):
        piece = data[start:start + step].tobytes()
        for part in (piece[:512], piece[-512:]):
            at = wire.find(part, at)
            assert at >= 0, f"bytes at {start} did not cross the cable"
    assert stats["bytes_out"] >= sum(map(len, meter.sent)) >= nbytes

    meter.clear()
    back = np.zeros(nbytes + 128, np.uint8)
    device.copy_out(back, block)
    assert meter.received >= nbytes + 128
    np.testing.assert_array_equal(back[64:-64], data)
    assert (back[:64] == 0xA5).all() and (back[-64:] == 0xA5).all(), "neighbours of the copy are untouched"
    device.free(block)
