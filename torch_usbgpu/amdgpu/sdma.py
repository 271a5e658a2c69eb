"""SDMA: the copy engine. Engine 0, queue 0 is used.

Sources: Linux sdma_v6_0.c, sdma_v7_0.c; tinygrad AM_SDMA.
"""
from __future__ import annotations

import time

from . import layout
from .facts import enum
from .layout import PLACES
from .queue import HardwareQueue

DOORBELL = enum("doorbell_index64")["SDMA_ENGINE0"]
DOORBELL_ROUTE = 2
HANG_COUNT = 100                     # x 100 ms
SOFT_RESET_SECONDS = 0.01


class Sdma:
    def __init__(self, gpu) -> None:
        self._gpu = gpu
        self._is_gfx12 = gpu.memory.family == "gfx12"

    # ---- verbs
    def init(self) -> None:
        """Let doorbells reach the engine."""
        self._gpu.nbio.route_doorbells(DOORBELL_ROUTE)

    def start(self) -> None:
        """Engine settings and release from halt."""
        regs = self._gpu.regs
        regs.update("SDMA0_WATCHDOG_CNTL", queue_hang_count=HANG_COUNT)
        regs.update("SDMA0_UTCL1_CNTL", resp_mode=3, redo_delay=9)
        # Reads do not allocate in L2, writes bypass it: what is copied is not what is computed on next.
        policy = {"rd_l2_policy": 2, "wr_l2_policy": 3}
        if not self._is_gfx12:
            policy["llc_noalloc"] = 1
        regs.update("SDMA0_UTCL1_PAGE", **policy)
        if self._is_gfx12:
            regs.update("SDMA0_MCU_CNTL", halt=0, reset=0)
        else:
            regs.update("SDMA0_F32_CNTL", halt=0, th1_reset=0)
        regs.update("SDMA0_CNTL", trap_enable=1)

    def stop(self) -> None:
        """Take the queue off and reset the engine, so that it is not stuck in a wait."""
        regs = self._gpu.regs
        regs.update("SDMA0_QUEUE0_RB_CNTL", rb_enable=0)
        regs.update("SDMA0_QUEUE0_IB_CNTL", ib_enable=0)
        regs.write("SDMA0_QUEUE0_DOORBELL", 0)
        regs.write("SDMA0_QUEUE0_DOORBELL_OFFSET", 0)
        regs.write("GRBM_SOFT_RESET", soft_reset_sdma0=1)
        time.sleep(SOFT_RESET_SECONDS)
        regs.write("GRBM_SOFT_RESET", 0)

    def describe_fault(self) -> dict[str, str]:
        return self._gpu.regs.snapshot(["SDMA0_STATUS_REG", "SDMA0_QUEUE0_CONTEXT_STATUS", "SDMA0_QUEUE0_RB_RPTR",
                                        "SDMA0_QUEUE0_RB_WPTR"])

    # ---- the queue
    def create_queue(self) -> HardwareQueue:
        gpu, regs = self._gpu, self._gpu.regs
        queue = HardwareQueue(gpu, "SDMA", PLACES["sdma_ring"], layout.SDMA_RING_BYTES,
                              PLACES["queue_pointers"] + layout.SDMA_RPTR,
                              PLACES["queue_pointers"] + layout.SDMA_WPTR, DOORBELL)
        queue.clear_pointers()
        gpu.memory.flush_hdp()
        prefix = "SDMA0_QUEUE0_"
        base = queue.ring_va >> 8
        regs.write(f"{prefix}MINOR_PTR_UPDATE", 1)
        regs.write_set({f"{prefix}{name}": value for name, value in {
            "RB_BASE": base & 0xFFFF_FFFF, "RB_BASE_HI": base >> 32,
            "RB_RPTR": 0, "RB_RPTR_HI": 0, "RB_WPTR": 0, "RB_WPTR_HI": 0,
            "RB_RPTR_ADDR_LO": queue.rptr_va & 0xFFFF_FFFF, "RB_RPTR_ADDR_HI": queue.rptr_va >> 32,
            "RB_WPTR_POLL_ADDR_LO": queue.wptr_va & 0xFFFF_FFFF, "RB_WPTR_POLL_ADDR_HI": queue.wptr_va >> 32,
        }.items()})
        regs.write(f"{prefix}DOORBELL_OFFSET", offset=2 * queue.doorbell_index)
        regs.write(f"{prefix}DOORBELL", enable=1)
        regs.write(f"{prefix}MINOR_PTR_UPDATE", 0)
        engine = "mcu" if self._is_gfx12 else "f32"
        # No polling of the write pointer's copy in memory: it is not kept up to date, the doorbell carries the value
        # (Linux polls under virtualisation only; tinygrad polls and keeps the copy).
        regs.write(f"{prefix}RB_CNTL", rb_enable=1, rb_size=(queue.ring_bytes // 4).bit_length() - 1,
                   rptr_writeback_enable=1, rptr_writeback_timer=4, rb_priv=1, **{f"{engine}_wptr_poll_enable": 0})
        regs.update(f"{prefix}IB_CNTL", ib_enable=1)
        gpu.sdma_queue = queue
        return queue
