"""Trace files: JSON lines.

The first line is the header, {"format": "usbgpu-trace-1", ...}. Then one object per line:

    {"op": name, "args": [...], "result": ..., "t": s, "dt": s, "decoded": {...}}     a transfer that succeeded
    {"op": name, "args": [...], "error": class name of usb1, ...}                     one that failed
    {"event": kind, ...}                                                              something between transfers
    {"end": number of transfers}                                                      the last line

Only op, args, result and error are the conversation; the rest is for readers. Bytes are {"hex": ...}; runs of one
byte, e.g. zeroed windows, {"fill": byte, "bytes": n}. docs/emulator-debugger.md describes the events.
"""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import TraceError

FORMAT = "usbgpu-trace-1"


def encode(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        if len(data) > 16 and data.count(data[0]) == len(data):
            return {"fill": data[0], "bytes": len(data)}
        return {"hex": data.hex()}
    return value


def decode(value: Any) -> Any:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) if "hex" in value else bytes([value["fill"]]) * value["bytes"]
    return value


class TraceWriter:
    """Writes one trace; close() marks it as complete."""

    def __init__(self, path: str | Path, **header: Any) -> None:
        self._file = open(path, "w", encoding="ascii")
        self.transfers = 0
        self._write({"format": FORMAT, **header})

    def _write(self, row: dict) -> None:
        self._file.write(json.dumps(row, separators=(",", ":")) + "\n")

    def transfer(self, op: str, args: tuple, result: Any, error: str | None = None, **extra: Any) -> None:
        row: dict = {"op": op, "args": [encode(argument) for argument in args]}
        if error is not None:
            row["error"] = error
        else:
            row["result"] = encode(result)
        self._write({**row, **extra})
        self.transfers += 1

    def event(self, row: dict) -> None:
        self._write(row)

    def close(self) -> None:
        if not self._file.closed:
            self._write({"end": self.transfers})
            self._file.close()


@dataclass
class Trace:
    """A trace that was read. `rows` holds transfers and events in their order, bytes still encoded."""

    path: Path
    header: dict
    rows: list[dict] = field(default_factory=list)
    complete: bool = False       # its end was written

    @property
    def transfers(self) -> list[dict]:
        return [row for row in self.rows if "op" in row]


def _refuse(path: Path, found: str, line: int | None = None, action: str | None = None) -> TraceError:
    return TraceError(f"{path} {found}", action, **({"line": line} if line else {}))


def read(path: str | Path, *, partial: bool = False) -> Trace:
    """Reads a whole trace.

    Args:
        partial: accept one whose end is missing, up to the last whole line.

    Raises:
        TraceError: no trace, another version, damaged, or cut off.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise _refuse(path, "is no trace file: it is not text.") from error
    trace = Trace(path, _header(path, lines[0] if lines else ""))
    transfers = 0
    for number, line in enumerate(lines[1:], 2):
        last = number == len(lines)
        try:
            row = json.loads(line)
            _check(row)
        except (ValueError, KeyError, TypeError) as error:
            if last and partial:
                break
            if last and not line.endswith("}"):
                raise _refuse(path, "is cut off in the middle of its last line.", number,
                              "Record it again, or read it with --partial.") from error
            raise _refuse(path, f"is damaged: {error or type(error).__name__}.", number) from error
        if "end" in row and "event" not in row:
            if row["end"] != transfers or not last:
                raise _refuse(path, f"is damaged: it says it has {row['end']} transfers, but there are "
                                    f"{transfers} before that line.", number)
            trace.complete = True
            break
        transfers += "op" in row
        trace.rows.append(row)
    if not trace.complete and not partial:
        raise _refuse(path, "is cut off: its last line is missing, so the recording program was killed.", None,
                      "Record it again, or read it with --partial.")
    return trace


def _header(path: Path, line: str) -> dict:
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    name = header.get("format") if isinstance(header, dict) else None
    if not isinstance(name, str) or not name.startswith("usbgpu-trace-"):
        raise _refuse(path, "is no trace file: its first line is no header.")
    if name != FORMAT:
        raise _refuse(path, f"is a trace of another version, {name}; this program reads {FORMAT}.", None,
                      "Record it again with this version.")
    return header


def _check(row: Any) -> None:
    if not isinstance(row, dict):
        raise ValueError("a line is no object")
    if "op" in row:
        if not isinstance(row["op"], str) or not isinstance(row["args"], list):
            raise ValueError("a transfer without arguments")
        if "error" not in row and "result" not in row:
            raise ValueError("a transfer without a result")
        for value in (*row["args"], row.get("result")):
            if isinstance(value, dict):
                decode(value)
    elif not ({"event", "end"} & row.keys()):
        raise ValueError("a line that is neither a transfer nor an event")
