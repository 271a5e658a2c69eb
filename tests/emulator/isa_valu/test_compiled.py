"""The same arithmetic compiled for gfx1100 and run by NumPy: division, square roots, conversions, halves.

Clang builds division, square root, integer division and 64-bit conversions from approximate
instructions and corrections. They come out correctly rounded only if each of those does what the
compiler relies on. With jitter_transcendentals the approximations are one ulp off on top.
"""
from __future__ import annotations

import warnings

import numpy as np
import pytest

from tests.emulator.isa.machine import Kernel, Machine
from tests.emulator.isa_valu.values import random_bits

COUNT = 8192
C_TYPES = {"f16": "_Float16", "f32": "float", "f64": "double", "i8": "signed char", "u8": "unsigned char", "i16": "short",
           "u16": "unsigned short", "i32": "int", "u32": "unsigned", "i64": "long", "u64": "unsigned long"}
NUMPY = {"f16": np.float16, "f32": np.float32, "f64": np.float64, "i8": np.int8, "u8": np.uint8, "i16": np.int16,
         "u16": np.uint16, "i32": np.int32, "u32": np.uint32, "i64": np.int64, "u64": np.uint64}
FLOATS = ("f16", "f32", "f64")


def fused(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """f16 and f32: the product is exact in the wider type; long double holds f32's sum without a second rounding that matters."""
    wide = np.float64 if a.dtype == np.float16 else np.longdouble
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(a.dtype)


# name -> (C expression of a, b, c; NumPy function)
BINARY = {
    "add": ("a + b", lambda a, b: a + b), "sub": ("a - b", lambda a, b: a - b), "mul": ("a * b", lambda a, b: a * b),
    "div": ("a / b", lambda a, b: a / b), "max": ("a > b ? a : b", lambda a, b: np.where(a > b, a, b)),
    "blend": ("(a < b || a != a) ? -a : b", lambda a, b: np.where((a < b) | np.isnan(a), -a, b)),
}
UNARY = {
    "sqrt": ("__builtin_elementwise_sqrt(a)", np.sqrt), "floor": ("__builtin_elementwise_floor(a)", np.floor),
    "ceil": ("__builtin_elementwise_ceil(a)", np.ceil), "trunc": ("__builtin_elementwise_trunc(a)", np.trunc),
    "rint": ("__builtin_elementwise_roundeven(a)", np.rint), "neg_abs": ("-__builtin_elementwise_abs(a)", lambda a: -np.abs(a)),
}
INTEGER = {
    "quotient": ("b ? a / b : 0", lambda a, b: np.where(b != 0, trunc_divide(a, b), 0)),
    "remainder": ("b ? a % b : 0", lambda a, b: np.where(b != 0, a - trunc_divide(a, b) * b, 0)),
    "product": ("a * b", lambda a, b: a * b), "shift": ("a >> (b & 7)", lambda a, b: a >> (b & 7)),
    "smaller": ("a < b ? a : b", np.minimum), "mix": ("(a ^ b) + (a & ~b)", lambda a, b: (a ^ b) + (a & ~b)),
}


def trunc_divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    safe = np.where(b == 0, 1, b).astype(a.dtype)
    q = a // safe
    return q + ((q < 0) & (q * safe != a)).astype(a.dtype)


def kernel(name: str, result: str, source: str, expression: str) -> str:
    return (f"KERNEL void {name}({C_TYPES[result]}* r, const {C_TYPES[source]}* pa, const {C_TYPES[source]}* pb, "
            f"const {C_TYPES[source]}* pc) {{ u64 i = BLOCK * 256u + TID; {C_TYPES[source]} a = pa[i], b = pb[i], c = pc[i]; "
            f"r[i] = ({C_TYPES[result]})({expression}); }}")


CASES: dict[str, tuple[str, str, object]] = {}
LINES: list[str] = []


def case(name: str, result: str, source: str, expression: str, function) -> None:
    CASES[name] = (result, source, function)
    LINES.append(kernel(name, result, source, expression))


for _t in FLOATS:
    for _name, (_text, _fn) in BINARY.items():
        case(f"{_name}_{_t}", _t, _t, _text, lambda a, b, c, f=_fn: f(a, b))
    for _name, (_text, _fn) in UNARY.items():
        case(f"{_name}_{_t}", _t, _t, _text, lambda a, b, c, f=_fn: f(a))
for _t in ("f16", "f32"):
    case(f"fma_{_t}", _t, _t, "__builtin_elementwise_fma(a, b, c)", lambda a, b, c: fused(a, b, c))
for _t in ("i32", "u32", "i64", "u64", "i16", "u16", "i8", "u8"):
    for _name, (_text, _fn) in INTEGER.items():
        case(f"{_name}_{_t}", _t, _t, _text, lambda a, b, c, f=_fn: f(a, b))
for _a in C_TYPES:
    for _b in C_TYPES:
        if _a != _b:
            case(f"cvt_{_a}_{_b}", _b, _a, "a", lambda a, b, c, t=_b: a.astype(NUMPY[t]))


def in_range(values: np.ndarray, target: str) -> np.ndarray:
    """C leaves float to integer outside of the range open: such inputs become small ones."""
    info = np.iinfo(NUMPY[target])
    with np.errstate(all="ignore"):
        good = np.isfinite(values) & (values.astype(np.float64) > float(info.min) - 1) & (values.astype(np.float64) < float(info.max))
    return np.where(good, values, np.arange(values.size) % 100).astype(values.dtype)


def operands(source: str, result: str, name: str) -> list[np.ndarray]:
    rng = np.random.default_rng(sum(name.encode()))
    out = []
    for n in range(3):
        if source in FLOATS or source[1:] in ("16", "32", "64"):
            bits = random_bits(rng, source, COUNT, n)
        else:
            bits = rng.integers(0, 256, COUNT, dtype=np.uint64)
        array = bits.astype(f"u{np.dtype(NUMPY[source]).itemsize}").view(NUMPY[source])
        out.append(in_range(array, result) if source in FLOATS and result not in FLOATS else array)
    if source[0] == "i":  # INT_MIN / -1
        out[0] = np.where((out[1] == -1) & (out[0] == np.iinfo(NUMPY[source]).min), 0, out[0]).astype(NUMPY[source])
    return out


# What is built on approximations. Half precision division is one f32 approximation, rounded: an ulp may show.
JITTERED = [n for n in CASES if n.split("_")[0] in ("div", "sqrt", "quotient", "remainder") and not n.endswith("f16")]


@pytest.fixture(scope="module")
def kernels() -> dict[bool, dict[str, Kernel]]:
    return {jitter: Machine(threads=1, jitter_transcendentals=jitter).kernels("\n".join(LINES)) for jitter in (False, True)}


@pytest.mark.parametrize("name,jitter", [(n, False) for n in CASES] + [(n, True) for n in JITTERED])
def test_as_numpy(name: str, jitter: bool, kernels) -> None:
    result, source, function = CASES[name]
    a, b, c = operands(source, result, name)
    if jitter and name.startswith("div"):
        # Markstein's exception: with all digits set in the divisor, division by Newton steps is
        # correct only when the reciprocal is the nearest one
        digits = b.view(f"u{b.itemsize}") & ((1 << np.finfo(b.dtype).nmant) - 1)
        b = np.where(digits == (1 << np.finfo(b.dtype).nmant) - 1, b.dtype.type(3), b)
    r = np.zeros(COUNT, NUMPY[result])
    done = kernels[jitter][name].run([r, a, b, c], groups=(COUNT // 256, 1, 1), threads=(256, 1, 1))
    assert done["end"] == "complete", done["fault"]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        want = np.asarray(function(a, b, c)).astype(NUMPY[result])
    word = f"u{r.itemsize}"
    wrong = r.view(word) != want.view(word)
    if result in FLOATS:
        wrong &= ~(np.isnan(r) & np.isnan(want))
    first = int(np.argmax(wrong))
    assert not wrong.any(), f"{wrong.sum()} of {COUNT}: {a[first]!r}, {b[first]!r}, {c[first]!r} gave {r[first]!r}, expected {want[first]!r}"
