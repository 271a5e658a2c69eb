"""A look at a card that nobody uses: which it is, how it was left, what it measures. Nothing is started.

Bridges and BARs are set up if they are not, as every boot does first; power, firmware and queues are left as they are.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import UsbGpuError
from . import boot, layout

if TYPE_CHECKING:
    from .gpu import Gpu

SMU_SECONDS = 0.25
NO_LINK, COLD, IDLE, LEFT = "no link", "cold", "idle", "left running"
MEANING = {
    NO_LINK: "no card is seen: it has no power yet (a program that opens the dock switches it on), or none is there",
    COLD: "the card has not been started since it got its power",
    IDLE: "the card was left in order; the next program starts it within milliseconds",
    LEFT: "a program was torn away from the card, or another driver used it; the next one resets it",
}


def look(gpu: Gpu) -> dict[str, Any]:
    """The adapter must be started.

    Raises:
        UsbGpuError: the card cannot be read; the link is fine.
    """
    with gpu.lock:
        if not gpu.adapter.link_is_up():
            return {"state": NO_LINK}
        for step in boot.FIND[1:]:
            boot.do(gpu, step)
        told: dict[str, Any] = {
            "card": gpu.name, "chip": gpu.chip_name, "arch": gpu.arch, "compute_units": None, "metrics": None,
            "power_limit_w": None,
            "vram": {"total": gpu.vram_bytes, "allocated": None, "reserved": None, "limit": None}}
        if not gpu.psp.is_alive():
            return {**told, "state": COLD}
        units, mark, layout_version = gpu.regs.read_block("SCRATCH_REG5", 3)
        if layout_version != layout.LAYOUT_VERSION:
            # Not ours: its SMU knows another table's address, to which it must not be made to write.
            return {**told, "state": LEFT}
        told |= {"state": IDLE if mark == boot.CLEAN else LEFT, "compute_units": units}
        try:
            told["metrics"] = gpu.smu.metrics(SMU_SECONDS).as_dict()
            told["power_limit_w"] = gpu.smu.power_limit(SMU_SECONDS)
        except UsbGpuError as error:
            told["missing"] = error.found
        return told
