"""PM4 and SDMA packets as names and fields. Layouts: amdgpu/asic/packets.json; opcodes: enums.json."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from ..amdgpu.facts import enum, load

SINGLE_DWORD_NOP = 0xFFFF1000
RegisterName = Callable[[int], str]


@dataclass
class Packet:
    """One decoded packet.

    `fields` holds numbers, and names where the facts have one (shown as "NAME"); `registers` the writes of a SET_*_REG
    as (dword address, name, value); `data` what a write packet carries.
    """

    name: str
    words: tuple[int, ...]
    fields: dict[str, int | str] = field(default_factory=dict)
    registers: list[tuple[int, str, int]] = field(default_factory=list)
    data: tuple[int, ...] = ()
    complete: bool = True      # False: the words end before the packet does

    @property
    def dwords(self) -> int:
        return len(self.words)

    def as_dict(self) -> dict:
        """For the machine-readable trace."""
        out: dict = {"packet": self.name}
        if self.fields:
            out["fields"] = self.fields
        if self.registers:
            out["registers"] = {name: value for _, name, value in self.registers}
        if self.data:
            out["data"] = list(self.data)
        return out


@cache
def _names(group: str) -> dict[int, str]:
    """Number -> name of an enumeration; of aliases the longest, which says most."""
    names: dict[int, str] = {}
    for name, number in enum(group).items():
        if isinstance(number, int) and len(name) > len(names.get(number, "")):
            names[number] = name
    return names


def _name_of(names: str | dict[str, str], value: int) -> int | str:
    return _names(names).get(value, value) if isinstance(names, str) else names.get(str(value), value)


def _fields(words: Sequence[int], layout: dict) -> dict[str, int | str]:
    out: dict[str, int | str] = {}
    for name, place in layout["fields"].items():
        if max(place[0], place[1] if len(place) == 2 else 0) >= len(words):
            continue
        if len(place) == 2:
            out[name] = words[place[1]] << 32 | words[place[0]]
            continue
        dword, lsb, msb = place
        value = words[dword] >> lsb & ((1 << msb - lsb + 1) - 1)
        if name in layout.get("minus_one", ()):
            value += 1
        enums = layout.get("enums", {})
        out[name] = _name_of(enums[name], value) if name in enums else value
    return out


def _hexadecimal(address: int) -> str:
    return f"reg {address:#x}"


# ---- PM4

def pm4_dwords(header: int) -> int | None:
    """Length with the header; None: not a type-3 packet."""
    if header >> 30 != 3:
        return None
    return 1 if header == SINGLE_DWORD_NOP else 2 + (header >> 16 & 0x3FFF)


def pm4(words: Sequence[int], register: RegisterName = _hexadecimal) -> Packet:
    """The packet at the front of `words`."""
    header = words[0]
    dwords = pm4_dwords(header)
    if dwords is None:
        return Packet(f"type {header >> 30} packet", (header,))
    opcode = header >> 8 & 0xFF
    name = _names("pm4_op").get(opcode, f"opcode {opcode:#x}")
    own = tuple(words[:dwords])
    packet = Packet(name, own, complete=len(own) == dwords or name == "NOP")
    layout = load("packets")["pm4"].get(name)
    if layout is None:
        packet.data = own[1:]
        return packet
    packet.fields = _fields(own, layout)
    if "registers" in layout and len(own) > 2:
        first = enum("pm4_reg_window")[layout["registers"]][0] + (own[1] & 0xFFFF)
        packet.registers = [(first + n, register(first + n), value) for n, value in enumerate(own[2:])]
    if "data" in layout:
        packet.data = own[layout["data"]:]
    _name_register_operands(packet, register)
    return packet


def _name_register_operands(packet: Packet, register: RegisterName) -> None:
    """Addresses that are registers in this packet get their name."""
    fields = packet.fields
    if packet.name in ("WAIT_REG_MEM", "WAIT_REG_MEM64") and fields.get("mem_space") == "register":
        low, high = fields["address"] & 0xFFFF_FFFF, fields["address"] >> 32
        fields["register"] = register(low)
        if fields.get("operation") == "write, then wait":
            fields["done_register"] = register(high)
    if packet.name == "WRITE_DATA" and fields.get("dst_sel") == "register":
        fields["register"] = register(fields["address"] & 0x3FFFF)
    if packet.name == "COPY_DATA":
        for end, selector in (("source", "src_sel"), ("destination", "dst_sel")):
            if fields.get(selector) in ("register", "perf register"):
                fields[f"{end}_register"] = register(fields[end] & 0x3FFFF)
    if packet.name in ("REG_RMW", "SRBM_WRITE"):
        fields["register"] = register(fields["register"])
    if packet.name == "POLL_REGMEM" and fields.get("mem_poll") == "register":
        fields["register"] = register((fields["address"] & 0xFFFF_FFFF) // 4)


# ---- SDMA

def sdma_name(header: int) -> str:
    opcode, sub = header & 0xFF, header >> 8 & 0xFF
    name = _names("sdma_op").get(opcode, f"opcode {opcode:#x}")
    if name in ("COPY", "WRITE"):
        return f"{name}_LINEAR" if sub == 0 else f"{name} sub-opcode {sub}"
    return name


def sdma_dwords(words: Sequence[int]) -> int | None:
    """Length with the header; None: unknown."""
    name = sdma_name(words[0])
    if name == "NOP":
        return 1 + (words[0] >> 16 & 0x3FFF)
    layout = load("packets")["sdma"].get(name)
    if layout is None or "dwords" not in layout:
        return None
    if name == "WRITE_LINEAR" and len(words) > 3:
        return 4 + (words[3] & 0xFFFFF) + 1
    return layout["dwords"]


def sdma(words: Sequence[int], register: RegisterName = _hexadecimal) -> Packet:
    """The packet at the front of `words`."""
    name, dwords = sdma_name(words[0]), sdma_dwords(words)
    if dwords is None:
        return Packet(name, (words[0],))
    own = tuple(words[:dwords])
    packet = Packet(name, own, complete=len(own) == dwords or name == "NOP")
    layout = load("packets")["sdma"][name]
    packet.fields = _fields(own, layout)
    if name == "TIMESTAMP":
        subs = {0: "set", 1: "get", 2: "get global"}
        packet.fields["operation"] = subs.get(own[0] >> 8 & 0xFF, own[0] >> 8 & 0xFF)
    if "data" in layout:
        packet.data = own[layout["data"]:]
    _name_register_operands(packet, register)
    return packet


# ---- streams of packets

def walk(engine: str, words: Sequence[int], register: RegisterName = _hexadecimal) -> Iterator[tuple[int, Packet]]:
    """(dword offset, packet) of consecutive packets; stops behind what cannot be understood."""
    decode, length = (pm4, lambda rest: pm4_dwords(rest[0])) if engine == "compute" else (sdma, sdma_dwords)
    at = 0
    while at < len(words):
        rest = words[at:]
        packet = decode(rest, register)
        yield at, packet
        step = length(rest)
        if step is None or not packet.complete:
            return
        at += step
