"""The virtual dock as a USB device handle."""
from __future__ import annotations

import atexit
import mmap
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import usb1

from .. import _emulator
from ..emulated_firmware import firmware_directory
from .streams import MOST_STREAMS, STREAM_ENDPOINTS, StreamJob, StreamPipes, check_stream
from .transfers import DIRECTION_IN, ERRORS, EmulatedTransfer, EndpointQueue, Job, ProtocolViolation, Status
from .transfers import delivered, dock

DEFAULT_SEED = 0x2464  # strict=True
NOT_QUEUED = (1 << 64) - 1
LEAST_VRAM, MOST_VRAM = 64 << 10, 1 << 40  # the discovery table fills the last 64 KiB
MOST_THREADS = 1024
SMALL_BAR = 256 << 20
FLASH_BYTES = 512 << 10
EMULATED_CHIPS = {word: chip["name"] for chip in _emulator.gpu.CHIPS for word in (chip["name"], chip["target"])}
_plugged_in: weakref.WeakSet[EmulatedAdapter] = weakref.WeakSet()


def _check_range(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{what} must be from {least} to {most}, not {value}")


def _open_flash(path: str | Path) -> tuple[mmap.mmap, bool]:
    """The file's pages themselves, and whether there was something in them."""
    number = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    try:
        size = os.fstat(number).st_size
        if size not in (0, FLASH_BYTES):
            raise ValueError(f"{path} is no flash of an emulated dock: it has {size} bytes, not {FLASH_BYTES}")
        if not size:
            os.ftruncate(number, FLASH_BYTES)
        return mmap.mmap(number, FLASH_BYTES), bool(size)
    finally:
        os.close(number)


class EmulatedAdapter:
    """A plugged-in virtual dock.

    Args:
        chip: the GPU in it ("navi31" or its target name "gfx1100"; "probe" is a bare endpoint for tests).
        vram_bytes: 0 for what the real board has. Memory is used as it is touched.
        firmware: custom | custom-2026-08 | legacy | stock | rom | usb4 | bootstub | unknown, or "image:FILE": an
            image of the open firmware, run on an 8051.
        usb: "super" (10 Gb/s, what the dock's link trains), "super-5g", or "high" for the USB 2 fallback.
        strict: raise `ProtocolViolation` where hardware would fail silently, and delay and reorder what hardware
            does not promise. True, or a seed: another number, another disorder.
        faults: switches such as "unplug-after:100", "timeout:F2:1", "no-link"; inject() turns on more later.
        deterministic: the GPU steps only inside transfers.
        threads: of the shader cores; 0 for all cores.
        lanes: of the PCIe link; 0 for what the firmware trains.
        serial: eight hex digits in the board's OTP area; empty: blank, as on most boards ("ffffffff").
        state: of the GPU: "cold", "warm" (another driver shut it down in order), "dirty" (another driver was torn
            away), "wedged" (its power controller is silent). A warm start of one's own: close, reopen().
        board: product name, one of `_emulator.gpu.CHIPS[...]["boards"]`; empty for the chip's first.
        bar: of the card's memory: "large" (resizable up to all of it), "small" (256 MiB, not resizable), or the largest
            size in bytes that it can be resized to.
        counters: `launch_statistics()` also has memory segments and LDS bank conflicts; kernels run more slowly.
        flash: a file that holds the SPI flash, so that what is flashed outlives the process. A new one is filled with
            what `firmware` has; afterwards its content decides what the dock enumerates as.
    """

    def __init__(self, chip: str = "navi31", vram_bytes: int = 0, firmware: str = "custom", usb: str = "super",
                 strict: bool | int = False, faults: Iterable[str] = (), *, deterministic: bool = False,
                 threads: int = 0, lanes: int = 0, serial: str = "", state: str = "cold", board: str = "",
                 counters: bool = False, flash: str | Path | None = None, bar: str | int = "large"):
        if chip != "probe":
            if chip not in EMULATED_CHIPS:
                raise ValueError(f"no emulated chip {chip!r}; there are {', '.join(EMULATED_CHIPS)}")
            chip = EMULATED_CHIPS[chip]
        if isinstance(faults, str):
            faults = [faults]
        self.chip = chip
        seed = DEFAULT_SEED if strict is True else int(strict)
        if seed < 0:
            raise ValueError("the seed of strict mode is a positive number")
        _check_range("the seed of strict mode", seed, 0, (1 << 64) - 1)
        _check_range("threads", threads, 0, MOST_THREADS)
        _check_range("lanes", lanes, 0, 16)
        if bar not in ("large", "small") and (not isinstance(bar, int) or bar < SMALL_BAR or bar & bar - 1):
            raise ValueError(f"bar must be large, small, or a power of two from {SMALL_BAR} on, not {bar!r}")
        if vram_bytes and chip != "probe":
            _check_range("vram_bytes", vram_bytes, LEAST_VRAM, MOST_VRAM)
        content, programmed = _open_flash(flash) if flash else (None, False)
        self._model = dock.Dock(chip=chip, vram_bytes=vram_bytes or 0, firmware=firmware, usb=usb, strict=seed,
                                deterministic=deterministic, threads=threads, lanes=lanes, serial=serial,
                                faults=list(faults), state=state, board=board, counters=counters,
                                flash=content, flash_programmed=programmed,
                                resizable_bar=bar != "small", largest_bar=bar if isinstance(bar, int) else 0)
        self._configuration = 1  # the operating system configures a device when it is plugged in
        self._streams: dict[int, int] = {}
        self._pipes: StreamPipes | None = None
        self._closed = False
        self._late: deque[ProtocolViolation] = deque()  # of asynchronous transfers: raised by the next call
        self._queues: dict[int, EndpointQueue] = {}
        self._queues_lock = threading.Lock()
        self._threads: list[EndpointQueue | StreamPipes] = []
        # a dock that is just forgotten takes its threads along
        weakref.finalize(self, _stop, self._threads).atexit = False
        self._leaving = False
        self._process = os.getpid()
        _plugged_in.add(self)
        self._enumerate()

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
        return delivered(length, data)

    def bulkWrite(self, endpoint: int, data, timeout: int = 0) -> int:
        """Synchronous bulk OUT. A time-out carries `transferred`."""
        endpoint &= ~DIRECTION_IN
        if self._model.serves_uas():
            status, sent = self._run_stream(endpoint, memoryview(data).cast("B"), timeout)
            self._check(status, transferred=sent)
            return sent
        status, sent = self._run(
            endpoint, lambda stop: self._guard(self._model.bulk_out, endpoint, data, timeout, stop)
        )
        self._check(status, transferred=sent)
        return sent

    def bulkRead(self, endpoint: int, length, timeout: int = 0):
        """Synchronous bulk IN. A time-out carries `received`."""
        endpoint |= DIRECTION_IN
        size = length if isinstance(length, int) else len(length)
        if self._model.serves_uas():
            status, data = self._run_stream(endpoint, memoryview(bytearray(size)), timeout)
            data = data or b""
            self._check(status, transferred=len(data), received=data)
            return delivered(length, data)
        status, data = self._run(endpoint, lambda stop: self._guard(self._model.bulk_in, endpoint, size, timeout, stop))
        self._check(status, transferred=len(data), received=data)
        return delivered(length, data)

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
        self._alternate = 0
        self._streams.clear()

    def claimInterface(self, interface: int) -> _Claim:
        self._check_open()
        if interface != 0:
            raise usb1.USBErrorNotFound
        if self._kernel_driver and not self._auto_detach:
            raise usb1.USBErrorBusy
        self._kernel_driver = False
        return _Claim(self, interface)

    def releaseInterface(self, interface: int) -> None:
        self._check_open()

    def setInterfaceAltSetting(self, interface: int, alt_setting: int) -> None:
        alternates = 2 if len(self.getConfigurationDescriptor()) > 64 else 1
        if interface != 0 or not 0 <= alt_setting < alternates:
            raise usb1.USBErrorNotFound
        self.controlWrite(0x01, 11, alt_setting, interface, b"", 1000)
        self._alternate = alt_setting
        self._streams.clear()

    def clearHalt(self, endpoint: int) -> None:
        self.controlWrite(0x02, 1, 0, endpoint, b"", 1000)

    def resetDevice(self) -> None:
        """A USB port reset: configuration and alternate setting as after enumeration; PCIe is untouched."""
        self.setConfiguration(1)

    def kernelDriverActive(self, interface: int) -> bool:
        """The operating system has a driver for mass storage, and none for a vendor class."""
        self._check_open()
        return self._kernel_driver

    def detachKernelDriver(self, interface: int) -> None:
        if not self.kernelDriverActive(interface):
            raise usb1.USBErrorNotFound
        self._kernel_driver = False

    def attachKernelDriver(self, interface: int) -> None:
        self._check_open()
        if not self._has_kernel_driver() or self._kernel_driver:
            raise usb1.USBErrorNotFound
        self._kernel_driver = True

    def setAutoDetachKernelDriver(self, enable: bool) -> None:
        self._check_open()
        self._auto_detach = bool(enable)

    def allocStreams(self, num_streams: int, endpoints: Iterable[int]) -> int:
        """libusb_alloc_streams: returns how many each of the endpoints has now."""
        self._check_open()
        endpoints = list(endpoints)
        has_streams = self._model.super_speed() and self._alternate == 1
        if num_streams < 1 or not has_streams or not set(endpoints) <= set(STREAM_ENDPOINTS):
            raise usb1.USBErrorInvalidParam
        count = min(num_streams, MOST_STREAMS)
        self._streams.update(dict.fromkeys(endpoints, count))
        return count

    def freeStreams(self, endpoints: Iterable[int]) -> None:
        self._check_open()
        for endpoint in endpoints:
            self._streams.pop(endpoint, None)

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
        if not self._model.super_speed():
            return usb1.SPEED_HIGH
        return usb1.SPEED_SUPER_PLUS if self._model.ten_gigabit() else usb1.SPEED_SUPER

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
        """What a second process finds: bridges, BARs and the GPU go on as they were left.

        Also the way back after the device has enumerated anew (0xE5 to 0xCC31), which kills every open handle.
        """
        self._closed = False
        self._model.reopen()
        self._enumerate()

    def unplug(self) -> None:
        """Pulls the cable: everything in flight and everything later fails with `usb1.USBErrorNoDevice`."""
        self._model.unplug()

    def replug(self) -> None:
        """Plugs it in again, cold: it enumerates as what its flash holds."""
        self._model.replug()
        self._enumerate()

    def reset(self) -> None:
        """A board as new: replugged, with the flash, the statistics, the fault switches and the seed of the start."""
        self._end_queues()
        self._model.reset()
        self._late.clear()
        self._closed = False
        self._enumerate()

    def inject(self, *switches: str) -> None:
        """Turns fault switches on while the dock is in use. `after=N` counts from now.

        Raises:
            ValueError: an unknown switch; those before it in the call are on.
        """
        self._model.inject(list(switches))

    def heal(self) -> None:
        """Turns all fault switches off. What they broke stays broken: a link that went down is down until the slot's
        power is cycled, an adapter that was unplugged until `replug()`."""
        self._model.heal()

    def counts(self) -> dict[str, int]:
        """Transfers by kind and request, bytes, TLPs, violations."""
        return self._model.counts()

    def firmware_directories(self) -> tuple[Path, ...]:
        """Images that the GPU in this dock accepts, for a driver that was given none."""
        return (firmware_directory(self.chip),) if self.chip != "probe" else ()

    def launch_statistics(self) -> dict[int, dict[str, float]]:
        """What the shader cores have run so far, by the kernels' entry addresses: launches, instructions by class,
        bytes, modelled seconds ... docs/emulator-isa.md lists the figures."""
        return self._model.launches()

    def statistics(self) -> dict[str, Any]:
        """What the transfers have cost on the model's clock, in microseconds, by kind.

        `bus`: host and wire; `firmware`: the 8051 was busy; `waiting`: time-outs that nothing could end. The cost of
        a transfer depends on nothing but the transfer, so equal traffic has equal statistics.
        """
        kinds = {
            kind: {"count": count, "bus_us": bus, "firmware_us": firmware, "waiting_us": waiting}
            for kind, (count, bus, firmware, waiting) in sorted(self._model.timings().items())
        }
        total = {name: sum(kind[name] for kind in kinds.values()) for name in ("bus_us", "firmware_us", "waiting_us")}
        return {"modelled_us": sum(total.values()), **total, "requests": kinds}

    def observe(self, log: _emulator.debug.Log | None = None, session: _emulator.debug.Session | None = None) -> None:
        """Lets a trace or a debugger watch the GPU's engines and shader cores; without arguments: no more."""
        self._model.observe(log, session)

    @property
    def modelled_seconds(self) -> float:
        """What the transfers would have taken on hardware, by the calibrated model."""
        return self._model.modelled_seconds()

    @property
    def violations(self) -> list[tuple[str, str]]:
        """(name, text) of what the model noticed, strict or not; the last 256."""
        return self._model.violations()

    # --- inside ----------------------------------------------------------------------------------------------------

    def _enumerate(self) -> None:
        """What the operating system does when the device appears."""
        (self.vendor_id, self.product_id, self.bcd_device,
         self._manufacturer, self._product, self._serial) = self._model.identity()
        self._configuration, self._alternate = 1, 0
        self._streams.clear()
        self._kernel_driver = self._has_kernel_driver()
        self._auto_detach = False

    def _has_kernel_driver(self) -> bool:
        return self._model.configuration_descriptor()[14] == 0x08  # interface class of the first alternate setting

    def _string(self, index: int) -> str:
        data = self.controlRead(0x80, 6, 0x0300 | index, 0x0409, 255, 1000)
        return data[2:].decode("utf-16-le")

    def _check_open(self) -> None:
        if self._closed or os.getpid() != self._process:  # a forked child has the memory of the dock, not its threads
            raise usb1.USBErrorNoDevice

    @staticmethod
    def _check(status, **details) -> None:
        if status != Status.ok:
            error = ERRORS[status]()
            for name, value in details.items():
                setattr(error, name, value)
            try:
                raise error
            finally:
                del error       # no cycle of frame and traceback: what is closed is to go at once

    def _guard(self, call: Callable, *arguments):
        self._check_open()
        if self._late:
            raise self._late.popleft()
        try:
            return call(*arguments)
        except dock.Violation as violation:
            raise ProtocolViolation(violation.name, str(violation)) from None

    def _control_out(self, request_type, request, value, index, data, timeout, stop, queued=NOT_QUEUED):
        return self._guard(
            self._model.control_out, request_type & ~DIRECTION_IN, request, value, index, data, timeout, stop, queued
        )

    def _control_in(self, request_type, request, value, index, length, timeout, stop):
        return self._guard(
            self._model.control_in, request_type | DIRECTION_IN, request, value, index, length, timeout, stop
        )

    def _run(self, endpoint: int, work: Callable):
        """Runs a synchronous transfer: at once, or behind the asynchronous ones of the same endpoint."""
        queue = self._queues.get(endpoint)
        if queue is None or queue.idle():
            return work(None)
        waiting = Job(work)
        queue.put(waiting)
        while not waiting.finished.wait(0.1):
            pass  # in slices, so that Ctrl-C gets through
        if waiting.error is not None:
            raise waiting.error
        return waiting.result

    def _run_stream(self, endpoint: int, buffer: memoryview, timeout: int):
        self._check_open()
        if self._late:
            raise self._late.popleft()
        job = StreamJob(endpoint, 0, buffer, timeout)
        self._submit(endpoint, job)
        while not job.finished.wait(0.1):
            pass
        if job.error is not None:
            raise job.error
        return job.result

    def _stream_job(self, transfer: EmulatedTransfer) -> StreamJob | None:
        """A bulk transfer of an interface in UAS mode, or None."""
        if not transfer._endpoint or not self._model.serves_uas():
            return None
        check_stream(self, transfer._endpoint, transfer._stream)
        return StreamJob(transfer._endpoint, transfer._stream, transfer._buffer, transfer._timeout, transfer._finish)

    def _submit(self, endpoint: int, job: Job) -> None:
        with self._queues_lock:
            self._check_open()
            if isinstance(job, StreamJob):
                if self._pipes is None:
                    self._pipes = StreamPipes(self)
                    self._threads.append(self._pipes)
                self._pipes.put(job)
                return
            queue = self._queues.get(endpoint)
            if queue is None and not self._leaving:
                queue = self._queues[endpoint] = EndpointQueue(f"usb-endpoint-{endpoint:02x}")
                self._threads.append(queue)
        if queue is None:
            job.run()  # the interpreter is on its way out and starts no more threads
        else:
            queue.put(job)

    def _end_queues(self) -> None:
        with self._queues_lock:
            self._pipes = None
            queues = list(self._threads)
            self._threads.clear()
            self._queues.clear()
        _stop(queues)


def _stop(queues: Iterable[EndpointQueue | StreamPipes]) -> None:
    for queue in queues:
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
