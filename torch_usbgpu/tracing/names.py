"""Names of requests and of places in the dock's address space."""
from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from ..usb import facts
from ..usb.facts import FACTS

_REQUESTS = {number: name for name, number in FACTS["requests"].items()}
_MODES = {mode: name for name, mode in FACTS["pcie_mode"].items()}
LTSSM = {FACTS["ltssm"]["l0"]: "(link up)", FACTS["ltssm"]["detect_quiet"]: "(detect: quiet)",
         FACTS["ltssm"]["detect_active"]: "(detect: active)"}


def request_name(request: int, index: int, value: int, *, reads: bool) -> str:
    """As the statistics call it: "read_xdata", "pcie_single", "pcie_completion", "sram_arm_out" ..."""
    name = _REQUESTS.get(request, f"request_{request:#04x}")
    if name == "pcie":
        return "pcie_completion" if reads else f"pcie_{_MODES.get(index & 3, 'mode3')}"
    if name == "sram":
        return "sram_arm_in" if value & FACTS["sram"]["in_flag"] else "sram_arm_out"
    return name


@cache
def _xdata() -> list[tuple[int, int, str]]:
    rows = json.loads(Path(facts.__file__).with_name("xdata_map.json").read_text(encoding="utf-8"))["rows"]
    return [(int(first, 16), int(last, 16), name) for first, last, name in rows]


def xdata_name(address: int) -> str:
    """"LTSSM", "fence+4", ..."""
    for first, last, name in _xdata():
        if first <= address <= last:
            return name + (f"+{address - first:#x}" if address != first else "")
    return "XDATA"


def describe_fields(fields: dict[str, int]) -> str:
    return f" ({', '.join(f'{name}={value:#x}' for name, value in fields.items())})" if fields else ""
