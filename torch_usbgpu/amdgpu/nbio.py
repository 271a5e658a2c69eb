"""NBIO: the GPU's bus interface. Doorbell routing and fatal-error flags.

Sources: Linux nbio_v4_3.c, nbif_v6_3_1.c, soc21.c; tinygrad AM_SOC.
"""
from __future__ import annotations

from .facts import enum

SDMA_DOORBELL = enum("doorbell_index64")["SDMA_ENGINE0"]

# Routing entry -> what it serves: (awid, first doorbell in 32-bit slots, number of slots in units of the field).
# Entries 0 and 3 are Linux's constants for the graphics core; entry 2 is SDMA engine 0.
ROUTES = {0: (0x3, 0, 0), 3: (0x6, 0, 0), 2: (0xE, 2 * SDMA_DOORBELL, 4)}


class Nbio:
    def __init__(self, gpu) -> None:
        self._gpu = gpu

    def init(self) -> None:
        """Let doorbells in. Needed before anything is rung."""
        regs = self._gpu.regs
        regs.update("RCC_DEV0_EPF2_STRAP2", strap_no_soft_reset_dev0_f2=0)
        regs.write("RCC_DEV0_EPF0_RCC_DOORBELL_APER_EN", bif_doorbell_aper_en=1)

    def start(self) -> None:
        """Nothing: routes are opened by the blocks that use them."""

    def stop(self) -> None:
        """Nothing: doorbells without a queue go nowhere."""

    def route_doorbells(self, entry: int) -> None:
        """Program one routing entry, a key of ROUTES. On Navi 3x it lies past the end of BAR5."""
        awid, offset, size = ROUTES[entry]
        regs = self._gpu.regs
        name = f"S2A_DOORBELL_ENTRY_{entry}_CTRL"
        name = name if name in regs else f"GDC_S2A0_{name}"
        prefix = next(field for field in regs[name].fields if field.endswith("_enable")).removesuffix("_enable")
        prefix = prefix.removesuffix("_fence")
        regs.write(name, **{f"{prefix}_enable": 1, f"{prefix}_awid": awid, f"{prefix}_range_offset": offset,
                            f"{prefix}_range_size": size, f"{prefix}_awaddr_31_28_value": 3})

    def describe_fault(self) -> dict[str, str]:
        """Fatal hardware errors, empty if there are none."""
        name = "BIF_BX0_BIF_DOORBELL_INT_CNTL"
        register = self._gpu.regs[name]
        value = self._gpu.regs.read(name)
        if any(register.extract(value, field) for field in
               ("ras_cntlr_interrupt_status", "ras_athub_err_event_interrupt_status")):
            return {name: register.describe(value)}
        return {}
