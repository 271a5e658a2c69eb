"""`usbgpu smi` and `usbgpu reset`, against other processes' cards, idle docks, and docks in trouble."""
from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from torch_usbgpu import usb
from torch_usbgpu.amdgpu import Gpu, boot
from torch_usbgpu.cli import smi
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.errors import DeviceBusy, UsbGpuError
from torch_usbgpu.usb import OpenedHandle, identify

from .conftest import ROOT, usbgpu, usbgpu_process

USER = """
import sys
import numpy as np
from torch_usbgpu import compiler
from torch_usbgpu.runtime import Device

with Device("emulated:navi33") as device:
    block = device.alloc(3 << 20)
    kernels = device.load(compiler.compile('extern "C" __global__ void stray(int *to) { *to = 1; }', device.arch))
    for line in sys.stdin:
        if line == "stray\\n":
            device.launch(kernels["stray"], 1, 1, [0x10_0000])
            try:
                device.synchronize()
            except Exception as error:
                print(type(error).__name__, flush=True)
                continue
        device.copy_in(block, np.arange(1000, dtype=np.int32))
        result = np.empty(1000, np.int32)
        device.copy_out(result, block)
        print(int(result.sum()), flush=True)
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """A runtime folder of the test's own, and no docks but those that it makes up."""
    with tempfile.TemporaryDirectory(prefix="u") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.delenv("USBGPU_DEVICE", raising=False)
        monkeypatch.setattr(usb, "list_adapters", lambda spec: [])
        yield Path(folder)


@pytest.fixture
def user(alone):
    """Another process with a card; `ask(line)` lets it compute."""
    process = subprocess.Popen([sys.executable, "-c", USER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})

    def ask(line: str) -> str:
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    process.ask = ask
    assert ask("") == "499500"
    yield process
    process.stdin.close()
    assert process.wait(30) == 0


def devices(*arguments, status: int = 0) -> list[dict]:
    done = usbgpu("smi", "--json", *arguments, check=status)
    assert done.stderr == ""
    return json.loads(done.stdout)["devices"]


# ---- what others use

def test_another_process_is_asked(user):
    device, = devices()
    assert (device["pid"], device["chip"], device["state"]) == (user.pid, "navi33", "running")
    assert device["vram"]["allocated"] == 3 << 20 and device["metrics"]["power_w"] > 0
    assert device["link"]["pcie_link_up"] and device["link"]["usb_gbps"] == 10
    assert device["rates"]["errors"] == 0 and device["rates"]["transfers"] > 0      # the questions themselves
    assert user.ask("") == "499500"                                 # and goes on


def test_for_people(user):
    shown = usbgpu("smi", check=0).stdout
    for part in ("Radeon RX 7600", f"process {user.pid}", "3.0 MiB of 8.0 GiB", "W of 132 W", "PCIe 8 GT/s x2",
                 "0 errors", "idle", "running"):
        assert part in shown, part
    assert "\x1b" not in shown                                      # no terminal, no colours


def test_a_card_in_trouble(user):
    assert user.ask("stray") == "GpuFault"
    device, = devices(status=1)
    assert device["state"] == "failed" and "USBGPU-302" in device["failure"] and device["metrics"] is None
    assert "USBGPU-302" in usbgpu("smi", check=1).stdout


@pytest.mark.parametrize(("spec", "seen"), [
    ("emulated", True), ("emulated:navi33", True), ("emulated:gfx1102", True), ("emulated:navi48", False)])
def test_one_of_them(user, spec, seen):
    assert (devices("--device", spec)[0]["pid"] == user.pid) == seen


def test_watch(user):
    watching = subprocess.Popen([sys.executable, "-m", "torch_usbgpu.cli", "smi", "--watch", "0.2", "--json"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env={**os.environ, "PYTHONPATH": str(ROOT), "USBGPU_DEVICE": "emulated"})
    first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=20)
    assert watching.returncode == 0 and errors == ""
    assert first["devices"][0]["rates"] is None and second["devices"][0]["rates"]["transfers"] > 0
    assert first["time"] < second["time"] and first["devices"][0]["pid"] == user.pid


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo terminals here")
def test_watch_on_a_terminal(user):
    ours, theirs = os.openpty()
    watching = subprocess.Popen([sys.executable, "-m", "torch_usbgpu.cli", "smi", "--watch", "0.2"], stdout=theirs,
                                env={**os.environ, "PYTHONPATH": str(ROOT), "USBGPU_DEVICE": "emulated", "TERM": "xterm",
                                     "COLUMNS": "150"})
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + 20
    while shown.count(b"Radeon RX 7600") < 3 and time.monotonic() < deadline:
        shown += os.read(ours, 65536)
    watching.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):          # Linux: EIO at the end
        while os.read(ours, 65536):
            pass
    assert watching.wait(20) == 0 and b"\x1b[" in shown and b"W of 132 W" in shown
    os.close(ours)


def test_nobody_and_nothing():
    assert devices() == []
    assert "No dock is plugged in" in usbgpu("smi", check=0).stdout


@pytest.mark.parametrize(("changed", "expected"), [
    ({}, {"transfers": 0, "bytes_out": 0}), ({"bulk_in": 10, "control_out": 20}, {"transfers": 15, "bytes_out": 0}),
    ({"bytes_out": 4000, "errors": 2}, {"bytes_out": 2000, "errors": 1}), ({"bytes_in": -5}, None), ({"at_s": -2}, None)])
def test_rates(changed, expected):
    names = ("control_out", "control_in", "bulk_out", "bulk_in", "bytes_out", "bytes_in", "errors", "retries", "launches")
    first = {name: 100 for name in names} | {"at_s": 5.0}
    second = {name: value + changed.get(name, 0) for name, value in first.items()} | {"at_s": 7.0 + changed.get("at_s", 0)}
    counted = smi.rates(first, second)
    assert counted is None if expected is None else {name: counted[name] for name in expected} == expected


# ---- docks that nobody uses

class Dock:
    """A dock at usb:2-1 that stays plugged in while one command after the other opens it."""

    def __init__(self, monkeypatch, **options):
        self.model = EmulatedAdapter("navi48", **options)
        self.state, self.holder = "free", None
        monkeypatch.setattr(usb, "list_adapters", lambda spec: [self.row()])
        monkeypatch.setattr(usb, "open_handle", self.open)

    def row(self):
        return SimpleNamespace(spec="usb:2-1", identity=identify(self.model, ask_device=False), state=self.state,
                               holder=self.holder)

    def open(self, spec: str) -> OpenedHandle:
        from torch_usbgpu.emulated_firmware import firmware_directory
        if self.state != "free":
            raise DeviceBusy("Another process uses the adapter.", pid=self.holder)
        return OpenedHandle(Unclosed(self.model), "USB 2-1", (firmware_directory("navi48"),))

    def gpu(self) -> Gpu:
        opened = self.open("")
        return Gpu(usb.Adapter(opened.handle), opened.firmware_dirs)


class Unclosed:
    def __init__(self, model):
        self._model = model

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def close(self) -> None:
        pass


@pytest.fixture
def dock(monkeypatch):
    dock = Dock(monkeypatch)
    yield dock
    dock.model.close()


def test_a_cold_card_is_looked_at(dock):
    device, = devices()
    assert (device["device"], device["state"], device["chip"], device["metrics"]) == ("USB 2-1", "cold", "navi48", None)
    assert device["vram"] == {"total": 16 << 30, "allocated": None, "reserved": None, "limit": None}
    gpu = dock.gpu()
    gpu.boot()
    assert "cold" in [step.detail for step in gpu.boot_log]         # smi had not started it


def test_an_idle_card_tells_and_stays_as_it_is(dock):
    gpu = dock.gpu()
    gpu.boot()
    gpu.shutdown()
    device, = devices()
    assert device["state"] == "idle" and device["compute_units"] == 64
    assert device["metrics"]["clocks_mhz"]["GFXCLK"] == 500         # as shut down, not raised
    assert device["power_limit_w"] == 304
    gpu = dock.gpu()
    gpu.boot()
    assert "warm start" in [step.detail for step in gpu.boot_log]


def test_a_card_that_was_left_running(dock):
    dock.gpu().boot()
    device, = devices()
    assert device["state"] == "left running" and device["metrics"]["power_w"] > 0
    assert "torn away" in device["missing"]


def test_another_drivers_card_is_not_told_to_write(monkeypatch):
    """Its SMU knows another table's address."""
    dock = Dock(monkeypatch, state="dirty")
    device, = devices()
    assert device["state"] == "left running" and device["metrics"] is None and "another driver" in device["missing"]
    dock.model.close()


def test_boot_tells_everything(dock):
    device, = devices("--boot")
    assert device["state"] == "idle" and device["vram"]["allocated"] == 0 and device["metrics"]["power_w"] > 0
    assert devices()[0]["state"] == "idle"


@pytest.mark.parametrize(("state", "holder", "options", "seen", "words"), [
    ("busy", 4321, {}, "busy", "process 4321"), ("busy", None, {}, "busy", "another program"),
    ("no permission", None, {}, "error", "usbgpu doctor"), ("free", None, {"firmware": "stock"}, "error", "stock")])
def test_docks_that_cannot_be_opened(monkeypatch, state, holder, options, seen, words):
    dock = Dock(monkeypatch, **options)
    dock.state, dock.holder = state, holder
    device, = devices(status=1 if seen == "error" else 0)
    assert device["state"] == seen and words in device["missing"] and device["pid"] == holder
    dock.model.close()


def test_a_link_that_is_down(monkeypatch):
    dock = Dock(monkeypatch)
    usb.Adapter(dock.model).power(False)
    device, = devices()
    assert device["state"] == "no link" and device["link"]["pcie_link_up"] is False and device["missing"]
    assert usb.Adapter(dock.model).ltssm() != 0x78                  # not switched on for a look
    dock.model.close()


def test_a_dock_that_a_process_answers_for_is_not_opened(user, dock):
    dock.state, dock.holder = "busy", user.pid
    device, = devices()
    assert device["pid"] == user.pid and device["state"] == "running"


def test_a_setting_that_the_card_cannot_do(dock, monkeypatch):
    monkeypatch.setenv("USBGPU_POWER_LIMIT", "5")
    done = usbgpu("smi", "--boot", "--json", check=2)
    assert "USBGPU-001" in done.stderr and "USBGPU_POWER_LIMIT to 212 .. 304" in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "USBGPU-001"


def test_an_error_while_looking_is_told(dock, monkeypatch):
    def lost(gpu):
        raise UsbGpuError("It went up in smoke.", "Open a window.")

    monkeypatch.setattr(smi.look, "look", lost)
    device, = devices(status=1)
    assert (device["state"], device["missing"], device["action"]) == ("error", "It went up in smoke.", "Open a window.")


# ---- reset

@pytest.mark.parametrize(("state", "arguments", "means"), [
    ("cold", (), "nothing"), ("warm", (), "mode-1 reset"), ("dirty", (), "mode-1 reset"), ("wedged", (), "power cycle"),
    ("dirty", ("--power",), "power cycle"), ("cold", ("--power",), "power cycle")])
def test_reset(monkeypatch, state, arguments, means):
    monkeypatch.setattr(boot, "MODE1_RESET_SECONDS", 0.01)
    dock = Dock(monkeypatch, state=state)
    done = json.loads(usbgpu("reset", "--json", *arguments, check=0).stdout)
    assert done["means"] == means and done["device"] == "USB 2-1"
    assert (done["lost"] == "nothing") == (means == "nothing") and (done["first_error"] is not None) == (state == "wedged")
    assert devices()[0]["state"] == "cold"
    gpu = dock.gpu()
    gpu.boot()
    assert "cold" in [step.detail for step in gpu.boot_log]
    dock.model.close()


def test_reset_after_our_own_crash(dock, monkeypatch):
    monkeypatch.setattr(boot, "MODE1_RESET_SECONDS", 0.01)
    dock.gpu().boot()
    assert "mode-1 reset" in usbgpu("reset", check=0).stdout
    assert devices()[0]["state"] == "cold"


def test_a_card_in_use_is_not_reset(dock):
    dock.state, dock.holder = "busy", 4321
    done = usbgpu("reset", check=2)
    assert "USBGPU-103" in done.stderr and "4321" in done.stderr and done.stdout == ""


def test_as_a_command():
    """The real thing once, with what the environment says."""
    assert "cold" in usbgpu_process("reset", check=0).stdout
    assert "Radeon" in usbgpu_process("smi", check=0).stdout
    assert "no device" in usbgpu_process("smi", "--device", "toaster", check=2).stderr
    started = time.monotonic()
    usbgpu_process("smi", "--help", check=0)
    assert time.monotonic() - started < 30
