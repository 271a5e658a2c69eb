"""Bulk copies through the SDMA engine, with the whole SRAM as staging space.

They run while the compute queue is idle, because they overwrite its windows.

In: two windows of 256 KiB, used in turn. The engine's program for all chunks is written first: per
chunk it polls the sentinel at the chunk's end, copies to VRAM, and stores a sequence number to the
fence. The host sends chunk n while the engine drains chunk n-1; the fence says that n-2 has left
the window.

Out: up to 512 KiB a time from slot 0: arm F2 IN, doorbell, bulk IN, which the engine's last store
releases. The programs of all chunks are written together; one doorbell each lets them go one by one.
"""
from __future__ import annotations

import json
import logging
import struct
import time
from collections import deque
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch_usbgpu.errors import GpuHang, LinkError
from torch_usbgpu.usb.facts import FACTS

from .again import TRIES, Missing, attempt, is_transient

if TYPE_CHECKING:
    from torch_usbgpu.usb.pending import Pending

    from .queue import Road

log = logging.getLogger(__name__)

CHUNK_IN_WINDOW = 256 * 1024
SECTOR = FACTS["sram"]["sector_bytes"]
CHUNK_IN = CHUNK_IN_WINDOW - SECTOR    # payload; the last sector holds the sentinel
CHUNK_OUT = 512 * 1024
SENTINEL = 0x51000000                  # of data; the low 24 bits vary
TRANSFER_SECONDS = 12.0                # longer than the transfers' own time-out, which is to end them
SLOTS_PER_WINDOW = 16
POLL_INTERVAL = 0x0FFF0004             # retry for ever, every 4 ticks
FENCE_UNCACHED = 3 << 16               # mtype UC


@lru_cache(maxsize=1)
def opcodes() -> dict[str, int]:
    return json.loads((Path(__file__).parents[1] / "amdgpu" / "asic" / "enums.json").read_text())["sdma_op"]


def poll_equal(address: int, value: int) -> bytes:
    header = opcodes()["POLL_REGMEM"] | 3 << 28 | 1 << 31
    return struct.pack("<6I", header, address & 0xFFFFFFFF, address >> 32, value, 0xFFFFFFFF, POLL_INTERVAL)


def copy_linear(to: int, source: int, nbytes: int) -> bytes:
    return struct.pack("<7I", opcodes()["COPY"], nbytes - 1, 0, source & 0xFFFFFFFF, source >> 32,
                       to & 0xFFFFFFFF, to >> 32)


def fence(address: int, value: int) -> bytes:
    return struct.pack("<4I", opcodes()["FENCE"] | FENCE_UNCACHED, address & 0xFFFFFFFF, address >> 32, value)


class SdmaRing:
    """Places packets in the SDMA ring; a packet never straddles its end (zeros are NOPs)."""

    def __init__(self, queue):
        self.queue = queue
        self.wptr = self.rung = 0           # bytes, monotonic: written, and handed to the engine

    def ring(self, end: int) -> None:
        """Hand over what was placed before `end`."""
        self.rung = end
        self.queue.ring_doorbell(end)

    def settle(self, seconds: float) -> None:
        """After a copy was cut short: what was not handed over is forgotten, the rest comes to its end.

        Raises:
            GpuHang: it does not; it waits for data that will not come any more.
        """
        deadline = time.monotonic() + seconds
        if self.rung:
            self.ring(self.rung)        # it may not have left
        # (the engine counts in bytes; whether it ever wraps is not said anywhere)
        while ((reached := self.queue.read_rptr()) - self.rung) % self.queue.ring_bytes:
            if time.monotonic() > deadline:
                raise GpuHang(f"The copy engine did not finish within {seconds:g} s.", reached=reached, rung=self.rung)
            time.sleep(1e-3)
        self.wptr = self.rung

    def place(self, programs: list[bytes]) -> list[int]:
        """Writes the programs one behind the other; returns the write pointer after each.

        Together they must be shorter than half the ring, and the ring must be idle.
        """
        image, start, ends = bytearray(), self.wptr, []
        for program in programs:
            offset = (start + len(image)) % self.queue.ring_bytes
            if offset + len(program) > self.queue.ring_bytes:
                image += bytes(self.queue.ring_bytes - offset)
            image += program
            ends.append(start + len(image))
        first = start % self.queue.ring_bytes
        head = min(len(image), self.queue.ring_bytes - first)
        self.queue.write_ring(first, bytes(image[:head]))
        if head < len(image):
            self.queue.write_ring(0, bytes(image[head:]))
        self.wptr = start + len(image)
        return ends

    def room(self) -> int:
        return self.queue.ring_bytes // 2


def _batches(total: int, chunk: int, program_bytes: int, ring_room: int):
    """(first, last) ranges of chunk numbers whose programs fit into the ring together."""
    count = -(-total // chunk)
    most = max(1, ring_room // program_bytes)
    return [(first, min(first + most, count)) for first in range(0, count, most)]


class Chunk(NamedTuple):
    """A piece of a copy-in on its way through one window."""
    slot: int
    wire: int           # bytes on the cable: payload, fill, sentinel
    payload: memoryview
    sentinel: int
    sequence: int       # what the engine stores to the fence once it has left the window

    def image(self) -> bytearray:
        image = bytearray(self.wire)
        image[:self.payload.nbytes] = self.payload
        image[-4:] = self.sentinel.to_bytes(4, "little")
        return image


def _cut(road: "Road", source: memoryview, first: int, last: int) -> list[Chunk]:
    """Chunks `first`..`last` of a copy, each with a sentinel that its place cannot hold already."""
    chunks: list[Chunk] = []
    for number in range(first, last):
        payload = source[number * CHUNK_IN:(number + 1) * CHUNK_IN]
        slot = number % 2 * SLOTS_PER_WINDOW
        wire = -(-(payload.nbytes + 4) // SECTOR) * SECTOR
        if len(chunks) >= 2:     # the window will hold what its last chunk brought
            before = chunks[-2].image()[wire - 4:wire] if wire <= chunks[-2].wire else b""
            held = int.from_bytes(before, "little")
        else:
            held = road.shadow_dword(number % 2 * CHUNK_IN_WINDOW + wire - 4)
        sequence = road.next_sequence()
        sentinel = SENTINEL | sequence & 0xFFFFFF
        chunks.append(Chunk(slot, wire, payload, sentinel ^ (sentinel == held) << 23, sequence))
    return chunks


def _drain_program(road: "Road", chunk: Chunk, to: int) -> bytes:
    window = road.gpu.memory.sram_va + chunk.slot * (CHUNK_IN_WINDOW // SLOTS_PER_WINDOW)
    return (poll_equal(window + chunk.wire - 4, chunk.sentinel) + copy_linear(to, window, chunk.payload.nbytes)
            + fence(road.fence_address, chunk.sequence))


def _place(road: "Road", programs: list[bytes]) -> list[int]:
    """SdmaRing.place; what the engine was not told of may be written twice."""
    return attempt(road, lambda: road.sdma.place(programs), clear=True)


def _first_waiting(road: "Road", chunks: list[Chunk]) -> int:
    """Index of the first chunk that the engine has not drained."""
    return next((index for index, chunk in enumerate(chunks) if not road.reached(chunk.sequence)), len(chunks))


def _no_progress() -> bool:
    raise Missing("The copy engine waits for data that was sent to it.")


def _send(road: "Road", chunks: list[Chunk], start: int, on_wire: "deque[Pending]") -> None:
    """Keeps a bulk transfer on the wire: the next chunk is armed and staged, and the fence is read, meanwhile."""
    for index in range(start, len(chunks)):
        chunk = chunks[index]
        while len(on_wire) >= 2:  # the engine is only known to hold two armed transfers
            on_wire[0].wait(TRANSFER_SECONDS)
            on_wire.popleft()
        road.give_way()
        with road.adapter.lock:     # no other thread's packet between an arm and its data
            arm = road.adapter.submit_sram_arm_out(chunk.slot, chunk.wire)
            image = chunk.image()
            arm.wait(TRANSFER_SECONDS)
            if index >= 2:      # the window's last chunk has been drained
                road.wait_for(chunks[index - 2].sequence, _no_progress)
            road.note(chunk.slot, image)
            on_wire.append(road.adapter.submit_sram_data(image))
    for pending in on_wire:
        pending.wait(TRANSFER_SECONDS)
    road.wait_for(chunks[-1].sequence, _no_progress)


def _send_all(road: "Road", chunks: list[Chunk]) -> None:
    """All chunks; when a transfer went wrong or nothing moves, again from the first that has not been drained.

    Nothing changes if that one is there already.
    """
    start, tries = 0, TRIES
    while True:
        on_wire: deque[Pending] = deque()
        try:
            return _send(road, chunks, start, on_wire)
        except LinkError as error:
            tries -= 1
            if road.failure is not None or not is_transient(error):
                raise
            if tries <= 0:
                if isinstance(error, Missing):
                    road.fail_without_arrival()
                raise
            for pending in on_wire:     # endpoints are cleared when nothing is on them any more
                try:
                    pending.wait(TRANSFER_SECONDS)
                except (LinkError, TimeoutError) as second:
                    log.debug("another transfer in flight: %s", second)
            road.adapter.recover()
            reached = _first_waiting(road, chunks)
            if reached > start:
                start, tries = reached, TRIES
            attempt(road, lambda: road.sdma.ring(road.sdma.rung))


def copy_in(road: "Road", to: int, data: memoryview) -> None:
    """Host memory -> VRAM at GPU address `to`. Returns when the data is there."""
    road.wait_for(road.sequence)
    source = data.cast("B")
    program_bytes = len(poll_equal(0, 0)) + len(copy_linear(0, 0, 1)) + len(fence(0, 0))
    for first, last in _batches(source.nbytes, CHUNK_IN, program_bytes, road.sdma.room()):
        chunks = _cut(road, source, first, last)
        programs = [_drain_program(road, chunk, to + number * CHUNK_IN) for number, chunk in enumerate(chunks, first)]
        end = _place(road, programs)[-1]
        attempt(road, lambda: road.sdma.ring(end))
        _send_all(road, chunks)


def copy_out(road: "Road", data: memoryview, source: int) -> None:
    """VRAM at GPU address `source` -> host memory."""
    road.wait_for(road.sequence)
    target = data.cast("B")
    program_bytes = len(copy_linear(0, 0, 1)) + 2 * len(fence(0, 0))
    for first, last in _batches(target.nbytes, CHUNK_OUT, program_bytes, road.sdma.room()):
        start, tries = first, TRIES
        while start < last:
            programs, sequences = [], []
            for number in range(start, last):
                nbytes = min(CHUNK_OUT, target.nbytes - number * CHUNK_OUT)
                sequences.append(road.next_sequence())
                programs.append(copy_linear(road.gpu.memory.sram_va, source + number * CHUNK_OUT, nbytes)
                                + fence(road.fence_address, sequences[-1]) + fence(road.release_address, 0))
            ends = _place(road, programs)
            begun = start
            try:
                for end, sequence in zip(ends, sequences):
                    piece = target[start * CHUNK_OUT:(start + 1) * CHUNK_OUT]
                    wire = -(-piece.nbytes // SECTOR) * SECTOR
                    piece[:] = _receive_chunk(road, end, wire, sequence)[:piece.nbytes]
                    road.done = sequence
                    start += 1
                if road.fence_byte() != sequences[-1] & 0xFF:
                    # Writes over PCIe are not answered: had these been lost, an old program would have run.
                    start = begun
                    raise LinkError("The copy engine ran something else than it was given.")
                tries = TRIES
            except LinkError as error:
                tries -= 1
                if tries <= 0 or road.failure is not None or not is_transient(error):
                    raise
                log.warning("a copy from the GPU is repeated from byte %d on: %s", start * CHUNK_OUT, error.found)
                _forget_chunk(road)


def _receive_chunk(road: "Road", end: int, wire: int, sequence: int) -> bytes:
    """What the engine's program up to `end`, which stores `sequence`, puts into the SRAM and releases."""
    road.give_way()
    attempt(road, lambda: road.adapter.sram_arm_in(wire), clear=True)
    road.sdma.ring(end)
    return road.receive(wire, sequence)


def _forget_chunk(road: "Road") -> None:
    """After a failed transfer: the engine idle, nothing armed. Programs that it was not given are dropped."""
    # first the engine, so that what it releases is still armed
    attempt(road, lambda: road.sdma.ring(road.sdma.rung))
    attempt(road, lambda: road.sdma.settle(min(TRANSFER_SECONDS, road.patience())))
    road.adapter.recover()
    road.done = road.sequence


def read_sram(road: "Road", nbytes: int) -> bytes:
    """What lies in the adapter's SRAM from slot 0 on; both engines are idle."""
    for left in reversed(range(TRIES)):
        sequence = road.next_sequence()
        end, = _place(road, [fence(road.fence_address, sequence) + fence(road.release_address, 0)])
        try:
            data = _receive_chunk(road, end, nbytes, sequence)
            road.done = sequence
            return data
        except LinkError as error:
            if left == 0 or road.failure is not None or not is_transient(error):
                raise
            _forget_chunk(road)
    raise AssertionError("unreachable")


def prove(road: "Road") -> None:
    """The copy engine stores a number, and the host sees it."""
    sequence = road.next_sequence()
    end, = _place(road, [fence(road.fence_address, sequence)])
    road.sdma.ring(end)
    road.wait_for(sequence, lambda: False)
