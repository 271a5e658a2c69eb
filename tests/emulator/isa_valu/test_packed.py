"""VOP3P with its own modifiers: op_sel, op_sel_hi, neg_lo, neg_hi, clamp; mixed-precision fma; signed dots."""
from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest

from tests.emulator.isa_valu import exact, harness
from tests.emulator.isa_valu.exact import F16, F32
from tests.emulator.isa_valu.harness import Inputs
from tests.emulator.isa_valu.reference import fit, signed
from tests.emulator.isa_valu.reference_integer import DOT_SIGNED, dot_int
from tests.emulator.isa_valu.test_values import float_clamp, same
from tests.emulator.isa_valu.values import random_bits

BITS3 = list(itertools.product((0, 1), repeat=3))
KERNELS: dict[str, str] = {}
PACKED: dict[str, tuple] = {}
for _n, (_sel, _hi) in enumerate(itertools.product(BITS3, BITS3[::3])):
    _lo, _neg = BITS3[_n * 5 % 8], BITS3[_n * 3 % 8]
    _name = f"pk_fma_{_n}"
    KERNELS[_name] = (f"v_pk_fma_f16 v8, v2, v4, v6 op_sel:{list(_sel)} op_sel_hi:{list(_hi)} neg_lo:{list(_lo)} "
                      f"neg_hi:{list(_neg)}{' clamp' if _n & 1 else ''}").replace(", 0", ",0").replace(", 1", ",1")
    PACKED[_name] = (_sel, _hi, _lo, _neg, bool(_n & 1))
SATURATING = {"v_pk_add_u16": ("u16", lambda a, b: a + b), "v_pk_sub_u16": ("u16", lambda a, b: a - b),
              "v_pk_add_i16": ("i16", lambda a, b: a + b), "v_pk_sub_i16": ("i16", lambda a, b: a - b)}
KERNELS |= {f"{m}_clamp": f"{m} v8, v2, v4 clamp" for m in SATURATING}
KERNELS["pk_inline"] = "v_pk_add_f16 v8, v2, 1.0"                          # high half: + 0
KERNELS["pk_inline_both"] = "v_pk_add_f16 v8, v2, 1.0 op_sel_hi:[1,0]"
KERNELS["pk_sgpr"] = "v_pk_mul_f16 v8, s28, v4 op_sel:[1,0] op_sel_hi:[0,1]"
MIX: dict[str, tuple] = {}
for _n, (_half, _sel) in enumerate(itertools.product(BITS3, BITS3[::2] + [(1, 1, 1)])):
    for _kind in ("mix_f32", "mixlo_f16", "mixhi_f16"):
        _name = f"{_kind}_{_n}"
        _sources = [("-" if _n + k & 1 else "") + (f"|v{2 + 2 * k}|" if _n + k & 2 else f"v{2 + 2 * k}") for k in range(3)]
        _text = f"v_fma_{_kind} v8, {', '.join(_sources)} op_sel:{list(_sel)} op_sel_hi:{list(_half)}{' clamp' if _n % 5 == 0 else ''}"
        KERNELS[_name] = _text.replace(", 0", ",0").replace(", 1", ",1")
        MIX[_name] = (_kind, _half, _sel, [(bool(_n + k & 1), bool(_n + k & 2)) for k in range(3)], _n % 5 == 0)
DOTS: dict[str, tuple] = {}
for _mnemonic, _bits in DOT_SIGNED.items():
    for _a, _b, _clamp in itertools.product((0, 1), repeat=3):
        _name = f"{_mnemonic}_{_a}{_b}{_clamp}"
        KERNELS[_name] = f"{_mnemonic} v8, v2, v4, v6 neg_lo:[{_a},{_b},0]{' clamp' if _clamp else ''}"
        DOTS[_name] = (_bits, bool(_a), bool(_b), bool(_clamp))


def make_inputs(name: str, kinds: tuple[str, ...], blocks: int = 2) -> Inputs:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    inputs = Inputs(blocks)
    inputs.registers[:] = rng.integers(0, 1 << 32, inputs.registers.shape, dtype=np.uint32)
    inputs.scalars[:, :8] = rng.integers(0, 1 << 32, (blocks, 8), dtype=np.uint32)
    inputs.scalars[0, harness.EXEC] = 0xFFFFFFFF
    for n, kind in enumerate(kinds):
        inputs.set(2 + 2 * n, random_bits(rng, kind, blocks * 32, n))
    return inputs


def check(name: str, inputs: Inputs, result: harness.Outputs, kind: str, function) -> None:
    """function(lane's sources v2, v4, v6, old v8) -> bits of v8."""
    got = result.get(8)
    for (block, lane), active in np.ndenumerate(inputs.active()):
        lanes = [int(inputs.get(r)[block, lane]) for r in (2, 4, 6, 8)]
        want = function(*lanes) if active else lanes[3]
        assert same(kind if active else "b32", int(got[block, lane]), want, 0), (KERNELS[name], [hex(v) for v in lanes], hex(want))


@pytest.mark.parametrize("name", PACKED)
def test_modifiers(name: str, on_both) -> None:
    select, select_high, neg_low, neg_high, clamp = PACKED[name]
    inputs = make_inputs(name, ("pf16", "pf16", "pf16"))

    def part(sources, halves, negative) -> int:
        values = [(v >> 16 if h else v & 0xFFFF) ^ (0x8000 if n else 0) for v, h, n in zip(sources, halves, negative)]
        value = exact.fma(F16, *values)
        return float_clamp("f16", value) if clamp else value
    check(name, inputs, on_both(KERNELS).run(name, inputs), "pf16",
          lambda a, b, c, _: part((a, b, c), select, neg_low) | part((a, b, c), select_high, neg_high) << 16)


@pytest.mark.parametrize("mnemonic", SATURATING)
def test_saturation(mnemonic: str, on_both) -> None:
    kind, function = SATURATING[mnemonic]
    inputs = make_inputs(mnemonic, ("p16", "p16"), 4)

    def part(a: int, b: int) -> int:
        a, b = a & 0xFFFF, b & 0xFFFF
        return fit(function(signed(a, 16), signed(b, 16)) if kind == "i16" else function(a, b), kind, clamp=True)
    name = f"{mnemonic}_clamp"
    check(name, inputs, on_both(KERNELS).run(name, inputs), "b32", lambda a, b, *_: part(a, b) | part(a >> 16, b >> 16) << 16)


def test_scalar_operands(on_both) -> None:
    kernels = on_both(KERNELS)
    inputs = make_inputs("scalar", ("pf16", "pf16"))
    one = 0x3C00
    add = lambda a, b: exact.add(F16, a & 0xFFFF, b)  # noqa: E731
    check("pk_inline", inputs, kernels.run("pk_inline", inputs), "pf16", lambda a, *_: add(a, one) | add(a >> 16, 0) << 16)
    check("pk_inline_both", inputs, kernels.run("pk_inline_both", inputs), "pf16", lambda a, *_: add(a, one) | add(a >> 16, one) << 16)
    inputs.scalars[:, harness.SGPR] = 0x40003800  # 0.5 low, 2.0 high
    check("pk_sgpr", inputs, kernels.run("pk_sgpr", inputs), "pf16", lambda a, b, *_: exact.mul(F16, 0x4000, b & 0xFFFF)
          | exact.mul(F16, 0x3800, b >> 16) << 16)


@pytest.mark.parametrize("kind", ["mix_f32", "mixlo_f16", "mixhi_f16"])
def test_mix(kind: str, on_both) -> None:
    for name, (of, halves, select, signs, clamp) in MIX.items():
        if of != kind:
            continue
        inputs = make_inputs(name, tuple("pf16" if h else "f32" for h in halves))

        def fused(*sources: int, halves=halves, select=select, signs=signs, clamp=clamp) -> int:
            values = []
            for v, is_half, high, (neg, absolute) in zip(sources, halves, select, signs):
                v = exact.convert(F16, F32, v >> 16 if high else v & 0xFFFF) if is_half else v
                v = v & 0x7FFFFFFF if absolute else v
                values.append(v ^ 0x80000000 if neg else v)
            value = exact.fma(F32, *values)
            return float_clamp("f32", value) if clamp else value

        def result(a, b, c, old, kind=kind, fused=fused) -> int:
            value = fused(a, b, c)
            if kind == "mix_f32":
                return value
            half = exact.convert(F32, F16, value)
            return old & 0xFFFF0000 | half if kind == "mixlo_f16" else old & 0xFFFF | half << 16
        check(name, inputs, on_both(KERNELS).run(name, inputs), "f32" if kind == "mix_f32" else "pf16", result)


@pytest.mark.parametrize("name", DOTS)
def test_signed_dot(name: str, on_both) -> None:
    bits, a_signed, b_signed, clamp = DOTS[name]
    inputs = make_inputs(name, ("b32", "b32", "i32"))
    check(name, inputs, on_both(KERNELS).run(name, inputs), "b32", lambda a, b, c, _: fit(
        dot_int(bits, a_signed, b_signed)(a, b) + signed(c, 32), "i32", clamp))
