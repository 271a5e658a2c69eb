"""Commands on streams: order, windows, every way in which one can end."""
from __future__ import annotations

import threading

import pytest
import usb1

from torch_usbgpu import errors
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.usb.scsi import Command
from torch_usbgpu.usb.uas import Uas


def read(count: int, address: int = 0x1000) -> Command:
    return Command(bytes([0xE4, count, 0x50, address >> 8, address & 0xFF, 0]), length_in=count)


def write(value: int, address: int = 0x1000) -> Command:
    return Command(bytes([0xE5, value, 0x50, address >> 8, address & 0xFF, 0]))


@pytest.fixture
def dock():
    handle = EmulatedAdapter("probe", firmware="legacy", strict=True)
    yield handle
    assert not handle.violations
    handle.close()


def test_far_more_commands_than_streams_run_in_order(dock):
    uas = Uas(dock)
    commands = [command for value in range(100) for command in (write(value), read(1))]
    assert b"".join(uas.run(commands)) == bytes(range(100))
    assert uas.stats.by_request["scsi_e4"] == uas.stats.by_request["scsi_e5"] == 100
    assert uas.stats.bulk_in == 300 and uas.stats.bulk_out == 200


def test_what_is_there_before_the_first_command(dock):
    Uas(dock).command(read(4).cdb, length_in=4)
    assert dock.kernelDriverActive(0) is False      # the disk driver has let go


def test_a_refused_command_ends_the_window_and_the_next_one_works(dock):
    uas = Uas(dock)
    bad = Command(bytes([0xE0, 0x50, 7]) + bytes(12), length_in=128)
    with pytest.raises(errors.CommandFailed) as caught:
        uas.run([write(1), bad, *[write(2)] * 40])
    assert caught.value.state["sense_key"] == "0x5"
    assert uas.run([write(9), read(1)]) == [b"", b"\x09"]


def test_unplugged_under_way(dock):
    uas = Uas(dock)
    uas.run([read(1)])
    threading.Timer(0.05, dock.unplug).start()
    with pytest.raises(errors.DeviceLost):
        while True:
            uas.run([write(1)] * 20)


class Silent:
    """A device that takes commands and never answers; `answer` is the status unit of those that it does."""

    def __init__(self, answer: bytes | None = None, wrong=None):
        self.answer, self.wrong = answer, wrong
        self.calls, self.cancelled = [], 0

    def allocStreams(self, number, endpoints):
        self.calls.append(("streams", number, tuple(endpoints)))
        return number

    def clearHalt(self, endpoint):
        self.calls.append(("clear_halt", endpoint))

    def setInterfaceAltSetting(self, interface, setting):
        self.calls.append(("alt", setting))

    def controlRead(self, *_arguments, timeout=0):
        return bytes(18)

    def getTransfer(self):
        handle = self

        class Transfer:
            status, done = usb1.TRANSFER_COMPLETED, False

            def setBulk(self, endpoint, data, callback=None, timeout=0):
                self.endpoint, self.data, self.callback, self.stream = endpoint, data, callback, 0

            def setBulkStream(self, endpoint, stream, data, callback=None, timeout=0):
                self.setBulk(endpoint, data, callback, timeout)
                self.stream = stream

            def submit(self):
                if self.endpoint == 0x04:
                    self.end(self.data)
                elif self.endpoint == 0x83 and handle.answer is not None:
                    self.end(handle.answer)
                elif handle.wrong and self.endpoint == 0x81:
                    self.status = handle.wrong
                    self.end(b"")

            def end(self, data):
                self.moved, self.done = bytes(data), True
                self.callback(self)

            def cancel(self):
                handle.cancelled += 1
                self.status = usb1.TRANSFER_CANCELLED
                self.end(b"")

            def getStatus(self):
                return self.status

            def getActualLength(self):
                return len(self.moved)

            def getBuffer(self):
                return self.moved

        return Transfer()


GOOD = bytes([3, 0, 0, 1]) + bytes(12)


def test_a_window_that_nobody_answers_is_cancelled(monkeypatch):
    monkeypatch.setattr("torch_usbgpu.usb.uas.MARGIN_SECONDS", 0.05)
    handle = Silent()
    with pytest.raises(errors.LinkTimeout):
        Uas(handle).run([read(4)], timeout_ms=50)
    assert handle.cancelled == 2                    # status and data
    assert handle.calls.count(("alt", 1)) == 2      # claimed, and set anew


@pytest.mark.parametrize("unit", [bytes([3, 0, 0, 2]) + bytes(12), bytes([4, 0, 0, 1, 0, 0, 0, 2]), b"", b"\3\0"])
def test_a_status_that_is_not_ours(unit):
    with pytest.raises(errors.LinkError, match="not that of the command"):
        Uas(Silent(unit)).run([write(1)])


@pytest.mark.parametrize("status, error", [
    (usb1.TRANSFER_NO_DEVICE, errors.DeviceLost), (usb1.TRANSFER_STALL, errors.LinkError),
    (usb1.TRANSFER_TIMED_OUT, errors.LinkTimeout), (usb1.TRANSFER_OVERFLOW, errors.LinkError)])
def test_data_that_fails(status, error):
    with pytest.raises(error):
        Uas(Silent(GOOD, wrong=status)).run([read(4)])


def test_fewer_streams_than_wished_for():
    handle = Silent(GOOD)
    handle.allocStreams = lambda number, endpoints: 1
    assert Uas(handle).run([write(1)] * 5) == [b""] * 5


def test_what_a_handle_must_have():
    assert Uas.is_offered_by(Silent()) and not Uas.is_offered_by(object())
