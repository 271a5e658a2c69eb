"""Reads PM4 back, for tests of what the runtime wrote."""
from __future__ import annotations

import json
import struct
from pathlib import Path


ENUMS = json.loads((Path(__file__).parents[2] / "torch_usbgpu" / "amdgpu" / "asic" / "enums.json").read_text())
NAMES = {number: name for name, number in ENUMS["pm4_op"].items()}


def packets(dwords: list[int]) -> list[tuple[str, list[int]]]:
    """(opcode name, body) of each type-3 packet; raises on anything else."""
    found, at = [], 0
    while at < len(dwords):
        header = dwords[at]
        assert header >> 30 == 3, f"dword {at} is {header:#x}, no type-3 header"
        count = (header >> 16 & 0x3FFF) + 1
        if header == 0xFFFF1000:        # NOP of one dword
            count = 0
        found.append((NAMES[header >> 8 & 0xFF], dwords[at + 1:at + 1 + count]))
        at += 1 + count
    assert at == len(dwords), "the last packet reaches beyond the buffer"
    return found


def words(payload: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(payload) // 4}I", payload))
