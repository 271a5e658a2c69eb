"""Statistics by kernel: the host knows names and launches, a USB handle may know what the device did.

A handle that measures its device offers `launch_statistics()`: {entry address of a kernel: {figure: value}},
counted since the handle was made. libusb's does not; then every figure is None.
"""
from __future__ import annotations

from typing import Any

# Figures of one kernel, summed over its launches. docs/emulator-isa.md, 'Counters', says what each counts.
FIGURES = (
    "waves", "workgroups", "instructions", "salu", "valu", "vopd", "wmma", "trans", "vmem_load", "vmem_store", "smem",
    "lds", "branch", "other", "barriers", "valu_f64", "active_lanes", "bytes_loaded", "bytes_stored", "scalar_bytes",
    "lds_passes", "segments_32", "segments_64", "segments_128", "lines_touched", "lds_cycles", "lds_conflicts",
    "waves_per_simd", "issue_seconds", "lds_seconds", "l0_seconds", "vram_seconds", "modelled_seconds",
)
LATEST = {"waves_per_simd"}  # of the latest launch, no sum


class KernelStats:
    """Joins the launches of a stream with the figures of a handle.

    Args:
        stream: has `kernel_launches() -> [(symbol, entry address, launches so far)]`.
        handle: a USB handle.
        from_the_start: count everything since the handle was made, not only what follows.
    """

    def __init__(self, stream: Any, handle: Any, from_the_start: bool = False):
        self._stream, self.handle = stream, handle
        self._launches: dict[tuple[str, int], int] = {}
        self._figures: dict[int, dict[str, float]] = {}
        if not from_the_start:
            self.reset()

    def reset(self) -> None:
        self._launches = {(symbol, entry): count for symbol, entry, count in self._stream.kernel_launches()}
        self._figures = self._measured()

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """{kernel name: {"launches": n, figure: value or None}}. Kernels of one name are summed."""
        measured = self._measured()
        stats: dict[str, dict[str, Any]] = {}
        for symbol, entry, count in self._stream.kernel_launches():
            # a kernel that was not compiled at the reset had no entry address yet
            launches = count - self._launches.get((symbol, entry), self._launches.get((symbol, 0), 0))
            if launches == 0:
                continue
            row = stats.setdefault(symbol, {"launches": 0, **dict.fromkeys(FIGURES)})
            row["launches"] += launches
            now, before = measured.get(entry, {}), self._figures.get(entry, {})
            for name in FIGURES:
                if name not in now:
                    continue
                if name in LATEST:
                    row[name] = now[name]
                else:
                    row[name] = (row[name] or 0) + now[name] - before.get(name, 0)
        return stats

    def _measured(self) -> dict[int, dict[str, float]]:
        statistics = getattr(self.handle, "launch_statistics", None)
        return statistics() if statistics is not None else {}
