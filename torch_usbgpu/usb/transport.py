"""What a transport offers, and how the value of USBGPU_DEVICE becomes an open one."""
from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..errors import ConfigError, DeviceNotFound

if TYPE_CHECKING:
    from .attached import Attached

SPECS = "auto | usb[:bus-port] | emulated[:chip]"
_BUS_PORT = re.compile(r"\d+-\d+(\.\d+)*")


@runtime_checkable
class UsbHandle(Protocol):
    """The part of python-libusb1's `USBDeviceHandle` that the driver uses.

    `getTransfer()` is optional: a transport without it gets its transfers one at a time.
    Errors are usb1's (`USBErrorTimeout`, `USBErrorPipe`, `USBErrorNoDevice`, ...).
    """

    def controlWrite(self, request_type: int, request: int, value: int, index: int, data, timeout: int = 0) -> int: ...
    def controlRead(self, request_type: int, request: int, value: int, index: int, length: int, timeout: int = 0): ...
    def bulkWrite(self, endpoint: int, data, timeout: int = 0) -> int: ...
    def bulkRead(self, endpoint: int, length: int, timeout: int = 0): ...
    def clearHalt(self, endpoint: int) -> None: ...
    def setInterfaceAltSetting(self, interface: int, alt_setting: int) -> None: ...
    def getProduct(self) -> str | None: ...
    def getDeviceSpeed(self) -> int: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class OpenedHandle:
    """An adapter that is open and claimed.

    `label` is for people ("USB 2-1.4"); nothing may depend on it. `firmware_dirs`: where the GPU's
    firmware is to be looked for before the system's own places. `serial`: the adapter's own, None where it has
    none (most boards: "ffffffff").

    `reopen` opens the same adapter again, after a replug or a restart of its firmware: found by its serial, else by
    its port. To be called when `handle` has been closed (which also gives up the lock); raises DeviceNotFound as
    long as the adapter is not there, and whatever else open_handle() raises. None: it cannot be found again.
    """

    handle: UsbHandle
    label: str
    firmware_dirs: tuple[Path, ...] = field(default=())
    reopen: Callable[[], OpenedHandle] | None = field(default=None, compare=False)
    serial: str | None = None
    # The system may suspend the adapter when it is idle, and we may not forbid it. SRAM transfers fail after that.
    may_sleep: bool = False


@dataclass(frozen=True)
class DeviceSpec:
    """A parsed USBGPU_DEVICE: kind is "auto", "usb" or "emulated"; detail is the bus-port or the chip."""

    kind: str
    detail: str | None = None


def parse_spec(spec: str) -> DeviceSpec:
    kind, colon, detail = spec.strip().partition(":")
    bad = ConfigError(f"USBGPU_DEVICE={spec!r} names no device.", f"Use one of: {SPECS}.")
    if kind not in ("auto", "usb", "emulated") or (colon and not detail) or (kind == "auto" and colon):
        raise bad
    if kind == "usb" and detail and not _BUS_PORT.fullmatch(detail):
        raise ConfigError(
            f"USBGPU_DEVICE={spec!r}: {detail!r} is no bus-port.", "Write it like usb:2-1.4 (bus 2, ports 1.4)."
        )
    return DeviceSpec(kind, detail or None)


_warned = False


def open_handle(spec: str = "auto") -> OpenedHandle:
    """Opens and claims the adapter that `spec` names.

    auto: the real adapter if one is plugged in (its errors are reported, never papered over), else the emulated one.
    """
    wanted = parse_spec(spec)
    if wanted.kind == "emulated":
        return _open_emulated(wanted.detail)
    from . import libusb
    if wanted.kind == "usb":
        return libusb.open_adapter(wanted.detail)
    try:
        return libusb.open_adapter(None, insist=False)
    except DeviceNotFound as error:
        why = error.found
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(f"{why.removesuffix('.')}: using the emulated GPU, which is much slower. "
                      "Set USBGPU_DEVICE=emulated to say so, or USBGPU_DEVICE=usb to insist on hardware.", stacklevel=2)
    return _open_emulated(None)


def list_adapters(spec: str = "auto") -> list[Attached]:
    """The docks that `spec` may mean, told without opening any that is in use. "auto": the real ones.

    Raises:
        UsbLibraryMissing: nobody can look. DeviceNotFound: this machine has no USB.
    """
    wanted = parse_spec(spec)
    if wanted.kind == "emulated":
        from . import emulated
        return emulated.attached(wanted.detail)
    from . import attached as real
    return real.attached(wanted.detail)


def _open_emulated(chip: str | None) -> OpenedHandle:
    from . import emulated
    return emulated.open_adapter(chip)
