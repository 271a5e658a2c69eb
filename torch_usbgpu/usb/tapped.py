"""Wraps a transport and shows every transfer to a listener, one after the other."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import usb1

from .transport import UsbHandle

# Calls that are part of the conversation; what is asked of the operating system otherwise is passed on unseen.
TRANSFERS = ("controlWrite", "controlRead", "bulkWrite", "bulkRead", "clearHalt", "setInterfaceAltSetting",
             "setConfiguration", "claimInterface", "getProduct", "getManufacturer", "getSerialNumber", "getDeviceSpeed")
# Positional arguments before the time-out, which is no part of the conversation: a replay may be more patient.
BEFORE_TIMEOUT = {"controlWrite": 5, "controlRead": 5, "bulkWrite": 2, "bulkRead": 2}


@dataclass(frozen=True)
class Transfer:
    """One finished call. `error` is the class name of usb1's exception, or None; times in seconds."""

    op: str
    args: tuple
    result: Any
    error: str | None
    start: float
    seconds: float


class TappedHandle:
    """Passes everything on. Transfers are synchronous (there is no `getTransfer`), so the order is the order.

    `repeatable` asks the driver to draw no random numbers: who listens may want to hear the same once more.
    """

    repeatable = True

    def __init__(self, handle: UsbHandle, listener: Callable[[Transfer], None]) -> None:
        self._handle, self._listener = handle, listener
        self._lock = threading.RLock()

    def _call(self, op: str, *args, timeout: int | None = None) -> Any:
        method = getattr(self._handle, op)
        if any(isinstance(argument, (bytearray, memoryview)) for argument in args):
            args = tuple(bytes(a) if isinstance(a, (bytearray, memoryview)) else a for a in args)
        with self._lock:
            start = time.perf_counter()
            try:
                result = method(*args) if timeout is None else method(*args, timeout)
            except usb1.USBError as error:
                self._listener(Transfer(op, args, None, type(error).__name__, start, time.perf_counter() - start))
                raise
            kept = bytes(result) if isinstance(result, (bytearray, memoryview)) else result
            kept = kept if isinstance(kept, (int, str, bytes)) else None
            self._listener(Transfer(op, args, kept, None, start, time.perf_counter() - start))
        return result

    def close(self) -> None:
        self._handle.close()

    def __getattr__(self, name: str) -> Any:
        if name == "getTransfer" or name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._handle, name)


def method(op: str) -> Callable:
    """The method `op` of a class that answers it in `_call`."""
    if op in BEFORE_TIMEOUT:
        def transfer(self, *args, timeout: int = 0):
            expected = BEFORE_TIMEOUT[op]
            if len(args) > expected:
                args, timeout = args[:expected], args[expected]
            return self._call(op, *args, timeout=timeout)
        return transfer

    def call(self, *args):
        return self._call(op, *args)
    return call


for _name in TRANSFERS:
    setattr(TappedHandle, _name, method(_name))
