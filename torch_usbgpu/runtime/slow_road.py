"""The compute queue over a cable on which the GPU cannot release read-backs: legacy firmware, USB 2.

One thing at a time goes through a staging place, and the host waits for the fence instead of for a bulk transfer:

- a submission: the command window into the place, doorbell. The ring's entries all wait for that one window;
- host to VRAM: a piece into the place, the copy engine moves it on;
- VRAM to host: the copy engine (or the command stream) moves a piece to the out-place, the host fetches it.

Where the place is depends on what the adapter can do: in its SRAM, whose first 4 KiB the host sees as XDATA; or, when
the SRAM cannot be filled, in VRAM, written and read by PCIe packets.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torch_usbgpu import _runtime
from torch_usbgpu.amdgpu.layout import PLACES, size_of
from torch_usbgpu.usb.facts import FACTS

from . import copies
from .again import attempt
from .queue import COMMAND_SENTINEL, ENTRY_DWORDS, FENCE_OFFSET, FENCE_XDATA, SLOT_BYTES, Road, stops_if_cut_short

if TYPE_CHECKING:
    from torch_usbgpu.amdgpu import Gpu
    from torch_usbgpu.usb.bridge import Bridge

SRAM_WINDOW_BYTES = FACTS["sram"]["window_bytes"]
IN_SLOT = 1             # the first slot holds what goes out (and the marker that proves landing)
# A place that nobody looks at, next to the fence: streams end by a store that elsewhere releases a read-back.
NOWHERE_OFFSET = FENCE_OFFSET + 0x40


class Stage(Protocol):
    """The staging place: GPU addresses and sizes, and the host's way to it."""

    in_va: int
    in_bytes: int
    out_va: int
    out_bytes: int

    def put(self, data) -> None:
        """Fill the in-place from its start. The GPU sees it when this returns."""

    def get(self, nbytes: int) -> bytes:
        """What the GPU has put into the out-place, from its start."""


class SramStage:
    def __init__(self, adapter: Bridge, gpu: Gpu) -> None:
        self._adapter = adapter
        self.out_va, self.out_bytes = gpu.memory.sram_va, SRAM_WINDOW_BYTES
        self.in_va = gpu.memory.sram_va + IN_SLOT * SLOT_BYTES
        self.in_bytes = gpu.memory.sram_bytes - IN_SLOT * SLOT_BYTES

    def put(self, data) -> None:
        self._adapter.sram_write_landed(IN_SLOT, data)

    def get(self, nbytes: int) -> bytes:
        return self._adapter.read_xdata(FACTS["xdata"]["sram_window"], nbytes)


class VramStage:
    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._paddr = PLACES["vram_stage"]
        self.in_bytes = self.out_bytes = size_of("vram_stage") // 2
        # Uncached: what the GPU stores there is in VRAM when the fence says so, and what the host stores is seen.
        self.in_va = gpu.memory.uncached_va(self._paddr)
        self.out_va = self.in_va + self.in_bytes

    def put(self, data) -> None:
        self._gpu.vram_write(self._paddr, bytes(data) + bytes(-len(data) % 4))
        self._gpu.memory.flush_hdp()

    def get(self, nbytes: int) -> bytes:
        return self._gpu.vram_read(self._paddr + self.in_bytes, nbytes + 3 & ~3)[:nbytes]


class SlowRoad(Road):
    """What csrc/runtime/road.h asks of the cable, with one submission under way at most."""

    largest_upload = 0      # there are no data windows: everything that is not inline goes by bulk_in

    def __init__(self, adapter, gpu, compile_kernels) -> None:
        self.stage: Stage = SramStage(adapter, gpu) if adapter.has_sram else VramStage(gpu)
        super().__init__(adapter, gpu, compile_kernels)

    def start(self) -> None:
        """Writes the ring, sets the fence. Also after the queues were created anew."""
        self.entries = self.gpu.compute_queue.ring_bytes // (4 * ENTRY_DWORDS)
        self.entry = 0
        self._forget_transfers()
        self.sdma = copies.SdmaRing(self.gpu.sdma_queue)
        ring = [(self.stage.in_va, COMMAND_SENTINEL | i) for i in range(self.entries)]
        self.gpu.compute_queue.write_ring(0, _runtime.ring_image(ring, SLOT_BYTES, ENTRY_DWORDS))

    def _forget_transfers(self) -> None:
        self.failure = self.stop = None
        self.done = self.rung = self.sequence
        self.progress.clear(self.sequence)
        self.adapter.write_xdata(FENCE_XDATA, self.sequence.to_bytes(4, "little"))

    def missing(self) -> None:
        """Nothing ever is: what is put has landed, or putting it fails."""

    def _put(self, data) -> None:
        attempt(self, lambda: self.stage.put(data), clear=True)

    def _get(self, nbytes: int) -> bytes:
        return attempt(self, lambda: self.stage.get(nbytes), clear=True)

    @property
    def release_address(self) -> int:
        return self.gpu.memory.submission_page_va + NOWHERE_OFFSET

    @property
    def readback_address(self) -> int:
        return self.stage.out_va

    @property
    def readback_bytes(self) -> int:
        return min(self.stage.out_bytes, SRAM_WINDOW_BYTES)

    # ---- csrc/runtime/road.h

    @stops_if_cut_short
    def acquire(self) -> tuple[int, int, int, int, int]:
        """The one command window, once it is free."""
        self.refuse_if_failed()
        self.wait_for(self.sequence)
        return 0, self.stage.in_va, SLOT_BYTES, COMMAND_SENTINEL | self.entry % self.entries, self.next_sequence()

    @stops_if_cut_short
    def submit(self, window: int, payload: bytes) -> None:
        self._put(payload)
        self._ring_doorbell()

    @stops_if_cut_short
    def submit_and_read(self, window: int, payload: bytes, nbytes: int) -> bytes:
        self._put(payload)
        self._ring_doorbell()
        self.wait_for(self.sequence)
        return self._get(nbytes)

    def upload(self, data: memoryview) -> tuple[int, int, int]:
        raise NotImplementedError("nothing is uploaded on this road: largest_upload is 0")

    @stops_if_cut_short
    def bulk_in(self, to: int, data: memoryview) -> None:
        """Host memory -> VRAM, piece by piece."""
        self.refuse_if_failed()
        self.wait_for(self.sequence)
        source = data.cast("B")
        for at in range(0, source.nbytes, self.stage.in_bytes):
            piece = source[at:at + self.stage.in_bytes]
            self.give_way()
            self._put(piece)
            self._copy(to + at, self.stage.in_va, piece.nbytes)

    @stops_if_cut_short
    def bulk_out(self, data: memoryview, source: int) -> None:
        """VRAM -> host memory, piece by piece."""
        self.refuse_if_failed()
        self.wait_for(self.sequence)
        target = data.cast("B")
        for at in range(0, target.nbytes, self.stage.out_bytes):
            piece = target[at:at + self.stage.out_bytes]
            self.give_way()
            self._copy(self.stage.out_va, source + at, piece.nbytes)
            piece[:] = self._get(piece.nbytes)

    def _copy(self, to: int, source: int, nbytes: int) -> None:
        """One copy by the copy engine; the fence says when it is done."""
        sequence = self.next_sequence()
        program = copies.copy_linear(to, source, nbytes) + copies.fence(self.fence_address, sequence)
        end, = attempt(self, lambda: self.sdma.place([program]), clear=True)     # unseen before the doorbell
        attempt(self, lambda: self.sdma.ring(end))
        self.wait_for(sequence)
