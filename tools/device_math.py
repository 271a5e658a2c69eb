"""Measures the device math headers against mpmath and writes docs/device-math.md.

    python tools/device_math.py                 # the whole table (minutes), into the docs
    python tools/device_math.py i0 zeta         # some rows, to the terminal

The headers are compiled for the host, where they give the same bits as on the device
(tests/compiler checks that). The unit is that of the last place of the exact result; a result that
rounds to the exact one has an error of at most 0.5.
"""
from __future__ import annotations

import ctypes
import itertools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import mpmath as mp
import numpy as np

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "tests/compiler/math_host.cpp"
DOCUMENT = ROOT / "docs/device-math.md"


class Row(NamedTuple):
    reference: Callable          # of mpmath numbers
    domains: tuple               # of each argument: (low, high), or a list of values to choose from
    title: str                   # the PyTorch functions that are made of it
    zeros: float = 0.0           # with zeros of a wave: the unit is that of this, over 1 + |x|
    bound: float = 4.0
    count: int = 2000            # arguments; fewer where the reference is slow
    precision: int = 130         # bits of mpmath's arithmetic: its zeta loses a hundred
    within: tuple = ()           # of each argument: where PyTorch's values are asked too, everywhere unless told
    of: str = ""                 # the function, if not the row's name


INF = float("inf")
POSITIVE, BELOW, UNIT = (0.0, INF), (-1e7, 0.0), (-1.0, 1.0)
NEAR = (-1e5, INF)                # farther down mpmath takes minutes

# The small and large arguments of PyTorch's elementwise tests (torch/testing/_internal/opinfo/core.py,
# generate_elementwise_binary_small_value_tensors and _large_value_tensors), without 0.
VALUES = [sign * v for v in (0.001, 0.25, 1.0, np.pi / 2, np.pi - 1e-5, np.pi, np.pi + 1e-5, 501.0, 1001.2, 13437.7,
                             4988429.2, 1e20) for sign in (1, -1)]


def _gamma_pair(a, x):
    """P and Q, one by a series or a continued fraction of its own, the other as its complement: 300 bits suffice."""
    if a == x and a > 1e10:                # the first terms of the expansion at the transition
        q = mp.mpf(1) / 2 + 1 / (3 * mp.sqrt(2 * mp.pi * a))
        return q, 1 - q
    front = mp.exp(a * mp.log(x) - x - mp.loggamma(a + 1))
    if x < a + 10 * mp.sqrt(a) + 5:
        total = term = mp.mpf(1)
        k = 0
        while term > total * mp.mpf(2) ** -200:
            k += 1
            term *= x / (a + k)
            total += term
        return front * total, 1 - front * total
    count = int(200 + 40 * mp.sqrt(a)) if x < 2 * a else 300
    tail = x + 2 * count + 1 - a
    for k in range(count, 0, -1):
        tail = x + 2 * k - 1 - a + k * (a - k) / tail
    return 1 - front * a / tail, front * a / tail


def _zeta(s, q):
    steps = max(0, 1 - int(mp.floor(q)))           # mpmath's is for a positive second argument
    return mp.zeta(s, q + steps) + mp.fsum((q + i) ** -s for i in range(steps))


def _chebyshev_v(n, x):
    return mp.chebyu(n, x) - mp.chebyu(n - 1, x) if n else mp.mpf(1)


def _chebyshev_w(n, x):
    return mp.chebyu(n, x) + mp.chebyu(n - 1, x) if n else mp.mpf(1)


def _hermite_e(n, x):
    before, now = mp.mpf(0), mp.mpf(1)
    for k in range(n):
        before, now = now, x * now - k * before
    return now


def _of_degree(f: Callable) -> Callable:
    return lambda x, n: f(int(n), x)


def _shifted(f: Callable) -> Callable:
    return lambda x, n: f(int(n), 2 * x - 1)


def _ndtri(p):
    return -mp.sqrt(2) * mp.erfinv(1 - 2 * p)


def _log_ndtr(x):
    return mp.log(mp.ncdf(x)) if x < 0 else mp.log1p(-mp.ncdf(-x))


DEGREES = [float(n) for n in range(12)]
ROWS: dict[str, Row] = {
    "exp": Row(mp.exp, ((-80, 80),), "exp"), "exp2": Row(lambda x: mp.mpf(2) ** x, ((-100, 100),), "exp2"),
    "expm1": Row(mp.expm1, ((-30, 80),), "expm1"),
    "log": Row(mp.log, ((1e-6, 1e3),), "log", within=(POSITIVE,)),
    "log2": Row(lambda x: mp.log(x, 2), ((1e-6, 1e3),), "log2", within=(POSITIVE,)),
    "log10": Row(mp.log10, ((1e-6, 1e3),), "log10", within=(POSITIVE,)),
    "log1p": Row(mp.log1p, ((-0.999, 1e3),), "log1p", within=((-1.0, INF),)),
    "sin": Row(mp.sin, ((-1e4, 1e4),), "sin"), "cos": Row(mp.cos, ((-1e4, 1e4),), "cos"),
    "tan": Row(mp.tan, ((-1e3, 1e3),), "tan"), "asin": Row(mp.asin, ((-1, 1),), "asin", within=(UNIT,)),
    "acos": Row(mp.acos, ((-1, 1),), "acos", within=(UNIT,)), "atan": Row(mp.atan, ((-1e2, 1e2),), "atan"),
    "sinh": Row(mp.sinh, ((-80, 80),), "sinh"), "cosh": Row(mp.cosh, ((-80, 80),), "cosh"),
    "tanh": Row(mp.tanh, ((-10, 10),), "tanh"), "asinh": Row(mp.asinh, ((-1e3, 1e3),), "asinh"),
    "acosh": Row(mp.acosh, ((1, 1e3),), "acosh", within=((1.0, INF),)),
    "atanh": Row(mp.atanh, ((-0.9999, 0.9999),), "atanh", within=(UNIT,)),
    "sigmoid": Row(lambda x: 1 / (1 + mp.exp(-x)), ((-80, 80),), "sigmoid"),
    "rsqrt": Row(lambda x: 1 / mp.sqrt(x), ((1e-6, 1e6),), "rsqrt", within=(POSITIVE,)),
    "pow": Row(mp.power, ((1e-3, 1e3), (-9, 9)), "pow", within=(POSITIVE, (-INF, INF))),
    "hypot": Row(mp.hypot, ((-1e3, 1e3), (-1e3, 1e3)), "hypot"),
    "atan2": Row(mp.atan2, ((-9, 9), (-9, 9)), "atan2"),
    "erf": Row(mp.erf, ((-6, 6),), "erf"), "erfc": Row(mp.erfc, ((-6, 9),), "erfc"),
    "erfcx": Row(lambda x: mp.exp(x * x) * mp.erfc(x), ((-9, 100),), "special.erfcx"),
    "erfinv": Row(mp.erfinv, ((-1, 1),), "erfinv", within=(UNIT,)),
    "ndtri": Row(_ndtri, ((0, 1),), "special.ndtri", within=((0.0, 1.0),)),
    "log_ndtr": Row(_log_ndtr, ((-100, 9),), "special.log_ndtr"),
    "lgamma": Row(lambda x: mp.log(abs(mp.gamma(x))), ((0, 100),), "lgamma, mvlgamma", within=(POSITIVE,)),
    "lgamma_below": Row(lambda x: mp.log(abs(mp.gamma(x))), ((-9, 0),), "lgamma below 0", 2**-8, within=(BELOW,),
            of="lgamma"),
    "digamma": Row(mp.digamma, ((0, 100),), "digamma", within=(POSITIVE,)),
    "digamma_below": Row(mp.digamma, ((-9, 0),), "digamma below 0", 2**-8, within=(BELOW,), of="digamma"),
    "polygamma_1": Row(lambda x: mp.polygamma(1, x), ((-9, 100),), "polygamma(1)", precision=300,
            within=(NEAR,)),
    "polygamma_2": Row(lambda x: mp.polygamma(2, x), ((0, 100),), "polygamma(2)", precision=300, within=(POSITIVE,)),
    "polygamma_2_below": Row(lambda x: mp.polygamma(2, x), ((-9, 0),), "polygamma(2) below 0", 2**-8, precision=300,
            within=((-1e5, 0.0),), of="polygamma_2"),
    "polygamma_3": Row(lambda x: mp.polygamma(3, x), ((-9, 100),), "polygamma(3)", precision=300,
            within=(NEAR,)),
    "polygamma_4": Row(lambda x: mp.polygamma(4, x), ((0, 100),), "polygamma(4)", precision=300, within=(POSITIVE,)),
    "polygamma_4_below": Row(lambda x: mp.polygamma(4, x), ((-9, 0),), "polygamma(4) below 0", 2**-8, precision=300,
            within=((-1e5, 0.0),), of="polygamma_4"),
    "polygamma_5": Row(lambda x: mp.polygamma(5, x), ((-9, 100),), "polygamma(5)", precision=300,
            within=(NEAR,)),
    "zeta": Row(_zeta, ((1.01, 30), (0.01, 30)), "special.zeta", precision=300, within=((1.0, 2e3), (0.0, 2e3))),
    "zeta_below": Row(_zeta, ([float(s) for s in range(2, 10)], (-9, 0)), "special.zeta below 0", 2**-8, precision=300,
            within=((1.0, 10.0), (-2e4, 0.0)), of="zeta"),
    "igamma": Row(lambda a, x: _gamma_pair(a, x)[0], ((0.01, 30), (0.01, 30)), "igamma", precision=300,
            within=(POSITIVE, POSITIVE)),
    "igammac": Row(lambda a, x: _gamma_pair(a, x)[1], ((0.01, 30), (0.01, 30)), "igammac", precision=300,
            within=(POSITIVE, POSITIVE)),
    "igamma_large": Row(lambda a, x: _gamma_pair(a, x)[0], ((100, 1000), (100, 1000)), "igamma, large", precision=300,
            count=300, within=((100.0, 2e3), (100.0, 2e3)), of="igamma"),
    "igammac_large": Row(lambda a, x: _gamma_pair(a, x)[1], ((100, 1000), (100, 1000)), "igammac, large",
            precision=300, count=300, within=((100.0, 2e3), (100.0, 2e3)), of="igammac"),
    "i0": Row(lambda x: mp.besseli(0, x), ((-80, 80),), "i0, special.modified_bessel_i0"),
    "i0e": Row(lambda x: mp.exp(-abs(x)) * mp.besseli(0, x), ((-1e3, 1e3),), "special.i0e"),
    "i1": Row(lambda x: mp.besseli(1, x), ((-80, 80),), "special.i1, special.modified_bessel_i1"),
    "i1e": Row(lambda x: mp.exp(-abs(x)) * mp.besseli(1, x), ((-1e3, 1e3),), "special.i1e"),
    "k0": Row(lambda x: mp.besselk(0, x), ((0.001, 80),), "special.modified_bessel_k0",
            count=300, within=(POSITIVE,)),
    "k0e": Row(lambda x: mp.exp(x) * mp.besselk(0, x), ((0.001, 1e3),), "special.scaled_modified_bessel_k0",
            count=300, within=(POSITIVE,)),
    "k1": Row(lambda x: mp.besselk(1, x), ((0.001, 80),), "special.modified_bessel_k1",
            count=300, within=(POSITIVE,)),
    "k1e": Row(lambda x: mp.exp(x) * mp.besselk(1, x), ((0.001, 1e3),), "special.scaled_modified_bessel_k1",
            count=300, within=(POSITIVE,)),
    "j0": Row(lambda x: mp.besselj(0, x), ((-100, 100),), "special.bessel_j0", 2**-8, count=500),
    "j1": Row(lambda x: mp.besselj(1, x), ((-100, 100),), "special.bessel_j1", 2**-8, count=500),
    "y0": Row(lambda x: mp.bessely(0, x), ((0.001, 100),), "special.bessel_y0", 2**-8, count=500, within=(POSITIVE,)),
    "y1": Row(lambda x: mp.bessely(1, x), ((0.001, 100),), "special.bessel_y1", 2**-8, count=500, within=(POSITIVE,)),
    "spherical_j0": Row(lambda x: mp.sin(x) / x if x else mp.mpf(1), ((-100, 100),), "special.spherical_bessel_j0",
            count=300),
    "airy_ai": Row(mp.airyai, ((-40, 20),), "special.airy_ai", 2**-8, count=500, within=((-1e7, INF),)),
    "chebyshev_t_of": Row(_of_degree(mp.chebyt), ((-3, 3), DEGREES), "special.chebyshev_polynomial_t", count=300),
    "chebyshev_u_of": Row(_of_degree(mp.chebyu), ((-3, 3), DEGREES), "special.chebyshev_polynomial_u", count=300),
    "chebyshev_v_of": Row(_of_degree(_chebyshev_v), ((-3, 3), DEGREES), "special.chebyshev_polynomial_v", count=300),
    "chebyshev_w_of": Row(_of_degree(_chebyshev_w), ((-3, 3), DEGREES), "special.chebyshev_polynomial_w", count=300),
    "shifted_chebyshev_t_of": Row(_shifted(mp.chebyt), ((-3, 3), DEGREES), "special.shifted_chebyshev_polynomial_t",
            count=300),
    "shifted_chebyshev_u_of": Row(_shifted(mp.chebyu), ((-3, 3), DEGREES), "special.shifted_chebyshev_polynomial_u",
            count=300),
    "shifted_chebyshev_v_of": Row(_shifted(_chebyshev_v), ((-3, 3), DEGREES),
            "special.shifted_chebyshev_polynomial_v", count=300),
    "shifted_chebyshev_w_of": Row(_shifted(_chebyshev_w), ((-3, 3), DEGREES),
            "special.shifted_chebyshev_polynomial_w", count=300),
    "hermite_h_of": Row(_of_degree(mp.hermite), ((-9, 9), DEGREES), "special.hermite_polynomial_h", count=300),
    "hermite_he_of": Row(_of_degree(_hermite_e), ((-9, 9), DEGREES), "special.hermite_polynomial_he", count=300),
    "laguerre_l_of": Row(_of_degree(lambda n, x: mp.laguerre(n, 0, x)), ((-9, 20), DEGREES),
            "special.laguerre_polynomial_l", count=300),
    "legendre_p_of": Row(_of_degree(mp.legendre), ((-3, 3), DEGREES), "special.legendre_polynomial_p", count=300),
}


def compiled(folder: Path) -> ctypes.CDLL | None:
    """The headers' host form, or None without a compiler."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("clang++")
    if not compiler:
        return None
    out = folder / "math_host.so"
    try:
        fused = ["-mfma"] if platform.machine() in ("x86_64",
                "AMD64") and " fma " in Path("/proc/cpuinfo").read_text() else []
    except OSError:
        fused = []
    subprocess.run([compiler, "-std=c++20", "-O2", "-ffp-contract=off", "-fno-math-errno", *fused, "-w", "-shared",
            "-fPIC",
                    "-iquote", str(ROOT / "torch_usbgpu/compiler/include"), str(SOURCE), "-o", str(out)], check=True)
    return ctypes.CDLL(str(out))


def call(library: ctypes.CDLL, name: str, *arguments: np.ndarray) -> np.ndarray:
    arrays = [np.ascontiguousarray(a) for a in arguments]
    result = np.empty_like(arrays[0])
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (*arrays, result)]
    getattr(library, f"{name}_f{result.itemsize * 8}")(*pointers, ctypes.c_long(result.size))
    return result


def points(row: Row, dtype: type, count: int, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    arguments = []
    for domain in row.domains:
        if isinstance(domain, list):
            arguments.append(random.choice(domain, count).astype(dtype))
            continue
        low, high = domain
        # Most of them evenly, some by magnitude: small arguments are where series and tails meet.
        x = random.uniform(low, high, count)
        few = count // 3
        small = np.exp(random.uniform(np.log(1e-3), np.log(max(abs(low), abs(high))), few)) * (random.choice([-1, 1],
                few) if low < 0 else 1)
        x[:few] = np.clip(small, low, high)
        x = x.astype(dtype)
        inside = (x > dtype(low)) & (x < dtype(high))
        arguments.append(np.where(inside, x, dtype(low + (high - low) / 2)))
    for a in arguments:
        random.shuffle(a)
    return [np.concatenate([a, b]) for a, b in zip(arguments, asked(row, arguments, dtype, random), strict=True)]


def asked(row: Row, arguments: list[np.ndarray], dtype: type, random: np.random.Generator) -> list[np.ndarray]:
    """PyTorch's values (of two arguments: each with each, and with some of the others), at most as many as those."""
    choices = []
    for at, (domain, some) in enumerate(zip(row.domains, arguments, strict=True)):
        low, high = row.within[at] if row.within else (-INF, INF)
        values = [dtype(v) for v in (domain if isinstance(domain, list) else VALUES) if low <= dtype(v) <= high]
        choices.append(values + (list(some[:4]) if len(arguments) > 1 else []))
    rows = np.array(list(itertools.product(*choices)), dtype).reshape(-1, len(arguments))
    return list(random.permutation(rows)[:some.size].T)


def measure(library: ctypes.CDLL, name: str, dtype: type, count: int, seed: int = 1) -> tuple[float, tuple]:
    """The largest error in units of the last place, and where it is."""
    row, info = ROWS[name], np.finfo(dtype)
    arguments = points(row, dtype, count, seed)
    got = call(library, row.of or name, *arguments)
    worst = (0.0, ())
    with mp.workprec(row.precision):
        for *x, result in zip(*(a.tolist() for a in arguments), got.tolist(), strict=True):
            try:
                wanted = mp.re(row.reference(*(mp.mpf(v) for v in x)))
            except (ValueError, ZeroDivisionError):        # a pole, where each function has an answer of its own
                continue
            magnitude = max(abs(wanted), mp.mpf(row.zeros) / (1 + abs(mp.mpf(x[-1]))) if row.zeros else 0)
            if magnitude == 0 or abs(wanted) < float(info.tiny):
                error = 0.0 if abs(mp.mpf(result) - wanted) <= float(info.smallest_subnormal) else float("inf")
            elif abs(wanted) > float(info.max):
                error = 0.0 if np.isinf(result) and (result > 0) == (wanted > 0) else float("inf")
            elif not np.isfinite(result):
                error = float("inf")
            else:
                unit = mp.mpf(2) ** max(mp.frexp(magnitude)[1] - info.nmant - 1, info.minexp - info.nmant)
                error = float(abs(mp.mpf(result) - wanted) / unit)
            if error > worst[0]:
                worst = (error, tuple(x))
    return worst


HEAD = """# Accuracy of the device's mathematics

Written by `tools/device_math.py`: run it to renew the figures. Each function is compared with mpmath at
random arguments of its domain (their number is in the table), of which a third are spread over the
magnitudes, and at the small and large values of PyTorch's own elementwise tests
(VALUES
with either sign; of two arguments: each with each and with some of the others) as far as the column
"values" goes: where the function is defined, or where it says so below. The figures are the largest errors found.
The unit is that of the last place (ULP) of the exact result; 0.5 is correct rounding. The device, the
emulated device and the host that runs the tool compute the same bits (`tests/compiler`).

A result near a zero (of the functions marked *) is measured against the unit of 2^-8/(1 + |x|), x the last
argument: there the error is absolute. Such a zero is no number of the format, and a change of the argument by
half of its own unit changes the result there by more than the error that is allowed. Where a zero is a number or
is the only one (lgamma at 1 and 2, digamma above 0) the error is measured like any other.

| PyTorch function | arguments | values | number | float32 | float64 |
|---|---|---|---|---|---|
"""
FOOT = """
No bound is looser than 4 ULP (`tests/compiler/test_device_math.py` measures a sample of every row). Not asked:
`airy_ai` below -1e7, where the phase needs more bits than a pair of doubles has; the polygamma functions below
-1e5 and `special.zeta` below -2e4 and above 2000, where mpmath takes minutes.

float16 and bfloat16 are computed in float32 and rounded once. Integer and bool arguments are computed in
float32, as on the CPU.
"""


def domain_text(row: Row) -> str:
    texts = [f"{d[0]:g} ... {d[-1]:g}" if isinstance(d, list) else f"{d[0]:g} ... {d[1]:g}" for d in row.domains]
    return ", ".join(texts)


def within_text(row: Row) -> str:
    texts = []
    for low, high in row.within or [(-INF, INF)]:
        texts.append("all" if high == INF and low == -INF else f"> {low:g}" if high == INF else f"{low:g} ... {high:g}")
    return ", ".join(texts)


def line(row: Row, single: float, double: float) -> str:
    return (f"| {row.title}{'*' if row.zeros else ''} | {domain_text(row)} | {within_text(row)} | {row.count} | "
            f"{single:.2f} | {double:.2f} |")


def main() -> None:
    names = sys.argv[1:]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        library = compiled(Path(folder))
        assert library is not None, "a C++ compiler is needed"
        for name in names or ROWS:
            row = ROWS[name]
            errors = {dtype: measure(library, name, dtype, row.count) for dtype in (np.float32, np.float64)}
            print(name, {d.__name__: f"{e:.2f} at {x}" for d, (e, x) in errors.items()}, flush=True)
            lines.append(line(row, errors[np.float32][0], errors[np.float64][0]))
    if not names:
        values = ", ".join(f"{v:.10g}" for v in VALUES if v > 0)
        DOCUMENT.write_text(HEAD.replace("VALUES", values) + "\n".join(lines) + "\n" + FOOT)


if __name__ == "__main__":
    main()
