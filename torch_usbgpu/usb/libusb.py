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
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import usb1

from .. import private_files
from ..errors import DeviceBusy, DeviceLost, DeviceNotFound, LinkError, PermissionDenied, UsbGpuError, UsbLibraryMissing
from .identity import ASMEDIA, BOOTSTUB, CUSTOM_OR_LEGACY, DRIVEN, Identity, identify, wrong_mode
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


ALL_IDS = sorted(CUSTOM_OR_LEGACY | BOOTSTUB | ASMEDIA)      # the bootstub and the ROM: for those who flash
CONFIGURATION, INTERFACE, ALTERNATE = 1, 0, 0
ASMEDIA_VENDOR = 0x174C
# A cold boot of the newer firmware waits 1.75 s in its bootstub, then enumerates again with its own ids.
BOOTSTUB_SECONDS, LOOK_AGAIN_SECONDS = 3.0, 0.1
THUNDERBOLT = Path("/sys/bus/thunderbolt/devices")
SYSFS = Path("/sys/bus/usb/devices")

UDEV_FILE = "/etc/udev/rules.d/70-usbgpu.rules"      # before 73-seat-late.rules, which acts on uaccess
_PERMISSION_ACTION = {
    "linux": f"Save this rule as {UDEV_FILE}, then run `sudo udevadm control --reload` and plug the dock in again:\n"
             "    {rule}",
    # Vendor-class devices need no driver and no rights on macOS; "access" means that somebody holds it exclusively.
    "darwin": "Quit the programs that use the dock ({ids}: virtual machines, for one) and plug it in again; "
              "if macOS still refuses, run the command with sudo.",
    "win32": "Bind the WinUSB driver to the dock ({ids}) with Zadig (https://zadig.akeo.ie), then plug it in again.",
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


def opened_context():
    """libusb, ready to look at the bus.

    Raises:
        UsbLibraryMissing: it cannot be loaded. DeviceNotFound: this machine has no USB.
    """
    load_library()
    context = usb1.USBContext()
    try:
        context.open()
    except usb1.USBError as error:
        # No USB at all (a container without /dev/bus/usb) is the same as nothing plugged in.
        raise DeviceNotFound(f"USB is not available on this machine ({error!r}).") from error
    return context


def find(context, also: Collection[tuple[int, int]] = ()) -> list[FoundAdapter]:
    """Every device that is, or could become, our adapter. `also`: ids that a dock's vendor has given it."""
    found = []
    for device in context.getDeviceIterator(skip_on_error=True):
        ids = device.getVendorID(), device.getProductID()
        if ids in CUSTOM_OR_LEGACY or ids in BOOTSTUB or ids in ASMEDIA or ids in also:
            ports = ".".join(map(str, device.getPortNumberList())) or "0"
            found.append(FoundAdapter(device, *ids, f"{device.getBusNumber()}-{ports}"))
    return found


def find_started(context, bus_port: str | None = None, also: Collection[tuple[int, int]] = ()) -> list[FoundAdapter]:
    """As find(), but a dock that is still in its bootstub gets the time to start.

    The bootstub is a USB 2 device and the application a USB3 one, so it comes back on another bus.
    """
    deadline = time.monotonic() + BOOTSTUB_SECONDS
    while True:
        found = find(context, also)
        ready = any(adapter.ids in CUSTOM_OR_LEGACY and bus_port in (None, adapter.bus_port) for adapter in found)
        starting = any(adapter.ids in BOOTSTUB for adapter in found)
        if ready or not starting or time.monotonic() > deadline:
            return found
        time.sleep(LOOK_AGAIN_SECONDS)


def in_usb4_mode() -> str | None:
    """Name of an ASMedia dock among the host's USB4/Thunderbolt routers, where the system lists them (Linux)."""
    for device in sorted(THUNDERBOLT.glob("*-[1-9]*")):
        with contextlib.suppress(OSError):
            vendor, name = ((device / file).read_text().strip() for file in ("vendor", "device_name"))
            if int(vendor, 16) == ASMEDIA_VENDOR or "ASM246" in name or "UT3G" in name:
                return name
    return None


def choose(found: Sequence[FoundAdapter], bus_port: str | None, insist: bool = True,
           serial: str | None = None) -> FoundAdapter:
    """The adapter to open: that with the serial, else at the port, else the first.

    Raises:
        DeviceNotFound: there is none. WrongMode: there is one, but as a USB4 device.
    """
    candidates = [adapter for adapter in found if bus_port in (None, adapter.bus_port)]
    if serial is not None:
        candidates = [adapter for adapter in found if _serial_of(adapter) == serial]
    ours = [adapter for adapter in candidates if adapter.ids in CUSTOM_OR_LEGACY or adapter.ids in BOOTSTUB]
    # An enclosure with vendor firmware may just be somebody's disk: it counts only for who insists on hardware.
    if insist and not ours:
        ours = candidates
    if not ours:
        if insist and (router := in_usb4_mode()):
            raise wrong_mode(Identity("usb4", product=router))
        where = f" with serial {serial}" if serial else f" at {bus_port}" if bus_port else ""
        raise DeviceNotFound(
            f"No USB GPU adapter is plugged in{where}.", asmedia_devices=", ".join(a.bus_port for a in found) or "none"
        )
    # the open firmware first: another box beside it must not win by its place on the bus
    return sorted(ours, key=lambda adapter: (adapter.ids not in CUSTOM_OR_LEGACY, adapter.bus_port))[0]


def _serial_of(adapter: FoundAdapter) -> str | None:
    try:
        return adapter.device.getSerialNumber()
    except usb1.USBError as error:
        log.debug("%s does not tell its serial: %r", adapter.bus_port, error)
        return None


def open_adapter(bus_port: str | None = None, *, insist: bool = True, context=None, serial: str | None = None,
                 modes: Collection[str] = DRIVEN, also: Collection[tuple[int, int]] = ()) -> OpenedHandle:
    """Opens the adapter with `serial` or at `bus_port`, or the first one.

    Args:
        insist: a wrong mode is an error, not "none".
        modes: what it may be (see identity.py); tools that flash also want "stock" and "rom".
        also: ids that a dock's vendor has given it.
    """
    if context is None:
        context = opened_context()
    resources = contextlib.ExitStack()
    resources.callback(context.close)
    try:
        adapter = choose(find_started(context, bus_port, also), bus_port, insist, serial)
        resources.enter_context(adapter_lock(adapter.bus_port))
        handle = _open(adapter)
        resources.callback(handle.close)
        identity = _bring_up(handle, adapter, modes)
    except BaseException:
        resources.close()
        raise
    known_by = {"serial": identity.unique_serial} if identity.unique_serial else {"bus_port": adapter.bus_port}
    return OpenedHandle(LibusbHandle(handle, context, resources), f"USB {adapter.bus_port}",
                        reopen=lambda: open_adapter(**known_by, modes=modes, also=also), serial=identity.serial,
                        may_sleep=disable_autosuspend(adapter.bus_port))


def _open(adapter: FoundAdapter):
    with translated(adapter):
        handle = adapter.device.open()
    return handle


def _bring_up(handle, adapter: FoundAdapter, modes: Collection[str]) -> Identity:
    """Identity, kernel driver, configuration, claim, alternate setting 0."""
    with translated(adapter):
        identity = identify(handle, ask_device=False)
        if identity.mode not in modes:
            raise wrong_mode(identity, port=adapter.bus_port)
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
    return identity


def disable_autosuspend(bus_port: str) -> bool:
    """SRAM transfers fail after an autosuspend. Needs rights that not everybody has; the udev rule can do it too.

    Returns: whether the system may still suspend the adapter.
    """
    control = SYSFS / bus_port / "power" / "control"
    if sys.platform == "linux":
        try:
            if control.read_text().strip() != "on":
                control.write_text("on")
        except OSError as error:
            log.info("autosuspend of %s stays as it is: %s", bus_port, error)
            return control.exists()
    return False


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


def lock_path(bus_port: str) -> Path:
    return private_files.runtime_directory() / f"adapter-{bus_port}.lock"


@contextlib.contextmanager
def adapter_lock(bus_port: str) -> Iterator[None]:
    """Two processes on one adapter corrupt each other: one at a time, released by the system if we die."""
    try:
        lock = private_files.Lock(lock_path(bus_port))
    except private_files.LockHeld as held:
        raise busy(bus_port, held.pid) from held
    with lock:
        yield


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
        device = handle.getDevice()
        self._place = device.getBusNumber(), device.getDeviceAddress()
        for name in ("controlWrite", "controlRead", "bulkWrite", "bulkRead", "clearHalt", "setInterfaceAltSetting",
                     "setConfiguration", "getConfiguration", "claimInterface", "releaseInterface", "getProduct",
                     "getManufacturer", "getSerialNumber", "resetDevice", "kernelDriverActive", "detachKernelDriver"):
            setattr(self, name, getattr(handle, name))
        for name in ("getVendorID", "getProductID", "getbcdDevice", "getDeviceSpeed"):
            setattr(self, name, getattr(device, name))

    def isAttached(self) -> bool:
        """Is the device still on the bus? A replugged one has a new address."""
        try:
            return any((device.getBusNumber(), device.getDeviceAddress()) == self._place
                       for device in self._context.getDeviceIterator(skip_on_error=True))
        except usb1.USBError as error:
            log.debug("the bus cannot be looked at: %r", error)
            return True

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
