"""A trace for people: one line per transfer and event."""
from __future__ import annotations

import fnmatch
import struct
from collections.abc import Iterable

from .packets import Packet
from .wire import Decoded

ALL = "everything"
CATEGORIES = {
    "config": "configuration space", "registers": "registers of the GPU (BAR 5)", "vram": "memory of the GPU (BAR 0)",
    "doorbells": "doorbells (BAR 2)", "xdata": "the dock's own address space", "sram": "SRAM windows and their data",
    "control": "everything else on endpoint 0", "packets": "PM4 and SDMA packets, PSP commands",
    "launches": "kernel launches",
    "instructions": "executed instructions", "errors": "transfers that failed",
}
# Fields that say nothing when they are zero are left out; these always say something.
ALWAYS = {"address", "source", "destination", "reference", "mask", "data", "groups_x", "groups_y", "groups_z", "dwords"}
ADDRESSES = {"address", "source", "destination", "base", "size", "reference", "mask", "data", "compare", "csa"}
SHOWN_DWORDS = 8


class Filter:
    """Which lines to show: categories, or patterns of names ("CP_*", "RELEASE_MEM", "COPY_*").

    Raises:
        ValueError: a word that is neither.
    """

    def __init__(self, words: Iterable[str] = ()) -> None:
        self.categories: set[str] = set()
        self.patterns: list[str] = []
        for word in words:
            if word in CATEGORIES:
                self.categories.add(word)
            elif word.upper() == word or any(sign in word for sign in "*?["):
                self.patterns.append(word.upper())
            else:
                raise ValueError(f"{word!r} is no category ({', '.join(CATEGORIES)}) and no NAME or PATTERN*")

    def admits(self, category: str, *names: str) -> bool:
        if not self.categories and not self.patterns:
            return True
        return category in self.categories or any(fnmatch.fnmatchcase(name.upper(), pattern)
                                                  for pattern in self.patterns for name in names if name)


def category_of(decoded: Decoded) -> str:
    details = decoded.details
    if "error" in details:
        return "errors"
    if "config" in str(details.get("tlp", "")) or decoded.text.startswith("config"):
        return "config"
    if "doorbell" in details:
        return "doorbells"
    if "dword" in details or "registers" in details or str(details.get("place", "")).startswith("register"):
        return "registers"
    if "VRAM" in str(details.get("place", "")):
        return "vram"
    if "xdata" in details:
        return "xdata"
    if "sram" in details or decoded.name.startswith("sram"):
        return "sram"
    return "control"


def names_in(decoded: Decoded) -> list[str]:
    details = decoded.details
    place = str(details.get("place", "")).removeprefix("register ")
    return [decoded.name, str(details.get("register", "")), place, *details.get("registers", {})]


def transfer_line(number: int, decoded: Decoded, start: float | None = None, seconds: float | None = None) -> str:
    when = f"{start * 1e3:10.3f} ms " if start is not None else ""
    took = f"{seconds * 1e6:7.0f} us " if seconds is not None else ""
    return f"{number:7d} {when}{took}{decoded.name:<17} {decoded.text}"


def _shown(name: str, value: int | str) -> str:
    if isinstance(value, str):
        return f"{name}={value}"
    hexadecimal = name in ADDRESSES or name.endswith("register") or value > 0xFFFF
    return f"{name}={value:#x}" if hexadecimal else f"{name}={value}"


def packet_text(fields: dict, registers: dict[str, int], data: list[int] | tuple[int, ...]) -> str:
    parts = [_shown(name, value) for name, value in fields.items() if value or name in ALWAYS]
    parts += [f"{name}={value:#x}" for name, value in registers.items()]
    if data:
        words = " ".join(f"{word:08x}" for word in data[:SHOWN_DWORDS])
        parts.append(f"data[{len(data)}]: {words}{' ...' if len(data) > SHOWN_DWORDS else ''}")
    return " ".join(parts)


def packet_line(queue: str, depth: int, address: int, packet: Packet) -> str:
    registers = {name: value for _, name, value in packet.registers}
    text = packet_text(packet.fields, registers, packet.data)
    return f"        {'. ' * depth}{queue} {address:#x} {packet.name} {text}".rstrip()


def launch_line(launch: dict) -> str:
    """A kernel launch: name, address, grid, block."""
    groups, threads = ("x".join(map(str, launch[key])) for key in ("groups", "threads"))
    user = " ".join(f"{word:x}" for word in launch["user_data"])
    lds = f", LDS {launch['lds_bytes']} bytes" if launch.get("lds_bytes") else ""
    name = launch.get("kernel") or "(unnamed)"
    return (f"        launch {name} at {launch['entry']:#x}: grid {groups}, block {threads}, wave{launch['wave']}"
            f"{lds}, user SGPRs {user}")


def instruction_lines(event: dict, place: str) -> list[str]:
    """An executed instruction and what it wrote."""
    group = ",".join(map(str, event["group"]))
    lines = [f"          [{group}] w{event['wave']} {place:<26} {event['text']}"]
    for kind, first, count, values in event["results"]:
        lines.append(" " * 20 + _register_text(kind, first, count, values, event["exec"]))
    return lines


def _register_text(kind: str, first: int, count: int, values: list[int], mask: int) -> str:
    name = {106: "vcc", 125: "m0", 126: "exec"}.get(first) if kind == "s" else None
    if name is None:
        name = f"{kind}{first}" if count == 1 else f"{kind}[{first}:{first + count - 1}]"
    if kind == "s":
        return f"{name} = {' '.join(f'{value:08x}' for value in values)}"
    lanes = len(values) // count if count else 32
    rows = []
    for n in range(count):
        active = [values[n * lanes + lane] for lane in range(lanes) if mask >> lane & 1]
        if not active:
            rows.append("(no lane)")
        elif len(set(active)) == 1:
            rows.append(f"{active[0]:08x} ({_float(active[0])}) in all lanes")
        else:
            rows.append(" ".join(f"{value:08x}" for value in active[:4]) + (" ..." if len(active) > 4 else "")
                        + f" ({_float(active[0])}, ...)")
    return f"{name} = " + " | ".join(rows)


def _float(word: int) -> str:
    return f"{struct.unpack('<f', struct.pack('<I', word))[0]:g}"
