"""Questions about an open device, asked by other processes of the same user, e.g. `usbgpu smi`.

A dock can be opened by one process only. So the process that has it answers for it: each open Device listens at a
local endpoint and says how it is doing when somebody asks, and only then. The endpoint is a Unix socket (a loopback
port where there are none) in the user's own runtime folder, beside a file of mode 0600 that tells where it is and
holds the word that a question must bring. One line of JSON each way; nothing that comes in is ever executed.
"""
from __future__ import annotations

import contextlib
import hmac
import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import private_files

log = logging.getLogger(__name__)

PREFIX = "status-"
LONGEST_QUESTION, LONGEST_ANSWER = 4096, 1 << 20
QUESTION_SECONDS = 1.0       # a question is one line: whoever takes longer is not served
ANSWER_SECONDS = 5.0
UNIX_PATH_BYTES = 100        # sun_path holds 104 on macOS, 108 on Linux


class NoAnswer(Exception):
    """The process does not answer; `gone`: nobody listens there any more."""

    def __init__(self, reason: str, gone: bool = False) -> None:
        super().__init__(reason)
        self.gone = gone


# ---- the process with the device

class Endpoint:
    """Listens until close(). A forked child neither listens nor removes what its parent put up.

    Args:
        answers: question -> what answers it, on the endpoint's thread. Held weakly where it is a bound method, so that
            the endpoint keeps no device alive.

    Raises:
        OSError, UnsafePlace: there is no place for it.
    """

    def __init__(self, **answers: Callable[[], dict[str, Any]]) -> None:
        self._answers = {name: _weakly(answer) for name, answer in answers.items()}
        self._owner, self._closed = os.getpid(), False
        name = f"{PREFIX}{self._owner}-{secrets.token_hex(4)}"
        folder = private_files.runtime_directory()
        self._word = secrets.token_hex(32)
        self._file = folder / f"{name}.json"
        self._socket, address = _listen(folder / f"{name}.sock")
        private_files.write(self._file, json.dumps({
            "pid": self._owner, "address": address, "word": self._word, "since": time.time()}).encode(), durable=False)
        _open.add(self)
        self._remove = weakref.finalize(self, _remove, self._owner, self._file, address)     # also at exit
        self._thread = threading.Thread(target=_serve, args=(self._socket, weakref.ref(self)), name="usbgpu-status",
                                        daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Idempotent. Waits for an answer that is under way, but not for long."""
        if self._closed:
            return
        self._closed = True
        _open.discard(self)
        if os.getpid() == self._owner:
            # accept() does not end when its socket is closed: a last visitor wakes it
            with contextlib.suppress(OSError), socket.socket(self._socket.family) as visitor:
                visitor.settimeout(QUESTION_SECONDS)
                visitor.connect(self._socket.getsockname())
            if threading.current_thread() is not self._thread:
                self._thread.join(2 * QUESTION_SECONDS)
        self._remove()
        self._socket.close()

    def _answer(self, line: bytes) -> dict[str, Any] | None:
        """None: to whoever does not know the word, nothing is said."""
        try:
            asked = json.loads(line)
            word, question = str(asked["word"]), str(asked["question"])
        except (ValueError, KeyError, TypeError):
            return None
        if not hmac.compare_digest(word.encode(), self._word.encode()):
            return None
        answer = self._answers.get(question, lambda: None)()
        if answer is None:
            return {"error": f"nobody here answers {question!r}"}
        try:
            return {"pid": self._owner, **answer()}
        except Exception as error:  # noqa: BLE001  the device may be in any state; the asker is told
            log.debug("no status: %r", error)
            return {"pid": self._owner, "error": f"{type(error).__name__}: {error}"}


def _remove(owner: int, file: Path, address: str | Sequence) -> None:
    if os.getpid() != owner:
        return              # a forked child's copy
    for leftover in (file, address):
        if isinstance(leftover, (str, Path)):
            with contextlib.suppress(OSError):
                os.unlink(leftover)


_open: weakref.WeakSet[Endpoint] = weakref.WeakSet()


def _after_fork() -> None:
    # An inherited listener would keep callers waiting after the parent has gone.
    for endpoint in list(_open):
        endpoint._closed = True
        endpoint._socket.close()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _weakly(answer: Callable) -> Callable[[], Callable | None]:
    return weakref.WeakMethod(answer) if hasattr(answer, "__self__") else lambda: answer


def _listen(path: Path) -> tuple[socket.socket, str | list]:
    if hasattr(socket, "AF_UNIX") and len(os.fsencode(path)) <= UNIX_PATH_BYTES:
        listener, address = socket.socket(socket.AF_UNIX), str(path)
        listener.bind(address)
    else:
        listener = socket.socket(socket.AF_INET)
        listener.bind(("127.0.0.1", 0))
        address = list(listener.getsockname())
    listener.listen(8)
    return listener, address


def _serve(listener: socket.socket, endpoint: weakref.ref[Endpoint]) -> None:
    """One visitor after the other. Holds the endpoint only while it answers."""
    while True:
        try:
            visitor, _ = listener.accept()
        except OSError:
            return
        with visitor:
            serving = endpoint()
            if serving is None or serving._closed:
                return listener.close()
            try:
                visitor.settimeout(QUESTION_SECONDS)
                answer = serving._answer(_line(visitor, LONGEST_QUESTION, QUESTION_SECONDS))
                if answer is not None:
                    visitor.sendall(json.dumps(answer).encode() + b"\n")
            except (OSError, NoAnswer) as error:
                log.debug("a question was not served: %s", error)
            del serving


def _line(connection: socket.socket, longest: int, seconds: float) -> bytes:
    received, deadline = bytearray(), time.monotonic() + seconds
    while not received.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise NoAnswer(f"no answer within {seconds:g} s")
        connection.settimeout(left)
        part = connection.recv(65536)
        if not part:
            raise NoAnswer("the connection ended early")
        received += part
        if len(received) > longest:
            raise NoAnswer("too long")
    return bytes(received)


# ---- the process that asks

@dataclass(frozen=True)
class Process:
    """A process with an open device, as its file describes it."""

    pid: int
    address: str | tuple
    word: str
    since: float
    file: Path

    def ask(self, question: str = "status", seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """
        Raises:
            NoAnswer
        """
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        try:
            with socket.socket(family) as connection:
                connection.settimeout(seconds)
                connection.connect(self.address)
                connection.sendall(json.dumps({"word": self.word, "question": question}).encode() + b"\n")
                return json.loads(_line(connection, LONGEST_ANSWER, seconds))
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise NoAnswer("nobody listens there any more", gone=True) from error
        except (OSError, ValueError) as error:
            raise NoAnswer(f"no answer ({error})") from error


def processes() -> Iterator[Process]:
    """Those that say they have a device open. What a process that was killed left behind is removed."""
    for file in sorted(private_files.runtime_directory().glob(f"{PREFIX}*.json")):
        try:
            told = json.loads(private_files.read(file))
            address = told["address"]
            process = Process(int(told["pid"]), address if isinstance(address, str) else tuple(address),
                              str(told["word"]), float(told["since"]), file)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.debug("%s: %s", file, error)
            continue
        if _is_alive(process.pid):
            yield process
        else:
            forget(process)


def forget(process: Process) -> None:
    """Remove what a process left behind."""
    _remove(os.getpid(), process.file, process.address)


def ask_all(question: str = "status", seconds: float = ANSWER_SECONDS) -> list[dict[str, Any]]:
    """Everybody's answer; one that gave none has `pid` and `error`."""
    answers = []
    for process in processes():
        try:
            answers.append(process.ask(question, seconds))
        except NoAnswer as error:
            if error.gone:
                forget(process)
            else:
                answers.append({"pid": process.pid, "error": str(error)})
    return answers


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        return True         # the connection tells
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
