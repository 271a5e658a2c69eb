"""Docks in whatever mode they are: looked at, opened for their flash, waited for after a replug.

Unlike transport.open_handle() nothing here takes an emulated dock for a real one, or chooses between two: with stock
firmware a dock looks like somebody's disk.
"""
from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

import usb1

from ..errors import ConfigError, DeviceBusy, DeviceLost, FlashError, PermissionDenied
from . import libusb
from .flashing import FLASHABLE, Stage, refused_mode
from .identity import Identity, identify
from .transport import OpenedHandle, open_handle, parse_spec

log = logging.getLogger(__name__)

SYSFS_DEVICES = Path("/sys/bus/usb/devices")
MOUNTS = Path("/proc/self/mounts")
POLL_SECONDS = 0.5
SETTLE_SECONDS = 2.5      # a newer firmware shows its bootstub for 1.75 s first


Ids = tuple[int, int]


def look(spec: str, vendor_ids: Ids | None = None) -> tuple[str, Identity]:
    """(label, identity) of a dock. It is not claimed, so a disk in it stays where it is.

    Args:
        vendor_ids: USB ids that the dock's vendor has given it; what has them is taken for a dock with stock firmware.

    Raises:
        DeviceNotFound, DeviceBusy (it is in use; asking would disturb who uses it), PermissionDenied.
    """
    wanted = parse_spec(spec)
    if wanted.kind == "emulated":
        opened = open_handle(spec)
        try:
            return opened.label, _named(identify(opened.handle), vendor_ids)
        finally:
            opened.handle.close()
    with _usb() as context:
        adapter = _the_one(context, wanted.detail, vendor_ids)
        with libusb.adapter_lock(adapter.bus_port):
            return f"USB {adapter.bus_port}", _named(_identify(adapter), vendor_ids)


def open_dock(spec: str, modes: Collection[str] = FLASHABLE,
              vendor_ids: Ids | None = None) -> tuple[OpenedHandle, Identity]:
    """Opens and claims a dock in one of `modes`, and tells which. `vendor_ids`: see look().

    Raises:
        WrongMode: it is in another one. DeviceBusy: a disk in it is mounted, or another process has it.
        DeviceNotFound, PermissionDenied, ...
    """
    wanted = parse_spec(spec)
    if wanted.kind == "emulated":
        opened = open_handle(spec)
    else:
        with _usb() as context:
            adapter = _the_one(context, wanted.detail, vendor_ids)
            with libusb.adapter_lock(adapter.bus_port):
                seen = _named(_identify(adapter), vendor_ids)
        if seen.mode not in modes:
            raise refused_mode(seen)
        mounted = mounted_disks(adapter.bus_port)
        if mounted:
            raise DeviceBusy(f"A disk in the enclosure is mounted: {', '.join(mounted)}.",
                             "Unmount it, if this is the dock that you mean.", port=adapter.bus_port)
        opened = libusb.open_adapter(adapter.bus_port, modes=(*modes, "unknown") if vendor_ids else modes,
                                     also=_also(vendor_ids))
    identity = _named(identify(opened.handle), vendor_ids)
    if identity.mode not in modes:
        opened.handle.close()
        raise refused_mode(identity)
    return opened, identity


def restart(opened: OpenedHandle, timeout_s: float, tell: Callable[[str], None],
            vendor_ids: Ids | None = None) -> Identity | None:
    """Has the dock replugged, and returns what it comes back as. Closes `opened`. None: `timeout_s` is 0.

    A handle whose port can be switched off and on (`replug`) does it by itself; else somebody has to pull the plug.

    Raises:
        FlashError: it did not come back in time.
    """
    replug = getattr(opened.handle, "replug", None)
    if callable(replug):
        replug()
        try:
            return _named(identify(opened.handle), vendor_ids)
        finally:
            opened.handle.close()
    before = _places(vendor_ids) if timeout_s else set()
    opened.handle.close()
    tell("Unplug the dock from USB and from its power supply, wait five seconds, and plug it in again.")
    if not timeout_s:
        return None
    return _wait_for_another(before, timeout_s, vendor_ids)


def _identify(adapter: libusb.FoundAdapter) -> Identity:
    with libusb.translated(adapter):
        handle = adapter.device.open()
        try:
            return identify(handle, ask_device=False)
        finally:
            handle.close()


def _named(identity: Identity, vendor_ids: Ids | None) -> Identity:
    """Stock firmware has the ids that its vendor gave it, so nobody knows them all."""
    if identity.mode == "unknown" and vendor_ids == (identity.vendor_id, identity.product_id):
        return replace(identity, mode="stock")
    return identity


def _also(vendor_ids: Ids | None) -> tuple[Ids, ...]:
    return (vendor_ids,) if vendor_ids else ()


def _wait_for_another(before: set[tuple[int, int]], timeout_s: float, vendor_ids: Ids | None) -> Identity:
    """A dock that was not on the bus before: a replugged one has a new address."""
    deadline, refused_since = time.monotonic() + timeout_s, None
    while time.monotonic() < deadline:
        with _usb() as context:
            found = libusb.find(context, _also(vendor_ids))
            new = [adapter for adapter in found if _place(adapter.device) not in before]
            if new and (new[0].ids not in libusb.BOOTSTUB or time.monotonic() + SETTLE_SECONDS > deadline):
                try:
                    return _named(_identify(new[0]), vendor_ids)
                except DeviceLost:
                    pass
                except PermissionDenied:        # the system may still be about to apply its rules
                    refused_since = refused_since or time.monotonic()
                    if time.monotonic() - refused_since > SETTLE_SECONDS:
                        raise
        time.sleep(POLL_SECONDS)
    raise FlashError(f"The dock did not come back within {timeout_s:.0f} s. Its new firmware is in the flash and has "
                     "been compared.", "Unplug it from USB and power, plug it in again, then: usbgpu adapter info",
                     stage=Stage.RESTART.value)


def mounted_disks(bus_port: str) -> list[str]:
    """"/dev/sda1 on /media/disk" for every mounted file system of the USB device. Empty where nobody can tell."""
    if sys.platform != "linux":
        return []           # the system refuses to give up a disk that is in use
    names = {path.name for path in (SYSFS_DEVICES / bus_port).glob("*:*/host*/target*/*/block/*")}
    with contextlib.suppress(OSError):
        mounts = [line.split() for line in MOUNTS.read_text().splitlines()]
        return [f"{device} on {where}" for device, where, *_rest in mounts
                if any(_belongs(os.path.basename(device), name) for name in names)]
    return []


def _belongs(partition: str, disk: str) -> bool:
    rest = partition.removeprefix(disk)
    return partition.startswith(disk) and (not rest or rest.removeprefix("p").isdigit())


@contextlib.contextmanager
def _usb() -> Iterator[usb1.USBContext]:
    context = libusb.opened_context()
    try:
        yield context
    finally:
        context.close()


def _the_one(context, bus_port: str | None, vendor_ids: Ids | None) -> libusb.FoundAdapter:
    found = libusb.find_started(context, bus_port, _also(vendor_ids))
    if vendor_ids:
        found = [adapter for adapter in found if adapter.ids == vendor_ids]
    if bus_port is None and len(found) > 1:
        ports = ", ".join(f"usb:{adapter.bus_port} ({adapter.vendor_id:04x}:{adapter.product_id:04x})"
                          for adapter in found)
        raise ConfigError(f"There are {len(found)} devices that could be meant: {ports}.",
                          f"Say which: --device usb:{found[0].bus_port}.")
    return libusb.choose(found, bus_port)


def _place(device) -> tuple[int, int]:
    return device.getBusNumber(), device.getDeviceAddress()


def _places(vendor_ids: Ids | None) -> set[tuple[int, int]]:
    with _usb() as context:
        return {_place(adapter.device) for adapter in libusb.find(context, _also(vendor_ids))}
