"""The fact files under asic/, loaded once. Numbers live there; this package holds no second copy."""
from __future__ import annotations

import json
from functools import cache
from pathlib import Path

_ASIC = Path(__file__).with_name("asic")


@cache
def load(name: str) -> dict:
    """asic/<name>.json"""
    return json.loads((_ASIC / f"{name}.json").read_text(encoding="utf-8"))


def enum(group: str) -> dict:
    """A group of enums.json, e.g. enum("ih_client")["GFX"]."""
    return load("enums")[group]


def struct_fields(name: str) -> dict[str, list[int]]:
    """Field name -> [byte offset, byte size(, lsb, width)] of a layout in structs.json."""
    return load("structs")[name]["fields"]


def struct_size(name: str) -> int:
    return load("structs")[name]["size"]


def put_field(buffer: bytearray, struct: str, field: str, value: int) -> None:
    """Store a whole (not a bit) field of a structs.json layout into `buffer`."""
    offset, size = struct_fields(struct)[field][:2]
    buffer[offset:offset + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def get_field(buffer: bytes, struct: str, field: str) -> int:
    entry = struct_fields(struct)[field]
    value = int.from_bytes(buffer[entry[0]:entry[0] + entry[1]], "little")
    return value if len(entry) == 2 else value >> entry[2] & ((1 << entry[3]) - 1)
