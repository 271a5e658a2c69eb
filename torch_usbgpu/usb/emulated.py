"""The transport that plugs in a virtual dock. The only module of the host half that knows the emulator.

USBGPU_EMULATOR holds its options, comma separated: `strict`, `strict=SEED`, `deterministic`, `counters`, `vram=2G`,
`threads=4`, `lanes=4`, `firmware=legacy`, `usb=high`, `serial=01234567`, `state=warm`,
`flash=FILE` (what is flashed lasts), `fault=unplug-after:100` (repeatable).
"""
from __future__ import annotations

import os
from typing import Any

from ..emulated_firmware import firmware_directory
from ..errors import ConfigError
from .transport import OpenedHandle

DEFAULT_CHIP = "navi31"
_SUFFIXES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_FLAGS = ("strict", "deterministic", "counters")
_SEEDS = ("strict",)
_NUMBERS = {"threads": "threads", "lanes": "lanes"}
_WORDS = ("firmware", "usb", "serial", "state", "board", "flash")


def open_adapter(chip: str | None = None) -> OpenedHandle:
    from .. import emulator
    chip = chip or DEFAULT_CHIP
    if chip not in emulator.EMULATED_CHIPS:
        known = ", ".join(f"emulated:{name}" for name in emulator.EMULATED_CHIPS)
        raise ConfigError(f"There is no emulated chip {chip!r}.", f"Use one of: {known}.")
    options = parse_options(os.environ.get("USBGPU_EMULATOR", ""))
    try:
        handle = emulator.EmulatedAdapter(chip, **options)
    except (ValueError, OSError) as error:
        raise ConfigError(f"USBGPU_EMULATOR: {error}.", "Correct the environment variable.") from error
    return OpenedHandle(handle, "emulated", (firmware_directory(emulator.EMULATED_CHIPS[chip]),))


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
                unit = _SUFFIXES.get(value[-1:].upper(), 0)
                options["vram_bytes"] = int(value[:-1]) * unit if unit else int(value)
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
                "firmware=NAME, usb=super|high, serial=HEX, state=NAME, board=NAME, flash=FILE, fault=SWITCH.",
            ) from None
    return options
