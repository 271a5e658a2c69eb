"""The PCIe packets that the adapter's engine can emit, and the completions it hands back.

One packet carries one dword. Source: asm2464pd-firmware handmade/src/{main.c,pcie_pio.h}; PCI Express
Base Specification, section 2.2 for the header formats.
"""
from __future__ import annotations

import struct
from dataclasses import dataclass

# Format and type of a header's first byte (PCI Express Base Specification, table 2-3).
MEM_READ32, MEM_READ64 = 0x00, 0x20
MEM_WRITE32, MEM_WRITE64 = 0x40, 0x60
CONFIG_READ0, CONFIG_READ1 = 0x04, 0x05
CONFIG_WRITE0, CONFIG_WRITE1 = 0x44, 0x45

# Completion status (table 2-34).
SUCCESS, UNSUPPORTED_REQUEST, CONFIG_RETRY, COMPLETER_ABORT = 0, 1, 2, 4
STATUS_NAMES = {SUCCESS: "success", UNSUPPORTED_REQUEST: "unsupported request",
                CONFIG_RETRY: "configuration request retry", COMPLETER_ABORT: "completer abort"}

PAYLOAD = struct.Struct("<III")      # address low, address high, value: always 12 bytes
COMPLETION = struct.Struct("<IBBBB")


def is_posted(fmt_type: int) -> bool:
    """True for packets without a completion (memory writes, messages): nothing may be collected after them."""
    return (fmt_type & 0xDF) == 0x40 or (fmt_type & 0xB8) == 0x30


def memory_fmt(address: int, *, write: bool, wide: bool = False) -> int:
    """PCIe forbids a 4-dword header below 4 GiB; `wide` asks for one all the same."""
    if wide or address >> 32:
        return MEM_WRITE64 if write else MEM_READ64
    return MEM_WRITE32 if write else MEM_READ32


def byte_enables(address: int, size: int) -> int:
    """Lanes of the one dword that a packet of `size` bytes at `address` touches."""
    lane = address & 3
    if not 1 <= size <= 4 or lane + size > 4:
        raise ValueError(f"{size} bytes at {address:#x} do not lie in one dword")
    return ((1 << size) - 1) << lane


def config_address(bus: int, device: int, function: int, register: int) -> int:
    if not (0 <= bus < 256 and 0 <= device < 32 and 0 <= function < 8 and 0 <= register < 0x1000):
        raise ValueError(f"no config register {bus}:{device}.{function}+{register:#x}")
    return bus << 24 | device << 19 | function << 16 | register


def config_fmt(bus: int, *, write: bool) -> int:
    if bus == 0:
        return CONFIG_WRITE0 if write else CONFIG_READ0
    return CONFIG_WRITE1 if write else CONFIG_READ1


@dataclass(frozen=True)
class Completion:
    """The eight bytes of an 0xF0 IN."""

    data: int
    status: int         # completion status; SUCCESS is not implied by `engine` == 0
    byte_count: int
    has_data: bool
    engine: int         # 0 done, 1 error flag (time-out, link glitch), 0xFF firmware gave up

    @classmethod
    def decode(cls, raw: bytes) -> Completion:
        data, header_high, count_low, flags, engine = COMPLETION.unpack(raw)
        return cls(data, header_high >> 5, (header_high & 0xF) << 8 | count_low, bool(flags & 1), engine)

    @property
    def status_name(self) -> str:
        return STATUS_NAMES.get(self.status, f"status {self.status}")
