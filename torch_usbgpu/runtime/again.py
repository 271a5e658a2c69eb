"""What the runtime does a second time by itself, because nothing can be lost by it.

A transfer that failed is repeated where the GPU cannot tell: windows are not looked at before their sentinel shows,
doorbells carry absolute values, and a read-back lies in the adapter's SRAM until the next one. A window that was
sent and never arrived (the adapter signals nothing when SRAM data lands) is found by the notes that the command
processor makes on its way (csrc/runtime/road.h, Progress).
"""
from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from torch_usbgpu.amdgpu.layout import COMPUTE_PROGRESS, PLACES
from torch_usbgpu.errors import LinkError, LinkTimeout

log = logging.getLogger(__name__)

TRIES, TRYING_SECONDS = 3, 5.0
NUDGE_SECONDS = 1.0         # without any progress, before the GPU's notes are looked at; a window lands within 1 ms
NUDGES = 3

Result = TypeVar("Result")


class Missing(LinkTimeout):
    """Users never see it: what is missing is sent again."""


def is_transient(error: Exception) -> bool:
    """May doing the same again help? Not when the adapter is gone or a trace does not match (subclasses of these)."""
    return type(error) in (LinkError, LinkTimeout, Missing)


def attempt(road, transfer: Callable[[], Result], *, clear: bool = False) -> Result:
    """Does something that may be done twice, up to TRIES times.

    Args:
        clear: bulk endpoints are in an unknown state after a failure, so they are cleared before the next try.

    Raises:
        LinkError: the first failure, when none of the tries helped within TRYING_SECONDS.
    """
    first: LinkError | None = None
    deadline = time.monotonic() + TRYING_SECONDS
    try:
        for _ in range(TRIES):
            try:
                if first is not None and clear:
                    road.adapter.recover()
                return transfer()
            except LinkError as error:
                if not is_transient(error):
                    raise error from first
                first = first or error
                road.give_way()
                road.adapter.stats.retries += 1
                log.info("done again: %s", error.found)
                if time.monotonic() > deadline:
                    break
        raise first
    finally:
        del first, transfer     # else the frame and the error's traceback hold each other


class Notes(NamedTuple):
    at: int             # a kernel's entry, or the address of the dword that is waited for
    sequence: int       # of the window that was begun last


class Progress:
    """The command processor's notes in VRAM."""

    _LAYOUT = struct.Struct("<QI")

    def __init__(self, gpu) -> None:
        self._gpu = gpu
        self._paddr = PLACES["queue_pointers"] + COMPUTE_PROGRESS

    @property
    def address(self) -> int:
        """Uncached, so that the host sees a note when it is made."""
        return self._gpu.memory.uncached_va(self._paddr)

    def clear(self, sequence: int) -> None:
        self._gpu.vram_write(self._paddr, self._LAYOUT.pack(0, sequence))
        self._gpu.memory.flush_hdp()

    def read(self) -> Notes:
        return Notes(*self._LAYOUT.unpack(self._gpu.vram_read(self._paddr, self._LAYOUT.size)))
