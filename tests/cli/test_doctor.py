"""usbgpu doctor and usbgpu list: every state, provoked by its switch, as a user sees it."""
from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from torch_usbgpu import errors
from torch_usbgpu.diagnosis import STATES, checks, rates
from torch_usbgpu.diagnosis.states import OK, PROBLEM

from .conftest import ROOT, usbgpu

PROVOKED = [state for state in STATES if state.switch or state.severity == OK]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """What does not answer after 2 s does not answer after 5 either: the model's moments are far shorter."""
    from torch_usbgpu.amdgpu import psp, smu
    from torch_usbgpu.usb.bridge import Bridge

    monkeypatch.setattr(psp, "ANSWER_SECONDS", 2.0)
    monkeypatch.setattr(smu, "SMU_SECONDS", 2.0)
    monkeypatch.setattr(Bridge.raise_link, "__defaults__", (2.0,))


@pytest.fixture
def emulator(monkeypatch):
    monkeypatch.setenv("USBGPU_DEVICE", "emulated")
    monkeypatch.setenv("USBGPU_TIMEOUT_S", "2")
    monkeypatch.setenv("USBGPU_CLANG", "")          # two switches set it
    return lambda options: monkeypatch.setenv("USBGPU_EMULATOR", options)


def examined(*arguments, status: int) -> dict:
    done = usbgpu("doctor", "--json", *arguments, check=status)
    return json.loads(done.stdout)          # one document and nothing else


@pytest.mark.parametrize("state", PROVOKED, ids=lambda state: state.name)
def test_each_state_is_told_apart(emulator, state):
    emulator(state.switch)
    report = examined(status=1 if state.severity == PROBLEM else 0)
    first = report["findings"][0]
    assert (first["code"], first["name"], first["severity"]) == (state.code, state.name, state.severity)
    assert first["seen"] and first["action"]
    assert len(report["findings"]) == 1
    assert report["works"] == (state.severity != PROBLEM)
    results = [row["result"] for row in report["checks"]]
    assert (PROBLEM in results) == (state.severity == PROBLEM)


def test_all_well_says_what_was_done(emulator):
    emulator("")
    report = examined("--device", "emulated:navi48", status=0)
    assert {row["result"] for row in report["checks"]} == {"ok"}
    measured = {row["name"]: row["mb_per_s"] for row in report["rates"]}
    # The sheet's rates, less what a transfer costs besides its bytes.
    assert 3.2 < measured["PIO write"] <= 3.6 and 1.6 < measured["PIO read"] <= 1.8
    assert 550 < measured["SRAM write"] <= 700
    assert all(row["enough"] for row in report["rates"]) and measured["copy to the GPU"] > 138
    card = report["facts"]["card"]
    assert card["arch"] == "gfx1201" and card["found"] == "cold" and card["links"]["narrowest"]["lanes"] == 2
    assert report["facts"]["dock"]["pcie_lanes"] == 2 and report["facts"]["dock"]["usb_gbps"] == 10
    assert len(report["facts"]["firmware_files"]) >= 6 and report["facts"]["dock"]["firmware"] == "v0.1"


@pytest.mark.parametrize("chip", ["navi32", "navi33", "navi44"])
def test_the_other_chips_are_well(emulator, chip):
    emulator("strict,state=warm")
    report = examined("--device", f"emulated:{chip}", status=0)
    assert report["facts"]["card"]["chip"] == chip
    assert {row["name"] for row in report["findings"]} <= {"all-well", "board-was-dirty"}


def test_the_link_decides_what_is_expected(emulator):
    emulator("usb=super-5g")
    sram = next(row for row in examined(status=0)["rates"] if row["name"] == "SRAM write")
    assert sram["expected_mb_per_s"] == 400 and 300 < sram["mb_per_s"] <= 400 and sram["enough"]


@pytest.mark.parametrize("system, words", [("linux", ['ATTR{power/control}="on"', "udevadm"]), ("macos", ["macOS"]),
                                           ("windows", ["WinUSB"])])
def test_permission_texts(emulator, system, words):
    emulator(f"fault=no-permission:{system}")
    done = usbgpu("doctor", check=1)
    assert "[D110] no-permission" in done.stdout and [word for word in words if word not in done.stdout] == []


def test_busy_names_the_process(emulator):
    emulator("fault=busy:4711")
    found = examined(status=1)["findings"][0]
    assert found["details"]["pid"] == 4711 and "4711" in found["action"] and found["error"] == "USBGPU-103"


@pytest.mark.parametrize("card, words", [("10de:2684", ["NVIDIA", "10de:2684"]), ("1002:73bf", ["Navi 21"]),
                                         ("1002:744c:11.5.0", ["11.5.0"]), ("1002:73a2:10.3.0", ["10.3.0", "Navi 21"])])
def test_unsupported_cards_are_named(emulator, card, words):
    emulator(f"fault=card:{card}")
    found = examined(status=1)["findings"][0]
    assert found["name"] == "unsupported-card" and [word for word in words if word not in found["seen"]] == []


def test_all_missing_files_are_named(emulator):
    emulator("fault=firmware-missing")
    found = examined(status=1)["findings"][0]
    assert "rlc" in found["seen"] and "usbgpu firmware install" in found["action"]


def test_two_problems_are_both_told(emulator):
    emulator("firmware=stock,fault=no-compiler")
    assert {row["name"] for row in examined(status=1)["findings"]} == {"stock-firmware", "no-compiler"}


def test_a_wedged_board_that_a_power_cycle_brings_back(emulator):
    emulator("state=wedged")
    found = examined(status=0)["findings"]
    assert [row["name"] for row in found] == ["board-was-dirty"]


def test_without_a_compiler_the_boot_is_still_tried(emulator):
    emulator("fault=no-compiler")
    results = {row["name"]: row["result"] for row in examined(status=1)["checks"]}
    assert results["boot"] == "ok" and results["test kernel"] == "skipped"


def test_states_that_only_broken_machines_have(emulator, monkeypatch):
    emulator("")

    def broken(error):
        def fail(*_arguments, **_options):
            raise error
        return fail

    monkeypatch.setattr(checks.selftest, "run", broken(errors.GpuFault("It faulted.", kernel="usbgpu_self_test")))
    assert examined(status=1)["findings"][0]["name"] == "kernel-faults"
    monkeypatch.setattr(checks.selftest, "run", broken(errors.CompileError("No.")))
    assert examined(status=1)["findings"][0]["name"] == "compiler-fails"
    monkeypatch.setattr(checks.selftest, "run", broken(ZeroDivisionError("what?")))
    found = examined(status=1)["findings"][0]
    assert found["name"] == "other-error" and "ZeroDivisionError" in found["seen"]


def test_changed_bytes_are_found(emulator, monkeypatch):
    from torch_usbgpu.runtime import Device
    emulator("")
    copied = Device.copy_out

    def damaged(self, array, gpu_va):
        copied(self, array, gpu_va)
        if array.nbytes == rates.COPIES[True][0]:
            array[12345] ^= 1

    monkeypatch.setattr(Device, "copy_out", damaged)
    found = examined(status=1)["findings"][0]
    assert found["name"] == "data-changed" and "0x3039" in found["seen"]


def test_warm_after_the_doctor(emulator):
    """The doctor leaves the board in order."""
    emulator("")
    from torch_usbgpu import diagnosis, usb
    opened = usb.open_handle("emulated")
    real, handle = usb.open_handle, opened.handle
    try:
        usb.open_handle = lambda spec: usb.OpenedHandle(handle, "again", opened.firmware_dirs)
        assert diagnosis.examine("emulated").works
        handle.reopen()
        report = diagnosis.examine("emulated")
    finally:
        usb.open_handle = real
    assert report.works and report.facts["card"]["found"] == "warm"


def test_text_is_plain_when_it_is_no_terminal(emulator):
    emulator("usb=super-5g")
    done = usbgpu("doctor", check=0)
    assert "\x1b" not in done.stdout and done.stderr == ""
    assert "[D109] usb-5g-link" in done.stdout and "\n  Next: " in done.stdout
    assert done.stdout.count("ok       ") > 8


@pytest.mark.parametrize("arguments", [("--device", "toaster"), ("--device", "emulated:voodoo2"), ("--what",)])
def test_wrong_usage(emulator, arguments):
    emulator("")
    done = usbgpu("doctor", *arguments, check=2)
    assert "Next:" in done.stderr or "Usage:" in done.stderr


def test_udev_rules():
    rules = usbgpu("doctor", "--udev-rules", check=0).stdout.splitlines()
    assert all(rule.startswith('SUBSYSTEM=="usb"') and 'power/control}="on"' in rule for rule in rules)
    assert {rule.split('"')[3] for rule in rules} >= {"add1", "3801", "174c"}


def test_auto_means_hardware(monkeypatch):
    from torch_usbgpu.usb import libusb

    def nothing(*_arguments, **_options):
        raise errors.DeviceNotFound("No USB GPU adapter is plugged in.")
    monkeypatch.setattr(libusb, "open_adapter", nothing)
    monkeypatch.setenv("USBGPU_DEVICE", "auto")
    report = examined(status=1)
    assert report["findings"][0]["name"] == "no-dock" and "emulated" in report["findings"][0]["action"]


def test_the_doctor_needs_no_torch():
    code = ("import sys; sys.modules['torch'] = None\n"
            "from torch_usbgpu.cli import app\n"
            "app.main(['doctor', '--json', '--device', 'emulated:navi44'])")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                         env={**os.environ, "PYTHONPATH": str(ROOT), "USBGPU_EMULATOR": ""})
    assert ran.returncode == 0 and ran.stderr == "", ran.stderr
    assert json.loads(ran.stdout)["works"]


def test_any_handle_can_be_examined(emulator):
    """Somebody else's model of a dock has no options and no label."""
    from torch_usbgpu import diagnosis, usb
    from torch_usbgpu.emulator import EmulatedAdapter

    dock = EmulatedAdapter("navi48")

    class Bare:
        controlWrite, controlRead = dock.controlWrite, dock.controlRead
        bulkWrite, bulkRead = dock.bulkWrite, dock.bulkRead

    images = usb.open_handle("emulated:navi48").firmware_dirs
    report = diagnosis.examine(usb.OpenedHandle(Bare(), "theirs", images))
    assert report.works, report.findings
    assert {rate.name for rate in report.rates} >= {"PIO write", "copy to the GPU"}
    assert report.facts["dock"]["usb_gbps"] == 10       # by the dock's own register
    report = diagnosis.examine(Bare())      # no images, none on this computer
    assert {found.state.name for found in report.findings} <= {"firmware-missing", "all-well"}
    dock.close()


def test_a_dock_in_use_is_left_alone(monkeypatch, tmp_path):
    """The lock decides, before anything is opened."""
    from tests.usb.test_libusb import Context, Device
    from torch_usbgpu import private_files
    from torch_usbgpu.usb import libusb

    dock = Device(bus=2, ports=(1, 4))
    monkeypatch.setattr(private_files, "runtime_directory", lambda: private_files.directory(tmp_path / "run"))
    monkeypatch.setattr(libusb, "opened_context", lambda: Context(dock))
    monkeypatch.setenv("USBGPU_DEVICE", "auto")
    with libusb.adapter_lock("2-1.4"):
        found = examined(status=1)["findings"][0]
    assert found["name"] == "busy" and found["details"]["pid"] == os.getpid() and dock.handle is None
    if sys.platform == "linux":
        assert "python" in found["details"]["command"] or "pytest" in found["details"]["command"]
