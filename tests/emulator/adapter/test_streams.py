"""0xF0 modes 1 to 3: the PIO streams with everything that can go wrong on them."""
import os
import time

import pytest
import usb1

from .wire import IN, OUT, READ64, REGISTERS, SHORT, VRAM, WRITE64, Wire


@pytest.mark.parametrize("usb", ["super", "high"])
@pytest.mark.parametrize("dwords", [1, 2, 127, 128, 129, 255, 256, 257, 1000, 16384])
def test_round_trip(usb, dwords):
    wire = Wire(usb=usb).bring_up()
    data = os.urandom(4 * dwords)
    wire.stream_write(VRAM + 0x1000, data)
    assert wire.stream_read(VRAM + 0x1000, len(data)) == data


def test_stream_crosses_large_borders(wire):
    address = VRAM + (1 << 24) - 8
    data = os.urandom(64)
    wire.stream_write(address, data)
    assert wire.read32(address + 8) == int.from_bytes(data[8:12], "little")
    assert wire.stream_read(address, 64) == data


def test_stream_runs_off_the_end_of_a_bar(wire):
    """The dwords behind the register BAR are nobody's: written ones vanish, read ones are stale."""
    end = REGISTERS + (1 << 20)
    wire.stream_write(end - 8, bytes(range(16)))
    assert wire.stream_read(end - 8, 16) == bytes(range(8)) + bytes(range(4, 8)) * 2
    assert wire.single(READ64, end).status == 1


def test_doorbells_are_write_only(wire):
    from .wire import DOORBELLS
    wire.write32(DOORBELLS + 0x20, 0x1F)
    assert wire.read32(REGISTERS + 0x28) == 0x3F  # offset ^ value
    assert wire.read32(DOORBELLS + 0x20) == 0


def test_short_send_continues_with_the_next_transfer(wire):
    wire.arm_write(VRAM, 4)
    assert wire.usb.bulkWrite(OUT, b"aaaabbbb", 100) == 8
    assert wire.usb.bulkWrite(OUT, b"ccccdddd", 100) == 8
    assert wire.stream_read(VRAM, 16) == b"aaaabbbbccccdddd"
    wire.arm_write(VRAM, 1)
    wire.usb.bulkWrite(OUT, b"zzzz", 100)
    assert wire.bulk_out_accepts(b"yyyy") == 0


def test_excess_packet_is_dropped_whole_with_success(wire):
    wire.arm_write(VRAM, 300)
    assert wire.usb.bulkWrite(OUT, b"\xAA" * 2048, 100) == 2048
    assert wire.stream_read(VRAM, 2048) == b"\xAA" * 1024 + bytes(1024)
    wire.arm_write(VRAM, 300)
    assert wire.bulk_out_accepts(bytes(3072)) == 2048  # then the endpoint is silent


def test_excess_after_an_exact_packet_is_refused(wire):
    wire.arm_write(VRAM, 256)
    assert wire.bulk_out_accepts(b"\xAA" * 2048) == 1024


def test_odd_tail_is_dropped(wire):
    wire.arm_write(VRAM, 2)
    assert wire.usb.bulkWrite(OUT, b"abcdefg", 100) == 7
    assert wire.usb.bulkWrite(OUT, b"hijk", 100) == 4
    assert wire.stream_read(VRAM, 8) == b"abcdhijk"


@pytest.mark.parametrize("data", [b"", b"1", b"123"])
def test_packet_without_a_whole_dword_runs_away(wire, data):
    """A 16-bit loop counter that starts at 0: 65,536 dwords leave the chip, from the landing buffer on."""
    wire.stream_write(VRAM + 4 * 65536, b"\xEE" * 8)
    wire.stream_write(VRAM, b"\xEE" * 4096)
    tlps = wire.usb.counts()["tlps"]
    seconds = wire.usb.modelled_seconds
    wire.arm_write(VRAM, 4)
    wire.usb.bulkWrite(OUT, data, 100)
    assert wire.usb.counts()["tlps"] - tlps == 65536
    assert wire.usb.modelled_seconds - seconds > 0.071
    wire.usb.clearHalt(OUT)
    landed = wire.stream_read(VRAM, 4 * 65536 + 8)
    assert landed[:len(data)] == data and landed[len(data):1024] == b"\xEE" * (1024 - len(data))
    assert landed[4 * 65536:] == b"\xEE" * 8
    assert landed[0x9000:0x9400] == bytes(0x400)  # the 8051's pointer wraps into its RAM


def test_mode_0_between_arm_and_data_loses_the_data(wire):
    wire.arm_write(VRAM, 4)
    wire.write32(VRAM + 64, 1)
    assert wire.usb.bulkWrite(OUT, b"x" * 16, 100) == 16  # success
    assert wire.stream_read(VRAM, 16) == bytes(16)


@pytest.mark.parametrize("mode, count", [(1, 0), (2, 0), (3, 16)])
def test_nothing_armed(wire, mode, count):
    wire.f0(WRITE64 if mode != 2 else READ64, VRAM, count, mode=mode)
    assert wire.bulk_out_accepts(b"x" * 64) == 0
    assert wire.bulk_in_times_out()


def test_read_in_several_transfers(wire):
    data = os.urandom(3000)
    wire.stream_write(VRAM, data)
    wire.arm_read(VRAM, 750)
    assert wire.usb.bulkRead(IN, 1024, 100) + wire.usb.bulkRead(IN, 2048, 100) == data


def test_read_more_than_announced(wire):
    wire.arm_read(VRAM, 300)
    assert len(wire.usb.bulkRead(IN, 4096, 100)) == 1200  # a short packet ends it
    wire.arm_read(VRAM, 512)
    with pytest.raises(usb1.USBErrorTimeout) as caught:
        wire.usb.bulkRead(IN, 4096, SHORT)                # full packets, no short one, no empty one
    assert len(caught.value.received) == 2048


def test_read_less_than_a_packet_overflows(wire):
    wire.arm_read(VRAM, 256)
    with pytest.raises(usb1.USBErrorOverflow):
        wire.usb.bulkRead(IN, 512, 100)


def test_abandoned_read_leaves_one_stale_packet(wire):
    wire.stream_write(VRAM, b"\x01" * 1024 + b"\x02" * 1024 + b"\x03" * 2048)
    wire.arm_read(VRAM, 1024)
    wire.usb.bulkRead(IN, 1024, 100)
    wire.stream_write(VRAM + 0x4000, b"\x09" * 4)
    wire.arm_read(VRAM + 0x4000, 1)
    assert wire.usb.bulkRead(IN, 1024, 100) == b"\x02" * 1024
    assert wire.usb.bulkRead(IN, 1024, 100) == b"\x09" * 4
    # recovery: clear, drain, clear
    wire.arm_read(VRAM, 1024)
    wire.usb.clearHalt(OUT)
    wire.usb.clearHalt(IN)
    assert wire.bulk_in_times_out()
    wire.usb.clearHalt(IN)
    assert wire.stream_read(VRAM + 0x4000, 4) == b"\x09" * 4


def test_stream_read_of_nobody_is_stale_and_silent(wire):
    wire.write32(VRAM, 0x600DF00D)
    wire.read32(VRAM)
    assert wire.stream_read(1 << 50, 8) == (0x600DF00D).to_bytes(4, "little") * 2


def test_stream_write_to_nobody_vanishes(wire):
    wire.stream_write(1 << 50, b"1234" * 4)
    assert wire.single(READ64, 1 << 50).status == 1


def test_read_stream_with_a_write_format_hangs(wire):
    """Posted TLPs have no completion, and the wait for one has no time-out."""
    with pytest.raises(usb1.USBErrorTimeout):
        wire.f0(WRITE64, VRAM, 4, mode=2)
    with pytest.raises(usb1.USBErrorTimeout):
        wire.read(0xB450)


def test_write_stream_with_a_read_format_writes_nothing(wire):
    wire.f0(READ64, VRAM, 4, mode=1)
    assert wire.usb.bulkWrite(OUT, b"x" * 16, 100) == 16
    assert wire.stream_read(VRAM, 16) == bytes(16)


def test_read_ends_with_a_bulk_in_submitted_before_its_arm(wire):
    """The endpoints are independent queues: a waiting bulk IN is served when the data comes."""
    wire.stream_write(VRAM, b"later..!")
    transfer = wire.usb.getTransfer()
    transfer.setBulk(IN, 8, timeout=2000)
    transfer.submit()
    time.sleep(0.05)
    assert transfer.isSubmitted()
    wire.arm_read(VRAM, 2)
    deadline = time.monotonic() + 20
    while transfer.isSubmitted() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert transfer.getStatus() == usb1.TRANSFER_COMPLETED and bytes(transfer.getBuffer()) == b"later..!"


def test_modelled_rates(wire):
    """3.6 MB/s written, 1.8 MB/s read: the rates of the firmware's README."""
    for move, rate in (
        (lambda: wire.stream_write(VRAM, bytes(1 << 20)), 3.6e6),
        (lambda: wire.stream_read(VRAM, 1 << 20), 1.8e6),
    ):
        before = wire.usb.modelled_seconds
        move()
        assert (1 << 20) / (wire.usb.modelled_seconds - before) == pytest.approx(rate, rel=0.05)
