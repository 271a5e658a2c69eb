"""The walk to the GPU, on a small model of bridges and a function with BARs."""
from __future__ import annotations

import pytest

from torch_usbgpu.errors import BootError, LinkError, UnsupportedChip
from torch_usbgpu.pcie import config

MIB, GIB = 1 << 20, 1 << 30


class Function:
    """Config space of 4 KiB with writable masks."""

    def __init__(self, identity: int, header: int):
        self.space, self.writable = bytearray(4096), bytearray(4096)
        self.set(0x00, identity)
        self.set(0x0C, header << 16)
        self.allow(0x04, 0x0407)

    def set(self, register: int, value: int) -> None:
        self.space[register:register + 4] = value.to_bytes(4, "little")

    def get(self, register: int) -> int:
        return int.from_bytes(self.space[register:register + 4], "little")

    def allow(self, register: int, mask: int) -> None:
        self.writable[register:register + 4] = mask.to_bytes(4, "little")

    def write(self, register: int, value: int, size: int) -> None:
        for i in range(size):
            mask, byte = self.writable[register + i], value >> 8 * i & 0xFF
            self.space[register + i] = self.space[register + i] & ~mask & 0xFF | byte & mask


def bridge(identity: int = 0x2463_1B21) -> Function:
    function = Function(identity, 1)
    for register in (0x18, 0x20, 0x24, 0x28, 0x2C):
        function.allow(register, 0xFFFF_FFFF)
    return function


class Graphics(Function):
    """BAR 0 resizable, BAR 2 and 5; refuses to resize while it decodes memory."""

    def __init__(self, vram_bar_mib: int = 256, supported: int = 0xFF00, doorbells: int = 2 * MIB, registers: int = MIB):
        super().__init__(0x744C_1002, 0)
        self.set(0x08, 0x0300_00C8)
        self.set(0x100, 0x2001_0018)                     # another capability first
        self.set(0x200, 0x0001_0015)
        self.set(0x204, supported << 4)
        self.set(0x208, (vram_bar_mib // 1).bit_length() - 1 << 8 | 0x20)
        self.allow(0x208, 0x1F00)
        self.sizes = {2: doorbells, 5: registers}
        self.set(0x10, 0xC)
        self.set(0x18, 0xC)
        self.set(0x20, 0x1)                              # I/O
        self.allow(0x20, 0xFFFF_FF00)
        self.bar_writes = 0
        self._mask()

    @property
    def vram_bar(self) -> int:
        return MIB << (self.get(0x208) >> 8 & 0x1F)

    def _mask(self) -> None:
        for index, size in ((0, self.vram_bar), (2, self.sizes[2])):
            mask = -size & 0xFFFF_FFFF_FFFF_FFFF
            self.allow(0x10 + 4 * index, mask & 0xFFFF_FFF0)
            self.allow(0x14 + 4 * index, mask >> 32)
        self.allow(0x24, -self.sizes[5] & 0xFFFF_FFF0)

    def write(self, register, value, size):
        if register in (0x208, *range(0x10, 0x28, 4)):
            self.bar_writes += 1
            assert not self.space[4] & 2, "moved or resized while it decodes memory"
        super().write(register, value, size)
        self._mask()


class Bus:
    """config_read and config_write of an adapter. Bus numbers must be programmed to get through."""

    def __init__(self, *chain: Function):
        self.chain = chain
        self.writes = 0

    def _reach(self, bus: int) -> Function | None:
        for depth, function in enumerate(self.chain):
            if depth == bus:
                return function
            numbers = function.get(0x18)
            secondary, subordinate = numbers >> 8 & 0xFF, numbers >> 16 & 0xFF
            if secondary != depth + 1 or not secondary <= bus <= subordinate:
                return None
        return None

    def config_read(self, bus, device, function, register, size=4):
        found = self._reach(bus)
        if found is None:
            raise LinkError("The PCIe configuration address was answered with unsupported request.")
        return int.from_bytes(found.space[register:register + size], "little")

    def config_write(self, bus, device, function, register, value, size=4):
        found = self._reach(bus)
        if found is None:
            raise LinkError("The PCIe configuration address was answered with unsupported request.")
        self.writes += 1
        found.write(register, value, size)


def walk(bus: Bus) -> config.PciFunction:
    gpu = config.find_gpu(bus)
    config.assign_bars(bus, gpu)
    return gpu


@pytest.mark.parametrize("bridges", [1, 2, 4])
def test_walk_stops_at_the_first_function_that_is_no_bridge(bridges):
    chain = [bridge() for _ in range(bridges)]
    card = Graphics()
    gpu = walk(Bus(*chain, card))
    assert (gpu.bus, gpu.device, gpu.revision) == (bridges, 0x744C, 0xC8)
    for number, function in enumerate(chain):
        assert function.get(0x18) == number | number + 1 << 8 | bridges << 16
        assert function.get(0x20) == 0xFFFF_1000 and function.get(0x24) & 0xFFF0_FFF0 == 0xFFF0_0000
        assert (function.get(0x28), function.get(0x2C), function.space[4]) == (8, 0xFFFF_FFFF, 7)
    assert card.space[4] == 7


def test_bar0_becomes_as_large_as_it_can():
    card = Graphics(vram_bar_mib=256, supported=0b1111_1111_0000_0000)      # 256 MiB .. 32 GiB
    gpu = walk(Bus(bridge(), card))
    assert gpu.bars[0] == config.Bar(0, 32 * GIB, 32 * GIB, True)
    assert gpu.bars[2] == config.Bar(2, 64 * GIB, 2 * MIB, True)
    assert gpu.bars[5] == config.Bar(5, 0x1000_0000, MIB, False)
    assert (card.get(0x10) & ~0xF, card.get(0x14)) == (0, 8)
    assert card.get(0x20) == 1                                               # I/O left alone


def test_without_resizable_bar_the_small_one_is_used():
    card = Graphics()
    card.set(0x200, 0x0001_0019)
    gpu = walk(Bus(bridge(), card))
    assert gpu.bars[0].size == 256 * MIB


@pytest.mark.parametrize("entries", [["2", "0"], ["2", "5", "0"]], ids=" then ".join)
def test_the_entry_of_bar0_need_not_be_the_first(entries):
    card = Graphics()
    for number, index in enumerate(entries):
        at = 0x204 + 8 * number
        card.set(at, (0xFF00 if index == "0" else 0x1FE) << 4)
        card.set(at + 4, int(index) | len(entries) << 5 | 8 << 8)
        card.allow(at + 4, 0x1F00 if index == "0" else 0)
    before = card.get(0x208)
    config.assign_bars(Bus(card), gpu := config.PciFunction(0, 0x1002, 0x744C, 0xC8))
    assert card.get(0x208 + 8 * (len(entries) - 1)) >> 8 & 0x1F == 15 and card.get(0x208) == before
    assert gpu.bars[0].address == 32 * GIB


def test_other_bars_alone_may_be_resizable():
    card = Graphics()
    card.set(0x208, 2 | 1 << 5 | 1 << 8)
    before = card.get(0x208)
    gpu = walk(Bus(bridge(), card))
    assert card.get(0x208) == before and gpu.bars[0].index == 0


@pytest.mark.parametrize("resizable", [True, False])
def test_bars_of_another_driver_are_not_kept(resizable):
    """Without ReBAR the size is known only from where we put things."""
    card = Graphics()
    if not resizable:
        card.set(0x200, 0x0001_0019)
    bus = Bus(bridge(), card)
    walk(bus)
    assert walk(bus).kept
    card.set(0x18, 0x2000_000C)               # doorbells at another distance
    gpu = walk(bus)
    assert not gpu.kept and gpu.bars[0].size == (256 * MIB if not resizable else 32 * GIB)


def test_a_second_walk_writes_nothing_that_could_disturb():
    card = Graphics()
    bus = Bus(bridge(), bridge(), card)
    first = walk(bus)
    card.bar_writes = bus.writes = 0
    second = walk(bus)
    assert second.kept and not first.kept
    assert card.bar_writes == 0 and bus.writes == 1                          # the command register
    assert {i: b.address for i, b in second.bars.items()} == {i: b.address for i, b in first.bars.items()}
    assert second.bars[5].size <= first.bars[5].size


def test_lost_bars_are_placed_again():
    card = Graphics()
    bus = Bus(bridge(), card)
    walk(bus)
    card.space[4] = 0
    for register in (0x10, 0x14, 0x18, 0x1C, 0x24):
        card.set(register, card.get(register) & 0xF)
    gpu = walk(bus)
    assert not gpu.kept and card.get(0x14) == 8 and card.get(0x24) == 0x1000_0000


@pytest.mark.parametrize(("chain", "error", "message"), [
    ([bridge()], BootError, "ends before a GPU"),
    ([bridge(), Function(0x2684_10DE, 0)], UnsupportedChip, r"\(NVIDIA, 10de:2684\) is not an AMD GPU"),
    ([bridge(), Function(0xFFFF_FFFF, 0)], BootError, "No device answers"),
    ([bridge() for _ in range(config.MAX_BUSES)], BootError, "in a row")])
def test_roads_without_a_gpu(chain, error, message):
    with pytest.raises(error, match=message):
        walk(Bus(*chain))


def test_a_card_without_register_range_is_refused():
    card = Graphics(registers=0)
    with pytest.raises(BootError, match="lacks address ranges"):
        walk(Bus(bridge(), card))


def test_bus_master_can_be_taken_away():
    card = Graphics()
    bus = Bus(bridge(), card)
    gpu = walk(bus)
    config.set_bus_master(bus, gpu, False)
    assert card.space[4] == 0x03
    config.set_bus_master(bus, gpu, True)
    assert card.space[4] == 0x07
