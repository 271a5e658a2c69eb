"""Moments: asynchronous transfers, cancelling, unplugging, Ctrl-C, fault switches, two processes, speed."""
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import usb1

from torch_usbgpu.emulator import EmulatedAdapter

from .wire import IN, OUT, VRAM, Wire

ROOT = Path(__file__).resolve().parents[3]


def wait_for(transfer, seconds=5):
    deadline = time.monotonic() + seconds
    while transfer.isSubmitted():
        assert time.monotonic() < deadline, "the transfer did not end"
        time.sleep(0.001)
    return transfer


def test_asynchronous_control_and_bulk(wire):
    done = []
    arm, fence, data = (wire.usb.getTransfer() for _ in range(3))
    arm.setControl(0x40, 0xF2, 32, 1 << 8, b"", callback=lambda t: done.append("arm"), timeout=1000)
    fence.setControl(0xC0, 0xE4, 0xA800, 0, 8, callback=lambda t: done.append("fence"), timeout=1000)
    arm.submit()
    fence.submit()
    wait_for(arm), wait_for(fence)
    payload = bytearray(os.urandom(16384))
    data.setBulk(OUT, payload, callback=lambda t: done.append("data"), user_data="mine", timeout=1000)
    data.submit()
    wait_for(data)
    assert done == ["arm", "fence", "data"]
    assert (
        data.getStatus() == usb1.TRANSFER_COMPLETED and data.getActualLength() == 16384 and data.getUserData() == "mine"
    )
    assert bytes(fence.getBuffer()) == bytes(8) and fence.getActualLength() == 8
    assert wire.read(0xF000, 512) == payload[:512]


def test_resubmission_from_the_callback(wire):
    count = threading.Semaphore(0)

    def again(transfer):
        count.release()
        if transfer.getUserData().pop():
            transfer.submit()

    transfer = wire.usb.getTransfer()
    transfer.setControl(0xC0, 0xE4, 0xB450, 0, 1, callback=again, user_data=[False, True, True], timeout=1000)
    transfer.submit()
    for _ in range(3):
        assert count.acquire(timeout=5)
    wait_for(transfer)


def test_bulk_in_does_not_block_ep0(wire):
    reader = wire.usb.getTransfer()
    reader.setBulk(IN, 512, timeout=5000)
    wire.f2(512, into_host=True)
    reader.submit()
    assert wire.read(0xB450) == b"\x78"
    wire.stream_write(VRAM, b"1234")
    assert reader.isSubmitted()
    wire.release()
    assert wait_for(reader).getActualLength() == 512


def test_cancel(wire):
    transfer = wire.usb.getTransfer()
    transfer.setBulk(IN, 512)
    transfer.submit()
    with pytest.raises(ValueError):
        transfer.submit()
    time.sleep(0.05)
    transfer.cancel()
    assert wait_for(transfer).getStatus() == usb1.TRANSFER_CANCELLED
    with pytest.raises(usb1.USBErrorNotFound):
        transfer.cancel()


def test_asynchronous_status_values(wire):
    transfer = wire.usb.getTransfer()
    transfer.setBulk(IN, 512, timeout=30)
    transfer.submit()
    assert wait_for(transfer).getStatus() == usb1.TRANSFER_TIMED_OUT
    wire.arm_read(VRAM, 256)
    transfer.setBulk(IN, 512, timeout=30)
    transfer.submit()
    assert wait_for(transfer).getStatus() == usb1.TRANSFER_OVERFLOW
    wire.usb.unplug()
    transfer.setBulk(IN, 512, timeout=30)
    transfer.submit()
    assert wait_for(transfer).getStatus() == usb1.TRANSFER_NO_DEVICE


def test_synchronous_behind_asynchronous(wire):
    """One endpoint, one order: a synchronous transfer waits for the submitted ones before it."""
    wire.arm_read(VRAM, 512)
    first = wire.usb.getTransfer()
    first.setBulk(IN, 1024, timeout=1000)
    first.submit()
    assert len(wire.usb.bulkRead(IN, 1024, 1000)) == 1024
    assert not first.isSubmitted()


def test_unplug_while_waiting(wire):
    threading.Timer(0.05, wire.usb.unplug).start()
    started = time.monotonic()
    with pytest.raises(usb1.USBErrorNoDevice):
        wire.usb.bulkRead(IN, 512, 10_000)
    assert time.monotonic() - started < 9
    with pytest.raises(usb1.USBErrorNoDevice):
        wire.read(0xB450)
    wire.usb.replug()
    assert wire.read(0xB450) == b"\x78"


def test_close_ends_transfers(wire):
    transfer = wire.usb.getTransfer()
    transfer.setBulk(IN, 512)
    transfer.submit()
    wire.usb.close()
    assert wait_for(transfer).getStatus() == usb1.TRANSFER_CANCELLED
    with pytest.raises(usb1.USBErrorNoDevice):
        wire.read(0xB450)


def test_blocking_calls_release_the_gil(wire):
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.005)

    thread = threading.Thread(target=tick)
    thread.start()
    with pytest.raises(usb1.USBErrorTimeout):
        wire.usb.bulkRead(IN, 512, 300)
    stop.set()
    thread.join()
    assert len(ticks) > 3


@pytest.mark.skipif(sys.platform == "win32", reason="no POSIX signals")
@pytest.mark.parametrize("timeout", [0, 60_000])
def test_ctrl_c_interrupts_a_blocking_read(wire, timeout):
    threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        wire.usb.bulkRead(IN, 512, timeout)
    assert time.monotonic() - started < 20
    assert wire.read(0xB450) == b"\x78"


@pytest.mark.parametrize("timeout", [50, 300])
def test_timeouts_are_kept(wire, timeout):
    started = time.monotonic()
    with pytest.raises(usb1.USBErrorTimeout):
        wire.usb.bulkWrite(OUT, bytes(512), timeout)
    assert timeout / 1000 <= time.monotonic() - started < timeout / 1000 + 10


def test_endless_waits_are_not_waited_out(wire):
    started = time.monotonic()
    with pytest.raises(usb1.USBErrorTimeout):
        wire.usb.controlRead(0xC0, 0x99, 0, 0, 4, 30_000)
    assert time.monotonic() - started < 20 and wire.usb.modelled_seconds > 30


LEAVING = """
import sys, atexit
sys.path.insert(0, {root!r})
def last():
    transfer = adapter.getTransfer()  # a driver's own clean-up, after ours
    transfer.setControl(0xC0, 0xE4, 0xB450, 0, 1, timeout=1000)
    transfer.submit()
    assert not transfer.isSubmitted() and bytes(transfer.getBuffer()) == b"x"
    print("last")
atexit.register(last)
from torch_usbgpu.emulator import EmulatedAdapter
adapter = EmulatedAdapter("probe")
transfer = adapter.getTransfer()
transfer.setBulk(0x81, 512)
transfer.submit()
"""


def test_exit_with_a_transfer_in_flight():
    result = subprocess.run(
        [sys.executable, "-c", LEAVING.format(root=str(ROOT))], capture_output=True, text=True, timeout=30
    )
    assert (result.returncode, result.stdout.strip()) == (0, "last"), result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_child_neither_uses_nor_breaks_the_dock(wire):
    transfer = wire.usb.getTransfer()
    transfer.setControl(0xC0, 0xE4, 0xB450, 0, 1, timeout=1000)
    transfer.submit()
    wait_for(transfer)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            wire.read(0xB450)
        except usb1.USBErrorNoDevice:
            wire.usb = transfer = None  # noqa: F841  lets go of the last reference
            code = 0
        os._exit(code)
    deadline = time.monotonic() + 20
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
        assert time.monotonic() < deadline, "the child hangs"
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(done[1]) == 0
    assert wire.read(0xB450) == b"\x78"


# --- fault switches

def test_unplug_after():
    adapter = EmulatedAdapter("probe", faults=["unplug-after:3"])
    for _ in range(3):
        adapter.controlRead(0xC0, 0xE4, 0xB450, 0, 1, 100)
    with pytest.raises(usb1.USBErrorNoDevice):
        adapter.controlRead(0xC0, 0xE4, 0xB450, 0, 1, 100)


@pytest.mark.parametrize("kind, error", [("timeout", usb1.USBErrorTimeout), ("stall", usb1.USBErrorPipe)])
def test_request_faults(kind, error):
    wire = Wire(faults=[f"{kind}:E4:2"])
    for _ in range(2):
        with pytest.raises(error):
            wire.read(0xB450)
    assert wire.read(0xB450) == b"\x78"


def test_bulk_faults():
    wire = Wire(faults=["timeout:bulk-out:1", "short-bulk:1"]).bring_up()
    wire.arm_write(VRAM, 4)
    with pytest.raises(usb1.USBErrorTimeout):
        wire.usb.bulkWrite(OUT, bytes(16), 100)
    wire.usb.clearHalt(OUT)
    wire.arm_read(VRAM, 512)
    assert len(wire.usb.bulkRead(IN, 2048, 100)) == 512
    wire.usb.clearHalt(IN)
    assert len(wire.stream_read(VRAM, 2048)) == 2048


def test_lost_release():
    wire = Wire(faults=["no-release"]).bring_up()
    wire.f2(512, into_host=True)
    wire.release()
    assert wire.bulk_in_times_out()


def test_tlp_errors():
    wire = Wire(faults=["tlp-error:3"])
    replies = [wire.config_read(0, 0) for _ in range(6)]
    assert [reply.firmware for reply in replies].count(1) == 2
    assert all(reply[:4] == (0, 0, 0, 0) for reply in replies if reply.firmware)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"faults": ["explode"]}, "unplug-after"),
        ({"faults": ["timeout:XX"]}, "known"),
        ({"faults": ["unplug-after"]}, "number"),
        ({"firmware": "mine"}, "custom"),
        ({"usb": "slow"}, "super"),
        ({"chip": "voodoo2"}, "navi31"),
    ],
)
def test_bad_options_name_the_good_ones(arguments, words):
    with pytest.raises(ValueError, match=words):
        EmulatedAdapter(**{"chip": "probe", **arguments})


# --- processes and speed

SECOND = """
import sys
sys.path.insert(0, {root!r})
from tests.emulator.adapter.wire import Wire, VRAM
wire = Wire().bring_up()
for i in range(50):
    wire.stream_write(VRAM, bytes([{value}]) * 4096)
    assert wire.stream_read(VRAM, 4096) == bytes([{value}]) * 4096
print("fine")
"""


def test_two_processes_have_a_dock_each():
    root = str(ROOT)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SECOND.format(root=root, value=value)], stdout=subprocess.PIPE, text=True
        )
        for value in (1, 2)
    ]
    for process in running:
        assert process.communicate(timeout=60)[0].strip() == "fine" and process.returncode == 0
