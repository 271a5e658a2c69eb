"""Transfers in flight: what Adapter.submit_* returns."""
from __future__ import annotations

import threading
from collections.abc import Callable

import usb1

# Transfer status -> the exception that the synchronous call would have raised.
_STATUS_ERRORS = {
    usb1.TRANSFER_TIMED_OUT: usb1.USBErrorTimeout,
    usb1.TRANSFER_STALL: usb1.USBErrorPipe,
    usb1.TRANSFER_NO_DEVICE: usb1.USBErrorNoDevice,
    usb1.TRANSFER_OVERFLOW: usb1.USBErrorOverflow,
    usb1.TRANSFER_CANCELLED: usb1.USBErrorInterrupted,
}


class Pending:
    """A submitted transfer. `wait()` returns the bytes read, or the number of bytes written."""

    def __init__(self, translate: Callable[[Exception], Exception]) -> None:
        self._translate = translate
        self._done = threading.Event()
        self._result: bytes | int | None = None
        self._error: Exception | None = None

    # -- completion, called by the transport's event thread
    def finish(self, result: bytes | int) -> None:
        self._result = result
        self._done.set()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._done.set()

    def completed(self, transfer, reads: bool) -> None:
        """Callback of a usb1 transfer. Runs while the transfer's buffer is still valid."""
        status = transfer.getStatus()
        if status == usb1.TRANSFER_COMPLETED:
            length = transfer.getActualLength()
            self.finish(bytes(transfer.getBuffer()[:length]) if reads else length)
        else:
            self.fail(_STATUS_ERRORS.get(status, usb1.USBErrorIO)())

    # -- for the user
    @property
    def done(self) -> bool:
        return self._done.is_set()

    def settle(self, timeout_s: float) -> bool:
        """Wait for the end, whatever it is. False: the transfer is still in flight."""
        return self._done.wait(timeout_s)

    def wait(self, timeout_s: float | None = None) -> bytes | int:
        """Block until the transfer ends. Raises what it failed with, typed; TimeoutError if it has not ended."""
        if not self._done.wait(timeout_s):
            raise TimeoutError("the transfer is still in flight")
        if self._error is not None:
            raise self._translate(self._error)
        return self._result
