"""Fits the polynomials of torch_usbgpu/compiler/include/usbgpu/math (Remez exchange in mpmath).

Run it to print all tables, or with names to print some: `python tools/fit_device_math.py sin_f32`.
The figure after each is the largest error of the fit, as a power of two, relative to the function
(before the coefficients are rounded).
"""
from __future__ import annotations

import sys
from collections.abc import Callable

import mpmath as mp
import numpy as np

mp.mp.prec = 200


def remez(f: Callable, low, high, terms: int, weight: Callable) -> tuple[list, object]:
    """Coefficients c with sum c[i] x^i ~ f(x) on [low, high], least largest |weight(x) * error|."""
    low, high = mp.mpf(low), mp.mpf(high)
    count = terms + 1
    # In u of [-1, 1] the system stays well conditioned; 200 bits cover the change of variable.
    points = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * i / (count - 1)) for i in range(count)]
    # A point where the weight vanishes says nothing: step aside.
    heaviest = max(weight(x) for x in points)
    points = [x if weight(x) > heaviest / 10**6 else x + (high - low) / (3 * count * count) for x in points]
    grid = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * (i + mp.mpf(1) / 3) / 600) for i in range(600)]
    grid = [low, *grid, high]
    wanted = [f(x) for x in grid]
    weights = [weight(x) for x in grid]
    for _ in range(12):
        system, right = mp.matrix(count, count), mp.matrix(count, 1)
        for row, x in enumerate(points):
            for column in range(terms):
                system[row, column] = x ** column * weight(x)
            system[row, terms] = (-1) ** row
            right[row] = f(x) * weight(x)
        solved = mp.lu_solve(system, right)
        coefficients = [solved[i] for i in range(terms)]
        errors = [(mp.polyval(coefficients[::-1], x) - y) * w for x, y, w in zip(grid, wanted, weights, strict=True)]
        # One extreme per run of equal sign.
        extremes, start = [], 0
        for i in range(1, len(grid) + 1):
            if i == len(grid) or (errors[i] > 0) != (errors[start] > 0):
                extremes.append(max(range(start, i), key=lambda j: abs(errors[j])))
                start = i
        if len(extremes) < count:
            break
        while len(extremes) > count:
            ends = (0, -1)
            extremes.pop(min(ends, key=lambda e: abs(errors[extremes[e]])))
        points = [grid[i] for i in extremes]
        worst = max(abs(e) for e in errors)
        if worst <= abs(solved[terms]) * mp.mpf("1.02"):
            break
    return coefficients, max(abs(e) for e in errors)


def _series(f: Callable) -> Callable:
    """f with removable singularities at 0 stepped over."""
    return lambda x: f(x if x != 0 else mp.mpf(2) ** -60)


def _gamma_core(x):
    return mp.loggamma(1 + x) / (x * (x - 1))


def _erfcx_t(t):
    x = 4 * (1 + t) / (1 - t)
    return mp.exp(x * x) * mp.erfc(x) * (1 + 2 * x)


LN2 = mp.log(2)
# name: (function, low, high, terms, weight). Weights turn the error into one relative to the result.
FITS: dict[str, tuple] = {}


def fit(name, f, low, high, terms, weight=lambda x: 1):
    FITS[name] = (_series(f), low, high, terms, lambda x, w=_series(weight): abs(w(x)))


for suffix, terms in (("f32", 5), ("f64", 10)):
    fit(f"exp_{suffix}", lambda r: (mp.exp(r) - 1 - r) / r**2, -LN2 / 2, LN2 / 2, terms, lambda r: r**2)
for suffix, terms in (("f32", 4), ("f64", 9)):    # expm1 relative to itself
    fit(f"expm1_{suffix}", lambda r: (mp.expm1(r) - r) / r**2, -LN2 / 2, LN2 / 2, terms + 1, lambda r: r)
fit("exp2_f32", lambda r: mp.mpf(2) ** r, -0.5, 0.5, 7)
fit("exp10_f32", lambda r: mp.mpf(10) ** r, -0.1506, 0.1506, 7)
fit("log_f32", lambda f: (mp.log(1 + f) - f + f * f / 2) / f**3, -1 / mp.mpf(3), 1 / mp.mpf(3), 9, lambda f: f**2)
fit("log_f64", lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z, 0, mp.mpf("0.0295"), 7, lambda z: z)
fit("logtail_f64", lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2 - 2 * z / 3) / z**2, 0,
    mp.mpf("0.0295"), 7, lambda z: z)
for suffix, terms in (("f32", 3), ("f64", 6)):
    limit = (mp.pi / 4) ** 2 * mp.mpf("1.01")
    fit(f"sin_{suffix}", lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, limit, terms, lambda z: z)
    fit(f"cos_{suffix}", lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, 0, limit, terms, lambda z: z**2)
fit("tanh_f32", lambda z: (mp.tanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, mp.mpf("0.37"), 6, lambda z: z)
fit("atan_f32", lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, 1, 9, lambda z: z)
fit("atan_f64", lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, mp.mpf("0.1717"), 12, lambda z: z)
fit("asin_f32", lambda z: (mp.asin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, mp.mpf("0.25"), 5, lambda z: z)
fit("asin_f64", lambda z: (mp.asin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, mp.mpf("0.25"), 13, lambda z: z)
fit("sinh_f32", lambda z: (mp.sinh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, 1, 4, lambda z: z)
fit("erf_f32", lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, 0, 1, 7)
fit("erf_f64", lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, 0, 1, 13)
# t = (x - 4) / (x + 4), x from 0.5 (f32: to 10.1, f64: to 27.3): erfcx(x) (1 + 2 x)
fit("erfcx_f32", _erfcx_t, mp.mpf(-3.5) / 4.5, mp.mpf("6.2") / mp.mpf("14.2"), 11)
fit("erfcx_f64", _erfcx_t, mp.mpf(-3.5) / 4.5, mp.mpf("23.3") / mp.mpf("31.3"), 25)
# lgamma(1 + x) = x (x - 1) P(x) for x in [0, 1]
fit("lgamma_f64", lambda x: _gamma_core(x if abs(x - 1) > mp.mpf(2) ** -60 else 1 - mp.mpf(2) ** -60), 0, 1, 22)
# erfinv(x) / x by w = -log(1 - x^2); a start for one step of third order
fit("erfinv_low", lambda w: (lambda x: mp.erfinv(x) / x)(mp.sqrt(-mp.expm1(-w))), 0, 6, 10)
fit("erfinv_high", lambda s: _erfinv_tail(s), mp.sqrt(mp.mpf(5.9)), mp.sqrt(mp.mpf(37)), 9)


def _erfinv_tail(s):
    """erfinv at 1 - x^2 = exp(-s^2), close to 1: solve erfc(y) = q by Newton on log erfc."""
    q = mp.exp(-s * s) / (1 + mp.sqrt(1 - mp.exp(-s * s)))
    y = s
    for _ in range(40):
        c = mp.erfc(y)
        step = (mp.log(c) - mp.log(q)) * c * mp.sqrt(mp.pi) / 2 * mp.exp(y * y)
        y += step
        if abs(step) < mp.mpf(2) ** -150:
            break
    return y


def main() -> None:
    for name in sys.argv[1:] or FITS:
        f, low, high, terms, weight = FITS[name]
        coefficients, worst = remez(f, low, high, terms, weight)
        single = name.endswith("f32")
        texts = [f"{float(np.float32(float(c))).hex()}f" if single else float(c).hex() for c in coefficients]
        print(f"{name}: 2^{float(mp.log(worst, 2)):.1f}")
        print("    " + ", ".join(texts))


if __name__ == "__main__":
    main()
