"""Exact floating point for references: rational arithmetic, one rounding, to nearest even unless DIRECTION says otherwise."""
from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Format:
    exponent: int
    fraction: int

    @property
    def width(self) -> int:
        return 1 + self.exponent + self.fraction

    @property
    def bias(self) -> int:
        return (1 << (self.exponent - 1)) - 1

    @property
    def inf(self) -> int:
        return ((1 << self.exponent) - 1) << self.fraction

    @property
    def nan(self) -> int:
        return self.inf | 1 << (self.fraction - 1)

    @property
    def sign(self) -> int:
        return 1 << (self.width - 1)

    def is_nan(self, b: int) -> bool:
        return b & ~self.sign > self.inf

    def is_inf(self, b: int) -> bool:
        return b & ~self.sign == self.inf

    def is_signalling(self, b: int) -> bool:
        return self.is_nan(b) and not b >> (self.fraction - 1) & 1

    def value(self, b: int) -> Fraction:
        """Of a finite number."""
        e, f = (b & ~self.sign) >> self.fraction, b & ((1 << self.fraction) - 1)
        m = f + (1 << self.fraction) if e else f
        scale = max(e, 1) - self.bias - self.fraction
        v = Fraction(m) * (Fraction(2) ** scale)
        return -v if b & self.sign else v

    def round(self, v: Fraction, zero_sign: int = 0) -> int:
        """zero_sign: the sign of an exact zero."""
        if v == 0:
            return self.sign if zero_sign else 0
        sign, v = (self.sign, -v) if v < 0 else (0, v)
        e = v.numerator.bit_length() - v.denominator.bit_length()
        if Fraction(2) ** e > v:
            e -= 1
        e = max(e, 1 - self.bias)
        m = v / Fraction(2) ** (e - self.fraction)
        whole = m.numerator // m.denominator
        rest = m - whole
        direction = DIRECTION.get(self, 0)
        away = direction == (2 if sign else 1)
        if rest and away or direction == 0 and (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole & 1)):
            whole += 1
        if whole >= 1 << (self.fraction + 1):
            whole >>= 1
            e += 1
        if whole < 1 << self.fraction:
            return sign | whole
        if e > self.bias:
            return sign | (self.inf if direction == 0 or away else self.inf - 1)
        return sign | (e + self.bias) << self.fraction | (whole - (1 << self.fraction))


# Rounding of results by format, as MODE counts: 0 nearest even, 1 towards +inf, 2 towards -inf, 3 towards zero
DIRECTION: dict[Format, int] = {}
F16, F32, F64, BF16 = Format(5, 10), Format(8, 23), Format(11, 52), Format(8, 7)


def fma(fmt: Format, a: int, b: int, c: int, result: Format | None = None) -> int:
    """a * b + c in `fmt`, rounded once to `result`."""
    out = result or fmt
    if fmt.is_nan(a) or fmt.is_nan(b) or fmt.is_nan(c):
        return out.nan
    product_sign = (a ^ b) & fmt.sign
    if fmt.is_inf(a) or fmt.is_inf(b):
        if (a & ~fmt.sign) == 0 or (b & ~fmt.sign) == 0:
            return out.nan
        if fmt.is_inf(c) and (c & fmt.sign) != product_sign:
            return out.nan
        return out.inf | (out.sign if product_sign else 0)
    if fmt.is_inf(c):
        return out.inf | (out.sign if c & fmt.sign else 0)
    v = fmt.value(a) * fmt.value(b) + fmt.value(c)
    # a sum of opposite signs that vanishes is +0, or -0 where rounding goes down
    negative = bool(product_sign) == bool(c & fmt.sign) and bool(product_sign) or \
        bool(product_sign) != bool(c & fmt.sign) and DIRECTION.get(out, 0) == 2
    return out.round(v, zero_sign=int(negative))


def add(fmt: Format, a: int, b: int) -> int:
    one = fmt.bias << fmt.fraction
    return fma(fmt, a, one, b)


def mul(fmt: Format, a: int, b: int) -> int:
    return fma(fmt, a, b, (a ^ b) & fmt.sign)  # a zero of the product's sign


def divide(fmt: Format, a: int, b: int) -> int:
    sign = (a ^ b) & fmt.sign
    if fmt.is_nan(a) or fmt.is_nan(b) or (fmt.is_inf(a) and fmt.is_inf(b)):
        return fmt.nan
    zero_a, zero_b = (a & ~fmt.sign) == 0, (b & ~fmt.sign) == 0
    if zero_a and zero_b:
        return fmt.nan
    if zero_b or fmt.is_inf(a):
        return sign | fmt.inf
    if zero_a or fmt.is_inf(b):
        return sign
    q = fmt.round(abs(fmt.value(a) / fmt.value(b)))
    return sign | q


def convert(source: Format, target: Format, b: int) -> int:
    if source.is_nan(b):
        return target.nan
    sign = target.sign if b & source.sign else 0
    if source.is_inf(b):
        return sign | target.inf
    return target.round(source.value(b), zero_sign=int(sign != 0))


def to_integer(fmt: Format, b: int, low: int, high: int, mode: str = "trunc") -> int:
    """Saturating; NaN gives 0."""
    if fmt.is_nan(b):
        return 0
    if fmt.is_inf(b):
        return low if b & fmt.sign else high
    v = fmt.value(b)
    n = {"trunc": math.trunc, "floor": math.floor, "even": round}[mode](v)
    return min(max(n, low), high)


def minimum(fmt: Format, a: int, b: int) -> int:
    return pick(fmt, a, b, lambda x, y: x if x <= y else y)


def maximum(fmt: Format, a: int, b: int) -> int:
    return pick(fmt, a, b, lambda x, y: x if x >= y else y)


def minimum_ieee(fmt: Format, a: int, b: int) -> int:
    """gfx11 with MODE.IEEE: a signalling NaN is made quiet, it does not lose against the number."""
    return fmt.nan if fmt.is_signalling(a) or fmt.is_signalling(b) else minimum(fmt, a, b)


def maximum_ieee(fmt: Format, a: int, b: int) -> int:
    return fmt.nan if fmt.is_signalling(a) or fmt.is_signalling(b) else maximum(fmt, a, b)


def pick(fmt: Format, a: int, b: int, choose) -> int:
    if fmt.is_nan(a):
        return b if not fmt.is_nan(b) else fmt.nan
    if fmt.is_nan(b):
        return a
    key = lambda x: -(x & ~fmt.sign) - 1 if x & fmt.sign else x  # noqa: E731  orders -0 below +0
    back = {key(a): a, key(b): b}
    return back[choose(key(a), key(b))]
