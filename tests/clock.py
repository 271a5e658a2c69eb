"""Lets the driver's time pass faster than ours, so that its long time-outs can be waited for in tests.

Only what the driver's modules read and sleep by themselves is faster; time-outs that they hand to USB transfers are not.
"""
from __future__ import annotations

import sys
import time

LAYERS = tuple(f"torch_usbgpu.{layer}." for layer in ("usb", "pcie", "amdgpu", "runtime"))
EMULATOR_SIDE = ("torch_usbgpu.usb.emulated",)


class Clock:
    """In place of the module `time`."""

    def __init__(self, speed: float) -> None:
        self.speed, self._start = speed, time.monotonic()

    def monotonic(self) -> float:
        return self._start + (time.monotonic() - self._start) * self.speed

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / self.speed)

    def __getattr__(self, name: str):
        return getattr(time, name)


def hurry(monkeypatch, speed: float) -> Clock:
    clock = Clock(speed)
    for name, module in list(sys.modules.items()):
        if name.startswith(LAYERS) and name not in EMULATOR_SIDE and getattr(module, "time", None) is time:
            monkeypatch.setattr(module, "time", clock)
    return clock
