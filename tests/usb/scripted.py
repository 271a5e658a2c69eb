"""A handle that plays a scripted conversation and records what was asked."""
from __future__ import annotations

from collections.abc import Iterable

import usb1


class ScriptedHandle:
    """Answers reads from a list, in order; a reply that is an exception is raised.

    `calls` holds ("out", request, value, index, data), ("in", request, value, index, length),
    ("bulk_out", data), ("bulk_in", length), ("clear_halt", endpoint), ("alt", interface, setting).
    """

    def __init__(self, replies: Iterable[bytes | Exception] = ()) -> None:
        self.replies = list(replies)
        self.calls: list[tuple] = []
        self.fail_writes: dict[int, Exception] = {}      # number of the write -> exception

    def _reply(self, length: int) -> bytes:
        if not self.replies:
            raise AssertionError(f"nothing was scripted for {self.calls[-1]}")
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply[:length]

    def controlWrite(self, request_type, request, value, index, data, timeout=0):
        assert request_type == 0x40 and timeout > 0
        self.calls.append(("out", request, value, index, bytes(data)))
        if error := self.fail_writes.pop(len(self.calls) - 1, None):
            raise error
        return len(data)

    def controlRead(self, request_type, request, value, index, length, timeout=0):
        assert request_type == 0xC0 and timeout > 0
        self.calls.append(("in", request, value, index, length))
        return self._reply(length)

    def bulkWrite(self, endpoint, data, timeout=0):
        assert endpoint == 0x02 and timeout > 0
        self.calls.append(("bulk_out", bytes(data)))
        return len(data)

    def bulkRead(self, endpoint, length, timeout=0):
        assert endpoint == 0x81 and timeout > 0
        self.calls.append(("bulk_in", length))
        return self._reply(length)

    def clearHalt(self, endpoint):
        self.calls.append(("clear_halt", endpoint))

    def setInterfaceAltSetting(self, interface, setting):
        self.calls.append(("alt", interface, setting))


def completion(data: int = 0, status: int = 0, engine: int = 0, has_data: bool = True) -> bytes:
    """The eight bytes of an 0xF0 IN, as the firmware lays them out."""
    if engine:
        return bytes(7) + bytes([engine])
    return data.to_bytes(4, "little") + bytes([status << 5, 4, has_data, 0])


def timeout(received: bytes = b"") -> usb1.USBErrorTimeout:
    error = usb1.USBErrorTimeout()
    error.received = received
    error.transferred = len(received)
    return error
