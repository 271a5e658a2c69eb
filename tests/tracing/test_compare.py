"""Polls, volatile registers and late answers: what is a difference, and what is only time."""
from __future__ import annotations

import struct

import pytest
import usb1

from torch_usbgpu.tracing import compare, difference
from torch_usbgpu.tracing.replay import Replay
from torch_usbgpu.usb.trace_file import encode


def xdata(value: int, address: int = 0xB450) -> dict:
    return {"op": "controlRead", "args": [0xC0, 0xE4, address, 0, 1], "result": encode(bytes([value]))}


def read(value: int, address: int = 0x1000) -> list[dict]:
    """A dword of PCIe memory: packet and completion."""
    return [{"op": "controlWrite", "args": [0x40, 0xF0, 0x0F20, 0, encode(struct.pack("<QI", address, 0))], "result": 12},
            {"op": "controlRead", "args": [0xC0, 0xF0, 0, 0, 8], "result": encode(struct.pack("<IBBBB", value, 0, 4, 1, 0))}]


def write(value: int) -> dict:
    return {"op": "controlWrite", "args": [0x40, 0xE5, 0x100, value, encode(b"")], "result": 0}


class Late:
    """Answers every question with the values given, one after the other; the last one stays."""

    def __init__(self, *values: int):
        self.values = list(values)
        self.asked = 0

    def controlWrite(self, *arguments):
        return len(arguments[4])

    def controlRead(self, request_type, request, value, index, length, timeout=0):
        self.asked += 1
        number = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        return struct.pack("<IBBBB", number, 0, 4, 1, 0) if request == 0xF0 else bytes([number])


@pytest.mark.parametrize("rows, allowed", [
    ([xdata(0), xdata(1), xdata(2)], [{0, 1, 2}, {0, 1, 2}, set()]),
    ([xdata(0), write(1), xdata(2)], [set(), set(), set()]),
    ([*read(0), *read(1)], [set(), {0, 1}, set(), set()]),
    ([*read(0), *read(1, 0x2000)], [set(), set(), set(), set()]),
])
def test_a_run_of_equal_questions_is_a_poll(rows, allowed):
    answers = [{answer[0] for answer, _ in found} for found in compare.polls(compare.steps(rows))]
    assert answers == allowed


@pytest.mark.parametrize("recorded, model, differences", [
    ([0, 0, 5], [0, 5], []),                    # earlier than recorded
    ([0, 5], [0, 0, 0, 5], []),                 # later: asked again
    ([0, 5], [5], []),
    ([0, 5], [0], [(1, 0)]),                    # never
    ([5], [4], [(0, 0)]),
])
def test_polls_end_when_the_recorded_answer_comes(recorded, model, differences):
    run = Replay(Late(*model), [xdata(value) for value in recorded], patience_s=0.05)
    assert [(found.number, found.offset) for found in run.differences()] == differences


def test_pairs_are_asked_again_together():
    handle = Late(0, 0, 7)
    assert list(Replay(handle, [*read(0), *read(7)], patience_s=0.05).differences()) == []
    assert handle.asked == 3


def test_the_wait_is_over_before_the_next_step():
    """An answer that an earlier poll had already does not end the polling."""
    handle = Late(0, 0, 0, 5)
    assert list(Replay(handle, [xdata(0), xdata(5), write(1)], patience_s=0.5).differences()) == []
    assert handle.asked == 4


@pytest.mark.parametrize("recorded, model, differences", [
    ([3], [4], 0), ([3], [3], 0), ([3], [2, 2, 3], 0), ([3], [2], 1), ([0x7F], [0], 1),
])
def test_the_fence_may_be_further(recorded, model, differences):
    rows = [xdata(value, 0xA800) for value in recorded]
    assert len(list(Replay(Late(*model), rows, patience_s=0.05).differences())) == differences


def test_errors_are_compared():
    class Broken(Late):
        def controlRead(self, *arguments):
            raise usb1.USBErrorPipe

    (found,) = Replay(Broken(0), [xdata(1)], patience_s=0).differences()
    assert (found.recorded, found.got) == ("01 (1 bytes)", "USBErrorPipe")
    gone = [{"op": "controlRead", "args": [0xC0, 0xE4, 0, 0, 1], "error": "USBErrorTimeout"}]
    assert [found.got for found in Replay(Late(1), gone, patience_s=0).differences()] == ["01 (1 bytes)"]


@pytest.mark.parametrize("left, right, kind", [
    ([xdata(0), xdata(1)], [xdata(0), xdata(0), xdata(1)], None),          # polled longer
    ([xdata(1)], [xdata(2)], "answer"),
    ([xdata(1, 0xA800), write(1), xdata(3)], [write(1), xdata(2, 0xA800), xdata(3)], None),     # the fence
    ([write(1)], [write(2)], "request"),
    ([write(1)], [write(1), write(2)], "end"),
    ([write(1), xdata(3)], [xdata(3), write(1)], "request"),
    ([*read(1)], [*read(1, 0x2000)], "request"),
])
def test_divergence(left, right, kind):
    found = difference.compare(left, right)
    assert (found.kind if found else None) == kind


def test_divergence_has_its_place_and_context():
    rows = [write(n) for n in range(20)]
    changed = [*rows[:9], write(99), *rows[10:]]
    found = difference.compare(rows, changed, context=3)
    assert found.left.step.number == found.right.step.number == 9
    assert [line.step.number for line in found.before] == [6, 7, 8]
    assert [line.step.number for line in found.after_left] == [10, 11, 12]
    assert difference.summary(rows, changed) == {"equal before": 9, "equal behind": 10, "only left": 1, "only right": 1}
