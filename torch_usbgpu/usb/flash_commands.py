"""The flash by the vendor's SCSI commands: ASMedia's firmwares and the mask ROM, over bulk-only transport.

Reading begins at 0x100 or, as second part, at 0x10000; one command carries 64 KiB, the first write 0xFF00 bytes. The
configuration blocks have commands of their own. Source: asm2464pd-firmware flash.py; usb-to-pcie-re asm2x6x_tool.py;
places and limits as in the code of ASMedia's firmware 231204_85_00_00.
"""
from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable

from ..errors import CommandFailed, DeviceLost, LinkError
from .flash_image import CONFIG_BYTES, FLASH, IMAGE_OFFSET, REACHABLE_BYTES, FlashContent
from .scsi import EMPTY_DATA_PHASE, Bot

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]      # bytes done, bytes altogether

COMMANDS: dict[str, int] = FLASH["commands"]
_FIRST, _SECOND = FLASH["prefix"], FLASH["prefix"] | FLASH["second_part"]
FIRST_PART_BYTES, SECOND_PART_OFFSET = FLASH["first_part_bytes"], FLASH["second_part_offset"]
_CONFIG_CDB_BYTES = 15
TEST_UNIT_READY = bytes(6)

# The firmware programs while data comes in; erasing a 64 KiB block of such a flash takes up to 2 s.
TIMEOUT_MS = 20_000
# The reading tool pauses between the parts; nobody has said why.
PAUSE_S = 1.0


class CommandFlash:
    """The flash behind ASMedia's firmware or the ROM.

    Args:
        link: the bulk-only transport.
        pause_s: between the two parts.
    """

    how = "vendor commands"

    def __init__(self, link: Bot, pause_s: float = PAUSE_S) -> None:
        self.link, self.pause_s = link, pause_s

    def drive_is_ready(self) -> bool:
        """Is there a drive in the enclosure?"""
        try:
            self.link.command(TEST_UNIT_READY)
        except CommandFailed:
            return False
        return True

    def read(self, progress: Progress) -> FlashContent:
        """Everything that can be reached: both configuration blocks, and what follows them to 128 KiB."""
        config = [self._read_config(index) for index in (0, 1)]
        first = self._read(_FIRST, FIRST_PART_BYTES)
        progress(SECOND_PART_OFFSET, REACHABLE_BYTES)
        time.sleep(self.pause_s)
        second = self._read(_SECOND, REACHABLE_BYTES - SECOND_PART_OFFSET)
        progress(REACHABLE_BYTES, REACHABLE_BYTES)
        return FlashContent(b"".join((*config, first, second)))

    def write(self, config: tuple[bytes, bytes], image: bytes, progress: Progress, *, config_too: bool) -> None:
        """The image; the configuration blocks only if they are to change: the commands keep them."""
        total = len(image)
        if config_too:
            for index, block in enumerate(config):
                self.link.command(self._config_cdb("config_write", index), data_out=block, timeout_ms=TIMEOUT_MS)
        first, second = image[:FIRST_PART_BYTES], image[FIRST_PART_BYTES:]
        self.link.command(self._flash_cdb("firmware_write", _FIRST, len(first)), data_out=first, timeout_ms=TIMEOUT_MS)
        progress(len(first), total)
        if second:
            time.sleep(self.pause_s)
            self.link.command(self._flash_cdb("firmware_write", _SECOND, len(second)), data_out=second,
                              timeout_ms=TIMEOUT_MS)
            progress(total, total)
            return
        try:
            # All flashing tools send the second part also when it is empty, with an empty data phase.
            self.link.command(self._flash_cdb("firmware_write", _SECOND, 0), data_out=EMPTY_DATA_PHASE)
        except DeviceLost:
            raise
        except LinkError as error:          # a firmware that wants none; what is in the flash is compared anyway
            log.info("the empty second part was refused: %s", error)

    def commit(self) -> None:
        """The last command. Whether it restarts anything is unknown, so a device that leaves now is no error."""
        try:
            self.link.command(bytes([COMMANDS["commit"], FLASH["commit_kind"]]).ljust(_CONFIG_CDB_BYTES, b"\0"))
        except DeviceLost:
            log.info("the adapter left after the commit")

    def _read_config(self, index: int) -> bytes:
        block = self.link.command(self._config_cdb("config_read", index), length_in=CONFIG_BYTES)
        return self._whole(block, CONFIG_BYTES)

    def _read(self, part: int, count: int) -> bytes:
        data = self.link.command(self._flash_cdb("flash_read", part, count), length_in=count, timeout_ms=TIMEOUT_MS)
        return self._whole(data, count)

    @staticmethod
    def _whole(data: bytes, count: int) -> bytes:
        if len(data) != count:
            raise CommandFailed("The adapter gave less of its flash than it was asked for.", got=len(data), asked=count)
        return data

    @staticmethod
    def _config_cdb(name: str, index: int) -> bytes:
        return bytes([COMMANDS[name], _FIRST, index]).ljust(_CONFIG_CDB_BYTES, b"\0")

    @staticmethod
    def _flash_cdb(name: str, part: int, count: int) -> bytes:
        return struct.pack(">BBI", COMMANDS[name], part, count)


assert SECOND_PART_OFFSET == IMAGE_OFFSET + FIRST_PART_BYTES       # so nothing is left out between the parts
