"""Error of the device math headers, compiled for the host, against wider arithmetic.

float: a stride over all 2^32 patterns against long double (or double where that is all there is).
double: thousands of points against mpmath. The bounds are those that the headers state.
"""
from __future__ import annotations

import ctypes
import math
import os
import platform
import shutil
import subprocess
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest

special = pytest.importorskip("scipy.special", reason="references for erf, erfinv and the gamma functions")

HERE = Path(__file__).parent
INCLUDE = HERE.parent.parent / "torch_usbgpu" / "compiler" / "include"
Wide = np.longdouble
PI = Wide("3.14159265358979323846264338327950288")


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("clang++")
    if not compiler:
        pytest.skip("no C++ compiler on this host")
    out = tmp_path_factory.mktemp("math") / "math_host.so"
    # Without a fused multiply-add instruction the C library's fma is right too, only slower.
    fused = ["-mfma"] if platform.machine() in ("x86_64", "AMD64") and _has_fma() else []
    subprocess.run([compiler, "-std=c++20", "-O2", "-ffp-contract=off", "-fno-math-errno", *fused, "-w", "-shared",
                    "-fPIC", "-iquote", str(INCLUDE), str(HERE / "math_host.cpp"), "-o", str(out)], check=True)
    return ctypes.CDLL(str(out))


def _has_fma() -> bool:
    try:
        return " fma " in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def call(library, name, *arguments):
    arrays = [np.ascontiguousarray(a) for a in arguments]
    result = np.empty_like(arrays[0])
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (*arrays, result)]
    getattr(library, f"{name}_f{result.itemsize * 8}")(*pointers, ctypes.c_long(result.size))
    return result


def ulps(got, wanted, smallest_exponent, mantissa_bits):
    """Distance in units of the last place of the wanted value; infinite where the class differs."""
    wanted = np.asarray(wanted, Wide)
    with np.errstate(all="ignore"):
        unit = np.ldexp(Wide(1), np.maximum(np.frexp(np.abs(wanted))[1] - mantissa_bits, smallest_exponent))
        distance = np.abs(got.astype(Wide) - wanted) / unit
        rounded = wanted.astype(got.dtype)
    same = (np.isnan(got) & np.isnan(wanted)) | ((got == rounded) & (np.isinf(got) | (got == 0)))
    distance = np.where(same, 0, distance)
    return np.where(np.isnan(distance), np.inf, distance)


def _double(f):
    return lambda x: f(x.astype(np.float64))


def _sinpi(x):
    turn = np.fmod(x, 2)
    nearest = np.round(2 * turn)
    rest = (turn - nearest / 2) * PI
    quadrant = nearest.astype(np.float64) % 4
    return np.select([quadrant == 0, quadrant == 1, quadrant == 2, quadrant == 3],
                     [np.sin(rest), np.cos(rest), -np.sin(rest), -np.cos(rest)], np.nan)


# name: (reference in wide arithmetic, bound in ulp)
FLOAT = {
    "exp": (np.exp, 1.0), "exp2": (np.exp2, 1.0), "exp10": (lambda x: np.power(Wide(10), x), 1.2),
    "expm1": (np.expm1, 1.7), "log": (np.log, 1.0), "log2": (np.log2, 1.5), "log10": (np.log10, 1.2),
    "log1p": (np.log1p, 1.7), "sin": (np.sin, 1.0), "cos": (np.cos, 1.0), "tan": (np.tan, 3.0),
    "asin": (np.arcsin, 2.5), "acos": (np.arccos, 1.5), "atan": (np.arctan, 1.5),
    "sinh": (np.sinh, 2.0), "cosh": (np.cosh, 2.0), "tanh": (np.tanh, 1.5),
    "asinh": (np.arcsinh, 0.51), "acosh": (np.arccosh, 0.51), "atanh": (np.arctanh, 0.51),
    "cbrt": (np.cbrt, 0.51), "rsqrt": (lambda x: 1 / np.sqrt(x), 1.5),
    "erf": (_double(special.erf), 1.5), "erfc": (_double(special.erfc), 5.0),
    "erfinv": (_double(special.erfinv), 0.51),
    "lgamma": (_double(special.gammaln), 1.0), "tgamma": (_double(special.gamma), 1.0),
    "digamma": (_double(special.digamma), 1.0), "sinpi": (_sinpi, 0.51),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 2.5),
    "softplus": (lambda x: np.where(x > 0, x, 0) + np.log1p(np.exp(-np.abs(x))), 3.0),
}
STRIDE = 8209            # prime: 523,000 points, every exponent


@pytest.mark.parametrize("name", FLOAT)
def test_float(library, name):
    if np.finfo(Wide).nmant < 60 and name in ("sin", "cos", "tan", "sinpi"):
        pytest.skip("long double is double here: no reference for large arguments")
    reference, bound = FLOAT[name]
    x = np.arange(0, 2**32, STRIDE, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        wanted = reference(x.astype(Wide))
        got = call(library, name, x)
    error = ulps(got, wanted, -149, 24)
    worst = int(np.argmax(error))
    assert error[worst] <= bound, f"{name}({x[worst]!r}) = {got[worst]!r}, should be {wanted[worst]!r}"


def _points():
    random = np.random.default_rng(7)
    wide = np.concatenate([np.exp(random.uniform(-700, 700, 600)) * random.choice([-1, 1], 600),
                           random.normal(size=600), random.normal(size=400) * 30])
    unit = np.concatenate([random.uniform(-1, 1, 600), np.exp(-random.uniform(0, 40, 200)),
                           1 - np.exp(-random.uniform(0, 36, 200))])
    near_one = 1 + random.normal(size=300) * 10.0 ** -random.uniform(0, 15, 300)
    # The first is the double closest to a multiple of pi/2 (Muller, Elementary Functions, range reduction).
    trig = np.concatenate([wide, [6381956970095103 * 2.0**797, 710 * np.pi / 2]])
    some = random.uniform(-30, 30, 500)
    return {"wide": wide, "unit": unit, "positive": np.concatenate([np.abs(wide), near_one]), "trig": trig,
            "exponents": np.concatenate([random.uniform(-745, 709, 600), wide[np.abs(wide) < 700]]),
            "decades": random.uniform(-307, 308, 600), "octaves": random.uniform(-1070, 1023, 600),
            "above_minus_one": np.concatenate([np.abs(wide), -unit[unit > 0], unit]), "some": some,
            "above_one": 1 + np.abs(wide), "erfc": random.uniform(-6, 26, 800), "gamma": random.uniform(1e-3, 160, 300)}


POINTS = _points()
# name: (reference, points, bound in ulp)
DOUBLE = {
    "exp": (mp.exp, "exponents", 1.0), "exp2": (lambda x: mp.mpf(2) ** x, "octaves", 1.0),
    "exp10": (lambda x: mp.mpf(10) ** x, "decades", 1.0), "expm1": (mp.expm1, "exponents", 1.5),
    "log": (mp.log, "positive", 1.0), "log2": (lambda x: mp.log(x, 2), "positive", 1.0),
    "log10": (mp.log10, "positive", 1.0), "log1p": (mp.log1p, "above_minus_one", 1.0),
    "sin": (mp.sin, "trig", 1.0), "cos": (mp.cos, "trig", 1.0), "tan": (mp.tan, "trig", 2.5),
    "asin": (mp.asin, "unit", 2.0), "acos": (mp.acos, "unit", 1.5), "atan": (mp.atan, "wide", 2.0),
    "sinh": (mp.sinh, "some", 2.0), "cosh": (mp.cosh, "some", 1.5), "tanh": (mp.tanh, "wide", 2.5),
    "asinh": (mp.asinh, "wide", 2.5), "acosh": (mp.acosh, "above_one", 2.5), "atanh": (mp.atanh, "unit", 2.5),
    "cbrt": (lambda x: mp.sign(x) * mp.cbrt(abs(x)), "wide", 1.0),
    "erf": (mp.erf, "wide", 1.5), "erfc": (mp.erfc, "erfc", 5.0), "erfinv": (mp.erfinv, "unit", 3.0),
    "sinpi": (mp.sinpi, "some", 2.0), "cospi": (mp.cospi, "some", 2.0),
    "sigmoid": (lambda x: 1 / (1 + mp.exp(-x)), "some", 2.5), "lgamma": (mp.loggamma, "gamma", 4.0),
    "tgamma": (mp.gamma, "some", 4.0),
}


@pytest.mark.parametrize("name", DOUBLE)
def test_double(library, name):
    reference, points, bound = DOUBLE[name]
    x = POINTS[points]
    got = call(library, name, x)
    worst = (0.0, 0.0)
    with mp.workprec(160):
        for argument, result in zip(x.tolist(), got.tolist(), strict=True):
            wanted = reference(mp.mpf(argument))
            if mp.isinf(wanted) or abs(wanted) > mp.mpf(2) ** 1024:
                assert result == (np.inf if wanted > 0 else -np.inf), argument
                continue
            if wanted == 0:
                assert result == 0, argument
                continue
            unit = mp.mpf(2) ** max(mp.frexp(abs(wanted))[1] - 53, -1074)
            worst = max(worst, (float(abs(mp.mpf(result) - wanted) / unit), argument))
    assert worst[0] <= bound, f"{name}({worst[1]!r}): {worst[0]} ulp"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pow_error(library, dtype):
    random = np.random.default_rng(3)
    x = np.exp(random.normal(size=1500) * 5).astype(dtype)
    y = (random.normal(size=1500) * np.exp(random.uniform(0, 5, 1500))).astype(dtype)
    got = call(library, "pow", x, y)
    info = np.finfo(dtype)
    worst = 0.0
    with mp.workprec(160):
        for a, b, result in zip(x.tolist(), y.tolist(), got.tolist(), strict=True):
            wanted = mp.mpf(a) ** mp.mpf(b)
            if float(info.tiny) <= wanted <= float(info.max):
                unit = mp.mpf(2) ** (mp.frexp(wanted)[1] - info.nmant - 1)
                worst = max(worst, float(abs(mp.mpf(result) - wanted) / unit))
            elif wanted > float(info.max) * 2:
                assert result == np.inf
    assert worst <= (1.0 if dtype == np.float64 else 0.51)


def _ieee_remainder(x, y):
    result = np.full(x.shape, np.nan)
    for i, (a, b) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        if np.isfinite(a) and b != 0 and not np.isnan(b):
            result[i] = math.remainder(a, b)
    return result


SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, np.inf, -np.inf, np.nan, 3.0, -3.0, 2.5, 1e30, -1e30]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name,reference", [
    ("pow", np.power), ("atan2", np.arctan2), ("hypot", np.hypot), ("fmod", np.fmod), ("remainder", _ieee_remainder),
    ("nextafter", np.nextafter)])
def test_special_values(library, name, reference, dtype):
    """Every pair of special values, the sign of zeros included."""
    x, y = (a.ravel().astype(dtype) for a in np.meshgrid(SPECIAL, SPECIAL))
    with np.errstate(all="ignore"):
        wanted = reference(x, y).astype(dtype)
        got = call(library, name, x, y)
        close = np.abs(got - wanted) <= 2 * np.finfo(dtype).eps * np.abs(wanted)
    same = (np.isnan(got) & np.isnan(wanted)) | ((got == wanted) & (np.signbit(got) == np.signbit(wanted))) | close
    assert same.all(), [(x[i], y[i], got[i], wanted[i]) for i in np.nonzero(~same)[0]]


@pytest.mark.parametrize("dtype,word", [(np.float32, np.uint32), (np.float64, np.uint64)])
@pytest.mark.parametrize("name,reference", [("fmod", np.fmod), ("remainder", _ieee_remainder)])
def test_remainders_are_exact(library, name, reference, dtype, word):
    random = np.random.default_rng(5)
    bits = random.integers(0, np.iinfo(word).max, 4000, dtype=word)
    x = np.concatenate([bits.view(dtype), (random.normal(size=2000) * 8).astype(dtype),
                        (random.integers(-40, 40, 2000) / 4).astype(dtype)])
    y = np.concatenate([random.permutation(bits).view(dtype), random.normal(size=2000).astype(dtype),
                        np.full(2000, 0.5, dtype)])
    with np.errstate(all="ignore"):
        wanted = reference(x, y).astype(dtype)
        got = call(library, name, x, y)
    wrong = ~((got == wanted) | (np.isnan(got) & np.isnan(wanted)))
    assert not wrong.any(), [(x[i], y[i], got[i], wanted[i]) for i in np.nonzero(wrong)[0]][:5]
