"""Runs a few instructions of either generation on given registers and returns what they leave behind."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .machine import Machine, assemble

M32 = (1 << 32) - 1
WAVE32, WAVE64 = 0x8005, 0x0005      # COMPUTE_DISPATCH_INITIATOR
LANE = 240                           # VGPR for byte offsets


def run(arch: str, code: str, *, vgprs: Mapping[int, np.ndarray] | None = None, sgprs: Mapping[int, int] | None = None,
        exec_mask: int = (1 << 64) - 1, out: Sequence[int] = (), sout: Sequence[int] = (), machine: Machine | None = None,
        lanes: int = 32, lds_bytes: int = 0, user: Sequence[int] = (), end: str = "complete", **more) -> dict[str | int, np.ndarray]:
    """`vgprs`: 32-bit values by register. `user`: values for s8, s9 ... before the code. The result has an array of all lanes for
    each register of `out`, an int for each SGPR of `sout` (key "s<n>") and "scc"."""
    machine = machine or Machine(arch, threads=1)
    vgprs = dict(vgprs or {})
    table = np.zeros((max(1, len(vgprs)), lanes), np.uint32)
    for row, values in zip(table, vgprs.values(), strict=False):
        row[:] = np.asarray(values).astype(np.int64) & M32
    results = np.zeros((len(out) + len(sout) + 1, lanes), np.uint32)
    source, target = machine.buffer(table), machine.buffer(results)
    lines = [f"v_lshlrev_b32 v{LANE}, 2, v0"]
    for register in vgprs:
        lines += [f"global_load_b32 v{register}, v{LANE}, s[0:1]", f"v_add_nc_u32 v{LANE}, {4 * lanes:#x}, v{LANE}"]
    lines += [f"s_mov_b32 s{8 + n}, {value & M32:#x}" for n, value in enumerate(user)]
    lines += [f"s_mov_b32 {name if isinstance(name, str) else f's{name}'}, {value & M32:#x}" for name, value in (sgprs or {}).items()]
    if lanes == 64:
        lines.append(f"s_mov_b32 exec_hi, {exec_mask >> 32:#x}")
    lines += [f"s_mov_b32 exec_lo, {exec_mask & M32:#x}", code, "s_cselect_b32 s100, 1, 0", "s_mov_b32 exec_lo, -1"]
    if lanes == 64:
        lines.append("s_mov_b32 exec_hi, -1")
    lines += ["v_mbcnt_lo_u32_b32 v240, -1, 0", "v_mbcnt_hi_u32_b32 v240, -1, v240", f"v_lshlrev_b32 v{LANE}, 2, v{LANE}"]
    for register in [*out, *(f"s{n}" for n in sout), "s100"]:
        value = f"v{register}"
        if isinstance(register, str):
            lines.append(f"v_mov_b32 v{LANE + 1}, {register}")
            value = f"v{LANE + 1}"
        lines += [f"global_store_b32 v{LANE}, {value}, s[2:3]", f"v_add_nc_u32 v{LANE}, {4 * lanes:#x}, v{LANE}"]
    lines.append("s_endpgm")
    text = "\n".join(lines)
    data = [source & M32, source >> 32, target & M32, target >> 32]
    result = machine.run_code(assemble(text, arch, wave64=lanes == 64), data, threads=lanes, lds_bytes=lds_bytes,
                              initiator=WAVE32 if lanes == 32 else WAVE64, **more)
    assert result["end"] == end, result["fault"]
    values: dict[str | int, np.ndarray] = {"fault": result["fault"]}
    got = machine.fetch(target, results)
    for register, row in zip(out, got):
        values[register] = row
    for register, row in zip(sout, got[len(out):]):
        values[f"s{register}"] = int(row[0])
    values["scc"] = int(got[-1, 0])
    return values


def lane_bits(mask: int, lanes: int = 32) -> np.ndarray:
    return np.array([mask >> lane & 1 for lane in range(lanes)], bool)
