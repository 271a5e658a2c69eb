"""SCSI commands over USB mass storage: what ASMedia's own firmwares and the mask ROM speak.

`Bot` is the bulk-only transport (alternate setting 0, one command at a time; the only one that the ROM knows), `Uas`
in uas.py the one with streams. Both run a list of commands in order.

Source: USB Mass Storage Class, Bulk-Only Transport 1.0 (wrappers 5.1 and 5.2, status reading 6.3, error handling 6.6,
reset recovery 5.3.4); SPC for the sense data.
"""
from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import usb1

from .. import errors
from .transfers import BULK_IN, BULK_OUT, Transfers

log = logging.getLogger(__name__)

CONFIGURATION, INTERFACE = 1, 0
BOT_ALTERNATE = 0
COMMAND_WRAPPER, STATUS_WRAPPER = struct.Struct("<4sIIBBB16s"), struct.Struct("<4sIIB")
COMMAND_SIGNATURE, STATUS_SIGNATURE = b"USBC", b"USBS"
TO_HOST = 0x80
GOOD, FAILED, PHASE_ERROR = 0, 1, 2
CLASS_OUT, BOT_RESET = 0x21, 0xFF
STANDARD_IN, GET_DESCRIPTOR, DEVICE_DESCRIPTOR, DESCRIPTOR_BYTES = 0x80, 6, 0x0100, 18
REQUEST_SENSE, SENSE_BYTES = 0x03, 18
LONGEST_CDB = 16

TIMEOUT_MS = 5000          # of the data phase
TIMEOUT_WRAPPER_MS = 2000  # that of the flashing tool for the status wrapper
TIMEOUT_RESET_MS = 1000
PROBE_MS = 200

# As `data_out`: a data phase without data, which the specification does not have but the flashing tools send.
EMPTY_DATA_PHASE = memoryview(b"")


class Command(NamedTuple):
    """One command: `data_out` is sent, or `length_in` bytes are asked for, or neither."""

    cdb: bytes
    data_out: bytes | bytearray | memoryview = b""
    length_in: int = 0


class ScsiLink(Transfers):
    """What both transports share: the claim of the interface, the errors."""

    alternate = BOT_ALTERNATE
    _started = False

    def start(self) -> None:
        """Take the interface from the operating system's disk driver and choose the transport. Once is enough."""
        if self._started:
            return
        self._started = True
        try:
            self._wrap("claim", self._claim)
        except BaseException:
            self._started = False
            raise

    def _claim(self) -> None:
        handle = self.handle
        driven = getattr(handle, "kernelDriverActive", None)
        try:
            if driven is not None and driven(INTERFACE):
                handle.detachKernelDriver(INTERFACE)
                handle.resetDevice()        # whatever the disk driver had under way is over
        except usb1.USBErrorNotSupported:
            pass                            # an operating system without such a thing
        configuration = getattr(handle, "getConfiguration", None)
        if configuration is not None and configuration() != CONFIGURATION:
            handle.setConfiguration(CONFIGURATION)
        if hasattr(handle, "claimInterface"):
            handle.claimInterface(INTERFACE)
        self.set_interface(INTERFACE, self.alternate)

    def _ask_something(self) -> None:
        """Every device answers for its descriptor; the open firmware's requests mean nothing here."""
        self.handle.controlRead(STANDARD_IN, GET_DESCRIPTOR, DEVICE_DESCRIPTOR, 0, DESCRIPTOR_BYTES, timeout=PROBE_MS)

    def command(self, cdb: bytes, data_out: bytes | bytearray | memoryview = b"", length_in: int = 0,
                timeout_ms: int = TIMEOUT_MS) -> bytes:
        """Run one command. Returns what it sent, which may be less than `length_in`.

        Raises:
            CommandFailed: the device refused it; the text has its sense data.
            LinkError, LinkTimeout, DeviceLost: the transport failed. It has been reset, so the next command may work.
        """
        return self.run([Command(cdb, data_out, length_in)], timeout_ms)[0]

    def run(self, commands: Sequence[Command], timeout_ms: int = TIMEOUT_MS) -> list[bytes]:
        """Run commands in order; the first that fails ends it."""
        raise NotImplementedError

    @staticmethod
    def _check(commands: Iterable[Command]) -> None:
        for cdb, data_out, length_in in commands:
            if not 1 <= len(cdb) <= LONGEST_CDB or (len(data_out) and length_in):
                raise ValueError("a command has 1 to 16 bytes and moves data in one direction at most")

    def _refused(self, cdb: bytes, sense: bytes) -> errors.CommandFailed:
        return self._error(errors.CommandFailed(f"The adapter refused command {cdb[0]:#04x}.",
                                                command=bytes(cdb).hex(" "), **describe_sense(sense)))


def describe_sense(sense: bytes) -> dict[str, str]:
    """Key and code of fixed-format sense data (SPC), for an error's state; empty if there is none."""
    if len(sense) < 14 or sense[0] & 0x7E != 0x70:
        return {}
    return {"sense_key": f"{sense[2] & 0xF:#x}", "sense_code": f"{sense[12]:02x}/{sense[13]:02x}"}


class Bot(ScsiLink):
    """The bulk-only transport over `handle`: any object with python-libusb1's transfer methods."""

    def __init__(self, handle) -> None:
        super().__init__(handle)
        self._tag = 0

    def run(self, commands: Sequence[Command], timeout_ms: int = TIMEOUT_MS) -> list[bytes]:
        self._check(commands)
        with self.lock:
            self.start()
            return [self._run(*command, timeout_ms) for command in commands]

    def _run(self, cdb: bytes, data_out, length_in: int, timeout_ms: int) -> bytes:
        try:
            status, data = self._exchange(cdb, data_out, length_in, timeout_ms)
        except errors.DeviceLost:
            raise
        except errors.LinkError as error:
            self._reset_recovery(error)
            raise
        if status == GOOD:
            return data
        sense = b""
        if cdb[0] != REQUEST_SENSE:
            try:
                sense = self._exchange(bytes([REQUEST_SENSE, 0, 0, 0, SENSE_BYTES, 0]), b"", SENSE_BYTES,
                                       TIMEOUT_WRAPPER_MS)[1]
            except errors.DeviceLost:
                raise
            except errors.LinkError as error:   # the ROM need not know the command
                self._reset_recovery(error)
        raise self._refused(cdb, sense)

    def _exchange(self, cdb: bytes, data_out, length_in: int, timeout_ms: int) -> tuple[int, bytes]:
        """(status, data) of one command: wrapper, data phase, status wrapper."""
        self._tag = self._tag + 1 & 0xFFFF_FFFF
        length = len(data_out) or length_in
        wrapper = COMMAND_WRAPPER.pack(COMMAND_SIGNATURE, self._tag, length, TO_HOST if length_in else 0, 0, len(cdb),
                                       bytes(cdb))
        self.stats.by_request[f"scsi_{cdb[0]:02x}"] += 1
        self._bulk_out("scsi_out", wrapper, TIMEOUT_WRAPPER_MS)
        data = b""
        # A halt in the data phase is how a device ends it early; the status follows all the same.
        if length_in:
            try:
                self.stats.count_bulk("scsi_in", length_in)
                data = bytes(self.handle.bulkRead(BULK_IN, length_in, timeout=timeout_ms))
            except usb1.USBErrorPipe:
                self.clear_halt(BULK_IN)
            except usb1.USBError as error:
                raise self._translate(error, "scsi_in") from error
        elif length or data_out is EMPTY_DATA_PHASE:
            try:
                self.stats.count_bulk("scsi_out", length)
                sent = self.handle.bulkWrite(BULK_OUT, data_out, timeout=timeout_ms)
                if sent != length:
                    raise self._error(errors.LinkError("The data of a command went out only in part.", asked=length,
                                                       sent=sent))
            except usb1.USBErrorPipe:
                self.clear_halt(BULK_OUT)
            except usb1.USBError as error:
                raise self._translate(error, "scsi_out") from error
        status, residue = self._status(timeout_ms)
        return status, data[:max(0, length_in - residue)]

    def _status(self, timeout_ms: int) -> tuple[int, int]:
        """The status wrapper. A command may take its time before it, so it gets the longer of both time-outs."""
        patience = max(timeout_ms, TIMEOUT_WRAPPER_MS)
        try:
            self.stats.count_bulk("scsi_in", STATUS_WRAPPER.size)
            raw = bytes(self.handle.bulkRead(BULK_IN, STATUS_WRAPPER.size, timeout=patience))
        except usb1.USBErrorPipe:               # once is allowed
            self.clear_halt(BULK_IN)
            raw = self._bulk_in("scsi_in", STATUS_WRAPPER.size, patience)
        except usb1.USBError as error:
            raise self._translate(error, "scsi_in") from error
        if len(raw) != STATUS_WRAPPER.size:
            raise self._error(errors.LinkError("A command's status came in the wrong size.", bytes=len(raw)))
        signature, tag, residue, status = STATUS_WRAPPER.unpack(raw)
        if signature != STATUS_SIGNATURE or tag != self._tag:
            raise self._error(errors.LinkError("A command's status is not that of the command.",
                                               signature=signature.hex(), tag=tag, expected=self._tag))
        if status not in (GOOD, FAILED):
            raise self._error(errors.LinkError("The adapter lost step with the host (phase error).", status=status))
        return status, residue

    def _reset_recovery(self, cause: errors.LinkError) -> None:
        """Class reset, then both halts cleared. Best effort: the cause is what the caller shall see."""
        log.info("resetting the bulk-only transport: %s", cause.found)
        try:
            self.stats.count_control("bot_reset")
            self._wrap("bot_reset", lambda: self.handle.controlWrite(CLASS_OUT, BOT_RESET, 0, INTERFACE, b"",
                                                                      timeout=TIMEOUT_RESET_MS))
            self.clear_halt(BULK_IN)
            self.clear_halt(BULK_OUT)
        except errors.UsbGpuError as error:
            log.warning("the transport did not take the reset: %s", error.found)

    def reset(self) -> None:
        """Forget all that is under way."""
        with self.lock:
            self._started = False
            self.start()
            self._reset_recovery(errors.LinkError("asked for"))

    def close(self) -> None:
        close = getattr(self.handle, "close", None)
        if callable(close):
            close()
