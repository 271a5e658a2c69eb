"""E4, E5, F0 single TLPs, F3 and the registers behind them."""
import struct

import pytest
import usb1

from .wire import READ, READ64, REGISTERS, VRAM, WRITE, WRITE64, Wire


def test_e4_e5_bytes_and_banks(wire):
    for i, value in enumerate(b"\x11\x22\x33"):
        wire.poke(0x1234 + i, value)
    wire.poke(0x1234, 0x99, bank=1)
    assert wire.read(0x1234, 3) == b"\x11\x22\x33"
    assert wire.read(0x1234, 1, bank=1) == b"\x99"


@pytest.mark.parametrize("usb, most", [("super", 512), ("high", 64)])
def test_e4_is_cut_to_one_ep0_packet(usb, most):
    wire = Wire(usb=usb)
    assert len(wire.read(0x1000, 1000)) == most
    assert wire.usb.controlRead(0xC0, 0xE4, 0, 0, 0, 100) == b""


def test_e4_wraps_and_reads_its_own_buffer(wire):
    wire.poke(0xFFFF, 0x5A)
    wire.poke(0x0000, 0xA5)
    assert wire.read(0xFFFF, 2) == b"\x5A\xA5"
    assert wire.read(0x9E00, 4)[0] == wire.read(0x9E00, 1)[0]


@pytest.mark.parametrize("size, lane", [(size, lane) for size in (1, 2, 3, 4) for lane in range(5 - size)])
def test_byte_enables(wire, size, lane):
    enables = ((1 << size) - 1) << lane
    mask = ((1 << 8 * size) - 1) << 8 * lane
    wire.write32(VRAM, 0x44332211)
    wire.f0(WRITE64, VRAM, 0xDDCCBBAA, enables=enables)
    assert wire.read32(VRAM) == (0x44332211 & ~mask) | (0xDDCCBBAA & mask)
    reply = wire.single(READ64, VRAM, enables=enables)
    assert reply == (0xDDCCBBAA & mask, 0, size, 1, 0)


def test_no_byte_enables(wire):
    wire.write32(VRAM, 0x12345678)
    wire.f0(WRITE64, VRAM, 0xFFFFFFFF, enables=0)
    assert wire.single(READ64, VRAM, enables=0)[:2] == (0, 0)
    assert wire.read32(VRAM) == 0x12345678


@pytest.mark.parametrize("read, write", [(READ, WRITE), (READ64, WRITE64)])
def test_both_header_sizes_below_4_gib(wire, read, write):
    wire.f0(write, REGISTERS + 0x40, 0xCAFE0001)
    assert wire.single(read, REGISTERS + 0x40).data == 0xCAFE0001


def test_three_dword_header_has_no_upper_address(wire):
    wire.write32(REGISTERS + 0x40, 7)
    assert wire.single(READ, (5 << 32) + REGISTERS + 0x40).data == 7


def test_reply_formats(wire):
    """Appendix A.2: config write 00 04 00 00, read 00 04 01 00, UR 20 with status 0."""
    assert wire.config_write(0, 0x0C, 0)[1:] == (0, 4, 0, 0)
    assert wire.config_read(0, 0)[1:] == (0, 4, 1, 0)
    assert wire.config_read(9, 0) == (0xFFFFFFFF, 1, 4, 0, 0)
    assert wire.single(READ64, 1 << 50)[:2] == (0xFFFFFFFF, 1)


def test_reply_repeats_until_the_next_request(wire):
    first = wire.config_read(0, 0)
    assert wire.reply() == first
    wire.write32(VRAM, 1)
    assert wire.reply() == (0, 0, 0, 0, 0xFF)


def test_reply_without_anything_before():
    wire = Wire()
    before = wire.usb.modelled_seconds
    assert wire.reply() == (0, 0, 0, 0, 0xFF)
    assert 0.18 < wire.usb.modelled_seconds - before < 0.2
    with pytest.raises(usb1.USBErrorTimeout):
        wire.usb.controlRead(0xC0, 0xF0, 0, 0, 8, 50)


def test_reply_length(wire):
    wire.f0(READ64, VRAM)
    with pytest.raises(usb1.USBErrorOverflow):
        wire.usb.controlRead(0xC0, 0xF0, 0, 0, 4, 100)
    assert len(wire.usb.controlRead(0xC0, 0xF0, 0, 0, 64, 100)) == 8


def test_short_f0_uses_stale_bytes(wire):
    """Missing bytes of the payload are whatever the EP0 buffer held."""
    wire.write32(VRAM + 8, 0)
    wire.f0(WRITE64, VRAM + 8, 0x11223344)
    wire.f0(WRITE64, VRAM + 8, 0)
    wire.usb.controlWrite(0x40, 0xF1, 0, 0, struct.pack("<QI", VRAM + 8, 0x55667788), 100)
    wire.usb.controlWrite(0x40, 0xF0, WRITE64 | 0xF00, 0, b"", 100)
    assert wire.read32(VRAM + 8) == 0x55667788
    wire.usb.controlWrite(0x40, 0xF1, 0, 0, struct.pack("<QI", VRAM + 8, 0x99AABBCC), 100)
    wire.usb.controlWrite(0x40, 0xF0, WRITE64 | 0xF00, 0, struct.pack("<I", (VRAM + 12) & 0xFFFFFFFF), 100)
    assert wire.read32(VRAM + 12) == 0x99AABBCC


def test_short_f0_at_high_speed():
    wire = Wire(usb="high")
    with pytest.raises(usb1.USBErrorTimeout):
        wire.usb.controlWrite(0x40, 0xF0, 0xF60, 0, b"", 100)
    with pytest.raises(usb1.USBErrorTimeout):
        wire.usb.controlWrite(0x40, 0xF1, 0, 0, b"1234", 100)


def test_long_f0(wire):
    """A data stage of several packets leaves the last one at the start of the buffer."""
    payload = struct.pack("<QI", VRAM, 1)
    wire.usb.controlWrite(0x40, 0xF0, WRITE64 | 0xF00, 0, payload + bytes(100), 100)
    assert wire.read32(VRAM) == 1
    long = bytes(512) + struct.pack("<QI", VRAM, 2)
    wire.usb.controlWrite(0x40, 0xF0, WRITE64 | 0xF00, 0, long, 100)
    assert wire.read32(VRAM) == 2


@pytest.mark.parametrize("request_type", [0x41, 0x42, 0x20])
def test_other_recipients_are_unknown_requests(wire, request_type):
    wire.poke(0x100, 1)
    assert wire.usb.controlWrite(request_type, 0xE5, 0x100, 0x77, b"", 100) == 0
    assert wire.read(0x100) == b"\x01"


def test_tlp_engine_by_registers(wire):
    """The same engine, driven as the legacy protocol does: registers, then 0xB254 = 0x0F, then 0xB296 = 4."""
    for i, value in enumerate(struct.pack(">I", VRAM & 0xFFFFFFFF) + struct.pack(">I", VRAM >> 32)):
        wire.poke(0xB218 + i, value)
    for i, value in enumerate(struct.pack(">I", 0xFEEDC0DE)):
        wire.poke(0xB220 + i, value)
    wire.poke(0xB217, 0x0F)
    wire.poke(0xB210, WRITE64)
    wire.poke(0xB254, 0x0F)
    assert wire.read(0xB296)[0] & 4
    wire.poke(0xB296, 4)
    assert not wire.read(0xB296)[0] & 4
    assert wire.read32(VRAM) == 0xFEEDC0DE
    for i in range(4):
        wire.poke(0xB220 + i, 0)
    wire.poke(0xB296, 3)
    wire.poke(0xB210, READ64)
    wire.poke(0xB254, 0x0F)
    assert wire.read(0xB296)[0] & 3 == 2
    assert wire.read(0xB220, 4) == bytes.fromhex("feedc0de")
    assert wire.read(0xB22A, 2) == b"\x00\x04" and wire.read(0xB284) == b"\x01"


def test_address_registers_stand_behind_a_stream(wire):
    wire.stream_write(VRAM + 0xFFF8, bytes(16))
    assert wire.read(0xB218, 8) == struct.pack(">II", (VRAM + 0x10008) & 0xFFFFFFFF, VRAM >> 32)


def test_routing_off_stops_every_tlp(wire):
    wire.poke(0x6025, 0, bank=1)
    assert wire.single(READ64, VRAM).firmware == 0xFF
    wire.poke(0x6025, 0x80, bank=1)
    assert wire.single(READ64, VRAM).firmware == 0


def test_cpu_reset_reenumerates_and_power_cycles(wire):
    wire.write32(VRAM, 5)
    wire.poke(0x2000, 0x42)
    resets = wire.read32(REGISTERS + 0x20)
    with pytest.raises(usb1.USBErrorNoDevice):
        wire.poke(0xCC31, 1)
    with pytest.raises(usb1.USBErrorNoDevice):
        wire.read(0xB450)                        # the device has a new address: the old handle is dead
    wire.usb.reopen()
    assert wire.read(0xB450) == b"\x78"
    assert wire.read(0x2000) == b"\x42"          # data memory survives
    assert wire.config_read(4, 0).status == 1    # bus numbers are gone
    wire.bring_up()
    assert wire.read32(REGISTERS + 0x20) > resets and wire.read32(VRAM) == 0


def test_power_off_and_on(wire):
    wire.write32(VRAM, 5)
    before = wire.usb.modelled_seconds
    wire.power(False)
    assert wire.read(0xB450) == b"\x00"
    assert wire.config_read(0, 0).firmware == 0xFF
    wire.power(True)
    assert 0.6 < wire.usb.modelled_seconds - before < 1.5
    assert wire.read(0xB450) == b"\x78" and wire.read(0xE765)[0] & 2
    assert wire.config_read(4, 0).status == 1
    assert wire.bring_up().read32(VRAM) == 0


def test_power_uses_only_bit_0(wire):
    wire.usb.controlWrite(0x40, 0xF3, 0xFE, 0, b"", 10_000)
    assert wire.read(0xB450) == b"\x00"
    wire.usb.controlWrite(0x40, 0xF3, 0xFF, 0, b"", 10_000)
    assert wire.read(0xB450) == b"\x78"


def test_power_with_an_impatient_host(wire):
    """The request is carried out, but its status stage comes too late."""
    wire.power(False)
    with pytest.raises(usb1.USBErrorTimeout):
        wire.power(True, timeout=100)
    assert wire.read(0xB450) == b"\x78"


def test_perst_and_rails_by_hand(wire):
    wire.poke(0xB480, 1)
    assert wire.read(0xB450) != b"\x78"
    wire.poke(0xB480, 0)
    assert wire.read(0xB450) == b"\x78"
    wire.poke(0xC659, 0)
    assert wire.read(0xB450) != b"\x78"


def test_no_card():
    wire = Wire(faults=["no-card"])
    before = wire.usb.modelled_seconds
    wire.power(True)  # acknowledged nevertheless
    assert 1.9 < wire.usb.modelled_seconds - before < 2.1
    assert {wire.read(0xB450)[0] for _ in range(4)} == {0, 1}


def test_link_that_does_not_train():
    wire = Wire(faults=["no-link"])
    wire.power(True)
    assert wire.read(0xB450)[0] == 0x4C


def test_stream_read_on_a_dead_link_hangs_the_firmware(wire):
    wire.power(False)
    with pytest.raises(usb1.USBErrorTimeout):
        wire.arm_read(VRAM, 4)
    for attempt in (lambda: wire.read(0xB450), lambda: wire.power(True), lambda: wire.usb.bulkRead(0x81, 4, 50)):
        with pytest.raises(usb1.USBErrorTimeout):
            attempt()
    wire.usb.replug()
    assert wire.read(0xB450) == b"\x78"


def test_stream_write_on_a_dead_link_is_swallowed(wire):
    wire.power(False)
    wire.stream_write(VRAM, b"1234" * 300)
    assert wire.read(0xB450) == b"\x00"
