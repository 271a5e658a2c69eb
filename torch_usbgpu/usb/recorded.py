"""Record the transfers of any transport, replay them without one. The file: trace_file.py."""
from __future__ import annotations

import json
import threading
from pathlib import Path

import usb1

from ..errors import TraceMismatch
from . import tapped, trace_file
from .tapped import TRANSFERS, TappedHandle, Transfer
from .transport import UsbHandle

__all__ = ["RecordedHandle", "RecordingHandle"]


class RecordingHandle(TappedHandle):
    """Passes everything on and writes it down."""

    def __init__(self, handle: UsbHandle, path: str | Path):
        self._writer = trace_file.TraceWriter(path)
        super().__init__(handle, self._note)

    def _note(self, transfer: Transfer) -> None:
        self._writer.transfer(transfer.op, transfer.args, transfer.result, transfer.error)

    def close(self) -> None:
        with self._lock:
            self._writer.close()
        super().close()


class RecordedHandle:
    """Answers from a trace. A call that is not the next one in the trace raises `TraceMismatch`.

    Raises:
        TraceError: the file is no whole trace.
    """

    repeatable = True       # see TappedHandle

    def __init__(self, path: str | Path, *, partial: bool = False):
        self._rows = trace_file.read(path, partial=partial).transfers
        self._next = 0
        self._lock = threading.Lock()

    @property
    def remaining(self) -> int:
        return len(self._rows) - self._next

    def _call(self, op: str, *args, timeout: int | None = None):
        asked = {"op": op, "args": [trace_file.encode(argument) for argument in args]}
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
        return trace_file.decode(row["result"])

    def close(self) -> None:
        pass


def _shown(row: dict) -> str:
    return json.dumps({"op": row["op"], "args": row["args"]})[:200]


for _name in TRANSFERS:
    setattr(RecordedHandle, _name, tapped.method(_name))
