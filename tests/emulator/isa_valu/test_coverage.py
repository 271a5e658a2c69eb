"""What the corpus of compiled kernels needs is there; what is not there faults with its name."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.emulator.isa.machine import Machine, assemble
from tests.emulator.isa_valu import (
    harness,
    reference,
    reference_integer,
    test_compare,
    test_lanes,
    test_packed,
    test_vopd,
    test_wide,
    test_wmma,
)
from torch_usbgpu._emulator import isa

NEED = json.loads((Path(__file__).parents[1] / "isa_need.json").read_text())["gfx11"]
VALU = {tier: [entry[0] if isinstance(entry, list) else entry for entry in NEED[tier]] for tier in ("tier1", "tier2", "tier3")}
VALU = {tier: [m for m in names if m.startswith("v_")] for tier, names in VALU.items()}


def executable(mnemonic: str) -> bool:
    """VOPD halves may be composed of the plain operation."""
    return isa.implements(mnemonic) or isa.implements(mnemonic.replace("v_dual_", "v_"))


@pytest.mark.parametrize("tier", VALU)
def test_every_mnemonic_has_a_handler(tier: str) -> None:
    missing = [m for m in VALU[tier] if not executable(m)]
    assert not missing, f"{tier}: {missing}"


def test_every_needed_mnemonic_has_a_value_test() -> None:
    tested = set(reference.REFERENCE)
    tested |= {f"v_{x}_{c}" for c in reference_integer.COMPARE for x in ("cmp", "cmpx")}
    for module in (test_lanes, test_packed, test_vopd, test_wide, test_wmma):
        for text in module.KERNELS.values():
            for part in text.split("::"):
                tested.add(part.split()[0].replace("_e64_dpp", "").replace("_dpp", ""))
    tested |= {f"v_div_{step}_{t}" for step in ("scale", "fmas") for t in ("f32", "f64")}  # test_compiled.py: as division
    missing = [m for tier in ("tier1", "tier2") for m in VALU[tier] if m not in tested]
    assert not missing, missing


def test_what_gfx12_has_not() -> None:
    """The cases that are skipped there, by name: always-true and always-false compares and two multiply-adds."""
    gone = set()
    for module in (test_compare, test_lanes, test_packed, test_vopd, test_wide):
        for code in module.KERNELS.values():
            spelled = harness.spelled(code, "gfx1201")
            if not harness.exists(spelled, "gfx1201"):
                gone.add(harness.SUFFIX.sub("", spelled.split()[0]))
    compares = {f"v_{x}_{c}_{t}" for x in ("cmp", "cmpx") for c in "ft" for t in ("f16", "f32", "f64", "i32", "i64", "u32", "u64")}
    assert gone <= compares | {"v_dot2acc_f32_f16", "v_fmac_dx9_zero_f32"}


def test_wmma_needs_all_lanes() -> None:
    machine = Machine(threads=1)
    code = assemble("s_mov_b32 exec_lo, 0x7fffffff\nv_wmma_f32_16x16x16_f16 v[18:25], v[2:9], v[10:17], v[18:25]\ns_endpgm")
    result = machine.run_code(code, rsrc1=15 | 0xF0 << 12)
    assert result["end"] == "fault" and result["fault"]["kind"] == "wmma_exec"
    assert "v_wmma_f32_16x16x16_f16" in result["fault"]["text"]
