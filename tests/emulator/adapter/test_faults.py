"""Fault switches at run time: each does what its row says, from its moment on, and no longer than it says."""
import time

import numpy as np
import pytest
import usb1

from torch_usbgpu import compiler
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.errors import UsbGpuError
from torch_usbgpu.runtime import Device

from ...chip import CHIP
from ...clock import hurry
from .wire import IN, OUT, VRAM, Wire

UNSUPPORTED_REQUEST = 1
LINK_DOWN_CODES = (0x00, 0x01)


@pytest.fixture
def wire():
    return Wire().bring_up()


def test_unplug_counts_from_its_injection(wire):
    wire.usb.inject("unplug:after=2")
    wire.read(0xB450), wire.read(0xB450)
    with pytest.raises(usb1.USBErrorNoDevice):
        wire.read(0xB450)
    wire.usb.replug()
    assert wire.read(0xB450) == b"\x78"


@pytest.mark.parametrize(("kind", "error"), [("stall", usb1.USBErrorPipe), ("timeout", usb1.USBErrorTimeout)])
def test_requests_fail_after_a_while_and_so_often(wire, kind, error):
    wire.usb.inject(f"{kind}:E4:2:after=1")
    wire.read(0xB450)
    for _ in range(2):
        with pytest.raises(error):
            wire.read(0xB450)
    assert wire.read(0xB450) == b"\x78"


def test_heal_ends_what_would_go_on(wire):
    wire.usb.inject("stall:E4", "ur", "lost-landing", "short-bulk")
    with pytest.raises(usb1.USBErrorPipe):
        wire.read(0xB450)
    wire.usb.heal()
    wire.write32(VRAM, 7)
    assert wire.read32(VRAM) == 7 and wire.stream_read(VRAM, 2048)[:4] == b"\7\0\0\0"


def test_second_bulk_in_is_short(wire):
    wire.usb.inject("short-bulk:1:after=1")
    assert len(wire.stream_read(VRAM, 2048)) == 2048
    assert len(wire.stream_read(VRAM, 2048)) == 512
    wire.usb.clearHalt(IN)
    assert len(wire.stream_read(VRAM, 2048)) == 2048


@pytest.mark.parametrize("strict", [False, True])
def test_landing_is_lost_once(strict):
    wire = Wire(strict=strict).bring_up()
    wire.usb.inject("lost-landing:1:after=1")
    for fill, landed in ((1, 1), (2, 1), (3, 3)):
        wire.f2(512)
        assert wire.usb.bulkWrite(OUT, bytes([fill]) * 512, 1000) == 512
        if landed != fill:
            time.sleep(0.05)        # strict mode is 2 ms late at most
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and wire.read(0xF000, 512) != bytes([landed]) * 512:
            pass
        assert wire.read(0xF000, 512) == bytes([landed]) * 512


@pytest.mark.parametrize("strict", [False, True])
def test_link_goes_down_until_the_power_comes_back(strict):
    wire = Wire(strict=strict).bring_up()
    wire.write32(VRAM, 0x1234)
    assert wire.read32(VRAM) == 0x1234
    wire.usb.inject("link-down:after=2")
    assert wire.read(0xB450) == wire.read(0xB450) == b"\x78"
    assert wire.read(0xB450)[0] in LINK_DOWN_CODES
    assert wire.single(0x20, VRAM).firmware == 0xFF     # no completion ever comes
    wire.power(False)
    wire.power(True)
    assert wire.read(0xB450) == b"\x78"
    assert wire.bring_up().read32(VRAM) == 0            # bridges, BARs and memory began anew


@pytest.mark.parametrize("strict", [False, True])
def test_stream_read_over_a_lost_link_hangs_the_firmware(strict):
    wire = Wire(strict=strict).bring_up()
    wire.usb.inject("link-down:after=1")
    with pytest.raises(usb1.USBErrorTimeout):
        wire.stream_read(VRAM, 512) and wire.stream_read(VRAM, 512)
    with pytest.raises(usb1.USBErrorTimeout):
        wire.read(0xB450)
    wire.usb.replug()
    assert wire.read(0xB450) == b"\x78" and wire.usb.violations == []


@pytest.mark.parametrize(("switch", "codes"), [("no-link", (0x4C,)), ("no-card", LINK_DOWN_CODES)])
def test_a_link_that_is_up_goes_down(wire, switch, codes):
    wire.usb.inject(switch)
    assert wire.read(0xB450)[0] in codes
    wire.power(True)
    assert wire.read(0xB450)[0] in codes
    wire.usb.heal()
    wire.power(True)
    assert wire.read(0xB450) == b"\x78"


def test_card_does_not_claim_its_addresses(wire):
    wire.write32(VRAM, 1)
    wire.usb.inject("ur:2:after=1")
    assert wire.read32(VRAM) == 1
    wire.write32(VRAM, 2)                               # vanishes
    assert wire.single(0x20, VRAM).status == UNSUPPORTED_REQUEST
    assert wire.read32(VRAM) == 1
    wire.usb.inject("ur")
    assert wire.config(4, 0) not in (0, 0xFFFF_FFFF)    # configuration still answers
    assert wire.single(0x20, VRAM).status == UNSUPPORTED_REQUEST
    wire.power(False)
    wire.power(True)
    assert wire.bring_up().read32(VRAM) == 0
    assert wire.usb.violations == []


@pytest.mark.parametrize(("switch", "ids", "buses"), [
    ("card:1002:73BF:10.3.0", 0x73BF1002, 4), ("card:10de:2684", 0x268410DE, 2)])
def test_card_of_somebody_else(switch, ids, buses):
    wire = Wire(CHIP, vram_bytes=1 << 30, faults=[switch])
    for bus in range(buses):
        wire.config_write(bus, 0x18, (bus + 1) << 8 | buses << 16)
    assert wire.config(buses, 0) == ids
    wire.usb.heal()
    assert wire.config(buses, 0) != ids


@pytest.mark.parametrize(("switch", "word"), [
    ("stall:F9", "of which transfer"), ("stall:F2:x", "no number"), ("stall:F2:1:2", "too many"),
    ("unplug:after=-1", "no number"), ("smu-silent:until=prayer", "cures nothing"), ("link-down:until=power", "until="),
    ("card:1002", "missing"), ("card:1002:73bf:10", "no version"), ("explode", "unknown fault"), ("crs", "missing")])
def test_unknown_switches_name_the_known_ones(wire, switch, word):
    with pytest.raises(ValueError, match=word) as caught:
        wire.usb.inject(switch)
    assert "psp-silent" in str(caught.value)


# --- the GPU behind it

SOURCE = r"""
extern "C" __global__ void index(int* out) { out[threadIdx.x] = threadIdx.x; }
"""
OPTIONS = {"vram_bytes": 1 << 30}


@pytest.fixture(scope="module")
def code():
    with Device(EmulatedAdapter(CHIP, **OPTIONS)) as device:
        return compiler.compile(SOURCE, device.arch)


def indices(device, code):
    address = device.alloc(256)
    device.copy_in(address, np.full(64, -1, np.int32))
    device.launch(device.load(code)["index"], 1, 64, [address])
    result = np.empty(64, np.int32)
    device.copy_out(result, address)
    return result


def test_a_lane_computes_wrong(code):
    with Device(adapter := EmulatedAdapter(CHIP, **OPTIONS)) as device:
        assert (indices(device, code) == np.arange(64)).all()
        adapter.inject("wrong-result")
        assert (indices(device, code) != np.arange(64)).any()
        adapter.heal()
        assert (indices(device, code) == np.arange(64)).all()


@pytest.mark.parametrize(("switch", "engine"), [("psp-silent:after=3", "PSP"), ("smu-silent:after=1", "SMU")])
def test_processor_falls_silent_in_the_boot(switch, engine, monkeypatch):
    hurry(monkeypatch, 20)
    with pytest.raises(UsbGpuError, match=engine):
        Device(EmulatedAdapter(CHIP, faults=[switch], **OPTIONS))


@pytest.mark.parametrize("switch", ["queue-hang:until=engine", "sdma-hang:until=engine", "queue-hang:until=reset",
                                    "queue-hang:until=queue"])
def test_engine_hangs_until_it_is_reset(switch, code, monkeypatch):
    monkeypatch.setenv("USBGPU_TIMEOUT_S", "0.3")
    with Device(adapter := EmulatedAdapter(CHIP, **OPTIONS)) as device:
        assert (indices(device, code) == np.arange(64)).all()
        adapter.inject(switch)
        with pytest.raises(UsbGpuError):
            indices(device, code)
            device.copy_in(device.alloc(1 << 20), np.zeros(1 << 20, np.uint8))
        with monkeypatch.context() as patch:
            hurry(patch, 10)
            device.reset()
        assert (indices(device, code) == np.arange(64)).all()
        device.copy_in(device.alloc(1 << 20), np.zeros(1 << 20, np.uint8))
