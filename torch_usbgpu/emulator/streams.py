"""Transfers on streams: what the host controller does for an interface in UAS mode (alternate 1 of ASMedia's firmware).

Transfers of the four endpoints end when their command does, in whatever order that is, so one thread hands them to
the model and delivers what has ended. python-libusb1 has no names for streams; these follow libusb's.
"""
from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import usb1

from .transfers import DIRECTION_IN, Job, ProtocolViolation, Status, dock

if TYPE_CHECKING:
    from .adapter import EmulatedAdapter

MOST_STREAMS = 31              # of 32 contexts, number 0 is reserved
STREAM_ENDPOINTS = (0x81, 0x02, 0x83)
_LOOK_SECONDS = 0.02           # how often a waiting pipe looks for unplugging and for changed interfaces


class StreamJob(Job):
    """A bulk transfer on a stream; 0 is the command pipe, or an endpoint without streams."""

    def __init__(self, endpoint: int, stream: int, buffer: memoryview, timeout_ms: int, done=None):
        super().__init__(lambda _stop: (Status.cancelled, 0), done)
        self.endpoint, self.stream, self.buffer = endpoint, stream, buffer
        self.deadline = time.monotonic() + timeout_ms / 1000 if timeout_ms else float("inf")

    def end(self, status, moved: bytes | int = 0, error: BaseException | None = None) -> None:
        self.result, self.error = (status, moved), error
        self.finished.set()
        if self.done is not None:
            self.done(self)


class StreamPipes:
    def __init__(self, adapter: EmulatedAdapter):
        self._model = adapter._model
        self._new: deque[StreamJob] = deque()
        self._pending: dict[int, StreamJob] = {}
        self._next_token = 1
        self._generation = self._model.stream_generation()
        self._changed = threading.Condition()
        self._stop = False
        self._thread = threading.Thread(target=self._work, name="usb-streams", daemon=True)
        self._thread.start()

    def put(self, job: StreamJob) -> None:
        with self._changed:
            self._new.append(job)
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._new and not self._stop:
                    self._changed.wait(_LOOK_SECONDS if self._pending else None)
                jobs = list(self._new)
                self._new.clear()
                stop = self._stop
            self._drop_what_the_device_forgot()
            while jobs:
                self._submit(jobs.pop(0))
            self._expire(stop)
            if stop:
                return

    def _submit(self, job: StreamJob) -> None:
        if job.cancelled:
            return job.end(Status.cancelled)
        token = self._next_token
        self._next_token += 1
        self._pending[token] = job
        buffer = job.buffer if not job.endpoint & DIRECTION_IN else bytes(len(job.buffer))
        try:
            ended = self._model.stream_submit(token, job.endpoint, job.stream, buffer)
        except dock.Violation as violation:
            self._pending.pop(token).end(Status.cancelled, error=ProtocolViolation(violation.name, str(violation)))
            return
        for number, status, data, moved in ended:
            finished = self._pending.pop(number, None)
            if finished is not None:
                finished.end(status, data if finished.endpoint & DIRECTION_IN else moved)

    def _expire(self, everything: bool) -> None:
        now = time.monotonic()
        for token, job in list(self._pending.items()):
            if everything or job.cancelled or now >= job.deadline:
                self._model.stream_cancel(token)
                del self._pending[token]
                job.end(Status.timeout if now >= job.deadline and not job.cancelled else Status.cancelled)

    def _drop_what_the_device_forgot(self) -> None:
        generation = self._model.stream_generation()
        if generation == self._generation:
            return
        self._generation = generation
        lost, self._pending = self._pending, {}
        status = Status.cancelled if self._model.attached() else Status.no_device
        for job in lost.values():
            job.end(status)


def check_stream(adapter: EmulatedAdapter, endpoint: int, stream: int) -> None:
    """As the operating system does when a transfer is submitted."""
    if stream and not 1 <= stream <= adapter._streams.get(endpoint, 0):
        raise usb1.USBErrorInvalidParam
