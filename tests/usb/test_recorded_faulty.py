"""Traces and injected faults, on top of the emulated dock."""
import pytest
import usb1

from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.errors import TraceError, TraceMismatch
from torch_usbgpu.usb.faulty import Fault, FaultyHandle
from torch_usbgpu.usb.recorded import RecordedHandle, RecordingHandle


def conversation(handle):
    """A bit of everything; returns what came back."""
    answers = [handle.getProduct(), handle.getDeviceSpeed()]
    handle.setInterfaceAltSetting(0, 0)
    handle.clearHalt(0x81)
    answers.append(bytes(handle.controlRead(0xC0, 0xE4, 0xB450, 0, 1, timeout=100)))
    answers.append(handle.controlWrite(0x40, 0xF2, 2, 1 << 8, b"", 100))
    answers.append(handle.bulkWrite(2, bytes(range(256)) * 4, timeout=100))
    answers.append(bytes(handle.controlRead(0xC0, 0xE4, 0xF000, 0, 64, 100)))
    try:
        handle.bulkRead(0x81, 512, 20)
    except usb1.USBErrorTimeout:
        answers.append("timeout")
    return answers


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.jsonl"
    handle = RecordingHandle(EmulatedAdapter("probe"), path)
    answers = conversation(handle)
    handle.close()
    return path, answers


def test_replay_gives_the_same_answers(trace):
    path, answers = trace
    replay = RecordedHandle(path)
    assert conversation(replay) == answers and replay.remaining == 0
    with pytest.raises(TraceMismatch, match="ended"):
        replay.getProduct()


def test_replay_notices_another_conversation(trace):
    replay = RecordedHandle(trace[0])
    replay.getProduct()
    with pytest.raises(TraceMismatch, match="Transfer 1"):
        replay.controlRead(0xC0, 0xE4, 0xB451, 0, 1)


def test_not_a_trace(tmp_path):
    path = tmp_path / "x"
    path.write_text('{"format": "something else"}\n')
    with pytest.raises(TraceError, match="no trace file"):
        RecordedHandle(path)


def test_zeroed_windows_stay_small(tmp_path):
    path = tmp_path / "trace"
    handle = RecordingHandle(EmulatedAdapter("probe"), path)
    handle.controlWrite(0x40, 0xF2, 1024, 32 << 8, b"", 100)
    handle.bulkWrite(2, bytes(512 * 1024), 1000)
    handle.close()
    assert path.stat().st_size < 1000
    replay = RecordedHandle(path)
    replay.controlWrite(0x40, 0xF2, 1024, 32 << 8, b"", 100)
    assert replay.bulkWrite(2, bytes(512 * 1024), 1000) == 512 * 1024


def read(handle, count=4):
    return bytes(handle.controlRead(0xC0, 0xE4, 0x9100, 0, count, 100))


@pytest.mark.parametrize(
    "kind, error",
    [
        ("timeout", usb1.USBErrorTimeout),
        ("stall", usb1.USBErrorPipe),
        ("io", usb1.USBErrorIO),
        ("overflow", usb1.USBErrorOverflow),
        ("busy", usb1.USBErrorBusy),
    ],
)
def test_error_kinds(kind, error):
    handle = FaultyHandle(EmulatedAdapter("probe"), [Fault(kind, op="controlRead", request=0xE4, skip=1, times=2)])
    good = read(handle)
    for _ in range(2):
        with pytest.raises(error):
            read(handle)
        handle.controlWrite(0x40, 0xE5, 0x100, 1, b"")  # others pass
    assert read(handle) == good


def test_no_device_is_for_good():
    handle = FaultyHandle(EmulatedAdapter("probe"), [Fault("no-device", skip=1)])
    read(handle)
    for _ in range(2):
        with pytest.raises(usb1.USBErrorNoDevice):
            read(handle)
    with pytest.raises(usb1.USBErrorNoDevice):
        handle.clearHalt(0x81)


def test_damaged_data():
    adapter = EmulatedAdapter("probe")
    handle = FaultyHandle(adapter, [Fault("short"), Fault("corrupt", skip=1)])
    good = read(adapter, 8)
    assert read(handle, 8) == good[:4]
    assert sum(a != b for a, b in zip(read(handle, 8), good, strict=True)) == 1
    assert read(handle, 8) == good


def test_lost_answer_happens_after_the_transfer():
    adapter = EmulatedAdapter("probe")
    handle = FaultyHandle(adapter, [Fault("lost-answer", op="controlWrite")])
    with pytest.raises(usb1.USBErrorTimeout):
        handle.controlWrite(0x40, 0xE5, 0x100, 0x5A, b"", 100)
    assert adapter.controlRead(0xC0, 0xE4, 0x100, 0, 1, 100) == b"\x5A"


def test_transfers_cannot_slip_past_the_rules():
    assert not hasattr(FaultyHandle(EmulatedAdapter("probe"), []), "getTransfer")
    with pytest.raises(ValueError):
        Fault("fire")
