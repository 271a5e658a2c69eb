"""Who is on the other end of the cable: which firmware the adapter runs, and what it says of itself.

The ids alone do not tell: the open firmware and the patched stock firmware share one. No firmware has a request for
its version, so a generation is told by ids, product text and bcdDevice. Source: asm2464pd-firmware (usb.h,
flash.py, pull request 76), usb-to-pcie-re (ROM descriptors).
"""
from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

import usb1

from .. import errors
from .facts import FACTS

log = logging.getLogger(__name__)


def _ids(kind: str) -> frozenset[tuple[int, int]]:
    return frozenset(tuple(int(part, 16) for part in text.split(":")) for text in FACTS["ids"][kind])


CUSTOM_OR_LEGACY = _ids("custom")    # only the product string tells them apart
BOOTSTUB = _ids("bootstub")
LEGACY_VENDOR = 0xADD1               # the patched stock firmware is older than the other vendor id
ASMEDIA = _ids("stock") | _ids("rom")
DRIVEN = ("custom", "legacy")        # modes in which the card can be used

# libusb's speeds, in Gb/s on the wire.
GBPS = {usb1.SPEED_FULL: 0.012, usb1.SPEED_HIGH: 0.48, usb1.SPEED_SUPER: 5.0, usb1.SPEED_SUPER_PLUS: 10.0,
        usb1.SPEED_SUPER_PLUS_X2: 20.0}
CUSTOM_BCD = 0x0001         # of the open firmware; the patched stock firmware has 0x0100
BLANK_SERIALS = ("", "f" * 8, "0" * 20)    # blank OTP area; the ROM

_PROBE_MS = 200
_STANDARD_IN, _GET_DESCRIPTOR, _DEVICE, _STRING, _ENGLISH = 0x80, 6, 1, 3, 0x0409

MODE_ERRORS = {
    # Told to who expected another one, for instance after the dock was flashed.
    "custom": ("The adapter runs the open firmware.", "Open it anew: its protocol is chosen when it is opened."),
    "legacy": ("The adapter runs the patched stock firmware.",
               "Open it anew: its protocol is chosen when it is opened."),
    "rom": ("The adapter is in its ROM bootloader: it has no working firmware.",
            "Flash the open (custom) firmware to it: usbgpu adapter flash FILE."),
    "stock": ("The adapter runs its vendor's firmware, as an NVMe enclosure.",
              "Flash the open (custom) firmware to it: usbgpu adapter flash FILE."),
    "bootstub": ("The adapter stays in its bootstub: it has no application firmware that starts.",
                 "Unplug it, wait ten seconds, plug it in again; if it stays, use its own flashing tool."),
    "usb4": ("The adapter is in USB4/Thunderbolt mode: the card hangs on the host's PCIe tunnel, and what is left of "
             "the adapter is a USB 2 function. Its firmware is not used in this mode.",
             "Use a port or a cable that is USB3 only, so that it comes up as a USB3 device."),
    "unknown": ("The adapter runs a firmware that this driver does not know.",
                "Flash the open (custom) firmware to it: usbgpu adapter flash FILE."),
}


@dataclass(frozen=True)
class Identity:
    """What the adapter says of itself; None where it does not say.

    mode: custom (the open firmware) | legacy (patched stock) | stock | usb4 | rom | bootstub | unknown.
    firmware: version text, e.g. "v0.1". generation: which of the firmwares that behave differently it is.
    """

    mode: str
    vendor_id: int | None = None
    product_id: int | None = None
    bcd_device: int | None = None
    manufacturer: str | None = None
    product: str | None = None
    serial: str | None = None
    firmware: str | None = None
    generation: str | None = None
    usb_speed: int | None = None        # libusb's number

    @property
    def ids(self) -> str | None:
        return None if self.vendor_id is None else f"{self.vendor_id:04x}:{self.product_id:04x}"

    @property
    def usb_gbps(self) -> float | None:
        return GBPS.get(self.usb_speed)

    @property
    def super_speed(self) -> bool:
        """SuperSpeed is assumed where nobody says."""
        return self.usb_speed in (None, usb1.SPEED_UNKNOWN) or self.usb_speed >= usb1.SPEED_SUPER

    @property
    def unique_serial(self) -> str | None:
        """The serial where it tells one adapter from another; most boards have none."""
        return None if self.serial is None or self.serial in BLANK_SERIALS else self.serial

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ids": self.ids, "usb_gbps": self.usb_gbps}


def tell_mode(ids: tuple[int, int] | None, product: str | None, bcd_device: int | None = None) -> str:
    """The mode by ids and product string; by bcdDevice where the string cannot be had.

    `usb4` looks like a custom firmware, and is told by its link: Bridge.raise_link().
    """
    if ids in BOOTSTUB:
        return "bootstub"
    if product and product.startswith("custom"):
        return "custom"
    if product and product.startswith("AS2462"):
        return "rom"
    if ids in CUSTOM_OR_LEGACY and ids[0] == LEGACY_VENDOR:
        return "custom" if not product and bcd_device == CUSTOM_BCD else "legacy"
    if ids in CUSTOM_OR_LEGACY:      # the open firmware's own ids: whose name is this?
        return "unknown" if product else "custom"
    if ids is None and product is None:
        return "unknown"
    return "stock" if ids is None or ids in ASMEDIA else "unknown"


def tell_generation(mode: str, ids: tuple[int, int] | None, product: str | None) -> str | None:
    if mode in ("custom", "usb4"):
        # One firmware, two ids: the change of ids is the only mark that the later one bears.
        return None if ids is None else "custom-2026-08" if ids[0] == 0x3801 else "custom-2026-04"
    return {"legacy": "patched 240417", "rom": "mask ROM", "bootstub": "bootstub", "stock": "ASMedia"}.get(mode)


def identify(handle, *, ask_device: bool = True) -> Identity:
    """Read everything that tells adapters apart. Changes nothing, and never raises for what is not there.

    Args:
        handle: any object with libusb1's controlRead; getDevice, getProduct, ... are used where it has them.
        ask_device: for what the handle has no method for, ask the device by standard requests.

    Raises:
        DeviceLost: it went away meanwhile.
    """
    reader = _Reader(handle, ask_device)
    ids = reader.ids()
    product = reader.text("getProduct", 15)
    mode = tell_mode(ids, product, reader.bcd())
    firmware = None
    if mode == "custom" and product:
        firmware = product.removeprefix("custom").strip() or None
    elif mode in ("rom", "stock", "legacy") and reader.bcd() is not None:
        bcd = reader.bcd()
        firmware = f"{bcd >> 8:x}.{bcd & 0xFF:02x}"
    return Identity(mode, *(ids or (None, None)), reader.bcd(), reader.text("getManufacturer", 14), product,
                    reader.text("getSerialNumber", 16), firmware, tell_generation(mode, ids, product), reader.speed())


class _Reader:
    """Asks a handle by its methods, else the device by its descriptors, and takes silence for an answer."""

    def __init__(self, handle, ask_device: bool) -> None:
        self._handle, self._ask_device = handle, ask_device and hasattr(handle, "controlRead")
        self._descriptor: bytes | None = None

    def _try(self, question):
        try:
            return question()
        except usb1.USBErrorNoDevice as error:
            raise errors.DeviceLost("The adapter went away while it was being identified.") from error
        except Exception as error:      # a string that is not there, a handle of somebody else's
            log.debug("no answer about the adapter's identity: %r", error)
            return None

    def _method(self, name: str):
        """The value of a method of the handle, or of its device."""
        method = getattr(self._handle, name, None)
        if method is None and (device := getattr(self._handle, "getDevice", None)) is not None:
            method = getattr(self._try(device), name, None)
        return (True, self._try(method)) if callable(method) else (False, None)

    def descriptor(self) -> bytes:
        """The 18 bytes of the device descriptor, or fewer."""
        if self._descriptor is None:
            raw = self._try(lambda: self._handle.controlRead(
                _STANDARD_IN, _GET_DESCRIPTOR, _DEVICE << 8, 0, 18, timeout=_PROBE_MS)) if self._ask_device else None
            self._descriptor = bytes(raw or b"")
            if len(self._descriptor) != 18 or self._descriptor[:2] != bytes([18, _DEVICE]):
                self._descriptor = b""
        return self._descriptor

    def _number(self, method: str, at: int) -> int | None:
        known, value = self._method(method)
        if known:
            return value
        raw = self.descriptor()
        return int.from_bytes(raw[at:at + 2], "little") if raw else None

    def ids(self) -> tuple[int, int] | None:
        vendor, product = self._number("getVendorID", 8), self._number("getProductID", 10)
        return None if vendor is None or product is None else (vendor, product)

    def bcd(self) -> int | None:
        return self._number("getbcdDevice", 12)

    def text(self, method: str, index_at: int) -> str | None:
        known, value = self._method(method)
        if known:
            return _printable(value) if value else None
        raw = self.descriptor()
        if not raw or not raw[index_at]:
            return None
        string = self._try(lambda: self._handle.controlRead(
            _STANDARD_IN, _GET_DESCRIPTOR, _STRING << 8 | raw[index_at], _ENGLISH, 255, timeout=_PROBE_MS))
        string = bytes(string or b"")
        return _printable(string[2:string[0]].decode("utf-16-le", "replace")) or None if len(string) > 2 else None

    def speed(self) -> int | None:
        known, speed = self._method("getDeviceSpeed")
        if known:
            return speed
        raw = self.descriptor()     # a USB3 device that runs at USB 2 says so in bcdUSB
        return usb1.SPEED_HIGH if raw and int.from_bytes(raw[2:4], "little") < 0x0300 else None


def _printable(text: str) -> str:
    """Any device may be plugged in: its strings are shown on terminals and must not command them."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def wrong_mode(identity: Identity, **state) -> errors.WrongMode:
    """The error for a mode in which the card cannot be used."""
    found, action = MODE_ERRORS[identity.mode]
    shown = {"product": identity.product, "ids": identity.ids, "mode": identity.mode, **state}
    return errors.WrongMode(found, action, **{name: value for name, value in shown.items() if value is not None})
