"""Configuration space as seen from outside: which function has which address ranges."""
from __future__ import annotations

from dataclasses import dataclass, field

# PCI Local Bus Specification, type 0 and type 1 headers; what both share comes first.
COMMON = {0x00: "VENDOR_ID", 0x02: "DEVICE_ID", 0x04: "COMMAND", 0x06: "STATUS", 0x08: "REVISION_ID", 0x0A: "CLASS",
          0x0C: "CACHE_LINE_SIZE", 0x0E: "HEADER_TYPE", 0x34: "CAPABILITIES", 0x3C: "INTERRUPT_LINE"}
ENDPOINT = {**{0x10 + 4 * n: f"BAR{n}" for n in range(6)}, 0x2C: "SUBSYSTEM_ID", 0x30: "ROM"}
BRIDGE = {0x10: "BAR0", 0x14: "BAR1", 0x18: "BUS_NUMBERS", 0x1C: "IO_WINDOW", 0x1E: "SECONDARY_STATUS",
          0x20: "MEMORY_WINDOW", 0x24: "PREFETCH_WINDOW", 0x28: "PREFETCH_BASE_UPPER", 0x2C: "PREFETCH_LIMIT_UPPER",
          0x30: "IO_UPPER", 0x38: "ROM", 0x3E: "BRIDGE_CONTROL"}
AMD, ALL_ONES = 0x1002, 0xFFFF_FFFF
# Used while a range's size has not been probed on the wire.
USUAL_BYTES = {0: 1 << 36, 2: 2 << 20, 5: 1 << 20}
COMMAND_BITS = {0: "io", 1: "memory", 2: "bus master"}


@dataclass
class Function:
    registers: dict[int, int] = field(default_factory=dict)     # dword -> value
    probing: set[int] = field(default_factory=set)              # BAR registers that hold all ones
    masks: dict[int, int] = field(default_factory=dict)
    kinds: dict[int, int] = field(default_factory=dict)         # read-only low bits of a BAR: I/O, 64 bit, prefetchable

    @property
    def is_bridge(self) -> bool | None:
        header = self.registers.get(0x0C)
        return None if header is None else bool(header >> 16 & 0x7F)


class Pci:
    """Follows configuration accesses."""

    def __init__(self) -> None:
        self.functions: dict[tuple[int, int, int], Function] = {}
        self.gpu: tuple[int, int, int] | None = None

    @staticmethod
    def split(address: int) -> tuple[tuple[int, int, int], int]:
        return (address >> 24 & 0xFF, address >> 19 & 0x1F, address >> 16 & 7), address & 0xFFF

    def name(self, place: tuple[int, int, int], register: int) -> str:
        function = self.functions.get(place)
        bridge = function.is_bridge if function else None
        names = {**COMMON, **(BRIDGE if bridge or (bridge is None and place != self.gpu) else ENDPOINT)}
        for offset in (register, register & ~1, register & ~3):
            if offset in names:
                return names[offset] + (f"+{register - offset}" if register != offset else "")
        return f"{register:#x}"

    def written(self, address: int, value: int, enables: int) -> None:
        place, register = self.split(address)
        function = self.functions.setdefault(place, Function())
        mask = sum(0xFF << 8 * lane for lane in range(4) if enables >> lane & 1)
        merged = function.registers.get(register, 0) & ~mask | value & mask
        function.registers[register] = merged
        if 0x10 <= register < 0x28 and not function.is_bridge:
            if merged == ALL_ONES:
                function.probing.add(register)
            else:
                function.probing.discard(register)

    def read(self, address: int, value: int) -> None:
        place, register = self.split(address)
        function = self.functions.setdefault(place, Function())
        if 0x10 <= register < 0x28:
            function.kinds[register] = value & 0xF
        if register in function.probing:
            function.masks[register] = value
            return
        function.registers[register] = value
        if register == 0 and value & 0xFFFF == AMD:
            self._note_gpu(place)
        if register == 0x0C:
            self._note_gpu(place)

    def _note_gpu(self, place: tuple[int, int, int]) -> None:
        """AMD's switch has AMD's vendor id, too: the GPU is what is no bridge."""
        function = self.functions[place]
        if function.registers.get(0, 0) & 0xFFFF == AMD and function.is_bridge is False and place[2] == 0:
            self.gpu = place

    @property
    def device(self) -> int | None:
        return self.functions[self.gpu].registers[0] >> 16 if self.gpu else None

    def bars(self) -> dict[int, tuple[int, int]]:
        """BAR -> (address, bytes) of the GPU."""
        found: dict[int, tuple[int, int]] = {}
        if not self.gpu:
            return found
        function, index = self.functions[self.gpu], 0
        while index < 6:
            register = 0x10 + 4 * index
            low = function.registers.get(register)
            kind = function.kinds.get(register, (low or 0) & 0xF)
            wide = bool(kind & 4)
            if low is not None and not kind & 1 and register not in function.probing:
                high = function.registers.get(register + 4, 0) if wide else 0
                address = high << 32 | low & ~0xF
                mask = function.masks.get(register)
                size = USUAL_BYTES.get(index, 1 << 20)
                if mask:
                    upper = function.masks.get(register + 4, ALL_ONES) if wide else ALL_ONES
                    size = -(upper << 32 | mask & ~0xF) & 0xFFFF_FFFF_FFFF_FFFF
                if address:
                    found[index] = (address, size)
            index += 2 if wide else 1
        above = sorted(address for address, _ in found.values())
        return {index: (address, min([size, *(other - address for other in above if other > address)]))
                for index, (address, size) in found.items()}
