"""Reset a card that no process uses, and leave it cold: for `usbgpu reset`.

A process that has the card resets it by torch.usbgpu.reset(), which starts lower and can keep the memory's content.
"""
from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BootError, DeviceLost, LinkError
from . import boot
from .registers import Registers

if TYPE_CHECKING:
    from .gpu import Gpu

log = logging.getLogger(__name__)

NOTHING, MODE1, POWER_CYCLE = "nothing", "mode-1 reset", "power cycle"
LOST = {NOTHING: "nothing", MODE1: "all of VRAM", POWER_CYCLE: "all of VRAM"}


@dataclass(frozen=True)
class CardReset:
    """`means`: what was done. `first_error`: why a milder means was not enough."""

    means: str
    lost: str
    seconds: float
    first_error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def reset_card(gpu: Gpu, power_cycle: bool = False) -> CardReset:
    """By mode-1 reset if the card runs, by its power if that does not help or is asked for.

    Raises:
        UsbGpuError: it does not come back.
    """
    started, first_error = time.monotonic(), None
    with gpu.lock:
        means = None if power_cycle else NOTHING
        if not power_cycle:
            try:
                means = _by_smu(gpu)
            except DeviceLost:
                raise
            except (BootError, LinkError) as error:
                log.info("no mode-1 reset, so the card's power is switched: %s", error.found)
                first_error, means = error.found, None
        if means is None:
            means = POWER_CYCLE
            gpu.adapter.power_cycle()
            boot.do(gpu, boot.find_gpu)
            gpu.regs = Registers(gpu.adapter, gpu.pci.bars[5].address, gpu.pci.bars[5].size)
            for step in (boot.await_board_firmware_again, boot.read_vram_size):
                boot.do(gpu, step)
    return CardReset(means, LOST[means], round(time.monotonic() - started, 3), first_error)


def _by_smu(gpu: Gpu) -> str:
    for step in boot.FIND:
        boot.do(gpu, step)
    if not gpu.psp.is_alive():
        return NOTHING
    if not gpu.smu.is_alive():
        raise BootError("The security processor runs, but the power controller does not answer.")
    boot.do(gpu, boot.mode1_reset)
    return MODE1
