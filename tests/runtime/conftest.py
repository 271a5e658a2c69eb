"""A road that goes nowhere: it keeps what the stream device hands over."""
from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from torch_usbgpu import _runtime

SRAM_VA = 0x2040_2000_0000
WINDOW_BYTES = 16 * 1024


@dataclass
class Descriptor:
    entry_offset: int
    rsrc1: int = 0x11
    rsrc2: int = 0x9E
    rsrc3: int = 0x33
    lds_bytes: int = 0
    scratch_bytes: int = 0
    kernarg_bytes: int = 16
    properties: int = 0x408


@dataclass
class Image:
    image: bytes
    kernels: dict[str, Descriptor]
    absolute: tuple = ()


@dataclass
class KeepingRoad:
    """Implements csrc/runtime/road.h in Python; `answers` fill read-backs, `broken` symbols do not compile."""
    submissions: list[tuple[int, bytes]] = field(default_factory=list)
    uploads: list[bytes] = field(default_factory=list)
    consumed: list[int] = field(default_factory=list)    # submissions by then
    bulk: list[tuple] = field(default_factory=list)
    compiled: list[list[str]] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    broken: dict[str, Exception] = field(default_factory=dict)
    faults: list[int] = field(default_factory=list)
    sequence: int = 0

    def acquire(self):
        self.sequence += 1
        window = (self.sequence - 1) % 8
        return window, SRAM_VA + (8 + window) * WINDOW_BYTES, WINDOW_BYTES, 0x5B000000 | self.sequence, self.sequence

    def submit(self, window, payload):
        self.submissions.append((window, payload))

    def submit_and_read(self, window, payload, nbytes):
        self.submissions.append((window, payload))
        answer = self.answers.pop(0) if self.answers else b""
        return answer + bytes(nbytes - len(answer))

    def upload(self, data):
        self.uploads.append(bytes(data))
        return SRAM_VA + 16 * WINDOW_BYTES, SRAM_VA + 16 * WINDOW_BYTES + 0x1FFFC, 0x51000001

    def upload_consumed(self):
        self.consumed.append(len(self.submissions))

    def bulk_in(self, to, data):
        self.bulk.append(("in", to, bytes(data)))

    def bulk_out(self, data, source):
        self.bulk.append(("out", source, len(data)))
        data[:] = bytes([7]) * len(data)

    def reached(self, sequence):
        return True

    def compile(self, specs):
        self.compiled.append([symbol for _, symbol, _ in specs])
        good = [symbol for _, symbol, _ in specs if symbol not in self.broken]
        images = [Image(bytes(range(256)) * len(good), {s: Descriptor(256 * i) for i, s in enumerate(good)})] if good else []
        return images, {symbol: self.broken[symbol] for _, symbol, _ in specs if symbol in self.broken}

    def raise_fault(self, status):
        self.faults.append(status)
        raise RuntimeError(f"fault {status:#x}")


HEAP = 0x2000_0400_0000
CONFIG = {
    "name": "test", "arch": "gfx1100", "compute_units": 96, "heap_begin": HEAP, "heap_end": HEAP + (1 << 30),
    "error_block": HEAP - 4096, "fence": SRAM_VA + 0x80800, "release": SRAM_VA + 0x8100C, "readback": SRAM_VA,
    "readback_bytes": 128 * 1024, "window_bytes": WINDOW_BYTES, "largest_upload": 128 * 1024 - 4,
    "fault_status_register": 0x2828, "rsrc1_set": 1 << 20, "scratch": HEAP - (32 << 20), "scratch_bytes": 24 << 20,
    "shader_engines": 6, "scratch_waves": 512, "wavesize_field_bits": 15,
}


@pytest.fixture
def road():
    return KeepingRoad()


@pytest.fixture
def stream(road):
    return _runtime.StreamDevice(road, CONFIG)
