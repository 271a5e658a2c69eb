"""0xF2: descriptors, landing, release, the pages that the GPU sees."""
import os
import threading
import time

import pytest
import usb1

from .wire import COMPLETION, IN, OUT, REGISTERS, SHORT, SRAM, SUBMISSION, VRAM, Wire

SLOT = 0x4000


def fetch(wire, address, nbytes):
    """Through the GPU: the only way to see all of the SRAM."""
    assert wire.dma(2, address, vram_offset=0x10_0000, nbytes=nbytes) == 1
    return wire.stream_read(VRAM + 0x10_0000, nbytes)


@pytest.mark.parametrize("slot, nbytes", [(0, 512), (0, 512 * 1024), (5, 3 * SLOT), (31, SLOT), (16, 256 * 1024)])
def test_out_lands_at_its_slots(wire, slot, nbytes):
    data = os.urandom(nbytes)
    wire.f2(nbytes, slot)
    assert wire.usb.bulkWrite(OUT, data, 1000) == nbytes
    assert fetch(wire, SRAM + slot * SLOT, nbytes) == data


def test_registers_of_an_arm(wire):
    wire.f2(40 * 512, slot=3)
    assert wire.read(0xC422, 2) == b"\x02\x00" and wire.read(0xC414, 2) == b"\x83\x05"
    assert wire.read(0xC426, 2) == b"\x00\x28" and wire.read(0xC412) == b"\x03" and wire.read(0xC429) == b"\x03"
    wire.usb.clearHalt(OUT)
    wire.f2(512, into_host=True)
    assert wire.read(0xC412) == b"\x02"


def test_two_arms_wait_in_order(wire):
    first, second = os.urandom(SLOT), os.urandom(SLOT)
    wire.f2(SLOT, 4)
    wire.f2(SLOT, 9)
    wire.usb.bulkWrite(OUT, first, 1000)
    wire.usb.bulkWrite(OUT, second, 1000)
    assert fetch(wire, SRAM + 4 * SLOT, SLOT) == first
    assert fetch(wire, SRAM + 9 * SLOT, SLOT) == second


def test_arming_destroys_nothing(wire):
    data = os.urandom(SLOT)
    wire.f2(SLOT)
    wire.usb.bulkWrite(OUT, data, 1000)
    wire.f2(SLOT)
    assert fetch(wire, SRAM, SLOT) == data


def test_short_out_stays_armed_and_excess_is_refused(wire):
    data = os.urandom(4096)
    wire.f2(4096)
    assert wire.usb.bulkWrite(OUT, data[:1024], 100) == 1024
    assert wire.usb.bulkWrite(OUT, data[1024:], 100) == 3072
    assert fetch(wire, SRAM, 4096) == data
    wire.f2(512)
    assert wire.bulk_out_accepts(bytes(1024)) == 512


def test_out_wraps_inside_its_slots(wire):
    """More sectors than the slots hold: undefined on hardware; the model wraps inside the armed range."""
    data = os.urandom(SLOT + 512)
    wire.f2(SLOT + 512, slot=2, count=1)
    wire.usb.bulkWrite(OUT, data, 100)
    assert fetch(wire, SRAM + 2 * SLOT, SLOT) == data[SLOT:] + data[512:SLOT]


def test_zero_sectors_arm_nothing(wire):
    wire.f2(0)
    assert wire.bulk_out_accepts(bytes(512)) == 0


def test_first_page_is_visible_as_xdata(wire):
    data = os.urandom(8192)
    wire.f2(8192)
    wire.usb.bulkWrite(OUT, data, 100)
    assert wire.read(0xF000, 512) == data[:512] and wire.read(0xFE00, 512) == data[0xE00:0x1000]
    wire.poke(0xF004, 0xAB)
    assert fetch(wire, SRAM + 4, 4)[0] == 0xAB


@pytest.mark.parametrize("address, alias", [(SUBMISSION, 0xA000), (SUBMISSION + 0x800, 0xA800), (0x800000, 0xB000),
                                            (0x802000, 0xB100), (COMPLETION + 0x20, 0xB820)])
def test_pages_and_their_xdata_windows(wire, address, alias):
    wire.stream_write(VRAM, b"fence!!!")
    assert wire.dma(1, address, nbytes=8) == 1
    assert wire.read(alias, 8) == b"fence!!!"
    wire.poke(alias, ord("F"))
    assert fetch(wire, address, 8) == b"Fence!!!"


def test_pages_can_be_moved(wire):
    assert wire.read(0xB264, 4) == bytes.fromhex("08000802") and wire.read(0xB26C, 4) == bytes.fromhex("08200822")
    wire.poke(0xB26F, 0x28)
    wire.f2(512, into_host=True)
    wire.dma(3, COMPLETION + 12)
    assert wire.bulk_in_times_out()
    assert wire.dma(3, 0x828000 + 12) == 1
    assert len(wire.usb.bulkRead(IN, 512, 200)) == 512


@pytest.mark.parametrize("address", [SRAM - 4, SRAM + 512 * 1024, 0x808000, 0x821000, 0x10_0000_0000])
def test_unclaimed_dma(wire, address):
    assert wire.dma(3, address, value=1) == 2
    wire.stream_write(VRAM, b"\0" * 4)
    assert wire.dma(2, address, nbytes=4) == 2
    assert wire.stream_read(VRAM, 4) == b"\xFF" * 4
    assert ("dma-unclaimed" in dict(wire.usb.violations))


def test_dma_across_the_end_of_the_sram(wire):
    wire.stream_write(VRAM, b"A" * 64)
    assert wire.dma(1, SRAM + 512 * 1024 - 32, nbytes=64) == 2
    assert fetch(wire, SRAM + 512 * 1024 - 32, 32) == b"A" * 32


@pytest.mark.parametrize("bus", [0, 2, 4])
def test_no_dma_without_bus_mastering(wire, bus):
    """Every bridge on the way up must allow it, and the GPU itself."""
    wire.config_write(bus, 4, 3, size=1)
    wire.write32(REGISTERS + 0x00, COMPLETION)
    assert wire.dma(3, SUBMISSION, value=0x55) == 3
    assert wire.read(0xA000) == b"\0"
    wire.config_write(bus, 4, 7, size=1)
    assert wire.dma(3, SUBMISSION, value=0x55) == 1


def arm_in_with(wire, data):
    wire.f2(len(data))
    wire.usb.bulkWrite(OUT, data, 1000)
    wire.f2(len(data), into_host=True)


@pytest.mark.parametrize("nbytes", [512, 1024, 1536, 512 * 1024])
def test_in_waits_for_its_release(wire, nbytes):
    data = os.urandom(nbytes)
    arm_in_with(wire, data)
    assert wire.bulk_in_times_out()
    wire.release()
    assert wire.usb.bulkRead(IN, nbytes, 1000) == data
    assert wire.bulk_in_times_out()


@pytest.mark.parametrize("offset, releases", [(0, False), (8, False), (12, True), (28, False)])
def test_only_dword_3_releases(wire, offset, releases):
    arm_in_with(wire, bytes(512))
    wire.release(offset=offset)
    assert wire.bulk_in_times_out() is not releases


def test_a_write_over_dword_3_releases(wire):
    arm_in_with(wire, b"x" * 512)
    wire.stream_write(VRAM, bytes(4096))
    wire.dma(1, COMPLETION, nbytes=4096)
    assert wire.usb.bulkRead(IN, 512, 100) == b"x" * 512


def test_release_before_the_arm_is_lost(wire):
    wire.release()
    wire.f2(512, into_host=True)
    assert wire.bulk_in_times_out()
    assert "release-without-arm" in dict(wire.usb.violations)


def test_command_id_names_the_first_slot(wire):
    wire.f2(2 * SLOT)
    wire.usb.bulkWrite(OUT, b"0" * SLOT + b"1" * SLOT, 1000)
    wire.f2(512, slot=1, into_host=True)
    wire.release(slot=0)
    assert wire.usb.bulkRead(IN, 512, 100) == b"0" * 512
    wire.f2(512, slot=1, into_host=True)
    wire.release(slot=1)
    assert wire.usb.bulkRead(IN, 512, 100) == b"1" * 512


def test_streams_between_arm_and_release(wire):
    data = os.urandom(2048)
    arm_in_with(wire, data)
    wire.stream_write(VRAM, b"ring" * 16)
    wire.release()
    assert wire.usb.bulkRead(IN, 2048, 100) == data


def test_release_by_the_gpu_while_bulk_in_waits(wire):
    data = os.urandom(4096)
    arm_in_with(wire, data)
    wire.dma(3, COMPLETION + 12, delay_us=50_000)
    started = time.monotonic()
    assert wire.usb.bulkRead(IN, 4096, 5000) == data
    assert 0.02 < time.monotonic() - started < 5


def test_in_length_corners(wire):
    arm_in_with(wire, bytes(1024))
    wire.release()
    with pytest.raises(usb1.USBErrorTimeout) as caught:
        wire.usb.bulkRead(IN, 2048, SHORT)
    assert len(caught.value.received) == 1024
    arm_in_with(wire, bytes(1536))
    wire.release()
    assert len(wire.usb.bulkRead(IN, 4096, 100)) == 1536  # a short packet
    arm_in_with(wire, bytes(2048))
    wire.release()
    assert len(wire.usb.bulkRead(IN, 1024, 100)) == 1024
    with pytest.raises(usb1.USBErrorOverflow):
        wire.usb.bulkRead(IN, 512, 100)


@pytest.mark.parametrize("clear", [lambda a: a.clearHalt(IN), lambda a: a.setInterfaceAltSetting(0, 0)])
def test_clearing_disarms(wire, clear):
    arm_in_with(wire, bytes(512))
    clear(wire.usb)
    wire.release()
    assert wire.bulk_in_times_out()


def test_sram_survives_a_power_cycle(wire):
    wire.f2(512)
    wire.usb.bulkWrite(OUT, b"kept" * 128, 100)
    wire.power(False)
    wire.power(True)
    assert wire.read(0xF000, 4) == b"kept"
    wire.usb.replug()
    assert wire.read(0xF000, 4) == bytes(4)


def test_strict_landing_is_late_but_in_order():
    """A driver that trusts the completion of its bulk OUT finds old data; one that polls its sentinel never does."""
    wire = Wire(strict=True).bring_up()
    late, nbytes = 0, 64 * 1024
    for sequence in range(1, 100):
        body = bytes([sequence]) * (nbytes - 4) + sequence.to_bytes(4, "little")
        wire.f2(nbytes)
        wire.usb.bulkWrite(OUT, body, 1000)
        late += fetch(wire, SRAM, nbytes) != body
        deadline = time.monotonic() + 20
        while int.from_bytes(fetch(wire, SRAM + nbytes - 4, 4), "little") != sequence:
            assert time.monotonic() < deadline
        assert fetch(wire, SRAM, nbytes) == body
        if late > 2:
            break
    assert late > 2


def test_landing_wakes_the_gpu(wire):
    before = wire.read32(REGISTERS + 0x24)
    wire.f2(512)
    wire.usb.bulkWrite(OUT, bytes(512), 100)
    assert wire.read32(REGISTERS + 0x24) > before


def test_deterministic_strict_landing_comes_with_the_next_transfer():
    wire = Wire(strict=True, deterministic=True).bring_up()
    for _ in range(3):
        wire.f2(512)
        wire.usb.bulkWrite(OUT, b"data" * 128, 100)
        assert wire.read(0xF000, 4) == b"data"
        wire.f2(512)
        wire.usb.bulkWrite(OUT, bytes(512), 100)
        assert wire.read(0xF000, 4) == bytes(4)


def test_concurrent_release_storm(wire):
    """Arms and releases from two sides for a while: every bulk IN gets its own data."""
    stop = threading.Event()

    def poll():
        while not stop.is_set():
            wire.read(0xA800, 8)

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        for i in range(40):
            data = bytes([i]) * 1024
            arm_in_with(wire, data)
            wire.dma(3, COMPLETION + 12, delay_us=200)
            assert wire.usb.bulkRead(IN, 1024, 2000) == data
    finally:
        stop.set()
        poller.join()
