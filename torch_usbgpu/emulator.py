"""A virtual ASM2464PD dock with an AMD GPU, plugged in the moment it is made.

`EmulatedAdapter` has the methods of python-libusb1's `USBDeviceHandle`, with the same names,
argument order and exceptions, so a driver cannot tell them apart. What the model knows beyond
that (counters, violations, fault switches) is on top, for tests and tools.

Time is virtual: a wait that nothing can end (an unknown request, a firmware that hangs) raises
`usb1.USBErrorTimeout` at once; a wait that another thread or the GPU may end is really waited,
at most as long as the caller's time-out. docs/emulator-adapter.md has every request and register.
"""
from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import usb1

from . import _emulator

_dock = _emulator.adapter
Status = _dock.Status

EMULATED_CHIPS = {word: chip["name"] for chip in _emulator.gpu.CHIPS for word in (chip["name"], chip["target"])}
_ERRORS: dict[Any, type[usb1.USBError]] = {
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
_DIRECTION_IN = 0x80
_plugged_in: weakref.WeakSet[EmulatedAdapter] = weakref.WeakSet()


class ProtocolViolation(RuntimeError):
    """Strict mode: the driver did something that hardware answers with silence, garbage or a hang.

    `name` is a stable word ("stream-excess", "bulk-out-unarmed", ...); docs/emulator-adapter.md lists them.
    Deliberately no `usb1.USBError`, so that no retry loop swallows it.
    """

    def __init__(self, name: str, text: str):
        super().__init__(f"{name}: {text}")
        self.name = name


class EmulatedAdapter:
    """A plugged-in virtual dock.

    Args:
        chip: the GPU in it ("navi31" or its target name "gfx1100"; "probe" is a bare endpoint for tests).
        vram_bytes: 0 for what the real board has. Memory is used as it is touched.
        firmware: custom | custom-2026-08 | legacy | stock | rom | bootstub. Only the custom one is spoken.
        usb: "super", or "high" for the USB 2 fallback.
        strict: raise `ProtocolViolation` where hardware would fail silently; bulk data lands late.
        faults: switches such as "unplug-after:100", "timeout:F2:1", "no-link".
        deterministic: the GPU steps only inside transfers.
        threads: of the shader cores; 0 for all cores.
        lanes: of the PCIe link.
    """

    def __init__(self, chip: str = "navi31", vram_bytes: int = 0, firmware: str = "custom", usb: str = "super",
                 strict: bool = False, faults: Iterable[str] = (), *, deterministic: bool = False, threads: int = 0,
                 lanes: int = 2):
        if chip != "probe":
            if chip not in EMULATED_CHIPS:
                raise ValueError(f"no emulated chip {chip!r}; there are {', '.join(EMULATED_CHIPS)}")
            chip = EMULATED_CHIPS[chip]
        if isinstance(faults, str):
            faults = [faults]
        self.chip = chip
        self._model = _dock.Dock(chip=chip, vram_bytes=vram_bytes or 0, firmware=firmware, usb=usb, strict=strict,
                                 deterministic=deterministic, threads=threads, lanes=lanes, faults=list(faults))
        self._configuration = 1  # the operating system configures a device when it is plugged in
        self._closed = False
        self._late: deque[ProtocolViolation] = deque()  # of asynchronous transfers: raised by the next call
        self._queues: dict[int, _EndpointQueue] = {}
        self._queues_lock = threading.Lock()
        self._leaving = False
        self._process = os.getpid()
        _plugged_in.add(self)
        (self.vendor_id, self.product_id, self.bcd_device,
         self._manufacturer, self._product, self._serial) = self._model.identity()

    # --- transfers -------------------------------------------------------------------------------------------------

    def controlWrite(self, request_type: int, request: int, value: int, index: int, data, timeout: int = 0) -> int:
        """Synchronous control transfer, host to device. Returns the number of bytes sent."""
        status, sent = self._run(
            0, lambda stop: self._control_out(request_type, request, value, index, data, timeout, stop)
        )
        self._check(status)
        return sent

    def controlRead(self, request_type: int, request: int, value: int, index: int, length, timeout: int = 0):
        """Synchronous control transfer, device to host. Returns the bytes received."""
        size = length if isinstance(length, int) else len(length)
        status, data = self._run(
            0, lambda stop: self._control_in(request_type, request, value, index, size, timeout, stop)
        )
        self._check(status)
        return _delivered(length, data)

    def bulkWrite(self, endpoint: int, data, timeout: int = 0) -> int:
        """Synchronous bulk OUT. A time-out carries `transferred`."""
        endpoint &= ~_DIRECTION_IN
        status, sent = self._run(
            endpoint, lambda stop: self._guard(self._model.bulk_out, endpoint, data, timeout, stop)
        )
        self._check(status, transferred=sent)
        return sent

    def bulkRead(self, endpoint: int, length, timeout: int = 0):
        """Synchronous bulk IN. A time-out carries `received`."""
        endpoint |= _DIRECTION_IN
        size = length if isinstance(length, int) else len(length)
        status, data = self._run(endpoint, lambda stop: self._guard(self._model.bulk_in, endpoint, size, timeout, stop))
        self._check(status, transferred=len(data), received=data)
        return _delivered(length, data)

    def getTransfer(
        self, iso_packets: int = 0, short_is_error: bool = False, add_zero_packet: bool = False
    ) -> EmulatedTransfer:
        """An asynchronous transfer. Its callback runs on the endpoint's own thread."""
        if iso_packets:
            raise usb1.USBErrorNotSupported
        return EmulatedTransfer(self)

    # --- device and interface --------------------------------------------------------------------------------------

    def getConfiguration(self) -> int:
        self._check_open()
        return self._configuration  # cached by the operating system; the firmware never answers this

    def setConfiguration(self, configuration: int) -> None:
        if configuration not in (1, 0, -1):
            raise usb1.USBErrorNotFound
        self.controlWrite(0x00, 9, max(configuration, 0), 0, b"", 1000)
        self._configuration = max(configuration, 0)
        self._model.set_alternate(0)

    def claimInterface(self, interface: int) -> _Claim:
        self._check_open()
        if interface != 0:
            raise usb1.USBErrorNotFound
        return _Claim(self, interface)

    def releaseInterface(self, interface: int) -> None:
        self._check_open()

    def setInterfaceAltSetting(self, interface: int, alt_setting: int) -> None:
        alternates = 2 if len(self.getConfigurationDescriptor()) > 64 else 1
        if interface != 0 or not 0 <= alt_setting < alternates:
            raise usb1.USBErrorNotFound
        self.controlWrite(0x01, 11, alt_setting, interface, b"", 1000)

    def clearHalt(self, endpoint: int) -> None:
        self.controlWrite(0x02, 1, 0, endpoint, b"", 1000)

    def resetDevice(self) -> None:
        """A USB port reset: configuration and alternate setting as after enumeration; PCIe is untouched."""
        self.setConfiguration(1)

    def kernelDriverActive(self, interface: int) -> bool:
        self._check_open()
        return False

    def detachKernelDriver(self, interface: int) -> None:
        raise usb1.USBErrorNotFound

    def attachKernelDriver(self, interface: int) -> None:
        raise usb1.USBErrorNotFound

    def setAutoDetachKernelDriver(self, enable: bool) -> None:
        self._check_open()

    def getManufacturer(self) -> str:
        return self._string(1)

    def getProduct(self) -> str:
        return self._string(2)

    def getSerialNumber(self) -> str:
        return self._string(3)

    def getASCIIStringDescriptor(self, descriptor: int, errors: str = "strict") -> str:
        return self._string(descriptor)

    def getVendorID(self) -> int:
        return self.vendor_id

    def getProductID(self) -> int:
        return self.product_id

    def getbcdDevice(self) -> int:
        return self.bcd_device

    def getDeviceSpeed(self) -> int:
        return usb1.SPEED_SUPER if self._model.super_speed() else usb1.SPEED_HIGH

    def getDevice(self) -> EmulatedAdapter:
        return self

    def getDeviceDescriptor(self) -> bytes:
        return self._model.device_descriptor()

    def getConfigurationDescriptor(self) -> bytes:
        return self._model.configuration_descriptor()

    def close(self) -> None:
        """Ends the asynchronous transfers. The virtual dock keeps its state: see reopen()."""
        self._end_queues()
        self._closed = True

    def __enter__(self) -> EmulatedAdapter:
        return self

    def __exit__(self, *_exception) -> None:
        self.close()

    # --- beyond a USB handle ---------------------------------------------------------------------------------------

    def reopen(self) -> None:
        """What a second process finds: bridges, BARs and the GPU go on as they were left."""
        self._closed = False

    def unplug(self) -> None:
        """Pulls the cable: everything in flight and everything later fails with `usb1.USBErrorNoDevice`."""
        self._model.unplug()

    def replug(self) -> None:
        """Plugs it in again, cold."""
        self._model.replug()

    def counts(self) -> dict[str, int]:
        """Transfers by kind and request, bytes, TLPs, violations."""
        return self._model.counts()

    @property
    def modelled_seconds(self) -> float:
        """What the transfers would have taken on hardware, by the calibrated model."""
        return self._model.modelled_seconds()

    @property
    def violations(self) -> list[tuple[str, str]]:
        """(name, text) of what the model noticed, strict or not; the last 256."""
        return self._model.violations()

    # --- inside ----------------------------------------------------------------------------------------------------

    def _string(self, index: int) -> str:
        data = self.controlRead(0x80, 6, 0x0300 | index, 0x0409, 255, 1000)
        return data[2:].decode("utf-16-le")

    def _check_open(self) -> None:
        if self._closed or os.getpid() != self._process:  # a forked child has the memory of the dock, not its threads
            raise usb1.USBErrorNoDevice

    @staticmethod
    def _check(status, **details) -> None:
        if status != Status.ok:
            error = _ERRORS[status]()
            for name, value in details.items():
                setattr(error, name, value)
            raise error

    def _guard(self, call: Callable, *arguments):
        self._check_open()
        if self._late:
            raise self._late.popleft()
        try:
            return call(*arguments)
        except _dock.Violation as violation:
            raise ProtocolViolation(violation.name, str(violation)) from None

    def _control_out(self, request_type, request, value, index, data, timeout, stop):
        return self._guard(
            self._model.control_out, request_type & ~_DIRECTION_IN, request, value, index, data, timeout, stop
        )

    def _control_in(self, request_type, request, value, index, length, timeout, stop):
        return self._guard(
            self._model.control_in, request_type | _DIRECTION_IN, request, value, index, length, timeout, stop
        )

    def _run(self, endpoint: int, work: Callable):
        """Runs a synchronous transfer: at once, or behind the asynchronous ones of the same endpoint."""
        queue = self._queues.get(endpoint)
        if queue is None or queue.idle():
            return work(None)
        waiting = _Job(work)
        queue.put(waiting)
        while not waiting.finished.wait(0.1):
            pass  # in slices, so that Ctrl-C gets through
        if waiting.error is not None:
            raise waiting.error
        return waiting.result

    def _submit(self, endpoint: int, job: _Job) -> None:
        with self._queues_lock:
            self._check_open()
            queue = self._queues.get(endpoint)
            if queue is None and not self._leaving:
                queue = self._queues[endpoint] = _EndpointQueue(f"usb-endpoint-{endpoint:02x}")
        if queue is None:
            job.run()  # the interpreter is on its way out and starts no more threads
        else:
            queue.put(job)

    def _end_queues(self) -> None:
        with self._queues_lock:
            queues, self._queues = self._queues, {}
        for queue in queues.values():
            queue.stop()


_left_by_the_parent: list[Any] = []


def _after_fork() -> None:
    """Ending a model joins its threads, which a forked child does not have: there it lives on until the exit."""
    _left_by_the_parent.extend(adapter._model for adapter in list(_plugged_in))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _leave() -> None:
    """No thread of ours may come back from a transfer into a Python that is being taken down."""
    for adapter in list(_plugged_in):
        adapter._leaving = True
        adapter._end_queues()


class _Claim:
    """`with handle.claimInterface(0):`"""

    def __init__(self, adapter: EmulatedAdapter, interface: int):
        self._adapter, self._interface = adapter, interface

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_exception) -> None:
        self._adapter.releaseInterface(self._interface)


class _Job:
    """One transfer in an endpoint's queue."""

    def __init__(self, work: Callable, done: Callable[[_Job], None] | None = None):
        self.work, self.done = work, done
        self.stop = _dock.Cancellation()
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


class _EndpointQueue:
    """The host controller's queue of one endpoint: transfers in order, independent of the other endpoints."""

    def __init__(self, name: str):
        self._jobs: deque[_Job | None] = deque()
        self._changed = threading.Condition()
        self._running: _Job | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, job: _Job) -> None:
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


class EmulatedTransfer:
    """An asynchronous transfer with the methods of python-libusb1's `USBTransfer`."""

    def __init__(self, adapter: EmulatedAdapter):
        self._adapter = adapter
        self._endpoint = 0
        self._type = usb1.TRANSFER_TYPE_CONTROL
        self._work: Callable | None = None
        self._buffer = memoryview(bytearray())
        self._callback: Callable[[EmulatedTransfer], Any] | None = None
        self._user_data: Any = None
        self._job: _Job | None = None
        self._status = usb1.TRANSFER_COMPLETED
        self._actual = 0
        self._doomed = False
        self.error: BaseException | None = None  # a ProtocolViolation of strict mode

    def setControl(self, request_type: int, request: int, value: int, index: int, buffer_or_len, callback=None,
                   user_data=None, timeout: int = 0) -> None:
        self._prepare(usb1.TRANSFER_TYPE_CONTROL, 0, buffer_or_len, callback, user_data)
        model, buffer = self._adapter, self._buffer
        if request_type & _DIRECTION_IN:
            self._work = lambda stop: model._control_in(request_type, request, value, index, len(buffer), timeout, stop)
        else:
            self._work = lambda stop: model._control_out(request_type, request, value, index, buffer, timeout, stop)

    def setBulk(self, endpoint: int, buffer_or_len, callback=None, user_data=None, timeout: int = 0) -> None:
        self._prepare(usb1.TRANSFER_TYPE_BULK, endpoint, buffer_or_len, callback, user_data)
        model, buffer = self._adapter, self._buffer
        if endpoint & _DIRECTION_IN:
            self._work = lambda stop: model._guard(model._model.bulk_in, endpoint, len(buffer), timeout, stop)
        else:
            self._work = lambda stop: model._guard(model._model.bulk_out, endpoint, buffer, timeout, stop)

    def submit(self) -> None:
        if self.isSubmitted():
            raise ValueError("Cannot submit a submitted transfer")
        if self._doomed:
            raise usb1.DoomedTransferError("Cannot submit doomed transfer")
        if self._work is None:
            raise ValueError("Cannot submit a transfer until it has been initialized")
        self._job = _Job(self._work, self._finish)
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
        return self._type

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
        self._type, self._endpoint = kind, endpoint
        if isinstance(buffer_or_len, int):
            self._buffer = memoryview(bytearray(buffer_or_len))
        else:
            # like libusb, which reads the caller's memory while the transfer runs
            self._buffer = memoryview(buffer_or_len).cast("B")
        self._callback, self._user_data = callback, user_data
        self.error = None

    def _finish(self, job: _Job) -> None:
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


def _delivered(length, data: bytes):
    """python-libusb1 fills a caller's buffer and returns the part that was filled."""
    if isinstance(length, int):
        return data
    view = memoryview(length).cast("B")
    view[:len(data)] = data
    return view[:len(data)]
