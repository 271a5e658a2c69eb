"""References of integer, bit field, packed, dot and compare instructions (see reference.py)."""
from __future__ import annotations

from fractions import Fraction

from tests.emulator.isa_valu import exact
from tests.emulator.isa_valu.exact import BF16, F16, F32, F64
from tests.emulator.isa_valu.reference import REFERENCE, Op, fit, pack, put, signed

M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def s32(v: int) -> int:
    return signed(v, 32)


def integer(name: str, result: str, sources: str, exact_value, saturates: bool = False) -> None:
    """exact_value works on signed or unsigned Python integers, by the source types."""
    kinds = sources.split()

    def run(*bits: int, clamp: bool = False) -> int:
        values = [signed(b, int(k[1:])) if k[0] == "i" else b for b, k in zip(bits, kinds)]
        return fit(exact_value(*values), result, clamp)
    REFERENCE[name] = Op(result, tuple(kinds), run, clamp=saturates)


put("v_mov_b32", "b32", "b32", lambda a: a)
put("v_mov_b16", "b16", "b16", lambda a: a)
put("v_cndmask_b32", "b32", "b32 b32 mask", lambda a, b, c: b if c else a)
put("v_cndmask_b16", "b16", "b16 b16 mask", lambda a, b, c: b if c else a)
for t in ("u32", "i32", "u16", "i16"):
    sat = t != "u32" or True
    integer(f"v_add_nc_{t}", t, f"{t} {t}", lambda a, b: a + b, sat)
    integer(f"v_sub_nc_{t}", t, f"{t} {t}", lambda a, b: a - b, sat)
    integer(f"v_min_{t}", t, f"{t} {t}", min)
    integer(f"v_max_{t}", t, f"{t} {t}", max)
    integer(f"v_min3_{t}", t, f"{t} {t} {t}", min)
    integer(f"v_max3_{t}", t, f"{t} {t} {t}", max)
    integer(f"v_med3_{t}", t, f"{t} {t} {t}", lambda a, b, c: sorted((a, b, c))[1])
for t in ("u32", "i32"):
    integer(f"v_minmax_{t}", t, f"{t} {t} {t}", lambda a, b, c: max(min(a, b), c))
    integer(f"v_maxmin_{t}", t, f"{t} {t} {t}", lambda a, b, c: min(max(a, b), c))
integer("v_subrev_nc_u32", "u32", "u32 u32", lambda a, b: b - a, True)
integer("v_mul_lo_u32", "u32", "u32 u32", lambda a, b: a * b)
integer("v_mul_hi_u32", "u32", "u32 u32", lambda a, b: a * b >> 32)
integer("v_mul_hi_i32", "i32", "i32 i32", lambda a, b: a * b >> 32)
integer("v_mul_lo_u16", "u16", "u16 u16", lambda a, b: a * b)


def u24(v: int) -> int:
    return v & 0xFFFFFF


def i24(v: int) -> int:
    return signed(v & 0xFFFFFF, 24)


integer("v_mul_u32_u24", "u32", "u32 u32", lambda a, b: u24(a) * u24(b), True)
integer("v_mul_hi_u32_u24", "u32", "u32 u32", lambda a, b: u24(a) * u24(b) >> 32)
integer("v_mul_i32_i24", "i32", "i32 i32", lambda a, b: i24(a) * i24(b), True)
integer("v_mul_hi_i32_i24", "i32", "i32 i32", lambda a, b: i24(a) * i24(b) >> 32)
integer("v_mad_u32_u24", "u32", "u32 u32 u32", lambda a, b, c: u24(a) * u24(b) + c, True)
integer("v_mad_i32_i24", "i32", "i32 i32 i32", lambda a, b, c: i24(a) * i24(b) + c, True)
integer("v_mad_u32_u16", "u32", "u16 u16 u32", lambda a, b, c: a * b + c, True)
integer("v_mad_i32_i16", "i32", "i16 i16 i32", lambda a, b, c: a * b + c, True)
integer("v_mad_u16", "u16", "u16 u16 u16", lambda a, b, c: a * b + c, True)
integer("v_mad_i16", "i16", "i16 i16 i16", lambda a, b, c: a * b + c, True)

for width in (16, 32):
    t = f"b{width}"
    mask = (1 << width) - 1
    put(f"v_and_{t}", t, f"{t} {t}", lambda a, b: a & b)
    put(f"v_or_{t}", t, f"{t} {t}", lambda a, b: a | b)
    put(f"v_xor_{t}", t, f"{t} {t}", lambda a, b: a ^ b)
    put(f"v_not_{t}", t, t, lambda a, m=mask: ~a & m)
    put(f"v_lshlrev_{t}", t, f"{t} {t}", lambda n, v, m=mask, w=width: v << (n & (w - 1)) & m)
    put(f"v_lshrrev_{t}", t, f"{t} {t}", lambda n, v, w=width: v >> (n & (w - 1)))
    put(f"v_ashrrev_i{width}", t, f"{t} {t}", lambda n, v, m=mask, w=width: signed(v, w) >> (n & (w - 1)) & m)
put("v_lshlrev_b64", "b64", "b32 b64", lambda n, v: v << (n & 63) & M64)
put("v_lshrrev_b64", "b64", "b32 b64", lambda n, v: v >> (n & 63))
put("v_ashrrev_i64", "b64", "b32 b64", lambda n, v: signed(v, 64) >> (n & 63) & M64)
put("v_xnor_b32", "b32", "b32 b32", lambda a, b: ~(a ^ b) & M32)
put("v_and_or_b32", "b32", "b32 b32 b32", lambda a, b, c: a & b | c)
put("v_or3_b32", "b32", "b32 b32 b32", lambda a, b, c: a | b | c)
put("v_xor3_b32", "b32", "b32 b32 b32", lambda a, b, c: a ^ b ^ c)
put("v_xad_u32", "u32", "u32 u32 u32", lambda a, b, c: (a ^ b) + c & M32)
put("v_add3_u32", "u32", "u32 u32 u32", lambda a, b, c: a + b + c & M32)
put("v_lshl_add_u32", "u32", "u32 u32 u32", lambda a, b, c: (a << (b & 31)) + c & M32)
put("v_add_lshl_u32", "u32", "u32 u32 u32", lambda a, b, c: (a + b & M32) << (c & 31) & M32)
put("v_lshl_or_b32", "b32", "b32 b32 b32", lambda a, b, c: (a << (b & 31)) & M32 | c)
put("v_bfe_u32", "u32", "u32 u32 u32", lambda v, o, n: v >> (o & 31) & ((1 << (n & 31)) - 1))


def bfe_i32(v: int, o: int, n: int) -> int:
    n &= 31
    return signed((s32(v) >> (o & 31)) & ((1 << n) - 1), n) & M32 if n else 0


put("v_bfe_i32", "i32", "i32 u32 u32", bfe_i32)
put("v_bfi_b32", "b32", "b32 b32 b32", lambda m, a, b: m & a | ~m & b & M32)
put("v_bfm_b32", "b32", "b32 b32", lambda n, o: ((1 << (n & 31)) - 1) << (o & 31) & M32)
put("v_bfrev_b32", "b32", "b32", lambda v: int(f"{v:032b}"[::-1], 2))
put("v_bcnt_u32_b32", "u32", "b32 u32", lambda v, c: v.bit_count() + c & M32)
put("v_clz_i32_u32", "i32", "u32", lambda v: 32 - v.bit_length() if v else M32)
put("v_ctz_i32_b32", "i32", "b32", lambda v: (v & -v).bit_length() - 1 if v else M32)


def cls(v: int) -> int:
    text = f"{v:032b}"
    rest = text.lstrip(text[0])
    return 32 - len(rest) if rest else M32


put("v_cls_i32", "i32", "i32", cls)
put("v_alignbit_b32", "b32", "b32 b32 b32", lambda a, b, c: (a << 32 | b) >> (c & 31) & M32)
put("v_alignbyte_b32", "b32", "b32 b32 b32", lambda a, b, c: (a << 32 | b) >> 8 * (c & 3) & M32)


def octets(v: int, n: int = 4) -> list[int]:
    return list(v.to_bytes(n, "little"))


def join(values, bits: int = 8) -> int:
    return sum((v & ((1 << bits) - 1)) << (bits * n) for n, v in enumerate(values))


def perm(a: int, b: int, s: int) -> int:
    data = octets(a << 32 | b, 8)
    signs = [255 * (data[n] >> 7) for n in (1, 3, 5, 7)]
    return join(data[k] if k < 8 else signs[k - 8] if k < 12 else 0 if k == 12 else 255 for k in octets(s))


put("v_perm_b32", "b32", "b32 b32 b32", perm)
put("v_lerp_u8", "b32", "b32 b32 b32", lambda a, b, c: join((x + y + (z & 1)) >> 1 for x, y, z in zip(octets(a), octets(b), octets(c))))


def sad8(a: int, b: int, masked: bool = False) -> int:
    return sum(abs(x - y) for x, y in zip(octets(a), octets(b)) if y or not masked)


integer("v_sad_u8", "u32", "u32 u32 u32", lambda a, b, c: sad8(a, b) + c, True)
integer("v_sad_hi_u8", "u32", "u32 u32 u32", lambda a, b, c: (sad8(a, b) << 16) + c, True)
integer("v_msad_u8", "u32", "u32 u32 u32", lambda a, b, c: sad8(a, b, True) + c, True)
integer("v_sad_u16", "u32", "u32 u32 u32", lambda a, b, c: abs((a & 65535) - (b & 65535)) + abs((a >> 16) - (b >> 16)) + c, True)
integer("v_sad_u32", "u32", "u32 u32 u32", lambda a, b, c: abs(a - b) + c, True)
for _name, _masked in (("v_qsad_pk_u16_u8", False), ("v_mqsad_pk_u16_u8", True)):
    put(_name, "b64", "b64 b32 b64", lambda a, b, c, clamp=False, masked=_masked: join(
        (fit(sad8(a >> 8 * n & M32, b, masked) + (c >> 16 * n & 65535), "u16", clamp) for n in range(4)), 16), clamp=True)
put("v_pack_b32_f16", "b32", "f16 f16", pack, modifiers=True)


# ---- packed ------------------------------------------------------------------------------------------
def packed(name: str, count: int, fn, kind: str) -> None:
    def run(*sources: int) -> int:
        low = fn(*(s & 0xFFFF for s in sources))
        high = fn(*(s >> 16 for s in sources))
        return pack(low, high)
    put(name, "pf16" if kind == "f" else "p16", " ".join(["pf16" if kind == "f" else "p16"] * count), run)


packed("v_pk_add_f16", 2, lambda a, b: exact.add(F16, a, b), "f")
packed("v_pk_mul_f16", 2, lambda a, b: exact.mul(F16, a, b), "f")
packed("v_pk_fma_f16", 3, lambda a, b, c: exact.fma(F16, a, b, c), "f")
for _name in ("min", "max", "min_num", "max_num", "minimum", "maximum"):
    packed(f"v_pk_{_name}_f16", 2, REFERENCE[f"v_{_name}_f16"].function, "f")
packed("v_pk_add_u16", 2, lambda a, b: a + b, "i")
packed("v_pk_sub_u16", 2, lambda a, b: a - b, "i")
packed("v_pk_add_i16", 2, lambda a, b: a + b, "i")
packed("v_pk_sub_i16", 2, lambda a, b: a - b, "i")
packed("v_pk_mul_lo_u16", 2, lambda a, b: a * b, "i")
packed("v_pk_mad_u16", 3, lambda a, b, c: a * b + c, "i")
packed("v_pk_mad_i16", 3, lambda a, b, c: a * b + c, "i")
packed("v_pk_min_u16", 2, min, "i")
packed("v_pk_max_u16", 2, max, "i")
packed("v_pk_min_i16", 2, lambda a, b: min(signed(a, 16), signed(b, 16)), "i")
packed("v_pk_max_i16", 2, lambda a, b: max(signed(a, 16), signed(b, 16)), "i")
packed("v_pk_lshlrev_b16", 2, lambda n, v: v << (n & 15), "i")
packed("v_pk_lshrrev_b16", 2, lambda n, v: v >> (n & 15), "i")
packed("v_pk_ashrrev_i16", 2, lambda n, v: signed(v, 16) >> (n & 15), "i")
put("v_pk_fmac_f16", "pf16", "pf16 pf16", REFERENCE["v_pk_fma_f16"].function, accumulates=True)


# ---- dot products: the order of the two sums is not published, so compare within an ulp of the larger term
def dot2(fmt):
    def run(a: int, b: int, c: int) -> int:
        return F32_dot(fmt, a, b, c)
    return run


def widen(fmt, v: int) -> int:
    return exact.convert(fmt, F32, v)


def F32_dot(fmt, a: int, b: int, c: int) -> int:
    first = exact.fma(F32, widen(fmt, a & 0xFFFF), widen(fmt, b & 0xFFFF), c)
    return exact.fma(F32, widen(fmt, a >> 16), widen(fmt, b >> 16), first)


put("v_dot2_f32_f16", "f32", "pf16 pf16 f32", dot2(F16), modifiers=False)
put("v_dot2_f32_bf16", "f32", "pbf16 pbf16 f32", dot2(BF16), modifiers=False)
put("v_dot2acc_f32_f16", "f32", "pf16 pf16", dot2(F16), accumulates=True)
put("v_dot2_f16_f16", "f16", "pf16 pf16 f16", lambda a, b, c: exact.convert(F32, F16, F32_dot(F16, a, b, widen(F16, c))), modifiers=False)
put("v_dot2_bf16_bf16", "bf16", "pbf16 pbf16 bf16",
    lambda a, b, c: exact.convert(F32, BF16, F32_dot(BF16, a, b, widen(BF16, c))), modifiers=False)


def dot_int(bits: int, a_signed: bool, b_signed: bool):
    def split(v: int, is_signed: bool) -> list[int]:
        parts = [v >> n & ((1 << bits) - 1) for n in range(0, 32, bits)]
        return [signed(p, bits) for p in parts] if is_signed else parts
    return lambda a, b: sum(x * y for x, y in zip(split(a, a_signed), split(b, b_signed)))


integer("v_dot4_u32_u8", "u32", "u32 u32 u32", lambda a, b, c: dot_int(8, False, False)(a, b) + c, True)
integer("v_dot8_u32_u4", "u32", "u32 u32 u32", lambda a, b, c: dot_int(4, False, False)(a, b) + c, True)
DOT_SIGNED = {f"v_dot{32 // bits}_i32_iu{bits}": bits for bits in (8, 4)}


# ---- compares -----------------------------------------------------------------------------------------
CONDITIONS = {"lt": "a < b", "eq": "a == b", "le": "a <= b", "gt": "a > b", "ge": "a >= b"}
FLOAT_CONDITIONS = {"lg": lambda a, b: a != b, "neq": lambda a, b: a != b, "nlt": lambda a, b: not a < b,
                    "ngt": lambda a, b: not a > b, "nle": lambda a, b: not a <= b, "nge": lambda a, b: not a >= b,
                    "nlg": lambda a, b: a == b}
COMPARE: dict[str, tuple[tuple[str, str], object]] = {}


def float_key(fmt, b: int):
    if fmt.is_inf(b):
        return Fraction(-10**400 if b & fmt.sign else 10**400)
    return fmt.value(b)


def compare_rows() -> None:
    base = {"lt": lambda a, b: a < b, "eq": lambda a, b: a == b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b,
            "ge": lambda a, b: a >= b, "f": lambda a, b: False, "t": lambda a, b: True}
    for t, fmt in (("f16", F16), ("f32", F32), ("f64", F64)):
        for name, fn in {**base, **FLOAT_CONDITIONS}.items():
            unordered = name == "t" or (name.startswith("n") and name != "ne")
            COMPARE[f"{name}_{t}"] = ((t, t), lambda a, b, m=fmt, f=fn, u=unordered: u if m.is_nan(a) or m.is_nan(b) else
                                      f(float_key(m, a), float_key(m, b)))
        COMPARE[f"o_{t}"] = ((t, t), lambda a, b, m=fmt: not (m.is_nan(a) or m.is_nan(b)))
        COMPARE[f"u_{t}"] = ((t, t), lambda a, b, m=fmt: m.is_nan(a) or m.is_nan(b))
        COMPARE[f"class_{t}"] = ((t, "b16" if t == "f16" else "b32"), lambda a, m, f=fmt: bool(m >> float_class(f, a) & 1))
    for t in ("i16", "u16", "i32", "u32", "i64", "u64"):
        for name, fn in {**base, "ne": lambda a, b: a != b}.items():
            if name in "ft" and t.endswith("16"):
                continue  # not in the instruction set
            bits = int(t[1:])
            COMPARE[f"{name}_{t}"] = ((t, t), lambda a, b, f=fn, n=bits, s=t[0] == "i": f(signed(a, n), signed(b, n)) if s else f(a, b))


def float_class(fmt, b: int) -> int:
    negative, magnitude = bool(b & fmt.sign), b & ~fmt.sign
    if magnitude > fmt.inf:
        return 1 if magnitude & 1 << (fmt.fraction - 1) else 0
    if magnitude == fmt.inf:
        return 2 if negative else 9
    if magnitude >> fmt.fraction:
        return 3 if negative else 8
    if magnitude:
        return 4 if negative else 7
    return 5 if negative else 6


compare_rows()
