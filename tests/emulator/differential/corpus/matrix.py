"""Matrix instructions of both generations. The host multiplies by the definition; the device uses the fragments' layout in registers
(RDNA3 and RDNA4 ISA, 'WMMA'). Values are such that sums are exact in every order."""
from __future__ import annotations

from dataclasses import dataclass

from tests.emulator.differential.model import Kernel, given, result

FRAGMENTS = """
typedef _Float16 v8h __attribute__((ext_vector_type(8))); typedef _Float16 v16h __attribute__((ext_vector_type(16)));
typedef short v8s __attribute__((ext_vector_type(8))); typedef short v16s __attribute__((ext_vector_type(16)));
typedef int v2i __attribute__((ext_vector_type(2))); typedef int v4i __attribute__((ext_vector_type(4))); typedef int v8i __attribute__((ext_vector_type(8)));
typedef float v8f __attribute__((ext_vector_type(8)));
"""
# Numbers of the narrow formats, for the host: E4M3 and E5M2 as the OCP document defines them (no infinities or NaN here).
NARROW = """
__device__ inline float narrow_value(unsigned byte, int mantissa, int bias) {
  const unsigned exponent = (byte & 0x7f) >> mantissa, fraction = byte & ((1u << mantissa) - 1);
  float x = exponent ? (float)((1u << mantissa) | fraction) : 2.0f * fraction;
  for (int e = (int)exponent - bias - mantissa; e < 0; ++e) x *= 0.5f;
  for (int e = (int)exponent - bias - mantissa; e > 0; --e) x *= 2.0f;
  return byte & 0x80 ? -x : x;
}
"""


@dataclass(frozen=True)
class Type:
    """`read`: element at index k of pointer p as the sum's type; `pack`: 16 (or 8) values of lane's row or column into registers."""

    kind: str                      # of the elements in memory
    fill: str
    read: str
    wide: str                      # vector type with 16 elements (gfx11)
    narrow: str                    # with 8 (gfx12)


F16 = Type("f16", "small", "(float)({p}[{k}])", "v16h", "v8h")
BF16 = Type("bf16", "small", "__bfloat162float({p}[{k}])", "v16s", "v8s")
U8 = Type("u8", "edges", "(int)({p}[{k}])", "v4i", "v2i")
I8 = Type("i8", "edges", "(int)({p}[{k}])", "v4i", "v2i")


def product(name: str, t: Type, accumulate: str, chip: str, call: str, second: Type | None = None) -> Kernel:
    """D = A x B + C, 16 x 16 x 16."""
    u = second or t
    total = "int" if accumulate == "i32" else "float"
    gfx12 = chip == "gfx1201"
    element = {"f32": "float", "i32": "int", "f16": "__half", "bf16": "__hip_bfloat16"}[accumulate]
    load = {"f32": "c[at]", "i32": "c[at]", "f16": "(float)c[at]", "bf16": "__bfloat162float(c[at])"}[accumulate]
    many = 8 if gfx12 else 16
    first = "8 * half" if gfx12 else "0"
    vector = {"f32": "v8f", "i32": "v8i", "f16": "v8h" if gfx12 else "v16h", "bf16": "v8s" if gfx12 else "v16s"}[accumulate]
    bits = "__builtin_bit_cast(short, {x})" if accumulate == "bf16" else "{x}"
    slot = "j" if accumulate in ("f32", "i32") or gfx12 else "2 * j"       # gfx11: one 16-bit result per register

    def pack(matrix: str, of: Type, address: str) -> str:
        vec = of.narrow if gfx12 else of.wide
        if of.kind in ("u8", "i8"):
            return (f"{vec} f{matrix}; for (int k = 0; k < {many}; ++k) ((unsigned char*)&f{matrix})[k] = "
                    f"(unsigned char){matrix}[{address}];\n")
        x = f"{matrix}[{address}]"
        return f"{vec} f{matrix}; for (int k = 0; k < {many}; ++k) f{matrix}[k] = {f'__builtin_bit_cast(short, {x})' if of.kind == 'bf16' else x};\n"

    rows = "8 * half + j" if gfx12 else "2 * j + half"
    body = f"""
#if HOST
for (int at = threadIdx.x; at < 256; at += 32) {{
  {total} sum = {load};
  for (int k = 0; k < 16; ++k) sum += {t.read.format(p="a", k="at / 16 * 16 + k")} * {u.read.format(p="b", k="k * 16 + at % 16")};
  o[at] = ({element})sum;
}}
#else
const int n = threadIdx.x & 15, half = (int)threadIdx.x >> 4;
(void)half;
{pack("a", t, f"n * 16 + {first} + k")}{pack("b", u, f"({first} + k) * 16 + n")}{vector} fc = {{}};
for (int j = 0; j < 8; ++j) fc[{slot}] = {bits.format(x=f"c[({rows}) * 16 + n]")};
const {vector} d = {call};
for (int j = 0; j < 8; ++j) o[({rows}) * 16 + n] = {f"__builtin_bit_cast({element}, (short)(d[{slot}] + 0))" if accumulate == "bf16" else f"d[{slot}]"};
#endif"""
    return Kernel(f"wmma_{name}", (given("a", t.kind, 256, t.fill), given("b", u.kind, 256, u.fill),
                                   given("c", accumulate, 256, "small" if accumulate != "i32" else "edges"), result("o", accumulate, 256)),
                  body, groups=(1, 1, 1), threads=(32, 1, 1), before=FRAGMENTS + NARROW, chips=(chip,))


def narrow(mantissa: int, bias: int, keep: int, exponent: int) -> Type:
    """Bytes limited to two exponents, so that the sums are exact: the kernel masks what the buffer holds."""
    byte = f"((unsigned){{p}}[{{k}}] & {keep} | {exponent})"
    return Type("u8", "edges", f"narrow_value({byte}, {mantissa}, {bias})", "v4i", "v2i")


def masked(kernel: Kernel, a: tuple[int, int], b: tuple[int, int]) -> Kernel:
    """The device packs the masked bytes, too."""
    body = kernel.body.replace("(unsigned char)a[", f"(unsigned char)({a[1]} | {a[0]} & a[").replace("(unsigned char)b[", f"(unsigned char)({b[1]} | {b[0]} & b[")
    body = body.replace("+ k];\n", "+ k]);\n", 1).replace("* 16 + n];\nv8f", "* 16 + n]);\nv8f", 1)
    return Kernel(kernel.name, kernel.arguments, body, kernel.groups, kernel.threads, kernel.before, kernel.chips)


FP8, BF8 = (0x8F, 0x30), (0x87, 0x38)          # E4M3: exponents 6 and 7 of bias 7; E5M2: 14 and 15 of bias 15
KINDS = {"fp8": (narrow(3, 7, *FP8), FP8), "bf8": (narrow(2, 15, *BF8), BF8)}

KERNELS = [
    product("f32_f16_gfx11", F16, "f32", "gfx1100", "__builtin_amdgcn_wmma_f32_16x16x16_f16_w32(fa, fb, fc)"),
    product("f32_bf16_gfx11", BF16, "f32", "gfx1100", "__builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(fa, fb, fc)"),
    product("f16_f16_gfx11", F16, "f16", "gfx1100", "__builtin_amdgcn_wmma_f16_16x16x16_f16_w32(fa, fb, fc, false)"),
    product("bf16_bf16_gfx11", BF16, "bf16", "gfx1100", "__builtin_amdgcn_wmma_bf16_16x16x16_bf16_w32(fa, fb, fc, false)"),
    product("i32_iu8_gfx11", I8, "i32", "gfx1100", "__builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(true, fa, false, fb, fc, false)", U8),
    product("i32_uu8_gfx11", U8, "i32", "gfx1100", "__builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(false, fa, true, fb, fc, false)", I8),
    product("f32_f16_gfx12", F16, "f32", "gfx1201", "__builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(fa, fb, fc)"),
    product("f32_bf16_gfx12", BF16, "f32", "gfx1201", "__builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(fa, fb, fc)"),
    product("f16_f16_gfx12", F16, "f16", "gfx1201", "__builtin_amdgcn_wmma_f16_16x16x16_f16_w32_gfx12(fa, fb, fc)"),
    product("bf16_bf16_gfx12", BF16, "bf16", "gfx1201", "__builtin_amdgcn_wmma_bf16_16x16x16_bf16_w32_gfx12(fa, fb, fc)"),
    product("i32_iu8_gfx12", I8, "i32", "gfx1201", "__builtin_amdgcn_wmma_i32_16x16x16_iu8_w32_gfx12(true, fa, false, fb, fc, false)", U8),
    product("i32_ii8_gfx12", I8, "i32", "gfx1201", "__builtin_amdgcn_wmma_i32_16x16x16_iu8_w32_gfx12(true, fa, true, fb, fc, false)"),
    *(masked(product(f"f32_{x}_{y}_gfx12", KINDS[x][0], "f32", "gfx1201", f"__builtin_amdgcn_wmma_f32_16x16x16_{x}_{y}_w32_gfx12(fa, fb, fc)", KINDS[y][0]),
             KINDS[x][1], KINDS[y][1]) for x in KINDS for y in KINDS),
]
