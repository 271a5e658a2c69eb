"""Single transfers over a handle: counted, with typed errors, synchronous or in flight.

What the requests mean is the business of asm2464pd.py.
"""
from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import usb1

from .. import errors
from .facts import FACTS
from .pending import Pending
from .stats import LinkStats

log = logging.getLogger(__name__)

OUT, IN = FACTS["request_type"]["out"], FACTS["request_type"]["in"]
BULK_OUT, BULK_IN = FACTS["endpoints"]["bulk_out"], FACTS["endpoints"]["bulk_in"]


# USB 3.2, 9.4: the standard requests behind clearHalt and setInterfaceAltSetting.
CLEAR_FEATURE, SET_INTERFACE, ENDPOINT_HALT = 1, 11, 0
TO_INTERFACE, TO_ENDPOINT = 0x01, 0x02
TIMEOUT_STANDARD_MS = 1000

# Unplugging shows as NO_DEVICE on Linux once the hub has noticed, and before that, or elsewhere, as nearly anything
# (libusb: os/linux_usbfs.c maps EPROTO and EILSEQ to an error and EPIPE to a stall; os/darwin_usb.c reports aborted
# transfers as cancelled, vanished pipes as NOT_FOUND and unknown codes as OTHER; os/windows_winusb.c maps
# ERROR_GEN_FAILURE to a stall and ERROR_FILE_NOT_FOUND to NOT_FOUND). After one of these the device is looked for.
AMBIGUOUS = (usb1.USBErrorIO, usb1.USBErrorPipe, usb1.USBErrorNotFound, usb1.USBErrorOther, usb1.USBErrorInterrupted)
PRESENCE_SECONDS = 0.4          # a system takes a few tenths of a second to notice that a device is gone
PRESENCE_PAUSE_SECONDS = 0.05
PROBE_MS = 200

# Set by tools that look at the traffic: (handle, adapter) -> the handle to use in its place.
wrap_handle: Callable | None = None


class Transfers:
    """Base of the adapter: `handle`, `lock`, `stats`, and one method per kind of transfer."""

    # Set by the runtime: address of code -> name of its kernel. Only for people to read.
    kernel_at: Callable[[int], str | None] | None = None

    def __init__(self, handle) -> None:
        """`handle`: a transport's, or another `Transfers` whose handle, statistics and lock are shared."""
        if isinstance(handle, Transfers):
            self.handle, self.stats, self.lock = handle.handle, handle.stats, handle.lock
        else:
            self.handle = handle if wrap_handle is None else wrap_handle(handle, self)
            self.stats = LinkStats()
            self.lock = threading.RLock()
        self._looking = False

    def attach(self, handle) -> None:
        """Goes on with another handle, the same adapter's after it was opened again. start() is next."""
        with self.lock:
            self.handle = handle if wrap_handle is None else wrap_handle(handle, self)
            self.started = False

    # ---- standard requests. libusb's own methods where the handle has them: they reset the host's data toggles too.

    def set_interface(self, interface: int, alternate: int) -> None:
        self.stats.count_control("set_interface")
        method = getattr(self.handle, "setInterfaceAltSetting", None)
        self._wrap("set_interface", lambda: method(interface, alternate) if method else self.handle.controlWrite(
            TO_INTERFACE, SET_INTERFACE, alternate, interface, b"", timeout=TIMEOUT_STANDARD_MS))

    def clear_halt(self, endpoint: int) -> None:
        self.stats.count_control("clear_halt")
        method = getattr(self.handle, "clearHalt", None)
        self._wrap("clear_halt", lambda: method(endpoint) if method else self.handle.controlWrite(
            TO_ENDPOINT, CLEAR_FEATURE, ENDPOINT_HALT, endpoint, b"", timeout=TIMEOUT_STANDARD_MS))

    @property
    def repeatable(self) -> bool:
        """Is the conversation recorded, or replayed? Then it is to be the same every time."""
        return bool(getattr(self.handle, "repeatable", False))

    # ---- in flight

    def submit_control(self, name: str, request: int, value: int, index: int, data_or_length: bytes | int,
                       timeout_ms: int) -> Pending:
        """Queue a vendor request: bytes = H2D with that data stage, int = D2H of that length."""
        reads = isinstance(data_or_length, int)
        size = data_or_length if reads else len(data_or_length)
        self.stats.count_control(name, out=0 if reads else size, into=size if reads else 0, reads=reads)
        log.debug("%s value=%#06x index=%#06x submitted", name, value, index)
        kind = IN if reads else OUT
        return self._submit(
            lambda transfer, done: transfer.setControl(kind, request, value, index, data_or_length, callback=done,
                                                       timeout=timeout_ms),
            (lambda: self.handle.controlRead(kind, request, value, index, size, timeout=timeout_ms)) if reads else
            (lambda: self.handle.controlWrite(kind, request, value, index, data_or_length, timeout=timeout_ms)), reads)

    def submit_bulk(self, endpoint: int, data_or_length: bytes | bytearray | memoryview | int, timeout_ms: int,
                    path: str) -> Pending:
        """Queue a bulk transfer. `path` names it in the statistics."""
        reads = isinstance(data_or_length, int)
        self.stats.count_bulk(path, data_or_length if reads else len(data_or_length))
        log.debug("bulk %s submitted", path)
        return self._submit(
            lambda transfer, done: transfer.setBulk(endpoint, data_or_length, callback=done, timeout=timeout_ms),
            (lambda: self.handle.bulkRead(endpoint, data_or_length, timeout=timeout_ms)) if reads else
            (lambda: self.handle.bulkWrite(endpoint, data_or_length, timeout=timeout_ms)), reads)

    def _submit(self, configure: Callable, synchronous: Callable, reads: bool) -> Pending:
        pending = Pending(self._translate)
        if not hasattr(self.handle, "getTransfer"):
            try:
                result = synchronous()
                pending.finish(bytes(result) if reads else result)
            except usb1.USBError as error:
                pending.fail(error)
            return pending
        transfer = self.handle.getTransfer()
        try:
            configure(transfer, lambda finished: pending.completed(finished, reads))
            transfer.submit()
            pending.submitted(transfer)
        except usb1.USBError as error:
            pending.fail(error)
        return pending

    # ---- one at a time

    def _control_out(self, name: str, request: int, value: int, index: int, data: bytes, timeout_ms: int) -> None:
        with self.lock:
            self.stats.count_control(name, out=len(data))
            if log.isEnabledFor(logging.DEBUG):
                log.debug("%s value=%#06x index=%#06x data=%s", name, value, index, bytes(data).hex(" ", 4))
            self._wrap(name, lambda: self.handle.controlWrite(OUT, request, value, index, data, timeout=timeout_ms))

    def _control_in(self, name: str, request: int, value: int, index: int, length: int, timeout_ms: int) -> bytes:
        with self.lock:
            self.stats.count_control(name, into=length, reads=True)
            data = bytes(self._wrap(
                name, lambda: self.handle.controlRead(IN, request, value, index, length, timeout=timeout_ms)))
            if log.isEnabledFor(logging.DEBUG):
                log.debug("%s value=%#06x index=%#06x answer=%s", name, value, index, data[:64].hex(" ", 4))
            return data

    def _bulk_out(self, path: str, data: bytes | bytearray | memoryview, timeout_ms: int) -> None:
        # The emulator and libusb take any buffer; a memoryview slice is passed on without a copy where possible.
        self.stats.count_bulk(path, len(data))
        log.debug("bulk %s %d bytes", path, len(data))
        sent = self._wrap(path, lambda: self.handle.bulkWrite(BULK_OUT, data, timeout=timeout_ms))
        if sent != len(data):
            raise self._error(errors.LinkError("A bulk transfer to the adapter ended early.", path=path,
                                               asked=len(data), sent=sent))

    def _bulk_in(self, path: str, nbytes: int, timeout_ms: int) -> bytes:
        self.stats.count_bulk(path, nbytes)
        log.debug("bulk %s %d bytes asked", path, nbytes)
        return bytes(self._wrap(path, lambda: self.handle.bulkRead(BULK_IN, nbytes, timeout=timeout_ms)))

    def _wrap(self, name: str, call: Callable):
        try:
            return call()
        except usb1.USBError as error:
            log.debug("%s failed: %r", name, error)
            raise self._translate(error, name) from error

    def _is_present(self) -> bool:
        """After an error that says little: is the device still there? Asks the handle to look on the bus, if it can
        (`isAttached`), and the device for something small."""
        if self._looking:               # the question itself has failed
            return True
        attached = getattr(self.handle, "isAttached", None)
        self._looking = True
        try:
            deadline = time.monotonic() + PRESENCE_SECONDS
            while True:
                if callable(attached) and not attached():
                    return False
                try:
                    self._ask_something()
                    return True
                except usb1.USBErrorNoDevice:
                    return False
                except AMBIGUOUS as error:
                    log.debug("the device answers with %r", error)
                except Exception as error:      # silent but there, or a handle of somebody else's that cannot say
                    log.debug("the device does not answer: %r", error)
                    return True
                if time.monotonic() > deadline:
                    # Every transfer fails: gone, unless the bus says otherwise.
                    return callable(attached)
                time.sleep(PRESENCE_PAUSE_SECONDS)
        finally:
            self._looking = False

    def _ask_something(self) -> None:
        """The cheapest request that the device is sure to answer."""
        self.handle.controlRead(IN, FACTS["requests"]["read_xdata"], FACTS["xdata"]["ltssm"], 0, 1, timeout=PROBE_MS)

    def _error(self, error: errors.UsbGpuError) -> errors.UsbGpuError:
        self.stats.errors += 1
        return error

    def _translate(self, error: Exception, name: str = "transfer") -> Exception:
        """usb1's exceptions as ours; anything else unchanged."""
        self.stats.errors += 1
        if isinstance(error, usb1.USBErrorTimeout):
            return errors.LinkTimeout(f"The adapter did not answer in time ({name}).")
        if isinstance(error, usb1.USBErrorNoDevice):
            return errors.DeviceLost(f"The adapter went away ({name}).")
        if isinstance(error, AMBIGUOUS) and not self._is_present():
            return errors.DeviceLost(f"The adapter went away ({name}).", usb_error=repr(error))
        if isinstance(error, usb1.USBErrorAccess):
            return errors.PermissionDenied("The system does not let this user open the adapter.",
                                           "Allow access to the USB device (on Linux: a udev rule), then try again.")
        if isinstance(error, usb1.USBErrorBusy):
            return errors.DeviceBusy("Another process uses the adapter.")
        if isinstance(error, usb1.USBError):
            return errors.LinkError(f"A USB transfer failed ({name}).", usb_error=repr(error))
        return error
