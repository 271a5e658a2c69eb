"""The transport that plugs in a virtual dock. The only module of the host half that knows the emulator.

USBGPU_EMULATOR holds its options, comma separated: `strict`, `strict=SEED`, `deterministic`, `counters`, `vram=2G`,
`threads=4`, `lanes=4`, `firmware=legacy`, `usb=high`, `serial=01234567`, `state=warm`, `bar=small`,
`flash=FILE` (what is flashed lasts), `fault=unplug-after:100` (repeatable).

Some switches are about the moment of opening, which the dock itself never sees: they are served here, and go through
the same translation as libusb's errors.
"""
from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import usb1

from ..emulated_firmware import firmware_directory
from ..errors import ConfigError, DeviceBusy, DeviceNotFound, PermissionDenied, UsbLibraryMissing
from . import libusb
from .attached import BUSY, FREE, NO_PERMISSION, Attached
from .identity import Identity, identify
from .transport import OpenedHandle

DEFAULT_CHIP = "navi31"
_SUFFIXES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_FLAGS = ("strict", "deterministic", "counters")
_SEEDS = ("strict",)
_NUMBERS = {"threads": "threads", "lanes": "lanes"}
_WORDS = ("firmware", "usb", "serial", "state", "board", "flash")

# What the messages about an emulated dock call the place where it is plugged in.
_BUS_PORT = "0-1"
_PLATFORMS = {"": None, "linux": "linux", "macos": "darwin", "windows": "win32"}
_DAMAGED = "rlc"            # kind of the firmware file that the switches take away or damage


def attached(chip: str | None = None) -> list[Attached]:
    """As attached.attached(), of the one dock that the environment describes."""
    try:
        opened = open_adapter(chip)
    except UsbLibraryMissing:
        raise
    except DeviceNotFound:
        return []
    except (DeviceBusy, PermissionDenied) as error:
        found = _pretended()
        state = BUSY if isinstance(error, DeviceBusy) else NO_PERMISSION
        return [Attached(f"emulated:{chip or DEFAULT_CHIP}", Identity("custom", *found.ids), state,
                         error.state.get("pid"))]
    try:
        return [Attached(f"emulated:{chip or DEFAULT_CHIP}", identify(opened.handle), FREE)]
    finally:
        opened.handle.close()


def open_adapter(chip: str | None = None) -> OpenedHandle:
    from .. import emulator
    chip = chip or DEFAULT_CHIP
    if chip not in emulator.EMULATED_CHIPS:
        known = ", ".join(f"emulated:{name}" for name in emulator.EMULATED_CHIPS)
        raise ConfigError(f"There is no emulated chip {chip!r}.", f"Use one of: {known}.")
    options = parse_options(os.environ.get("USBGPU_EMULATOR", ""))
    opening = [switch for switch in options.get("faults", ()) if switch.partition(":")[0] in OPENING]
    if opening:
        options["faults"] = [switch for switch in options["faults"] if switch not in opening]
    chip, images = emulator.EMULATED_CHIPS[chip], None
    for switch in opening:
        name, _, detail = switch.partition(":")
        images = OPENING[name](detail, chip) or images
    may_sleep = any(switch.partition(":")[0] == "autosuspend" for switch in opening)
    try:
        handle = emulator.EmulatedAdapter(chip, **options)
    except (ValueError, OSError) as error:
        raise ConfigError(f"USBGPU_EMULATOR: {error}.",
                          f"Correct the environment variable. Also known: fault={', fault='.join(OPENING)}.") from error
    return _opened(handle, (images or firmware_directory(chip),), may_sleep)


def _opened(handle, images: tuple[Path, ...], may_sleep: bool) -> OpenedHandle:
    def reopen() -> OpenedHandle:
        handle.reopen()
        try:
            handle.getProduct()
        except usb1.USBErrorNoDevice:
            handle.close()
            libusb.choose([], None, insist=False)     # what an empty bus is answered with
        return _opened(handle, images, may_sleep)

    try:
        serial = handle.getSerialNumber()
    except usb1.USBError:       # a fault switch may already be at work
        serial = ""
    return OpenedHandle(handle, "emulated", images, reopen, None if serial in ("", "ffffffff") else serial, may_sleep)


# ---- switches of the moment of opening: (what stands behind the colon, chip) -> directory of firmware images, or None

def _no_libusb(_detail: str, _chip: str) -> None:
    raise libusb.library_missing(OSError("libusb-1.0: cannot open shared object file: No such file or directory"))


def _absent(_detail: str, _chip: str) -> None:
    libusb.choose([], None, insist=False)


def _no_permission(detail: str, _chip: str) -> None:
    if detail not in _PLATFORMS:
        raise ConfigError(f"USBGPU_EMULATOR: fault=no-permission:{detail} names no system.",
                          "Use no-permission, no-permission:linux, no-permission:macos or no-permission:windows.")
    with libusb.translated(_pretended(), _PLATFORMS[detail]):
        raise usb1.USBErrorAccess


def _busy(detail: str, _chip: str) -> None:
    """Held by the process `detail`; without, by the one that started this one: no other is sure to exist."""
    if detail and not detail.isdigit():
        raise ConfigError(f"USBGPU_EMULATOR: fault=busy:{detail} names no process.", "Use busy, or busy:PID.")
    raise libusb.busy(_BUS_PORT, int(detail) if detail else os.getppid())


def _claimed(_detail: str, _chip: str) -> None:
    """Busy as seen from the operating system: somebody else, not this package, holds the interface."""
    with libusb.translated(_pretended()):
        raise usb1.USBErrorBusy


def _firmware_missing(_detail: str, chip: str) -> Path:
    images = _copied_images(chip)
    for path in _damaged_files(images):
        path.unlink()
    return images


def _firmware_corrupted(_detail: str, chip: str) -> Path:
    """Cut off in the middle, as by a full disk."""
    images = _copied_images(chip)
    for path in _damaged_files(images):
        path.write_bytes(path.read_bytes()[:-1000])
    return images


def _autosuspend(_detail: str, _chip: str) -> None:
    """The dock itself never sees it: open_adapter() tells it on."""


def _no_compiler(_detail: str, _chip: str) -> None:
    """For the rest of the process."""
    os.environ["USBGPU_CLANG"] = "none"


def _fallback_compiler(_detail: str, _chip: str) -> None:
    """The wheel's compiler again, but named by hand; for the rest of the process."""
    spec = importlib.util.find_spec("ziglang")
    if spec is not None and spec.origin:
        os.environ["USBGPU_CLANG"] = str(Path(spec.origin).with_name("zig.exe" if sys.platform == "win32" else "zig"))


OPENING: dict[str, Callable[[str, str], Path | None]] = {
    "no-libusb": _no_libusb, "absent": _absent, "no-permission": _no_permission, "busy": _busy, "claimed": _claimed,
    "firmware-missing": _firmware_missing, "firmware-corrupted": _firmware_corrupted,
    "autosuspend": _autosuspend, "no-compiler": _no_compiler, "fallback-compiler": _fallback_compiler,
}


def _pretended() -> libusb.FoundAdapter:
    return libusb.FoundAdapter(None, *max(libusb.CUSTOM_OR_LEGACY), _BUS_PORT)


_copies: list[tempfile.TemporaryDirectory] = []      # removed when the process ends


def _copied_images(chip: str) -> Path:
    _copies.append(tempfile.TemporaryDirectory(prefix="usbgpu-firmware-", ignore_cleanup_errors=True))
    return Path(shutil.copytree(firmware_directory(chip), Path(_copies[-1].name) / chip))


def _damaged_files(images: Path) -> list[Path]:
    return sorted(images.glob(f"*_{_DAMAGED}*.bin"))


# ---- options

def _bytes(text: str) -> int:
    unit = _SUFFIXES.get(text[-1:].upper(), 0)
    return int(text[:-1]) * unit if unit else int(text)


def parse_options(text: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = word.partition("=")
        try:
            if name in _FLAGS and not value:
                options[name] = True
            elif name in _SEEDS:
                options[name] = int(value, 0)
            elif name in _NUMBERS:
                options[_NUMBERS[name]] = int(value)
            elif name == "vram":
                options["vram_bytes"] = _bytes(value)
            elif name == "bar":
                options["bar"] = value if value in ("small", "large") else _bytes(value)
            elif name in _WORDS:
                options[name] = value
            elif name == "fault":
                options.setdefault("faults", []).append(value)
            else:
                raise ValueError(word)
        except ValueError:
            raise ConfigError(
                f"USBGPU_EMULATOR: {word!r} is no option.",
                "Use: strict, strict=SEED, deterministic, counters, vram=2G, threads=N, lanes=N, "
                "firmware=NAME, usb=super|super-5g|high, serial=HEX, state=NAME, board=NAME, bar=small|SIZE, "
                "flash=FILE, fault=SWITCH.",
            ) from None
    return options
