"""The real adapter, over libusb: finding, telling apart, opening, claiming, locking.

The native library comes from the libusb-package wheel, so nothing has to be installed beside it.
"""
from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import usb1

from ..errors import DeviceBusy, DeviceLost, DeviceNotFound, LinkError, PermissionDenied, UsbGpuError
from ..errors import UsbLibraryMissing, WrongMode
from .facts import FACTS
from .transport import OpenedHandle

log = logging.getLogger(__name__)


def udev_rule(ids: tuple[int, int]) -> str:
    """The rule that lets the user at the screen (and the group plugdev) open the dock, and keeps it awake.

    SRAM transfers fail after an autosuspend, hence power/control. Not for everybody: who can open the dock can make
    the GPU write to memory.
    """
    return (f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{ids[0]:04x}", ATTR{{idProduct}}=="{ids[1]:04x}", MODE="0660", '
            'GROUP="plugdev", TAG+="uaccess", TEST=="power/control", ATTR{power/control}="on"')


def permission_action(ids: tuple[int, int], platform: str | None = None) -> str:
    """What to do when the operating system does not let us in."""
    text = _PERMISSION_ACTION.get(platform or sys.platform, _PERMISSION_ACTION["darwin"])
    return text.format(rule=udev_rule(ids), ids=f"{ids[0]:04x}:{ids[1]:04x}")


def _ids(kind: str) -> frozenset[tuple[int, int]]:
    return frozenset(tuple(int(part, 16) for part in text.split(":")) for text in FACTS["ids"][kind])


CUSTOM_OR_LEGACY = _ids("custom")  # shared by both: only the product string tells them apart
BOOTSTUB = _ids("bootstub")
ASMEDIA = frozenset((0x174C, product) for product in (0x2461, 0x2462, 0x2463, 0x2464)) | _ids("rom")
CONFIGURATION, INTERFACE, ALTERNATE = 1, 0, 0

UDEV_FILE = "/etc/udev/rules.d/70-usbgpu.rules"      # before 73-seat-late.rules, which acts on uaccess
_PERMISSION_ACTION = {
    "linux": f"Save this rule as {UDEV_FILE}, then run `sudo udevadm control --reload` and plug the dock in again:\n"
             "    {rule}",
    # Vendor-class devices need no driver and no rights on macOS; "access" means that somebody holds it exclusively.
    "darwin": "Quit the programs that use the dock ({ids}: virtual machines, for one) and plug it in again; "
              "if macOS still refuses, run the command with sudo.",
    "win32": "Bind the WinUSB driver to the dock ({ids}) with Zadig (https://zadig.akeo.ie), then plug it in again.",
}

_MODE_ERRORS = {
    "legacy": (
        "The adapter runs the patched stock firmware, which has no fast path.",
        "Flash the open (custom) firmware to the adapter.",
    ),
    "rom": (
        "The adapter is in its ROM bootloader: it has no working firmware.",
        "Flash the open (custom) firmware to it.",
    ),
    "stock": (
        "The adapter runs its vendor's firmware, as an NVMe enclosure.",
        "Flash the open (custom) firmware to it.",
    ),
    "bootstub": ("The adapter is in its bootstub.", "Wait two seconds; if it stays, flash the application firmware."),
}


@dataclass(frozen=True)
class FoundAdapter:
    device: Any           # usb1.USBDevice
    vendor_id: int
    product_id: int
    bus_port: str         # "2-1.4", as Linux names it

    @property
    def ids(self) -> tuple[int, int]:
        return self.vendor_id, self.product_id


def load_library() -> None:
    """Points python-libusb1 at the wheel's library; a system library serves where the wheel has none."""
    try:
        import libusb_package
        path = libusb_package.get_library_path()
    except ImportError:
        path = None
    try:
        usb1.loadLibrary(ctypes.CDLL(str(path)) if path else None)
    except OSError as error:
        raise library_missing(error) from error


def library_missing(error: Exception) -> UsbLibraryMissing:
    return UsbLibraryMissing(f"The USB library cannot be loaded ({error}).")


def find(context) -> list[FoundAdapter]:
    """Every device that is, or could become, our adapter."""
    found = []
    for device in context.getDeviceIterator(skip_on_error=True):
        ids = device.getVendorID(), device.getProductID()
        if ids in CUSTOM_OR_LEGACY or ids in BOOTSTUB or ids in ASMEDIA:
            ports = ".".join(map(str, device.getPortNumberList())) or "0"
            found.append(FoundAdapter(device, *ids, f"{device.getBusNumber()}-{ports}"))
    return found


def tell_mode(ids: tuple[int, int], product: str | None) -> str:
    """custom | legacy | rom | stock | bootstub. The ids alone do not decide."""
    if ids in BOOTSTUB:
        return "bootstub"
    if product and product.startswith("custom"):
        return "custom"
    if product and product.startswith("AS2462"):
        return "rom"
    return "legacy" if ids in CUSTOM_OR_LEGACY else "stock"


def choose(found: Sequence[FoundAdapter], bus_port: str | None, insist: bool = True) -> FoundAdapter:
    candidates = [adapter for adapter in found if bus_port in (None, adapter.bus_port)]
    ours = [adapter for adapter in candidates if adapter.ids in CUSTOM_OR_LEGACY or adapter.ids in BOOTSTUB]
    # An enclosure with vendor firmware may just be somebody's disk: it counts only for who insists on hardware.
    if insist and not ours:
        ours = candidates
    if not ours:
        where = f" at {bus_port}" if bus_port else ""
        raise DeviceNotFound(
            f"No USB GPU adapter is plugged in{where}.", asmedia_devices=", ".join(a.bus_port for a in found) or "none"
        )
    # the open firmware first: another box beside it must not win by its place on the bus
    return sorted(ours, key=lambda adapter: (adapter.ids not in CUSTOM_OR_LEGACY, adapter.bus_port))[0]


def open_adapter(bus_port: str | None = None, *, insist: bool = True, context=None) -> OpenedHandle:
    """Opens the adapter at `bus_port`, or the first one. `insist`: a wrong mode is an error, not "none"."""
    if context is None:
        load_library()
        context = usb1.USBContext()
        try:
            context.open()
        except usb1.USBError as error:
            # No USB at all (a container without /dev/bus/usb) is the same as nothing plugged in.
            raise DeviceNotFound(f"USB is not available on this machine ({error!r}).") from error
    resources = contextlib.ExitStack()
    resources.callback(context.close)
    try:
        adapter = choose(find(context), bus_port, insist)
        resources.enter_context(adapter_lock(adapter.bus_port))
        handle = _open(adapter)
        resources.callback(handle.close)
        _bring_up(handle, adapter)
    except BaseException:
        resources.close()
        raise
    return OpenedHandle(LibusbHandle(handle, context, resources), f"USB {adapter.bus_port}")


def _open(adapter: FoundAdapter):
    with translated(adapter):
        handle = adapter.device.open()
    return handle


def _bring_up(handle, adapter: FoundAdapter) -> None:
    """Identity, kernel driver, configuration, claim, alternate setting 0."""
    with translated(adapter):
        product = None if adapter.ids in BOOTSTUB else handle.getProduct()
        mode = tell_mode(adapter.ids, product)
        if mode != "custom":
            found, action = _MODE_ERRORS[mode]
            raise WrongMode(
                found,
                action,
                mode=mode,
                product=product,
                ids=f"{adapter.vendor_id:04x}:{adapter.product_id:04x}",
                port=adapter.bus_port,
            )
        try:
            if handle.kernelDriverActive(INTERFACE):
                handle.detachKernelDriver(INTERFACE)
                handle.resetDevice()
        except usb1.USBErrorNotSupported:
            pass  # an operating system that has no such thing
        if handle.getConfiguration() != CONFIGURATION:
            handle.setConfiguration(CONFIGURATION)
        handle.claimInterface(INTERFACE)
        handle.setInterfaceAltSetting(INTERFACE, ALTERNATE)
    _disable_autosuspend(adapter.bus_port)


def _disable_autosuspend(bus_port: str) -> None:
    """SRAM transfers fail after an autosuspend. Needs rights that not everybody has; the udev rule can do it too."""
    control = Path("/sys/bus/usb/devices") / bus_port / "power" / "control"
    if sys.platform == "linux":
        try:
            if control.read_text().strip() != "on":
                control.write_text("on")
        except OSError as error:
            log.info("autosuspend of %s stays as it is: %s", bus_port, error)


@contextlib.contextmanager
def translated(adapter: FoundAdapter, platform: str | None = None) -> Iterator[None]:
    """The errors of libusb while an adapter is opened, as ours."""
    where = {"port": adapter.bus_port, "ids": f"{adapter.vendor_id:04x}:{adapter.product_id:04x}"}
    try:
        yield
    except usb1.USBErrorAccess as error:
        raise PermissionDenied("The operating system does not let this user open the adapter.",
                               permission_action(adapter.ids, platform), **where) from error
    except usb1.USBErrorNotSupported as error:
        raise PermissionDenied(
            "The operating system has no driver bound to the adapter that user programs can open.",
            permission_action(adapter.ids, platform),
            **where,
        ) from error
    except usb1.USBErrorBusy as error:
        raise DeviceBusy("Another program has claimed the adapter.", **where) from error
    except usb1.USBErrorNoDevice as error:
        raise DeviceLost("The adapter went away while it was being opened.", **where) from error
    except usb1.USBError as error:
        raise LinkError(f"Opening the adapter failed: {error!r}.", **where) from error


@contextlib.contextmanager
def adapter_lock(bus_port: str) -> Iterator[None]:
    """Two processes on one adapter corrupt each other: one at a time, released by the system if we die."""
    directory = Path(platformdirs.user_runtime_dir("torch_usbgpu"))
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:  # no runtime directory, e.g. without a login session
        directory = Path(platformdirs.user_cache_dir("torch_usbgpu"))
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"adapter-{bus_port}.lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock_file(file, bus_port)
        yield
    finally:
        os.close(file)  # drops the lock


def _lock_file(file: int, bus_port: str) -> None:
    try:
        if sys.platform == "win32":
            import msvcrt
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise busy(bus_port, None) from error


def busy(bus_port: str, pid: int | None) -> DeviceBusy:
    """The error for an adapter that another process holds; `pid` where the lock tells."""
    if pid is None:
        return DeviceBusy("Another process uses the adapter.", port=bus_port)
    if pid == os.getpid():
        return DeviceBusy("This process has the adapter open already.",
                          "Close the device that is open, or go on with it.", port=bus_port, pid=pid)
    return DeviceBusy(f"Process {pid} uses the adapter.", f"Close process {pid}.", port=bus_port, pid=pid)


class LibusbHandle:
    """A claimed `usb1.USBDeviceHandle`, with a thread that delivers the callbacks of asynchronous transfers."""

    def __init__(self, handle, context, resources: contextlib.ExitStack):
        self._handle, self._context, self._resources = handle, context, resources
        self._events: threading.Thread | None = None
        self._events_lock = threading.Lock()
        self._stop = False
        for name in ("controlWrite", "controlRead", "bulkWrite", "bulkRead", "clearHalt", "setInterfaceAltSetting",
                     "setConfiguration", "getConfiguration", "claimInterface", "releaseInterface", "getProduct",
                     "getManufacturer", "getSerialNumber", "resetDevice"):
            setattr(self, name, getattr(handle, name))

    def getDeviceSpeed(self) -> int:
        return self._handle.getDevice().getDeviceSpeed()

    def getTransfer(self, iso_packets: int = 0):
        with self._events_lock:
            if self._events is None:
                self._events = threading.Thread(target=self._deliver, name="usb-events", daemon=True)
                self._events.start()
        return self._handle.getTransfer(iso_packets)

    def _deliver(self) -> None:
        while not self._stop:
            try:
                self._context.handleEventsTimeout(0.2)
            except usb1.USBErrorInterrupted:
                continue
            except usb1.USBError as error:
                log.error("USB event handling failed: %r", error)
                return

    def close(self) -> None:
        self._stop = True
        if self._events is not None and self._events is not threading.current_thread():
            with contextlib.suppress(AttributeError, usb1.USBError):
                self._context.interruptEventHandler()
            self._events.join(timeout=5)
        self._resources.close()

    def __enter__(self) -> LibusbHandle:
        return self

    def __exit__(self, *_exception) -> None:
        self.close()


def adapter_is_attached() -> bool:
    """Is a real adapter plugged in? Opens nothing."""
    try:
        load_library()
        with usb1.USBContext() as context:
            return any(adapter.ids in CUSTOM_OR_LEGACY for adapter in find(context))
    except (usb1.USBError, UsbGpuError, OSError):
        return False
