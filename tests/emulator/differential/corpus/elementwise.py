"""One output element per thread: arithmetic, comparison, conversion, shifts and bit tricks of every type."""
from __future__ import annotations

from tests.emulator.differential.model import FLOATS, INTEGERS, SIGNED, TYPES, UNSIGNED, Kernel, bits_of, c_type, given, result, value

N = 1000                      # not a multiple of the workgroup: the last one is partly idle
GROUPS = (8, 1, 1)
THREADS = (128, 1, 1)
START = "const int i = GLOBAL_INDEX;\nif (i >= n) return;\n"


def elementwise(name: str, inputs: list[tuple[str, str, str]], outputs: list[tuple[str, str]], body: str, before: str = "",
                ulp: float = 0, absolute: float = 0, wave64: bool = False) -> Kernel:
    """inputs: (name, kind, fill)."""
    arguments = [given(a, kind, N, fill) for a, kind, fill in inputs]
    arguments += [result(a, kind, N, ulp=ulp, absolute=absolute) for a, kind in outputs] + [value("n", "i32", N)]
    return Kernel(name, tuple(arguments), START + body, GROUPS, THREADS, before, wave64=wave64)


def arithmetic(kind: str) -> Kernel:
    t = c_type(kind)
    if kind in FLOATS:
        lines = ["o0[i] = (T)(a[i] + b[i]);", "o1[i] = (T)(a[i] - b[i]);", "o2[i] = (T)(a[i] * b[i]);", "o3[i] = (T)(-a[i]);"]
    else:                      # overflow of signed types wraps on both sides: unsigned arithmetic of the same width
        u = c_type("u" + kind[1:])
        lines = [f"o{n}[i] = (T)({u})(({u})a[i] {op} ({u})b[i]);" for n, op in enumerate("+-*")] + [f"o3[i] = (T)({u})(0 - ({u})a[i]);"]
    return elementwise(f"arithmetic_{kind}", [("a", kind, "edges"), ("b", kind, "edges")], [(f"o{n}", kind) for n in range(4)],
                       f"using T = {t};\n" + "\n".join(lines), wave64=True)


def compare(kind: str) -> Kernel:
    body = """
unsigned m = 0;
m |= (a[i] < b[i]) << 0 | (a[i] <= b[i]) << 1 | (a[i] > b[i]) << 2 | (a[i] >= b[i]) << 3 | (a[i] == b[i]) << 4 | (a[i] != b[i]) << 5;
m |= !(a[i] < b[i]) << 6 | !(a[i] >= b[i]) << 7 | (a[i] != a[i]) << 8 | (a[i] < b[i] || a[i] > b[i]) << 9;
o0[i] = m;
o1[i] = a[i] < b[i] ? a[i] : b[i];
o2[i] = a[i] < b[i] ? b[i] : a[i];
o3[i] = m & 4 ? a[i] : m & 1 ? b[i] : a[n - 1 - i];"""
    return elementwise(f"compare_{kind}", [("a", kind, "edges"), ("b", kind, "edges")], [("o0", "u32"), *((f"o{n}", kind) for n in (1, 2, 3))],
                       body, wave64=True)


def divide(kind: str) -> Kernel:
    t, low = c_type(kind), f"(T)(1ull << {bits_of(kind) - 1})"
    body = f"using T = {t};\nT d = b[i] ? b[i] : (T)3;\n"
    if kind in SIGNED:
        body += f"if (a[i] == {low} && d == (T)-1) d = 7;\n"
    body += "o0[i] = (T)(a[i] / d);\no1[i] = (T)(a[i] % d);\no2[i] = (T)(a[i] / (T)10);\no3[i] = (T)(a[i] % (T)7);"
    return elementwise(f"divide_{kind}", [("a", kind, "edges"), ("b", kind, "edges")], [(f"o{n}", kind) for n in range(4)], body)


def shift(kind: str) -> Kernel:
    t, bits = c_type(kind), bits_of(kind)
    u = c_type(f"u{bits}")
    body = f"""using T = {t}; using U = {u};
const int s = (int)(b[i] & {bits - 1});
o0[i] = (T)(U)((U)a[i] << s);
o1[i] = (T)(a[i] >> s);
o2[i] = (T)(U)((U)((U)a[i] << s) | (s ? (U)((U)a[i] >> ({bits} - s)) : (U)0));
o3[i] = (T)((T)(U)((U)a[i] << {bits // 2}) >> {bits // 2 - 1});"""
    return elementwise(f"shift_{kind}", [("a", kind, "edges"), ("b", f"u{bits}", "edges")], [(f"o{n}", kind) for n in range(4)], body,
                       wave64=True)


def logic(kind: str) -> Kernel:
    t = c_type(kind)
    body = f"""using T = {t};
o0[i] = (T)((a[i] & b[i]) | (~a[i] & c[i]));
o1[i] = (T)(a[i] ^ b[i] ^ c[i]);
o2[i] = (T)((a[i] & b[i]) | (a[i] & c[i]) | (b[i] & c[i]));
o3[i] = (T)(~(a[i] | b[i]) ^ (c[i] & (T)0x55));"""
    return elementwise(f"logic_{kind}", [(x, kind, "edges") for x in "abc"], [(f"o{n}", kind) for n in range(4)], body)


def convert(source: str) -> Kernel:
    """One source type to all others."""
    lines, outputs = [], []
    for target in TYPES:
        if target == source:
            continue
        t = c_type(target)
        if source in FLOATS and target in INTEGERS:
            lines.append(f"o_{target}[i] = saturate<{t}>(a[i]);")
        elif target in ("f16", "bf16") and source != "f64":
            lines.append(f"o_{target}[i] = ({t})(float)a[i];")
        else:
            lines.append(f"o_{target}[i] = ({t})a[i];")
        outputs.append((f"o_{target}", target))
    return elementwise(f"convert_{source}", [("a", source, "edges")], outputs, "\n".join(lines))


BIT_TRICKS = [
    elementwise("bits_u32", [("a", "u32", "edges"), ("b", "u32", "edges")], [(f"o{n}", "u32") for n in range(8)], """
o0[i] = __popc(a[i]); o1[i] = __clz((int)a[i]); o2[i] = __ffs((int)a[i]); o3[i] = __brev(a[i]);
o4[i] = __byte_perm(a[i], b[i], 0x5173); o5[i] = __byte_perm(a[i], b[i], b[i]);
o6[i] = __funnelshift_l(a[i], b[i], b[i] >> 3); o7[i] = __funnelshift_r(a[i], b[i], a[i] >> 5);""", wave64=True),
    elementwise("bits_u64", [("a", "u64", "edges")], [*((f"o{n}", "u32") for n in range(3)), ("o3", "u64"), ("o4", "u64")], """
o0[i] = __popcll(a[i]); o1[i] = __clzll((long long)a[i]); o2[i] = __ffsll((long long)a[i]); o3[i] = __brevll(a[i]);
o4[i] = a[i] & (0ull - a[i]);"""),
    elementwise("bits_i32", [("a", "i32", "edges"), ("b", "u32", "edges")], [(f"o{n}", "i32") for n in range(5)], """
const int at = (int)(b[i] & 31), width = (int)(b[i] >> 8 & 31);
o0[i] = width ? (int)((unsigned)a[i] << (at + width > 32 ? 0 : 32 - at - width)) >> (32 - width) : 0;
o1[i] = (int)((unsigned)a[i] >> at & ((1u << width) - 1));
o2[i] = (a[i] & ~(0xff << 4)) | ((int)(b[i] & 0xff) << 4);
o3[i] = __builtin_clrsb(a[i]); o4[i] = (signed char)(a[i] >> 8) + (short)a[i];"""),
    elementwise("bits_u16", [("a", "u16", "edges"), ("b", "u16", "edges")], [(f"o{n}", "u16") for n in range(4)], """
o0[i] = (unsigned short)__popc(a[i]); o1[i] = (unsigned short)((a[i] << 8) | (a[i] >> 8));
o2[i] = (unsigned short)((a[i] * b[i]) >> 16); o3[i] = (unsigned short)(a[i] > b[i] ? a[i] - b[i] : b[i] - a[i]);"""),
    elementwise("multiply_high", [("a", "u32", "edges"), ("b", "u32", "edges"), ("c", "i32", "edges"), ("d", "i32", "edges")],
                [("o0", "u32"), ("o1", "i32"), ("o2", "i32"), ("o3", "u32")], """
o0[i] = __umulhi(a[i], b[i]); o1[i] = __mulhi(c[i], d[i]); o2[i] = __mul24(c[i], d[i]); o3[i] = __umul24(a[i], b[i]);""", wave64=True),
    elementwise("multiply_wide", [("a", "u32", "edges"), ("b", "u32", "edges"), ("c", "u64", "edges"), ("d", "i32", "edges")],
                [("o0", "u64"), ("o1", "i64"), ("o2", "u64")], """
o0[i] = (unsigned long)a[i] * b[i] + c[i]; o1[i] = (long)(int)a[i] * d[i]; o2[i] = c[i] * ((unsigned long)a[i] << 32 | b[i]);"""),
    elementwise("multiply_high_64", [("a", "u64", "edges"), ("b", "u64", "edges")], [("o0", "u64"), ("o1", "i64")], """
o0[i] = __umul64hi(a[i], b[i]); o1[i] = __mul64hi((long long)a[i], (long long)b[i]);"""),
    elementwise("integer_128", [("a", "u64", "edges"), ("b", "u64", "edges"), ("c", "u64", "edges")], [(f"o{n}", "u64") for n in range(4)], """
unsigned __int128 x = (unsigned __int128)a[i] << 64 | b[i], y = (unsigned __int128)c[i] * a[i];
x += y; o0[i] = (unsigned long)x; o1[i] = (unsigned long)(x >> 64);
x = (x << (c[i] & 127)) ^ (y >> (b[i] & 127)); o2[i] = (unsigned long)x; o3[i] = (unsigned long)(x >> 64) + (x < y);"""),
    elementwise("add_with_carry", [("a", "u32", "edges"), ("b", "u32", "edges")], [("o0", "u32"), ("o1", "u32"), ("o2", "i32")], """
unsigned s, t; int k;
o0[i] = __builtin_add_overflow(a[i], b[i], &s) + 2 * __builtin_sub_overflow(a[i], b[i], &t) + 4 * __builtin_mul_overflow((int)a[i], (int)b[i], &k);
o1[i] = s ^ t; o2[i] = k;"""),
    elementwise("absolute_difference", [("a", "u32", "edges"), ("b", "u32", "edges"), ("c", "i32", "edges")], [("o0", "u32"), ("o1", "i32")], """
unsigned sum = 0;
for (int k = 0; k < 4; ++k) {
  const int x = a[i] >> (8 * k) & 255, y = b[i] >> (8 * k) & 255;
  sum += x > y ? x - y : y - x;
}
o0[i] = sum; o1[i] = c[i] < 0 ? (int)(0u - (unsigned)c[i]) : c[i];"""),
    elementwise("saturating", [("a", "i32", "edges"), ("b", "i32", "edges"), ("c", "u16", "edges"), ("d", "u16", "edges")],
                [("o0", "i32"), ("o1", "i32"), ("o2", "u16"), ("o3", "i16")], """
o0[i] = __builtin_elementwise_add_sat(a[i], b[i]); o1[i] = __builtin_elementwise_sub_sat(a[i], b[i]);
o2[i] = (unsigned short)__builtin_elementwise_add_sat(c[i], d[i]); o3[i] = (short)__builtin_elementwise_sub_sat((short)c[i], (short)d[i]);"""),
    elementwise("minmax3", [(x, "i32", "edges") for x in "abc"] + [("d", "u32", "edges"), ("e", "u32", "edges")],
                [("o0", "i32"), ("o1", "i32"), ("o2", "i32"), ("o3", "u32")], """
const int x = a[i], y = b[i], z = c[i];
const int low = x < y ? x : y, high = x < y ? y : x;
o0[i] = low < z ? low : z; o1[i] = high > z ? high : z; o2[i] = low > (high < z ? high : z) ? low : (high < z ? high : z);
o3[i] = (d[i] < e[i] ? d[i] : e[i]) + (d[i] > 100u ? 100u : d[i]);"""),
]

FLOAT_TRICKS = [
    elementwise("fma_f32", [(x, "f32", "edges") for x in "abc"], [(f"o{n}", "f32") for n in range(4)], """
o0[i] = fmaf(a[i], b[i], c[i]); o1[i] = fmaf(-a[i], b[i], c[i]); o2[i] = a[i] * b[i] + c[i]; o3[i] = fmaf(a[i], 1.5f, -c[i]);""", wave64=True),
    elementwise("fma_f64", [(x, "f64", "edges") for x in "abc"], [(f"o{n}", "f64") for n in range(3)], """
o0[i] = fma(a[i], b[i], c[i]); o1[i] = fma(a[i], -b[i], c[i]); o2[i] = a[i] * b[i] - c[i];"""),
    elementwise("fma_f16", [(x, "f16", "edges") for x in "abc"], [(f"o{n}", "f16") for n in range(2)], """
o0[i] = (__half)(a[i] * b[i]); o1[i] = (__half)((__half)(a[i] * b[i]) + c[i]);"""),
    elementwise("rounding_f32", [("a", "f32", "edges")], [(f"o{n}", "f32") for n in range(6)], """
o0[i] = floorf(a[i]); o1[i] = ceilf(a[i]); o2[i] = truncf(a[i]); o3[i] = rintf(a[i]); o4[i] = roundf(a[i]); o5[i] = fabsf(a[i]);"""),
    elementwise("rounding_f64", [("a", "f64", "edges")], [(f"o{n}", "f64") for n in range(5)], """
o0[i] = floor(a[i]); o1[i] = ceil(a[i]); o2[i] = trunc(a[i]); o3[i] = rint(a[i]); o4[i] = round(a[i]);"""),
    elementwise("minmax_f32", [("a", "f32", "edges"), ("b", "f32", "edges")], [(f"o{n}", "f32") for n in range(4)], """
o0[i] = fminf(a[i], b[i]); o1[i] = fmaxf(a[i], b[i]); o2[i] = fminf(fmaxf(a[i], -1.0f), 1.0f); o3[i] = fmaxf(fabsf(a[i]), -b[i]);"""),
    elementwise("minmax_f64", [("a", "f64", "edges"), ("b", "f64", "edges")], [(f"o{n}", "f64") for n in range(2)],
                "o0[i] = fmin(a[i], b[i]); o1[i] = fmax(a[i], b[i]);"),
    elementwise("divide_f32", [("a", "f32", "edges"), ("b", "f32", "edges")], [("o0", "f32"), ("o1", "f32")],
                "o0[i] = a[i] / b[i]; o1[i] = 1.0f / b[i];"),
    elementwise("divide_f64", [("a", "f64", "edges"), ("b", "f64", "edges")], [("o0", "f64"), ("o1", "f64")],
                "o0[i] = a[i] / b[i]; o1[i] = 1.0 / b[i];"),
    elementwise("sqrt_f32", [("a", "f32", "edges")], [("o0", "f32")], "o0[i] = sqrtf(a[i]);"),
    elementwise("sqrt_f64", [("a", "f64", "edges")], [("o0", "f64")], "o0[i] = sqrt(a[i]);"),
    elementwise("scale_f32", [("a", "f32", "edges"), ("e", "i32", "small")], [("o0", "f32"), ("o1", "f32"), ("o2", "f32")], """
o0[i] = ldexpf(a[i], e[i] * 20); o1[i] = copysignf(a[i], (float)e[i]); o2[i] = __int_as_float(__float_as_int(a[i]) ^ e[i]);"""),
    elementwise("scale_f64", [("a", "f64", "edges"), ("e", "i32", "small")], [("o0", "f64"), ("o1", "i32"), ("o2", "i32")], """
o0[i] = ldexp(a[i], e[i] * 100); o1[i] = __double2hiint(a[i]); o2[i] = __double2loint(a[i]) ^ e[i];"""),
    elementwise("mixed_precision", [("a", "f16", "edges"), ("b", "f16", "edges"), ("c", "f32", "edges")], [("o0", "f32"), ("o1", "f16")], """
o0[i] = fmaf((float)a[i], (float)b[i], c[i]); o1[i] = (__half)fmaf((float)a[i], (float)b[i], (float)a[i]);"""),
    elementwise("half2_arithmetic", [("a", "f16", "edges"), ("b", "f16", "edges")], [("o0", "f16"), ("o1", "f16"), ("o2", "f16")], """
const int k = i & ~1;
const __half2 x = make_half2(a[k], a[k + 1]), y = make_half2(b[k], b[k + 1]);
const __half2 s = __hadd2(x, y), p = __hmul2(x, y), d = __hsub2(__hneg2(x), y);
o0[i] = i & 1 ? __high2half(s) : __low2half(s); o1[i] = i & 1 ? p.y : p.x; o2[i] = i & 1 ? d.y : d.x;"""),
    elementwise("bf16_arithmetic", [("a", "bf16", "edges"), ("b", "bf16", "edges")], [("o0", "bf16"), ("o1", "bf16"), ("o2", "u16")], """
o0[i] = __float2bfloat16(__bfloat162float(a[i]) + __bfloat162float(b[i]));
o1[i] = __float2bfloat16(__bfloat162float(a[i]) * __bfloat162float(b[i]));
o2[i] = (unsigned short)(__heq(a[i], b[i]) | __hlt(a[i], b[i]) << 1 | __hisnan(a[i]) << 2 | __hisinf(b[i]) << 3);"""),
    elementwise("classify", [("a", "f32", "edges"), ("b", "f64", "edges"), ("c", "f16", "edges")], [("o0", "u32"), ("o1", "u32")], """
o0[i] = __builtin_isnan(a[i]) | __builtin_isinf(a[i]) << 1 | __builtin_isfinite(a[i]) << 2 | __builtin_isnormal(a[i]) << 3 | !!__builtin_signbit(a[i]) << 4;
o1[i] = __builtin_isnan(b[i]) | __builtin_isinf(b[i]) << 1 | __builtin_isnormal(b[i]) << 2 | (c[i] != c[i]) << 3 | (c[i] == (__half)0) << 4;"""),
    elementwise("polynomial_f64", [("a", "f64", "unit")], [("o0", "f64")], """
double r = 0;
for (int k = 12; k >= 0; --k) r = fma(r, a[i], 1.0 / (k * k + 1));
o0[i] = r;"""),
]

KERNELS = [
    *(arithmetic(kind) for kind in TYPES), *(compare(kind) for kind in TYPES), *(convert(kind) for kind in TYPES),
    *(divide(kind) for kind in INTEGERS), *(shift(kind) for kind in INTEGERS), *(logic(kind) for kind in UNSIGNED),
    *BIT_TRICKS, *FLOAT_TRICKS,
]
