"""The table of states: codes are unique, every row says what to do, and the page shows exactly this table."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from torch_usbgpu import errors
from torch_usbgpu.diagnosis import STATES, finding, from_error
from torch_usbgpu.diagnosis.states import OK, PROBLEM, WARNING, table

PAGE = (Path(__file__).parents[2] / "docs/doctor.md").read_text()


def test_codes_and_names_are_unique():
    assert len({state.code for state in STATES}) == len({state.name for state in STATES}) == len(STATES)
    assert all(re.fullmatch(r"D\d{3}", state.code) for state in STATES)


def test_switches_are_unique():
    switches = [state.switch for state in STATES if state.switch]
    assert len(set(switches)) == len(switches)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_a_row_is_complete(state):
    assert state.meaning.endswith((".", ")")) and state.action and state.severity in (OK, WARNING, PROBLEM)


def test_the_page_shows_the_table():
    # python -c "from torch_usbgpu.diagnosis.states import table; print(table())"
    assert table() in PAGE


E_ = errors
ROWS = [
    (E_.UsbLibraryMissing("no"), "no-libusb"), (E_.DeviceNotFound("no"), "no-dock"),
    (E_.PermissionDenied("no", "rule"), "no-permission"), (E_.DeviceBusy("no", pid=7), "busy"),
    (E_.WrongMode("no", "do", mode="stock"), "stock-firmware"), (E_.WrongMode("no", "do", mode="rom"), "dock-in-rom"),
    (E_.WrongMode("no", "do", mode="bootstub"), "dock-in-bootstub"),
    (E_.WrongMode("no", "do", mode="usb4"), "dock-in-usb4-mode"),
    (E_.WrongMode("no", "do", mode="legacy"), "legacy-firmware"),
    (E_.WrongMode("no", "do", mode="unknown"), "unknown-firmware"), (E_.WrongMode("no", "do"), "unknown-firmware"),
    (E_.WrongMode("no", "do", speed=3), "usb2-link"), (E_.DeviceLost("no"), "dock-lost"),
    (E_.LinkTimeout("no"), "transfers-fail"), (E_.LinkError("no"), "transfers-fail"),
    (E_.PcieLinkDown("no", ltssm="0x0"), "no-card"), (E_.PcieLinkDown("no", ltssm="0x1"), "no-card"),
    (E_.PcieLinkDown("no", ltssm="0x4c"), "link-does-not-train"), (E_.PcieLinkDown("no"), "link-does-not-train"),
    (E_.UnsupportedChip("no", "do"), "unsupported-card"), (E_.FirmwareMissing("no", "do"), "firmware-missing"),
    (E_.FirmwareMismatch("no", "do"), "firmware-wrong"), (E_.PspSilent("no"), "psp-silent"),
    (E_.SmuSilent("no"), "smu-silent"), (E_.BootError("no"), "boot-failed"), (E_.GpuHang("no"), "queue-hangs"),
    (E_.GpuFault("no", kernel="k"), "kernel-faults"), (E_.IllegalInstruction("no"), "kernel-faults"),
    (E_.CompilerMissing("no"), "no-compiler"), (E_.CompileError("no"), "compiler-fails"),
    (E_.OutOfMemory("no"), "other-error"),
]


@pytest.mark.parametrize("error, name", ROWS, ids=lambda value: getattr(value, "code", value))
def test_errors_tell_the_state(error, name):
    found = from_error(error)
    assert found.state.name == name and found.severity == PROBLEM and found.error == error.code
    assert found.seen == "no" and found.action


def test_every_state_can_be_told():
    """By an error, by a check, or both: a row that nothing leads to would be a promise that nobody keeps."""
    told = {name for _, name in ROWS}
    checks = (Path(__file__).parents[2] / "torch_usbgpu/diagnosis/checks.py").read_text()
    assert [state.name for state in STATES if state.name not in told and f'"{state.name}"' not in checks] == []


def test_actions_that_know_more_win():
    assert from_error(errors.PermissionDenied("no", "the udev rule")).action == "the udev rule"
    assert from_error(errors.DeviceBusy("no", "Close process 7.")).action == "Close process 7."
    assert "usbgpu firmware install" in from_error(errors.FirmwareMissing("no", "something else")).action


def test_details_leave_out_what_is_not_known():
    assert finding("busy", "seen", pid=None, port="2-1").details == {"port": "2-1"}
