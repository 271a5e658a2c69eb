"""Configuration space: the road of bridges to the GPU, its BARs, and bus mastering.

The adapter is the root: bus 0 is its own switch, then come the card's switch (if it has one) and the GPU.
The walk stops at the first function that is no bridge. Sources: tinygrad runtime/support/system.py;
PCI Express Base Specification for ReBAR (capability 0x15).
"""
from __future__ import annotations

import logging
from dataclasses import dataclass, field

from ..errors import BootError, DeviceLost, LinkError, LinkTimeout, PcieLinkDown, UnsupportedChip

log = logging.getLogger(__name__)

VENDOR_ID, COMMAND, REVISION_ID, HEADER_TYPE = 0x00, 0x04, 0x08, 0x0E
BAR0 = 0x10
BUS_NUMBERS, MEMORY_WINDOW, PREFETCH_WINDOW, PREFETCH_BASE_UPPER, PREFETCH_LIMIT_UPPER = 0x18, 0x20, 0x24, 0x28, 0x2C
EXTENDED_CAPABILITIES = 0x100
RESIZABLE_BAR, MAX_RESIZABLE_BARS = 0x15, 6

COMMAND_MEMORY_AND_MASTER = 0x07     # I/O, memory, bus master
COMMAND_MASTER = 0x04

MEMORY_BASE = 0x1000_0000            # above the adapter's own pages (0x20_0000.., 0x80_0000.., 0x82_0000..)
PREFETCH_BASE = 0x8_0000_0000        # 32 GiB
MINIMUM_ALIGNMENT = 2 << 20
# While the BARs are left alone their sizes are not probed; every known board has at least this much register space,
# and what lies beyond is reached by the indirect pair.
REGISTER_BAR_MINIMUM = 512 << 10

MAX_BUSES = 16
_MAKERS = {0x10DE: "NVIDIA", 0x8086: "Intel", 0x144D: "Samsung", 0x1B21: "ASMedia"}     # pci.ids
MIB = 1 << 20
SMALL_BAR_BYTES = 256 * MIB          # BAR 0 of boards without ReBAR, and of others before it is resized


@dataclass(frozen=True)
class Bar:
    index: int
    address: int
    size: int
    prefetchable: bool


@dataclass
class PciFunction:
    """The GPU's function 0."""

    bus: int
    vendor: int
    device: int
    revision: int
    bars: dict[int, Bar] = field(default_factory=dict)
    kept: bool = False        # the BARs held their expected values already


class ConfigSpace:
    """Config registers of one function."""

    def __init__(self, adapter, bus: int, device: int = 0, function: int = 0) -> None:
        self._adapter = adapter
        self._at = (bus, device, function)

    def read(self, register: int, size: int = 4) -> int:
        return self._adapter.config_read(*self._at, register, size)

    def write(self, register: int, value: int, size: int = 4) -> None:
        self._adapter.config_write(*self._at, register, value, size)

    def find_capability(self, wanted: int) -> int | None:
        """Offset of the first extended capability with an id, or None. The list must ascend, so it ends."""
        offset = EXTENDED_CAPABILITIES
        while (header := self.read(offset)) not in (0, 0xFFFF_FFFF):
            if header & 0xFFFF == wanted:
                return offset
            following = header >> 20 & 0xFFC
            if following <= offset:
                break
            offset = following
        return None


def find_gpu(adapter) -> PciFunction:
    """Walk and configure the bridges until something that is no bridge turns up.

    Raises:
        BootError: no endpoint.
        UnsupportedChip: not one of AMD's.
    """
    programmed: list[int] = []
    for bus in range(MAX_BUSES):
        space = ConfigSpace(adapter, bus)
        try:
            identity = space.read(VENDOR_ID)
        except (DeviceLost, LinkTimeout, PcieLinkDown):        # the cable, not the card
            raise
        except LinkError as error:
            raise BootError("The road to the GPU ends before a GPU was found.",
                            "Check the card's seat and its power cables, then power-cycle the dock.",
                            bus=bus, cause=error.found) from error
        if identity == 0xFFFF_FFFF:
            raise BootError("No device answers behind the adapter.", "Check the card's seat and its power cables.",
                            bus=bus)
        if space.read(HEADER_TYPE, 1) & 0x7F == 0:
            _trim_bus_numbers(adapter, programmed, bus)
            revision = space.read(REVISION_ID, 1)
            vendor, device = identity & 0xFFFF, identity >> 16
            if vendor != 0x1002:
                maker = f"{_MAKERS[vendor]}, " if vendor in _MAKERS else ""
                raise UnsupportedChip(f"The card in the dock ({maker}{vendor:04x}:{device:04x}) is not an AMD GPU.",
                                      "Use a card with a supported GPU.", vendor=f"{vendor:#06x}",
                                      device=f"{device:#06x}")
            return PciFunction(bus, vendor, device, revision)
        if _configure_bridge(space, bus):
            programmed.append(bus)
    raise BootError(f"More than {MAX_BUSES} bridges in a row.", buses=MAX_BUSES)


def _configure_bridge(space: ConfigSpace, bus: int) -> bool:
    """Open a bridge's windows to everything downstream. False if it is open already, as this function left it."""
    numbers = space.read(BUS_NUMBERS)
    if (numbers & 0xFFFF == bus | bus + 1 << 8 and numbers >> 16 & 0xFF > bus
            and space.read(PREFETCH_BASE_UPPER) == PREFETCH_BASE >> 32
            and space.read(COMMAND, 1) & COMMAND_MEMORY_AND_MASTER == COMMAND_MEMORY_AND_MASTER):
        return False
    # One 4-byte write: the three numbers must change together. The last bus is not known yet.
    space.write(BUS_NUMBERS, bus | bus + 1 << 8 | 0xFF << 16)
    space.write(MEMORY_WINDOW, MEMORY_BASE >> 16 | 0xFFFF << 16)
    space.write(PREFETCH_WINDOW, PREFETCH_BASE >> 16 & 0xFFFF | 0xFFFF << 16)
    space.write(PREFETCH_BASE_UPPER, PREFETCH_BASE >> 32)
    space.write(PREFETCH_LIMIT_UPPER, 0xFFFF_FFFF)
    space.write(COMMAND, COMMAND_MEMORY_AND_MASTER, 1)
    return True


def _trim_bus_numbers(adapter, programmed: list[int], last: int) -> None:
    for bus in programmed:
        ConfigSpace(adapter, bus).write(BUS_NUMBERS, bus | bus + 1 << 8 | last << 16)


def assign_bars(adapter, gpu: PciFunction) -> None:
    """Resize BAR 0 to the largest the card offers, place all BARs, and switch the function on.

    Left alone when everything is as this function would make it: then a running GPU is not disturbed by the
    moment in which a probed BAR holds all ones.
    """
    space = ConfigSpace(adapter, gpu.bus)
    resize = _resize_step(space)
    if (resize is None or resize.current == resize.largest) and _keep_bars(space, gpu, resize):
        space.write(COMMAND, COMMAND_MEMORY_AND_MASTER, 1)
        return
    # Sizes must not change, nor BARs move, while the function decodes memory.
    space.write(COMMAND, 0, 1)
    if resize is not None and resize.current != resize.largest:
        space.write(resize.control, resize.value & ~(0x1F << 8) | resize.largest << 8)
    _place_bars(space, gpu)
    space.write(COMMAND, COMMAND_MEMORY_AND_MASTER, 1)
    missing = [index for index in (0, 2, 5) if index not in gpu.bars]
    if missing:
        raise BootError("The GPU lacks address ranges that every supported card has.", missing=missing,
                        present=sorted(gpu.bars))


@dataclass(frozen=True)
class _Resize:
    control: int      # register
    value: int        # its content
    current: int      # log2(MiB)
    largest: int


def _resize_step(space: ConfigSpace) -> _Resize | None:
    """The entry of BAR 0. Every resizable BAR has one, and the first tells their number."""
    offset = space.find_capability(RESIZABLE_BAR)
    if offset is None:
        return None
    entries = 1
    for entry in range(MAX_RESIZABLE_BARS):
        control = offset + 8 + 8 * entry
        value = space.read(control)
        if entry == 0:
            entries = value >> 5 & 7
        if value & 7 == 0:
            supported = space.read(control - 4) >> 4
            return _Resize(control, value, value >> 8 & 0x1F, supported.bit_length() - 1) if supported else None
        if entry + 1 >= entries:
            break
    return None


def _read_bar(space: ConfigSpace, index: int) -> int:
    low = space.read(BAR0 + 4 * index)
    high = space.read(BAR0 + 4 * index + 4) if low & 4 else 0
    return high << 32 | low & ~0xF


def _keep_bars(space: ConfigSpace, gpu: PciFunction, resize: _Resize | None) -> bool:
    """Is everything where _place_bars() puts it? Then nothing is written, and `gpu.bars` is filled in."""
    # Without ReBAR the size cannot be asked for without disturbing; it is not larger if the doorbells follow.
    size = SMALL_BAR_BYTES if resize is None else MIB << resize.current
    expected = {0: _align(PREFETCH_BASE, size), 2: 0, 5: MEMORY_BASE}
    expected[2] = expected[0] + size
    if any(_read_bar(space, index) != address for index, address in expected.items()):
        return False
    sizes = {0: size, 2: MINIMUM_ALIGNMENT, 5: REGISTER_BAR_MINIMUM}
    gpu.bars = {index: Bar(index, address, sizes[index], index != 5) for index, address in expected.items()}
    gpu.kept = True
    return True


def _place_bars(space: ConfigSpace, gpu: PciFunction) -> None:
    next_address = {False: MEMORY_BASE, True: PREFETCH_BASE}
    index = 0
    while index < 6:
        register = BAR0 + 4 * index
        low = space.read(register)
        if low & 1:                        # I/O range: not used
            index += 1
            continue
        wide, prefetchable = bool(low & 4), bool(low & 8)
        space.write(register, 0xFFFF_FFFF)
        mask = space.read(register) & ~0xF
        if wide:
            space.write(register + 4, 0xFFFF_FFFF)
            mask |= space.read(register + 4) << 32
        elif mask:
            mask |= 0xFFFF_FFFF << 32
        size = -mask & 0xFFFF_FFFF_FFFF_FFFF if mask else 0
        if size:
            address = _align(next_address[prefetchable], max(size, MINIMUM_ALIGNMENT))
            next_address[prefetchable] = address + max(size, MINIMUM_ALIGNMENT)
            space.write(register, address & 0xFFFF_FFFF)
            if wide:
                space.write(register + 4, address >> 32)
            gpu.bars[index] = Bar(index, address, size, prefetchable)
        index += 2 if wide else 1


def _align(address: int, size: int) -> int:
    return -(-address // size) * size


def is_in_place(adapter, gpu: PciFunction) -> bool:
    """Does the same function answer at the same place, with its BARs as assign_bars() left them, switched on?"""
    space = ConfigSpace(adapter, gpu.bus)
    if space.read(VENDOR_ID) != gpu.device << 16 | gpu.vendor:
        return False
    if space.read(COMMAND, 1) & COMMAND_MEMORY_AND_MASTER != COMMAND_MEMORY_AND_MASTER:
        return False
    for index, bar in gpu.bars.items():
        low = space.read(BAR0 + 4 * index)
        high = space.read(BAR0 + 4 * index + 4) if low & 4 else 0
        if (high << 32 | low & ~0xF) != bar.address:
            return False
    return True


def set_bus_master(adapter, gpu: PciFunction, enabled: bool) -> None:
    """Allow or forbid the GPU's own accesses to the bus; its memory stays reachable."""
    value = COMMAND_MEMORY_AND_MASTER if enabled else COMMAND_MEMORY_AND_MASTER & ~COMMAND_MASTER
    ConfigSpace(adapter, gpu.bus).write(COMMAND, value, 1)
