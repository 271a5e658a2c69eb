"""How fast the link is, and how fast it should be.

Where the handle has a clock of its own (`modelled_seconds`), that one counts: its transfers take no real time.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..usb.stats import BULK_RATES

MB = 1e6
ENOUGH = 0.5            # of what is expected; hosts differ, a bad cable or hub costs more
SRAM_BYTES = 512 << 10
# Bytes of single packets where they come as streams, and where each is made by hand; bytes and number of copies where
# the GPU releases read-backs, and where the host fetches them. Well under a second each.
PIO_BYTES = {True: 32 << 10, False: 1 << 10}
COPIES = {True: (4 << 20, 3), False: (256 << 10, 1)}
# What the SRAM engine can be given, by the link in Gb/s: measured at 10 Gb/s; else what is left of the line rate after
# its coding and protocol (inferred).
SRAM_RATES = {10.0: BULK_RATES["sram_out"], 5.0: 400e6, 0.48: 40e6}
# The slowest pipelined copy that was measured anywhere, on a telephone's processor: tinygrad pull request 17628.
COPY_IN_RATE = 276e6


@dataclass(frozen=True)
class Rate:
    """Bytes per second. `expected`: None where nobody has measured it."""

    name: str
    measured: float
    expected: float | None

    @property
    def enough(self) -> bool:
        return self.expected is None or self.measured >= ENOUGH * self.expected

    def __str__(self) -> str:
        return f"{self.name} {shown(self.measured)}"

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "mb_per_s": round(self.measured / MB, 4),
                "expected_mb_per_s": self.expected and self.expected / MB, "enough": self.enough}


def shown(rate: float) -> str:
    if rate < MB / 10:
        return f"{rate / 1e3:.1f} kB/s"
    return f"{rate / MB:.1f} MB/s" if rate < 10 * MB else f"{rate / MB:.0f} MB/s"


def clock_of(handle) -> Callable[[], float]:
    if isinstance(getattr(handle, "modelled_seconds", None), float):
        return lambda: handle.modelled_seconds
    return time.perf_counter


def _rate(clock: Callable[[], float], nbytes: int, action: Callable[[], Any], times: int = 3) -> float:
    """The best of some tries: the first may warm something up."""
    best = float("inf")
    for _ in range(times):
        start = clock()
        action()
        best = min(best, clock() - start)
    return nbytes / max(best, 1e-9)


def measure_sram(adapter, gbps: float | None, fast: bool) -> Rate:
    """Host to SRAM. Before the GPU runs: afterwards its ring looks for commands there."""
    return Rate("SRAM write", _rate(clock_of(adapter.handle), SRAM_BYTES, adapter.sram_clear),
                SRAM_RATES.get(gbps or 10.0) if fast else None)


def measure_device(device, gbps: float | None, fast: bool) -> list[Rate]:
    """Single PCIe packets to VRAM and back, and whole copies. Checks that the bytes come back.

    Args:
        gbps: of the USB link, None where nobody tells.
        fast: the dock runs the open firmware; of others nobody has measured what to expect.

    Raises:
        ValueError: they did not; says where.
    """
    clock, gpu = clock_of(device.handle), device.gpu
    pio_bytes, (copy_bytes, times) = PIO_BYTES[device.adapter.can_stream], COPIES[device.adapter.can_arm_reads]
    data = np.random.default_rng(0x2464).integers(0, 256, copy_bytes, dtype=np.uint8)
    back = np.empty_like(data)
    block = device.alloc(copy_bytes)
    try:
        paddr = block - gpu.memory.vram_va(0)
        small, read = data[:pio_bytes].tobytes(), []
        rates = [
            Rate("PIO write", _rate(clock, pio_bytes, lambda: gpu.vram_write(paddr, small), 1),
                 BULK_RATES["pcie_stream_write"] if fast else None),
            Rate("PIO read", _rate(clock, pio_bytes, lambda: read.append(gpu.vram_read(paddr, pio_bytes)), 1),
                 BULK_RATES["pcie_stream_read"] if fast else None),
        ]
        _compare("PIO", data[:pio_bytes], np.frombuffer(read[-1], np.uint8))

        def copy_in() -> None:
            device.copy_in(block, data)
            device.synchronize()

        expected = COPY_IN_RATE if fast and (gbps is None or gbps >= 10) else None
        rates.append(Rate("copy to the GPU", _rate(clock, copy_bytes, copy_in, times), expected))
        rates.append(Rate("copy from the GPU",
                          _rate(clock, copy_bytes, lambda: device.copy_out(back, block), times), None))
        _compare("copy", data, back)
    finally:
        device.free(block)
    return rates


def _compare(what: str, sent: np.ndarray, got: np.ndarray) -> None:
    wrong = np.flatnonzero(sent != got)
    if wrong.size:
        first = int(wrong[0])
        raise ValueError(f"{wrong.size} of {sent.size} bytes of a {what} came back changed, the first at offset "
                         f"{first:#x}: {int(got[first]):#04x} in place of {int(sent[first]):#04x}")
