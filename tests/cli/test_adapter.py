"""usbgpu adapter: a stock dock becomes a custom one, and what a user sees on the way."""
from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from torch_usbgpu.cli import adapter as command
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.errors import WrongMode
from torch_usbgpu.usb import docks, flash_commands
from torch_usbgpu.usb.flash_image import wrap

from ..usb.images import CUSTOM, CUSTOM_3801, PATCHED, custom_body
from ..usb.pretended_bus import Device, plug_in
from .conftest import usbgpu, usbgpu_process

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "adapter.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """An emulated stock dock whose flash lasts, and a data directory of its own."""
    monkeypatch.setattr(flash_commands.CommandFlash.__init__, "__defaults__", (0,))
    monkeypatch.setattr("torch_usbgpu.usb.backups.default_directory", lambda: tmp_path / "backups")
    monkeypatch.setenv("USBGPU_DEVICE", "emulated")
    monkeypatch.setenv("USBGPU_EMULATOR", f"firmware=stock,flash={tmp_path / 'dock.flash'}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "custom.bin").write_bytes(CUSTOM)


def backups(tmp_path) -> list[Path]:
    return sorted((tmp_path / "backups").glob("*.bin"))


def flash_of(tmp_path) -> bytes:
    return (tmp_path / "dock.flash").read_bytes()


def test_from_stock_to_custom_and_back(tmp_path):
    info = json.loads(usbgpu("adapter", "info", "--json", check=0).stdout)
    assert (info["mode"], info["ids"], info["product"], info["usb_gbps"]) == ("stock", "174c:2464", "ASM246X", 10.0)
    before = flash_of(tmp_path)
    done = usbgpu("adapter", "flash", "custom.bin", "--yes", check=0)
    assert "The dock is back as add1:0001 custom v0.2 (mode custom)." in done.stdout
    [backup] = backups(tmp_path)
    assert backup.read_bytes() == before[:1 << 17] and str(backup) in done.stdout
    info = json.loads(usbgpu("adapter", "info", "--json", "--flash", check=0).stdout)
    assert (info["mode"], info["pcie_link_up"], info["pcie_generation"]) == ("custom", True, 3)
    assert info["flash"]["starts"] and info["flash"]["image"]["firmware"] == "the open firmware (custom v0.2, add1:0001)"
    assert info["flash"]["config"][0]["product"] == "ASM246X"           # the dock's own
    done = usbgpu("adapter", "flash", backup, "--yes", check=0)
    assert "back as 174c:2464 ASM246X (mode stock)" in done.stdout
    assert flash_of(tmp_path)[:1 << 17] == before[:1 << 17]
    assert len(backups(tmp_path)) == 2          # the open firmware's has been saved, too


def test_the_card_works_behind_a_flashed_dock():
    from torch_usbgpu.runtime import Device
    with pytest.raises(WrongMode, match="usbgpu adapter flash FILE"):
        Device("emulated")
    usbgpu("adapter", "flash", "custom.bin", "--yes", check=0)
    with Device("emulated") as gpu:
        data, back, at = np.arange(1000, dtype=np.int32), np.zeros(1000, np.int32), gpu.alloc(4000)
        gpu.copy_in(at, data)
        gpu.copy_out(back, at)
    assert (back == data).all()


@pytest.mark.parametrize("firmware, mode", [("legacy", "legacy"), ("rom", "rom"), ("custom-2026-08", "custom")])
def test_from_other_modes(firmware, mode, tmp_path, monkeypatch):
    monkeypatch.setenv("USBGPU_EMULATOR", f"firmware={firmware},flash={tmp_path / 'dock.flash'}")
    assert re.search(rf"^mode +{mode}$", usbgpu("adapter", "info", check=0).stdout, re.M)
    assert "add1:0001 custom v0.2" in usbgpu("adapter", "flash", "custom.bin", "--yes", check=0).stdout
    assert len(backups(tmp_path)) == (firmware != "rom")


def test_json_is_one_document():
    report = json.loads(usbgpu("adapter", "flash", "custom.bin", "--yes", "--json", check=0).stdout)
    assert report["written"] and report["before"]["mode"] == "stock" and report["after"]["mode"] == "custom"
    assert report["sha256"] == hashlib.sha256(CUSTOM).hexdigest() and "Backup:" in report["notes"][0]
    report = json.loads(usbgpu("adapter", "flash", "custom.bin", "--yes", "--json", check=0).stdout)
    assert not report["written"] and "holds this already" in report["result"]


def test_dry_run_writes_nothing(tmp_path):
    usbgpu("adapter", "info", check=0)
    before = flash_of(tmp_path)
    done = usbgpu("adapter", "flash", "custom.bin", "--dry-run", check=0)
    assert flash_of(tmp_path) == before and not backups(tmp_path)
    for part in ("stock, 174c:2464", "240417_85_00_00", "custom v0.2, add1:0001", "vendor commands", "Dry run: nothing was written"):
        assert part in done.stdout
    assert json.loads(usbgpu("adapter", "flash", "custom.bin", "--dry-run", "--json", check=0).stdout)["written"] is False


# ---- the confirmation

class Terminal:
    def isatty(self):
        return True


@pytest.mark.parametrize("answer, confirmed", [
    ("flash this dock", True), (" flash this dock \t", True), ("", False), ("y", False), ("yes", False), ("Flash this dock", False)])
def test_confirmation_is_typed(answer, confirmed, tmp_path, monkeypatch):
    asked = []

    def prompt(text, **_options):
        asked.append(text)
        return answer
    monkeypatch.setattr(command.sys, "stdin", Terminal())
    monkeypatch.setattr(command.click, "prompt", prompt)
    done = usbgpu("adapter", "flash", "custom.bin", check=0 if confirmed else 2)
    assert len(asked) == 1 and "emulated" in asked[0] and "flash this dock" in asked[0]
    for warning in ("neither an NVMe enclosure nor a USB4 dock", "no other copy", "ROM bootloader", "boot strap"):
        assert warning in done.stdout
    assert ("custom v0.2 (mode custom)" in done.stdout) is confirmed
    assert confirmed or "nothing was written" in done.stderr
    assert len(backups(tmp_path)) == 1          # made before the question, so that it is there whatever happens


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_nobody_to_ask(options, tmp_path):
    usbgpu("adapter", "info", check=0)
    before = flash_of(tmp_path)
    done = usbgpu("adapter", "flash", "custom.bin", *options, check=2)
    assert "--yes" in done.stderr and flash_of(tmp_path) == before


def test_yes_leaves_out_no_check(tmp_path):
    usbgpu("adapter", "info", check=0)
    before = flash_of(tmp_path)
    bad = bytearray(CUSTOM)
    bad[321] ^= 1
    for name, data, says in [
            ("damaged.bin", bytes(bad), "sum or CRC-32"), ("short.bin", CUSTOM[:-7], "length field"),
            ("body.bin", custom_body(), "without a wrapper"), ("foreign.bin", wrap(custom_body(0x1111)), "1111:0001"),
            ("stub.bin", wrap(custom_body(0x3801, 0xB007)), "bootstub")]:
        (tmp_path / name).write_bytes(data)
        done = usbgpu("adapter", "flash", name, "--yes", check=2)
        assert says in done.stderr and "USBGPU-120" in done.stderr and "Next: " in done.stderr, name
    done = usbgpu("adapter", "flash", "custom.bin", "--yes", "--sha256", "00" * 32, check=2)
    assert "--sha256" in done.stderr
    assert flash_of(tmp_path) == before
    usbgpu("adapter", "flash", "custom.bin", "--yes", "--sha256", hashlib.sha256(CUSTOM).hexdigest().upper(), check=0)


@pytest.mark.parametrize("words, says", [
    (("flash",), "Missing argument"), (("flash", "nothing.bin"), "does not exist"), (("power", "maybe"), "'on', 'off'"),
    (("info", "--device", "usb:x"), "no bus-port"), (("info", "--ids", "174c"), "not like 174c:2464"), (("flash", "custom.bin", "--config", "custom.bin"), "is no backup")])
def test_usage(words, says):
    assert says in usbgpu("adapter", *words, check=2).stderr


@pytest.mark.parametrize("firmware, says", [("usb4", "USB4/Thunderbolt"), ("bootstub", "bootstub")])
def test_modes_that_cannot_be_flashed(firmware, says, monkeypatch):
    monkeypatch.setenv("USBGPU_EMULATOR", f"firmware={firmware}")
    done = usbgpu("adapter", "flash", "custom.bin", "--yes", check=2)
    assert says in done.stderr and "USBGPU-104" in done.stderr


def test_it_comes_back_as_something_else(monkeypatch):
    """The flash was compared, and yet: exit status 1."""
    stock = docks.look("emulated")[1]

    def restart(opened, *_how):
        opened.handle.close()
        return stock
    monkeypatch.setattr(command.docks, "restart", restart)
    assert "not what was flashed" in usbgpu("adapter", "flash", "custom.bin", "--yes", check=1).stdout


def test_info_hints_at_usb4(monkeypatch):
    monkeypatch.setenv("USBGPU_EMULATOR", "firmware=usb4")
    assert "USB4 or Thunderbolt" in usbgpu("adapter", "info", check=0).stdout
    monkeypatch.setenv("USBGPU_EMULATOR", "firmware=custom,usb=high")
    assert "USB4 or Thunderbolt" not in usbgpu("adapter", "info", check=0).stdout


# ---- backups

def test_backup(tmp_path):
    report = json.loads(usbgpu("adapter", "backup", "--json", "-o", "mine.bin", check=0).stdout)
    assert report["verified"] and Path(report["path"]).read_bytes() == (tmp_path / "mine.bin").read_bytes() == flash_of(tmp_path)[:1 << 17]
    assert Path(report["path"]).name == f"{report['sha256']}.bin"
    if os.name == "posix":
        assert (tmp_path / "mine.bin").stat().st_mode & 0o777 == 0o600
    done = usbgpu("adapter", "backup", "-o", "mine.bin", check=2)
    assert "exists already" in done.stderr


def test_backup_of_what_does_not_start(tmp_path, monkeypatch):
    monkeypatch.setenv("USBGPU_EMULATOR", "firmware=rom")
    done = usbgpu("adapter", "backup", "--backups", tmp_path / "elsewhere", check=1)
    assert "for study only" in done.stderr and len(list((tmp_path / "elsewhere").glob("*.bin"))) == 1


def test_a_stock_image_needs_the_docks_configuration(tmp_path, monkeypatch):
    usbgpu("adapter", "backup", "-o", "stock.bin", check=0)
    monkeypatch.setenv("USBGPU_EMULATOR", f"firmware=rom,flash={tmp_path / 'rom.flash'}")
    (tmp_path / "patched.bin").write_bytes(PATCHED)
    assert "--config BACKUP" in usbgpu("adapter", "flash", "patched.bin", "--yes", check=2).stderr
    assert "back as 174c:2464" in usbgpu("adapter", "flash", "stock.bin", "--config", "stock.bin", "--yes", check=0).stdout


# ---- power

@pytest.mark.parametrize("firmware", ["custom", "custom-2026-08", "legacy"])
def test_power(firmware, monkeypatch):
    monkeypatch.setenv("USBGPU_EMULATOR", f"firmware={firmware}")
    assert "PCIe link up" in usbgpu("adapter", "power", "on", check=0).stdout
    assert json.loads(usbgpu("adapter", "power", "off", "--json", check=0).stdout)["pcie_link_up"] is False


def test_power_needs_a_firmware_that_can(monkeypatch):
    assert "USBGPU-104" in usbgpu("adapter", "power", "on", check=2).stderr
    monkeypatch.setenv("USBGPU_EMULATOR", "firmware=custom,fault=no-card")
    assert "USBGPU-112" in usbgpu("adapter", "power", "on", check=2).stderr


# ---- a dock that is plugged in

def test_a_real_dock_is_unplugged_by_its_owner(tmp_path, monkeypatch):
    monkeypatch.setenv("USBGPU_DEVICE", "auto")
    device, sleeps = Device(EmulatedAdapter("probe", firmware="stock")), []
    plug_in(monkeypatch, tmp_path, device)

    def sleep(_seconds):
        sleeps.append(1)
        if len(sleeps) == 5:
            device.replug()
    monkeypatch.setattr(docks.time, "sleep", sleep)
    (tmp_path / "later.bin").write_bytes(CUSTOM_3801)
    done = usbgpu("adapter", "flash", "later.bin", "--yes", check=0)
    assert "Unplug the dock from USB and from its power supply" in done.stdout
    assert "The dock is back as 3801:0001 custom v0.2 (mode custom)." in done.stdout


def test_without_a_dock_nothing_is_emulated(tmp_path, monkeypatch):
    plug_in(monkeypatch, tmp_path)
    monkeypatch.delenv("USBGPU_DEVICE")
    for words in (("info",), ("backup",), ("flash", "custom.bin", "--yes"), ("power", "on")):
        assert "USBGPU-101" in usbgpu("adapter", *words, check=2).stderr


# ---- as a user runs it

def test_as_processes(tmp_path):
    usbgpu_process("adapter", "flash", tmp_path / "custom.bin", "--yes", "--backups", tmp_path / "kept", check=0)
    info = usbgpu_process("adapter", "info", check=0).stdout
    assert re.search(r"^names +tiny custom v0\.2$", info, re.M) and re.search(r"^PCIe link +up ", info, re.M)


def test_the_page_tells_the_truth(tmp_path, monkeypatch):
    """The part of docs/adapter.md that needs no dock."""
    block = re.search(r"### Try it without a dock.*?```sh\n(.*?)```", PAGE, re.S).group(1).splitlines()
    for name, value in re.findall(r"(USBGPU_\w+)=(\S+)", block[0]):
        monkeypatch.setenv(name, value)
    for line in block[1:]:
        words, _, comment = line.partition("#")
        done = usbgpu(*words.split()[1:], check=0)
        said = re.search(r'"(.*)"', comment)
        assert said is None or said.group(1) in done.stdout
    assert command.CONFIRMATION in PAGE and (tmp_path / "dock.flash").exists()


def test_help_is_complete():
    for words in ((), ("info",), ("backup",), ("flash",), ("power",)):
        text = usbgpu("adapter", *words, "--help", check=0).stdout
        assert "--help" in text and "Traceback" not in text
