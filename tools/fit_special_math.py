"""Writes torch_usbgpu/compiler/include/usbgpu/math/fits_*.h: the polynomials of the special functions.

Each is the Chebyshev interpolant of a smooth core of the function (its decay, its oscillation and its
zeros divided out), in powers of t in [-1, 1], computed by mpmath to 60 digits. Terms are added until the
interpolant differs from the function by less than 2^-58 of it.

    python tools/fit_special_math.py            # rewrites the headers
    python tools/fit_special_math.py --print    # to the terminal, with each fit's error
"""
from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import mpmath as mp

mp.mp.dps = 60
FOLDER = Path(__file__).parent.parent / "torch_usbgpu/compiler/include/usbgpu/math"
ENOUGH = mp.mpf(2) ** -58


def interpolate(f: Callable, terms: int) -> list:
    """Coefficients in powers of t of the interpolant at `terms` Chebyshev points."""
    angles = [mp.pi * (2 * i + 1) / (2 * terms) for i in range(terms)]
    values = [f(mp.cos(a)) for a in angles]
    chebyshev = [2 * mp.fsum(v * mp.cos(k * a) for v, a in zip(values, angles,
            strict=True)) / terms for k in range(terms)]
    chebyshev[0] /= 2
    before, now, result = [mp.mpf(1)], [mp.mpf(0), mp.mpf(1)], [mp.mpf(0)] * terms
    for k in range(terms):
        t_k = before
        for i, c in enumerate(t_k):
            result[i] += chebyshev[k] * c
        following = [mp.mpf(0), *(2 * c for c in now)]
        for i, c in enumerate(before):
            following[i] -= c
        before, now = now, following
    return result


def fitted(f: Callable) -> tuple[list, object]:
    grid = [mp.cos(mp.pi * (i + mp.mpf("0.37")) / 90) for i in range(90)]
    wanted = [f(t) for t in grid]
    for terms in range(8, 60, 2):
        coefficients = interpolate(f, terms)
        worst = max(abs(mp.polyval(coefficients[::-1], t) / w - 1) for t, w in zip(grid, wanted, strict=True))
        if worst < ENOUGH:
            break
    return coefficients, worst


# Of each header: what hip_runtime.h does not need for CUDA's functions stays out of what it reads.
FITS: dict[str, dict[str, tuple[Callable, str]]] = {"bessel": {}, "gamma": {}, "incomplete_gamma": {}}


def fit(name: str, f: Callable, comment: str, header: str = "bessel") -> None:
    FITS[header][name] = (f, comment)


def over(low, high) -> Callable:
    """x of t, linear from [-1, 1] to [low, high]."""
    low, high = mp.mpf(low), mp.mpf(high)
    return lambda t: (low + high) / 2 + (high - low) / 2 * t


def tail(start, power=1) -> Callable:
    """x of t: t = 2 (start/x)^power - 1, from infinity down to `start`."""
    return lambda t: mp.mpf(start) / ((t + 1) / 2) ** (mp.mpf(1) / power)


# ---- modified Bessel functions, decay divided out
for order in (0, 1):
    fit(f"i{order}_tail", lambda t, n=order, x=tail(8): mp.sqrt(x(t)) * mp.exp(-x(t)) * mp.besseli(n, x(t)),
        f"sqrt(x) exp(-x) I{order}(x), x >= 8, t = 16/x - 1")
    fit(f"k{order}_middle", lambda t, n=order, x=over(1, 3): mp.sqrt(x(t)) * mp.exp(x(t)) * mp.besselk(n, x(t)),
        f"sqrt(x) exp(x) K{order}(x), 1 <= x <= 3, t = x - 2")
    fit(f"k{order}_tail", lambda t, n=order, x=tail(3): mp.sqrt(x(t)) * mp.exp(x(t)) * mp.besselk(n, x(t)),
        f"sqrt(x) exp(x) K{order}(x), x >= 3, t = 6/x - 1")


# ---- Bessel functions: J + i Y = sqrt(2 / (pi x)) M exp(i (x - (2n + 1) pi/4 + P/x))
def _hankel(n, x):
    """M exp(i P/x). Beyond 250, by Hankel's asymptotic series, whose smallest term is far below what is asked."""
    turn = mp.expj(-(x - (2 * n + 1) * mp.pi / 4))
    if x < 250:
        return mp.sqrt(mp.pi * x / 2) * (mp.besselj(n, x) + 1j * mp.bessely(n, x)) * turn
    total, term, k = mp.mpc(1), mp.mpc(1), 0
    while abs(term) > mp.mpf(10) ** -(mp.mp.dps + 2):
        k += 1
        term *= 1j * (4 * n * n - (2 * k - 1) ** 2) / (8 * k * x)
        total += term
    return total


def _phase_rest(n, x):
    """P without its limit, times x^2."""
    with mp.workdps(80):
        return (mp.arg(_hankel(n, x)) * x - mp.mpf(4 * n * n - 1) / 8) * x * x


for order in (0, 1):
    for part, x, where in (("middle", over("1.5", 5), "1.5 <= x <= 5, t = (x - 3.25)/1.75"),
                           ("tail", tail(5, 2), "x >= 5, t = 50/x^2 - 1")):
        fit(f"hankel{order}_modulus_{part}", lambda t, n=order, x=x: abs(_hankel(n, x(t))),
                f"M of order {order}, {where}")
        fit(f"hankel{order}_phase_{part}", lambda t, n=order, x=x: _phase_rest(n, x(t)),
                f"x^2 (P - {('-1/8', '3/8')[order]}) of order {order}, {where}")

Y0_ZERO = mp.findroot(lambda x: mp.bessely(0, x), mp.mpf("0.8936"))
_near_zero = over(mp.mpf("0.7") - Y0_ZERO, mp.mpf("1.5") - Y0_ZERO)
fit("y0_near_zero", lambda t: mp.bessely(0,
        Y0_ZERO + _near_zero(t)) / _near_zero(t) if _near_zero(t) else -mp.bessely(1, Y0_ZERO),
    "Y0(x)/(x - z) about its first zero z, 0.7 <= x <= 1.5, t = (x - 1.1)/0.4")

# ---- Airy's function
AIRY_ZERO = mp.airyaizero(1)
_near_airy_zero = over(mp.mpf("-2.6") - AIRY_ZERO, mp.mpf("-2.1") - AIRY_ZERO)
fit("airy_near_zero", lambda t: mp.airyai(AIRY_ZERO + _near_airy_zero(t)) / _near_airy_zero(t) if _near_airy_zero(t)
    else mp.airyai(AIRY_ZERO, derivative=1), "Ai(x)/(x - z) about its first zero z, -2.6 <= x <= -2.1, t = 4x + 9.4")
fit("airy_below", lambda t: mp.airyai(over("-2.1", "-1.1")(t)), "Ai(x), -2.1 <= x <= -1.1, t = 2x + 3.2")
fit("airy_middle", lambda t: mp.airyai(over("-1.1", 0)(t)), "Ai(x), -1.1 <= x <= 0, t = (x + 0.55)/0.55")
fit("airy_above", lambda t: mp.airyai(over(0, "1.1")(t)), "Ai(x), 0 <= x <= 1.1, t = (x - 0.55)/0.55")
fit("airy_beyond", lambda t: mp.airyai(over("1.1", "2.1")(t)), "Ai(x), 1.1 <= x <= 2.1, t = 2x - 3.2")


def _of_zeta(zeta):
    return (mp.mpf(3) / 2 * zeta) ** (mp.mpf(2) / 3)


def _airy_tail(t):
    zeta = tail(2)(t)
    x = _of_zeta(zeta)
    return 2 * mp.sqrt(mp.pi) * mp.root(x, 4) * mp.exp(zeta) * mp.airyai(x)


def _airy_wave(zeta):
    """sqrt(pi) x^(1/4) (Ai(-x) - i Bi(-x)) exp(-i (zeta - pi/4))"""
    x = _of_zeta(zeta)
    with mp.workdps(110):
        return mp.sqrt(mp.pi) * mp.root(x, 4) * (mp.airyai(-x) - 1j * mp.airybi(-x)) * mp.expj(-(zeta - mp.pi / 4))


fit("airy_tail", _airy_tail, "2 sqrt(pi) x^(1/4) exp(zeta) Ai(x), zeta = 2/3 x^1.5 >= 2, t = 4/zeta - 1")
for part, zeta_of, where in (("middle", over(2, 7), "2 <= zeta <= 7, t = (zeta - 4.5)/2.5"),
                             ("tail", tail(7, 2), "zeta >= 7, t = 98/zeta^2 - 1")):
    fit(f"airy_modulus_{part}", lambda t, z=zeta_of: abs(_airy_wave(z(t))),
            f"sqrt(pi) x^(1/4) |Ai(-x) - i Bi(-x)|, {where}")
    fit(f"airy_phase_{part}", lambda t, z=zeta_of: (mp.arg(_airy_wave(z(t))) * z(t) + mp.mpf(5) / 72) * z(t) ** 2,
        f"zeta^2 (5/72 + zeta times the phase beyond zeta - pi/4), {where}")

# ---- gamma function's family
fit("gamma_core", lambda t: mp.gamma(over(1, 2)(t)), "Gamma(x), 1 <= x <= 2, t = 2x - 3",
    "incomplete_gamma")
DIGAMMA_ZERO = mp.findroot(mp.digamma, mp.mpf("1.4616"))
fit("digamma_near_zero", lambda t: (lambda d: mp.digamma(DIGAMMA_ZERO + d) / d if d else mp.polygamma(1, DIGAMMA_ZERO))(
    over(1, 2)(t) - DIGAMMA_ZERO), "digamma(x)/(x - z) about its zero z, 1 <= x <= 2, t = 2x - 3", "gamma")


# ---- power series: exact coefficients, ready for Horner in z = x^2/4 (alternating: in -z)
def _harmonic(k):
    return mp.fsum(mp.mpf(1) / i for i in range(1, k + 1))


def _psi_pair(k):
    return mp.digamma(k + 1) + mp.digamma(k + 2)


# The header, the name, the coefficients and what they are.
SERIES = (
    ("bessel", "k0_series", [_harmonic(k) / mp.factorial(k) ** 2 for k in range(12)], "sum H_k z^k/k!^2, |z| <= 0.57"),
    ("bessel", "k1_series", [_psi_pair(k) / mp.factorial(k) / mp.factorial(k + 1) for k in range(12)],
     "sum (psi(k+1) + psi(k+2)) z^k/(k! (k+1)!), |z| <= 0.57"),
    # 10 terms at 1/8: below 2^-59
    ("gamma", "stirling_rest", [mp.bernoulli(2 * k) / (2 * k * (2 * k - 1)) for k in range(2, 12)],
     "log Gamma*(1/y) is y/12 + y^3 times this, z = y^2, y <= 1/8"),
    ("gamma", "exp_rest", [1 / mp.factorial(k) for k in range(3, 17)], "(exp(z) - 1 - z - z^2/2)/z^3, |z| < 0.35"),
)
# Tables of which a function takes as many terms as its arguments need.
TABLES = (
    ("bessel", "kBessel0", [1 / mp.factorial(k) ** 2 for k in range(26)],
     "I0 and J0: sum z^k/k!^2. 26 terms for |z| <= 16, 11 for |z| <= 0.57"),
    ("bessel", "kBessel1", [1 / mp.factorial(k) / mp.factorial(k + 1) for k in range(26)],
     "I1 2/x and J1 2/x: sum z^k/(k! (k+1)!), the same"),
    ("incomplete_gamma", "kEulerMaclaurin", [mp.bernoulli(2 * k) / mp.factorial(2 * k) for k in range(1, 14)],
     "B_2k/(2k)!, of Euler and Maclaurin's formula"),
)
ZEROS = (("bessel", "kY0Zero", Y0_ZERO), ("bessel", "kAiryZero", AIRY_ZERO), ("gamma", "kDigammaZero", DIGAMMA_ZERO))


def gamma_star_series(terms: int) -> list:
    """Gamma*(a) = Gamma(a) exp(a) a^(1/2 - a) / sqrt(2 pi) in powers of 1/a."""
    exponent = [mp.mpf(0)] * terms
    for k in range(1, terms // 2 + 1):
        if 2 * k - 1 < terms:
            exponent[2 * k - 1] = mp.bernoulli(2 * k) / (2 * k * (2 * k - 1))
    return exponential(exponent)


def exponential(a: list) -> list:
    result = [mp.exp(a[0])]
    for n in range(1, len(a)):
        result.append(mp.fsum(k * a[k] * result[n - k] for k in range(1, n + 1)) / n)
    return result


def temme(rows: int, columns: int) -> list[list]:
    """c[k][n] of R_a(eta) ~ exp(-a eta^2/2)/sqrt(2 pi a) sum_k sum_n c[k][n] eta^n a^-k (Temme 1979, "The asymptotic
    expansion of the incomplete gamma functions"): c_0 = 1/(lambda - 1) - 1/eta and
    eta c_k = d c_(k-1)/d eta + g_k eta/(lambda - 1), g_k of 1/Gamma*."""
    size = columns + 2 * rows + 4
    # lambda - 1 = mu as a series of eta: eta^2/2 = mu - log(1 + mu), so mu' = eta (1 + mu)/mu
    a = [mp.mpf(0), mp.mpf(1)]                   # mu = sum a_n eta^n
    for n in range(2, size + 2):
        # mu mu' = eta (1 + mu): coefficient of eta^n
        known = mp.fsum(a[i] * (n + 1 - i) * a[n + 1 - i] for i in range(2, n))
        # i = 1: a1 n a_n ; i = n: a_n 1 a_1
        a.append(((a[n - 1]) - known) / (n + 1))
    # eta/mu = 1 / sum a_(n+1) eta^n
    inverse = [mp.mpf(1)]
    for n in range(1, size + 1):
        inverse.append(-mp.fsum(a[i + 1] * inverse[n - i] for i in range(1, n + 1)))
    gamma_inverse = gamma_star_series(rows + 1)
    reciprocal = [mp.mpf(1)]
    for n in range(1, rows + 1):
        reciprocal.append(-mp.fsum(gamma_inverse[i] * reciprocal[n - i] for i in range(1, n + 1)))
    table = [inverse[1:]]                          # (eta/mu - 1)/eta
    for k in range(1, rows):
        before = table[-1]
        derivative = [(n + 1) * before[n + 1] for n in range(len(before) - 1)]
        row = [derivative[n] + reciprocal[k] * inverse[n] for n in range(len(derivative))]
        table.append(row[1:])                      # row[0] vanishes
        assert abs(row[0]) < mp.mpf(10) ** -40, (k, row[0])
    return [row[:columns] for row in table]


def wrapped(numbers: list, indent: str) -> str:
    lines, line = [], indent
    for number in numbers:
        text = float(number).hex() + ", "
        if len(line) + len(text) > 118:
            lines.append(line.rstrip())
            line = indent
        line += text
    return "\n".join([*lines, line.rstrip().rstrip(",")])


def function(name: str, variable: str, comment: str, coefficients: list) -> str:
    body = wrapped(coefficients, "      ")
    return f"// {comment}\nUSBGPU_FN double {name}(double {variable}) {{\n  return poly({variable},\n{body});\n}}\n"


def split(x) -> tuple[str, str]:
    high = float(x)
    return high.hex(), float(x - mp.mpf(high)).hex()


def header(which: str) -> str:
    parts = ["""// Written by tools/fit_special_math.py: edit that, not this.
#pragma once
#include "core.h"

namespace usbgpu::math {
"""]
    for name, (f, comment) in FITS[which].items():
        coefficients, worst = fitted(f)
        print(f"{name}: {len(coefficients)} terms, 2^{float(mp.log(worst, 2)):.1f}, "
              f"sum of coefficients {float(sum(abs(c) for c in coefficients)):.3g}", file=sys.stderr)
        parts.append(function(f"fit_{name}", "t", comment, coefficients))
    parts += [function(name, "z", comment, coefficients) for of, name, coefficients, comment in SERIES if of == which]
    for of, name, coefficients, comment in TABLES:
        if of == which:
            parts.append(f"// {comment}\nUSBGPU_TABLE double {name}[{len(coefficients)}] = {{\n"
                         + wrapped(coefficients, "    ") + "};\n")
    for of, name, zero in ZEROS:
        if of == which:
            high, low = split(zero)
            parts.append(f"inline constexpr double {name}High = {high}, {name}Low = {low};\n")
    if which == "incomplete_gamma":
        rows, columns = 10, 20
        parts.append(f"// c[k][n] of eta^n a^-k in Temme's uniform expansion of the incomplete gamma functions\n"
                     f"USBGPU_TABLE double kTemme[{rows}][{columns}] = {{\n"
                     + ",\n".join("    {\n" + wrapped(row, "        ") + "}" for row in temme(rows, columns)) + "};\n")
    parts.append("}  // namespace usbgpu::math\n")
    return "\n".join(parts)


def main() -> None:
    for which in FITS:
        text = header(which)
        if "--print" in sys.argv:
            print(text)
        else:
            (FOLDER / f"fits_{which}.h").write_text(text)


if __name__ == "__main__":
    main()
