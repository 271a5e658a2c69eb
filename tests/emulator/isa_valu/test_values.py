"""Every VALU instruction with a value reference, in all its operand forms, against exact arithmetic."""
from __future__ import annotations

import zlib

import numpy as np
import pytest

from tests.emulator.isa_valu import cases, harness, reference, reference_integer
from tests.emulator.isa_valu.cases import DESTINATION, Case
from tests.emulator.isa_valu.harness import Inputs
from tests.emulator.isa_valu.reference import FLOATS, REFERENCE, WIDTH
from tests.emulator.isa_valu.values import random_bits
from torch_usbgpu._emulator import isa

assert reference_integer.COMPARE and reference.REFERENCE


def forms_on(target: str, *only: str) -> dict[str, list[Case]]:
    """Instructions of a chip in their operand forms."""
    known = set(isa.mnemonics(target))
    forms = {mnemonic: cases.forms(mnemonic, op) for mnemonic, op in REFERENCE.items() if mnemonic in known}
    return {m: [case for case in all_forms if not only or case.form in only] for m, all_forms in forms.items()}


# chip, wave64 -> the forms tried there: all on one chip, on the others what is likely to differ
TARGETS = {
    ("gfx1100", False): forms_on("gfx1100"),
    ("gfx1201", False): forms_on("gfx1201", "vgprs", "clamp", "high_result", "neg_abs_first", "scalars"),
    ("gfx1100", True): forms_on("gfx1100", "vgprs", "clamp", "sgpr_first"),
    ("gfx1201", True): forms_on("gfx1201", "vgprs"),
}
KERNELS = {target: {case.name: case.text for forms in of.values() for case in forms} for target, of in TARGETS.items()}


def make_inputs(case: Case, blocks: int, wave64: bool = False) -> Inputs:
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    inputs = Inputs(blocks)
    inputs.registers[:] = rng.integers(0, 1 << 32, inputs.registers.shape, dtype=np.uint32)
    inputs.scalars[:, :8] = rng.integers(0, 1 << 32, (blocks, 8), dtype=np.uint32)
    inputs.scalars[:blocks // 2, harness.EXEC] = 0xFFFFFFFF
    if blocks > 3:
        inputs.scalars[-1, harness.EXEC] = 0
    for n, source in enumerate(case.sources):
        if source.where == "vgpr":
            values = random_bits(rng, source.kind, blocks * 32, position=n)
            if WIDTH[source.kind] == 16:
                other = rng.integers(0, 1 << 16, values.shape, dtype=np.uint64)
                values = (values << np.uint64(16) | other) if source.high else (values | other << np.uint64(16))
            inputs.set(source.register, values, WIDTH[source.kind])
        elif source.where == "sgpr":
            values = random_bits(rng, source.kind, max(blocks, 64))[rng.integers(0, 64, blocks)]
            inputs.scalars[:, harness.SGPR] = values & np.uint64(0xFFFFFFFF)
            if WIDTH[source.kind] == 64:
                inputs.scalars[:, harness.SGPR_HIGH] = values >> np.uint64(32)
    if wave64:
        inputs.pair()
    if case.op.accumulates:
        values = random_bits(rng, case.op.result, blocks * 32, position=3)
        if WIDTH[case.op.result] == 16:
            values = values | values << np.uint64(16)
        inputs.set(DESTINATION, values, WIDTH[case.op.result])
    return inputs


def source_bits(case: Case, inputs: Inputs) -> list[np.ndarray]:
    out = []
    for source in case.sources:
        width = WIDTH[source.kind]
        if source.where == "mask":
            bits = inputs.scalars[:, harness.MASK, None].astype(np.uint64) >> np.arange(32, dtype=np.uint64) & np.uint64(1)
        elif source.where == "sgpr":
            bits = inputs.scalars[:, harness.SGPR].astype(np.uint64)
            if width == 64:
                bits |= inputs.scalars[:, harness.SGPR_HIGH].astype(np.uint64) << np.uint64(32)
            bits = np.broadcast_to(bits[:, None], (inputs.blocks, 32))
        elif source.where == "constant":
            bits = np.full((inputs.blocks, 32), source.constant, np.uint64)
        else:
            bits = inputs.get(source.register, width) >> np.uint64(16 if source.high else 0)
        if width == 16:
            bits = bits & np.uint64(0xFFFF)
        if source.abs:
            bits = bits & np.uint64((1 << (width - 1)) - 1)
        if source.neg:
            bits = bits ^ np.uint64(1 << (width - 1))
        out.append(bits)
    if case.op.accumulates:
        width = WIDTH[case.op.result]
        old = inputs.get(DESTINATION, width) >> np.uint64(16 if case.high else 0)
        out.append(old & np.uint64(0xFFFF) if width == 16 else old)
    return out


def float_clamp(kind: str, bits: int) -> int:
    fmt = FLOATS[kind]
    if fmt.is_nan(bits) or bits & fmt.sign:
        return 0
    return min(bits, fmt.bias << fmt.fraction)


def expected_bits(case: Case, lanes: tuple[int, ...]) -> int:
    if case.clamp and case.op.clamp:
        return case.op.function(*lanes, clamp=True)
    value = case.op.function(*lanes)
    return float_clamp(case.op.result, value) if case.clamp else value


def same(kind: str, got: int, want: int, ulp: int) -> bool:
    if kind in ("pf16",):
        return all(same("f16", g & 0xFFFF, w & 0xFFFF, ulp) for g, w in ((got, want), (got >> 16, want >> 16)))
    if kind not in FLOATS:
        return got == want
    fmt = FLOATS[kind]
    if fmt.is_nan(want):
        return fmt.is_nan(got)
    if got == want:
        return True
    return bool(ulp) and (got ^ want) & fmt.sign == 0 and not fmt.is_nan(got) and abs(got - want) <= ulp


def check(case: Case, inputs: Inputs, result: harness.Outputs) -> None:
    width = WIDTH[case.op.result]
    sources = source_bits(case, inputs)
    active = inputs.active()
    got = result.get(DESTINATION, width)
    old = inputs.get(DESTINATION, width)
    if width == 16:
        shift = np.uint64(16 if case.high else 0)
        keep = ~(np.uint64(0xFFFF) << shift) & np.uint64(0xFFFFFFFF)
        assert ((got & keep) == (old & keep)).all(), "the other half of the destination changed"
        got, old = got >> shift & np.uint64(0xFFFF), old >> shift & np.uint64(0xFFFF)
    assert (got[~active] == old[~active]).all(), "a disabled lane was written"
    untouched = [r for r in range(harness.COUNT) if not 0 <= r + harness.FIRST - DESTINATION < max(1, width // 32)]
    assert (result.registers[:, untouched] == inputs.registers[:, untouched]).all(), "another register changed"
    for block, lane in np.argwhere(active):
        lanes = tuple(int(s[block, lane]) for s in sources)
        want = expected_bits(case, lanes)
        assert same(case.op.result, int(got[block, lane]), want, case.op.ulp), (
            f"{case.text}: sources {[hex(v) for v in lanes]} gave {int(got[block, lane]):#x}, expected {want:#x}")


@pytest.mark.parametrize(("target", "wave64", "mnemonic"), [(*t, m) for t, forms in TARGETS.items() for m in sorted(forms)])
def test_instruction(target: str, wave64: bool, mnemonic: str, assembled) -> None:
    kernels = assembled(KERNELS[target, wave64], target, wave64)
    for case in TARGETS[target, wave64][mnemonic]:
        blocks = 2 if target != "gfx1100" else 4 if wave64 else 6 if case.form == "vgprs" else 3
        inputs = make_inputs(case, blocks, wave64)
        check(case, inputs, kernels.run(case.name, inputs))
