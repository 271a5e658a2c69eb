"""VOPD: every pair of operations; both halves read before either writes."""
from __future__ import annotations

import zlib

import numpy as np
import pytest

from tests.emulator.isa_valu import harness, reference_integer
from tests.emulator.isa_valu.harness import Inputs
from tests.emulator.isa_valu.reference import REFERENCE, WIDTH, Op
from tests.emulator.isa_valu.test_values import same
from tests.emulator.isa_valu.values import random_bits

assert reference_integer.M32
LITERAL = 0x40490FDB
FMA = REFERENCE["v_fma_f32"].function
X_OPS = {
    "v_dual_fmac_f32": REFERENCE["v_fmac_f32"],
    "v_dual_fmaak_f32": Op("f32", ("f32", "f32"), lambda a, b: FMA(a, b, LITERAL)),
    "v_dual_fmamk_f32": Op("f32", ("f32", "f32"), lambda a, b: FMA(a, LITERAL, b)),
    "v_dual_mul_f32": REFERENCE["v_mul_f32"],
    "v_dual_add_f32": REFERENCE["v_add_f32"],
    "v_dual_sub_f32": REFERENCE["v_sub_f32"],
    "v_dual_subrev_f32": REFERENCE["v_subrev_f32"],
    "v_dual_mul_dx9_zero_f32": REFERENCE["v_mul_dx9_zero_f32"],
    "v_dual_mov_b32": REFERENCE["v_mov_b32"],
    "v_dual_cndmask_b32": REFERENCE["v_cndmask_b32"],
    "v_dual_max_f32": REFERENCE["v_max_f32"],
    "v_dual_min_f32": REFERENCE["v_min_f32"],
    "v_dual_dot2acc_f32_f16": REFERENCE["v_dot2acc_f32_f16"],
}
Y_OPS = X_OPS | {
    "v_dual_add_nc_u32": REFERENCE["v_add_nc_u32"],
    "v_dual_lshlrev_b32": REFERENCE["v_lshlrev_b32"],
    "v_dual_and_b32": REFERENCE["v_and_b32"],
}


def half(name: str, dst: str, a: str, b: str) -> str:
    if "mov" in name:
        return f"{name} {dst}, {a}"
    if "fmaak" in name:
        return f"{name} {dst}, {a}, {b}, 0x{LITERAL:x}"
    if "fmamk" in name:
        return f"{name} {dst}, {a}, 0x{LITERAL:x}, {b}"
    return f"{name} {dst}, {a}, {b}"


KERNELS = {}
for _x in X_OPS:
    for _y in Y_OPS:
        KERNELS[f"{_x}_{_y}"] = f"{half(_x, 'v8', 'v2', 'v4')} :: {half(_y, 'v9', 'v3', 'v5')}"
        # the destinations are sources of the other half
        KERNELS[f"{_x}_{_y}_overlap"] = f"{half(_x, 'v2', 'v3', 'v4')} :: {half(_y, 'v3', 'v2', 'v5')}"
        _uses = [any(word in n for n in (_x, _y)) for word in ("cndmask", "fma")]
        if all(_uses) and ("ak" in _x + _y or "mk" in _x + _y):
            continue  # VCC, a literal and an SGPR are more than the constant bus carries
        KERNELS[f"{_x}_{_y}_scalar"] = f"{half(_x, 'v8', 's28', 'v4')} :: {half(_y, 'v9', 'v3', 'v5')}"
KERNELS["swap"] = "v_dual_mov_b32 v2, v3 :: v_dual_mov_b32 v3, v2"


def operation(ops: dict[str, Op], name: str, chip: str) -> Op:
    """RDNA4's minimum and maximum differ for signalling NaN (it has no MODE.IEEE)."""
    return REFERENCE.get(harness.spelled(name, chip).replace("v_dual_", "v_"), ops[name]) if chip == "gfx1201" else ops[name]


def expected(op: Op, inputs: Inputs, a: int | None, b: int, dst: int) -> np.ndarray:
    first = np.broadcast_to(inputs.scalars[:, harness.SGPR, None], (inputs.blocks, 32)) if a is None else inputs.get(a)
    columns = [first, inputs.get(b)][:max(1, len([k for k in op.sources if k != "mask"]))]
    if "mask" in op.sources:
        columns.append(inputs.scalars[:, harness.VCC, None] >> np.arange(32, dtype=np.uint32) & 1)
    if op.accumulates:
        columns.append(inputs.get(dst))
    return np.array([[op.function(*(int(c[n, lane]) for c in columns)) for lane in range(32)] for n in range(inputs.blocks)])


@pytest.mark.parametrize("x", X_OPS)
def test_pairs(x: str, on_both) -> None:
    kernels = on_both(KERNELS)
    for y in Y_OPS:
        for form in ("", "_overlap", "_scalar"):
            name = f"{x}_{y}{form}"
            if name not in KERNELS:
                continue
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            inputs = Inputs(2)
            for register in (2, 3, 4, 5, 8, 9):
                inputs.set(register, random_bits(rng, "pf16" if "dot2acc" in x + y and register < 8 else "f32", 64, register))
            inputs.scalars[:, :8] = rng.integers(0, 1 << 32, (2, 8), dtype=np.uint32)
            inputs.scalars[0, harness.EXEC] = 0xFFFFFFFF
            xs, ys = ((3, 4, 2), (2, 5, 3)) if form == "_overlap" else ((None if form else 2, 4, 8), (3, 5, 9))
            result = kernels.run(name, inputs)
            active = inputs.active()
            for op, (a, b, dst) in ((operation(X_OPS, x, kernels.chip), xs), (operation(Y_OPS, y, kernels.chip), ys)):
                want, got = expected(op, inputs, a, b, dst), result.get(dst)
                assert WIDTH[op.result] == 32
                for block, lane in np.ndindex(2, 32):
                    if active[block, lane]:
                        assert same(op.result, int(got[block, lane]), int(want[block, lane]), 0), KERNELS[name]
                    else:
                        assert got[block, lane] == inputs.get(dst)[block, lane], KERNELS[name]


def test_swap(on_both) -> None:
    inputs = Inputs(1)
    inputs.set(2, np.arange(32)), inputs.set(3, np.arange(100, 132))
    result = on_both(KERNELS).run("swap", inputs)
    assert (result.get(2) == inputs.get(3)).all() and (result.get(3) == inputs.get(2)).all()
