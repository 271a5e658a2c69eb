"""A hardware queue as its user sees it: a ring in VRAM, two pointers, a doorbell."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .gpu import Gpu


@dataclass
class HardwareQueue:
    """The compute queue counts its pointers in dwords, the SDMA queue in bytes; neither ever wraps."""

    gpu: Gpu = field(repr=False)
    name: str
    ring_paddr: int
    ring_bytes: int
    rptr_paddr: int
    wptr_paddr: int
    doorbell_index: int      # of a 64-bit slot

    @property
    def ring_va(self) -> int:
        return self.gpu.memory.uncached_va(self.ring_paddr)

    @property
    def rptr_va(self) -> int:
        return self.gpu.memory.uncached_va(self.rptr_paddr)

    @property
    def wptr_va(self) -> int:
        return self.gpu.memory.uncached_va(self.wptr_paddr)

    @property
    def doorbell_address(self) -> int:
        """PCIe address of the doorbell."""
        return self.gpu.doorbell_base + 8 * self.doorbell_index

    def write_ring(self, byte_offset: int, data: bytes | bytearray | memoryview) -> None:
        """Put packets at an offset of the ring (no wrapping here). No flush is needed before the doorbell:
        all writes are posted packets of one requester, in order."""
        if not 0 <= byte_offset <= self.ring_bytes - len(data):
            raise ValueError(f"{len(data)} bytes at {byte_offset:#x} do not lie in the {self.name} ring")
        self.gpu.vram_write(self.ring_paddr + byte_offset, data)

    def set_wptr_memory(self, wptr: int) -> None:
        """The write pointer's copy in memory, which the engine polls when it has missed a doorbell."""
        self.gpu.vram_write(self.wptr_paddr, wptr.to_bytes(8, "little"))

    def ring_doorbell(self, wptr: int) -> None:
        """Hand everything up to `wptr` to the engine. One control transfer while it fits into 32 bits."""
        adapter = self.gpu.adapter
        if wptr >> 32 and (wptr >> 32) != self._doorbell_high:
            # The doorbell's upper half first: the engine acts on the lower one.
            adapter.write32(self.doorbell_address + 4, wptr >> 32)
        self._doorbell_high = wptr >> 32
        adapter.write32(self.doorbell_address, wptr & 0xFFFF_FFFF)

    _doorbell_high: int = field(default=0, init=False, repr=False)

    def read_rptr(self) -> int:
        """How far the engine has got, as it last reported."""
        return int.from_bytes(self.gpu.vram_read(self.rptr_paddr, 8), "little")

    def clear_pointers(self) -> None:
        """Zero both pointers' copies in memory; for the moment before the queue is (re-)created."""
        for paddr in (self.rptr_paddr, self.wptr_paddr):
            self.gpu.vram_write(paddr, bytes(8))
        self._doorbell_high = 0
