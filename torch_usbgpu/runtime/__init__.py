"""A GPU without torch: open it, load code, launch, copy.

    >>> from torch_usbgpu.runtime import Device
    >>> gpu = Device("emulated")            # or "usb", or a handle with libusb1's methods
    >>> kernels = gpu.load(torch_usbgpu.compiler.compile(source, gpu.arch))
    >>> gpu.launch(kernels["add"], grid=(4,), block=(256,), args=[a, b, c, np.int32(n)])

`device()` is the process's default device, the one that torch tensors live on. It is opened on
first use, so importing this package touches no hardware.
"""
from __future__ import annotations

import threading

from .device import Device

__all__ = ["Device", "close", "device", "is_open"]

_lock = threading.RLock()
_default: Device | None = None


def device() -> Device:
    """The default device, opened (and booted) on the first call.

    Raises:
        UsbGpuError: whatever kept the device from opening; the next call tries again.
    """
    global _default
    with _lock:
        if _default is None:
            from torch_usbgpu import _runtime

            opened = Device()
            _runtime.set_current(opened.stream)
            _default = opened
        return _default


def is_open() -> bool:
    return _default is not None


def close() -> None:
    """Shuts the default device down; called at exit. Tensors on it must not be used any more."""
    with _lock:
        if _default is not None:
            _default.close()
