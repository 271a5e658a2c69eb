"""Page tables: entries bit by bit, and the whole set walked as the hardware walks it."""
from __future__ import annotations

import struct

import pytest

from torch_usbgpu.amdgpu import layout, memory
from torch_usbgpu.amdgpu.layout import GIB, MIB

TABLES = layout.PLACES["page_tables"]
RWX = 0x71       # valid, executable, readable, writeable


@pytest.mark.parametrize(("arguments", "entry"), [
    ((0x4000_0000, 1, "gfx11"), 0x4000_0000 | RWX | 18 << 7 | 1 << 54),
    ((0x4000_0000, 1, "gfx12"), 0x4000_0000 | RWX | 18 << 7 | 1 << 63),
    ((0x20_0000, 2, "gfx11"), 0x20_0000 | RWX | 9 << 7 | 1 << 54),
    ((0x20_0000, 2, "gfx12"), 0x20_0000 | RWX | 9 << 7 | 1 << 63),
    ((0x1000, 3, "gfx11"), 0x1000 | RWX),
    ((0x1000, 3, "gfx12"), 0x1000 | RWX | 1 << 63),          # without bit 63 it faults
    ((0xFFF_FFFF_F000, 3, "gfx11"), 0xFFF_FFFF_F000 | RWX),
])
def test_leaf(arguments, entry):
    assert memory.encode_leaf(*arguments) == entry


@pytest.mark.parametrize(("family", "bits"), [("gfx11", 3 << 48), ("gfx12", 3 << 54)])
def test_uncached_system_leaf(family, bits):
    mark = 1 << 63 if family == "gfx12" else 0
    # Snooped (bit 2) stays off: the adapter's SRAM is no host memory.
    assert memory.encode_leaf(0x82_0000, 3, family, uncached=True, system=True) == 0x82_0000 | RWX | 2 | bits | mark


def test_directory_has_nothing_but_an_address():
    assert memory.encode_directory(0x12000) == 0x12001


@pytest.mark.parametrize(("address", "level"), [(0x1000, 2), (0x20_0000, 1), (0x800, 3), (1 << 48, 3)])
def test_misplaced_leaves(address, level):
    with pytest.raises(ValueError):
        memory.encode_leaf(address, level, "gfx11")


class Walker:
    """The page walk of the sheet: index 0 of the root is the context's start address."""

    def __init__(self, vram_bytes: int, family: str):
        self.image, self.root = memory.build_page_tables(vram_bytes, family, TABLES)
        self.huge = 1 << (63 if family == "gfx12" else 54)
        self.mtype = (54, 3) if family == "gfx12" else (48, 7)

    def translate(self, va: int) -> tuple[int, bool, bool] | None:
        """(address, is system, is uncached)"""
        offset, table = va - layout.VA_BASE, self.root
        if not 0 <= offset < layout.VA_BYTES:
            return None
        for level, shift in enumerate(memory.LEVEL_SHIFT):
            index = offset >> shift & 511
            assert level or index == 0, "only the first entry of the root is written"
            (entry,) = struct.unpack_from("<Q", self.image, table + 8 * index - TABLES)
            if not entry & 1:
                return None
            address = entry & 0xFFFF_FFFF_F000
            if entry & self.huge or level == 3:
                uncached = entry >> self.mtype[0] & self.mtype[1] == 3
                assert entry >> 4 & 7 == 7
                return address + (offset & (1 << shift) - 1), bool(entry & 2), uncached
            table = address
        raise AssertionError


@pytest.mark.parametrize("family", ["gfx11", "gfx12"])
@pytest.mark.parametrize("vram", [512 * MIB, 8 * GIB, 24 * GIB, 48 * GIB + 16 * MIB])
def test_every_address_of_the_plan(vram, family):
    walk = Walker(vram, family).translate
    mapped = vram - layout.TOP_RESERVED_BYTES
    for paddr in (0, 0x1234, 2 * MIB, 64 * MIB + 4, mapped // 2, mapped - GIB, mapped - 4):
        if paddr >= 0:
            assert walk(layout.VA_BASE + paddr) == (paddr, False, False)
    for va in (layout.VA_BASE + mapped, layout.VA_BASE + vram, layout.VA_BASE - 4, layout.VA_BASE + 200 * GIB,
               layout.UNCACHED_VA + layout.BOOT_REGION_BYTES, layout.SYSTEM_VA - 4, layout.VA_BASE + layout.VA_BYTES):
        assert walk(va) is None, hex(va)
    for paddr in (0, layout.PLACES["sdma_ring"], layout.BOOT_REGION_BYTES - 4):
        assert walk(layout.UNCACHED_VA + paddr) == (paddr, False, True)
    for offset in (0, 0x1000, 512 * 1024 - 4):
        assert walk(layout.SYSTEM_VA + offset) == (0x20_0000 + offset, True, True)
    assert walk(layout.SYSTEM_VA + 0x8_0800) == (0x82_0800, True, True)
    assert walk(layout.SYSTEM_VA + 0x8_100C) == (0x82_200C, True, True)
    assert walk(layout.SYSTEM_VA + 0x8_2000) is None
    for offset in (0, 0x1000, 496 * 1024 - 4):
        assert walk(layout.STAGING_VA + offset) == (0x20_4000 + offset, True, True)
    assert walk(layout.STAGING_VA + 496 * 1024) is None


def test_the_plan_fits_and_does_not_overlap():
    spans = sorted((place, place + layout.size_of(name)) for name, place in layout.PLACES.items())
    assert spans[0][0] > 0 and spans[-1][1] <= layout.BOOT_REGION_BYTES
    assert all(end <= following for (_, end), (following, _) in zip(spans, spans[1:], strict=False))
    assert len(memory.build_page_tables(24 * GIB, "gfx11", TABLES)[0]) <= layout.size_of("page_tables")
    assert layout.STAGING_VA % MIB == 0, "the PSP takes the staging buffer's address in MiB"


@pytest.mark.parametrize(("name", "place"), [
    ("page_tables", 0x10000), ("ih_ring0", 0x22000), ("psp_ring", 0xA3000), ("discovery", 0xB4000),
    ("compute_mqd", 0xBC000), ("compute_ring", 0xBF000), ("sdma_ring", 0xD0000), ("tmr", 0x200000), ("thread_scratch", 0x1500000)])
def test_a_changed_plan_needs_a_new_version(name, place):
    """A warm start looks for everything at these places. If this fails, raise layout.LAYOUT_VERSION too."""
    assert (layout.PLACES[name], layout.LAYOUT_VERSION) == (place, 0x5542_0003)
