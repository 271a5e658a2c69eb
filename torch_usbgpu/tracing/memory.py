"""What the host has put into the board's memory and into the dock's SRAM, and the GPU's addresses of it.

Only what crossed the cable is known: what the GPU wrote itself is not.
"""
from __future__ import annotations

from collections.abc import Callable

from ..amdgpu.facts import enum
from ..usb.facts import FACTS

PAGE = 4096
SHIFTS = (39, 30, 21, 12)
SRAM_ADDRESS, SRAM_BYTES = FACTS["pcie_address"]["sram"], FACTS["sram"]["bytes"]


class Pages:
    """Sparse bytes."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._known: dict[int, bytearray] = {}      # one byte per dword

    def write(self, address: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            page, offset = divmod(address + at, PAGE)
            n = min(PAGE - offset, len(data) - at)
            self._pages.setdefault(page, bytearray(PAGE))[offset:offset + n] = data[at:at + n]
            first, last = offset // 4, -(-(offset + n) // 4)
            self._known.setdefault(page, bytearray(PAGE // 4))[first:last] = b"\1" * (last - first)
            at += n

    def read(self, address: int, nbytes: int) -> bytes | None:
        """None: not all of it was ever written."""
        parts = []
        while nbytes > 0:
            page, offset = divmod(address, PAGE)
            n = min(PAGE - offset, nbytes)
            known = self._known.get(page)
            if known is None or not all(known[offset // 4:-(-(offset + n) // 4)]):
                return None
            parts.append(bytes(self._pages[page][offset:offset + n]))
            address, nbytes = address + n, nbytes - n
        return b"".join(parts)


class Memory:
    """VRAM, SRAM, and the page tables of VMID 0 over them.

    Args:
        register: value of a register by name as last seen on the wire, or None.
        family: "gfx11" or "gfx12", the format of the page tables.
    """

    def __init__(self, register: Callable[[str], int | None], family: Callable[[], str]) -> None:
        self.vram, self.sram = Pages(), Pages()
        self._register, self._family = register, family

    def _pair(self, name: str) -> int | None:
        low, high = self._register(f"{name}_LO32"), self._register(f"{name}_HI32")
        return None if low is None else (high or 0) << 32 | low

    def resolve(self, va: int) -> tuple[Pages, int] | None:
        """The memory behind a GPU address, and the place in it."""
        base, top = self._register("MMMC_VM_FB_LOCATION_BASE"), self._register("MMMC_VM_FB_LOCATION_TOP")
        if base and top and (base & 0xFF_FFFF) << 24 <= va <= (top & 0xFF_FFFF) << 24 | 0xFF_FFFF:
            return self.vram, va - ((base & 0xFF_FFFF) << 24)
        root = self._pair("GCVM_CONTEXT0_PAGE_TABLE_BASE_ADDR")
        start = self._pair("GCVM_CONTEXT0_PAGE_TABLE_START_ADDR")
        if root is None or start is None:
            return None
        return self._walk(root & ~0xFFF, va - (start << 12))

    def _walk(self, table: int, offset: int) -> tuple[Pages, int] | None:
        bits, family = enum("pte_bits"), self._family()
        lsb, msb = bits["ADDR"]
        for level, shift in enumerate(SHIFTS):
            raw = self.vram.read(table + 8 * (offset >> shift & 511), 8)
            if raw is None:
                return None
            entry = int.from_bytes(raw, "little")
            if not entry >> bits["VALID"] & 1:
                return None
            address = entry & ((1 << msb + 1) - 1) & ~((1 << lsb) - 1)
            if level < 3 and not entry >> bits[family]["PDE_PTE_huge"] & 1:
                table = address
                continue
            address += offset & ((1 << shift) - 1)
            if not entry >> bits["SYSTEM"] & 1:
                return self.vram, address
            return (self.sram, address - SRAM_ADDRESS) if 0 <= address - SRAM_ADDRESS < SRAM_BYTES else None
        return None

    def read(self, va: int, nbytes: int) -> bytes | None:
        """Memory at a GPU address as far as the wire has shown it; None: not all of it is known."""
        parts = []
        while nbytes > 0:
            n = min(PAGE - va % PAGE, nbytes)
            place = self.resolve(va)
            data = place[0].read(place[1], n) if place else None
            if data is None:
                return None
            parts.append(data)
            va, nbytes = va + n, nbytes - n
        return b"".join(parts)
