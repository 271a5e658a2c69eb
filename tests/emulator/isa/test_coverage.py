"""Every row of both instruction tables is executed or stands here with its reason; what is not executed faults with its name."""
from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from torch_usbgpu._emulator import isa

from .machine import Machine

DATA = Path(__file__).parents[3] / "csrc" / "emulator" / "isa" / "data"
TABLES = {arch: json.loads((DATA / f"{arch}.json").read_text()) for arch in ("gfx11", "gfx12")}

GRAPHICS = "images, sampling, interpolation, geometry: the graphics pipeline"
NOT_EXECUTED = {  # pattern of the mnemonic: reason
    r"exp|export": GRAPHICS, r"image_.*": GRAPHICS, r"v_interp_.*": GRAPHICS, r"(lds|ds)_(param|direct)_load": GRAPHICS, r"ds_(add|sub)_gs_reg_rtn": GRAPHICS,
    r"global_atomic_ordered_add_b64": GRAPHICS, r"ds_bvh_stack_.*": "ray tracing",
    r"t?buffer_(load|store)_(d16_(hi_)?)?format_.*": "typed buffers: format conversion is part of the texture path",
    r"ds_gws_.*|ds_ordered_count": "global wave sync and ordered count: no GDS",
    r"s_code_end": "not reached: padding behind code, illegal on hardware",
    r"s_rfe_b64": "privileged: ends a trap handler, and there is none",
}


def rows():
    for arch, table in TABLES.items():
        for fmt, ops in table["ops"].items():
            for row in ops:
                yield arch, fmt, row


def reason(name: str) -> str | None:
    return next((why for pattern, why in NOT_EXECUTED.items() if re.fullmatch(pattern, name)), None)


def absent(row: dict) -> bool:
    """Not on these chips: RDNA3.5's scalar floats, loads to LDS."""
    return "llvm22" in row


def executable(name: str, fmt: str) -> bool:
    return isa.implements(name) or (fmt.startswith("VOPD") and isa.implements(name.replace("v_dual_", "v_")))


def encoding(arch: str, fmt: str, row: dict) -> bytes:
    """Fixed bits and opcode; every operand field is 0 but FLAT's scalar address (none)."""
    spec = TABLES[arch]["formats"][fmt]
    word = sum(match["value"] << match["lo"] for match in spec["match"])
    if "op" in spec["fields"]:
        word |= row["op"] << spec["fields"]["op"]["lo"]
    return word.to_bytes(spec["bytes"], "little")


@pytest.mark.parametrize("arch", TABLES)
def test_every_row_is_executed_or_has_a_reason(arch):
    missing = {row["name"] for a, fmt, row in rows() if a == arch and not absent(row) and not executable(row["name"], fmt)}
    assert {name for name in missing if reason(name) is None} == set()
    listed = {row["name"] for a, _fmt, row in rows() if a == arch and not absent(row) and reason(row["name"])}
    assert listed - missing == set(), "the list names what is executed"


def test_every_reason_is_needed():
    names = {row["name"] for _a, _fmt, row in rows()}
    assert [p for p in NOT_EXECUTED if not any(re.fullmatch(p, n) for n in names)] == []


@pytest.mark.parametrize("arch,chip", [("gfx11", "gfx1100"), ("gfx12", "gfx1201")])
def test_what_is_not_executed_faults_with_its_name(arch, chip):
    machine, tried = Machine(chip, threads=1), 0
    for a, fmt, row in rows():
        if a != arch or (not absent(row) and not reason(row["name"])):
            continue
        code = encoding(arch, fmt, row)
        [(_, _, decoded, text), *_] = isa.disassemble(code, chip)
        assert decoded == row["name"]
        result = machine.run_code(code + bytes(16))
        assert result["end"] == "fault" and result["fault"]["kind"] == "illegal_instruction", row["name"]
        # (LLVM prints some under another name: the text is that of the disassembler)
        assert text in result["fault"]["text"] and "=> " in result["fault"]["text"]
        tried += 1
    assert tried > 100


@pytest.mark.parametrize("arch,chip", [("gfx11", "gfx1100"), ("gfx12", "gfx1201")])
def test_an_export_faults(arch, chip):
    name = next(f for f in TABLES[arch]["formats"] if "EXP" in f)
    result = Machine(chip, threads=1).run_code(encoding(arch, name, {"op": 0}) + bytes(16))
    assert result["fault"]["kind"] == "illegal_instruction"
