"""SCSI commands over USB Attached SCSI: many at a time, each on a stream of its own.

Sources: USB Attached SCSI Protocol (T10 UAS r04), information units 6.2; Linux drivers/usb/storage/uas.c for the order
of submission (status and data before the command). Commands run in the order of their arrival: the protocol does not
promise it, the adapter's firmware does it, and every driver for it relies on it.
"""
from __future__ import annotations

import logging
from collections.abc import Sequence

from .. import errors
from .facts import FACTS
from .pending import Pending
from .scsi import TIMEOUT_MS, Command, ScsiLink
from .transfers import BULK_IN, BULK_OUT

log = logging.getLogger(__name__)

UAS_ALTERNATE = 1
COMMAND_PIPE, STATUS_PIPE = FACTS["endpoints"]["uas_command"], FACTS["endpoints"]["uas_status"]
STREAM_PIPES = (BULK_OUT, BULK_IN, STATUS_PIPE)
STREAMS = 31                    # the endpoints have 32, number 0 is reserved
COMMAND_UNIT, SENSE_UNIT = 0x01, 0x03
STATUS_BYTES = 64
GOOD = 0
MARGIN_SECONDS = 1.0            # for libusb to report a transfer that it has timed out


class Uas(ScsiLink):
    """Over a handle whose transfers know streams: `allocStreams`, and `setBulkStream` of what `getTransfer` makes."""

    alternate = UAS_ALTERNATE
    _window = STREAMS

    @staticmethod
    def is_offered_by(handle) -> bool:
        return all(callable(getattr(handle, name, None)) for name in ("allocStreams", "getTransfer"))

    def _claim(self) -> None:
        super()._claim()
        for endpoint in (COMMAND_PIPE, *STREAM_PIPES):
            self.clear_halt(endpoint)
        self._window = min(STREAMS, self.handle.allocStreams(STREAMS, STREAM_PIPES))

    def run(self, commands: Sequence[Command], timeout_ms: int = TIMEOUT_MS) -> list[bytes]:
        self._check(commands)
        results: list[bytes] = []
        with self.lock:
            self.start()
            while len(results) < len(commands):
                results += self._run_window(commands[len(results):len(results) + self._window], timeout_ms)
        return results

    def _run_window(self, commands: Sequence[Command], timeout_ms: int) -> list[bytes]:
        under_way: list[tuple[object, Pending]] = []

        def submit(endpoint: int, stream: int, data, path: str) -> Pending:
            reads = isinstance(data, int)
            self.stats.count_bulk(path, data if reads else len(data))
            pending = Pending(lambda error: self._translate(error, path))
            transfer = self.handle.getTransfer()

            def done(finished) -> None:
                pending.completed(finished, reads)

            if stream:
                transfer.setBulkStream(endpoint, stream, data, callback=done, timeout=timeout_ms)
            else:
                transfer.setBulk(endpoint, data, callback=done, timeout=timeout_ms)
            self._wrap(path, transfer.submit)
            under_way.append((transfer, pending))
            return pending

        waiting = []
        try:
            for slot, (cdb, data_out, length_in) in enumerate(commands, 1):
                status = submit(STATUS_PIPE, slot, STATUS_BYTES, "scsi_in")
                data = None
                if length_in:
                    data = submit(BULK_IN, slot, length_in, "scsi_in")
                elif len(data_out):
                    data = submit(BULK_OUT, slot, data_out, "scsi_out")
                unit = bytes([COMMAND_UNIT, 0, 0, slot]) + bytes(12) + bytes(cdb).ljust(16, b"\0")
                self.stats.by_request[f"scsi_{cdb[0]:02x}"] += 1
                sent = submit(COMMAND_PIPE, 0, unit, "scsi_out")
                waiting.append((slot, Command(cdb, data_out, length_in), sent, data, status))
            return [self._finish(*each, timeout_ms / 1000 + MARGIN_SECONDS) for each in waiting]
        except errors.LinkError as error:
            self._abandon(under_way, error)
            raise

    def _finish(self, slot: int, command: Command, sent: Pending, data: Pending | None, status: Pending,
                patience_s: float) -> bytes:
        """The data of one command, once its status says that it is good."""
        try:
            sent.wait(patience_s)
            unit = bytes(status.wait(patience_s))
            if len(unit) < 8 or unit[0] != SENSE_UNIT or int.from_bytes(unit[2:4], "big") != slot:
                raise self._error(errors.LinkError("A command's status is not that of the command.",
                                                   status=unit[:16].hex(), expected_tag=slot))
            if unit[6] != GOOD:
                raise self._refused(command.cdb, unit[16:])
            if data is None:
                return b""
            moved = data.wait(patience_s)
            if not command.length_in and moved != len(command.data_out):
                raise self._error(errors.LinkError("The data of a command went out only in part.",
                                                   asked=len(command.data_out), sent=moved))
        except TimeoutError:
            raise self._error(errors.LinkTimeout("The adapter did not answer in time (UAS command).")) from None
        return bytes(moved) if command.length_in else b""

    def _abandon(self, under_way: list, cause: errors.LinkError) -> None:
        """Cancel what is left of a window, and set the interface anew so that the device forgets it too."""
        log.info("abandoning a window of commands: %s", cause.found)
        for transfer, pending in under_way:
            if not pending.done:
                try:
                    transfer.cancel()
                except Exception as error:          # it has just ended
                    log.debug("cancel: %r", error)
        for _, pending in under_way:
            pending.settle(MARGIN_SECONDS)
        if isinstance(cause, errors.DeviceLost):
            return
        self._started = False
        try:
            self.start()
        except errors.UsbGpuError as error:
            log.warning("the transport did not take the reset: %s", error.found)

    def reset(self) -> None:
        """Forget all that is under way."""
        with self.lock:
            self._started = False
            self.start()
