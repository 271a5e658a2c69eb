"""What RDNA4 adds to arithmetic: NaN-propagating minimum and maximum, 8-bit floats, floats in the scalar ALU. Expected values
come from NumPy and from the formats' definitions."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

from .lanes import lane_bits, run

GFX12 = "gfx1201"
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 2.5, -3.5, 1e-40, 6e4, 7e-6], np.float32)
PAIRS = np.array(list(itertools.product(SPECIAL, SPECIAL)), np.float32)


def bits(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float32).view(np.uint32)


def same(got: np.ndarray, want: np.ndarray) -> bool:
    """Equal bits, NaN as a class."""
    nan = np.isnan(want)
    return bool((np.isnan(got) == nan).all() and (got[~nan].tobytes() == want[~nan].tobytes()))


def minimum(a, b):
    smaller = np.where((a < b) | ((a == b) & np.signbit(a)), a, b)
    return np.where(np.isnan(a) | np.isnan(b), np.float64(np.nan), smaller)


def maximum(a, b):
    return -minimum(-a, -b)


FAMILY = {
    "minimum": lambda a, b, c: minimum(a, b), "maximum": lambda a, b, c: maximum(a, b),
    "minimum3": lambda a, b, c: minimum(minimum(a, b), c), "maximum3": lambda a, b, c: maximum(maximum(a, b), c),
    "minimummaximum": lambda a, b, c: maximum(minimum(a, b), c), "maximumminimum": lambda a, b, c: minimum(maximum(a, b), c),
}


@pytest.mark.parametrize("width", [16, 32])
def test_minimum_and_maximum_propagate_nan(width):
    dtype = np.float32 if width == 32 else np.float16
    exec_mask = 0xFFF0FFFF
    a, b, c = (np.resize(PAIRS[start:, n], 32).astype(dtype) for start, n in ((0, 0), (0, 1), (57, 0)))
    raw = [x.view(np.uint32 if width == 32 else np.uint16) for x in (a, b, c)]
    code = []
    for n, name in enumerate(FAMILY):
        sources = "v10, v11, v12" if n > 1 else "v10, v11"
        code += [f"v_mov_b32 v{20 + n}, 0x77777777", f"v_{name}_f{width} v{20 + n}, {sources}"]
    got = run(GFX12, "\n".join(code), vgprs={10: raw[0], 11: raw[1], 12: raw[2]}, exec_mask=exec_mask, out=range(20, 26))
    on = lane_bits(exec_mask)
    for n, (name, reference) in enumerate(FAMILY.items()):
        want = reference(*(x.astype(np.float64) for x in (a, b, c))).astype(dtype)
        value = got[20 + n].view(dtype)[:: 32 // width] if width == 32 else (got[20 + n] & 0xFFFF).astype(np.uint16).view(np.float16)
        assert same(value[on], want[on]), name
        if width == 16:
            assert (got[20 + n][on] >> 16 == 0x7777).all(), "the other half stays"


def test_minimum_of_doubles_and_of_packed_halves():
    a, b = (np.resize(PAIRS[:, n], 32).astype(np.float64) for n in (0, 1))
    low = [x.view(np.uint64) & 0xFFFFFFFF for x in (a, b)]
    high = [x.view(np.uint64) >> 32 for x in (a, b)]
    ha, hb = a.astype(np.float16), b.astype(np.float16)
    packed = [np.uint32(x.view(np.uint16)) | np.uint32(y.view(np.uint16)) << 16 for x, y in ((ha, hb), (hb[::-1], ha))]
    code = """v_minimum_f64 v[20:21], v[10:11], v[12:13]
        v_maximum_f64 v[22:23], v[10:11], v[12:13]
        v_pk_minimum_f16 v24, v14, v15
        v_pk_maximum_f16 v25, v14, v15"""
    got = run(GFX12, code, vgprs={10: low[0], 11: high[0], 12: low[1], 13: high[1], 14: packed[0], 15: packed[1]}, out=range(20, 26))
    for first, reference in ((20, minimum), (22, maximum)):
        value = (got[first].astype(np.uint64) | got[first + 1].astype(np.uint64) << np.uint64(32)).view(np.float64)
        assert same(value, reference(a, b))
    for register, reference in ((24, minimum), (25, maximum)):
        for shift, x, y in ((0, ha, hb[::-1]), (16, hb, ha)):
            value = (got[register] >> shift & 0xFFFF).astype(np.uint16).view(np.float16)
            assert same(value, reference(x.astype(np.float64), y.astype(np.float64)).astype(np.float16))


# ---- 8-bit floats ------------------------------------------------------------------------------------
def decode8(code: int, kind: str) -> float:
    exponent_bits, fraction_bits, bias = (4, 3, 7) if kind == "fp8" else (5, 2, 15)
    sign = -1.0 if code & 0x80 else 1.0
    exponent, fraction = code >> fraction_bits & (1 << exponent_bits) - 1, code & (1 << fraction_bits) - 1
    if kind == "fp8" and code & 0x7F == 0x7F:
        return np.nan
    if kind == "bf8" and exponent == 31:
        return np.nan if fraction else sign * np.inf
    if exponent == 0:
        return sign * fraction * 2.0 ** (1 - bias - fraction_bits)
    return sign * (1 + fraction / (1 << fraction_bits)) * 2.0 ** (exponent - bias)


TABLE = {kind: np.array([decode8(n, kind) for n in range(256)]) for kind in ("fp8", "bf8")}


def encode8(x: float, kind: str) -> int:
    """Nearest representable number, ties to the even code; beyond the largest by more than half a step: NaN or infinity."""
    sign = 0x80 if np.signbit(x) else 0
    if np.isnan(x):
        return -1
    finite = TABLE[kind][:128][np.isfinite(TABLE[kind][:128])]
    overflow = finite[-1] + (finite[-1] - finite[-2]) / 2
    last_is_even = (len(finite) - 1) % 2 == 0
    if abs(x) > overflow or (abs(x) == overflow and not last_is_even):
        return -1 if kind == "fp8" else sign | 0x7C
    distance = np.abs(finite - abs(x))
    best = np.flatnonzero(distance == distance.min())
    return sign | int(best[0] if len(best) == 1 or best[0] % 2 == 0 else best[1])


@pytest.mark.parametrize("kind", ["fp8", "bf8"])
def test_all_8_bit_floats_to_f32(kind):
    words = np.arange(64, dtype=np.uint32) * 4
    words = words | (words + 1) << 8 | (words + 2) << 16 | (words + 3) << 24
    for part in (words[:32], words[32:]):
        code = "\n".join([f"v_cvt_f32_{kind} v20, v10", *(f"v_cvt_f32_{kind}_e64 v{20 + n}, v10 byte_sel:{n}" for n in (1, 2, 3)),
                          f"v_cvt_pk_f32_{kind} v[24:25], v10", f"v_cvt_pk_f32_{kind}_e64 v[26:27], v10 op_sel:[1,0]"])
        got = run(GFX12, code, vgprs={10: part}, out=range(20, 28))
        for n in range(4):
            want = TABLE[kind][part >> 8 * n & 0xFF].astype(np.float32)
            assert same(got[20 + n].view(np.float32), want), f"byte {n}"
            assert same(got[24 + n].view(np.float32), want), f"pair {n}"


@pytest.mark.parametrize("kind", ["fp8", "bf8"])
def test_f32_to_8_bit_floats(kind):
    """Around every representable value, every midpoint, and beyond the range; the other half of the register stays."""
    finite = np.unique(TABLE[kind][np.isfinite(TABLE[kind])]).astype(np.float32)
    middle = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)
    near = np.concatenate([finite, middle])
    values = np.concatenate([near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf)),
                             np.array([np.inf, -np.inf, np.nan, -0.0, 1e-40, 464, 464.1, 480, 6e4, 61440, 61441, 1e30, -1e30], np.float32)])
    values = np.resize(values, -(-len(values) // 64) * 64).reshape(-1, 2, 32)
    registers = {10 + n: bits(row) for n, row in enumerate(values.reshape(-1, 32))}
    count = len(values)
    code = [f"v_mov_b32 v{120 + n}, 0xdeadbeef\n" + f"v_cvt_pk_{kind}_f32 v{120 + n}, v{10 + 2 * n}, v{11 + 2 * n}"
            + (" op_sel:[0,0,1]" if n % 2 else "") for n in range(count)]
    got = run(GFX12, "\n".join(code), vgprs=registers, out=range(120, 120 + count))
    for n in range(count):
        shift = 16 if n % 2 else 0
        assert (got[120 + n] >> (16 - shift) & 0xFFFF == (0xBEEF if shift else 0xDEAD)).all()
        for k in range(2):
            for x, byte in zip(values[n, k], got[120 + n] >> (shift + 8 * k) & 0xFF):
                want = encode8(float(x), kind)
                assert np.isnan(TABLE[kind][byte]) if want < 0 else byte == want, (x, byte, want)


@pytest.mark.parametrize("kind", ["fp8", "bf8"])
def test_stochastic_rounding(kind):
    """A value a quarter of a step above a representable one goes up with a quarter of the random patterns; the byte named by
    op_sel is written, the others stay."""
    step = 1 / 8 if kind == "fp8" else 1 / 4
    x = np.full(32, 1 + step / 4, np.float32)
    random = np.arange(32, dtype=np.uint64) << np.uint64(27)
    code = "\n".join(f"v_mov_b32 v{20 + n}, 0x11223344\nv_cvt_sr_{kind}_f32 v{20 + n}, v10, v11 byte_sel:{n}" for n in range(4))
    got = run(GFX12, code, vgprs={10: bits(x), 11: random}, out=range(20, 24))
    one = np.flatnonzero(TABLE[kind] == 1)[0]
    for n in range(4):
        byte = got[20 + n] >> 8 * n & 0xFF
        assert set(byte) == {one, one + 1} and (byte == one + 1).sum() == 8
        keep = ~np.uint32(0xFF << 8 * n)
        assert (got[20 + n] & keep == np.uint32(0x11223344) & keep).all()


def test_dot4_of_8_bit_floats(rng):
    small = {kind: np.flatnonzero(np.abs(TABLE[kind]) <= 8) for kind in TABLE}  # sums are exact
    pairs = list(itertools.product(("fp8", "bf8"), repeat=2))
    vgprs, code = {12: bits(np.arange(32) - 7.5)}, []
    for n, (x, y) in enumerate(pairs):
        vgprs[20 + 2 * n] = rng.choice(small[x], (4, 32)).T.astype(np.uint8).copy().view(np.uint32)[:, 0]
        vgprs[21 + 2 * n] = rng.choice(small[y], (4, 32)).T.astype(np.uint8).copy().view(np.uint32)[:, 0]
        code.append(f"v_dot4_f32_{x}_{y} v{40 + n}, v{20 + 2 * n}, v{21 + 2 * n}, v12")
    got = run(GFX12, "\n".join(code), vgprs=vgprs, out=range(40, 44))
    for n, (x, y) in enumerate(pairs):
        a, b = (TABLE[k][vgprs[r].view(np.uint8).reshape(32, 4)] for k, r in ((x, 20 + 2 * n), (y, 21 + 2 * n)))
        np.testing.assert_allclose(got[40 + n].view(np.float32), (a * b).sum(1) + np.arange(32) - 7.5, rtol=1e-6, atol=1e-5)


# ---- the scalar ALU -------------------------------------------------------------------------------------
def f(x: float) -> int:
    return int(np.float32(x).view(np.uint32))


def h(x: float) -> int:
    return int(np.float16(x).view(np.uint16))


NAN = object()
SALU = [  # instruction on a = s10, b = s11, d = s20; a; b; result
    ("s_add_f32 d, a, b", f(1.5), f(2.25), f(3.75)), ("s_sub_f32 d, a, b", f(1.5), f(2.25), f(-0.75)),
    ("s_mul_f32 d, a, b", f(1e30), f(1e30), f(np.inf)), ("s_fmac_f32 d, a, b", f(3), f(4), f(112)),
    ("s_fmaak_f32 d, a, b, 0x40000000", f(3), f(4), f(14)), ("s_fmamk_f32 d, a, 0x40000000, b", f(3), f(4), f(10)),
    ("s_min_num_f32 d, a, b", f(np.nan), f(2), f(2)), ("s_max_num_f32 d, a, b", f(-0.0), f(0), f(0)),
    ("s_min_num_f32 d, a, b", f(0), f(-0.0), f(-0.0)),
    ("s_minimum_f32 d, a, b", f(np.nan), f(2), NAN), ("s_maximum_f32 d, a, b", f(3), f(2), f(3)),
    ("s_ceil_f32 d, a", f(-1.5), 0, f(-1)), ("s_floor_f32 d, a", f(-1.5), 0, f(-2)), ("s_trunc_f32 d, a", f(-1.5), 0, f(-1)),
    ("s_rndne_f32 d, a", f(2.5), 0, f(2)), ("s_cvt_f32_i32 d, a", 0xFFFFFFFE, 0, f(-2)), ("s_cvt_f32_u32 d, a", 0xFFFFFFFE, 0, f(2.0**32)),
    ("s_cvt_i32_f32 d, a", f(-3.9), 0, 0xFFFFFFFD), ("s_cvt_i32_f32 d, a", f(np.nan), 0, 0), ("s_cvt_u32_f32 d, a", f(-1), 0, 0),
    ("s_cvt_u32_f32 d, a", f(1e20), 0, 0xFFFFFFFF), ("s_cvt_f16_f32 d, a", f(1 / 3), 0, h(1 / 3)),
    ("s_cvt_f32_f16 d, a", 0xFFFF0000 | h(0.5), 0, f(0.5)), ("s_cvt_hi_f32_f16 d, a", h(-4) << 16 | 0x1234, 0, f(-4)),
    ("s_cvt_pk_rtz_f16_f32 d, a, b", f(1 / 3), f(-1e9), int(np.float16(1 / 3).view(np.uint16)) | 0xFBFF << 16),
    ("s_add_f16 d, a, b", 0xFFFF0000 | h(1.5), h(2.25), h(3.75)), ("s_sub_f16 d, a, b", h(1.5), h(2.25), h(-0.75)),
    ("s_mul_f16 d, a, b", h(300), h(300), h(np.inf)), ("s_fmac_f16 d, a, b", h(3), h(4), h(112)),
    ("s_min_num_f16 d, a, b", h(np.nan), h(2), h(2)), ("s_max_num_f16 d, a, b", h(-2), h(-3), h(-2)),
    ("s_minimum_f16 d, a, b", h(1), h(-2), h(-2)), ("s_maximum_f16 d, a, b", h(1), h(-2), h(1)),
    ("s_ceil_f16 d, a", h(1.25), 0, h(2)), ("s_floor_f16 d, a", h(1.25), 0, h(1)), ("s_trunc_f16 d, a", h(-1.25), 0, h(-1)),
    ("s_rndne_f16 d, a", h(3.5), 0, h(4)), ("s_add_f32 d, a, 0.5", f(1), 0, f(1.5)), ("s_add_f16 d, a, 0.5", h(1), 0, h(1.5)),
    ("v_s_exp_f32 d, a", f(3), 0, f(8)), ("v_s_log_f32 d, a", f(0.25), 0, f(-2)), ("v_s_rcp_f32 d, -a", f(4), 0, f(-0.25)),
    ("v_s_rsq_f32 d, a", f(4), 0, f(0.5)), ("v_s_sqrt_f32 d, |a|", f(-9), 0, f(3)), ("v_s_exp_f16 d, a", h(-1), 0, h(0.5)),
    ("v_s_log_f16 d, a", h(16), 0, h(4)), ("v_s_rcp_f16 d, a", h(2), 0, h(0.5)), ("v_s_rsq_f16 d, a", h(16), 0, h(0.25)),
    ("v_s_sqrt_f16 d, a", 0x77770000 | h(16), 0, h(4)),
]
COMPARES = {"lt": (1, 0, 0, 0), "eq": (0, 1, 0, 0), "le": (1, 1, 0, 0), "gt": (0, 0, 1, 0), "lg": (1, 0, 1, 0), "ge": (0, 1, 1, 0),
            "o": (1, 1, 1, 0), "u": (0, 0, 0, 1), "nge": (1, 0, 0, 1), "nlg": (0, 1, 0, 1), "ngt": (1, 1, 0, 1), "nle": (0, 0, 1, 1),
            "neq": (1, 0, 1, 1), "nlt": (0, 1, 1, 1)}  # for less, equal, greater, unordered


@pytest.mark.parametrize("exec_mask", [0xFFFFFFFF, 0], ids=["all", "none"])
def test_scalar_floats(exec_mask):
    """One program; each result goes into a VGPR lane by v_writelane. SCC stays; EXEC does not matter."""
    code = ["s_cmp_eq_u32 0, 0"]
    for n, (text, a, b, _want) in enumerate(SALU):
        text = f"{text.split()[0]} " + text.split(" ", 1)[1].replace("d", "s20").replace("a", "s12").replace("b", "s13")
        start = f(100) if "f32" in text else 0x55550000 | h(100)
        code += [f"s_mov_b32 s12, {a:#x}", f"s_mov_b32 s13, {b:#x}", f"s_mov_b32 s20, {start:#x}", text, f"v_writelane_b32 v{20 + n // 32}, s20, {n % 32}"]
    got = run(GFX12, "\n".join(code), exec_mask=exec_mask, out=(20, 21))
    assert got["scc"] == 1
    values = np.concatenate([got[20], got[21]])
    for n, (text, _a, _b, want) in enumerate(SALU):
        if want is NAN:
            assert np.isnan(values[n:n + 1].view(np.float32))[0], text
        else:
            assert values[n] == want, (text, hex(values[n]), hex(want))


@pytest.mark.parametrize("width", [32, 16])
def test_scalar_float_compares(width):
    encode = f if width == 32 else h
    code, want = [], []
    for name, results in COMPARES.items():
        for (x, y), result in zip(((1, 2), (2, 2), (3, 2), (np.nan, 2)), results):
            n = len(want)
            code += [f"s_mov_b32 s12, {encode(x):#x}", f"s_mov_b32 s13, {encode(y):#x}", f"s_cmp_{name}_f{width} s12, s13",
                     "s_cselect_b32 s20, 1, 0", f"v_writelane_b32 v{20 + n // 32}, s20, {n % 32}"]
            want.append(result)
    got = run(GFX12, "\n".join(code), out=(20, 21))
    assert np.concatenate([got[20], got[21]])[:len(want)].tolist() == want


def test_64_bit_scalars_without_carry():
    a, b = 0x1_FFFFFFFF, 0x2_00000003
    code = f"""s_mov_b32 s12, {a & 0xFFFFFFFF:#x}\ns_mov_b32 s13, {a >> 32}\ns_mov_b32 s14, {b & 0xFFFFFFFF:#x}\ns_mov_b32 s15, {b >> 32}
        s_cmp_eq_u32 0, 1
        s_add_nc_u64 s[20:21], s[12:13], s[14:15]
        s_sub_nc_u64 s[22:23], s[12:13], s[14:15]
        s_mul_u64 s[24:25], s[12:13], s[14:15]"""
    got = run(GFX12, code, sout=range(20, 26))
    mask = (1 << 64) - 1
    for first, want in ((20, a + b), (22, a - b), (24, a * b)):
        assert got[f"s{first}"] | got[f"s{first + 1}"] << 32 == want & mask
    assert got["scc"] == 0
