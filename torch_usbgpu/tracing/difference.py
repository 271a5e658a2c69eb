"""Two traces side by side: where do they part?"""
from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from .compare import Step, first_difference, reads, request_of, shown, steps
from .text import transfer_line

WINDOW = 2000                # transfers that are aligned at a time, behind the first divergence


@dataclass
class Line:
    """A step, or a run of polls that asked the same until the last answer."""

    step: Step
    times: int
    key: tuple

    def text(self) -> str:
        repeated = f"  (asked {self.times} times)" if self.times > 1 else ""
        return transfer_line(self.step.number, self.step.decoded) + repeated


@dataclass
class Divergence:
    """The first place where two traces differ.

    kind: "answer" (the same was asked), "data" (the same request with other data), "request" (something else was
    asked), "end" (one trace ends).
    """

    kind: str
    left: Line | None
    right: Line | None
    before: list[Line] = field(default_factory=list)
    after_left: list[Line] = field(default_factory=list)
    after_right: list[Line] = field(default_factory=list)
    offset: int | None = None

    def explain(self) -> str:
        if self.kind == "end":
            return "one trace ends here"
        if self.kind == "request":
            return "the hosts ask for different things"
        where = f"; first difference at byte {self.offset}" if self.offset is not None else ""
        what = "the answers differ" if self.kind == "answer" else "the hosts send different data"
        left, right = (line.step for line in (self.left, self.right))
        if self.kind == "answer":
            values = ": " + " | ".join(shown(step.answer, step.error, self.offset) for step in (left, right))
        else:
            values = ": " + " | ".join(shown(_data(step), None, self.offset) for step in (left, right))
        return what + where + values


def lines(rows: list[dict]) -> list[Line]:
    """The conversation without its timing: of a run of equal questions the last one; volatile answers do not count."""
    all_steps = steps(rows)
    out: list[Line] = []
    question: tuple | None = None
    index = 0
    while index < len(all_steps):
        step = all_steps[index]
        if step.progress or (index + 1 < len(all_steps) and all_steps[index + 1].pair):
            index += 1
            continue             # how often the host looks is timing; a first half is shown with its completion
        asked = request_of(all_steps, index) if reads(step) else None
        answer = None if step.volatile else (step.answer, step.error)
        if step.pair:
            step.decoded.text = f"{all_steps[index - 1].decoded.text} {step.decoded.text}"
        line = Line(step, 1, (asked or (step.asked,), answer))
        if asked is not None and asked == question and (step.pair or step.decoded.name == "read_xdata"):
            line.times = out[-1].times + 1
            out[-1] = line
        else:
            out.append(line)
        question = asked
        index += 1
    return out


def compare(left_rows: list[dict], right_rows: list[dict], context: int = 5) -> Divergence | None:
    """The first divergence, or None."""
    left, right = lines(left_rows), lines(right_rows)
    at = next((n for n, (a, b) in enumerate(zip(left, right)) if a.key != b.key), min(len(left), len(right)))
    if at == len(left) == len(right):
        return None
    a, b = (side[at] if at < len(side) else None for side in (left, right))
    found = Divergence("request", a, b, left[max(0, at - context):at], left[at + 1:at + 1 + context],
                       right[at + 1:at + 1 + context])
    if a is None or b is None:
        found.kind = "end"
    elif a.key[0] == b.key[0]:
        found.kind = "answer"
        found.offset = first_difference(a.step.answer, b.step.answer)
    elif not (a.step.pair or b.step.pair) and _without_data(a) == _without_data(b):
        found.kind = "data"
        found.offset = first_difference(_data(a.step), _data(b.step))
    return found


def _without_data(line: Line) -> tuple:
    op, args = line.step.row["op"], line.step.row["args"]
    return (op, *(value for value in args if not isinstance(value, dict)))


def _data(step: Step) -> bytes:
    from ..usb.trace_file import decode

    return next((decode(value) for value in step.row["args"] if isinstance(value, dict)), b"")


def summary(left_rows: list[dict], right_rows: list[dict]) -> dict[str, int]:
    """Transfers that both have, and that only one has, in the first WINDOW of each behind the divergence."""
    left, right = lines(left_rows), lines(right_rows)
    at = next((n for n, (a, b) in enumerate(zip(left, right)) if a.key != b.key), min(len(left), len(right)))
    rest = [[line.key for line in side[at:at + WINDOW]] for side in (left, right)]
    matcher = difflib.SequenceMatcher(None, *rest, autojunk=False)
    same = sum(block.size for block in matcher.get_matching_blocks())
    return {"equal before": at, "equal behind": same, "only left": len(rest[0]) - same,
            "only right": len(rest[1]) - same}
