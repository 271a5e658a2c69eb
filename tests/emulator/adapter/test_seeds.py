"""Strict mode's disorder: for every seed a driver that trusts its luck fails sooner or later, and a careful one never.

Each pair does the same job. The lucky one relies on what the fact sheets do not promise (sections 2.1, 2.5, 2.9, 2.10).
"""
import pytest
import usb1

from .wire import COMPLETION, IN, OUT, REGISTERS, SRAM, SUBMISSION, VRAM, Wire

SEEDS = [1, 2, 3, 0x2464]
TRIES = 150
WINDOW = 32 * 1024
FENCE_XDATA, FENCE = 0xA800, SUBMISSION + 0x800


def copy_in(wire, number, careful):
    """Host to SRAM to VRAM. The sentinel in the last dword is all that proves the landing."""
    body = number.to_bytes(4, "little") * (WINDOW // 4)
    wire.f2(WINDOW)
    wire.usb.bulkWrite(OUT, body, 1000)
    while careful:
        wire.dma(2, SRAM + WINDOW - 4, nbytes=4)
        if wire.read32(VRAM) == number:
            break
    wire.dma(2, SRAM, nbytes=WINDOW)
    return wire.stream_read(VRAM, WINDOW) == body


def fence(wire, number, careful):
    """A counter that the GPU steps from xxFF to xx00, read byte by byte, low byte first."""
    def step(value):
        for register, content in ((0x00, FENCE), (0x04, 0), (0x08, 0), (0x0C, 8)):
            wire.write32(REGISTERS + register, content)
        wire.stream_write(VRAM, value.to_bytes(8, "little"))
        wire.write32(REGISTERS + 0x10, 1)

    def read():
        value = int.from_bytes(wire.read(FENCE_XDATA, 8), "little")
        while careful:  # twice the same: neither was torn
            again = int.from_bytes(wire.read(FENCE_XDATA, 8), "little")
            if again == value:
                break
            value = again
        return value

    before, after = (number << 8) - 1, number << 8
    step(before)
    while read() != before:
        pass
    step(after)
    return read() in (before, after)


def doorbell(wire, number, careful):
    """A posted write that makes the GPU answer. That 0xF0 has completed does not say that its TLP has arrived."""
    for register, content in ((0x00, FENCE), (0x04, 0), (0x14, number)):
        wire.write32(REGISTERS + register, content)
    wire.write32(REGISTERS + 0x10, 3)
    while True:
        value = int.from_bytes(wire.read(FENCE_XDATA, 4), "little")
        value = int.from_bytes(wire.read(FENCE_XDATA, 4), "little") if careful else value
        if value == number or not careful:
            return value == number


def released(wire, number, careful):
    """The GPU has written the completion queue; the engine need not have seen it yet."""
    body = number.to_bytes(4, "little") * 128
    wire.f2(512, into_host=True)
    wire.stream_write(VRAM, body)
    wire.dma(1, SRAM, 0, 512)
    wire.dma(3, COMPLETION + 12)
    try:
        return wire.usb.bulkRead(IN, 512, 1000 if careful else 1) == body
    except usb1.USBErrorTimeout:
        wire.usb.clearHalt(IN)
        return False


JOBS = [copy_in, fence, doorbell, released]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
@pytest.mark.parametrize("seed", SEEDS)
def test_luck_does_not_last(job, seed):
    wire = Wire(strict=seed).bring_up()
    assert any(not job(wire, number, careful=False) for number in range(1, TRIES)), "luck lasted"


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
@pytest.mark.parametrize("seed", SEEDS)
def test_care_is_enough(job, seed):
    wire = Wire(strict=seed).bring_up()
    assert all(job(wire, number, careful=True) for number in range(1, 30))
    assert wire.usb.violations == []


@pytest.mark.parametrize("job", [copy_in, fence, doorbell], ids=lambda job: job.__name__)
def test_faithful_mode_is_kind(job):
    """Without strict mode even the lucky one works: the disorder is strict mode's."""
    wire = Wire().bring_up()
    assert all(job(wire, number, careful=False) for number in range(1, 20))
