"""Forms beyond the operand table: DPP in every encoding that has it, on both chips; clamp of carries, 64-bit and packed
integers; lane selectors in a VGPR."""
from __future__ import annotations

import numpy as np
import pytest

from tests.emulator.isa_valu import exact, harness
from tests.emulator.isa_valu.exact import F16, F32
from tests.emulator.isa_valu.harness import Inputs
from tests.emulator.isa_valu.reference import REFERENCE, signed
from tests.emulator.isa_valu.reference_integer import sad8
from tests.emulator.isa_valu.test_lanes import random_inputs
from tests.emulator.isa_valu.test_values import same

LANES = np.arange(32)
SHARE, REVERSED = LANES & 16 | 3, LANES & ~7 | 7 - (LANES & 7)
PATTERNS = {"row_share:3 row_mask:0xf bank_mask:0xf bound_ctrl:1 fi:1": SHARE, "dpp8:[7,6,5,4,3,2,1,0] fi:1": REVERSED}


def both(function):
    """Of packed halves: a function of the low and of the high ones."""
    return lambda *v: function(*(x & 0xFFFF for x in v)) | function(*(x >> 16 for x in v)) << 16


f32 = {name: REFERENCE[f"v_{name}_f32"].function for name in ("add", "fma", "mul")}
# instruction text with %s for the pattern -> (kind, value of the lanes' sources v2 (crossed), v4, v6 and the old v8)
DPP = {
    "vop1": ("v_not_b32_dpp v8, v2 %s", "b32", lambda a, b, c, d: ~a & 0xFFFFFFFF),
    "vop2": ("v_add_f32_dpp v8, v2, v4 %s", "f32", lambda a, b, c, d: f32["add"](a, b)),
    "vop2_accumulates": ("v_fmac_f32_dpp v8, v2, v4 %s", "f32", lambda a, b, c, d: f32["fma"](a, b, d)),
    "vop1_half": ("v_not_b16_dpp v8.h, v2.h %s", "b32", lambda a, b, c, d: d & 0xFFFF | (~a & 0xFFFF0000)),
    "vop2_half": ("v_add_f16_dpp v8.l, v2.h, v4.l %s", "f16low", lambda a, b, c, d: d & 0xFFFF0000 | exact.add(F16, a >> 16, b & 0xFFFF)),
    "vop3": ("v_fma_f32_e64_dpp v8, -v2, |v4|, v6 %s", "f32", lambda a, b, c, d: f32["fma"](a ^ 1 << 31, b & 0x7FFFFFFF, c)),
    "vop3_of_vop2": ("v_sub_nc_u32_e64_dpp v8, v2, v4 clamp %s", "b32", lambda a, b, c, d: max(a - b, 0)),
    "vop3_half": ("v_fma_f16_e64_dpp v8.h, v2.l, -v4.h, v6.l %s", "f16high",
                  lambda a, b, c, d: d & 0xFFFF | exact.fma(F16, a & 0xFFFF, b >> 16 ^ 0x8000, c & 0xFFFF) << 16),
    "vop3p": ("v_dot2_f32_f16_e64_dpp v8, v2, v4, v6 neg_lo:[1,0,0] neg_hi:[0,1,0] %s", "dot", lambda a, b, c, d: f32_of_dot(a ^ 0x8000, b ^ 0x80000000, c)),
    "vop3p_mix": ("v_fma_mix_f32_e64_dpp v8, v2, v4, v6 op_sel:[1,0,0] op_sel_hi:[1,0,0] %s", "f32",
                  lambda a, b, c, d: f32["fma"](exact.convert(F16, F32, a >> 16), b, c)),
    "carry": ("v_add_co_ci_u32_e64_dpp v8, null, v2, v4, s21 %s", "carry", lambda a, b, c, d: a + b & 0xFFFFFFFF),
}


def f32_of_dot(a: int, b: int, c: int) -> int:
    halves = [exact.convert(F16, F32, v) for v in (a & 0xFFFF, b & 0xFFFF, a >> 16, b >> 16)]
    return exact.fma(F32, halves[2], halves[3], exact.fma(F32, halves[0], halves[1], c))


KERNELS = {f"{name}_{n}": text % pattern for name, (text, _, _) in DPP.items() for n, pattern in enumerate(PATTERNS)}


def plain_floats(inputs: Inputs, halves: bool) -> None:
    rng = np.random.default_rng(8)
    for register in (2, 4, 6, 8):
        values = rng.standard_normal(32 * inputs.blocks * (2 if halves else 1))
        bits = values.astype(np.float16).view(np.uint32) if halves else values.astype(np.float32).view(np.uint32)
        inputs.set(register, bits)


@pytest.mark.parametrize("target", ["gfx1100", "gfx1201"])
@pytest.mark.parametrize("name", DPP)
def test_dpp(name: str, target: str, assembled) -> None:
    _, kind, function = DPP[name]
    for n, source in enumerate(PATTERNS.values()):
        inputs = random_inputs(f"{name}{n}")
        if kind != "b32" and kind != "carry":
            plain_floats(inputs, halves=kind in ("f16low", "f16high", "dot"))
            if name == "vop3p_mix":
                inputs.set(2, np.random.default_rng(9).standard_normal(64 * inputs.blocks).astype(np.float16).view(np.uint32))
        result = assembled(KERNELS, target).run(f"{name}_{n}", inputs)
        a, b, c, old = (inputs.get(r) for r in (2, 4, 6, 8))
        crossed, active, got = a[:, source], inputs.active(), result.get(8)
        assert (got[~active] == old[~active]).all()
        for block, lane in np.argwhere(active):
            want = function(*(int(v[block, lane]) for v in (crossed, b, c, old)))
            if kind == "carry":
                want = want + (int(inputs.scalars[block, harness.MASK]) >> lane & 1) & 0xFFFFFFFF
            assert same("f32" if kind in ("f32", "dot") else "b32", int(got[block, lane]), want, 1 if kind == "dot" else 0), (name, lane)


SCALAR_DPP = {"scalar": "v_add_nc_u32_e64_dpp v8, v2, s28 row_share:3 row_mask:0xf bank_mask:0xf fi:1"}


def test_scalar_second_source_of_dpp_on_gfx12(assembled) -> None:
    inputs = random_inputs("scalar")
    result = assembled(SCALAR_DPP, "gfx1201").run("scalar", inputs)
    want = inputs.get(2)[:, SHARE] + inputs.scalars[:, harness.SGPR, None].astype(np.uint64) & np.uint64(0xFFFFFFFF)
    assert (result.get(8) == np.where(inputs.active(), want, inputs.get(8))).all()


PERMLANE = {f"{x}_{fi}{bc}": f"v_permlane{x}16_var_b32 v8, v2, v4 op_sel:[{fi},{bc}]" for x in ("", "x") for fi in (0, 1) for bc in (0, 1)}


@pytest.mark.parametrize("name", PERMLANE)
def test_permlane_by_vgpr(name: str, assembled) -> None:
    crossing, fetch, bound = name.startswith("x"), name[-2] == "1", name[-1] == "1"
    inputs = random_inputs(name)
    active, select = inputs.active(), inputs.get(4)
    source = (LANES & 16 ^ (16 if crossing else 0)) | (select & np.uint64(15)).astype(int)
    values, valid = np.take_along_axis(inputs.get(2), source, 1), np.take_along_axis(active, source, 1) | fetch
    want = np.where(active & valid, values, np.where(active & ~valid & bound, 0, inputs.get(8)))
    result = assembled(PERMLANE, "gfx1201").run(name, inputs)
    assert (result.get(8) == want).all()


MAX32, MAX64 = 0xFFFFFFFF, (1 << 64) - 1
# text -> (destination width, value of v2, v4 and the 64 bits from v6 on, and the mask bit)
CLAMPED = {
    "add_co": ("v_add_co_u32 v8, s20, v2, v4 clamp", 32, lambda a, b, c, m: min(a + b, MAX32)),
    "sub_co": ("v_sub_co_u32 v8, s20, v2, v4 clamp", 32, lambda a, b, c, m: max(a - b, 0)),
    "subrev_co": ("v_subrev_co_u32 v8, s20, v2, v4 clamp", 32, lambda a, b, c, m: max(b - a, 0)),
    "add_co_ci": ("v_add_co_ci_u32_e64 v8, s20, v2, v4, s21 clamp", 32, lambda a, b, c, m: min(a + b + m, MAX32)),
    "sub_co_ci": ("v_sub_co_ci_u32_e64 v8, s20, v2, v4, s21 clamp", 32, lambda a, b, c, m: max(a - b - m, 0)),
    "mad_u64": ("v_mad_u64_u32 v[8:9], s20, v2, v4, v[6:7] clamp", 64, lambda a, b, c, m: min(a * b + c, MAX64)),
    "mad_i64": ("v_mad_i64_i32 v[8:9], null, v2, v4, v[6:7] clamp", 64,
                lambda a, b, c, m: min(max(signed(a, 32) * signed(b, 32) + signed(c, 64), -(1 << 63)), (1 << 63) - 1) & MAX64),
    "pk_mul_lo": ("v_pk_mul_lo_u16 v8, v2, v4 clamp", 32, lambda a, b, c, m: both(lambda x, y: min(x * y, 65535))(a, b)),
    "sad": ("v_sad_u8 v8, v2, v4, v7 clamp", 32, lambda a, b, c, m: min(sad8(a, b) + (c >> 32), MAX32)),
    "rtz": ("v_cvt_pk_rtz_f16_f32_e64 v8, v2, v4 clamp", 32, lambda a, b, c, m: both(clamp_half)(REFERENCE["v_cvt_pk_rtz_f16_f32"].function(a, b))),
}


def clamp_half(v: int) -> int:
    return 0 if F16.is_nan(v) or v & 0x8000 else min(v, 0x3C00)


CLAMP_KERNELS = {name: text for name, (text, _, _) in CLAMPED.items()}


@pytest.mark.parametrize("wave64", [False, True])
@pytest.mark.parametrize("name", CLAMPED)
def test_clamp(name: str, wave64: bool, assembled) -> None:
    _, width, function = CLAMPED[name]
    inputs = random_inputs(name)
    if wave64:
        inputs.pair()
    inputs.registers[:, 2:6, ::3] |= np.uint32(0xFFFF0000)  # overflow is frequent
    result = assembled(CLAMP_KERNELS, "gfx1100", wave64).run(name, inputs)
    for block, lane in np.argwhere(inputs.active()):
        mask = int(inputs.scalars[block, harness.MASK]) >> int(lane) & 1
        want = function(int(inputs.get(2)[block, lane]), int(inputs.get(4)[block, lane]), int(inputs.get(6, 64)[block, lane]), mask)
        assert int(result.get(8, width)[block, lane]) == want, (name, lane)
