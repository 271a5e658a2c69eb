"""One GPU: what the runtime needs of it."""
from __future__ import annotations

import contextlib
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import BootError
from ..pcie.config import PciFunction
from . import boot, faults
from .discovery import Discovery
from .firmware import ENVIRONMENT, FirmwareStore
from .gfx import Gfx
from .interrupts import Interrupts
from .memory import Memory
from .nbio import Nbio
from .power import PowerOptions
from .psp import Psp
from .queue import HardwareQueue
from .registers import MM_DATA, MM_INDEX, MM_INDEX_HI, Registers
from .sdma import Sdma
from .smu import Smu

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BootStep:
    """A line of the boot log."""

    name: str
    seconds: float
    transfers: int       # USB transfers that the step took
    detail: str
    link_seconds: float = 0.0        # of those transfers, by the yardstick of usb/stats.py

    def __str__(self) -> str:
        return f"{self.name:<34} {self.seconds * 1e3:8.1f} ms {self.transfers:5d} transfers  {self.detail}"


@dataclass(frozen=True)
class ThreadScratch:
    """Memory for the private variables of threads, allocated at boot."""

    paddr: int
    bytes: int
    bytes_per_thread: int
    tmpring_size: int     # COMPUTE_TMPRING_SIZE


class Gpu:
    """The GPU behind an adapter.

    Attributes appear as the boot goes on: before boot() only `adapter` and `boot_log` are meaningful.

    Args:
        adapter: an usb.asm2464pd.Adapter.
        firmware_dirs: directories to search for firmware before the usual ones. Without any, and without
            USBGPU_FIRMWARE, those that the adapter's handle brings.
        power: power limit and clocks; None: as USBGPU_POWER_LIMIT and USBGPU_CLOCKS say.
    """

    arch: str              # "gfx1100"
    name: str              # "AMD Radeon RX 7900 XTX"
    chip_name: str         # "navi31"
    chip: dict             # its entry in asic/chips.json
    vram_bytes: int
    compute_units: int
    pci: PciFunction
    regs: Registers
    discovery: Discovery
    memory: Memory
    firmware: FirmwareStore
    nbio: Nbio
    interrupts: Interrupts
    psp: Psp
    smu: Smu
    gfx: Gfx
    sdma: Sdma
    compute_queue: HardwareQueue
    sdma_queue: HardwareQueue
    scratch: ThreadScratch

    def __init__(self, adapter, firmware_dirs: Iterable[str | Path] = (),
                 power: PowerOptions | None = None) -> None:
        self.adapter = adapter
        self.power = PowerOptions.from_environment() if power is None else power
        self.lock = threading.RLock()
        given = tuple(firmware_dirs)
        if not given and not os.environ.get(ENVIRONMENT):    # nobody chose: what the handle brings, if anything
            given = getattr(adapter, "firmware_dirs", ())
        self.firmware_dirs = tuple(Path(directory) for directory in given)
        self.boot_log: list[BootStep] = []
        self.booted = False
        self.failed = False
        self.session = 0            # drawn at every boot, kept in a scratch register of the board

    # ---- life
    def boot(self) -> None:
        """Bring the GPU up, by the short road if the last process left it clean.

        Raises:
            BootError, FirmwareMissing, FirmwareMismatch, UnsupportedChip, LinkError: typed, with the step's state.
        """
        with self.lock:
            boot.run(self)
            self.booted, self.failed = True, False

    def shutdown(self) -> None:
        """Stop the queues and leave the board so that the next process can start warm. Never raises on a dead link."""
        with self.lock:
            boot.shut_down(self)
            self.booted = False

    def reset(self) -> None:
        """Mode-1 reset and a cold boot. All VRAM content is lost."""
        with self.lock:
            boot.reset_and_boot(self)
            self.booted, self.failed = True, False

    def is_still_ours(self) -> bool:
        """After the cable was away: does the board go on as boot() left it?"""
        with self.lock:
            return boot.is_still_ours(self)

    def stop_queues(self) -> None:
        """Kill what runs, and take both queues off their engines. Something must create them anew before the next use.

        Raises:
            BootError: an engine does not stop.
        """
        with self.lock:
            faults.stop_queues(self)

    def reset_queues(self) -> None:
        """Kill what runs, and create both queues anew with zeroed pointers. VRAM survives, engines run on.

        Raises:
            BootError: an engine does not stop; recover_queues() is next.
        """
        with self.lock:
            faults.reset_queues(self)
            self.failed = False

    def recover_queues(self) -> None:
        """As reset_queues, with the compute engine itself restarted in between.

        Raises:
            BootError: an engine does not stop; reset() is next.
        """
        with self.lock:
            faults.recover_queues(self)
            self.failed = False

    def check_faults(self, kernel_at: Callable[[int], str | None] = lambda pc: None) -> None:
        """Raise what the GPU has reported since the last call, if anything.

        Args:
            kernel_at: name of the kernel whose code holds a GPU address, or None.

        Raises:
            GpuFault, IllegalInstruction: with kernel, address and pc where known.
        """
        with self.lock:
            faults.check(self, kernel_at)

    def describe_hang(self) -> dict[str, str]:
        """Registers that tell where the engines stand, for a GpuHang."""
        with self.lock:
            state: dict[str, str] = {}
            for block in (self.gfx, self.sdma, self.memory):
                state.update(block.describe_fault())
            return state

    # ---- looks from other threads
    @contextlib.contextmanager
    def visit(self, timeout_s: float) -> Iterator[None]:
        """GPU and cable for a short look, from any thread.

        A thread that waits for the GPU takes the cable again and again; it lets go of it because it looks for faults
        in between, which takes our lock first.

        Raises:
            TimeoutError: they could not be had in time.
        """
        deadline = time.monotonic() + timeout_s
        with contextlib.ExitStack() as held:
            for lock in (self.lock, self.adapter.lock):
                if not lock.acquire(timeout=max(deadline - time.monotonic(), 0)):
                    raise TimeoutError("the cable is busy")
                held.callback(lock.release)
            yield

    # ---- apertures
    @property
    def vram_base(self) -> int:
        """PCIe address of BAR0."""
        return self.pci.bars[0].address

    @property
    def doorbell_base(self) -> int:
        return self.pci.bars[2].address

    @property
    def register_bytes(self) -> int:
        return self.pci.bars[5].size

    def vram_write(self, paddr: int, data: bytes | bytearray | memoryview) -> None:
        """PIO write to VRAM: 3.6 MB/s. The GPU may need Memory.flush_hdp() before it sees it."""
        if paddr + len(data) <= self.pci.bars[0].size:
            self.adapter.memory_write(self.vram_base + paddr, data)
            return
        self._check_dwords(paddr, len(data))
        words = struct.unpack(f"<{len(data) // 4}I", data)
        with self.adapter.lock:
            for _, value in zip(self._select_vram(paddr, len(data)), words, strict=True):
                self.regs.write(MM_DATA, value)

    def vram_read(self, paddr: int, nbytes: int) -> bytes:
        """PIO read of VRAM: 1.8 MB/s."""
        if paddr + nbytes <= self.pci.bars[0].size:
            return self.adapter.memory_read(self.vram_base + paddr, nbytes)
        self._check_dwords(paddr, nbytes)
        with self.adapter.lock:
            # Streams of one dword: a bulk transfer is shorter than the control transfer that fetches a completion.
            words = [self.regs.read_block(MM_DATA, 1)[0] for _ in self._select_vram(paddr, nbytes)]
        return struct.pack(f"<{len(words)}I", *words)

    def vram_probe(self, paddr: int) -> int:
        """One dword of VRAM.

        Raises:
            LinkError: nobody answers, which a vram_read() would not notice, or never return from.
        """
        if paddr + 4 <= self.pci.bars[0].size:
            return self.adapter.read32(self.vram_base + paddr)
        with self.adapter.lock:
            for _ in self._select_vram(paddr, 4):
                value = self.regs.read(MM_DATA)
        return value

    def _check_dwords(self, paddr: int, nbytes: int) -> None:
        if paddr & 3 or nbytes & 3:
            raise ValueError("VRAM beyond BAR0 is accessed in whole dwords")
        if paddr + nbytes > self.vram_bytes:
            raise BootError("Access beyond the end of VRAM.", paddr=f"{paddr:#x}", bytes=nbytes)

    def _select_vram(self, paddr: int, nbytes: int) -> Iterator[int]:
        """Point MM_DATA at one dword after the other of VRAM beyond a small BAR0."""
        high = None
        for address in range(paddr, paddr + nbytes, 4):
            if high != address >> 31:
                high = address >> 31
                self.regs.write(MM_INDEX_HI, high)
            self.regs.write(MM_INDEX, address & 0x7FFF_FFFF | 0x8000_0000)
            yield address
