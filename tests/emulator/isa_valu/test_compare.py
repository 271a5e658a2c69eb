"""v_cmp and v_cmpx: both encodings, all conditions; inactive lanes give 0; v_cmpx writes EXEC only."""
from __future__ import annotations

import zlib

import numpy as np
import pytest

from tests.emulator.isa_valu import harness
from tests.emulator.isa_valu.cases import register, scalar
from tests.emulator.isa_valu.harness import Inputs
from tests.emulator.isa_valu.reference import WIDTH
from tests.emulator.isa_valu.reference_integer import COMPARE
from tests.emulator.isa_valu.values import random_bits


def text(condition: str, form: str) -> str:
    kinds = COMPARE[condition][0]
    a, b = register(kinds[0], 0).text, register(kinds[1], 1).text
    if form == "scalar":
        a = scalar(kinds[0]).text
    if form == "high":
        a, b = register(kinds[0], 0, high=True).text, register(kinds[1], 1, high=True).text
    if form == "neg":
        a = register(kinds[0], 0, neg=True, abs=True).text
    if form == "cmpx":
        return f"v_cmpx_{condition} {a}, {b}"
    return f"v_cmp_{condition} {'vcc_lo' if form in ('vcc', 'scalar') else 's20'}, {a}, {b}"


def forms(condition: str) -> list[str]:
    kind = COMPARE[condition][0][0]
    more = ["high"] if WIDTH[kind] == 16 else []
    return ["vcc", "sgpr", "scalar", "cmpx", *more, *(["neg"] if kind[0] == "f" else [])]


KERNELS = {f"{c}__{f}": text(c, f) for c in COMPARE for f in forms(c)}


@pytest.mark.parametrize("condition", sorted(COMPARE))
def test_compare(condition: str, on_both) -> None:
    kernels = on_both(KERNELS)
    kinds, function = COMPARE[condition]
    width = WIDTH[kinds[0]]
    for form in forms(condition):
        rng = np.random.default_rng(zlib.crc32(f"{condition} {form}".encode()))
        inputs = Inputs(4)
        inputs.scalars[:, :8] = rng.integers(0, 1 << 32, (4, 8), dtype=np.uint32)
        inputs.scalars[0, harness.EXEC] = 0xFFFFFFFF
        inputs.scalars[3, harness.EXEC] = 0
        a, b = (random_bits(rng, k, 128, n) for n, k in enumerate(kinds))
        equal = rng.random(128) < 0.3
        if kinds[0] == kinds[1]:
            b = np.where(equal, a, b)
        shift = np.uint64(16 if form == "high" else 0)
        inputs.set(2, a << shift, width)
        inputs.set(4, b << shift if WIDTH[kinds[1]] == 16 else b, WIDTH[kinds[1]])
        a, b = a.reshape(4, 32), b.reshape(4, 32)
        if form == "scalar":
            a = np.repeat(a[:, :1], 32, axis=1)
            inputs.scalars[:, harness.SGPR] = a[:, 0] & np.uint64(0xFFFFFFFF)
            if width == 64:
                inputs.scalars[:, harness.SGPR_HIGH] = a[:, 0] >> np.uint64(32)
        if form == "neg":
            a = a | np.uint64(1 << (width - 1))
        result = kernels.run(f"{condition}__{form}", inputs)
        active = inputs.active()
        want = [sum(int(function(int(a[n, lane]), int(b[n, lane]))) << lane for lane in range(32) if active[n, lane]) for n in range(4)]
        where = {"cmpx": result.exec, "vcc": result.vcc, "scalar": result.vcc}.get(form, result.sdst)
        assert [hex(v) for v in where] == [hex(v) for v in want], text(condition, form)
        if form != "cmpx":
            assert (result.exec == inputs.scalars[:, harness.EXEC]).all()
        if form in ("cmpx", "sgpr"):
            assert (result.vcc == inputs.scalars[:, harness.VCC]).all()
        assert (result.registers == inputs.registers).all()
