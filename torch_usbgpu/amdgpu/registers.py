"""Registers by name and field.

A register's place is base[ip][segment] + offset, in dwords; the bases come from the board's discovery table,
offsets and fields from asic/registers/*.json. BAR5 is that dword array. What lies past its end goes through
the RSMU index/data pair.
"""
from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import BootError
from .facts import load

# Registers at fixed dword addresses, usable before the discovery table is known.
MM_INDEX, MM_DATA, MM_INDEX_HI = 0x0, 0x1, 0x6
CONFIG_MEMSIZE = 0xDE3
MP0_C2PMSG_33, MP0_C2PMSG_35, MP0_C2PMSG_81 = 0x16061, 0x16063, 0x16091
RSMU_INDEX, RSMU_DATA = 0x14, 0x15

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2e-3, 10e-3     # between polls


@dataclass(frozen=True)
class Register:
    name: str
    address: int                       # dword
    fields: dict[str, tuple[int, int]]  # name -> (lsb, msb)

    def encode(self, **fields: int) -> int:
        return self.insert(0, **fields)

    def insert(self, value: int, **fields: int) -> int:
        """`value` with the named fields replaced."""
        for name, content in fields.items():
            lsb, msb = self.fields[name]
            mask = (1 << msb - lsb + 1) - 1
            if content & ~mask:
                raise ValueError(f"{self.name}.{name} has {msb - lsb + 1} bits, {content:#x} does not fit")
            value = value & ~(mask << lsb) | content << lsb
        return value

    def extract(self, value: int, field: str) -> int:
        lsb, msb = self.fields[field]
        return value >> lsb & ((1 << msb - lsb + 1) - 1)

    def describe(self, value: int) -> str:
        """The non-zero fields, for messages."""
        shown = [f"{name}={self.extract(value, name):#x}" for name in self.fields if self.extract(value, name)]
        return f"{value:#010x}" + (f" ({', '.join(shown)})" if shown else "")


class Registers:
    """Register access over BAR5 of one GPU.

    Args:
        adapter: read32, write32, memory_read, memory_write on PCIe addresses.
        bar_address, bar_bytes: BAR5.
    """

    def __init__(self, adapter, bar_address: int, bar_bytes: int) -> None:
        self._adapter = adapter
        self._bar_address = bar_address
        self._bar_dwords = bar_bytes // 4
        self._registers: dict[str, Register] = {}
        self.strides: dict[str, dict[str, int]] = {}

    def add_ip(self, register_file: str, bases: list[int]) -> None:
        """Make the registers of asic/registers/<register_file>.json known, at these segment bases."""
        content = load(f"registers/{register_file}")
        self.strides[content["base_of"]] = content["strides_dwords"]
        for name, entry in content["registers"].items():
            if entry["seg"] < len(bases):
                fields = {field: (lsb, msb) for field, (lsb, msb) in entry["fields"].items()}
                self._registers[name] = Register(name, bases[entry["seg"]] + entry["off"], fields)

    def __contains__(self, name: str) -> bool:
        return name in self._registers

    def __getitem__(self, name: str) -> Register:
        try:
            return self._registers[name]
        except KeyError:
            raise KeyError(f"no register {name} on this chip") from None

    def address(self, register: str | int) -> int:
        return register if isinstance(register, int) else self[register].address

    # ---- one register
    def read(self, register: str | int) -> int:
        address = self.address(register)
        if address < self._bar_dwords:
            return self._adapter.read32(self._bar_address + 4 * address)
        with self._adapter.lock:
            self._select_indirect(address)
            return self._adapter.read32(self._bar_address + 4 * RSMU_DATA)

    def write(self, register: str | int, value: int | None = None, **fields: int) -> None:
        """Write a whole value, or the value that the fields make (all others 0)."""
        if value is None:
            value = self[register].encode(**fields)
        elif fields:
            raise TypeError("a whole value or fields, not both")
        address = self.address(register)
        if address < self._bar_dwords:
            self._adapter.write32(self._bar_address + 4 * address, value)
            return
        with self._adapter.lock:
            self._select_indirect(address)
            self._adapter.write32(self._bar_address + 4 * RSMU_DATA, value)

    def _select_indirect(self, address: int) -> None:
        self._adapter.write32(self._bar_address + 4 * RSMU_INDEX, 4 * address)
        # Linux reads the index back: the posted write must have landed before the data access.
        self._adapter.read32(self._bar_address + 4 * RSMU_INDEX)

    def update(self, register: str, **fields: int) -> int:
        """Read-modify-write; returns the new value. Prefer write() where the whole value is known."""
        value = self[register].insert(self.read(register), **fields)
        self.write(register, value)
        return value

    def field(self, register: str, field: str) -> int:
        return self[register].extract(self.read(register), field)

    # ---- several registers
    def write_block(self, first: str | int, values: Iterable[int]) -> None:
        """Consecutive registers from `first` on, in ascending order, as one stream."""
        values = [value & 0xFFFF_FFFF for value in values]
        address = self.address(first)
        if address + len(values) > self._bar_dwords:
            for offset, value in enumerate(values):
                self.write(address + offset, value)
            return
        self._adapter.memory_write(self._bar_address + 4 * address, struct.pack(f"<{len(values)}I", *values))

    def read_block(self, first: str | int, count: int) -> tuple[int, ...]:
        """Consecutive registers as one stream. Unlike read(), a bus error is not noticed."""
        data = self._adapter.memory_read(self._bar_address + 4 * self.address(first), 4 * count)
        return struct.unpack(f"<{count}I", data)

    def write_many(self, writes: Iterable[tuple[str | int, int]]) -> None:
        """Writes in the given order; neighbours at ascending addresses share one stream."""
        run: list[int] = []
        start = 0
        for register, value in writes:
            address = self.address(register)
            if run and address == start + len(run):
                run.append(value)
                continue
            self._flush_run(start, run)
            start, run = address, [value]
        self._flush_run(start, run)

    def write_set(self, writes: dict[str, int]) -> None:
        """Writes whose order does not matter, sorted by address so that neighbours share streams."""
        self.write_many(sorted(writes.items(), key=lambda item: self.address(item[0])))

    def _flush_run(self, start: int, run: list[int]) -> None:
        if len(run) == 1:
            self.write(start, run[0])
        elif run:
            self.write_block(start, run)

    def write_pair(self, low: str, value: int, high: str | None = None) -> None:
        """A 64-bit value in two registers. `high` defaults to the name with _LO32/_LO replaced."""
        high = high or (low.replace("_LO32", "_HI32") if "_LO32" in low else low.replace("_LO", "_HI"))
        self.write_many(sorted([(low, value & 0xFFFF_FFFF), (high, value >> 32)], key=lambda w: self.address(w[0])))

    def read_pair(self, low: str, high: str | None = None) -> int:
        high = high or (low.replace("_LO32", "_HI32") if "_LO32" in low else low.replace("_LO", "_HI"))
        if self.address(high) == self.address(low) + 1 < self._bar_dwords:
            first, second = self.read_block(low, 2)
            return first | second << 32
        return self.read(low) | self.read(high) << 32

    # ---- waiting
    def wait(self, register: str | int, condition: Callable[[int], bool], what: str, timeout_s: float = 10.0,
             pause_s: float = FIRST_PAUSE_SECONDS, error: type[BootError] = BootError) -> int:
        """Poll until `condition(value)`, with growing pauses: every look costs two transfers.

        Raises:
            BootError: it did not become true (`error`); shows `what` was awaited and the last value.
        """
        deadline = time.monotonic() + timeout_s
        while not condition(value := self.read(register)):
            if time.monotonic() > deadline:
                name = register if isinstance(register, str) else f"register {register:#x}"
                shown = self[register].describe(value) if isinstance(register, str) else f"{value:#010x}"
                raise error(f"Waited {timeout_s:g} s in vain for {what}.", **{name: shown})
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_SECONDS)
        return value

    def snapshot(self, names: Iterable[str]) -> dict[str, str]:
        """Values of the known ones among `names`, described by field: state for an error."""
        return {name: self[name].describe(self.read(name)) for name in names if name in self}
