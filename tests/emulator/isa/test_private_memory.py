"""Private memory through both doors: dwords of a lane are interleaved with the other lanes', whichever instruction touches them."""
from __future__ import annotations

import numpy as np
import pytest

from .machine import Machine, assemble

# Where a lane's bytes are when a FLAT pointer reaches them: SCRATCH and FLAT must agree for every width and offset.
CASES = {
    "b64": ("flat_store_b64 v[4:5], v[6:7] offset:{at}", "scratch_load_b64 v[10:11], off, off offset:{at}"),
    "b128": ("flat_store_b128 v[4:5], v[6:9] offset:{at}", "scratch_load_b128 v[10:13], off, off offset:{at}"),
    "b96_back": ("scratch_store_b96 off, v[6:8], off offset:{at}", "flat_load_b96 v[10:12], v[4:5] offset:{at}"),
    "b16": ("flat_store_b16 v[4:5], v6 offset:{at}", "scratch_load_u16 v10, off, off offset:{at}"),
    "b16_back": ("scratch_store_b16 off, v6, off offset:{at}", "flat_load_u16 v10, v[4:5] offset:{at}"),
    "atomic": ("flat_store_b64 v[4:5], v[6:7] offset:{at}", "flat_atomic_add_u64 v[10:11], v[4:5], v[6:7] offset:{at} glc"),
}
DWORDS = {"b64": 2, "b128": 4, "b96_back": 3, "b16": 0, "b16_back": 0, "atomic": 2}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("at", [0, 4, 8, 13, 15])
def test_flat_and_scratch_agree(name: str, at: int) -> None:
    if name == "atomic" and at % 8:
        pytest.skip("an atomic is aligned")
    store, load = (line.format(at=at) for line in CASES[name])
    machine = Machine(threads=1)
    out = np.zeros((4, 32), np.uint32)
    target = machine.buffer(out)
    lines = ["s_mov_b64 s[4:5], src_private_base", "v_mov_b32 v4, 0", "v_mov_b32 v5, s5", "v_mov_b32 v3, v0"]
    lines += [f"v_mul_u32_u24 v{6 + n}, {0x10001 + 0x101 * n:#x}, v3\nv_add_nc_u32 v{6 + n}, {1000 + n}, v{6 + n}" for n in range(4)]
    lines += [f"v_mov_b32 v{10 + n}, 0" for n in range(4)]
    lines += [store, "s_waitcnt_vscnt null, 0x0", "s_waitcnt lgkmcnt(0)", load, "s_waitcnt vmcnt(0) lgkmcnt(0)", "v_lshlrev_b32 v2, 2, v3"]
    lines += [f"global_store_b32 v2, v{10 + n}, s[0:1] offset:{128 * n}" for n in range(4)]
    result = machine.run_code(assemble("\n".join([*lines, "s_endpgm"])), [target & 0xFFFFFFFF, target >> 32], scratch=64, sh_mem_bases=0x20001)
    assert result["end"] == "complete", result["fault"]
    lane = np.arange(32, dtype=np.uint32)
    values = np.array([lane * (0x10001 + 0x101 * n) + 1000 + n for n in range(4)], np.uint32)
    got = machine.fetch(target, out)
    dwords = DWORDS[name]
    if dwords == 0:
        np.testing.assert_array_equal(got[0], values[0] & 0xFFFF)
    else:
        np.testing.assert_array_equal(got[:dwords], values[:dwords])
