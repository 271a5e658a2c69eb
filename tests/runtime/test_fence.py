"""The fence as the host reads it: one byte, so that a GPU that stores meanwhile cannot mislead."""
from __future__ import annotations

import pytest

from torch_usbgpu.runtime.queue import FENCE_XDATA, Road


class Fetches:
    """XDATA as the dock fetches it: the GPU stores the next values between two bytes."""

    def __init__(self, *values: int):
        self.values = list(values)

    def read_xdata(self, address: int, count: int) -> bytes:
        assert address == FENCE_XDATA
        return bytes(self.values[min(n, len(self.values) - 1)] >> 8 * n & 0xFF for n in range(count))


@pytest.mark.parametrize("done, stored, expected", [
    (0, (0,), 0), (0, (3,), 3), (0xFD, (0xFD, 0x101), 0xFD), (0xFE, (0xFF, 0x100), 0xFF), (0xFE, (0x102,), 0x102),
    (0x1FF, (0x207,), 0x207), (0xFFFFFFFE, (2,), 2),
    (0x300, (0x2FF,), 0x300),       # a read-back was received before its window stored the fence
    (0x100, (0xFF,), 0x100),
])
def test_a_torn_fence_never_looks_too_large(done, stored, expected):
    road = Road.__new__(Road)
    road.adapter, road.done = Fetches(*stored), done
    assert road.poll_fence() == expected == road.done
