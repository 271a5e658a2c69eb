"""Firmware images for tests: the marks of the genuine ones, no code of theirs."""
from __future__ import annotations

import struct

from torch_usbgpu.usb.flash_image import wrap

JUMP = b"\x02\x00\x03"


def device_descriptor(usb: int, vendor: int, product: int, release: int = 1) -> bytes:
    packet = 9 if usb >= 0x0300 else 64
    return bytes([18, 1]) + struct.pack("<HBBBBHHH", usb, 0, 0, 0, packet, vendor, product, release) + bytes([1, 2, 3, 1])


def custom_body(vendor: int = 0xADD1, product: int = 1, *, text: bytes = b"custom v0.2", usb=(0x0200, 0x0320),
                nbytes: int = 5000, start: bytes = JUMP) -> bytes:
    """An image of the open firmware, in which ids and texts stand somewhere in the middle of code."""
    marks = b"".join(device_descriptor(speed, vendor, product) for speed in usb)
    return start + bytes((n * 37 + 5) & 0x7F for n in range(nbytes)) + marks + b"\x22tiny\0" + text + b"\0" + b"\x12\x34" * 50


def stock_body(version: bytes = bytes.fromhex("240417850000"), *, patched: bool = False, nbytes: int = 98_006,
               vendor: int = 0x174C) -> bytes:
    body = bytearray((n * 31 + 7) & 0xFF for n in range(nbytes))
    body[0:3] = JUMP
    body[0x200:0x206] = version
    body[0x64F:0x661] = device_descriptor(0x0210, vendor, 0x2462)
    body[0x2A12 - 4] = 5 if patched else 10
    return bytes(body)


CUSTOM, CUSTOM_3801 = wrap(custom_body()), wrap(custom_body(0x3801))
STOCK, PATCHED = wrap(stock_body()), wrap(stock_body(patched=True))
