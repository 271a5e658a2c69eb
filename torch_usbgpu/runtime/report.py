"""What an open device says of itself: card, memory, clocks, power, link, queue. For `usbgpu smi` and torch.usbgpu.

Asked from any thread at any time. What needs the cable is asked for only if the cable can be had within a moment:
a report never waits for a kernel, and never touches a GPU that has stopped.
"""
from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SmuSilent, UsbGpuError
from .queue import FENCE_XDATA

if TYPE_CHECKING:
    from .device import Device

VISIT_SECONDS = 1.0        # how long to wait for the cable
SMU_SECONDS = 0.25         # a healthy SMU answers in microseconds
SILENCE_SECONDS = 30.0     # then an SMU that did not answer is asked again
STARTED = time.time()


def _program() -> str:
    """What people call this process: the script, or the package that `python -m` ran."""
    script = Path(sys.argv[0] if sys.argv else "")
    name = script.parent.name if script.name == "__main__.py" else script.name
    return name if name not in ("", "-c") else "python"


class Reporter:
    """Reports of one device, which it does not keep alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._quiet_until = 0.0

    def report(self, device: Device) -> dict[str, Any]:
        gpu, road = device.gpu, device.road
        memory = device.stream.memory_stats()
        told: dict[str, Any] = {
            "program": _program(),
            "running_s": round(time.time() - STARTED, 3),
            "device": device.label or type(device.handle).__name__,
            "serial": getattr(getattr(device, "opened", None), "serial", None),
            "card": gpu.name, "chip": gpu.chip_name, "arch": gpu.arch, "compute_units": gpu.compute_units,
            "vram": {"total": gpu.vram_bytes, "allocated": memory["allocated"], "reserved": memory["reserved"],
                     "limit": memory["total"]},
            "state": "failed" if road.failure else "running",
            "failure": str(road.failure.error) if road.failure else None,
        }
        told |= self._measured(device)
        told["transfers"] = {**device.link_stats(), "at_s": time.monotonic()}
        return told

    def _measured(self, device: Device) -> dict[str, Any]:
        """What the board and the cable have to be asked for."""
        nothing: dict[str, Any] = {"metrics": None, "power_limit_w": None, "link": None, "queue": self._queue(device)}
        if device.road.failure:
            return {**nothing, "missing": "the GPU has stopped and is left alone until it is reset"}
        with self._lock:       # one question at a time: each takes the GPU's only mailbox
            try:
                with device.gpu.visit(VISIT_SECONDS):
                    link = device.adapter.describe()
                    told = {**nothing, "missing": None, "link": link, "queue": self._queue(device, look=True)}
                    if not link["pcie_link_up"]:    # a stream read would now hang the dock
                        return {**told, "missing": "the PCIe link is down"}
                    if time.monotonic() < self._quiet_until:
                        return {**told, "missing": "the power controller does not answer"}
                    try:
                        told["metrics"] = device.gpu.smu.metrics(SMU_SECONDS).as_dict()
                        told["power_limit_w"] = device.gpu.smu.power_limit(SMU_SECONDS)
                    except SmuSilent as error:
                        self._quiet_until = time.monotonic() + SILENCE_SECONDS
                        told["missing"] = error.found
                    return told
            except TimeoutError:
                return {**nothing, "missing": "the cable is busy"}
            except UsbGpuError as error:
                return {**nothing, "missing": error.found}

    @staticmethod
    def _queue(device: Device, look: bool = False) -> dict[str, Any]:
        """Submissions handed out, and the last that is known to be done."""
        road = device.road
        submitted, reached = road.sequence, road.done
        if look:        # not road.poll_fence(): the road belongs to the thread that computes
            low = device.adapter.read_xdata(FENCE_XDATA, 1)[0]
            ahead = (low - reached) & 0xFF
            if ahead < 128:
                reached = (reached + ahead) & 0xFFFF_FFFF
        waiting = max((submitted - reached + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000, 0)
        return {"state": "stopped" if road.failure else "working" if waiting else "idle",
                "submitted": submitted, "reached": reached, "waiting": waiting}
