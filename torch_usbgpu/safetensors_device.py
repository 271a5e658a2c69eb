"""safetensors knows torch's devices by a fixed list of names; ours is not on it, but an index is taken.

`load_file(path, device="usbgpu")` and `safe_open(..., device="usbgpu")` then load straight to the device, as they do
for the names that it knows. An index means torch's current accelerator, which is ours where we are registered.
"""
from __future__ import annotations

import functools
import sys
from typing import Any

from . import import_hook

PACKAGE = "safetensors"


def teach() -> None:
    """Now if safetensors is there, else when it comes."""
    if PACKAGE in sys.modules:
        _wrap()
    else:
        import_hook.after_import(PACKAGE, _wrap)


def _wrap() -> None:
    package = sys.modules[PACKAGE]
    original = getattr(package, "safe_open", None)
    if original is None or hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original, updated=())
    def safe_open(filename: Any, framework: str, device: Any = "cpu", **options: Any) -> Any:
        return original(filename, framework, device=_known(device), **options)

    package.safe_open = safe_open
    users = sys.modules.get(f"{PACKAGE}.torch")
    if users is not None and getattr(users, "safe_open", None) is original:
        users.safe_open = safe_open


def _known(device: Any) -> Any:
    name, _, index = str(device).partition(":")
    return int(index or 0) if name == "usbgpu" else device
