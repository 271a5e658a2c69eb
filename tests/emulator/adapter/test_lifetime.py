"""Many docks, one after the other and side by side: nothing is shared, nothing is left, and reset() forgets all.

The long run, a thousand cycles with the whole GPU booted in each (a quarter of an hour on two cores):

    USBGPU_LIFETIME_CYCLES=1000 python -m pytest -q tests/emulator/adapter/test_lifetime.py -k booted --timeout=7200
"""
import contextlib
import ctypes
import gc
import os
import sys
import threading
import time
from pathlib import Path

import pytest
import usb1

from torch_usbgpu import runtime
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.usb.emulated import firmware_directory
from torch_usbgpu.usb.transport import OpenedHandle

from .scsi_wire import LegacyDriver, UasWire
from .wire import IN, OUT, VRAM, Wire

BOOTED_CYCLES = int(os.environ.get("USBGPU_LIFETIME_CYCLES", "8"))
linux = pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")


def resources():
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what glibc keeps for later is no leak
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {"threads": int(status["Threads"]), "files": len(os.listdir("/proc/self/fd")),
            "kib": int(status["VmRSS"].split()[0])}


def used_probe(number):
    """A dock with everything running that it can have: threads, queues, arms, data on its way, a stream."""
    wire = Wire(strict=number + 1, firmware="custom").bring_up()
    wire.f2(512 * 1024)
    wire.usb.bulkWrite(OUT, bytes(512 * 1024), 1000)
    wire.f2(512, into_host=True)
    transfer = wire.usb.getTransfer()
    transfer.setBulk(IN, 512, timeout=0 if number % 2 else 1)
    transfer.submit()
    wire.write32(VRAM, number)
    wire.arm_write(VRAM, 4096)
    if number % 2:
        return wire.usb.close()
    while transfer.isSubmitted():
        time.sleep(0.001)
    return None  # and just forgotten


def used_legacy(number):
    usb = EmulatedAdapter("probe", firmware="legacy", vram_bytes=1 << 20)
    LegacyDriver(UasWire(usb)).sram_write(bytes(70_000))
    usb.close()


def booted(number):
    adapter = EmulatedAdapter("navi31", vram_bytes=1 << 30)
    opened = OpenedHandle(adapter, "emulated", (firmware_directory("navi31"),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch_usbgpu.usb.open_handle", lambda spec: opened)
        device = runtime.Device("emulated")
        address = device.alloc(1 << 20)
        device.copy_in(address, bytes(1 << 20))
        device.free(address)
        device.close()


@linux
@pytest.mark.parametrize("cycle, cycles", [(used_probe, 30), (used_legacy, 20), (booted, BOOTED_CYCLES)],
                         ids=["used_probe", "used_legacy", "booted"])
def test_cycles_leave_nothing(cycle, cycles):
    for number in range(3):
        cycle(number)  # caches fill, allocators warm up
    before = resources()
    for number in range(cycles):
        cycle(number)
    after = resources()
    assert after["threads"] <= before["threads"] and after["files"] <= before["files"], (before, after)
    # a dock has 2 MiB of its own, a booted GPU much more: one that stays behind each time is seen
    assert after["kib"] - before["kib"] < 1024 * max(6, cycles // 32), (before, after)


def everything(usb):
    """All that can be seen of a dock from outside."""
    wire = Wire.__new__(Wire)
    wire.usb = usb
    seen = {"xdata": [wire.read(at, 512, bank) for bank in (0, 1) for at in range(0, 0x10000, 512)
                      if not 0x9E00 <= at < 0xA000]}
    for bus in range(2):  # what answers before bus numbers are given
        seen[bus] = [wire.config_read(bus, register)[:2] for register in range(0, 0x120, 4)]
    seen["descriptors"] = usb.getDeviceDescriptor(), usb.getConfigurationDescriptor(), usb.getSerialNumber()
    wire.bring_up()
    wire.stream_write(VRAM + 4096, bytes(4))
    seen["vram"] = wire.stream_read(VRAM, 8192)
    wire.dma(2, 0x20_0000, nbytes=512 * 1024)
    seen["sram"] = wire.stream_read(VRAM, 512 * 1024)
    wire.f0(0x60, 0, 0)  # the data registers of the TLP engine
    seen["counts"] = usb.counts()
    seen["time"] = usb.statistics()
    return seen


def test_reset_resets_everything():
    options = {"faults": ["tlp-error:1000", "crs:1"], "serial": "0badcafe", "strict": False}
    fresh = everything(EmulatedAdapter("probe", **options))
    wire = Wire(**options)
    wire.bring_up()
    for address in (0x0000, 0x1234, 0x5FFF, 0x7000, 0x9E10, 0xA800, 0xB000, 0xB26F, 0xB431, 0xB810, 0xC414, 0xF000):
        wire.poke(address, 0xA5)
        wire.poke(address, 0xA5, bank=1)
    wire.stream_write(VRAM, os.urandom(8192))
    wire.f2(512 * 1024)
    wire.usb.bulkWrite(OUT, os.urandom(512 * 1024), 1000)
    wire.f2(512)
    wire.f2(1024, into_host=True)
    wire.arm_read(VRAM, 1000)
    wire.usb.setInterfaceAltSetting(0, 1)
    waiting = wire.usb.getTransfer()
    waiting.setBulk(OUT, bytes(4096))
    wire.power(False)
    for _ in range(2):
        with contextlib.suppress(usb1.USBError):
            wire.arm_read(VRAM, 4)  # the firmware spins
    wire.usb.reset()
    assert wire.usb.violations == [] and wire.usb.modelled_seconds == 0
    assert wire.bulk_in_times_out() and wire.bulk_out_accepts(bytes(512)) == 0
    wire.usb.reset()
    again = everything(wire.usb)
    for name, value in fresh.items():
        assert again[name] == value, name


def test_docks_share_nothing():
    docks = [Wire(strict=seed).bring_up() for seed in (5, 6)]
    errors = []

    def work(wire, mark):
        try:
            for number in range(40):
                data = bytes([mark, number]) * 2048
                wire.poke(0x1000 + number, mark)
                wire.stream_write(VRAM, data)
                assert wire.stream_read(VRAM, 4096) == data
                assert wire.read(0x1000, number + 1) == bytes([mark]) * (number + 1)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(wire, mark)) for mark, wire in enumerate(docks, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert docks[0].usb.counts()["transfers"] == docks[1].usb.counts()["transfers"]
    docks[0].usb.unplug()
    assert docks[1].read(0xB450) == b"\x78" and docks[1].usb.violations == []


def test_a_serial_number_tells_docks_apart():
    assert [EmulatedAdapter("probe", serial=s).getSerialNumber() for s in ("", "01234567", "DEADBEEF")] == [
        "ffffffff", "01234567", "deadbeef"]
    with pytest.raises(ValueError):
        EmulatedAdapter("probe", serial="no")


def test_a_host_that_only_arms_uses_no_memory():
    """Arms and stale packets are bounded: what a host sends for ever does not grow."""
    wire = Wire().bring_up()
    before = resources()["kib"] if sys.platform == "linux" else 0
    for _ in range(3000):
        wire.f2(512)
        wire.arm_read(VRAM, 256)
    assert sys.platform != "linux" or resources()["kib"] - before < 2048
    received = 0
    with contextlib.suppress(usb1.USBErrorTimeout):
        while True:
            received += len(wire.usb.bulkRead(IN, 1024, 20))
    assert received <= 2048


def test_newer_firmware_waits_for_its_power_request():
    """Since the summer of 2026 the firmware leaves the slot off, and newer boards have a power monitor."""
    wire = Wire(firmware="custom-2026-08")
    assert wire.read(0xB450) == b"\x00"
    wire.power(True)
    assert wire.read(0xB450) == b"\x78" and wire.bring_up().read32(VRAM) == 0
    millivolts, milliamperes = (int.from_bytes(part, "little") for part in
                                (lambda raw: (raw[:2], raw[2:]))(wire.usb.controlRead(0xC0, 0xC0, 0, 0, 4, 100)))
    assert 11_000 < millivolts < 13_000 and 0 < milliamperes < 10_000


def test_usb4_mode_leaves_a_usb2_function_without_a_link():
    wire = Wire(firmware="usb4")
    assert wire.usb.getDeviceSpeed() == usb1.SPEED_HIGH and wire.usb.getProduct().startswith("custom")
    wire.poke(0x1000, 0x33)
    assert wire.read(0x1000) == b"\x33"
    wire.power(True)
    assert wire.read(0xB450) == b"\x00" and wire.config_read(0, 0).firmware == 0xFF
