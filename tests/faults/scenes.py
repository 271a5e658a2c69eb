"""The moments: a device is brought into each, then the fault strikes."""
from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from torch_usbgpu.emulated_firmware import firmware_directory
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.errors import OutOfMemory
from torch_usbgpu.runtime import Device
from torch_usbgpu.usb.emulated import parse_options

from ..chip import CHIP, CHIPS
from .kernels import TICKS_PER_SECOND, code_object
from .table import Fault

VRAM_BYTES = 512 << 20
TOO_LITTLE_VRAM = 32 << 20
COPY_BYTES = 3 << 20
ELEMENTS = 64
BUSY_SECONDS, STRIKE_SECONDS = 0.2, 0.06
NOWHERE = 0x2000_0000_0000 + (200 << 30)     # inside the window of virtual addresses, beyond VRAM
SIGNATURE_BYTES, HEADER_BYTES = 0x100, 0x100


class Scene:
    """One dock, one device, one fault. The methods named like moments do what the driver does in them."""

    def __init__(self, fault: Fault, variant: str, moment: str, tmp_path: Path):
        self.fault, self.variant, self.tmp_path = fault, variant, tmp_path
        self.play = getattr(self, moment.replace("-", "_"))
        self.has_enough_memory = fault.by != "memory" or moment != "boot"
        options = parse_options(os.environ.get("USBGPU_EMULATOR", ""))
        options["vram_bytes"] = VRAM_BYTES if self.has_enough_memory else TOO_LITTLE_VRAM
        self.adapter = EmulatedAdapter(CHIP, **options)
        self.images = tmp_path / "firmware"
        shutil.copytree(firmware_directory(CHIP), self.images)
        self.device: Device | None = None
        self.struck = 0.0
        self.failure: Exception | None = None       # of the fault itself: memory that is not to be had
        if moment == "boot":
            if fault.by.startswith("kernel:"):      # whoever had the board before was killed with this on it
                self.open()
                self.strike()
                self.adapter.close()
                self.adapter.reopen()
        else:
            self.open()

    # ---- the device

    def open(self) -> None:
        self.device = Device(self.adapter, firmware_dirs=(str(self.images),))
        self.kernels = self.device.load(code_object(self.device.arch))
        self.data = self.device.alloc(4 * ELEMENTS)
        self.value = 0
        self.write(0)
        self.big = np.random.default_rng(1).integers(0, 256, COPY_BYTES, dtype=np.uint8)
        self.big_on_gpu = self.device.alloc(COPY_BYTES)
        self.check()

    def write(self, value: int) -> None:
        self.value = value
        self.device.copy_in(self.data, np.full(ELEMENTS, value, np.uint32))

    def check(self) -> None:
        """A kernel and a copy in each direction, with the right result."""
        self.add_one()
        self.result()

    def add_one(self) -> None:
        self.device.launch(self.kernels["add_one"], 1, ELEMENTS, [self.data])
        self.value += 1

    def result(self) -> None:
        values = np.zeros(ELEMENTS, np.uint32)
        self.device.copy_out(values, self.data)
        assert (values == self.value).all(), (self.value, values)

    def check_anew(self) -> None:
        self.write(17)
        self.check()
        self.copy_in(strike=False)
        self.copy_out(strike=False)

    # ---- the fault

    def strike(self) -> None:
        self.struck = time.monotonic()
        kind, _, detail = self.fault.by.partition(":")
        if kind == "switch":
            self.adapter.inject(self.variant)
        elif kind == "kernel":
            arguments = {"outside": [NOWHERE], "illegal": [], "endless": [self.data + 4 * (ELEMENTS - 1)]}[detail]
            if detail == "endless":
                self.write(0)
            self.device.launch(self.kernels[detail], 1, 1, arguments)
            self.device.stream.flush()
        elif kind == "file":
            self.damage(self.variant)
        elif kind == "memory" and self.device is not None:
            self.fill_memory()

    def damage(self, how: str) -> None:
        """Of a file that the PSP loads behind its own."""
        (path,) = self.images.glob(f"**/*{CHIPS[CHIP]['firmware']['rlc']}*")
        content = bytearray(path.read_bytes())
        if how == "another file":
            (source,) = self.images.glob(f"**/*{CHIPS[CHIP]['firmware']['mec']}*")
            content[:] = source.read_bytes()
        elif how == "cut off":
            del content[len(content) // 2:]
        elif how == "empty":
            content.clear()
        elif how == "header":
            content[:64] = bytes(64)
        elif how == "signature":
            content[64:] = bytes(len(content) - 64)
        path.write_bytes(content)

    def fill_memory(self) -> None:
        size = 64 << 20
        while size >= 4096:
            try:
                self.device.alloc(size)
            except OutOfMemory as error:
                self.failure = error
                size //= 4

    def repair(self) -> None:
        """Ends the cause. What it broke stays broken."""
        self.adapter.heal()
        if self.fault.by == "file" or not self.images.exists():
            shutil.rmtree(self.images, ignore_errors=True)
            shutil.copytree(firmware_directory(CHIP), self.images)

    # ---- moments

    def boot(self) -> None:
        if not self.fault.by.startswith("kernel:"):
            self.strike()
        self.struck = time.monotonic()
        self.open()

    def idle(self) -> None:
        self.strike()
        self.add_one()
        self.result()
        self.raise_own_failure()

    def copy_in(self, strike: bool = True) -> None:
        if strike:
            self.strike()
        self.device.copy_in(self.big_on_gpu, self.big)
        self.device.synchronize()
        self.raise_own_failure()

    def copy_out(self, strike: bool = True) -> None:
        back = np.zeros_like(self.big)
        if strike:
            self.device.copy_in(self.big_on_gpu, self.big)
            self.strike()
        self.device.copy_out(back, self.big_on_gpu)
        assert np.array_equal(back, self.big)
        self.raise_own_failure()

    def busy(self) -> None:
        ticks = np.uint64(BUSY_SECONDS * TICKS_PER_SECOND)
        self.device.launch(self.kernels["take"], 1, 1, [ticks])

    def computing(self) -> None:
        self.busy()
        self.device.stream.flush()
        self.strike()
        self.add_one()
        time.sleep(STRIKE_SECONDS)
        self.result()
        self.raise_own_failure()

    def synchronising(self) -> None:
        self.add_one()
        if self.fault.by.startswith("kernel:"):
            self.strike()
            self.device.synchronize()
        else:
            self.busy()
            with Later(STRIKE_SECONDS, self.strike):
                self.device.synchronize()
        self.raise_own_failure()
        self.result()

    def closing(self) -> None:
        self.add_one()
        self.strike()
        self.device.close()
        self.raise_own_failure()

    def raise_own_failure(self) -> None:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure


class Later:
    """Does something after a while, beside what the block does."""

    def __init__(self, seconds: float, what: Callable[[], None]):
        self.thread = threading.Timer(seconds, what)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_exception) -> None:
        self.thread.join()
