"""What each vector ALU instruction computes, one lane at a time on bit patterns (Python integers).

Written from the RDNA3 and RDNA4 ISA references, independently of the emulator's code. REFERENCE maps a
mnemonic to Op(result type, source types, function of the sources' bits -> the result's bits); names that
only RDNA4 has are there, too.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import mpmath

from tests.emulator.isa_valu import exact
from tests.emulator.isa_valu.exact import BF16, F16, F32, F64, Format

FLOATS = {"f16": F16, "f32": F32, "f64": F64, "bf16": BF16}
WIDTH = {"f16": 16, "f32": 32, "f64": 64, "u16": 16, "i16": 16, "b16": 16, "u32": 32, "i32": 32, "b32": 32, "u64": 64,
         "i64": 64, "b64": 64, "p16": 32, "pf16": 32, "bf16": 16, "pbf16": 32, "mask": 0}


@dataclass(frozen=True)
class Op:
    result: str
    sources: tuple[str, ...]
    function: Callable[..., int]
    ulp: int = 0            # tolerance, in units of the last place
    clamp: bool = False     # integer clamp (saturation) exists: function takes clamp=
    accumulates: bool = False
    modifiers: bool = False  # float neg/abs are legal on the sources


REFERENCE: dict[str, Op] = {}


def op(name: str, result: str, sources: str, **options):
    def register(function):
        kinds = tuple(sources.split())
        floats = bool(kinds) and all(k in ("f16", "f32", "f64") for k in kinds) and result in ("f16", "f32", "f64")
        REFERENCE[name] = Op(result, kinds, function, modifiers=options.pop("modifiers", floats), **options)
        return function
    return register


def put(name: str, result: str, sources: str, function, **options) -> None:
    op(name, result, sources, **options)(function)


def signed(v: int, bits: int) -> int:
    return v - (1 << bits) if v >> (bits - 1) & 1 else v


def fit(v: int, kind: str, clamp: bool = False) -> int:
    bits = WIDTH[kind]
    if clamp:
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind[0] == "i" else (0, (1 << bits) - 1)
        v = min(max(v, low), high)
    return v & ((1 << bits) - 1)


# ---- floats -------------------------------------------------------------------------------------
def unary_float(fmt: Format, fn: Callable[[Fraction], Fraction | int]):
    def run(a: int) -> int:
        if fmt.is_nan(a):
            return fmt.nan
        if fmt.is_inf(a):
            return a
        return fmt.round(Fraction(fn(fmt.value(a))), zero_sign=a & fmt.sign)
    return run


def ceil_like(fmt: Format, fn):
    """Rounding functions keep the sign of the argument on zero."""
    base = unary_float(fmt, fn)
    return lambda a: (base(a) & ~fmt.sign) | (a & fmt.sign) if not fmt.is_nan(a) else fmt.nan


def fract(fmt: Format):
    def run(a: int) -> int:
        if fmt.is_nan(a) or fmt.is_inf(a):
            return fmt.nan
        v = fmt.value(a)
        r = fmt.round(v - math.floor(v))
        one = fmt.bias << fmt.fraction
        return min(r, one - 1)
    return run


def frexp(fmt: Format, a: int) -> tuple[int, int]:
    """(mantissa bits, exponent)"""
    if fmt.is_nan(a):
        return fmt.nan, 0
    if fmt.is_inf(a) or not a & ~fmt.sign:
        return a, 0
    v, e = abs(fmt.value(a)), 0
    while v >= 1:
        v, e = v / 2, e + 1
    while v < Fraction(1, 2):
        v, e = v * 2, e - 1
    return fmt.round(v) | (a & fmt.sign), e


def ldexp(fmt: Format, a: int, e: int) -> int:
    if fmt.is_nan(a):
        return fmt.nan
    if fmt.is_inf(a):
        return a
    return fmt.round(fmt.value(a) * Fraction(2) ** min(max(e, -3000), 3000), zero_sign=a & fmt.sign)


def three(pick1, pick2):
    return lambda fmt: lambda a, b, c: pick2(fmt, pick1(fmt, a, b), c)


def propagating(choose):
    return lambda fmt, a, b: fmt.nan if fmt.is_nan(a) or fmt.is_nan(b) else choose(fmt, a, b)


def med3(fmt: Format, minimum):
    def run(a, b, c):
        if fmt.is_nan(a) or fmt.is_nan(b) or fmt.is_nan(c):
            return minimum(fmt, minimum(fmt, a, b), c)
        key = lambda x: -(x & ~fmt.sign) - 1 if x & fmt.sign else x  # noqa: E731
        return sorted((a, b, c), key=key)[1]
    return run


for kind, fmt in (("f16", F16), ("f32", F32), ("f64", F64)):
    f, two, tri = kind, f"{kind} {kind}", f"{kind} {kind} {kind}"
    put(f"v_add_{f}", f, two, lambda a, b, m=fmt: exact.add(m, a, b))
    put(f"v_mul_{f}", f, two, lambda a, b, m=fmt: exact.mul(m, a, b))
    put(f"v_fma_{f}", f, tri, lambda a, b, c, m=fmt: exact.fma(m, a, b, c))
    for num, low, high in (("", exact.minimum_ieee, exact.maximum_ieee), ("_num", exact.minimum, exact.maximum)):
        put(f"v_min{num}_{f}", f, two, lambda a, b, m=fmt, fn=low: fn(m, a, b))
        put(f"v_max{num}_{f}", f, two, lambda a, b, m=fmt, fn=high: fn(m, a, b))
        if kind != "f64":
            put(f"v_min3{num}_{f}", f, tri, three(low, low)(fmt))
            put(f"v_max3{num}_{f}", f, tri, three(high, high)(fmt))
            put(f"v_minmax{num}_{f}", f, tri, three(low, high)(fmt))
            put(f"v_maxmin{num}_{f}", f, tri, three(high, low)(fmt))
            put(f"v_med3{num}_{f}", f, tri, med3(fmt, low))
    nan_low, nan_high = propagating(exact.minimum), propagating(exact.maximum)
    put(f"v_minimum_{f}", f, two, lambda a, b, m=fmt, fn=nan_low: fn(m, a, b))
    put(f"v_maximum_{f}", f, two, lambda a, b, m=fmt, fn=nan_high: fn(m, a, b))
    if kind != "f64":
        put(f"v_minimum3_{f}", f, tri, three(nan_low, nan_low)(fmt))
        put(f"v_maximum3_{f}", f, tri, three(nan_high, nan_high)(fmt))
        put(f"v_minimummaximum_{f}", f, tri, three(nan_low, nan_high)(fmt))
        put(f"v_maximumminimum_{f}", f, tri, three(nan_high, nan_low)(fmt))
    put(f"v_trunc_{f}", f, f, ceil_like(fmt, math.trunc))
    put(f"v_ceil_{f}", f, f, ceil_like(fmt, math.ceil))
    put(f"v_floor_{f}", f, f, ceil_like(fmt, math.floor))
    put(f"v_rndne_{f}", f, f, ceil_like(fmt, round))
    put(f"v_fract_{f}", f, f, fract(fmt))
    put(f"v_frexp_mant_{f}", f, f, lambda a, m=fmt: frexp(m, a)[0])
    if kind != "f64":
        put(f"v_sub_{f}", f, two, lambda a, b, m=fmt: exact.add(m, a, b ^ m.sign if not m.is_nan(b) else b))
        put(f"v_subrev_{f}", f, two, lambda a, b, m=fmt: exact.add(m, b, a ^ m.sign if not m.is_nan(a) else a))
        put(f"v_fmac_{f}", f, two, lambda a, b, c, m=fmt: exact.fma(m, a, b, c), accumulates=True)

put("v_frexp_exp_i32_f32", "i32", "f32", lambda a: fit(frexp(F32, a)[1], "i32"))
put("v_frexp_exp_i32_f64", "i32", "f64", lambda a: fit(frexp(F64, a)[1], "i32"))
put("v_frexp_exp_i16_f16", "i16", "f16", lambda a: fit(frexp(F16, a)[1], "i16"))
put("v_ldexp_f32", "f32", "f32 i32", lambda a, e: ldexp(F32, a, signed(e, 32)))
put("v_ldexp_f64", "f64", "f64 i32", lambda a, e: ldexp(F64, a, signed(e, 32)))
put("v_ldexp_f16", "f16", "f16 i16", lambda a, e: ldexp(F16, a, signed(e, 16)))


def mul_dx9(a: int, b: int) -> int:
    return 0 if not a & 0x7FFFFFFF or not b & 0x7FFFFFFF else exact.mul(F32, a, b)


def fma_dx9(a: int, b: int, c: int) -> int:
    return exact.add(F32, 0, c) if not a & 0x7FFFFFFF or not b & 0x7FFFFFFF else exact.fma(F32, a, b, c)


put("v_mul_dx9_zero_f32", "f32", "f32 f32", mul_dx9)
put("v_fma_dx9_zero_f32", "f32", "f32 f32 f32", fma_dx9)
put("v_fmac_dx9_zero_f32", "f32", "f32 f32", fma_dx9, accumulates=True)


# ---- transcendental: mpmath, then one rounding ------------------------------------------------------
def flushed(fmt: Format, b: int) -> int:
    return b if (b & fmt.inf) else b & fmt.sign


def from_mpmath(fmt: Format, x, flush: bool) -> int:
    sign, man, exp, _ = mpmath.mpf(x)._mpf_
    r = fmt.round(Fraction(int(-man if sign else man)) * Fraction(2) ** int(exp))
    return flushed(fmt, r) if flush else r


def transcendental(fmt: Format, flush: bool, at_zero, at_inf, at_minus_inf, negative_ok: bool, fn):
    def run(a: int) -> int:
        a = flushed(fmt, a) if flush else a
        if fmt.is_nan(a):
            return fmt.nan
        if not a & ~fmt.sign:
            return at_zero(fmt, a)
        if fmt.is_inf(a):
            return at_minus_inf(fmt, a) if a & fmt.sign else at_inf(fmt, a)
        if a & fmt.sign and not negative_ok:
            return fmt.nan
        v = fmt.value(a)
        with mpmath.workprec(120):
            return from_mpmath(fmt, fn(mpmath.mpf(v.numerator) / v.denominator), flush)
    return run


ONE = lambda m, a: m.bias << m.fraction  # noqa: E731
ZERO = lambda m, a: 0  # noqa: E731
INF = lambda m, a: m.inf  # noqa: E731
NAN = lambda m, a: m.nan  # noqa: E731
SAME = lambda m, a: a  # noqa: E731
SIGNED_INF = lambda m, a: m.inf | (a & m.sign)  # noqa: E731
SIGNED_ZERO = lambda m, a: a & m.sign  # noqa: E731


def exp2(x):
    return mpmath.power(2, max(min(x, 2000), -2000))


def sine(x):
    return 0 if abs(x) > 256 else mpmath.sinpi(2 * x)


def cosine(x):
    return 1 if abs(x) > 256 else mpmath.cospi(2 * x)


for kind, fmt in (("f16", F16), ("f32", F32)):
    t = kind == "f32"
    options = {"ulp": 1}
    put(f"v_exp_{kind}", kind, kind, transcendental(fmt, t, ONE, INF, ZERO, True, exp2), **options)
    put(f"v_log_{kind}", kind, kind, transcendental(fmt, t, lambda m, a: m.inf | m.sign, INF, NAN, False,
                                                    lambda x: mpmath.log(x, 2)), **options)
    put(f"v_rcp_{kind}", kind, kind, transcendental(fmt, t, SIGNED_INF, SIGNED_ZERO, SIGNED_ZERO, True, lambda x: 1 / x), **options)
    put(f"v_rsq_{kind}", kind, kind, transcendental(fmt, t, SIGNED_INF, ZERO, NAN, False, lambda x: 1 / mpmath.sqrt(x)), **options)
    put(f"v_sqrt_{kind}", kind, kind, transcendental(fmt, t, SAME, INF, NAN, False, mpmath.sqrt), **options)
    put(f"v_sin_{kind}", kind, kind, transcendental(fmt, t, SAME, NAN, NAN, True, sine), **options)
    put(f"v_cos_{kind}", kind, kind, transcendental(fmt, t, ONE, NAN, NAN, True, cosine), **options)
REFERENCE["v_rcp_iflag_f32"] = REFERENCE["v_rcp_f32"]
put("v_rcp_f64", "f64", "f64", transcendental(F64, False, SIGNED_INF, SIGNED_ZERO, SIGNED_ZERO, True, lambda x: 1 / x), ulp=1 << 25)
put("v_rsq_f64", "f64", "f64", transcendental(F64, False, SIGNED_INF, ZERO, NAN, False, lambda x: 1 / mpmath.sqrt(x)), ulp=1 << 25)
put("v_sqrt_f64", "f64", "f64", transcendental(F64, False, SAME, INF, NAN, False, mpmath.sqrt), ulp=1 << 25)


# ---- conversions -----------------------------------------------------------------------------------
def integer_to(fmt: Format):
    return lambda v: fmt.round(Fraction(v))


put("v_cvt_f32_i32", "f32", "i32", lambda a: F32.round(Fraction(signed(a, 32))))
put("v_cvt_f32_u32", "f32", "u32", integer_to(F32))
put("v_cvt_f64_i32", "f64", "i32", lambda a: F64.round(Fraction(signed(a, 32))))
put("v_cvt_f64_u32", "f64", "u32", integer_to(F64))
put("v_cvt_f16_u16", "f16", "u16", integer_to(F16))
put("v_cvt_f16_i16", "f16", "i16", lambda a: F16.round(Fraction(signed(a, 16))))
for source, fmt in (("f32", F32), ("f64", F64)):
    put(f"v_cvt_i32_{source}", "i32", source, lambda a, m=fmt: fit(exact.to_integer(m, a, -2**31, 2**31 - 1), "i32"))
    put(f"v_cvt_u32_{source}", "u32", source, lambda a, m=fmt: exact.to_integer(m, a, 0, 2**32 - 1))
put("v_cvt_i16_f16", "i16", "f16", lambda a: fit(exact.to_integer(F16, a, -2**15, 2**15 - 1), "i16"))
put("v_cvt_u16_f16", "u16", "f16", lambda a: exact.to_integer(F16, a, 0, 2**16 - 1))
put("v_cvt_floor_i32_f32", "i32", "f32", lambda a: fit(exact.to_integer(F32, a, -2**31, 2**31 - 1, "floor"), "i32"))
put("v_cvt_nearest_i32_f32", "i32", "f32", lambda a: fit(
    exact.to_integer(F32, exact.add(F32, a, 0x3F000000), -2**31, 2**31 - 1, "floor"), "i32"))
put("v_cvt_f16_f32", "f16", "f32", lambda a: exact.convert(F32, F16, a), modifiers=True)
put("v_cvt_f32_f16", "f32", "f16", lambda a: exact.convert(F16, F32, a), modifiers=True)
put("v_cvt_f64_f32", "f64", "f32", lambda a: exact.convert(F32, F64, a), modifiers=True)
put("v_cvt_f32_f64", "f32", "f64", lambda a: exact.convert(F64, F32, a), modifiers=True)
put("v_cvt_i32_i16", "i32", "i16", lambda a: fit(signed(a, 16), "i32"))
put("v_cvt_u32_u16", "u32", "u16", lambda a: a)
put("v_cvt_off_f32_i4", "f32", "b32", lambda a: F32.round(Fraction(signed(a & 15, 4), 16)))
for n in range(4):
    put(f"v_cvt_f32_ubyte{n}", "f32", "b32", lambda a, n=n: F32.round(Fraction(a >> 8 * n & 255)))


def pack(low: int, high: int) -> int:
    return (low & 0xFFFF) | (high & 0xFFFF) << 16


def truncated_half(a: int) -> int:
    if F32.is_nan(a):
        return F16.nan
    sign = a >> 16 & 0x8000
    if F32.is_inf(a):
        return sign | F16.inf
    v = abs(F32.value(a))
    r = F16.round(v)
    if r == F16.inf or F16.value(r) > v:
        r -= 1
    return sign | r


def snorm(fmt: Format, a: int) -> int:
    if fmt.is_nan(a):
        return 0
    v = Fraction(-1 if a & fmt.sign else 1) if fmt.is_inf(a) else min(max(fmt.value(a), Fraction(-1)), Fraction(1))
    return fit(round(F32.value(F32.round(v * 32767))), "i16")


def unorm(fmt: Format, a: int) -> int:
    if fmt.is_nan(a):
        return 0
    v = Fraction(0 if a & fmt.sign else 1) if fmt.is_inf(a) else min(max(fmt.value(a), Fraction(0)), Fraction(1))
    return fit(round(F32.value(F32.round(v * 65535))), "u16")


put("v_cvt_pk_rtz_f16_f32", "pf16", "f32 f32", lambda a, b: pack(truncated_half(a), truncated_half(b)), modifiers=True)
put("v_cvt_pk_i16_f32", "p16", "f32 f32", lambda a, b: pack(exact.to_integer(F32, a, -2**15, 2**15 - 1),
                                                            exact.to_integer(F32, b, -2**15, 2**15 - 1)))
put("v_cvt_pk_u16_f32", "p16", "f32 f32", lambda a, b: pack(exact.to_integer(F32, a, 0, 2**16 - 1),
                                                            exact.to_integer(F32, b, 0, 2**16 - 1)))
for source, fmt in (("f32", F32), ("f16", F16)):
    put(f"v_cvt_pk_norm_i16_{source}", "p16", f"{source} {source}", lambda a, b, m=fmt: pack(snorm(m, a), snorm(m, b)))
    put(f"v_cvt_pk_norm_u16_{source}", "p16", f"{source} {source}", lambda a, b, m=fmt: pack(unorm(m, a), unorm(m, b)))
put("v_cvt_norm_i16_f16", "i16", "f16", lambda a: snorm(F16, a))
put("v_cvt_norm_u16_f16", "u16", "f16", lambda a: unorm(F16, a))
put("v_cvt_pk_u16_u32", "p16", "u32 u32", lambda a, b: pack(min(a, 65535), min(b, 65535)))
put("v_cvt_pk_i16_i32", "p16", "i32 i32", lambda a, b: pack(fit(signed(a, 32), "i16", True), fit(signed(b, 32), "i16", True)))


@op("v_cvt_pk_u8_f32", "b32", "f32 b32 b32", modifiers=False)
def cvt_pk_u8(a, byte, old):
    shift = (byte & 3) * 8
    return (old & ~(255 << shift)) | exact.to_integer(F32, a, 0, 255) << shift


@op("v_sat_pk_u8_i16", "b16", "p16")
def sat_pk(a):
    low, high = signed(a & 0xFFFF, 16), signed(a >> 16, 16)
    return min(max(low, 0), 255) | min(max(high, 0), 255) << 8


# ---- division ----------------------------------------------------------------------------------------
def fixup(fmt: Format):
    def run(q: int, d: int, n: int) -> int:
        sign = (d ^ n) & fmt.sign
        if fmt.is_nan(d) or fmt.is_nan(n):
            return fmt.nan
        zero_d, zero_n = not d & ~fmt.sign, not n & ~fmt.sign
        if (zero_d and zero_n) or (fmt.is_inf(d) and fmt.is_inf(n)):
            return fmt.nan
        if zero_d or fmt.is_inf(n):
            return sign | fmt.inf
        if zero_n or fmt.is_inf(d):
            return sign
        if fmt is not F16:
            exponent = lambda x: (x & ~fmt.sign) >> fmt.fraction  # noqa: E731
            if exponent(n) - exponent(d) < (-150 if fmt is F32 else -1075):
                return sign
            if fmt.is_nan(q):
                return sign | fmt.inf
        return (q & ~fmt.sign) | sign
    return run


put("v_div_fixup_f16", "f16", "f16 f16 f16", fixup(F16), modifiers=False)
put("v_div_fixup_f32", "f32", "f32 f32 f32", fixup(F32), modifiers=False)
put("v_div_fixup_f64", "f64", "f64 f64 f64", fixup(F64), modifiers=False)
