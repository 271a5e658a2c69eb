"""Switches of the moment of opening: what a user meets before there is a handle, in the words of the real transport."""
from __future__ import annotations

import os

import pytest
import usb1

from torch_usbgpu import compiler, usb
from torch_usbgpu.amdgpu.firmware import FirmwareStore
from torch_usbgpu.amdgpu.facts import load
from torch_usbgpu.errors import (
    CompilerMissing, ConfigError, DeviceBusy, DeviceNotFound, FirmwareMismatch, FirmwareMissing, PermissionDenied,
    UsbLibraryMissing,
)
from torch_usbgpu.usb import emulated


@pytest.fixture
def switch(monkeypatch):
    monkeypatch.setenv("USBGPU_CLANG", "")         # restored afterwards: two of the switches set it
    return lambda text: monkeypatch.setenv("USBGPU_EMULATOR", ",".join(f"fault={word}" for word in text.split()))


@pytest.mark.parametrize("text, error, words", [
    ("no-libusb", UsbLibraryMissing, ["libusb-1.0", "pip install"]),
    ("absent", DeviceNotFound, ["No USB GPU adapter"]),
    ("no-permission:linux", PermissionDenied, ['ATTR{power/control}="on"', "70-usbgpu.rules", 'TAG+="uaccess"']),
    ("no-permission:macos", PermissionDenied, ["macOS"]),
    ("no-permission:windows", PermissionDenied, ["WinUSB", "Zadig"]),
    ("busy:4711", DeviceBusy, ["Process 4711"]),
    ("busy", DeviceBusy, [f"Process {os.getppid()}"]),
    ("claimed", DeviceBusy, ["Another program"]),
    ("absent no-libusb", DeviceNotFound, ["No USB GPU adapter"]),      # the first one counts
    ("no-permission:beos", ConfigError, ["beos"]),
    ("busy:me", ConfigError, ["busy:PID"]),
    ("meteor", ConfigError, ["unknown fault", "fault=absent"]),
])
def test_the_error_is_the_real_transports(switch, text, error, words):
    switch(text)
    with pytest.raises(error) as caught:
        usb.open_handle("emulated")
    assert type(caught.value) is error
    assert [word for word in words if word not in str(caught.value)] == []


def test_each_error_of_opening_has_a_code_of_its_own():
    kinds = (UsbLibraryMissing, DeviceNotFound, PermissionDenied, DeviceBusy)
    assert len({kind.code for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("text, error", [("firmware-missing", FirmwareMissing), ("firmware-corrupted", FirmwareMismatch)])
@pytest.mark.parametrize("chip", ["navi31", "navi48"])
def test_firmware_files_on_the_host(switch, text, error, chip):
    switch(text)
    opened = usb.open_handle(f"emulated:{chip}")
    store = FirmwareStore(load("chips")["chips"][chip], opened.firmware_dirs)
    with pytest.raises(error, match="rlc"):
        store.file("rlc")
    assert store.file("mec").slices                # the others are whole
    opened.handle.close()
    switch("")
    opened = usb.open_handle(f"emulated:{chip}")   # the copies that others use are untouched
    assert FirmwareStore(load("chips")["chips"][chip], opened.firmware_dirs).file("rlc").slices
    opened.handle.close()


def test_compiler_switches(switch):
    assert compiler.toolchain.find().origin == "wheel"
    switch("no-compiler")
    usb.open_handle("emulated").handle.close()
    with pytest.raises(CompilerMissing):
        compiler.toolchain.find()
    switch("fallback-compiler")
    usb.open_handle("emulated").handle.close()
    assert compiler.toolchain.find().origin == "named"


def test_a_switch_of_the_dock_goes_on_to_the_dock(switch):
    switch("firmware-missing unplug-after:0")
    opened = usb.open_handle("emulated")
    with pytest.raises(usb1.USBErrorNoDevice):
        opened.handle.controlRead(0xC0, 0xE4, 0xB450, 0, 1, 100)
    opened.handle.close()


def test_every_switch_is_documented():
    from pathlib import Path
    page = (Path(__file__).resolve().parents[2] / "docs/emulator-adapter.md").read_text()
    assert [name for name in emulated.OPENING if f"`{name}" not in page] == []
