"""USBGPU_LOG: which parts of the driver tell what they do, on stderr.

    USBGPU_LOG=info                     everything, at that level
    USBGPU_LOG=amdgpu:info              the boot, step by step
    USBGPU_LOG=amdgpu:info,usb:debug    and every USB request
    USBGPU_LOG=amdgpu.psp:debug         one module

The logs are Python's own, below the logger "torch_usbgpu"; a program that sets up `logging` needs none of this.
"""
from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

from .errors import ConfigError

VARIABLE = "USBGPU_LOG"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_ROOT = __package__


def parse(text: str) -> dict[str, int]:
    """Logger name -> level.

    Raises:
        ConfigError: a part is no part of this package, or a level is none.
    """
    levels: dict[str, int] = {}
    for word in text.replace(",", " ").split():
        part, colon, level = word.lower().rpartition(":")
        if not colon and level not in LEVELS:       # a part alone
            part, level = level, "info"
        if level not in LEVELS or (colon and not part) or not _is_part(part):
            raise ConfigError(f"{VARIABLE}: {word!r} is neither a level nor part:level.",
                              f"Write it like amdgpu:info,usb:debug (levels: {', '.join(LEVELS)}).")
        levels[f"{_ROOT}.{part}" if part not in ("", "all") else _ROOT] = LEVELS[level]
    return levels


def _is_part(part: str) -> bool:
    if part in ("", "all"):
        return True
    names = part.split(".")
    place = Path(__file__).parent.joinpath(*names)
    return all(name.isidentifier() for name in names) and (place.is_dir() or place.with_suffix(".py").is_file())


class _Format(logging.Formatter):
    """Seconds since the program started, the part, the message: `  1.204 amdgpu.boot  find_gpu ...`."""

    def format(self, record: logging.LogRecord) -> str:
        part = record.name.removeprefix(f"{_ROOT}.")
        mark = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        # Formatter.format adds the traceback, if there is one.
        return f"{record.relativeCreated / 1e3:9.3f} {part:<12} {mark}{super().format(record)}"


class _Handler(logging.StreamHandler):
    """To today's sys.stderr, unless the program's own logging shows the record there already."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.set_name(_ROOT)
        self.setFormatter(_Format())

    @property
    def stream(self):
        return sys.stderr

    @stream.setter
    def stream(self, stream) -> None:      # asked for by the base class
        pass

    def emit(self, record: logging.LogRecord) -> None:
        for other in logging.getLogger().handlers:
            on_console = isinstance(other, logging.StreamHandler) and not isinstance(other, logging.FileHandler)
            if on_console and record.levelno >= other.level and logging.getLogger(_ROOT).propagate:
                return
        super().emit(record)


def configure(text: str | None = None) -> None:
    """Set the levels that `text` (by default USBGPU_LOG) asks for. A wrong text is a warning: logs stop nobody."""
    text = os.environ.get(VARIABLE, "") if text is None else text
    try:
        levels = parse(text)
    except ConfigError as error:
        warnings.warn(str(error), stacklevel=3)
        return
    if not levels:
        return
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    root = logging.getLogger(_ROOT)
    if all(handler.get_name() != _ROOT for handler in root.handlers):       # also one of an import before this one
        root.addHandler(_Handler())
