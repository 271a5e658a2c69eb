"""What is plugged in, told without taking it from anybody: the rows of `usbgpu list`."""
from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import Any

import usb1

from .. import private_files
from ..errors import DeviceLost
from . import libusb
from .identity import Identity, identify, tell_generation, tell_mode

FREE, BUSY, NO_PERMISSION = "free", "busy", "no permission"


@dataclass(frozen=True)
class Attached:
    """A dock. `spec`: the value of USBGPU_DEVICE that opens it. `holder`: process that uses it, where known."""

    spec: str
    identity: Identity
    state: str                # free | busy | no permission
    holder: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"spec": self.spec, "state": self.state, "holder": self.holder, **self.identity.as_dict()}


def attached(bus_port: str | None = None) -> list[Attached]:
    """The real docks that are plugged in, or the one at a port.

    Raises:
        UsbLibraryMissing: nobody can look. DeviceNotFound: this machine has no USB.
    """
    with contextlib.closing(libusb.opened_context()) as context:
        return [_row(found) for found in libusb.find(context) if bus_port in (None, found.bus_port)]


def _row(found: libusb.FoundAdapter) -> Attached:
    spec = f"usb:{found.bus_port}"
    held = None
    with contextlib.suppress(OSError):
        held = private_files.holder(libusb.lock_path(found.bus_port))
    if held is not None:
        return Attached(spec, _unopened(found), BUSY, held.pid)
    try:
        handle = found.device.open()
    except usb1.USBErrorAccess:
        return Attached(spec, _unopened(found), NO_PERMISSION)
    except usb1.USBError:
        return Attached(spec, _unopened(found), BUSY)
    try:
        return Attached(spec, identify(handle, ask_device=False), FREE)
    except DeviceLost:
        return Attached(spec, _unopened(found), BUSY)
    finally:
        handle.close()


def _unopened(found: libusb.FoundAdapter) -> Identity:
    """As identify(), from what the operating system has read when the dock was plugged in: nothing is sent."""
    product, bcd = _told_by_system(found.bus_port, "product"), _told_by_system(found.bus_port, "bcdDevice")
    mode = tell_mode(found.ids, product) if product or found.ids in libusb.BOOTSTUB else "unknown"
    firmware = product.removeprefix("custom").strip() or None if mode == "custom" and product else None
    speed = None
    with contextlib.suppress(usb1.USBError, AttributeError):
        speed = found.device.getDeviceSpeed()
    return Identity(mode, *found.ids, int(bcd, 16) if bcd else None, _told_by_system(found.bus_port, "manufacturer"),
                    product, _told_by_system(found.bus_port, "serial"), firmware,
                    tell_generation(mode, found.ids, product), speed)


def _told_by_system(bus_port: str, name: str) -> str | None:
    if sys.platform != "linux":
        return None
    try:
        return (libusb.SYSFS / bus_port / name).read_text(errors="replace").strip() or None
    except OSError:
        return None
