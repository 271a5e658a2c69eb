"""Which lines of the user's program asked for the operators that ran on the CPU."""
from __future__ import annotations

import collections
import os
import sys
import threading
from types import FrameType

import torch

# Frames of these folders are on the way to the operator, not what asked for it.
_INNER = tuple(os.path.dirname(os.path.abspath(path)) + os.sep for path in (torch.__file__, __file__))
NOWHERE = "<no Python>"

_lock = threading.Lock()
_counts: dict[str, collections.Counter] = {}


def note(operator: str) -> None:
    """Called for every operator that runs on the CPU, on the thread that runs it."""
    where = site()
    with _lock:
        _counts.setdefault(operator, collections.Counter())[where] += 1


def counts() -> dict[str, dict[str, int]]:
    with _lock:
        return {operator: dict(sites) for operator, sites in _counts.items()}


def reset() -> None:
    with _lock:
        _counts.clear()


def site() -> str:
    """file:line of the innermost frame outside torch and this package."""
    frame = sys._getframe()
    outer = _outside(frame)
    if outer:
        backward = any(below.f_code.co_name == "_engine_run_backward" for below in _between(frame, outer))
        return _named(outer) + (" (backward)" if backward else "")
    # A thread of autograd's: whoever called the engine waits for it on another one.
    waiting = [frame for frame in sys._current_frames().values()
               if frame.f_code.co_name == "_engine_run_backward" and _outside(frame)]
    if len(waiting) == 1:
        return f"{_named(_outside(waiting[0]))} (backward)"
    return NOWHERE


def _outside(frame: FrameType | None) -> FrameType | None:
    while frame and os.path.abspath(frame.f_code.co_filename).startswith(_INNER):
        frame = frame.f_back
    return frame


def _between(frame: FrameType, outer: FrameType) -> list[FrameType]:
    found = []
    while frame is not outer:
        found.append(frame)
        frame = frame.f_back
    return found


def _named(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
