"""Measures the device math headers against mpmath and writes docs/device-math.md.

    python tools/device_math.py                 # the whole table (minutes), into the docs
    python tools/device_math.py i0 zeta         # some rows, to the terminal

The headers are compiled for the host, where they give the same bits as on the device
(tests/compiler checks that). The unit is that of the last place of the exact result; a result that
rounds to the exact one has an error of at most 0.5.
"""
from __future__ import annotations

import ctypes
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


def _gamma_q(a, x):
    return mp.gammainc(a, x, mp.inf, regularized=True)


def _gamma_p(a, x):
    return mp.gammainc(a, 0, x, regularized=True)


def _chebyshev_v(n, x):
    return mp.chebyu(n, x) - mp.chebyu(n - 1, x) if n else mp.mpf(1)


def _chebyshev_w(n, x):
    return mp.chebyu(n, x) + mp.chebyu(n - 1, x) if n else mp.mpf(1)


def _hermite_e(n, x):
    return mp.sqrt(2) ** -n * mp.hermite(n, x / mp.sqrt(2))


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
    "log": Row(mp.log, ((1e-6, 1e3),), "log"), "log2": Row(lambda x: mp.log(x, 2), ((1e-6, 1e3),), "log2"),
    "log10": Row(mp.log10, ((1e-6, 1e3),), "log10"), "log1p": Row(mp.log1p, ((-0.999, 1e3),), "log1p"),
    "sin": Row(mp.sin, ((-1e4, 1e4),), "sin"), "cos": Row(mp.cos, ((-1e4, 1e4),), "cos"),
    "tan": Row(mp.tan, ((-1e3, 1e3),), "tan"), "asin": Row(mp.asin, ((-1, 1),), "asin"),
    "acos": Row(mp.acos, ((-1, 1),), "acos"), "atan": Row(mp.atan, ((-1e2, 1e2),), "atan"),
    "sinh": Row(mp.sinh, ((-80, 80),), "sinh"), "cosh": Row(mp.cosh, ((-80, 80),), "cosh"),
    "tanh": Row(mp.tanh, ((-10, 10),), "tanh"), "asinh": Row(mp.asinh, ((-1e3, 1e3),), "asinh"),
    "acosh": Row(mp.acosh, ((1, 1e3),), "acosh"), "atanh": Row(mp.atanh, ((-0.9999, 0.9999),), "atanh"),
    "sigmoid": Row(lambda x: 1 / (1 + mp.exp(-x)), ((-80, 80),), "sigmoid"),
    "rsqrt": Row(lambda x: 1 / mp.sqrt(x), ((1e-6, 1e6),), "rsqrt"),
    "pow": Row(mp.power, ((1e-3, 1e3), (-9, 9)), "pow"), "hypot": Row(mp.hypot, ((-1e3, 1e3), (-1e3, 1e3)), "hypot"),
    "atan2": Row(mp.atan2, ((-9, 9), (-9, 9)), "atan2"),
    "erf": Row(mp.erf, ((-6, 6),), "erf"), "erfc": Row(mp.erfc, ((-6, 9),), "erfc"),
    "erfcx": Row(lambda x: mp.exp(x * x) * mp.erfc(x), ((-9, 100),), "special.erfcx"),
    "erfinv": Row(mp.erfinv, ((-1, 1),), "erfinv"),
    "ndtri": Row(_ndtri, ((0, 1),), "special.ndtri"), "log_ndtr": Row(_log_ndtr, ((-100, 9),), "special.log_ndtr"),
    "lgamma": Row(lambda x: mp.log(abs(mp.gamma(x))), ((0, 100),), "lgamma, mvlgamma"),
    "digamma": Row(mp.digamma, ((0, 100),), "digamma"),
    "polygamma_1": Row(lambda x: mp.polygamma(1, x), ((-9, 100),), "polygamma(1)", precision=300),
    "polygamma_2": Row(lambda x: mp.polygamma(2, x), ((0, 100),), "polygamma(2)", precision=300),
    "polygamma_5": Row(lambda x: mp.polygamma(5, x), ((-9, 100),), "polygamma(5)", precision=300),
    "zeta": Row(mp.zeta, ((1.01, 30), (0.01, 30)), "special.zeta", bound=8.0, precision=300),
    "igamma": Row(_gamma_p, ((0.01, 30), (0.01, 30)), "igamma", bound=8.0, precision=300), "igammac": Row(_gamma_q,
            ((0.01, 30), (0.01, 30)), "igammac", bound=12.0, precision=300),
    "i0": Row(lambda x: mp.besseli(0, x), ((-80, 80),), "i0, special.modified_bessel_i0"),
    "i0e": Row(lambda x: mp.exp(-abs(x)) * mp.besseli(0, x), ((-1e3, 1e3),), "special.i0e"),
    "i1": Row(lambda x: mp.besseli(1, x), ((-80, 80),), "special.i1, special.modified_bessel_i1"),
    "i1e": Row(lambda x: mp.exp(-abs(x)) * mp.besseli(1, x), ((-1e3, 1e3),), "special.i1e"),
    "k0": Row(lambda x: mp.besselk(0, x), ((0.001, 80),), "special.modified_bessel_k0", count=300),
    "k0e": Row(lambda x: mp.exp(x) * mp.besselk(0, x), ((0.001, 1e3),), "special.scaled_modified_bessel_k0", count=300),
    "k1": Row(lambda x: mp.besselk(1, x), ((0.001, 80),), "special.modified_bessel_k1", count=300),
    "k1e": Row(lambda x: mp.exp(x) * mp.besselk(1, x), ((0.001, 1e3),), "special.scaled_modified_bessel_k1", count=300),
    "j0": Row(lambda x: mp.besselj(0, x), ((-100, 100),), "special.bessel_j0", 2**-8, count=500),
    "j1": Row(lambda x: mp.besselj(1, x), ((-100, 100),), "special.bessel_j1", 2**-8, count=500),
    "y0": Row(lambda x: mp.bessely(0, x), ((0.001, 100),), "special.bessel_y0", 2**-8, count=500),
    "y1": Row(lambda x: mp.bessely(1, x), ((0.001, 100),), "special.bessel_y1", 2**-8, count=500),
    "spherical_j0": Row(lambda x: mp.sin(x) / x if x else mp.mpf(1), ((-100, 100),), "special.spherical_bessel_j0",
            count=300),
    "airy_ai": Row(mp.airyai, ((-40, 20),), "special.airy_ai", 2**-8, count=500),
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
    return arguments


def measure(library: ctypes.CDLL, name: str, dtype: type, count: int, seed: int = 1) -> tuple[float, tuple]:
    """The largest error in units of the last place, and where it is."""
    row, info = ROWS[name], np.finfo(dtype)
    arguments = points(row, dtype, count, seed)
    got = call(library, name, *arguments)
    worst = (0.0, ())
    with mp.workprec(row.precision):
        for *x, result in zip(*(a.tolist() for a in arguments), got.tolist(), strict=True):
            wanted = mp.re(row.reference(*(mp.mpf(v) for v in x)))
            magnitude = max(abs(wanted), mp.mpf(row.zeros) / (1 + abs(mp.mpf(x[0]))) if row.zeros else 0)
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
magnitudes. The figures are the largest errors found. The unit is that of the last
place (ULP) of the exact result; 0.5 is correct rounding. The device, the emulated device and the host
that runs the tool compute the same bits (`tests/compiler`).

A result near a zero of an oscillating function (marked *) is measured against the unit of 2^-8/(1 + |x|):
there the error is absolute.

| PyTorch function | arguments | number | float32 | float64 |
|---|---|---|---|---|
"""
FOOT = """
Three float64 functions of two arguments are looser than the 4 ULP that all others keep: `special.zeta`,
`igamma` and `igammac`, whose sums have many terms.

float16 and bfloat16 are computed in float32 and rounded once. Integer and bool arguments are computed in
float32, as on the CPU.
"""


def domain_text(row: Row) -> str:
    texts = [f"{d[0]:g} ... {d[-1]:g}" if isinstance(d, list) else f"{d[0]:g} ... {d[1]:g}" for d in row.domains]
    return ", ".join(texts)


def line(row: Row, single: float, double: float) -> str:
    return f"| {row.title}{'*' if row.zeros else ''} | {domain_text(row)} | {row.count} | {single:.2f} | {double:.2f} |"


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
        DOCUMENT.write_text(HEAD + "\n".join(lines) + "\n" + FOOT)


if __name__ == "__main__":
    main()
