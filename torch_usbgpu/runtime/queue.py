"""The compute queue over the cable: submission windows, fences, read-backs.

The adapter's SRAM (512 KiB, which the GPU reads over PCIe as system memory) is laid out as

    slots  0..7    read-back area, 128 KiB (a read-back must start at slot 0)
    slots  8..15   eight command windows of 16 KiB
    slots 16..31   two data windows of 128 KiB

A submission is one command window, sent by one F2 transfer: packets from its front, kernel
arguments from its back, a sentinel in its last dword. The ring in VRAM was written once, at start:
entry i waits for window i mod 8 to show sentinel i, then runs the window as an indirect buffer.
Every window ends by storing its sequence number to the fence dword, which the host reads at XDATA
0xA800. A doorbell (one posted TLP) moves the ring's write pointer on by one entry.

A read-back arms the F2 IN engine after the window is on the wire and before the doorbell. The last
packet of the window releases it, so that waiting for the GPU and receiving are one bulk transfer.

Certainty: F2 windows, sentinel and release are what the one working driver does. That a compute
ring may run indirect buffers straight from SRAM is inferred.
"""
from __future__ import annotations

import functools
import logging
import os
import time
from dataclasses import dataclass
from typing import Callable, Sequence

import numpy as np

from torch_usbgpu import _runtime
from torch_usbgpu.errors import (ConfigError, DeviceLost, DeviceStopped, GpuFault, GpuHang, LinkError, LinkTimeout,
                                  UsbGpuError)
from torch_usbgpu.usb.facts import FACTS

from . import copies
from .again import NUDGE_SECONDS, NUDGES, Missing, Progress, attempt, is_transient

log = logging.getLogger(__name__)

SLOT_BYTES, SRAM_BYTES, SECTOR_BYTES = (FACTS["sram"][name] for name in ("slot_bytes", "bytes", "sector_bytes"))
READBACK_BYTES = 8 * SLOT_BYTES
WINDOW_SLOTS = range(8, 16)
DATA_SLOTS = (16, 24)
DATA_BYTES = 8 * SLOT_BYTES
ENTRY_DWORDS = 16           # of the ring; a power of two, so that entries never straddle its end
COMMAND_SENTINEL = 0x5B000000
# In the submission-queue page: the one place that the GPU may write while data streams. The host sees it in XDATA.
FENCE_OFFSET = FACTS["pcie_address"]["fence"] - FACTS["pcie_address"]["submission_queue"]
FENCE_XDATA = FACTS["xdata"]["fence"]
XDATA_SRAM, XDATA_SRAM_BYTES = FACTS["xdata"]["sram_window"], 4096    # slot 0's first part, where the host can look
RELEASE_OFFSET = FACTS["pcie_address"]["release"] - FACTS["pcie_address"]["completion_queue"]   # dword 3 of entry 0
LANDING_SECONDS = 0.5
SLICE_MS = 250              # how long to block before looking whether the GPU is still well


@dataclass
class Failure:
    """What stopped the device; everything fails with it until reset()."""
    error: UsbGpuError


def timeout_seconds() -> float:
    """How long the GPU may work on one submission before it counts as hung (USBGPU_TIMEOUT_S)."""
    text = os.environ.get("USBGPU_TIMEOUT_S") or "300"
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:     # also nan, with which nothing would ever count as late
        raise ConfigError(f"USBGPU_TIMEOUT_S={text!r} is not a number of seconds.", "Set it to a number, e.g. 300.")
    return seconds


def behind(sequence: int, reached: int) -> bool:
    """Is `reached` before `sequence`? Both count modulo 2**32."""
    return (reached - sequence) & 0x80000000 != 0


def stops_if_cut_short(method):
    """What ends between the transfers of one operation (an error that repeating did not help, Ctrl-C) leaves adapter
    and rings out of step. The next call would wait for something that was never sent, until its time-out: say at
    once what helps."""
    @functools.wraps(method)
    def guarded(self, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except UsbGpuError as error:
            if self.failure is None:
                self.failure = Failure(error)
            raise
        except BaseException as error:
            if self.failure is None:
                self.failure = Failure(LinkError(f"A transfer was interrupted ({type(error).__name__}).",
                                                 "Call torch.usbgpu.reset()."))
            raise
    return guarded


def stopped_earlier(first: UsbGpuError) -> UsbGpuError:
    """The first cause again, for whoever comes later."""
    action = "Call torch.usbgpu.reset()."
    if isinstance(first, DeviceStopped):
        action = first.action
    elif isinstance(first, DeviceLost):
        action = "Plug the dock in again, then call torch.usbgpu.reset()."
    later = type(first)(f"The device stopped earlier: {first.found}", action)
    later.__dict__.update({name: value for name, value in vars(first).items() if name in ("kernel", "address", "pc")})
    return later


class Road:
    """What csrc/runtime/road.h asks of the cable. One thread at a time: the stream device locks.

    Args:
        adapter: torch_usbgpu.usb.Adapter
        gpu: a booted torch_usbgpu.amdgpu.Gpu
        compile_kernels: torch_usbgpu.kernels.compile_kernels, or what takes its place in a test
    """

    def __init__(self, adapter, gpu,
                 compile_kernels: Callable[[str, Sequence[tuple[str, str, str]]], tuple[list, dict]]):
        self.adapter = adapter
        self.gpu = gpu
        self.compile_kernels = compile_kernels
        self.kernel_at: Callable[[int], str | None] = lambda pc: None
        self.failure: Failure | None = None
        self.stop: UsbGpuError | None = None        # somebody else wants the cable: what waits ends with this
        self.patience_s: float | None = None        # in place of USBGPU_TIMEOUT_S
        self.sequence = 0       # last handed out; never starts anew, because users keep them in events
        self.done = 0           # last seen at the fence
        self.progress = Progress(gpu)
        self.notes_seen = False     # the command processor's notes do reach the host
        self.start()

    # ---- start and restart

    def start(self) -> None:
        """Clears the SRAM, writes the ring, sets the fence. Also after the queues were created anew."""
        self.entries = self.gpu.compute_queue.ring_bytes // (4 * ENTRY_DWORDS)
        self.entry = 0          # entries handed to the ring so far
        self._forget_transfers()
        self.sdma = copies.SdmaRing(self.gpu.sdma_queue)
        ring = [(self.window_address(i % len(WINDOW_SLOTS)), COMMAND_SENTINEL | i) for i in range(self.entries)]
        self.gpu.compute_queue.write_ring(0, _runtime.ring_image(ring, SLOT_BYTES, ENTRY_DWORDS))

    def _forget_transfers(self) -> None:
        """Nothing is under way, nothing stale lies anywhere."""
        self.window_free_at = [self.sequence] * len(WINDOW_SLOTS)
        self.data_free_at = [self.sequence] * len(DATA_SLOTS)
        self.window_sent: list[tuple[int, bytes] | None] = [None] * len(WINDOW_SLOTS)
        self.data_sent: list[bytearray | None] = [None] * len(DATA_SLOTS)
        self.next_data = 0
        self.data_awaited: set[int] = set()      # whose consumers may still be to come
        self.failure = self.stop = None
        # What each byte of SRAM holds, so that stale content can never pass for a sentinel.
        self.shadow = np.full(SRAM_BYTES, 0xFF, np.uint8)
        self.send(0, bytes(SRAM_BYTES))
        self.wipe(WINDOW_SLOTS[0], SECTOR_BYTES)    # what lands last: nothing stale is left when it returns
        self.done = self.rung = self.sequence
        self.progress.clear(self.sequence)
        self.adapter.write_xdata(FENCE_XDATA, self.sequence.to_bytes(4, "little"))

    def finish(self, seconds: float) -> None:
        """Let the GPU finish what it was given, after an operation was cut short.

        Raises:
            GpuHang: it does not finish within `seconds`: something never reached it, or a kernel takes long.
        """
        self.stop, self.failure, self.patience_s = None, None, seconds
        self._ring(self.entry)
        self.wait_for(self.rung)
        self.sdma.settle(seconds)

    def resume(self) -> None:
        """Go on with the queues as they are, after finish() and after the adapter's endpoints were cleared."""
        self._forget_transfers()

    def prove(self) -> None:
        """Both queues do something, and the answer arrives."""
        copies.prove(self)

    def window_address(self, window: int) -> int:
        return self.gpu.memory.sram_va + WINDOW_SLOTS[window] * SLOT_BYTES

    @property
    def fence_address(self) -> int:
        return self.gpu.memory.submission_page_va + FENCE_OFFSET

    @property
    def release_address(self) -> int:
        return self.gpu.memory.completion_page_va + RELEASE_OFFSET

    # What streams are encoded for.
    window_bytes, readback_bytes, largest_upload = SLOT_BYTES, READBACK_BYTES, DATA_BYTES - 4

    @property
    def readback_address(self) -> int:
        return self.gpu.memory.sram_va

    # ---- SRAM

    def note(self, slot: int, data) -> None:
        """The SRAM is about to hold `data` from `slot` on."""
        flat = np.frombuffer(data, np.uint8)
        self.shadow[slot * SLOT_BYTES:][:flat.size] = flat

    def send(self, slot: int, data) -> None:
        """One F2 OUT of whole sectors to `slot`."""
        self.note(slot, data)
        attempt(self, lambda: self.adapter.sram_write(slot, data), clear=True)

    def wipe(self, slot: int, nbytes: int) -> None:
        """Zeroes that have landed: an old sentinel must be gone before the doorbell, not soon after it."""
        self.note(slot, bytes(nbytes))
        self.adapter.sram_write_landed(slot, bytes(nbytes))
        self.note(0, bytes(SECTOR_BYTES))           # the marker that proves it; sentinels end sectors

    def shadow_dword(self, at: int) -> int:
        return int(self.shadow[at:at + 4].view("<u4")[0])

    # ---- fences

    def next_sequence(self) -> int:
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        return self.sequence

    def fence_byte(self) -> int:
        return attempt(self, lambda: self.adapter.read_xdata(FENCE_XDATA, 1))[0]

    def poll_fence(self) -> int:
        """One control transfer. Returns the last sequence number known to be done.

        Only the lowest byte is read: the dock fetches bytes one by one while the GPU may store the next number, so more
        than one could belong to different numbers. It is enough, because never more than a few windows are under way.
        """
        low = self.fence_byte()
        ahead = (low - self.done) & 0xFF
        if ahead < 128:         # else: a read-back told us before its window stored the fence
            self.done = (self.done + ahead) & 0xFFFFFFFF
        return self.done

    def reached(self, sequence: int) -> bool:
        if self.failure is not None:
            raise stopped_earlier(self.failure.error) from self.failure.error
        return not behind(sequence, self.done) or not behind(sequence, self.poll_fence())

    def patience(self) -> float:
        return self.patience_s or timeout_seconds()

    def wait_for(self, sequence: int, send_again: Callable[[], bool] | None = None) -> None:
        """Blocks until the fence has reached `sequence`; the pause grows, because kernels are long.

        Args:
            send_again: sends what the GPU seems to miss, if anything; by default a command or data window.
        """
        if self.reached(sequence):
            return
        patience = self.patience()
        started = time.monotonic()
        pause, since_check, nudge_at, nudges = 0.0, started, started + NUDGE_SECONDS, 0
        while not self.reached(sequence):
            time.sleep(pause)
            pause = min(2 * pause + 20e-6, 5e-3)
            now = time.monotonic()
            if now - since_check > SLICE_MS / 1000:
                self.look_for_trouble(started, patience)
                since_check = time.monotonic()
            if now > nudge_at:
                nudge_at = now + NUDGE_SECONDS
                if (send_again or self.send_again)():
                    nudges += 1
                    if nudges > NUDGES and self.notes_seen:
                        self.fail_without_arrival()

    def look_for_trouble(self, started: float, patience: float) -> None:
        """Raises if the GPU faulted, if somebody else wants the cable, or if `patience` is over."""
        self.give_way()
        try:
            self.gpu.check_faults(self.kernel_at)
        except UsbGpuError as error:
            self.fail(error)
        if time.monotonic() > started + patience:
            self.fail(self._hang(f"did not finish within {patience:g} s."))

    def give_way(self) -> None:
        if self.stop is not None:
            self.fail(self.stop)

    def _hang(self, found: str) -> GpuHang:
        """Names what does not end, and kills it: it would run on for ever. VRAM keeps its content."""
        kernel, state = None, {"submitted": self.sequence}
        try:
            state["reached"] = self.poll_fence()
            seen = self.progress.read()
            # Else what was begun last has ended, or it is the copy engine that is waited for.
            if behind(self.rung, self.done) and behind(seen.sequence, self.done):
                kernel = self.kernel_at(seen.at)
            state |= self.gpu.describe_hang()
            if self.patience_s is None:     # else: recovery is at it, and goes on by itself
                self.gpu.stop_queues()
        except UsbGpuError as error:        # the hang is the first cause
            state["stopping it"] = error.found
        if not found.startswith("The "):
            found = f"Kernel {kernel} {found}" if kernel else f"The GPU {found}"
        return GpuHang(found, kernel=kernel, **state)

    def fail_without_arrival(self) -> None:
        """Data was sent again and again, and the GPU does not take it. Is it the adapter, or the GPU?"""
        try:
            self.adapter.recover()
            self.adapter.sram_write_landed(1, bytes(SECTOR_BYTES), LANDING_SECONDS)
        except LinkError as error:
            self.fail(LinkTimeout("Data sent to the adapter's memory does not arrive there.", cause=error.found,
                                  submitted=self.sequence, reached=self.done))
        self.fail(self._hang("The GPU does not take the work that lies ready for it."))

    def fail(self, error: UsbGpuError) -> None:
        self.failure = Failure(error)
        try:
            raise error
        finally:
            del error       # else this frame and the error's traceback hold each other, and with them the device

    def refuse_if_failed(self) -> None:
        if self.failure is not None:
            raise stopped_earlier(self.failure.error) from self.failure.error
        self.give_way()

    # ---- what did not arrive

    def missing(self) -> tuple[int, bytes | bytearray] | None:
        """(slot, content) of a window that was sent and that the GPU still waits for, going by its own notes."""
        known = [(sent[0], window) for window, sent in enumerate(self.window_sent) if sent is not None]
        waiting = [(sequence - self.done & 0xFFFFFFFF, window) for sequence, window in known
                   if behind(sequence, self.done)]
        if not waiting:
            return None
        window = min(waiting)[1]
        sequence, payload = self.window_sent[window]
        seen = self.progress.read()
        finished = [other for other, _ in known if not behind(other, self.done)]
        if any(behind(other, seen.sequence) for other in finished):
            return None             # windows that are through left no note: the notes say nothing
        self.notes_seen |= bool(finished)
        if behind(sequence, seen.sequence):
            return WINDOW_SLOTS[window], payload
        slot = (seen.at - self.gpu.memory.sram_va) // SLOT_BYTES
        for index, first in enumerate(DATA_SLOTS):
            if first <= slot < first + DATA_BYTES // SLOT_BYTES and self.data_sent[index] is not None:
                return first, self.data_sent[index]
        return None

    def send_again(self) -> bool:
        """Sends what is missing once more, the doorbell too. True if there was something."""
        missing = self.missing()
        if missing is None:
            return False
        self.adapter.stats.retries += 1
        self.send(*missing)
        self._ring(self.entry)
        return True

    # ---- csrc/runtime/road.h

    @stops_if_cut_short
    def acquire(self) -> tuple[int, int, int, int, int]:
        """A free command window: (index, address, bytes, sentinel, sequence)."""
        self.refuse_if_failed()
        window = self.entry % len(WINDOW_SLOTS)
        if behind(self.window_free_at[window], self.done):
            self.wait_for(self.window_free_at[window])
        sentinel = COMMAND_SENTINEL | self.entry % self.entries
        slot = WINDOW_SLOTS[window]
        if self.shadow_dword((slot + 1) * SLOT_BYTES - 4) == sentinel:
            # Somebody's data happens to stand there (a bulk copy used the whole SRAM): wipe the window.
            self.wipe(slot, SLOT_BYTES)
        return window, self.window_address(window), SLOT_BYTES, sentinel, self.next_sequence()

    def _send_window(self, window: int, payload: bytes) -> None:
        self.window_free_at[window] = self.sequence
        self.window_sent[window] = self.sequence, payload
        for index, pending in enumerate(self.data_free_at):
            if pending is None or index in self.data_awaited:   # uploaded, and this window may consume it
                self.data_free_at[index] = self.sequence
        self.send(WINDOW_SLOTS[window], payload)

    def _ring(self, entry: int) -> None:
        # the value is absolute: to ring twice does no harm
        attempt(self, lambda: self.gpu.compute_queue.ring_doorbell(entry * ENTRY_DWORDS))

    def _ring_doorbell(self) -> None:
        self.entry, self.rung = self.entry + 1, self.sequence
        self._ring(self.entry)
        self.adapter.stats.submissions += 1

    @stops_if_cut_short
    def submit(self, window: int, payload: bytes) -> None:
        """Three transfers: arm, bulk OUT, doorbell."""
        self._send_window(window, payload)
        self._ring_doorbell()

    @stops_if_cut_short
    def submit_and_read(self, window: int, payload: bytes, nbytes: int) -> bytes:
        """Five transfers: arm, bulk OUT, arm IN, doorbell, bulk IN (which waits for the GPU)."""
        self._send_window(window, payload)
        try:
            attempt(self, lambda: self.adapter.sram_arm_in(nbytes), clear=True)
            self._ring_doorbell()
            data = self.receive(nbytes, self.sequence, self.missing)
        except LinkError as error:
            if self.failure is not None or not is_transient(error):
                raise
            data = self._receive_again(nbytes, error)
        self.done = self.sequence
        return data

    def receive(self, nbytes: int, sequence: int, missing: Callable[[], object] | None = None) -> bytes:
        """The bulk IN of an armed read-back, in slices, so that a fault is noticed while waiting.

        Args:
            sequence: what the fence shows when the GPU has released the data, or is about to.

        Raises:
            Missing: the GPU waits for something that was sent and did not arrive.
            LinkTimeout: the data was released and does not come: lost on the way, with a transfer that failed.
        """
        patience, started = self.patience(), time.monotonic()
        nudge_at, released = started + NUDGE_SECONDS, False
        while True:
            data = self.adapter.sram_finish_in(nbytes, timeout_ms=SLICE_MS)
            if data is not None:
                self.shadow[:nbytes] = np.frombuffer(data, np.uint8, nbytes)
                return data
            if released:
                raise LinkTimeout("The adapter does not deliver the data that the GPU has released.")
            self.look_for_trouble(started, patience)
            if time.monotonic() > nudge_at:
                nudge_at = time.monotonic() + NUDGE_SECONDS
                self.poll_fence()       # windows before this one may be done, which nobody asked for so far
                released = not behind(sequence, self.done)      # then one slice more is plenty
                if not released and missing is not None and missing() is not None:
                    raise Missing("The GPU waits for data that was sent to it.")

    def _receive_again(self, nbytes: int, first: LinkError) -> bytes:
        """A read-back that went wrong on the cable: its data lies in the SRAM, or will when the GPU is done."""
        log.warning("a read-back is repeated: %s", first.found)
        try:
            return self._read_back(nbytes, first)
        except LinkError as second:
            if self.failure is not None or not is_transient(second) or isinstance(first, Missing):
                raise
            log.warning("repeating it failed, too: %s", second.found)
            raise first from None
        finally:
            del first       # as in fail()

    def _read_back(self, nbytes: int, first: LinkError) -> bytes:
        if self.rung != self.sequence:
            self.entry, self.rung = self.entry + 1, self.sequence
        if isinstance(first, Missing):
            self.adapter.recover()          # nothing may be armed for bulk IN while data goes out
            window = next(index for index, sent in enumerate(self.window_sent) if sent and sent[0] == self.sequence)
            self.window_sent[window] = self.sequence, _runtime.without_release(self.window_sent[window][1])
            self.send_again()
        self._ring(self.entry)
        self.wait_for(self.sequence)
        if not isinstance(first, Missing):
            self.adapter.recover()          # only now: what the GPU releases was still armed
        if nbytes <= XDATA_SRAM_BYTES:
            data = attempt(self, lambda: self.adapter.read_xdata(XDATA_SRAM, nbytes))
            self.shadow[:nbytes] = np.frombuffer(data, np.uint8, nbytes)
            return data
        return copies.read_sram(self, nbytes)

    @stops_if_cut_short
    def upload(self, data: memoryview) -> tuple[int, int, int]:
        """Two transfers: data into a data window. Returns (address, sentinel address, sentinel)."""
        self.refuse_if_failed()
        index = self.next_data
        self.next_data = (index + 1) % len(DATA_SLOTS)
        if behind(self.data_free_at[index], self.done):
            self.wait_for(self.data_free_at[index])
        slot = DATA_SLOTS[index]
        nbytes = data.nbytes
        wire = -(-(nbytes + 4) // SECTOR_BYTES) * SECTOR_BYTES
        image = bytearray(wire)
        image[:nbytes] = data
        sentinel = self.fresh_sentinel(slot * SLOT_BYTES + wire - 4)
        image[-4:] = sentinel.to_bytes(4, "little")
        self.data_free_at[index] = None
        self.data_awaited.add(index)
        self.data_sent[index] = image
        self.send(slot, image)
        address = self.gpu.memory.sram_va + slot * SLOT_BYTES
        return address, address + wire - 4, sentinel

    def upload_consumed(self) -> None:
        """The commands that wait for the last upload are under way. New code and whatever waited before them go first,
        so they need not have been in the first window after it."""
        self.data_awaited.clear()

    def fresh_sentinel(self, at: int) -> int:
        """A value that the SRAM does not hold at `at` now."""
        sentinel = copies.SENTINEL | self.sequence & 0xFFFFFF
        while self.shadow_dword(at) == sentinel:
            sentinel = copies.SENTINEL | (sentinel + 1) & 0xFFFFFF
        return sentinel

    @stops_if_cut_short
    def bulk_in(self, to: int, data: memoryview) -> None:
        self.refuse_if_failed()
        copies.copy_in(self, to, data)

    @stops_if_cut_short
    def bulk_out(self, data: memoryview, source: int) -> None:
        self.refuse_if_failed()
        copies.copy_out(self, data, source)

    def compile(self, specs) -> tuple[list, dict]:
        """Code images for the kernels that compile, and {symbol: error} for those that do not."""
        images, failures = self.compile_kernels(self.gpu.arch, specs)
        return list(images), dict(failures)

    def raise_fault(self, status: int) -> None:
        """A read-back came with a hub fault in its status words."""
        try:
            self.gpu.check_faults(self.kernel_at)
        except UsbGpuError as error:
            self.fail(error)
        self.fail(GpuFault("The GPU reported a page fault that left no further trace.", hub_status=f"{status:#x}"))
