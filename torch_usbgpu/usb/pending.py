"""Transfers in flight: what Adapter.submit_* returns."""
from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import usb1

from ..errors import LinkTimeout

log = logging.getLogger(__name__)

# Transfer status -> the exception that the synchronous call would have raised.
_STATUS_ERRORS = {
    usb1.TRANSFER_TIMED_OUT: usb1.USBErrorTimeout,
    usb1.TRANSFER_STALL: usb1.USBErrorPipe,
    usb1.TRANSFER_NO_DEVICE: usb1.USBErrorNoDevice,
    usb1.TRANSFER_OVERFLOW: usb1.USBErrorOverflow,
    usb1.TRANSFER_CANCELLED: usb1.USBErrorInterrupted,
}


class StillInFlight(LinkTimeout, TimeoutError):
    """wait() gave up. The system should have ended the transfer by itself: doing it again is not safe."""


class Pending:
    """A submitted transfer. `wait()` returns the bytes read, or the number of bytes written."""

    def __init__(self, translate: Callable[[Exception], Exception]) -> None:
        self._translate = translate
        self._done = threading.Event()
        self._result: bytes | int | None = None
        self._error: Exception | None = None
        self._transfer = None       # while it is in flight

    # -- completion, called by the transport's event thread
    def finish(self, result: bytes | int) -> None:
        self._result = result
        self._done.set()
        self._transfer = None

    def fail(self, error: Exception) -> None:
        self._error = error
        self._done.set()
        self._transfer = None

    def completed(self, transfer, reads: bool) -> None:
        """Callback of a usb1 transfer. Runs while the transfer's buffer is still valid."""
        status = transfer.getStatus()
        if status == usb1.TRANSFER_COMPLETED:
            length = transfer.getActualLength()
            self.finish(bytes(transfer.getBuffer()[:length]) if reads else length)
        else:
            self.fail(_STATUS_ERRORS.get(status, usb1.USBErrorIO)())

    def submitted(self, transfer) -> None:
        self._transfer = transfer
        if self.done:
            self._transfer = None   # it completed meanwhile: no cycle with the callback is to stay

    # -- for the user
    @property
    def done(self) -> bool:
        return self._done.is_set()

    def settle(self, timeout_s: float) -> bool:
        """Wait for the end, whatever it is. False: the transfer is still in flight."""
        return self._done.wait(timeout_s)

    def cancel(self, timeout_s: float) -> None:
        """Take it back, and await its end: a transfer that stays with the system would swallow what is armed next."""
        transfer = self._transfer
        if transfer is None or self.done:
            return
        try:
            transfer.cancel()
        except usb1.USBError as error:      # it has just ended, or the adapter is gone
            log.debug("cancel: %r", error)
        self.settle(timeout_s)

    def wait(self, timeout_s: float | None = None) -> bytes | int:
        """Block until the transfer ends. Raises what it failed with, typed; StillInFlight if it has not ended."""
        if not self._done.wait(timeout_s):
            raise StillInFlight("A USB transfer has not ended in time, and its own time-out has not ended it either.",
                                waited_s=timeout_s)
        if self._error is not None:
            raise self._translate(self._error)
        return self._result
