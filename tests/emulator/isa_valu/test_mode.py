"""MODE: rounding and denormals of f32 apart from those of f16 and f64, set at dispatch and changed by the wave; IEEE, DX10_CLAMP."""
from __future__ import annotations

import numpy as np
import pytest

from tests.emulator.isa_valu import cases, exact, reference_integer
from tests.emulator.isa_valu.cases import DESTINATION, Case
from tests.emulator.isa_valu.exact import F16, F32, F64
from tests.emulator.isa_valu.harness import RSRC1, SGPR, SGPR_HIGH
from tests.emulator.isa_valu.reference import FLOATS, REFERENCE, WIDTH
from tests.emulator.isa_valu.test_values import make_inputs, same, source_bits

assert reference_integer.COMPARE  # fills REFERENCE

# (rounding f32, rounding f16/f64, denormals f32, denormals f16/f64) -> MODE[7:0]
MODES = [(1, 2, 3, 3), (2, 1, 3, 3), (3, 0, 3, 3), (0, 3, 3, 3), (0, 0, 0, 3), (0, 0, 3, 0), (0, 0, 1, 2), (0, 0, 2, 1), (2, 3, 0, 0)]
ROUNDED = [f"v_{op}_{t}" for op in ("add", "sub", "mul", "fma", "fmac", "ldexp") for t in ("f16", "f32", "f64")]
CONVERTED = ["v_cvt_f16_f32", "v_cvt_f32_f16", "v_cvt_f32_f64", "v_cvt_f64_f32", "v_cvt_f32_u32", "v_cvt_f32_i32", "v_cvt_f16_u16", "v_cvt_f16_i16"]
OTHER = ["v_min_f32", "v_max_f16", "v_min_f64", "v_med3_f32", "v_trunc_f32", "v_floor_f16", "v_rndne_f32", "v_rndne_f64", "v_ceil_f64",
         "v_cvt_floor_i32_f32", "v_cvt_pk_rtz_f16_f32", "v_mov_b32", "v_cndmask_b32", "v_pk_add_f16", "v_pk_fma_f16", "v_pk_mul_f16", "v_pk_min_f16"]
NAMES = [name for name in ROUNDED + CONVERTED + OTHER if name in REFERENCE]
UNTOUCHED = ("v_mov", "v_cndmask")  # no arithmetic
FORMS = {name: [c for c in cases.forms(name, REFERENCE[name]) if c.form in ("vgprs", "neg_high", "sgpr_first", "high_result")] for name in NAMES}


def value_of(mode: tuple[int, int, int, int]) -> int:
    return mode[0] | mode[1] << 2 | mode[2] << 4 | mode[3] << 6


def setreg(mode: int) -> str:
    return f"s_setreg_imm32_b32 hwreg(HW_REG_MODE, 0, 8), {mode:#x}"


KERNELS = {case.name: case.text for forms in FORMS.values() for case in forms}
# the wave changes MODE itself, to (2, 3, 0, 0), and back
CHANGED = (2, 3, 0, 0)
RUNTIME = {
    "imm32": (setreg(value_of(CHANGED)), setreg(0xF0)),
    "setreg": (f"s_movk_i32 s33, {value_of(CHANGED):#x}\ns_setreg_b32 hwreg(HW_REG_MODE, 0, 8), s33", "s_movk_i32 s33, 0xf0\ns_setreg_b32 hwreg(HW_REG_MODE, 0, 8), s33"),
    "fields": ("s_setreg_imm32_b32 hwreg(HW_REG_MODE, 0, 2), 2\ns_setreg_imm32_b32 hwreg(HW_REG_MODE, 2, 2), 3\n"
               "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 4, 4), 0", "s_round_mode 0\ns_denorm_mode 15"),
    "short": ("s_round_mode 14\ns_denorm_mode 0", setreg(0xF0)),
}
CHANGING = ("v_add_f32", "v_mul_f16", "v_fma_f64")
for _name, (_before, _after) in RUNTIME.items():
    for _m in CHANGING:
        KERNELS[f"{_m}__{_name}"] = f"{_before}\n{FORMS[_m][0].text}\n{_after}\nv_add_f32 v10, v10, v12"


def flushed(kind: str, bits: int, keep: dict[str, bool]) -> int:
    if kind == "pf16":
        return flushed("f16", bits & 0xFFFF, keep) | flushed("f16", bits >> 16, keep) << 16
    fmt = FLOATS.get(kind)
    return bits if fmt is None or keep[kind] or bits & fmt.inf else bits & fmt.sign


def expected(case: Case, mode: tuple[int, int, int, int], lanes: tuple[int, ...]) -> int:
    if case.mnemonic.startswith(UNTOUCHED):
        return case.op.function(*lanes)
    keep_in, keep_out = ({"f32": bool(mode[2] & bit), "f16": bool(mode[3] & bit), "f64": bool(mode[3] & bit)} for bit in (1, 2))
    kinds = [*case.op.sources, *([case.op.result] if case.op.accumulates else [])]
    exact.DIRECTION.update({F32: mode[0], F16: mode[1], F64: mode[1]})
    try:
        value = case.op.function(*(flushed(k, v, keep_in) for k, v in zip(kinds, lanes)))
    finally:
        exact.DIRECTION.clear()
    return flushed(case.op.result, value, keep_out)


def check(case: Case, mode: tuple[int, int, int, int], kernels, kernel: str, rsrc1: int) -> None:
    inputs = make_inputs(case, 2)
    result = kernels.run(kernel, inputs, rsrc1)
    width = WIDTH[case.op.result]
    got, old = result.get(DESTINATION, width), inputs.get(DESTINATION, width)
    if width == 16:
        shift = np.uint64(16 if case.high else 0)
        keep = ~(np.uint64(0xFFFF) << shift) & np.uint64(0xFFFFFFFF)
        assert ((got & keep) == (old & keep)).all(), "the other half of the destination changed"
        got = got >> shift & np.uint64(0xFFFF)
    sources, active = source_bits(case, inputs), inputs.active()
    assert (result.get(DESTINATION, max(width, 32))[~active] == inputs.get(DESTINATION, max(width, 32))[~active]).all()
    for block, lane in np.argwhere(active):
        lanes = tuple(int(s[block, lane]) for s in sources)
        want = expected(case, mode, lanes)
        assert same(case.op.result, int(got[block, lane]), want, 0), (
            f"{case.text} in {mode}: {[hex(v) for v in lanes]} gave {int(got[block, lane]):#x}, expected {want:#x}")


@pytest.mark.parametrize("wave64", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_rounding_and_denormals(name: str, wave64: bool, assembled) -> None:
    kernels = assembled(KERNELS, "gfx1100", wave64)
    for mode in MODES if not wave64 else MODES[-1:]:
        for case in FORMS[name]:
            if wave64 and case.form == "sgpr_first":
                continue
            check(case, mode, kernels, case.name, RSRC1 & ~(0xFF << 12) | value_of(mode) << 12)


@pytest.mark.parametrize("how", RUNTIME)
@pytest.mark.parametrize("name", CHANGING)
def test_changed_by_the_wave(name: str, how: str, assembled) -> None:
    kernels = assembled(KERNELS)
    case = FORMS[name][0]
    check(case, CHANGED, kernels, f"{name}__{how}", RSRC1)
    # behind it the usual mode is back
    inputs = make_inputs(case, 2)
    result = kernels.run(f"{name}__{how}", inputs)
    for block, lane in np.argwhere(inputs.active()):
        a, b = (int(inputs.get(r)[block, lane]) for r in (10, 12))
        assert same("f32", int(result.get(10)[block, lane]), exact.add(F32, a, b), 0)


LOOP = {"loop": """s_mov_b32 s33, 3
again:
v_add_f32 v8, v2, v4
s_round_mode 2
v_add_f32 v10, v2, v4
s_round_mode 0
s_sub_u32 s33, s33, 1
s_cmp_lg_u32 s33, 0
s_cbranch_scc1 again"""}


def test_both_variants_of_one_piece_of_code(assembled) -> None:
    """A loop that changes MODE back and forth: its branch stays in the variant it belongs to."""
    inputs = make_inputs(FORMS["v_add_f32"][0], 2)
    result = assembled(LOOP).run("loop", inputs)
    for block, lane in np.argwhere(inputs.active()):
        a, b = (int(inputs.get(r)[block, lane]) for r in (2, 4))
        exact.DIRECTION[F32] = 2
        down = exact.add(F32, a, b)
        exact.DIRECTION.clear()
        assert same("f32", int(result.get(8)[block, lane]), exact.add(F32, a, b), 0)
        assert same("f32", int(result.get(10)[block, lane]), down, 0)


SPECIAL = {"min": "v_min_f32 v8, v2, v4", "clamp": "v_add_f32 v8, v2, v4 clamp", "dual": "v_dual_max_f32 v8, v2, v4 :: v_dual_mov_b32 v11, v3",
           "omod": "v_add_f32 v8, v2, v4 mul:2"}
SIGNALLING, QUIET, ONE = 0x7F800001, 0x7FC00000, 0x3F800000


@pytest.mark.parametrize(("kernel", "ieee", "dx10", "denormals", "a", "b", "want"), [
    ("min", 1, 1, 3, SIGNALLING, ONE, QUIET), ("min", 0, 1, 3, SIGNALLING, ONE, ONE), ("min", 1, 1, 3, QUIET, ONE, ONE),
    ("dual", 1, 1, 3, SIGNALLING, ONE, QUIET), ("dual", 0, 1, 3, SIGNALLING, ONE, ONE),
    ("clamp", 1, 1, 3, QUIET, ONE, 0), ("clamp", 1, 0, 3, QUIET, ONE, QUIET), ("clamp", 1, 0, 3, ONE, ONE, ONE),
    ("omod", 1, 1, 3, ONE, ONE, 0x40000000), ("omod", 0, 1, 0, ONE, ONE, 0x40800000), ("omod", 1, 1, 0, ONE, ONE, 0x40000000),
])
def test_ieee_dx10_clamp_and_omod(kernel: str, ieee: int, dx10: int, denormals: int, a: int, b: int, want: int, assembled) -> None:
    """omod acts only where neither IEEE nor output denormals are on."""
    inputs = make_inputs(FORMS["v_add_f32"][0], 1)
    inputs.set(2, np.full(32, a))
    inputs.set(4, np.full(32, b))
    rsrc1 = 15 | (0xC0 | denormals << 4) << 12 | dx10 << 21 | ieee << 23
    result = assembled(SPECIAL).run(kernel, inputs, rsrc1)
    assert (result.get(8)[inputs.active()] == want).all()



COMPARES = {"eq": "v_cmp_eq_f32 vcc_lo, v2, v4\nv_cndmask_b32 v8, 0, 1, vcc_lo",
            "class": "v_mov_b32 v6, 0x90\nv_cmp_class_f32 vcc_lo, v2, v6\nv_cndmask_b32 v8, 0, 1, vcc_lo"}


@pytest.mark.parametrize(("denormals", "equal"), [(0, 1), (1, 0), (2, 1), (3, 0)])
def test_compares_flush_their_operands(denormals: int, equal: int, assembled) -> None:
    inputs = make_inputs(FORMS["v_add_f32"][0], 1)
    inputs.set(2, np.full(32, 1))
    inputs.set(4, np.zeros(32))
    for name, want in (("eq", equal), ("class", 1)):  # v_cmp_class sees the bits
        out = assembled(COMPARES).run(name, inputs, 15 | (0xC0 | denormals << 4) << 12 | 1 << 21 | 1 << 23)
        assert (out.get(8)[inputs.active()] == want).all(), name


SCALAR = {"sum": "s_add_f32 s33, s28, s29\nv_mov_b32 v8, s33", "half": "s_add_f16 s33, s28, s29\nv_mov_b32 v8, s33",
          "fma": "s_fmac_f32 s28, s28, s29\nv_mov_b32 v8, s28", "even": "s_rndne_f32 s33, s28\nv_mov_b32 v8, s33"}


@pytest.mark.parametrize("mode", [(0, 0, 3, 3), *MODES])
def test_scalar_floats(mode: tuple[int, int, int, int], assembled) -> None:
    keep_in, keep_out = ({"f32": bool(mode[2] & bit), "f16": bool(mode[3] & bit)} for bit in (1, 2))
    functions = {"sum": ("f32", lambda a, b: exact.add(F32, a, b)), "half": ("f16", lambda a, b: exact.add(F16, a, b)),
                 "fma": ("f32", lambda a, b: exact.fma(F32, a, b, a)), "even": ("f32", lambda a, b: REFERENCE["v_rndne_f32"].function(a))}
    pairs = {"f32": [(0x3F800000, 0x33000001), (0x00400000, 0x00300000), (0xBF800000, 0xB3000001), (0x3F800000, 0xBF800000), (0x40200000, 1)],
             "f16": [(0x3C00, 0x0401), (0x0201, 0x0180), (0xBC00, 0x8401), (0x7BFF, 0x7BFF)]}
    for name, (kind, function) in functions.items():
        for a, b in pairs[kind]:
            inputs = make_inputs(FORMS["v_add_f32"][0], 1)
            inputs.scalars[0, [SGPR, SGPR_HIGH]] = a, b
            result = assembled(SCALAR, "gfx1201").run(name, inputs, 15 | value_of(mode) << 12)
            exact.DIRECTION.update({F32: mode[0], F16: mode[1]})
            want = function(flushed(kind, a, keep_in), flushed(kind, b, keep_in))
            exact.DIRECTION.clear()
            assert (result.get(8)[inputs.active()] == flushed(kind, want, keep_out)).all(), (name, hex(a), hex(b))
