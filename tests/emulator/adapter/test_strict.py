"""Strict mode: each row of section 7 raises by name, and a careful driver meets none of them."""
import struct

import pytest
import usb1

from torch_usbgpu.emulator import ProtocolViolation

from .wire import COMPLETION, IN, OUT, READ64, SHORT, SRAM, SUBMISSION, VRAM, WRITE64, Wire


def arm_out_then(nbytes, sent):
    def act(wire):
        wire.f2(nbytes)
        wire.usb.bulkWrite(OUT, bytes(sent), 100)
    return act


def short_stream(wire):
    wire.arm_write(VRAM, 4)
    wire.usb.bulkWrite(OUT, bytes(8), 100)
    wire.write32(VRAM, 1)


def read_past_arm(wire):
    wire.f2(512, into_host=True)
    wire.usb.bulkRead(IN, 1024, 100)


def power_off_then(act):
    def do(wire):
        wire.power(False)
        act(wire)
    return do


def gpu_then_any_request(act):
    def do(wire):
        act(wire)
        wire.read(0xB450)
    return do



ROWS = [
    ("unknown-request", lambda w: w.usb.controlRead(0xC0, 0x77, 0, 0, 4, 100)),
    ("unknown-request", lambda w: w.usb.controlWrite(0x40, 0x77, 0, 0, b"", 100)),
    ("unknown-request", lambda w: w.usb.controlWrite(0x40, 0xF1, 0, 0, b"1234", 100)),
    ("unknown-request", lambda w: w.usb.controlWrite(0x40, 0xE4, 0, 0, b"", 100)),
    ("unknown-request", lambda w: w.usb.controlRead(0xC0, 0xE5, 0, 0, 1, 100)),
    ("unknown-request", lambda w: w.usb.controlRead(0xC0, 0xF2, 0, 0, 1, 100)),
    ("unknown-request", lambda w: w.usb.controlWrite(0x41, 0xF3, 1, 0, b"", 100)),
    ("unknown-request", lambda w: w.usb.controlRead(0xC1, 0xE4, 0, 0, 1, 100)),
    ("read-length", lambda w: w.read(0, 513)),
    ("read-length", lambda w: w.usb.controlRead(0xC0, 0xE4, 0, 0, 0, 100)),
    ("pcie-length", lambda w: w.usb.controlWrite(0x40, 0xF0, 0xF60, 0, bytes(8), 100)),
    ("pcie-length", lambda w: w.usb.controlWrite(0x40, 0xF0, 0xF60, 0, bytes(16), 100)),
    ("pcie-mode-3", lambda w: w.f0(WRITE64, VRAM, 4, mode=3)),
    ("stream-empty", lambda w: w.f0(WRITE64, VRAM, 0, mode=1)),
    ("stream-format", lambda w: w.f0(READ64, VRAM, 4, mode=1)),
    ("stream-format", lambda w: w.f0(WRITE64, VRAM, 4, mode=2)),
    ("stream-unaligned", lambda w: w.arm_write(VRAM + 2, 4)),
    ("byte-enables", lambda w: w.f0(WRITE64, VRAM, 4, enables=0)),
    ("unknown-tlp", lambda w: w.f0(0x0F, VRAM)),
    ("no-completion", lambda w: w.reply()),
    ("no-completion", lambda w: (w.write32(VRAM, 1), w.reply())),
    ("reply-length", lambda w: (w.f0(READ64, VRAM), w.usb.controlRead(0xC0, 0xF0, 0, 0, 4, 100))),
    ("bulk-out-unarmed", lambda w: w.usb.bulkWrite(OUT, bytes(4), 100)),
    ("bulk-in-unarmed", lambda w: (w.stream_read(VRAM, 4), w.usb.bulkRead(IN, 512, SHORT))),
    ("stream-excess", lambda w: (w.arm_write(VRAM, 4), w.usb.bulkWrite(OUT, bytes(20), 100))),
    ("stream-unfinished", short_stream),
    ("stream-tail", lambda w: (w.arm_write(VRAM, 4), w.usb.bulkWrite(OUT, bytes(7), 100))),
    ("stream-tail", lambda w: (w.arm_write(VRAM, 4), w.usb.bulkWrite(OUT, bytes(3), 100))),
    ("stream-empty-packet", lambda w: (w.arm_write(VRAM, 4), w.usb.bulkWrite(OUT, b"", 100))),
    ("stream-read-while-sram-in", lambda w: (w.f2(512, into_host=True), w.arm_read(VRAM, 4))),
    ("stream-write-while-sram-out", lambda w: (w.f2(512), w.arm_write(VRAM, 4))),
    ("sram-zero-sectors", lambda w: w.f2(0)),
    ("sram-range", lambda w: w.f2(0x8000, slot=31)),
    ("sram-range", lambda w: w.f2(0x8000, slot=0, count=1)),
    ("sram-out-length", arm_out_then(1024, 512)),
    ("sram-out-length", arm_out_then(512, 1024)),
    ("sram-in-length", read_past_arm),
    ("sram-in-slot", lambda w: w.f2(512, slot=5, into_host=True)),
    ("sram-in-rearmed", lambda w: (w.f2(512, into_host=True), w.f2(512, into_host=True))),
    ("release-without-arm", gpu_then_any_request(lambda w: w.release())),
    ("write-unclaimed", lambda w: w.write32(1 << 50, 1)),
    ("write-unclaimed", lambda w: w.stream_write(1 << 50, bytes(4))),
    ("write-unclaimed", lambda w: w.write32(SRAM, 1)),  # PIO cannot reach the SRAM
    ("stream-read-unclaimed", lambda w: w.stream_read(1 << 50, 4)),
    ("link-down", power_off_then(lambda w: w.write32(VRAM, 1))),
    ("link-down", power_off_then(lambda w: w.stream_write(VRAM, bytes(4)))),
    ("link-down", power_off_then(lambda w: w.arm_read(VRAM, 4))),
    ("dma-unclaimed", gpu_then_any_request(lambda w: w.dma(3, 0x300000))),
    ("flash-controller", lambda w: w.poke(0xC8A9, 1)),
]


@pytest.mark.parametrize("name, act", ROWS,
                         ids=[f"{i}-{name}" for i, (name, act) in enumerate(ROWS)])
def test_violation_by_name(strict, name, act):
    with pytest.raises(ProtocolViolation) as caught:
        act(strict)
    assert caught.value.name == name
    assert not isinstance(caught.value, usb1.USBError)


@pytest.mark.parametrize("name, act", [row for row in ROWS if row[0] != "link-down"],
                         ids=[f"{i}-{name}" for i, (name, act) in enumerate(ROWS) if name != "link-down"])
def test_faithful_mode_raises_usb_errors_only(wire, name, act):
    """What strict mode names is silence or garbage otherwise, but it is on record."""
    try:
        act(wire)
    except (usb1.USBError, AssertionError):
        pass
    assert name in dict(wire.usb.violations) or name in (
        "bulk-out-unarmed",
        "bulk-in-unarmed",
        "sram-out-length",
        "sram-in-length",
    )


def test_endpoint_keeps_dma_back_without_bus_mastering(strict):
    strict.config_write(4, 4, 3, size=1)
    assert strict.dma(3, SUBMISSION) == 3
    strict.read(0xB450)  # nothing was emitted, so there is nothing to complain about


def test_poke_into_the_submission_page_mid_stream():
    """0x820000..0x8207FF belongs to the engine while data streams in; the fence at 0x820800 does not."""
    wire = Wire(strict=True).bring_up()
    wire.f2(4096)
    wire.dma(3, SUBMISSION + 0x800, value=1)
    wire.dma(3, SUBMISSION + 0x100, value=1)  # nothing under way yet
    wire.read(0xB450)
    seen = 0
    for _ in range(50):  # the landing thread needs 20 us or more; one of these pokes comes in time
        wire.f2(512 * 1024) if seen else None
        if not seen:
            wire.usb.bulkWrite(OUT, bytes(4096), 100)
            seen = 1
            continue
        wire.usb.bulkWrite(OUT, bytes(512 * 1024), 100)
        wire.dma(3, SUBMISSION + 0x800, value=1)
        try:
            wire.dma(3, SUBMISSION + 0x7FC, value=1)
            wire.read(0xB450)
        except ProtocolViolation as violation:
            assert violation.name == "submission-page-collision"
            break
    else:
        pytest.fail("no collision was noticed")


def test_a_careful_driver_meets_no_violation():
    """Bring-up with the drain recipe, single TLPs, both streams, F2 out and in, recovery."""
    wire = Wire(strict=True)
    wire.usb.setConfiguration(1)
    wire.usb.setInterfaceAltSetting(0, 0)
    wire.usb.clearHalt(OUT)
    wire.usb.clearHalt(IN)
    assert wire.bulk_in_times_out()
    wire.usb.clearHalt(IN)
    wire.bring_up()
    wire.stream_write(VRAM, b"data" * 1024)
    assert wire.stream_read(VRAM, 4096) == b"data" * 1024
    wire.f2(4096)
    # not what the SRAM held before: else data that has not landed yet passes for landed, and overwrites the copy
    wire.usb.bulkWrite(OUT, b"land" * 1024, 1000)
    while wire.dma(2, SRAM + 4092, nbytes=4) != 1 or wire.read32(VRAM) != int.from_bytes(b"land", "little"):
        pass
    wire.f2(4096, into_host=True)
    wire.stream_write(VRAM, b"copy" * 1024)
    wire.dma(1, SRAM, nbytes=4096)
    wire.dma(3, COMPLETION + 12)
    assert wire.usb.bulkRead(IN, 4096, 1000) == b"copy" * 1024
    assert wire.usb.violations == []


def test_torn_reads_of_a_polled_word():
    """E4 copies byte by byte: a 64-bit fence that the GPU rewrites meanwhile can come out mixed."""
    wire = Wire(strict=True).bring_up()
    values = [bytes(8), b"\xFF" * 8]
    torn = 0
    for i in range(200):
        wire.stream_write(VRAM, values[i % 2])
        wire.dma(1, SUBMISSION + 0x800, nbytes=8, delay_us=0)
        torn += wire.read(0xA800, 8) not in values
        if torn:
            break
    # whether it happens is up to the scheduler; that nothing else comes out is not
    assert set(wire.read(0xA800, 8)) <= {0, 0xFF}


def test_asynchronous_violation_is_raised_by_the_next_call(strict):
    transfer = strict.usb.getTransfer()
    transfer.setControl(0x40, 0x77, 0, 0, b"", timeout=100)
    transfer.submit()
    while transfer.isSubmitted():
        pass
    assert transfer.getStatus() == usb1.TRANSFER_ERROR
    with pytest.raises(ProtocolViolation):
        strict.read(0xB450)
    assert strict.read(0xB450) == b"\x78"


def test_payload_is_little_endian(strict):
    strict.usb.controlWrite(
        0x40, 0xF0, WRITE64 | 0xF00, 0, struct.pack("<III", VRAM & 0xFFFFFFFF, VRAM >> 32, 0x01020304), 100
    )
    assert strict.stream_read(VRAM, 4) == bytes([4, 3, 2, 1])
