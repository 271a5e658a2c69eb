"""Every corner case that was observed on the genuine firmware's image, and what malformed input does: row by row.

Each row runs at SuperSpeed and at High Speed (the USB 2 fallback) on a faithful dock; what differs between the two
speeds is in the row. Strict mode's side of the same rows is test_strict.py.
"""
import struct

import pytest
import usb1

from .wire import (
    COMPLETION,
    CONFIG_WRITE0,
    IN,
    OUT,
    READ64,
    REGISTERS,
    SHORT,
    SRAM,
    VRAM,
    WRITE64,
    Wire,
)


class Speed:
    def __init__(self, usb, packet, ep0):
        self.usb, self.packet, self.ep0 = usb, packet, ep0
        self.fast = usb == "super"


SUPER, HIGH = Speed("super", 1024, 512), Speed("high", 512, 64)


def times_out(call):
    with pytest.raises(usb1.USBErrorTimeout) as caught:
        call()
    return caught.value


def overflows(call):
    with pytest.raises(usb1.USBErrorOverflow):
        call()


def control_in(w, request, length=4, kind=0xC0):
    return w.usb.controlRead(kind, request, 0, 0, length, 100)


def control_out(w, request, data=b"", kind=0x40, value=0, index=0):
    return w.usb.controlWrite(kind, request, value, index, data, 100)


def e4_length(w, s):
    assert len(w.read(0x1000, 600)) == s.ep0
    assert w.read(0x1000, 0) == b""


def e4_e5_bank(w, s):
    w.poke(0x3000, 0x11)
    w.poke(0x3000, 0x22, bank=1)
    assert (w.read(0x3000), w.read(0x3000, bank=1)) == (b"\x11", b"\x22")


def reply_first_or_after_a_posted_write(w, s):
    fresh = Wire(usb=s.usb)
    for wire in (fresh, w):
        if wire is w:
            wire.write32(VRAM, 1)
        before = wire.usb.modelled_seconds
        assert wire.reply() == (0, 0, 0, 0, 0xFF)
        assert wire.usb.modelled_seconds - before == pytest.approx(0.189, abs=0.001)


def reply_bytes(w, s):
    w.f0(0x04, 0)
    assert control_in(w, 0xF0, 8)[4:] == bytes([0x00, 0x04, 0x01, 0x00])
    w.f0(CONFIG_WRITE0, 0x0C)
    assert control_in(w, 0xF0, 8)[4:] == bytes([0x00, 0x04, 0x00, 0x00])
    w.f0(READ64, 1 << 50)
    raw = control_in(w, 0xF0, 8)
    assert raw[4] == 0x20 and raw[7] == 0
    assert control_in(w, 0xF0, 8) == raw  # again, until the next 0xF0 OUT


def reply_short(w, s):
    w.read32(VRAM)
    overflows(lambda: control_in(w, 0xF0, 4))


def f0_short(w, s):
    w.f0(WRITE64, VRAM, 0xAA)
    w.write32(VRAM, 0)
    w.f0(WRITE64, VRAM, 0xBB)
    w.f0(WRITE64, VRAM, 0)
    control_out(w, 0xF0, struct.pack("<II", VRAM & 0xFFFF_FFFF, VRAM >> 32), value=WRITE64 | 0xF00)
    assert w.read32(VRAM) == 0  # the value of the request before
    if s.fast:
        control_out(w, 0xF0, value=WRITE64 | 0xF00)
        assert w.reply().firmware == 0xFF  # a posted TLP left the chip
    else:
        times_out(lambda: control_out(w, 0xF0, value=WRITE64 | 0xF00))


def f0_long(w, s):
    payload = struct.pack("<QI", VRAM, 0x1234)
    control_out(w, 0xF0, payload + bytes(s.ep0 - 12), value=WRITE64 | 0xF00)
    assert w.read32(VRAM) == 0x1234
    control_out(w, 0xF0, bytes(s.ep0) + struct.pack("<QI", VRAM, 0x5678), value=WRITE64 | 0xF00)
    assert w.read32(VRAM) == 0x5678


def nothing_armed(w, s):
    for fmt, mode, count in ((WRITE64, 3, 16), (WRITE64, 1, 0), (READ64, 2, 0)):
        w.f0(fmt, VRAM, count, mode=mode)
        assert w.bulk_out_accepts(bytes(64)) == 0 and w.bulk_in_times_out()


def send_more(w, s):
    dwords = s.packet // 4 + 4
    w.arm_write(VRAM, dwords)
    assert w.usb.bulkWrite(OUT, b"\xAA" * 2 * s.packet, 100) == 2 * s.packet
    assert w.bulk_out_accepts(bytes(4)) == 0
    assert w.stream_read(VRAM + s.packet, 16) == bytes(16)


def send_less_and_odd(w, s):
    w.arm_write(VRAM, 3)
    assert w.usb.bulkWrite(OUT, b"aaaa12", 100) == 6
    assert w.usb.bulkWrite(OUT, b"bbbbcccc", 100) == 8
    assert w.stream_read(VRAM, 12) == b"aaaabbbbcccc"


def packet_without_a_dword(w, s):
    for count in range(4):
        before, seconds = w.usb.counts()["tlps"], w.usb.modelled_seconds
        w.arm_write(VRAM, 8)
        w.usb.bulkWrite(OUT, bytes(count), 100)
        assert w.usb.counts()["tlps"] - before == 65536
        assert w.usb.modelled_seconds - seconds == pytest.approx(0.071, abs=0.002)


def single_between_arm_and_bulk(w, s):
    w.arm_write(VRAM, 4)
    w.write32(VRAM + 64, 1)
    assert w.usb.bulkWrite(OUT, b"x" * 16, 100) == 16
    assert w.stream_read(VRAM, 16) == bytes(16)


def read_more(w, s):
    w.arm_read(VRAM, s.packet // 4 + 1)
    assert len(w.usb.bulkRead(IN, 4096, 100)) == s.packet + 4
    w.arm_read(VRAM, s.packet // 4)
    assert len(times_out(lambda: w.usb.bulkRead(IN, 4096, SHORT)).received) == s.packet


def read_less_than_a_packet(w, s):
    w.arm_read(VRAM, s.packet // 4)
    overflows(lambda: w.usb.bulkRead(IN, s.packet // 2, 100))


def read_in_pieces(w, s):
    w.arm_read(VRAM, s.packet)
    assert [len(w.usb.bulkRead(IN, n * s.packet, 100)) for n in (1, 3)] == [s.packet, 3 * s.packet]


def stream_read_of_nobody(w, s):
    w.write32(VRAM, 0xFEED)
    w.read32(VRAM)
    assert w.stream_read(1 << 50, 8) == struct.pack("<II", 0xFEED, 0xFEED)


def stream_read_without_completion(w, s):
    w.power(False)
    times_out(lambda: w.arm_read(VRAM, 4))
    times_out(lambda: w.read(0xB450))
    times_out(lambda: w.usb.clearHalt(IN))
    times_out(lambda: w.usb.bulkRead(IN, 512, 50))
    w.usb.replug()
    assert w.read(0xB450) == b"\x78"


def clear_feature(w, s):
    for endpoint in (0x02, 0x81, 0x83, 0x04):
        w.arm_write(VRAM, 2 * s.packet // 4)
        w.usb.bulkWrite(OUT, b"\xAA" * s.packet, 100)
        w.usb.clearHalt(endpoint)
        w.bulk_out_accepts(b"\xBB" * s.packet)
        assert w.stream_read(VRAM + s.packet, 4) == bytes(4)


def unknown_in(w, s):
    for kind, request in ((0xC0, 0x77), (0xC0, 0xE5), (0xC0, 0xF2), (0xC0, 0xF3), (0xC1, 0xE4), (0x80, 0), (0x80, 8)):
        times_out(lambda kind=kind, request=request: control_in(w, request, kind=kind))
    assert control_in(w, 0x77, length=0) == b""


def unknown_out(w, s):
    for kind, request in ((0x40, 0x77), (0x40, 0xE4), (0x41, 0xE5), (0x00, 3)):
        assert control_out(w, request, kind=kind) == 0
    if s.fast:
        assert control_out(w, 0xF1, b"\x5A" * 8) == 8
        assert w.read(0x9E01) == b"\x5A"
    else:
        times_out(lambda: control_out(w, 0xF1, b"\x5A" * 8))


def known_request_with_data(w, s):
    """The handler acts on SETUP: 0xE5 with a data stage has written its byte."""
    if s.fast:
        assert control_out(w, 0xE5, b"zz", value=0x2345, index=0x66) == 2
    else:
        times_out(lambda: control_out(w, 0xE5, b"zz", value=0x2345, index=0x66))
    assert w.read(0x2345) == b"\x66"


def power_request(w, s):
    """Bit 0 only; 300 to 400 ms, 2 s without a card, acknowledged anyhow."""
    for wire, value, low, high, link in ((w, 0xFE, 0.29, 0.41, 0x00), (w, 0xFF, 0.29, 0.41, 0x78),
                                         (Wire(usb=s.usb, faults=["no-card"]), 1, 1.99, 2.01, None)):
        before = wire.usb.modelled_seconds
        wire.usb.controlWrite(0x40, 0xF3, value, 0, b"", 10_000)
        assert low < wire.usb.modelled_seconds - before < high
        assert wire.read(0xB450)[0] == link if link is not None else wire.read(0xB450)[0] in (0, 1)


def link_after_plugging_in(w, s):
    assert Wire(usb=s.usb).read(0xB450) == b"\x78"


def sram_in_is_held(w, s):
    w.f2(1024, into_host=True)
    assert w.bulk_in_times_out()
    w.dma(3, COMPLETION + 12)
    assert len(w.usb.bulkRead(IN, 1024, 1000)) == 1024


def sram_lengths(w, s):
    w.f2(0)
    assert w.bulk_out_accepts(bytes(512)) == 0
    w.f2(512)
    assert w.bulk_out_accepts(bytes(1024)) == 512
    w.f2(1024)
    assert w.usb.bulkWrite(OUT, bytes(512), 100) + w.usb.bulkWrite(OUT, bytes(512), 100) == 1024


def sram_release_before_arm(w, s):
    w.dma(3, COMPLETION + 12)
    w.f2(512, into_host=True)
    assert w.bulk_in_times_out()


def config_of_nobody(w, s):
    assert w.config_read(9, 0) == (0xFFFF_FFFF, 1, 4, 0, 0)
    assert w.config_read(1, 0, device=3).status == 1
    assert w.config_read(0, 0, device=31).data == w.config_read(0, 0).data  # bus 0 answers for every device


def memory_of_nobody(w, s):
    w.write32(1 << 50, 1)
    assert w.single(READ64, 1 << 50)[:2] == (0xFFFF_FFFF, 1)
    assert w.single(READ64, SRAM).status == 1  # PIO cannot reach the SRAM
    w.config_write(4, 4, 5, size=1)  # memory decode off
    assert w.single(READ64, VRAM).status == 1


def link_down(w, s):
    w.power(False)
    assert w.single(READ64, VRAM).firmware in (1, 0xFF)
    w.stream_write(VRAM, bytes(64))  # accepted, dropped


def dma_of_nobody(w, s):
    assert w.dma(3, 0x30_0000, value=1) == 2
    w.write32(VRAM, 0)
    assert w.dma(2, 0x30_0000, nbytes=4) == 2
    assert w.read32(VRAM) == 0xFFFF_FFFF


def dma_without_bus_master(w, s):
    w.config_write(4, 4, 3, size=1)
    assert w.dma(3, SRAM, value=1) == 3


def byte_enables_none(w, s):
    w.write32(VRAM, 0x55)
    w.f0(WRITE64, VRAM, 0xFF, enables=0)
    assert w.single(READ64, VRAM, enables=0)[:2] == (0, 0) and w.read32(VRAM) == 0x55


def wrong_format_for_the_mode(w, s):
    w.f0(READ64, VRAM, 4, mode=1)
    assert w.usb.bulkWrite(OUT, b"x" * 16, 100) == 16 and w.stream_read(VRAM, 16) == bytes(16)
    times_out(lambda: w.f0(WRITE64, VRAM, 4, mode=2))  # no completion: the firmware spins


def abandoned_read(w, s):
    w.stream_write(VRAM, b"\1" * s.packet + b"\2" * s.packet)
    w.arm_read(VRAM, s.packet)
    w.usb.bulkRead(IN, s.packet, 100)
    w.arm_read(VRAM, 1)
    assert w.usb.bulkRead(IN, s.packet, 100) == b"\2" * s.packet  # one stale packet
    assert len(w.usb.bulkRead(IN, s.packet, 100)) == 4


def cpu_restart(w, s):
    w.poke(0x2000, 0x42)
    w.poke(0xF100, 0x43)
    w.arm_write(VRAM, 4)
    w.f2(512)
    w.f2(512, into_host=True)
    with pytest.raises(usb1.USBErrorNoDevice):
        w.poke(0xCC31, 1)
    with pytest.raises(usb1.USBErrorNoDevice):
        w.read(0xB450)
    w.usb.reopen()
    assert (w.read(0x2000), w.read(0xF100), w.read(0xB450)) == (b"\x42", b"\x43", b"\x78")
    assert w.bulk_out_accepts(bytes(512)) == 0 and w.config_read(4, 0).status == 1


def power_cycle_keeps(w, s):
    w.poke(0x2000, 0x42)
    w.poke(0xF100, 0x43)
    w.arm_write(VRAM, 4)
    w.power(False)
    w.power(True)
    assert (w.read(0x2000), w.read(0xF100)) == (b"\x42", b"\x43")
    assert w.config_read(4, 0).status == 1
    assert w.usb.bulkWrite(OUT, bytes(16), 100) == 16  # the stream is still armed, and useless


def replug_loses(w, s):
    w.poke(0x2000, 0x42)
    w.poke(0xF100, 0x43)
    w.poke(0xB26F, 0x28)
    w.arm_write(VRAM, 4)
    w.usb.replug()
    assert (w.read(0x2000), w.read(0xF100), w.read(0xB26F)) == (b"\0", b"\0", b"\x22")
    assert w.bulk_out_accepts(bytes(16)) == 0


def reopening_keeps(w, s):
    w.write32(VRAM, 0x77)
    w.arm_write(VRAM + 4, 1)
    w.usb.close()
    w.usb.reopen()
    assert w.usb.bulkWrite(OUT, b"kept", 100) == 4
    assert w.read32(VRAM) == 0x77 and w.read32(VRAM + 4) == int.from_bytes(b"kept", "little")


def new_pcie_request(w, s):
    """0xF0 cancels the stream and leaves the arms of the SRAM engine alone."""
    w.f2(512)
    w.f0(READ64, VRAM)
    assert w.usb.bulkWrite(OUT, b"sram" * 128, 100) == 512 and w.read(0xF000, 4) == b"sram"


def bridge_reset(w, s):
    resets = w.read32(REGISTERS + 0x20)
    w.config_write(0, 0x3E, 0x40, size=2)
    assert w.config_read(4, 0).status == 1
    w.config_write(0, 0x3E, 0, size=2)
    assert w.bring_up().read32(REGISTERS + 0x20) == resets + 1


ROWS = [
    e4_length, e4_e5_bank, reply_first_or_after_a_posted_write, reply_bytes, reply_short, f0_short, f0_long,
    nothing_armed, send_more, send_less_and_odd, packet_without_a_dword, single_between_arm_and_bulk, read_more,
    read_less_than_a_packet, read_in_pieces, stream_read_of_nobody, stream_read_without_completion, clear_feature,
    unknown_in, unknown_out, known_request_with_data, power_request, link_after_plugging_in, sram_in_is_held,
    sram_lengths, sram_release_before_arm, config_of_nobody, memory_of_nobody, link_down, dma_of_nobody,
    dma_without_bus_master, byte_enables_none, wrong_format_for_the_mode, abandoned_read, cpu_restart,
    power_cycle_keeps, replug_loses, reopening_keeps, new_pcie_request, bridge_reset,
]


@pytest.mark.parametrize("speed", [SUPER, HIGH], ids=lambda speed: speed.usb)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_row(row, speed):
    row(Wire(usb=speed.usb).bring_up(), speed)


def test_a_request_that_was_queued_too_early():
    """F0, bulk, F0, bulk submitted at once: the second request does not wait for the first data."""
    wire = Wire().bring_up()
    transfers = []
    for number in range(2):
        arm, data = wire.usb.getTransfer(), wire.usb.getTransfer()
        payload = struct.pack("<QI", VRAM + 4096 * number, 256)
        arm.setControl(0x40, 0xF0, WRITE64 | 0xF00, 1, payload, timeout=300)
        data.setBulk(OUT, bytes([number + 1]) * 1024, timeout=300)
        transfers += [arm, data]
    for transfer in transfers:
        transfer.submit()
    while any(transfer.isSubmitted() for transfer in transfers):
        pass
    names = set(dict(wire.usb.violations))
    assert names & {"stream-unfinished", "pcie-request-too-early"}, names


@pytest.mark.parametrize("seconds, act", [
    (6.5e-6, lambda w: w.read(0)), (154e-6, lambda w: w.read(0, 255)), (303e-6, lambda w: w.read(0, 512)),
    (6.2e-6, lambda w: w.poke(0x100, 0)), (10.4e-6, lambda w: w.write32(VRAM, 0)),
    (18.1e-6, lambda w: w.config_read(0, 0)), (11e-6, lambda w: w.arm_write(VRAM, 4)), (7.2e-6, lambda w: w.f2(512)),
    (14.3e-6, lambda w: w.usb.clearHalt(IN)), (292e-6, lambda w: w.stream_write(VRAM, bytes(1024))),
    (15.5e-6, lambda w: w.stream_write(VRAM, bytes(4))), (580e-6, lambda w: w.stream_read(VRAM, 1024))],
    ids=["E4 1", "E4 255", "E4 512", "E5", "F0 write", "F0 config", "F0 arm", "F2", "CLEAR_FEATURE", "PIO 1024", "PIO 4",
         "PIO read"])
def test_execution_times(seconds, act):
    """Times of the genuine image by its instruction count, as the statistics report them; the bus comes on top."""
    results = []
    for _ in range(2):
        wire = Wire().bring_up()
        before = wire.usb.statistics()
        act(wire)
        after = wire.usb.statistics()
        results.append((after["firmware_us"] - before["firmware_us"], after["bus_us"] - before["bus_us"]))
    assert results[0] == results[1]
    assert results[0][0] == pytest.approx(seconds * 1e6, rel=0.01)
    assert results[0][1] >= 60
    kinds = after["requests"]
    assert sum(kind["count"] for kind in kinds.values()) == wire.usb.counts()["transfers"]
    assert after["modelled_us"] == pytest.approx(wire.usb.modelled_seconds * 1e6)
