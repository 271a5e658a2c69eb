"""Docks in every mode: looked at, opened for their flash, waited for."""
from __future__ import annotations

import pytest
import usb1

from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.errors import ConfigError, DeviceBusy, DeviceNotFound, FlashError, PermissionDenied, WrongMode
from torch_usbgpu.usb import docks, flash_commands, libusb
from torch_usbgpu.usb.flash_image import parse_file
from torch_usbgpu.usb.flashing import carry_out, make_plan, open_road

from .images import CUSTOM
from .pretended_bus import Device, plug_in


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(flash_commands.CommandFlash.__init__, "__defaults__", (0,))


def dock(firmware: str, **options) -> Device:
    return Device(EmulatedAdapter("probe", firmware=firmware), **options)


MODES = [("stock", "stock"), ("legacy", "legacy"), ("rom", "rom"), ("custom", "custom"), ("custom-2026-08", "custom")]


@pytest.mark.parametrize("firmware, mode", MODES)
def test_looking_claims_nothing(firmware, mode, monkeypatch, tmp_path):
    device = dock(firmware)
    plug_in(monkeypatch, tmp_path, device)
    had_driver = device.dock.kernelDriverActive(0)
    label, identity = docks.look("usb")
    assert (label, identity.mode) == ("USB 2-1.4", mode)
    assert device.dock.kernelDriverActive(0) == had_driver == (mode not in ("custom",))
    assert device.open_handles == 0


def test_looking_does_not_disturb_a_process_that_uses_the_dock(monkeypatch, tmp_path):
    device = dock("custom")
    plug_in(monkeypatch, tmp_path, device)
    with libusb.adapter_lock("2-1.4"), pytest.raises(DeviceBusy):
        docks.look("usb:2-1.4")
    assert device.opened == 0


@pytest.mark.parametrize("firmware, mode", MODES)
def test_opening(firmware, mode, monkeypatch, tmp_path):
    device = dock(firmware)
    plug_in(monkeypatch, tmp_path, device)
    opened, identity = docks.open_dock("usb")
    assert identity.mode == mode and not device.dock.kernelDriverActive(0)
    assert open_road(opened.handle, identity).read(lambda done, total: None)
    opened.handle.close()
    assert device.open_handles == 0
    docks.open_dock("usb:2-1.4")[0].handle.close()      # the lock is free again


@pytest.mark.parametrize("spec, firmware", [("usb", "bootstub"), ("emulated", "bootstub")])
def test_modes_that_are_refused(spec, firmware, monkeypatch, tmp_path):
    monkeypatch.setattr(libusb, "BOOTSTUB_SECONDS", 0)
    monkeypatch.setenv("USBGPU_EMULATOR", f"firmware={firmware}")
    device = dock(firmware)
    plug_in(monkeypatch, tmp_path, device)
    with pytest.raises(WrongMode) as refused:
        docks.open_dock(spec)
    assert refused.value.state["mode"] == firmware and device.open_handles == 0


def test_nothing_is_chosen_between_two(monkeypatch, tmp_path):
    plug_in(monkeypatch, tmp_path, dock("stock"), dock("custom", bus=4, ports=(2,)))
    for call in (docks.look, docks.open_dock):
        with pytest.raises(ConfigError, match=r"usb:2-1\.4 \(174c:2464\), usb:4-2 \(add1:0001\)"):
            call("usb")
    assert docks.look("usb:4-2")[1].mode == "custom"


def test_no_dock(monkeypatch, tmp_path):
    plug_in(monkeypatch, tmp_path)
    for call in (docks.look, docks.open_dock):
        with pytest.raises(DeviceNotFound):
            call("usb")


@pytest.mark.parametrize("call", [docks.look, docks.open_dock])
def test_no_permission(call, monkeypatch, tmp_path):
    plug_in(monkeypatch, tmp_path, dock("stock", refuses=usb1.USBErrorAccess))
    monkeypatch.setattr(libusb.sys, "platform", "linux")
    with pytest.raises(PermissionDenied) as refused:
        call("usb")
    assert "174c" in refused.value.action and "udev" in refused.value.action


@pytest.fixture
def vendors_dock(tmp_path):
    """A stock dock with ids of its vendor's own, 2109:0901, which stand in its configuration."""
    content = bytearray((1 << 19) * b"\xFF")
    maker = EmulatedAdapter("probe", firmware="stock", flash=tmp_path / "maker.flash")
    maker.close()
    content[:] = (tmp_path / "maker.flash").read_bytes()
    content[0x74:0x78] = bytes.fromhex("09210109")
    content[0x7F] = sum(content[4:0x7F]) & 0xFF
    (tmp_path / "vendor.flash").write_bytes(content)
    return Device(EmulatedAdapter("probe", firmware="stock", flash=tmp_path / "vendor.flash"))


def test_a_dock_with_ids_of_its_vendors_own(vendors_dock, monkeypatch, tmp_path):
    ids = (0x2109, 0x0901)
    bus = plug_in(monkeypatch, tmp_path, vendors_dock)
    with pytest.raises(DeviceNotFound):
        docks.look("usb")
    assert (docks.look("usb", ids)[1].mode, docks.look("usb", ids)[1].ids) == ("stock", "2109:0901")
    opened, identity = docks.open_dock("usb", vendor_ids=ids)
    assert identity.mode == "stock"
    road = open_road(opened.handle, identity)
    plan = make_plan(road, identity, parse_file(CUSTOM))
    carry_out(plan, road)
    sleeps = []
    monkeypatch.setattr(docks.time, "sleep", lambda _s: (sleeps.append(1), len(sleeps) == 2 and vendors_dock.replug()))
    assert docks.restart(opened, 60, lambda text: None, ids).mode == "custom"
    bus.devices.append(dock("stock", ports=(3,)))
    with pytest.raises(DeviceNotFound):        # named ids mean these, and no other dock
        docks.look("usb", ids)


# ---- disks in the enclosure

@pytest.fixture
def sysfs(monkeypatch, tmp_path):
    monkeypatch.setattr(docks.sys, "platform", "linux")
    monkeypatch.setattr(docks, "SYSFS_DEVICES", tmp_path / "devices")
    monkeypatch.setattr(docks, "MOUNTS", tmp_path / "mounts")
    (tmp_path / "devices/2-1.4/2-1.4:1.0/host6/target6:0:0/6:0:0:0/block/sdb").mkdir(parents=True)
    return lambda text: (tmp_path / "mounts").write_text(text)


@pytest.mark.parametrize("mounts, found", [
    ("/dev/sdb1 /media/disk ext4 rw 0 0\n", ["/dev/sdb1 on /media/disk"]), ("/dev/sdb /x ext4 rw 0 0\n", ["/dev/sdb on /x"]),
    ("/dev/sda1 / ext4 rw 0 0\n/dev/sdbc1 /y ext4 rw 0 0\nproc /proc proc rw 0 0\n", [])])
def test_mounted_disks(sysfs, mounts, found):
    sysfs(mounts)
    assert docks.mounted_disks("2-1.4") == found
    assert docks.mounted_disks("2-1") == []


def test_a_mounted_disk_stays_where_it_is(sysfs, monkeypatch, tmp_path):
    device = dock("stock")
    plug_in(monkeypatch, tmp_path, device)
    sysfs("/dev/sdb1 /media/disk ext4 rw 0 0\n")
    with pytest.raises(DeviceBusy, match="/dev/sdb1 on /media/disk"):
        docks.open_dock("usb")
    assert device.dock.kernelDriverActive(0)
    sysfs("")
    docks.open_dock("usb")[0].handle.close()


# ---- replugging

def flashed(device: Device):
    opened, identity = docks.open_dock("usb")
    road = open_road(opened.handle, identity)
    carry_out(make_plan(road, identity, parse_file(CUSTOM)), road)
    return opened


def test_somebody_pulls_the_plug(monkeypatch, tmp_path):
    device, told, sleeps = dock("rom"), [], []
    bus = plug_in(monkeypatch, tmp_path, device)
    opened = flashed(device)

    def sleep(seconds):
        sleeps.append(seconds)
        if len(sleeps) == 3:
            bus.devices.remove(device)
        if len(sleeps) == 6:
            device.replug()
            bus.devices.append(device)
    monkeypatch.setattr(docks.time, "sleep", sleep)
    identity = docks.restart(opened, 60, told.append)
    assert (identity.mode, identity.product) == ("custom", "custom v0.2")
    assert len(told) == 1 and "power supply" in told[0] and len(sleeps) == 6
    assert device.open_handles == 0


def test_nobody_does(monkeypatch, tmp_path):
    device = dock("rom")
    plug_in(monkeypatch, tmp_path, device)
    monkeypatch.setattr(docks, "POLL_SECONDS", 0.01)
    opened = flashed(device)
    with pytest.raises(FlashError, match="did not come back within 0 s") as late:
        docks.restart(opened, 0.05, lambda text: None)
    assert late.value.stage == "restart" and "adapter info" in late.value.action
    assert docks.restart(docks.open_dock("usb")[0], 0, lambda text: None) is None


def test_the_bootstub_of_a_newer_firmware_is_waited_through(monkeypatch, tmp_path):
    device, stub = dock("rom"), dock("bootstub", bus=1)
    bus = plug_in(monkeypatch, tmp_path, device)
    opened, looks = flashed(device), []

    def sleep(_seconds):
        looks.append(1)
        bus.devices[:] = [stub] if len(looks) < 4 else [device]
        if len(looks) == 4:
            device.replug()
    stub.address = 9
    monkeypatch.setattr(docks.time, "sleep", sleep)
    assert docks.restart(opened, 60, lambda text: None).mode == "custom"


def test_a_port_that_can_be_switched(monkeypatch):
    monkeypatch.setenv("USBGPU_EMULATOR", "firmware=rom")
    opened, identity = docks.open_dock("emulated")
    road = open_road(opened.handle, identity)
    carry_out(make_plan(road, identity, parse_file(CUSTOM)), road)
    assert docks.restart(opened, 0, lambda text: pytest.fail(text)).product == "custom v0.2"


def test_the_system_takes_a_moment_to_let_us_in(monkeypatch, tmp_path):
    device = dock("rom")
    plug_in(monkeypatch, tmp_path, device)
    opened, looks = flashed(device), []

    def sleep(_seconds):
        looks.append(1)
        if len(looks) == 1:
            device.replug()
            device.refuses = usb1.USBErrorAccess
        if len(looks) == 3:
            device.refuses = None
    monkeypatch.setattr(docks.time, "sleep", sleep)
    assert docks.restart(opened, 60, lambda text: None).mode == "custom"


def test_the_system_does_not_let_us_in(monkeypatch, tmp_path):
    """The open firmware has other ids, so a rule for stock firmware does not fit it."""
    device = dock("rom")
    plug_in(monkeypatch, tmp_path, device)
    opened = flashed(device)
    monkeypatch.setattr(docks, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(docks, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(libusb.sys, "platform", "linux")
    device.replug()
    device.address, device.refuses = 99, usb1.USBErrorAccess
    monkeypatch.setattr(docks, "_places", lambda ids: {(2, 7)})
    with pytest.raises(PermissionDenied) as refused:
        docks.restart(opened, 60, lambda text: None)
    assert 'ATTR{idVendor}=="add1"' in refused.value.action
