"""The flash by the adapter's SPI controller, whose registers the open firmware lets the host write (0xE4, 0xE5).

The open firmware has no commands for its flash; this is how it is replaced without a debug connector. Nothing but the
flashing tool may come here: block 0, which is erased, holds the configuration and the code that starts the adapter.

Source: asm2464pd-firmware handmade/e4_flash.py. A restart of the CPU (0xCC31) does not read the flash again.
"""
from __future__ import annotations

import time

from ..errors import FlashError, LinkTimeout
from .asm2464pd import TIMEOUT_XDATA_MS, Adapter
from .flash_commands import Progress
from .flash_image import FLASH, IMAGE_OFFSET, REACHABLE_BYTES, FlashContent
from .transfers import BULK_OUT

REGISTERS: dict[str, int] = FLASH["spi_registers"]
OPCODES: dict[str, int] = FLASH["spi_opcodes"]
PROGRAM_BYTES, READ_BYTES, ERASE_BYTES = FLASH["program_bytes"], FLASH["read_bytes"], FLASH["erase_bytes"]
_PROTECT_BITS, _BUSY = FLASH["protect_bits"], 0x01
_READ, _WRITE = 0, 1
_NO_ADDRESS, _THREE_BYTES = 0x04, 0x07
_ARM_OUT, _DIVIDER = 0x10, 0x04
_PROTECT_TRIES, _PROTECT_SECONDS = 5, 0.01
_POLL_SECONDS, _LANDING_SECONDS = 0.01, 0.001
CONTROLLER_SECONDS, BUSY_SECONDS = 1.0, 10.0


class SpiFlash:
    """The flash behind the open firmware.

    Args:
        adapter: started.
    """

    how = "the SPI controller's registers"

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self._prepared = False

    def drive_is_ready(self) -> bool:
        return False            # the open firmware knows no drives

    def read(self, progress: Progress) -> FlashContent:
        self._prepare()
        data = bytearray()
        while len(data) < REACHABLE_BYTES:
            # Shorter reads do not fill the buffer.
            self._transact(OPCODES["read"], len(data), READ_BYTES)
            data += self.adapter.read_xdata(REGISTERS["buffer"], READ_BYTES)
            progress(len(data), REACHABLE_BYTES)
        return FlashContent(bytes(data))

    def write(self, config: tuple[bytes, bytes], image: bytes, progress: Progress, *, config_too: bool) -> None:
        """Erases the blocks that the image needs and programs them, the first block last: while it is whole the
        adapter can start from it. `config` always has to be written again, since it shares that block."""
        self._prepare()
        self._check_buffer()
        self._unprotect()
        content = b"".join(config) + image
        todo = sum(1 for at in range(0, len(content), PROGRAM_BYTES) if content[at:at + PROGRAM_BYTES].strip(b"\xFF"))
        done = 0
        for block in reversed(range(0, len(content), ERASE_BYTES)):
            self._write_enable()
            self._transact(OPCODES["erase_64k"], block)
            self._wait_until_written()
            for at in range(block, min(block + ERASE_BYTES, len(content)), PROGRAM_BYTES):
                page = content[at:at + PROGRAM_BYTES]
                if page.strip(b"\xFF"):
                    self._program(at, page)
                    done += 1
                    progress(done * len(image) // todo, len(image))

    def commit(self) -> None:
        """Nothing to do: it is in the flash."""

    # ---- the controller

    def _prepare(self) -> None:
        if self._prepared:
            return
        self._set("execution", 0x04)
        self._set("enable", self._get("enable") | 0x01)
        self._set("interrupt_path", 0x02)
        self._set("divider", _DIVIDER)
        self._transact(OPCODES["read_id"], None, 3)
        identity = self.adapter.read_xdata(REGISTERS["buffer"], 3)
        if identity[0] in (0x00, 0xFF):
            raise FlashError("The adapter's flash does not answer to the SPI controller.",
                             "Power-cycle the dock and try again.", stage="look", jedec_id=identity.hex())
        self._prepared = True

    def _check_buffer(self) -> None:
        """Does what the host sends arrive where the controller takes it from? It is asked before anything is erased."""
        pattern = bytes((at * 73 + 41) & 0xFF for at in range(PROGRAM_BYTES))
        self._fill_buffer(pattern)
        found = self.adapter.read_xdata(REGISTERS["buffer"], PROGRAM_BYTES)
        if found != pattern:
            raise FlashError("The flash controller's buffer does not take what is sent to it. Nothing was written.",
                             "Power-cycle the dock and try again.", stage="look", buffer=found[:16].hex())

    def _unprotect(self) -> None:
        status = 0
        for _ in range(_PROTECT_TRIES):
            self._write_enable()
            self._fill_buffer(bytes(4))
            self._transact(OPCODES["write_status"], None, 1, _WRITE)
            time.sleep(_PROTECT_SECONDS)
            status = self._status()
            if not status & _PROTECT_BITS:
                return
        raise FlashError("The flash stays write-protected.", "Power-cycle the dock and try again.", stage="image",
                         status=f"{status:#04x}")

    def _program(self, at: int, page: bytes) -> None:
        # Only the lower half of a 256-byte page survives in the buffer, so pages of half the size are programmed.
        self._fill_buffer(page + bytes(-len(page) % 4))
        self._write_enable()
        self._transact(OPCODES["program"], at, len(page), _WRITE)
        self._wait_until_written()

    def _fill_buffer(self, data: bytes) -> None:
        self._set("arm_bulk_out", _ARM_OUT)
        self.adapter.submit_bulk(BULK_OUT, data, TIMEOUT_XDATA_MS, "flash_buffer").wait(TIMEOUT_XDATA_MS / 1000)
        time.sleep(_LANDING_SECONDS)

    def _write_enable(self) -> None:
        """A command of its own, because it must leave the buffer alone."""
        for register, value in (("mode", _READ), ("command", OPCODES["write_enable"]), ("address_mode", _NO_ADDRESS),
                                ("length_high", 0), ("length_low", 0), ("start", 1)):
            self._set(register, value)
        self._wait_for_controller()

    def _transact(self, opcode: int, address: int | None, length: int = 0, mode: int = _READ) -> None:
        at = address or 0
        for register, value in (("mode", mode), ("buffer_offset_high", 0), ("buffer_offset_low", 0),
                                ("command", opcode), ("address_mode", _NO_ADDRESS if address is None else _THREE_BYTES),
                                ("address_low", at & 0xFF), ("address_middle", at >> 8 & 0xFF),
                                ("address_high", at >> 16 & 0xFF), ("length_high", length >> 8),
                                ("length_low", length & 0xFF), ("start", 1)):
            self._set(register, value)
        self._wait_for_controller()
        for _ in range(4):      # the tool's number; the controller is idle only after it
            self._set("mode", _READ)

    def _status(self) -> int:
        self._transact(OPCODES["read_status"], None, 1)
        return self._get("buffer")

    def _wait_for_controller(self) -> None:
        deadline = time.monotonic() + CONTROLLER_SECONDS
        while self._get("start") & _BUSY:
            if time.monotonic() > deadline:
                raise LinkTimeout("The adapter's SPI controller stays busy.")

    def _wait_until_written(self) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while self._status() & _BUSY:
            if time.monotonic() > deadline:
                raise LinkTimeout("The adapter's flash stays busy.")
            time.sleep(_POLL_SECONDS)

    def _set(self, register: str, value: int) -> None:
        self.adapter.write_xdata(REGISTERS[register], bytes([value]))

    def _get(self, register: str) -> int:
        return self.adapter.read_xdata(REGISTERS[register], 1)[0]


assert IMAGE_OFFSET % PROGRAM_BYTES == 0
