"""Trace files: record the transfers of any transport, replay them without one.

One JSON object per line: {"op": name, "args": [...], "result": ...} or {"op", "args", "error": class name of usb1}.
Bytes are {"hex": ...}; runs of one byte, e.g. zeroed windows, {"fill": byte, "bytes": n}.
"""
from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import usb1

from ..errors import TraceMismatch
from .transport import UsbHandle

FORMAT = "usbgpu-trace-1"
TRANSFERS = ("controlWrite", "controlRead", "bulkWrite", "bulkRead", "clearHalt", "setInterfaceAltSetting",
             "setConfiguration", "claimInterface", "getProduct", "getManufacturer", "getSerialNumber", "getDeviceSpeed")


def _encode(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        if len(data) > 16 and data.count(data[0]) == len(data):
            return {"fill": data[0], "bytes": len(data)}
        return {"hex": data.hex()}
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) if "hex" in value else bytes([value["fill"]]) * value["bytes"]
    return value


class RecordingHandle:
    """Passes everything on and writes it down. Transfers are synchronous: there is no `getTransfer`."""

    def __init__(self, handle: UsbHandle, path: str | Path):
        self._handle = handle
        self._lock = threading.Lock()
        self._file = open(path, "w", encoding="ascii")
        self._write({"format": FORMAT})

    def _write(self, row: dict) -> None:
        self._file.write(json.dumps(row, separators=(",", ":")) + "\n")

    def _call(self, op: str, *args, timeout: int | None = None):
        row = {"op": op, "args": [_encode(argument) for argument in args]}
        method = getattr(self._handle, op)
        with self._lock:
            try:
                result = method(*args) if timeout is None else method(*args, timeout)
            except usb1.USBError as error:
                self._write({**row, "error": type(error).__name__})
                raise
            self._write(
                {
                    **row,
                    "result": _encode(result if isinstance(result, (int, str, bytes, bytearray, memoryview)) else None),
                }
            )
        return result

    def close(self) -> None:
        with self._lock:
            self._file.close()
        self._handle.close()


class RecordedHandle:
    """Answers from a trace. A call that is not the next one in the trace raises `TraceMismatch`."""

    def __init__(self, path: str | Path):
        with open(path, encoding="ascii") as file:
            header = file.readline()
            if FORMAT not in header:
                raise TraceMismatch(f"{path} is no trace file of this version.", header=header[:80].strip())
            self._rows = [json.loads(line) for line in file]
        self._next = 0
        self._lock = threading.Lock()

    @property
    def remaining(self) -> int:
        return len(self._rows) - self._next

    def _call(self, op: str, *args, timeout: int | None = None):
        asked = {"op": op, "args": [_encode(argument) for argument in args]}
        with self._lock:
            if self._next >= len(self._rows):
                raise TraceMismatch("The trace has ended.", asked=_shown(asked))
            row = self._rows[self._next]
            if row["op"] != op or row["args"] != asked["args"]:
                raise TraceMismatch(
                    f"Transfer {self._next} differs from the trace.", recorded=_shown(row), asked=_shown(asked)
                )
            self._next += 1
        if "error" in row:
            raise getattr(usb1, row["error"])()
        return _decode(row["result"])

    def close(self) -> None:
        pass


def _shown(row: dict) -> str:
    return json.dumps({"op": row["op"], "args": row["args"]})[:200]


def _method(op: str):
    if op in ("controlWrite", "controlRead", "bulkWrite", "bulkRead"):
        # The time-out is no part of the conversation: a replay may be more patient.
        def transfer(self, *args, timeout: int = 0):
            expected = 5 if op.startswith("control") else 2
            if len(args) > expected:
                args, timeout = args[:expected], args[expected]
            return self._call(op, *args, timeout=timeout)
        return transfer

    def call(self, *args):
        return self._call(op, *args)
    return call


for _name in TRANSFERS:
    setattr(RecordingHandle, _name, _method(_name))
    setattr(RecordedHandle, _name, _method(_name))
