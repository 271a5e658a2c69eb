"""Descriptors, strings and standard requests (fact sheet sections 1 and A.1)."""
import struct

import pytest
import usb1

from torch_usbgpu.emulator import EmulatedAdapter

from .wire import IN, SHORT, VRAM, Wire


def descriptor(adapter, kind, index=0, length=512):
    return adapter.controlRead(0x80, 6, kind << 8 | index, 0x0409 if kind == 3 else 0, length, 100)


@pytest.mark.parametrize(
    "usb, version, ep0, total, packet", [("super", 0x0320, 9, 121, 1024), ("high", 0x0200, 64, 46, 512)]
)
def test_device_and_configuration(usb, version, ep0, total, packet):
    adapter = EmulatedAdapter("probe", usb=usb)
    device = descriptor(adapter, 1)
    assert struct.unpack_from("<BBH4B3H4B", device) == (18, 1, version, 0, 0, 0, ep0, 0xADD1, 1, 1, 1, 2, 3, 1)
    configuration = descriptor(adapter, 2)
    assert len(configuration) == total == struct.unpack_from("<H", configuration, 2)[0]
    assert tuple(configuration[4:9]) == (1, 1, 0, 0xC0, 0)
    rows, at = [], 0
    while at < len(configuration):
        rows.append(configuration[at:at + configuration[at]])
        at += configuration[at]
    interfaces = [(row[3], row[4], tuple(row[5:8])) for row in rows if row[1] == 4]
    endpoints = [row[2] for row in rows if row[1] == 5]
    assert all(struct.unpack_from("<H", row, 4)[0] == packet for row in rows if row[1] == 5)
    if usb == "super":
        assert interfaces == [(0, 2, (255,) * 3), (1, 4, (255,) * 3)]
        assert endpoints == [0x81, 0x02, 0x81, 0x02, 0x83, 0x04]
        companions = [(row[2], row[3]) for row in rows if row[1] == 0x30]
        assert companions == [(15, 0), (15, 0), (15, 5), (15, 5), (15, 5), (0, 0)]
        assert [row[2] for row in rows if row[1] == 0x24] == [3, 4, 2, 1]
    else:
        assert interfaces == [(0, 4, (255,) * 3)] and endpoints == [0x81, 0x02, 0x83, 0x04]


def test_bos_and_strings():
    adapter = EmulatedAdapter("probe")
    assert descriptor(adapter, 15) == bytes.fromhex("050f160002" "07100202000000" "0a1003000e0003000000")
    assert (adapter.getManufacturer(), adapter.getProduct(), adapter.getSerialNumber()) == (
        "tiny",
        "custom v0.1",
        "ffffffff",
    )
    assert descriptor(adapter, 3, 0) == b"\x04\x03\x09\x04"
    assert descriptor(adapter, 3, 9) == b"\x02\x03"
    assert len(descriptor(adapter, 2, length=9)) == 9


@pytest.mark.parametrize("kind", [6, 7, 33])
def test_other_descriptors_get_no_answer(kind):
    with pytest.raises(usb1.USBErrorTimeout):
        descriptor(EmulatedAdapter("probe", usb="high"), kind)


@pytest.mark.parametrize("firmware, ids, product", [
    ("custom", (0xADD1, 1, 1), "custom v0.1"), ("custom-2026-08", (0x3801, 1, 1), "custom v0.1"),
    ("legacy", (0xADD1, 1, 0x100), "USB 3.2 PCIe TinyEnclosure"), ("rom", (0x174C, 0x2463, 1), "AS2462"),
    ("stock", (0x174C, 0x2464, 0x100), "ASM246X")])
def test_identities(firmware, ids, product):
    adapter = EmulatedAdapter("probe", firmware=firmware)
    assert (adapter.getVendorID(), adapter.getProductID(), adapter.getbcdDevice()) == ids
    assert adapter.getProduct() == product
    if not firmware.startswith("custom"):
        with pytest.raises(usb1.USBErrorPipe):
            adapter.controlRead(0xC0, 0xE4, 0xB450, 0, 1, 100)


def test_bootstub_has_no_endpoints():
    adapter = EmulatedAdapter("probe", firmware="bootstub")
    with pytest.raises(usb1.USBErrorNotFound):
        adapter.bulkWrite(2, b"1234", 50)


@pytest.mark.parametrize(
    "request_type, request_", [(0x80, 0), (0x80, 8), (0x81, 10), (0xC0, 0xC0), (0xC0, 0xF4), (0xC0, 0xE5)]
)
def test_unanswered_in_requests(request_type, request_):
    """GET_STATUS, GET_CONFIGURATION, GET_INTERFACE and unknown vendor requests: silence, never a stall."""
    with pytest.raises(usb1.USBErrorTimeout):
        EmulatedAdapter("probe").controlRead(request_type, request_, 0, 0, 2, 100)


def test_ignored_out_requests():
    adapter = EmulatedAdapter("probe")
    assert adapter.controlWrite(0x00, 3, 48, 0, b"", 100) == 0            # SET_FEATURE(U1)
    assert adapter.controlWrite(0x00, 48, 0, 0, b"\1\2\3\4\5\6", 100) == 6  # SET_SEL
    assert adapter.controlRead(0xC0, 0xE4, 0x9E00 + 1, 0, 1, 100) == b"\x02"


@pytest.mark.parametrize("cancel", [
    lambda a: a.clearHalt(0x02), lambda a: a.clearHalt(0x81), lambda a: a.clearHalt(0x83),
    lambda a: a.setInterfaceAltSetting(0, 0), lambda a: a.setConfiguration(1)])
def test_what_cancels_a_stream(wire, cancel):
    """Any of these cancels the streams of both directions."""
    wire.arm_write(VRAM, 512)
    assert wire.bulk_out_accepts(b"\xAA" * 1024) == 1024
    cancel(wire.usb)
    wire.bulk_out_accepts(b"\xBB" * 1024)
    assert wire.stream_read(VRAM + 1024, 4) == b"\0" * 4
    wire.arm_read(VRAM, 1024)
    assert len(wire.usb.bulkRead(IN, 1024, SHORT)) == 1024
    cancel(wire.usb)
    received = b""
    try:
        received = wire.usb.bulkRead(IN, 4096, SHORT)
    except usb1.USBErrorTimeout as error:
        received = error.received
    assert len(received) <= 1024  # at most the packet that already was in the FIFO


def test_clear_halt_empties_its_endpoint(wire):
    wire.arm_read(VRAM, 512)
    wire.usb.clearHalt(0x81)
    assert wire.bulk_in_times_out()


def test_alternate_setting_decides_which_endpoints_exist():
    wire = Wire()
    for endpoint in (0x83, 0x04):
        transfer = (
            (lambda: wire.usb.bulkRead(0x83, 64, 30))
            if endpoint & 0x80
            else (lambda: wire.usb.bulkWrite(4, b"x" * 64, 30))
        )
        with pytest.raises(usb1.USBErrorNotFound):
            transfer()
        wire.usb.setInterfaceAltSetting(0, 1)
        with pytest.raises(usb1.USBErrorTimeout):
            transfer()
        wire.usb.setInterfaceAltSetting(0, 0)
    with pytest.raises(usb1.USBErrorNotFound):
        wire.usb.setInterfaceAltSetting(0, 2)


def test_speed():
    for usb, speed, told in (("super", usb1.SPEED_SUPER_PLUS, 3), ("super-5g", usb1.SPEED_SUPER, 2)):
        adapter = EmulatedAdapter("probe", usb=usb)
        assert adapter.getDeviceSpeed() == speed
        assert adapter.controlRead(0xC0, 0xE4, 0x9100, 0, 1, 100)[0] & 3 == told
    adapter = EmulatedAdapter("probe", usb="high")
    assert adapter.getDeviceSpeed() == usb1.SPEED_HIGH
    assert adapter.controlRead(0xC0, 0xE4, 0x9100, 0, 1, 100)[0] & 3 == 1
