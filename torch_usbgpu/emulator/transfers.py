"""The host controller's side: transfers in the queues of their endpoints, with python-libusb1's names and values."""
from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import usb1

from .. import _emulator

if TYPE_CHECKING:
    from .adapter import EmulatedAdapter

dock = _emulator.adapter
Status = dock.Status
DIRECTION_IN = 0x80
TRANSFER_TYPE_BULK_STREAM = 4  # libusb's value
ERRORS: dict[Any, type[usb1.USBError]] = {
    Status.timeout: usb1.USBErrorTimeout,
    Status.stall: usb1.USBErrorPipe,
    Status.no_device: usb1.USBErrorNoDevice,
    Status.overflow: usb1.USBErrorOverflow,
    Status.not_found: usb1.USBErrorNotFound,
    Status.cancelled: usb1.USBErrorInterrupted,
}
_TRANSFER_STATUS = {
    Status.ok: usb1.TRANSFER_COMPLETED,
    Status.timeout: usb1.TRANSFER_TIMED_OUT,
    Status.stall: usb1.TRANSFER_STALL,
    Status.no_device: usb1.TRANSFER_NO_DEVICE,
    Status.overflow: usb1.TRANSFER_OVERFLOW,
    Status.not_found: usb1.TRANSFER_ERROR,
    Status.cancelled: usb1.TRANSFER_CANCELLED,
}


class ProtocolViolation(RuntimeError):
    """Strict mode: the driver did something that hardware answers with silence, garbage or a hang.

    `name` is a stable word ("stream-excess", "bulk-out-unarmed", ...); docs/emulator-adapter.md lists them.
    Deliberately no `usb1.USBError`, so that no retry loop swallows it.
    """

    def __init__(self, name: str, text: str):
        super().__init__(f"{name}: {text}")
        self.name = name


class Job:
    """One transfer in an endpoint's queue."""

    def __init__(self, work: Callable, done: Callable[[Job], None] | None = None):
        self.work, self.done = work, done
        self.stop = dock.Cancellation()
        self.cancelled = False
        self.finished = threading.Event()
        self.result: tuple = (Status.cancelled, 0)
        self.error: BaseException | None = None

    def cancel(self) -> None:
        self.cancelled = True
        self.stop.request()

    def run(self) -> None:
        if not self.cancelled:
            try:
                self.result = self.work(self.stop)
            except BaseException as error:  # handed to whoever waits
                self.error = error
        self.finished.set()
        if self.done is not None:
            self.done(self)


class EndpointQueue:
    """The host controller's queue of one endpoint: transfers in order, independent of the other endpoints."""

    def __init__(self, name: str):
        self._jobs: deque[Job | None] = deque()
        self._changed = threading.Condition()
        self._running: Job | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    def idle(self) -> bool:
        return threading.current_thread() is self._thread or (not self._jobs and self._running is None)

    def stop(self) -> None:
        with self._changed:
            for job in (*self._jobs, self._running):
                if job is not None:
                    job.cancel()
            self._jobs.append(None)
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._running = None
                while not self._jobs:
                    self._changed.wait()
                job = self._running = self._jobs.popleft()
            if job is None:
                return
            job.run()
            del job  # an idle queue keeps nobody alive


class EmulatedTransfer:
    """An asynchronous transfer with the methods of python-libusb1's `USBTransfer`."""

    def __init__(self, adapter: EmulatedAdapter):
        self._adapter = adapter
        self._endpoint = 0
        self._stream = 0
        self._timeout = 0
        self._queued = 0
        self._type = usb1.TRANSFER_TYPE_CONTROL
        self._work: Callable | None = None
        self._buffer = memoryview(bytearray())
        self._callback: Callable[[EmulatedTransfer], Any] | None = None
        self._user_data: Any = None
        self._job: Job | None = None
        self._status = usb1.TRANSFER_COMPLETED
        self._actual = 0
        self._doomed = False
        self.error: BaseException | None = None  # a ProtocolViolation of strict mode

    def setControl(self, request_type: int, request: int, value: int, index: int, buffer_or_len, callback=None,
                   user_data=None, timeout: int = 0) -> None:
        self._prepare(usb1.TRANSFER_TYPE_CONTROL, 0, buffer_or_len, callback, user_data)
        model, buffer = self._adapter, self._buffer
        if request_type & DIRECTION_IN:
            self._work = lambda stop: model._control_in(request_type, request, value, index, len(buffer), timeout, stop)
        else:
            self._work = lambda stop: model._control_out(
                request_type, request, value, index, buffer, timeout, stop, self._queued
            )

    def setBulk(self, endpoint: int, buffer_or_len, callback=None, user_data=None, timeout: int = 0) -> None:
        self._prepare(usb1.TRANSFER_TYPE_BULK, endpoint, buffer_or_len, callback, user_data)
        self._timeout = timeout
        model, buffer = self._adapter, self._buffer
        if endpoint & DIRECTION_IN:
            self._work = lambda stop: model._guard(model._model.bulk_in, endpoint, len(buffer), timeout, stop)
        else:
            self._work = lambda stop: model._guard(model._model.bulk_out, endpoint, buffer, timeout, stop)

    def setBulkStream(self, endpoint: int, stream_id: int, buffer_or_len, callback=None, user_data=None,
                      timeout: int = 0) -> None:
        """libusb_fill_bulk_stream_transfer: a bulk transfer on a stream that allocStreams() made."""
        self.setBulk(endpoint, buffer_or_len, callback, user_data, timeout)
        self.setStreamID(stream_id)

    def setStreamID(self, stream_id: int) -> None:
        self._stream = stream_id

    def getStreamID(self) -> int:
        return self._stream

    def submit(self) -> None:
        if self.isSubmitted():
            raise ValueError("Cannot submit a submitted transfer")
        if self._doomed:
            raise usb1.DoomedTransferError("Cannot submit doomed transfer")
        if self._work is None:
            raise ValueError("Cannot submit a transfer until it has been initialized")
        self._queued = self._adapter._model.streams_done()
        self._job = self._adapter._stream_job(self) or Job(self._work, self._finish)
        try:
            self._adapter._submit(self._endpoint, self._job)
        except usb1.USBError:
            self._job = None
            raise

    def cancel(self) -> None:
        if self._job is None:
            raise self._not_submitted()
        self._job.cancel()

    def isSubmitted(self) -> bool:
        return self._job is not None

    def getStatus(self) -> int:
        return self._status

    def getActualLength(self) -> int:
        return self._actual

    def getBuffer(self) -> memoryview:
        return self._buffer

    def setBuffer(self, buffer_or_len) -> None:
        raise ValueError("Set a new transfer up instead")

    def getType(self) -> int:
        return TRANSFER_TYPE_BULK_STREAM if self._stream else self._type

    def getEndpoint(self) -> int:
        return self._endpoint

    def getUserData(self):
        return self._user_data

    def setUserData(self, user_data) -> None:
        self._user_data = user_data

    def getCallback(self):
        return self._callback

    def setCallback(self, callback) -> None:
        self._callback = callback

    def doom(self) -> None:
        self._doomed = True

    def close(self) -> None:
        if self.isSubmitted():
            raise ValueError("Cannot close a submitted transfer")
        self._work = None

    @staticmethod
    def _not_submitted() -> Exception:
        return usb1.USBErrorNotFound()

    def _prepare(self, kind: int, endpoint: int, buffer_or_len, callback, user_data) -> None:
        if self.isSubmitted():
            raise ValueError("Cannot alter a submitted transfer")
        if self._doomed:
            raise usb1.DoomedTransferError("Cannot reuse a doomed transfer")
        self._type, self._endpoint, self._stream = kind, endpoint, 0
        if isinstance(buffer_or_len, int):
            self._buffer = memoryview(bytearray(buffer_or_len))
        else:
            # like libusb, which reads the caller's memory while the transfer runs
            self._buffer = memoryview(buffer_or_len).cast("B")
        self._callback, self._user_data = callback, user_data
        self.error = None

    def _finish(self, job: Job) -> None:
        status, moved = job.result
        self.error = job.error
        if job.error is not None:
            if isinstance(job.error, ProtocolViolation):
                self._adapter._late.append(job.error)
            no_device = isinstance(job.error, usb1.USBErrorNoDevice)
            self._status, self._actual = usb1.TRANSFER_NO_DEVICE if no_device else usb1.TRANSFER_ERROR, 0
        else:
            if isinstance(moved, bytes):
                self._buffer[:len(moved)] = moved
                moved = len(moved)
            self._status, self._actual = _TRANSFER_STATUS[status], moved
        self._job = None
        if self._callback is not None:
            self._callback(self)


def delivered(length, data: bytes):
    """python-libusb1 fills a caller's buffer and returns the part that was filled."""
    if isinstance(length, int):
        return data
    view = memoryview(length).cast("B")
    view[:len(data)] = data
    return view[:len(data)]
