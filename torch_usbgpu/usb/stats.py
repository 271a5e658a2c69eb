"""What crossed the cable: counters by request, and a yardstick for comparing designs.

`modelled_seconds` is a convention, not a measurement: every control transfer costs 60 us and every
bulk transfer 30 us plus its bytes at the rate of the path it takes, summed serially. It is the same
on real and on emulated hardware, so that two designs can be compared on a machine without a GPU.
"""
from __future__ import annotations

from collections import Counter

CONTROL_SECONDS = 60e-6
BULK_SECONDS = 30e-6
# Bytes per second. PIO: the adapter's 8051 emits one 4-byte TLP at a time; sram: its DMA engine.
BULK_RATES = {"pcie_stream_write": 3.6e6, "pcie_stream_read": 1.8e6, "sram_out": 700e6, "sram_in": 700e6}

OUT_PATHS = {"pcie_stream_write", "sram_out", "scsi_out"}

COUNTERS = ("control_out", "control_in", "bulk_out", "bulk_in", "bytes_out", "bytes_in",
            "launches", "submissions", "errors", "retries")


class LinkStats:
    """Counters of one adapter. The adapter counts transfers; the runtime adds launches and submissions."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.control_out = self.control_in = self.bulk_out = self.bulk_in = 0
        self.bytes_out = self.bytes_in = 0
        self.launches = self.submissions = self.errors = self.retries = 0
        self.modelled_seconds = 0.0
        self.by_request: Counter[str] = Counter()

    @property
    def transfers(self) -> int:
        return self.control_out + self.control_in + self.bulk_out + self.bulk_in

    def count_control(self, request: str, *, out: int = 0, into: int = 0, reads: bool = False) -> None:
        """One control transfer. `out` and `into` are bytes of its data stage."""
        if reads:
            self.control_in += 1
        else:
            self.control_out += 1
        self.bytes_out += out
        self.bytes_in += into
        self.by_request[request] += 1
        self.modelled_seconds += CONTROL_SECONDS

    def count_bulk(self, path: str, nbytes: int) -> None:
        """One bulk transfer of `nbytes` over `path`: a key of BULK_RATES, "drain" (the link is being cleared), or
        "scsi_out" and "scsi_in" (a wrapper or data of a mass-storage command; the convention has no rate for it)."""
        if path in OUT_PATHS:
            self.bulk_out += 1
            self.bytes_out += nbytes
        else:
            self.bulk_in += 1
            self.bytes_in += nbytes
        self.by_request[f"bulk_{path}"] += 1
        self.modelled_seconds += BULK_SECONDS + (nbytes / BULK_RATES[path] if path in BULK_RATES else 0.0)

    def snapshot(self) -> dict:
        """A plain dictionary of everything, safe to keep."""
        values: dict = {name: getattr(self, name) for name in COUNTERS}
        values["by_request"] = dict(self.by_request)
        values["modelled_seconds"] = self.modelled_seconds
        return values
