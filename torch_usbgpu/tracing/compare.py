"""When are two answers the same? Timing must not count: polls, and what is documented as volatile."""
from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass

from ..usb.trace_file import decode
from .wire import Decoded, WireDecoder

# Registers that count time. docs/emulator-debugger.md lists them.
VOLATILE = ("CP_MES_MTIME_*", "SDMA*_GLOBAL_TIMESTAMP_*", "SDMA*_TIMESTAMP_*", "GOLDEN_TSC_COUNT_*",
            "RLC_GPU_CLOCK_COUNT*", "RLC_CAPTURE_GPU_CLOCK_COUNT*", "SHADER_CYCLES*")
PAIRS = {("pcie_single", "pcie_completion"), ("pcie_stream_read", "bulk_in")}
SHOWN_BYTES = 16


@dataclass
class Step:
    """One transfer of a trace, decoded. `asked` is what the host sent, `answer` what came back."""

    number: int
    row: dict
    decoded: Decoded
    asked: tuple
    answer: object
    pair: bool = False          # the second half of a read of PCIe memory: asked together with the step before

    @property
    def error(self) -> str | None:
        return self.row.get("error")

    @property
    def volatile(self) -> bool:
        name = str(self.decoded.details.get("register", ""))
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in VOLATILE)


    @property
    def progress(self) -> bool:
        """A look at the fence: how far the GPU has got, a counter that only grows."""
        return self.decoded.name == "read_xdata" and str(self.decoded.details.get("where", "")).startswith("fence")


def not_behind(answer: object, recorded: object) -> bool:
    """Has a counter reached the recorded value? Both count modulo 2**32."""
    if not (isinstance(answer, bytes) and isinstance(recorded, bytes) and len(answer) == len(recorded)):
        return False
    now, then = (int.from_bytes(value[:4], "little") for value in (answer, recorded))
    return (now - then) & 0x8000_0000 == 0


def steps(rows: list[dict]) -> list[Step]:
    """Decodes the transfers of a trace."""
    decoder = WireDecoder(max_packets=0)
    out: list[Step] = []
    for number, row in enumerate(rows):
        args = [decode(value) for value in row["args"]]
        answer = decode(row.get("result"))
        decoded = decoder.transfer(row["op"], args, answer, row.get("error"))
        pair = bool(out) and (out[-1].decoded.name, decoded.name) in PAIRS
        out.append(Step(number, row, decoded, (row["op"], json.dumps(row["args"])), answer, pair))
    return out


def reads(step: Step) -> bool:
    """Does it bring an answer that depends on the device's state?"""
    return step.row["op"] in ("controlRead", "bulkRead")


def request_of(all_steps: list[Step], index: int) -> tuple:
    """What identifies a read as "the same question": with its first half, if it has one."""
    step = all_steps[index]
    return (all_steps[index - 1].asked, step.asked) if step.pair else (step.asked,)


def polls(all_steps: list[Step]) -> list[set]:
    """For each read, the answers that it may give without anything being wrong but the time: those of the whole run of
    the same question, asked again and again. The last of a run is what the host waited for."""
    allowed: list[set] = [set() for _ in all_steps]
    run: list[int] = []
    question: tuple | None = None
    for index, step in enumerate(all_steps):
        if index + 1 < len(all_steps) and all_steps[index + 1].pair:
            continue
        asked = request_of(all_steps, index) if reads(step) else None
        if asked is None or asked != question:
            _close(allowed, run, all_steps)
            run, question = [], asked
        if asked is not None:
            run.append(index)
    _close(allowed, run, all_steps)
    return allowed


def _close(allowed: list[set], run: list[int], all_steps: list[Step]) -> None:
    answers = {(all_steps[index].answer, all_steps[index].error) for index in run}
    for index in run[:-1]:
        allowed[index] = answers


@dataclass
class Difference:
    """A transfer that was answered differently."""

    number: int
    text: str                # what was asked
    recorded: str
    got: str
    offset: int | None = None      # first byte that differs

    def as_dict(self) -> dict:
        return {"transfer": self.number, "asked": self.text, "recorded": self.recorded, "got": self.got,
                "offset": self.offset}


def first_difference(left: object, right: object) -> int | None:
    """Index of the first byte that differs, if both are bytes."""
    if not (isinstance(left, bytes) and isinstance(right, bytes)):
        return None
    return next((n for n, (a, b) in enumerate(zip(left, right)) if a != b), min(len(left), len(right)))


def shown(value: object, error: str | None, around: int | None = None) -> str:
    """An answer for people; of long ones the part around the difference."""
    if error:
        return error
    if not isinstance(value, bytes):
        return repr(value)
    start = max(0, (around or 0) - 4) if len(value) > SHOWN_BYTES else 0
    part = value[start:start + SHOWN_BYTES].hex(" ", 4)
    return f"{'... ' if start else ''}{part}{' ...' if start + SHOWN_BYTES < len(value) else ''} ({len(value)} bytes)"
