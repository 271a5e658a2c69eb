"""Random traffic: whatever a program sends, it gets bytes or an error of usb1, and the model stays alive."""
import contextlib
import random
import struct

import pytest
import usb1

from torch_usbgpu.emulator import ProtocolViolation

from .wire import COMPLETION, DOORBELLS, REGISTERS, SRAM, SUBMISSION, VRAM, Wire

ADDRESSES = [
    0,
    VRAM,
    VRAM + (64 << 20) - 8,
    DOORBELLS,
    REGISTERS,
    REGISTERS + 0x10,
    REGISTERS + 0xFFFF8,
    SRAM,
    SUBMISSION,
    COMPLETION,
    1 << 63,
    (1 << 64) - 4,
    4 << 24,
    3 << 24 | 0x3C,
    4 << 24 | 0x208,
]
FORMATS = [0x00, 0x20, 0x40, 0x60, 0x04, 0x44, 0x05, 0x45, 0x34, 0x0F, 0xFF]
REGISTER_PAGES = [
    0x0000,
    0x7000,
    0x9E00,
    0xA000,
    0xB000,
    0xB210,
    0xB254,
    0xB260,
    0xB290,
    0xB480,
    0xB800,
    0xC410,
    0xC420,
    0xC650,
    0xCC30,
    0xF000,
    0xFFFF,
]


def random_transfer(wire, random):
    usb, kind = wire.usb, random.randrange(10)
    if kind == 0:
        usb.controlRead(
            0xC0,
            0xE4,
            random.choice(REGISTER_PAGES),
            random.choice([0, 0, 0x100]),
            random.choice([1, 8, 512, 900]),
            100,
        )
    elif kind == 1:
        address = (random.choice(REGISTER_PAGES) + random.randrange(16)) & 0xFFFF
        usb.controlWrite(0x40, 0xE5, address, random.randrange(256), b"", 100)
    elif kind in (2, 3, 4):
        address = random.choice(ADDRESSES) + random.choice([0, 0, 4, 256, 1])
        value = random.choice([0, 1, 2, 7, 300, 5000, random.getrandbits(32)])
        payload = struct.pack("<QI", address & (1 << 64) - 1, value)[:random.choice([12, 12, 12, 12, 5])]
        usb.controlWrite(
            0x40,
            0xF0,
            random.choice(FORMATS) | random.choice([0xF00, 0xF00, 0x300, 0]),
            random.randrange(4),
            payload,
            100,
        )
    elif kind == 5:
        usb.controlRead(0xC0, 0xF0, 0, 0, random.choice([8, 8, 8, 4, 64]), 300)
    elif kind == 6:
        usb.controlWrite(
            0x40,
            0xF2,
            random.choice([0, 1, 2, 32, 1024, 0x7FFF]) | random.choice([0, 0x8000]),
            random.getrandbits(16),
            b"",
            100,
        )
    elif kind == 7:
        usb.bulkWrite(2, bytes(random.choice([0, 3, 4, 512, 1024, 1028, 65536])), 1)
    elif kind == 8:
        usb.bulkRead(0x81, random.choice([0, 4, 512, 1024, 4096, 65536]), 1)
    else:
        usb.controlWrite(
            random.choice([0, 1, 2, 0x40]),
            random.choice([1, 9, 11, 3, 0xF3]),
            random.randrange(4),
            random.choice([0, 2, 0x81]),
            b"",
            5000,
        )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", [{}, {"strict": True}, {"usb": "high"}, {"deterministic": True, "strict": True}],
                         ids=["faithful", "strict", "high", "deterministic"])
def test_random_traffic(options, seed):
    wire = Wire(**options)
    generator = random.Random(seed)
    answered = 0
    for number in range(500):
        with contextlib.suppress(usb1.USBError, ProtocolViolation, AssertionError):
            if number % 20 == 0:
                wire.usb.reopen()  # it may have found the CPU's reset
            if number % 100 == 0:
                wire.usb.replug()  # out of whatever hang it found
                wire.bring_up()
            random_transfer(wire, generator)
            answered += 1
    assert answered > 50
    wire.usb.replug()
    while True:  # what the endpoint's thread had noticed before
        with contextlib.suppress(ProtocolViolation):
            assert wire.read(0xB450) == b"\x78"
            break
    for _ in range(16):
        with contextlib.suppress(ProtocolViolation):
            wire.bring_up()
            wire.stream_write(VRAM, b"alive!!!")
            assert wire.stream_read(VRAM, 8) == b"alive!!!"
            break
    else:
        pytest.fail("the model did not recover")
