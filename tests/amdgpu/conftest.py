from __future__ import annotations

import pytest

from torch_usbgpu.amdgpu import Gpu
from torch_usbgpu.usb import Adapter, open_handle

from ..chip import CHIP

class Board:
    """An emulated board that is plugged in once; each open() is a new process's view of it."""

    def __init__(self, spec: str = f"emulated:{CHIP}"):
        self.opened = open_handle(spec)

    def open(self) -> Gpu:
        return Gpu(Adapter(self.opened.handle), self.opened.firmware_dirs)

    def boot(self) -> Gpu:
        gpu = self.open()
        gpu.boot()
        return gpu


@pytest.fixture
def board(request):
    """A board of the chip under test, or of the one that an indirect parameter names."""
    board = Board(f"emulated:{getattr(request, 'param', CHIP)}")
    yield board
    board.opened.handle.close()
