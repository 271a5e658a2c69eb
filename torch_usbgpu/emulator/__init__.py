"""A virtual ASM2464PD dock with an AMD GPU, plugged in the moment it is made.

`EmulatedAdapter` has the methods of python-libusb1's `USBDeviceHandle`, with the same names,
argument order and exceptions, so a driver cannot tell them apart. What the model knows beyond
that (counters, violations, fault switches) is on top, for tests and tools.

Time is virtual: a wait that nothing can end (an unknown request, a firmware that hangs) raises
`usb1.USBErrorTimeout` at once; a wait that another thread or the GPU may end is really waited,
at most as long as the caller's time-out. docs/emulator-adapter.md has every request and register.
"""
from __future__ import annotations

from .adapter import EMULATED_CHIPS, EmulatedAdapter
from .transfers import EmulatedTransfer, ProtocolViolation, Status

__all__ = ["EMULATED_CHIPS", "EmulatedAdapter", "EmulatedTransfer", "ProtocolViolation", "Status"]
