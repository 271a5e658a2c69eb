"""usbgpu list: emulated docks in every state, and a pretended bus for the real transport."""
from __future__ import annotations

import json

import pytest
import usb1

from tests.usb.test_libusb import Context, Device
from torch_usbgpu import private_files
from torch_usbgpu.usb import attached, libusb

from .conftest import usbgpu


def listed(*arguments) -> list[dict]:
    return json.loads(usbgpu("list", "--json", *arguments, check=0).stdout)["docks"]


@pytest.mark.parametrize("options, mode, gbps, serial", [
    ("", "custom", 10, "ffffffff"), ("usb=super-5g,serial=0badcafe", "custom", 5, "0badcafe"),
    ("usb=high,firmware=custom-2026-08", "custom", 0.48, "ffffffff"), ("firmware=stock", "stock", 10, "000000000001"),
    ("firmware=legacy", "legacy", 10, "000000000001"), ("firmware=unknown", "unknown", 10, "ffffffff"),
    ("firmware=bootstub", "bootstub", 0.48, None)])
def test_an_emulated_dock(monkeypatch, options, mode, gbps, serial):
    monkeypatch.setenv("USBGPU_EMULATOR", options)
    row, = listed("--device", "emulated:navi33")
    assert (row["spec"], row["mode"], row["usb_gbps"], row["serial"]) == ("emulated:navi33", mode, gbps, serial)
    assert row["state"] == "free" and row["holder"] is None


@pytest.mark.parametrize("switch, state, holder", [("busy:77", "busy", 77), ("no-permission", "no permission", None)])
def test_an_emulated_dock_that_cannot_be_opened(monkeypatch, switch, state, holder):
    monkeypatch.setenv("USBGPU_EMULATOR", f"fault={switch}")
    row, = listed("--device", "emulated")
    assert (row["state"], row["holder"]) == (state, holder)
    assert state in usbgpu("list", "--device", "emulated", check=0).stdout


def test_none(monkeypatch):
    monkeypatch.setenv("USBGPU_EMULATOR", "fault=absent")
    assert listed("--device", "emulated") == []
    text = usbgpu("list", "--device", "emulated", check=0).stdout
    assert "No dock is plugged in" in text and "emulated:navi48" in text


def test_no_libusb_is_an_error(monkeypatch):
    monkeypatch.setenv("USBGPU_EMULATOR", "fault=no-libusb")
    done = usbgpu("list", "--json", "--device", "emulated", check=2)
    assert json.loads(done.stdout)["error"]["code"] == "USBGPU-111" and "USBGPU-111" in done.stderr


@pytest.fixture
def bus(monkeypatch, tmp_path):
    """Docks on a pretended bus, with the system's own account of them, and folders for the locks."""
    monkeypatch.setattr(private_files, "runtime_directory", lambda: private_files.directory(tmp_path / "run"))
    monkeypatch.setattr(libusb, "SYSFS", tmp_path / "sys")
    monkeypatch.setattr(attached.sys, "platform", "linux")
    monkeypatch.delenv("USBGPU_DEVICE", raising=False)
    devices = []
    monkeypatch.setattr(libusb, "opened_context", lambda: Context(*devices))

    def add(device: Device) -> Device:
        devices.append(device)
        place = tmp_path / "sys" / f"{device.bus}-{'.'.join(map(str, device.ports))}"
        place.mkdir(parents=True)
        for name, text in {"product": device.product, "serial": "0badcafe", "bcdDevice": "0001"}.items():
            (place / name).write_text(f"{text}\n")
        return device
    return add


def test_real_docks(bus):
    bus(Device(bus=2, ports=(1, 4)))
    bus(Device((0x174C, 0x2464), "ASM246X", 3, (2,)))
    bus(Device((0x046D, 0xC31C), "Keyboard", 1, (3,)))
    first, second = listed()
    assert (first["spec"], first["mode"], first["state"]) == ("usb:2-1.4", "custom", "free")
    assert (second["spec"], second["mode"]) == ("usb:3-2", "stock")
    assert [row["spec"] for row in listed("--device", "usb:3-2")] == ["usb:3-2"]


def test_a_dock_in_use_is_not_touched(bus):
    device = bus(Device(bus=2, ports=(1, 4)))
    with libusb.adapter_lock("2-1.4"):
        row, = listed()
    assert row["state"] == "busy" and isinstance(row["holder"], int)
    assert device.handle is None                                        # never opened
    assert (row["product"], row["serial"], row["mode"]) == ("custom v0.1", "0badcafe", "custom")
    assert listed()[0]["state"] == "free" and device.handle.closed      # and released


@pytest.mark.parametrize("error, state", [(usb1.USBErrorAccess, "no permission"), (usb1.USBErrorBusy, "busy")])
def test_a_dock_that_the_system_keeps(bus, error, state):
    bus(Device(open=error))
    row, = listed()
    assert (row["state"], row["product"]) == (state, "custom v0.1")
