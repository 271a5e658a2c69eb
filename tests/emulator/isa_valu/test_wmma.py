"""Matrix instructions against NumPy; operands and results in the register layout of the ISA document."""
from __future__ import annotations

import numpy as np
import pytest

from tests.emulator.isa_valu import harness
from tests.emulator.isa_valu.harness import Inputs

A, B, C = 2, 10, 18  # first registers; C is the destination too
LANE = np.arange(32)
KERNELS = {
    "f32_f16": "v_wmma_f32_16x16x16_f16 v[18:25], v[2:9], v[10:17], v[18:25]",
    "f32_bf16": "v_wmma_f32_16x16x16_bf16 v[18:25], v[2:9], v[10:17], v[18:25]",
    "f32_f16_constant": "v_wmma_f32_16x16x16_f16 v[18:25], v[2:9], v[10:17], 2.0",
    "f32_f16_neg": "v_wmma_f32_16x16x16_f16 v[18:25], v[2:9], v[10:17], v[18:25] neg_lo:[1,0,1] neg_hi:[1,0,0]",
    "f16_f16": "v_wmma_f16_16x16x16_f16 v[18:25], v[2:9], v[10:17], v[18:25]",
    "f16_f16_high": "v_wmma_f16_16x16x16_f16 v[18:25], v[2:9], v[10:17], v[18:25] op_sel:[0,0,1]",
    "bf16_bf16": "v_wmma_bf16_16x16x16_bf16 v[18:25], v[2:9], v[10:17], v[18:25]",
}
INTEGER = {}
for _bits in (8, 4):
    _b = 2 + 128 // _bits // 4
    for _signs in ((0, 0), (1, 0), (0, 1), (1, 1)):
        for _clamp in (False, True):
            _name = f"iu{_bits}_{_signs[0]}{_signs[1]}{'_clamp' if _clamp else ''}"
            _last = _bits // 2 - 1
            KERNELS[_name] = (f"v_wmma_i32_16x16x16_iu{_bits} v[18:25], v[2:{2 + _last}], v[10:{10 + _last}], v[18:25] "
                              f"neg_lo:[{_signs[0]},{_signs[1]},0]{' clamp' if _clamp else ''}")
            INTEGER[_name] = (_bits, _signs, _clamp)


def float_bits(values: np.ndarray, kind: str) -> np.ndarray:
    """16-bit patterns; the values are exact in both formats."""
    return values.astype(np.float16).view(np.uint16) if kind == "f16" else (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def from_bits(bits: np.ndarray, kind: str) -> np.ndarray:
    return bits.view(np.float16).astype(np.float64) if kind == "f16" else (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def put_operand(inputs: Inputs, first: int, parts: np.ndarray, bits: int) -> None:
    """parts[row or column][k], unsigned patterns: k packed upwards, lanes 16-31 repeat 0-15."""
    per = 32 // bits
    for j in range(16 // per):
        word = sum(parts[:, per * j + n].astype(np.uint64) << np.uint64(bits * n) for n in range(per))
        inputs.registers[0, first - 2 + j] = word[LANE & 15].astype(np.uint32)


def put_accumulator(inputs: Inputs, words: np.ndarray, shift: int = 0, keep: np.ndarray | None = None) -> None:
    for j in range(8):
        row = words[2 * j + (LANE >> 4), LANE & 15].astype(np.uint32)
        inputs.registers[0, C - 2 + j] = row if keep is None else row << shift | keep[j]


def accumulator(result: harness.Outputs) -> np.ndarray:
    out = np.zeros((16, 16), np.uint32)
    for j in range(8):
        out[2 * j + (LANE >> 4), LANE & 15] = result.registers[0, C - 2 + j]
    return out


@pytest.mark.parametrize("name", [k for k in KERNELS if k not in INTEGER])
def test_float(name: str, assembled) -> None:
    rng = np.random.default_rng(len(name))
    out_kind, kind = name.split("_")[:2]
    inputs = Inputs(1)
    a, b = (rng.integers(-32, 33, (16, 16)) / 16 for _ in range(2))   # products and sums are exact
    c = rng.integers(-64, 65, (16, 16)) / 16
    put_operand(inputs, A, float_bits(a, kind), 16)
    put_operand(inputs, B, float_bits(b, kind).T, 16)
    shift = 16 if name.endswith("high") else 0
    keep = rng.integers(0, 1 << 16, (8, 32), dtype=np.uint32) << (16 - shift)
    if out_kind == "f32":
        put_accumulator(inputs, c.astype(np.float32).view(np.uint32))
    else:
        put_accumulator(inputs, float_bits(c, out_kind).astype(np.uint32), shift, keep)
    if name.endswith("constant"):
        c = np.full((16, 16), 2.0)
    if name.endswith("neg"):
        a, c = -a, -c
    want = a @ b + c
    result = assembled(KERNELS).run(name, inputs)
    got = accumulator(result)
    if out_kind == "f32":
        assert (got.view(np.float32) == want).all()
    else:
        half = (got >> shift & 0xFFFF).astype(np.uint16)
        rounding = 2.0 ** -11 if out_kind == "f16" else 2.0 ** -8
        assert np.abs(from_bits(half, out_kind) - want).max() <= np.abs(want).max() * rounding
        for j in range(8):
            assert (result.registers[0, C - 2 + j] & np.uint32(0xFFFF << (16 - shift)) == keep[j]).all(), "the other half changed"
    assert (result.registers[0, :16] == inputs.registers[0, :16]).all()


@pytest.mark.parametrize("name", INTEGER)
def test_integer(name: str, assembled) -> None:
    bits, signs, clamp = INTEGER[name]
    rng = np.random.default_rng(len(name))
    inputs = Inputs(1)
    parts = [rng.integers(0, 1 << bits, (16, 16)) for _ in range(2)]
    c = rng.integers(-2**31, 2**31, (16, 16))
    c[0, 0], c[1, 1] = 2**31 - 1, -2**31
    put_operand(inputs, A, parts[0], bits)
    put_operand(inputs, B, parts[1].T, bits)
    put_accumulator(inputs, (c & 0xFFFFFFFF).astype(np.uint32))
    a, b = (np.where(s & (p >> (bits - 1)), p - (1 << bits), p) for p, s in zip(parts, signs))
    want = a @ b + c
    want = np.clip(want, -2**31, 2**31 - 1) if clamp else want
    assert (accumulator(assembled(KERNELS).run(name, inputs)) == (want & 0xFFFFFFFF)).all()


def test_random_values_stay_close(assembled) -> None:
    """Order of sums and rounding: within f32 accuracy of the exact product."""
    rng = np.random.default_rng(1)
    inputs = Inputs(1)
    a, b = (rng.standard_normal((16, 16)).astype(np.float16) for _ in range(2))
    c = rng.standard_normal((16, 16)).astype(np.float32)
    put_operand(inputs, A, a.view(np.uint16), 16)
    put_operand(inputs, B, b.view(np.uint16).T, 16)
    put_accumulator(inputs, c.view(np.uint32))
    want = a.astype(np.float64) @ b.astype(np.float64) + c
    got = accumulator(assembled(KERNELS).run("f32_f16", inputs)).view(np.float32)
    assert np.abs(got - want).max() < 16 * 2.0 ** -24 * np.abs(want).max() * 4
