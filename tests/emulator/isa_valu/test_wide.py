"""Carry chains, 32x32+64 multiply-add, K constants, quad sums, cube maps, argument reduction, division steps."""
from __future__ import annotations

import zlib
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from tests.emulator.isa_valu import exact, harness
from tests.emulator.isa_valu.exact import F16, F32, F64
from tests.emulator.isa_valu.harness import Inputs
from tests.emulator.isa_valu.reference import signed
from tests.emulator.isa_valu.reference_integer import join, octets, sad8
from tests.emulator.isa_valu.test_values import same
from tests.emulator.isa_valu.values import random_bits

M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
CARRY = {  # mnemonic -> sum of a, b, carry-in before wrapping
    "v_add_co_u32": lambda a, b, c: a + b, "v_sub_co_u32": lambda a, b, c: a - b, "v_subrev_co_u32": lambda a, b, c: b - a,
    "v_add_co_ci_u32": lambda a, b, c: a + b + c, "v_sub_co_ci_u32": lambda a, b, c: a - b - c,
    "v_subrev_co_ci_u32": lambda a, b, c: b - a - c,
}
KERNELS: dict[str, str] = {}
for _m in CARRY:
    _in = ", s21" if "_ci_" in _m else ""
    KERNELS[f"{_m}_vop3"] = f"{_m} v8, s20, v2, v4{_in}"
    KERNELS[f"{_m}_null"] = f"{_m} v8, null, v2, v4{_in}"
    KERNELS[f"{_m}_scalar"] = f"{_m} v8, s20, s28, v4{_in}"
    KERNELS[f"{_m}_same"] = f"{_m} v2, vcc_lo, v2, v4{', vcc_lo' if _in else ''}"
KERNELS |= {
    "mad_u64": "v_mad_u64_u32 v[8:9], s20, v2, v4, v[6:7]",
    "mad_u64_null": "v_mad_u64_u32 v[8:9], null, v2, v4, v[6:7]",
    "mad_u64_scalar": "v_mad_u64_u32 v[8:9], null, v2, s28, 0",
    "mad_u64_pair": "v_mad_u64_u32 v[8:9], s20, v2, v4, s[28:29]",
    "mad_u64_negative": "v_mad_u64_u32 v[8:9], s20, v2, v4, -2",
    "mad_u64_overlap": "v_mad_u64_u32 v[2:3], null, v2, v4, v[2:3]",
    "mad_i64": "v_mad_i64_i32 v[8:9], null, v2, v4, v[6:7]",
    "fmaak_f32": "v_fmaak_f32 v8, v2, v4, 0x40490fdb",
    "fmamk_f32": "v_fmamk_f32 v8, v2, 0x40490fdb, v4",
    "fmaak_f16": "v_fmaak_f16 v8.l, v2.l, v4.l, 0x4248",
    "fmamk_f16": "v_fmamk_f16 v8.h, v2.l, 0x4248, v4.h",
    "mqsad_u32": "v_mqsad_u32_u8 v[8:11], v[2:3], v4, v[12:15]",
    "cubeid": "v_cubeid_f32 v8, v2, v4, v6", "cubesc": "v_cubesc_f32 v8, v2, v4, v6",
    "cubetc": "v_cubetc_f32 v8, v2, v4, v6", "cubema": "v_cubema_f32 v8, v2, v4, v6",
    "mullit": "v_mullit_f32 v8, v2, v4, v6",
    "trig_preop": "v_trig_preop_f64 v[8:9], v[2:3], v4",
    "nop": "v_nop", "pipeflush": "v_pipeflush",
}


def make_inputs(name: str, kinds: dict[int, str], blocks: int = 4) -> Inputs:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    inputs = Inputs(blocks)
    inputs.registers[:] = rng.integers(0, 1 << 32, inputs.registers.shape, dtype=np.uint32)
    inputs.scalars[:, :8] = rng.integers(0, 1 << 32, (blocks, 8), dtype=np.uint32)
    inputs.scalars[0, harness.EXEC] = M32
    for register, kind in kinds.items():
        inputs.set(register, random_bits(rng, kind, blocks * 32, register), 64 if kind.endswith("64") else 32)
    return inputs


def lanes(inputs: Inputs):
    for (block, lane), active in np.ndenumerate(inputs.active()):
        yield block, lane, bool(active)


@pytest.mark.parametrize("mnemonic", CARRY)
@pytest.mark.parametrize("form", ["vop3", "null", "scalar", "same"])
def test_carry(mnemonic: str, form: str, on_both) -> None:
    name = f"{mnemonic}_{form}"
    inputs = make_inputs(name, {2: "u32", 4: "u32"})
    result = on_both(KERNELS).run(name, inputs)
    destination = 2 if form == "same" else 8
    masks = [0] * inputs.blocks
    for block, lane, active in lanes(inputs):
        a = int(inputs.scalars[block, harness.SGPR]) if form == "scalar" else int(inputs.get(2)[block, lane])
        mask = inputs.scalars[block, harness.VCC if form == "same" else harness.MASK]
        total = CARRY[mnemonic](a, int(inputs.get(4)[block, lane]), int(mask) >> lane & 1)
        got = int(result.get(destination)[block, lane])
        assert got == (total & M32 if active else int(inputs.get(destination)[block, lane])), (name, block, lane)
        masks[block] |= int(active and not 0 <= total <= M32) << lane
    if form != "null":
        assert list(result.vcc if form == "same" else result.sdst) == masks
    else:
        assert (result.sdst == inputs.scalars[:, harness.SDST]).all() and (result.vcc == inputs.scalars[:, harness.VCC]).all()


@pytest.mark.parametrize("name", [k for k in KERNELS if k.startswith("mad_")])
def test_multiply_add_64(name: str, on_both) -> None:
    inputs = make_inputs(name, {2: "u32", 4: "u32", 6: "u64"} if "overlap" not in name else {2: "u64", 4: "u32"})
    result = on_both(KERNELS).run(name, inputs)
    destination = 2 if "overlap" in name else 8
    masks = [0] * inputs.blocks
    for block, lane, active in lanes(inputs):
        pair = int(inputs.scalars[block, harness.SGPR]) | int(inputs.scalars[block, harness.SGPR_HIGH]) << 32
        a, b = int(inputs.get(2)[block, lane]), int(inputs.get(4)[block, lane])
        c = {"scalar": 0, "pair": pair, "negative": M64 - 1, "overlap": int(inputs.get(2, 64)[block, lane])}.get(
            name.split("_")[-1], int(inputs.get(6, 64)[block, lane]))
        b = pair & M32 if name.endswith("scalar") else b
        total = signed(a, 32) * signed(b, 32) + signed(c, 64) if "i64" in name else a * b + c
        want = total & M64 if active else int(inputs.get(destination, 64)[block, lane])
        assert int(result.get(destination, 64)[block, lane]) == want, (name, block, lane)
        masks[block] |= int(active and total > M64) << lane
    if "s20" in KERNELS[name]:
        assert list(result.sdst) == masks


@pytest.mark.parametrize("name", ["fmaak_f32", "fmamk_f32", "fmaak_f16", "fmamk_f16"])
def test_fma_with_constant(name: str, on_both) -> None:
    half = name.endswith("f16")
    fmt, kind, k = (F16, "f16", 0x4248) if half else (F32, "f32", 0x40490FDB)
    inputs = make_inputs(name, {2: "pf16", 4: "pf16"} if half else {2: "f32", 4: "f32"})
    result = on_both(KERNELS).run(name, inputs)
    for block, lane, active in lanes(inputs):
        a, b, old = (int(inputs.get(r)[block, lane]) for r in (2, 4, 8))
        got = int(result.get(8)[block, lane])
        if half:
            a, b = a & 0xFFFF, b >> 16 if name == "fmamk_f16" else b & 0xFFFF
            shift = 16 if name == "fmamk_f16" else 0
            assert got >> (16 - shift) & 0xFFFF == old >> (16 - shift) & 0xFFFF
            got, old = got >> shift & 0xFFFF, old >> shift & 0xFFFF
        want = exact.fma(fmt, a, k, b) if "mk" in name else exact.fma(fmt, a, b, k)
        assert same(kind, got, want if active else old, 0), (name, hex(a), hex(b), hex(got), hex(want))


def test_masked_quad_sums(on_both) -> None:
    inputs = make_inputs("mqsad", {2: "u64", 4: "u32"})
    inputs.set(4, inputs.get(4) & 0xFF00FFFF)
    result = on_both(KERNELS).run("mqsad_u32", inputs)
    for block, lane, active in lanes(inputs):
        a, b = int(inputs.get(2, 64)[block, lane]), int(inputs.get(4)[block, lane])
        for n in range(4):
            want = sad8(a >> 8 * n & M32, b, True) + int(inputs.get(12 + n)[block, lane]) & M32
            assert int(result.get(8 + n)[block, lane]) == (want if active else int(inputs.get(8 + n)[block, lane]))
    assert join(octets(0x04030201)) == 0x04030201


def cube(x: float, y: float, z: float) -> tuple[float, float, float, float]:
    """face, s, t, major axis (twice its value), by the table of the ISA document."""
    if abs(z) >= abs(x) and abs(z) >= abs(y):
        return (5.0 if z < 0 else 4.0, -x if z < 0 else x, -y, 2 * z)
    if abs(y) >= abs(x):
        return (3.0 if y < 0 else 2.0, x, -z if y < 0 else z, 2 * y)
    return (1.0 if x < 0 else 0.0, z if x < 0 else -z, -y, 2 * x)


@pytest.mark.parametrize("n,name", list(enumerate(["cubeid", "cubesc", "cubetc", "cubema"])))
def test_cube(n: int, name: str, on_both) -> None:
    inputs = make_inputs("cube", {})
    rng = np.random.default_rng(3)
    vectors = rng.integers(-3, 4, (3, 128)).astype(np.float32)
    for k in range(3):
        inputs.set(2 + 2 * k, vectors[k].view(np.uint32))
    got = on_both(KERNELS).run(name, inputs).get(8).astype(np.uint32).view(np.float32)
    for lane in np.flatnonzero(inputs.active().ravel()):
        assert got.ravel()[lane] == cube(*(float(v) for v in vectors[:, lane]))[n]


def test_mullit(on_both) -> None:
    inputs = make_inputs("mullit", {2: "f32", 4: "f32", 6: "f32"})
    result = on_both(KERNELS).run("mullit", inputs)
    for block, lane, active in lanes(inputs):
        a, b, c = (int(inputs.get(r)[block, lane]) for r in (2, 4, 6))
        lowest = 0xFF7FFFFF
        bad = F32.is_nan(b) or b in (lowest, 0xFF800000) or F32.is_nan(c) or c & F32.sign or c == 0
        product = 0 if not a & 0x7FFFFFFF or not b & 0x7FFFFFFF else exact.mul(F32, a, b)
        want = (lowest if bad else product) if active else int(inputs.get(8)[block, lane])
        assert same("f32", int(result.get(8)[block, lane]), want, 0), (hex(a), hex(b), hex(c))


def test_argument_reduction(on_both) -> None:
    """v_trig_preop_f64: 53 bits of 2/pi from a position that depends on the argument's exponent."""
    with mpmath.workprec(1400):
        two_over_pi = int(mpmath.floor(mpmath.ldexp(2 / mpmath.pi, 1201)))
    inputs = make_inputs("trig", {2: "f64"})
    rng = np.random.default_rng(9)
    inputs.set(2, (rng.uniform(1, 2, 128) * 2.0 ** rng.integers(-20, 1023, 128)).view(np.uint64), 64)
    inputs.set(4, rng.integers(0, 22, 128))
    result = on_both(KERNELS).run("trig_preop", inputs)
    for block, lane, active in lanes(inputs):
        if not active:
            continue
        e, segment = int(inputs.get(2, 64)[block, lane]) >> 52 & 0x7FF, int(inputs.get(4)[block, lane])
        shift = segment * 53 + max(e - 1077, 0)
        bits = (two_over_pi << shift & ((1 << 1201) - 1)) >> (1201 - 53)
        want = F64.round(Fraction(bits) * Fraction(2) ** (-53 - shift + (128 if e >= 1968 else 0)))
        assert int(result.get(8, 64)[block, lane]) == want, (e, segment)


@pytest.mark.parametrize("name", ["nop", "pipeflush"])
def test_nothing(name: str, on_both) -> None:
    inputs = make_inputs(name, {})
    result = on_both(KERNELS).run(name, inputs)
    assert (result.registers == inputs.registers).all()
