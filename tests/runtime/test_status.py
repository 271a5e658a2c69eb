"""What a process with an open device tells others, and what it does not."""
from __future__ import annotations

import gc
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from torch_usbgpu import compiler, private_files
from torch_usbgpu.errors import GpuFault, UsbGpuError
from torch_usbgpu.runtime import Device, status

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """
extern "C" __global__ void work(int *to, int rounds) {
  int x = threadIdx.x;
  for (int i = 0; i < rounds; i++) x = x * 1664525 + 1013904223;
  to[threadIdx.x] = x;
}
extern "C" __global__ void stray(int *to) { *to = 1; }
"""


@pytest.fixture(autouse=True)
def place(monkeypatch):
    """A runtime folder of the test's own: other tests' devices are not heard here. Its name is short, for sockets."""
    with tempfile.TemporaryDirectory(prefix="u") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder) / "torch_usbgpu"


def leftovers(place: Path) -> list[str]:
    return sorted(file.name for file in place.glob("*")) if place.exists() else []


def mine() -> status.Process:
    found, = status.processes()
    return found


# ---- the endpoint

def test_question_and_answer(place):
    endpoint = status.Endpoint(status=lambda: {"card": "some card"}, broken=lambda: 1 // 0)
    assert status.ask_all() == [{"pid": os.getpid(), "card": "some card"}]
    assert "ZeroDivisionError" in mine().ask("broken")["error"]
    assert "nobody" in mine().ask("format c:")["error"]
    endpoint.close()
    endpoint.close()
    assert list(status.processes()) == [] == leftovers(place)


def test_files_are_the_users_own(place):
    endpoint = status.Endpoint(status=dict)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE(mine().file.stat().st_mode) == 0o600
    endpoint.close()


def speak(process: status.Process, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(process.address)
        connection.sendall(line)
        try:
            return connection.recv(100)
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize("line", [
    b"\n", b"what?\n", b"[]\n", b"{}\n", b'{"question": "status"}\n', b'{"word": "", "question": "status"}\n',
    b'{"word": "guessed", "question": "status"}\n', b'{"word": null, "question": null}\n', b"\x80\x04\n", b"x" * 5000 + b"\n"])
def test_without_the_word_nothing_is_said(line):
    asked = []
    endpoint = status.Endpoint(status=lambda: asked.append(1) or {})
    assert speak(mine(), line) == b"" and asked == []
    assert status.ask_all() == [{"pid": os.getpid()}] and asked == [1]     # and it still serves
    endpoint.close()


def test_a_visitor_who_says_nothing_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(status, "QUESTION_SECONDS", 0.2)
    endpoint = status.Endpoint(status=dict)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(mine().address)
        started = time.monotonic()
        assert status.ask_all() == [{"pid": os.getpid()}]
        assert time.monotonic() - started < 10
    endpoint.close()


def test_a_port_where_there_are_no_unix_sockets(monkeypatch):
    monkeypatch.setattr(status, "UNIX_PATH_BYTES", 0)
    endpoint = status.Endpoint(status=lambda: {"by": "port"})
    assert mine().address[0] == "127.0.0.1" and status.ask_all() == [{"pid": os.getpid(), "by": "port"}]
    endpoint.close()


def test_no_answer_in_time():
    endpoint = status.Endpoint(status=lambda: time.sleep(0.5) or {})
    assert "no answer" in status.ask_all(seconds=0.1)[0]["error"]
    assert len(list(status.processes())) == 1               # it is there, only slow
    endpoint.close()


def test_it_keeps_nothing_alive(place):
    class Owner:
        def __init__(self):
            self.endpoint = status.Endpoint(status=self.status)

        def status(self):
            return {}

    owner = Owner()
    assert status.ask_all() == [{"pid": os.getpid()}]
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
    deadline = time.monotonic() + 20         # the thread that answered may be about to let go of it
    while leftovers(place) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert leftovers(place) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_no_part_in_it(place):
    endpoint = status.Endpoint(status=dict)
    ready, child_ready = os.pipe()
    process, child = mine(), os.fork()
    if child == 0:
        try:
            endpoint.close()
            os.write(child_ready, b"!")
            signal.pause()
        finally:
            os._exit(0)
    os.read(ready, 1)
    try:
        assert process.ask() == {"pid": os.getpid()}
        endpoint.close()
        with pytest.raises(status.NoAnswer):
            process.ask()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert leftovers(place) == []


def test_what_a_killed_process_leaves_is_removed(place):
    program = ("import time\nfrom torch_usbgpu.runtime import status\nkept = status.Endpoint(status=dict)\n"
               "print('up', flush=True)\ntime.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}) as other:
        assert other.stdout.readline() == "up\n"
        assert [answer["pid"] for answer in status.ask_all()] == [other.pid]
        other.kill()
    assert len(leftovers(place)) == 2
    assert status.ask_all() == [] and leftovers(place) == []


def test_a_file_that_others_could_write_is_not_believed(place):
    endpoint = status.Endpoint(status=dict)
    file = mine().file
    file.chmod(0o666)
    assert list(status.processes()) == []
    file.chmod(0o600)
    assert len(list(status.processes())) == 1
    endpoint.close()


def test_a_device_opens_where_there_is_no_place(monkeypatch):
    def refuse():
        raise private_files.UnsafePlace("There is no folder.")

    monkeypatch.setattr(private_files, "runtime_directory", refuse)
    with Device("emulated") as device:
        assert device.status()["state"] == "running"


# ---- the device behind it

@pytest.fixture
def device():
    with Device("emulated") as device:
        yield device


def test_report(device):
    block = device.alloc(1 << 20)
    told, = status.ask_all()
    assert (told["card"], told["chip"], told["arch"]) == (device.gpu.name, device.gpu.chip_name, device.arch)
    assert told["vram"]["total"] == device.gpu.vram_bytes and told["vram"]["allocated"] == 1 << 20
    assert told["metrics"]["power_w"] > 0 and told["power_limit_w"] == device.gpu.smu.power_limit()
    assert told["queue"]["state"] == "idle" and told["state"] == "running" and told["missing"] is None
    assert told["transfers"]["control_out"] > 0 and json.loads(json.dumps(told)) == told
    device.free(block)


def test_nobody_asks_nothing_crosses_the_cable(device):
    before = device.adapter.stats.transfers
    time.sleep(0.3)
    assert device.adapter.stats.transfers == before


def test_while_a_kernel_runs(device):
    """The program waits for its kernel all the time, and its result is right."""
    kernels = device.load(compiler.compile(SOURCE, device.arch))
    block, out, rounds = device.alloc(256), np.empty(64, np.int32), 600_000
    told: list[dict] = []

    def ask():
        while not done.is_set():
            told.extend(status.ask_all())
            time.sleep(0.05)

    done, asking = threading.Event(), threading.Thread(target=ask)
    asking.start()
    working: list[dict] = []
    for _ in range(20):         # how often it is asked in the meantime is the machine's affair
        device.launch(kernels["work"], 64, 64, [block, np.int32(rounds)])
        device.copy_out(out, block)
        working = [answer for answer in told if answer["queue"]["state"] == "working"]
        if len(working) > 2:
            break
    done.set()
    asking.join()
    expected = np.arange(64, dtype=np.uint64)
    for _ in range(rounds):
        expected = expected * 1664525 + 1013904223 & 0xFFFF_FFFF
    assert (out.view(np.uint32) == expected.astype(np.uint32)).all()
    assert len(working) > 2 and sum(bool(answer["metrics"]) for answer in working) > len(working) / 2
    assert max(answer["metrics"]["activity_percent"]["graphics"] for answer in told if answer["metrics"]) > 50
    assert device.adapter.stats.errors == 0


def test_the_power_limit_holds_under_load(monkeypatch):
    """Asked from the thread that waits for nothing, while waves run: power stays below, and the clock pays for it."""
    readings = {}
    for limit, clocks in (("", "high"), ("118", "auto")):
        monkeypatch.setenv("USBGPU_POWER_LIMIT", limit)
        monkeypatch.setenv("USBGPU_CLOCKS", clocks)
        with Device("emulated:navi33") as device:
            kernels = device.load(compiler.compile(SOURCE, device.arch))
            resting = device.metrics().clocks_mhz["GFXCLK"]
            assert (resting < 1000) == (clocks == "auto")
            device.launch(kernels["work"], 64, 64, [device.alloc(256), np.int32(1_500_000)])
            device.stream.flush()
            time.sleep(0.1)
            device.metrics()        # what counts is the time between two readings
            time.sleep(0.5)
            readings[limit] = device.metrics()
            device.synchronize()
    free, limited = readings[""], readings["118"]
    assert 120 < free.power_w <= 132 and free.throttling_percent == {}
    assert 110 < limited.power_w <= 118 and "PPT0" in limited.throttling_percent
    assert 2000 < limited.clocks_mhz["GFXCLK"] < free.clocks_mhz["GFXCLK"]     # raised by itself, and cut
    assert limited.activity_percent["graphics"] > 90 < free.activity_percent["graphics"]


def test_no_packet_comes_between_an_arm_and_its_data(device, monkeypatch):
    """While large copies stream, somebody asks all the time. The dock's bulk endpoint is shared with its packets."""
    sent: list[str] = []
    for name, place in (("submit_control", 0), ("_control_out", 0), ("submit_bulk", None), ("_bulk_out", 0)):
        def told(*arguments, original=getattr(device.adapter, name), place=place, **options):
            sent.append(options["path"] if place is None else arguments[place])
            return original(*arguments, **options)
        monkeypatch.setattr(device.adapter, name, told)
    array = np.random.default_rng(7).integers(0, 255, 6 << 20, dtype=np.uint8)
    block, back, asked, done = device.alloc(array.nbytes), np.empty_like(array), [], threading.Event()

    def ask():
        while not done.is_set():
            asked.append(device.status()["missing"])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(3):
            device.copy_in(block, array)
            device.copy_out(back, block)
            assert (back == array).all()
    finally:
        done.set()
        asking.join()
    transfers = [name for name in sent if name.startswith(("pcie", "sram_arm_out", "sram_out"))]
    arms = [index for index, name in enumerate(transfers) if name == "sram_arm_out"]
    assert len(arms) > 60 and asked.count(None) > 10 and transfers.count("pcie_single") > 100
    assert {transfers[index + 1] for index in arms} == {"sram_out"}


def test_a_gpu_that_has_stopped_is_left_alone(device):
    kernels = device.load(compiler.compile(SOURCE, device.arch))
    device.launch(kernels["stray"], 1, 1, [0x10_0000])
    with pytest.raises(GpuFault):
        device.synchronize()
    before = device.adapter.stats.transfers
    told, = status.ask_all()
    assert device.adapter.stats.transfers == before
    assert told["state"] == "failed" and "USBGPU-302" in told["failure"] and told["queue"]["state"] == "stopped"
    assert told["metrics"] is None and told["missing"]
    device.reset()
    assert status.ask_all()[0]["state"] == "running"


def test_a_silent_power_controller_is_asked_once(device, monkeypatch):
    from torch_usbgpu.errors import SmuSilent
    asked = []

    def silent(*arguments):
        asked.append(arguments)
        raise SmuSilent("The SMU did not answer.")

    monkeypatch.setattr(device.gpu.smu, "send", silent)
    first, second = device.status(), device.status()
    assert first["metrics"] is second["metrics"] is None and first["missing"] and len(asked) == 1
    assert first["queue"]["state"] == "idle"


def test_who_holds_the_cable_is_not_waited_for(device, monkeypatch):
    from torch_usbgpu.runtime import report
    monkeypatch.setattr(report, "VISIT_SECONDS", 0.1)
    held, leave = threading.Event(), threading.Event()

    def hold():
        with device.adapter.lock:
            held.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    assert device.status()["missing"] == "the cable is busy"
    leave.set()
    holder.join()
    assert device.status()["missing"] is None


def test_closing_ends_it(place):
    device = Device("emulated")
    assert len(leftovers(place)) == 2
    device.close()
    assert leftovers(place) == []


@pytest.mark.parametrize(("switches", "words"), [
    (("smu-silent",), "did not answer"), (("link-down",), "PCIe"), (("unplug",), "went away"),
    (("stall:F0:1",), "pcie_"), (("stall:E4:1",), "read_xdata")])
def test_a_fault_while_it_is_asked(switches, words):
    """The answer says what is missing, soon; the program goes on as if nobody had asked."""
    device = Device("emulated")
    block, array, back = device.alloc(4096), np.arange(1024, dtype=np.int32), np.empty(1024, np.int32)
    device.copy_in(block, array)
    device.copy_out(back, block)
    device.handle.inject(*switches)
    started = time.monotonic()
    told, = status.ask_all()
    assert time.monotonic() - started < 10
    assert words in told["missing"] and told["metrics"] is None and told["card"] == device.gpu.name
    if switches[0] in ("smu-silent", "link-down", "unplug"):
        with pytest.raises(UsbGpuError) as caught:
            device.metrics()
        assert words in caught.value.found
    device.handle.heal()
    if switches[0] in ("smu-silent", "stall:F0:1", "stall:E4:1"):
        back[:] = 0
        device.copy_out(back, block)
        assert (back == array).all() and status.ask_all()[0]["queue"]["state"] == "idle"
    else:
        with pytest.raises(UsbGpuError):
            device.copy_out(back, block)
        assert status.ask_all()[0]["state"] == "failed"
    device.close()
