"""Plays a recorded host against a device, and compares the answers."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import usb1

from ..usb.trace_file import decode
from .compare import Difference, Step, first_difference, not_behind, polls, reads, shown, steps
from .wire import WireDecoder

TIMEOUT_MS = {"controlWrite": 15_000, "controlRead": 15_000, "bulkWrite": 10_000, "bulkRead": 30_000}
# Where the recorded transfer timed out, waiting as long as real data may take would only cost time.
EXPECTED_TIMEOUT_MS = 100
PATIENCE_SECONDS = 2.0       # for an answer that depends on what the GPU does meanwhile


class Replay:
    """One run of a trace against `handle`.

    Args:
        handle: any object with python-libusb1's methods.
        rows: the transfers of the trace.
        patience_s: how long to ask again when an answer is not (yet) the recorded one.
    """

    def __init__(self, handle: Any, rows: list[dict], patience_s: float = PATIENCE_SECONDS) -> None:
        self._handle, self._steps, self._patience = handle, steps(rows), patience_s
        self._allowed = polls(self._steps)
        self.compared = self.early = 0
        self._decoder = WireDecoder(max_packets=0)

    def differences(self, progress: Callable[[int, int], None] = lambda done, total: None) -> Iterator[Difference]:
        """Runs the whole trace; yields each answer that differs. A device that went away ends it."""
        for index, step in enumerate(self._steps):
            answer, error = self._perform(step)
            if not self._same(index, answer, error) and reads(step):
                answer, error = self._ask_again(index, answer, error)
            sent = [decode(value) for value in step.row["args"]]
            decoded = self._decoder.transfer(step.row["op"], sent, answer, error)
            self.compared += 1
            if not self._same(index, answer, error):
                offset = first_difference(step.answer, answer)
                asked = self._steps[index - 1].decoded.text if step.pair else step.decoded.name
                words = step.decoded.name == "pcie_completion"       # said better by its decoding than by its bytes
                recorded = step.decoded.text if words else shown(step.answer, step.error, offset)
                got = decoded.text if words else shown(answer, error, offset)
                yield Difference(step.number, asked, recorded, got, offset)
                if error == "USBErrorNoDevice":
                    return
            progress(index + 1, len(self._steps))

    def _same(self, index: int, answer: object, error: str | None) -> bool:
        step = self._steps[index]
        if (answer, error) == (step.answer, step.error) or (step.volatile and error == step.error):
            return True
        if step.progress and not error and not_behind(answer, step.answer):
            self.early += 1
            return True
        if reads(step) and (answer, error) in self._allowed[index]:
            self.early += 1
            return True
        return False

    def _perform(self, step: Step) -> tuple[object, str | None]:
        op = step.row["op"]
        args = [decode(value) for value in step.row["args"]]
        if op in TIMEOUT_MS:
            args.append(EXPECTED_TIMEOUT_MS if step.error == "USBErrorTimeout" else TIMEOUT_MS[op])
        try:
            result = getattr(self._handle, op)(*args)
        except usb1.USBError as error:
            return None, type(error).__name__
        if isinstance(result, (bytearray, memoryview)):
            result = bytes(result)
        return (result if isinstance(result, (int, str, bytes)) else None), None

    def _ask_again(self, index: int, answer: object, error: str | None) -> tuple[object, str | None]:
        """The recorded host asked a little later, perhaps: repeat the question, as a poll would."""
        step = self._steps[index]
        if not (step.pair or step.decoded.name == "read_xdata") or error:
            return answer, error
        deadline = time.monotonic() + self._patience
        pause = 1e-4
        while not self._same(index, answer, error) and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
            if step.pair:
                self._perform(self._steps[index - 1])
            answer, error = self._perform(step)
        return answer, error
