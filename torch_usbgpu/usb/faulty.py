"""Wraps a transport and makes chosen transfers fail, to test that the driver survives it."""
from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import usb1

from .transport import UsbHandle

_ERRORS: dict[str, type[usb1.USBError]] = {
    "timeout": usb1.USBErrorTimeout, "stall": usb1.USBErrorPipe, "no-device": usb1.USBErrorNoDevice,
    "overflow": usb1.USBErrorOverflow, "io": usb1.USBErrorIO, "busy": usb1.USBErrorBusy,
}


@dataclass
class Fault:
    """One rule. It counts the transfers that match and hits `times` of them, after letting `skip` pass.

    kind: "timeout", "stall", "no-device" (for good), "overflow", "io", "busy": raise the error of that name;
        "short": keep only the first half of a read; "corrupt": flip a bit of what is read; "delay": sleep `seconds`;
        "lost-answer": perform the transfer, then report a time-out.
    op: "controlWrite", "controlRead", "bulkWrite", "bulkRead", or None for all four.
    request: only control transfers with this number.
    """

    kind: str
    op: str | None = None
    request: int | None = None
    skip: int = 0
    times: int = 1
    seconds: float = 0.0
    hits: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in _ERRORS and self.kind not in ("short", "corrupt", "delay", "lost-answer"):
            raise ValueError(f"unknown fault {self.kind!r}")

    def strikes(self, op: str, request: int | None) -> bool:
        if self.op not in (None, op) or (self.request is not None and self.request != request):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.hits >= self.times:
            return False
        self.hits += 1
        return True


class FaultyHandle:
    """Transfers are synchronous: there is no `getTransfer`, so every transfer passes the rules."""

    def __init__(self, handle: UsbHandle, faults: Iterable[Fault]):
        self._handle = handle
        self.faults = list(faults)
        self._lock = threading.Lock()
        self._gone = False

    def controlWrite(self, request_type: int, request: int, value: int, index: int, data, timeout: int = 0) -> int:
        return self._transfer("controlWrite", request, request_type, request, value, index, data, timeout)

    def controlRead(self, request_type: int, request: int, value: int, index: int, length: int, timeout: int = 0):
        return self._transfer("controlRead", request, request_type, request, value, index, length, timeout)

    def bulkWrite(self, endpoint: int, data, timeout: int = 0) -> int:
        return self._transfer("bulkWrite", None, endpoint, data, timeout)

    def bulkRead(self, endpoint: int, length: int, timeout: int = 0):
        return self._transfer("bulkRead", None, endpoint, length, timeout)

    def _transfer(self, op: str, request: int | None, *args):
        with self._lock:
            struck = [fault for fault in self.faults if fault.strikes(op, request)]
            if any(fault.kind == "no-device" for fault in struck):
                self._gone = True
        if self._gone:
            raise usb1.USBErrorNoDevice
        for fault in struck:
            if fault.kind in _ERRORS:
                raise _failed(_ERRORS[fault.kind])
            if fault.kind == "delay":
                time.sleep(fault.seconds)
        result = getattr(self._handle, op)(*args)
        for fault in struck:
            if fault.kind == "lost-answer":
                raise _failed(usb1.USBErrorTimeout)
            if not isinstance(result, int) and len(result):
                if fault.kind == "short":
                    result = result[:len(result) // 2]
                elif fault.kind == "corrupt":
                    damaged = bytearray(result)
                    damaged[len(damaged) // 2] ^= 0x10
                    result = bytes(damaged)
        return result

    def __getattr__(self, name: str):
        if name == "getTransfer":
            raise AttributeError(name)
        if self.__dict__.get("_gone"):
            raise usb1.USBErrorNoDevice
        return getattr(self._handle, name)


def _failed(error: type[usb1.USBError]) -> usb1.USBError:
    instance = error()
    if isinstance(instance, usb1.USBErrorTimeout):
        instance.transferred, instance.received = 0, b""
    return instance
